//! The Rust client: it speaks WebSockets of its own make.

use anyhow::{Context as _, Result, ensure};
use futures::{AsyncBufReadExt as _, TryStreamExt as _};
use kube::api::{AttachParams, AttachedProcess, LogParams};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    time,
};
use vk_e2e::{Env, PATIENCE, Setup, noise};

pub(crate) async fn it_runs_attaches_forwards_and_reads_logs(env: &mut Env) -> Result<()> {
    all(env).await
}

pub(crate) async fn it_does_so_through_an_api_server_that_translates(env: &mut Env) -> Result<()> {
    all(env).await
}

async fn all(env: &mut Env) -> Result<()> {
    env.start(Setup::default()).await?;
    env.create(env.pod("web").asks("log-every", "100ms")).await?;
    env.pod_ready("web").await?;
    time::timeout(3 * PATIENCE, async {
        runs(env).await.context("exec")?;
        attaches(env).await.context("attach")?;
        forwards(env).await.context("port-forward")?;
        reads_logs(env).await.context("logs")
    })
    .await
    .context("it does not end")?
}

async fn runs(env: &Env) -> Result<()> {
    let script = "cat; echo to errors >&2; exit 42";
    let wanted = AttachParams::default().stdin(true);
    let mut process = env.pods().exec("web", ["sh", "-c", script], &wanted).await?;
    let sent = noise(5, 300 << 10);
    let (mut input, mut output, mut errors) = streams(&mut process)?;
    let status = process.take_status().context("no status")?;
    let (mut echoed, mut told) = (Vec::new(), String::new());
    let writing = async {
        input.write_all(&sent).await?;
        // Dropping it ends the command's input.
        input.shutdown().await
    };
    tokio::try_join!(writing, output.read_to_end(&mut echoed), errors.read_to_string(&mut told))?;
    ensure!(echoed == sent, "{} bytes came back of {}", echoed.len(), sent.len());
    ensure!(told == "to errors\n", "errors are {told:?}");
    let status = status.await.context("it ended without a status")?;
    let causes = status.details.and_then(|details| details.causes).unwrap_or_default();
    let code = causes.iter().find(|cause| cause.reason.as_deref() == Some("ExitCode"));
    ensure!(code.and_then(|code| code.message.as_deref()) == Some("42"), "{:?} {causes:?}", status.reason);
    process.join().await?;
    Ok(())
}

type Input = Box<dyn tokio::io::AsyncWrite + Unpin + Send>;
type Output = Box<dyn tokio::io::AsyncRead + Unpin + Send>;

fn streams(process: &mut AttachedProcess) -> Result<(Input, Output, Output)> {
    let input = process.stdin().context("no input")?;
    let output = process.stdout().context("no output")?;
    let errors = process.stderr().context("no errors")?;
    Ok((Box::new(input), Box::new(output), Box::new(errors)))
}

async fn attaches(env: &Env) -> Result<()> {
    let mut process = env.pods().attach("web", &AttachParams::default().stdin(true)).await?;
    let (mut input, output, _errors) = streams(&mut process)?;
    let mut lines = BufReader::new(output).lines();
    input.write_all(b"is anybody there?\n").await?;
    let mut seen = (false, false);
    while seen != (true, true) {
        let line = lines.next_line().await?.context("it ended")?;
        seen.0 |= line.starts_with("main: line ");
        seen.1 |= line == "is anybody there?";
    }
    process.abort();
    Ok(())
}

async fn forwards(env: &Env) -> Result<()> {
    let mut forwarder = env.pods().portforward("web", &[80, 8080]).await?;
    let sent = noise(6, 300 << 10);
    for port in [80, 8080] {
        let stream = forwarder.take_stream(port).context("no stream")?;
        let (mut read, mut write) = tokio::io::split(stream);
        let mut back = vec![0; sent.len()];
        tokio::try_join!(write.write_all(&sent), read.read_exact(&mut back))?;
        ensure!(back == sent, "other bytes came back from port {port}");
    }
    forwarder.abort();
    Ok(())
}

async fn reads_logs(env: &Env) -> Result<()> {
    let printed = env.pods().logs("web", &LogParams { tail_lines: Some(2), ..LogParams::default() }).await?;
    ensure!(printed.lines().count() == 2 && printed.lines().all(|line| line.starts_with("main: ")), "{printed}");
    let followed = env.pods().log_stream("web", &LogParams { follow: true, ..LogParams::default() }).await?;
    let mut lines = followed.lines();
    ensure!(lines.try_next().await?.as_deref() == Some("main: started, run 0"), "it does not begin at the beginning");
    for number in 1..=30 {
        let line = lines.try_next().await?.context("it ended")?;
        ensure!(line == format!("main: line {number}"), "line {number} is {line:?}");
    }
    Ok(())
}
