//! `kubectl logs`, `exec`, `cp` and `attach`, on containers that run.

use anyhow::{Context as _, Result, ensure};
use sha2::{Digest as _, Sha256};
use vk_e2e::{AzureSetup, Dialect, Env, Kubectl, noise, phase};

use super::{once, script};

/// Enough to need many messages in both directions.
const MUCH: usize = 300_000;

pub(crate) async fn logs_have_every_line_once_and_their_times_if_asked(env: &mut Env) -> Result<()> {
    env.start_azure(AzureSetup::default()).await?;
    let pod = script(env, "web", "seq -f 'line %g' 100; sleep infinity");
    env.create(pod).await?;
    env.pod_ready("web").await?;
    let lines = |from: u32, to: u32| (from..=to).map(|number| format!("line {number}\n")).collect::<String>();
    for (options, wanted) in [
        (&[][..], lines(1, 100)),
        (&["--tail=3"], lines(98, 100)),
        (&["--tail=0"], String::new()),
        (&["--limit-bytes=13"], "line 1\nline 2".to_owned()),
        (&["--since=1h"], lines(1, 100)),
    ] {
        let printed = env.kubectl(&[&["logs", "web"], options].concat()).await?;
        ensure!(printed == wanted, "{options:?}: {printed:?}");
    }
    let stamped = env.kubectl(&["logs", "web", "--timestamps", "--tail=1"]).await?;
    let (time, line) = stamped.trim_end().split_once(' ').with_context(|| format!("no time: {stamped}"))?;
    let age = k8s_openapi::jiff::Timestamp::now().duration_since(time.parse()?);
    ensure!(line == "line 100" && age.abs() < k8s_openapi::jiff::SignedDuration::from_mins(5), "{stamped}");
    let error =
        env.kubectl(&["logs", "web", "-c", "none"]).await.err().context("a container that is not there has a log")?;
    ensure!(error.to_string().contains("none"), "{error}");
    Ok(())
}

pub(crate) async fn a_followed_log_goes_on_to_the_end(env: &mut Env) -> Result<()> {
    env.start_azure(AzureSetup::default()).await?;
    env.create(once(env, "short", "for i in $(seq 60); do echo line $i; sleep 0.1; done; echo the end")).await?;
    env.pod_ready("short").await?;
    let followed = env.run(&Kubectl::own(Dialect::WebSocket), &["logs", "-f", "short"]).await?.success()?;
    let wanted: String = (1..=60).map(|number| format!("line {number}\n")).chain(["the end\n".to_owned()]).collect();
    ensure!(followed.text() == wanted, "{}", followed.text());
    env.pod_until("short", "to have succeeded", |pod| phase(pod) == "Succeeded").await?;
    ensure!(env.kubectl(&["logs", "short"]).await? == wanted, "afterwards it is otherwise");
    env.streams("logs", 0).await
}

pub(crate) async fn exec_runs_a_command_and_tells_its_exit_code(env: &mut Env) -> Result<()> {
    env.start_azure(AzureSetup::default()).await?;
    env.create(env.pod("web")).await?;
    env.pod_ready("web").await?;
    let kubectl = Kubectl::own(Dialect::WebSocket);
    for (command, output, code) in [
        (&["echo", "hello"][..], "hello\n", 0),
        (&["sh", "-c", "echo one; echo two; exit 42"], "one\ntwo\n", 42),
        // Arguments arrive as they are, whatever a shell would make of them.
        (&["printf", "%s|", "a b", "it's", "$HOME", "*", "\"", "\\", ""], "a b|it's|$HOME|*|\"|\\||", 0),
        (&["true"], "", 0),
        (&["false"], "", 1),
        (&["sh", "-c", "kill -9 $$"], "", 137),
        (&["head", "-c", "5", "/dev/zero"], "\0\0\0\0\0", 0),
    ] {
        let finished = env.run(&kubectl, &[&["exec", "web", "--"], command].concat()).await?;
        ensure!(finished.code == Some(code), "{command:?}: exit code {:?}: {}", finished.code, finished.errors);
        ensure!(finished.text() == output, "{command:?}: {:?}", finished.text());
    }
    let finished = env.run(&kubectl, &["exec", "web", "--", "no-such-program"]).await?;
    ensure!(finished.code == Some(127), "exit code {:?}: {}", finished.code, finished.errors);
    env.streams("exec", 0).await
}

pub(crate) async fn exec_carries_binary_data_both_ways(env: &mut Env) -> Result<()> {
    env.start_azure(AzureSetup::default()).await?;
    env.create(env.pod("web")).await?;
    env.pod_ready("web").await?;
    let kubectl = Kubectl::own(Dialect::WebSocket);
    let noise = noise(6, MUCH);
    let input = env.bench.write("noise", &noise)?;
    let sum: String = Sha256::digest(&noise).iter().map(|byte| format!("{byte:02x}")).collect();
    let taken = env.run_on(&kubectl, &["exec", "-i", "web", "--", "sha256sum"], &input).await?.success()?;
    ensure!(taken.text() == format!("{sum}  -\n"), "{:?} was taken in, not {sum}", taken.text());
    let echoed = env.run_on(&kubectl, &["exec", "-i", "web", "--", "cat"], &input).await?.success()?;
    ensure!(echoed.output == noise, "{} bytes came back, not the same {MUCH}", echoed.output.len());
    let count = MUCH.to_string();
    let zeros = env.run(&kubectl, &["exec", "web", "--", "head", "-c", &count, "/dev/zero"]).await?.success()?;
    ensure!(zeros.output.len() == MUCH && zeros.output.iter().all(|byte| *byte == 0), "{} bytes", zeros.output.len());
    // Nothing at all is input too.
    let empty = env.bench.write("empty", "")?;
    let counted = env.run_on(&kubectl, &["exec", "-i", "web", "--", "wc", "-c"], &empty).await?.success()?;
    ensure!(counted.text().trim() == "0", "{:?}", counted.text());
    Ok(())
}

pub(crate) async fn exec_at_a_terminal_has_its_size_and_echo(env: &mut Env) -> Result<()> {
    env.start_azure(AzureSetup::default()).await?;
    env.create(env.pod("web")).await?;
    env.pod_ready("web").await?;
    let kubectl = Kubectl::own(Dialect::WebSocket);
    let script = "stty size; tty; cat; exit 42";
    let mut running = env.spawn_at_terminal(&kubectl, (31, 117), &["exec", "-it", "web", "--", "sh", "-c", script])?;
    running.line_with("31 117").await?;
    running.line_with("/dev/pts/").await?;
    running.say("typed\r").await?;
    // Once as the terminal's echo, once from the command.
    running.line_with("typed").await?;
    running.line_with("typed").await?;
    running.say("\u{4}").await?;
    let finished = running.ended().await?;
    ensure!(finished.code == Some(42), "exit code {:?}: {}", finished.code, finished.text());
    // A shell that is talked to.
    let mut running = env.spawn_at_terminal(&kubectl, (24, 80), &["exec", "-it", "web", "--", "sh"])?;
    running.say("echo $((6 * 7))\r").await?;
    running.line_with("42").await?;
    running.say("exit\r").await?;
    running.ended().await?.success()?;
    Ok(())
}

pub(crate) async fn files_are_copied_there_and_back(env: &mut Env) -> Result<()> {
    env.start_azure(AzureSetup::default()).await?;
    env.create(env.pod("web")).await?;
    env.pod_ready("web").await?;
    let noise = noise(7, MUCH);
    let file = env.bench.write("noise", &noise)?.display().to_string();
    let back = env.bench.path("back");
    env.kubectl(&["cp", &file, "web:/tmp/noise"]).await?;
    // What tar says of absolute paths, on its standard error, is not among the file's bytes.
    env.kubectl(&["cp", "web:/tmp/noise", &back.display().to_string()]).await?;
    let back = std::fs::read(back).context("nothing was copied")?;
    ensure!(back == noise, "{} bytes came back, not the same {MUCH}", back.len());
    Ok(())
}

pub(crate) async fn attach_shows_what_a_container_writes(env: &mut Env) -> Result<()> {
    env.start_azure(AzureSetup::default()).await?;
    env.create(script(env, "web", "i=0; while sleep 0.2; do i=$((i+1)); echo line $i; done")).await?;
    env.pod_ready("web").await?;
    let mut running = env.spawn(&Kubectl::own(Dialect::WebSocket), &["attach", "web"])?;
    let line = running.line_with("line ").await?;
    let number: u32 = line.trim().trim_start_matches("line ").parse().with_context(|| line.clone())?;
    running.line_with(&format!("line {}", number + 1)).await?;
    running.kill().await?;
    env.streams("attach", 0).await
}
