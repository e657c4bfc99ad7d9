//! `kubectl exec`: every client that people have, on every way that the API server takes to the node.

use anyhow::{Context as _, Result, ensure};
use sha2::{Digest as _, Sha256};
use vk_e2e::{Dialect, Env, Kubectl, Setup, StreamKind, noise};

use crate::ways::{Way, taking};

/// 100 MB, as people say.
const MUCH: usize = 100 << 20;

pub(crate) async fn every_client_gets_what_a_command_says_and_its_exit_code(env: &mut Env) -> Result<()> {
    every_client(env, Way::Through).await
}

pub(crate) async fn every_client_gets_it_from_an_api_server_that_translates(env: &mut Env) -> Result<()> {
    every_client(env, Way::Translated).await
}

async fn every_client(env: &mut Env, way: Way) -> Result<()> {
    env.start(Setup::default()).await?;
    env.create(env.pod("web")).await?;
    env.pod_ready("web").await?;
    let input = env.bench.write("input", "some\nlines\nof input")?;
    for kubectl in Kubectl::all().await? {
        let cases = async {
            for code in [0, 1, 42, 137] {
                says_both_and_exits(env, &kubectl, code).await?;
            }
            let copied = env.run_on(&kubectl, &["exec", "-i", "web", "--", "cat"], &input).await?.success()?;
            ensure!(copied.text() == "some\nlines\nof input", "cat says {:?}", copied.text());
            // It says nothing before its input ends.
            let counted = env.run_on(&kubectl, &["exec", "-i", "web", "--", "wc", "-c"], &input).await?.success()?;
            ensure!(counted.text().trim() == "19", "wc says {:?}", counted.text());
            at_a_terminal(env, &kubectl).await
        };
        taking(env, way, StreamKind::Exec, &kubectl, 7, cases).await.with_context(|| kubectl.name.clone())?;
    }
    Ok(())
}

async fn says_both_and_exits(env: &Env, kubectl: &Kubectl, code: i32) -> Result<()> {
    let script = format!("echo to output; echo to errors >&2; exit {code}");
    let finished = env.run(kubectl, &["exec", "web", "--", "sh", "-c", &script]).await?;
    ensure!(finished.code == Some(code), "exit code {:?}, not {code}: {}", finished.code, finished.errors);
    ensure!(finished.text() == "to output\n", "output is {:?}", finished.text());
    // kubectl 1.30 says so where the API server's first message, an empty one, comes before it has made its streams.
    let said = finished.errors.lines().find(|line| !line.contains("Unknown stream id"));
    ensure!(said == Some("to errors"), "errors are {:?}", finished.errors);
    ensure!(!finished.errors.contains("to output"), "output is among the errors: {:?}", finished.errors);
    Ok(())
}

async fn at_a_terminal(env: &Env, kubectl: &Kubectl) -> Result<()> {
    // A terminal's size may come only after the command has begun.
    let script = "trap 'stty size' WINCH; stty size; cat; echo to errors >&2; exit 42";
    let mut running = env.spawn_at_terminal(kubectl, (31, 117), &["exec", "-it", "web", "--", "sh", "-c", script])?;
    running.line_with("31 117").await?;
    // Control-D: the end of input.
    running.say("\u{4}").await?;
    // There is one stream of output only.
    running.line_with("to errors").await?;
    let finished = running.ended().await?;
    ensure!(finished.code == Some(42), "exit code {:?} at a terminal: {}", finished.code, finished.text());
    Ok(())
}

pub(crate) async fn a_terminal_echoes_and_tells_when_its_size_changes(env: &mut Env) -> Result<()> {
    env.start(Setup::default()).await?;
    env.create(env.pod("web")).await?;
    env.pod_ready("web").await?;
    for dialect in [Dialect::WebSocket, Dialect::Spdy] {
        let kubectl = Kubectl::own(dialect);
        let script = "trap 'stty size' WINCH; stty size; cat";
        let command = ["exec", "-it", "web", "--", "sh", "-c", script];
        let mut running = env.spawn_at_terminal(&kubectl, (24, 80), &command)?;
        let terminal = running.line_with("/dev/").await?;
        running.line_with("24 80").await?;
        let resized = tokio::process::Command::new("stty")
            .args(["-F", terminal.trim(), "rows", "50", "cols", "132"])
            .status()
            .await?;
        ensure!(resized.success(), "stty: {resized}");
        running.line_with("50 132").await.with_context(|| kubectl.name.clone())?;
        running.say("typed\r").await?;
        // Once as the terminal's echo, once from the command.
        running.line_with("typed").await?;
        running.line_with("typed").await?;
        // Control-D at the beginning of a line: the end of input.
        running.say("\u{4}").await?;
        running.ended().await?.success().with_context(|| kubectl.name.clone())?;
    }
    Ok(())
}

pub(crate) async fn a_hundred_megabytes_arrive_whole_in_both_directions(env: &mut Env) -> Result<()> {
    much_in_both_directions(env, &[Kubectl::own(Dialect::WebSocket), Kubectl::own(Dialect::Spdy)]).await
}

pub(crate) async fn a_hundred_megabytes_arrive_whole_through_a_translating_api_server(env: &mut Env) -> Result<()> {
    much_in_both_directions(env, &[Kubectl::own(Dialect::WebSocket)]).await
}

async fn much_in_both_directions(env: &mut Env, kubectls: &[Kubectl]) -> Result<()> {
    env.start(Setup::default()).await?;
    env.create(env.pod("web")).await?;
    env.pod_ready("web").await?;
    let noise = noise(1, MUCH);
    let input = env.bench.write("noise", &noise)?;
    let sum: String = Sha256::digest(&noise).iter().map(|byte| format!("{byte:02x}")).collect();
    let count = MUCH.to_string();
    for kubectl in kubectls {
        let out = env.run(kubectl, &["exec", "web", "--", "head", "-c", &count, "/dev/zero"]).await?.success()?;
        let zeros = out.output.iter().filter(|byte| **byte == 0).count();
        ensure!(zeros == MUCH && out.output.len() == MUCH, "{}: {zeros} zeros came out", kubectl.name);
        let taken = env.run_on(kubectl, &["exec", "-i", "web", "--", "sha256sum"], &input).await?.success()?;
        ensure!(taken.text().starts_with(&sum), "{}: {:?} was taken in, not {sum}", kubectl.name, taken.text());
        // Both at once: neither direction waits for the other.
        let echoed = env.run_on(kubectl, &["exec", "-i", "web", "--", "cat"], &input).await?.success()?;
        ensure!(echoed.output == noise, "{}: {} bytes came back", kubectl.name, echoed.output.len());
    }
    env.streams("exec", 0).await
}

pub(crate) async fn what_cannot_be_run_says_why(env: &mut Env) -> Result<()> {
    env.start(Setup::default()).await?;
    env.create(env.pod("web")).await?;
    env.create(env.pod("late").asks("start-after", "1h")).await?;
    env.pod_ready("web").await?;
    for dialect in [Dialect::WebSocket, Dialect::Spdy] {
        let kubectl = Kubectl::own(dialect);
        for (arguments, code, told) in [
            (&["exec", "web", "--", "no-such-program"][..], 127, "no-such-program"),
            (&["exec", "web", "-c", "none", "--", "true"], 1, "none"),
            (&["exec", "late", "--", "true"], 1, "late"),
            (&["exec", "none", "--", "true"], 1, "not found"),
        ] {
            let finished = env.run(&kubectl, arguments).await?;
            let what = format!("{} {}", kubectl.name, arguments.join(" "));
            ensure!(finished.code == Some(code), "{what}: exit code {:?}: {}", finished.code, finished.errors);
            ensure!(finished.errors.contains(told), "{what}: {told:?} is not in: {}", finished.errors);
        }
    }
    Ok(())
}
