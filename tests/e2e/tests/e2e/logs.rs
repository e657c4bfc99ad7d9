//! `kubectl logs`.

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use serde_json::json;
use vk_e2e::{Dialect, Env, Kubectl, Setup, phase};

/// Of the log of a container that has written so many lines at its start.
fn expected(lines: std::ops::RangeInclusive<u32>) -> String {
    lines.map(|number| format!("main: line {number}\n")).collect()
}

pub(crate) async fn every_option_picks_its_part(env: &mut Env) -> Result<()> {
    env.start(Setup::default()).await?;
    env.create(env.pod("web").asks("log-lines", "100")).await?;
    env.pod_ready("web").await?;
    let before = (Timestamp::now() - SignedDuration::from_hours(1)).to_string();
    let soon = (Timestamp::now() + SignedDuration::from_hours(1)).to_string();
    let first = "main: started, run 0\n";
    for (options, wanted) in [
        (&[][..], format!("{first}{}", expected(1..=100))),
        (&["--tail=0"], String::new()),
        (&["--tail=3"], expected(98..=100)),
        (&["--tail=1000"], format!("{first}{}", expected(1..=100))),
        (&["--limit-bytes=25"], format!("{first}main")),
        (&["--tail=2", "--limit-bytes=3"], "mai".to_owned()),
        (&["--since=1h"], format!("{first}{}", expected(1..=100))),
        (&["--since-time", &before], format!("{first}{}", expected(1..=100))),
        (&["--since-time", &soon], String::new()),
        (&["--prefix", "--tail=1"], "[pod/web/main] main: line 100\n".to_owned()),
        (&["-c", "main", "--tail=1"], expected(100..=100)),
    ] {
        let printed = env.kubectl(&[&["logs", "web"], options].concat()).await?;
        ensure!(printed == wanted, "{options:?}: {printed:?}");
    }
    let stamped = env.kubectl(&["logs", "web", "--timestamps"]).await?;
    ensure!(stamped.lines().count() == 101, "{stamped}");
    for line in stamped.lines() {
        let (time, rest) = line.split_once(' ').with_context(|| format!("no time: {line}"))?;
        let age = Timestamp::now().duration_since(time.parse()?);
        ensure!(age.abs() < SignedDuration::from_mins(5) && rest.starts_with("main: "), "{line}");
    }
    Ok(())
}

pub(crate) async fn lines_from_before_the_time_asked_for_are_left_out(env: &mut Env) -> Result<()> {
    env.start(Setup::default()).await?;
    env.create(env.pod("web").asks("log-every", "500ms")).await?;
    env.pod_ready("web").await?;
    let kubectl = Kubectl::own(Dialect::WebSocket);
    let mut following = env.spawn(&kubectl, &["logs", "-f", "web"])?;
    // Written four seconds after the first.
    following.line_with("main: line 8").await?;
    following.kill().await?;
    let all = env.kubectl(&["logs", "web"]).await?;
    let late = env.kubectl(&["logs", "web", "--since=2s"]).await?;
    ensure!(all.starts_with("main: started, run 0\nmain: line 1\n"), "{all}");
    ensure!(late.contains("main: line 8\n") && !late.contains("main: line 1\n"), "{late}");
    Ok(())
}

pub(crate) async fn what_cannot_be_read_says_why(env: &mut Env) -> Result<()> {
    env.start(Setup::default()).await?;
    env.create(env.pod("web")).await?;
    env.create(env.pod("late").asks("start-after", "1h")).await?;
    env.pod_ready("web").await?;
    for (arguments, told) in [
        (&["logs", "web", "--previous"][..], "previous terminated container \"main\" in pod"),
        (&["logs", "web", "-c", "none"], "container none is not valid for pod web"),
        (&["logs", "late"], "waiting to start"),
    ] {
        let error = env.kubectl(arguments).await.err().with_context(|| format!("{arguments:?} succeeded"))?;
        ensure!(error.to_string().contains(told), "{arguments:?}: {told:?} is not in: {error}");
    }
    Ok(())
}

pub(crate) async fn a_followed_log_ends_complete_with_its_container(env: &mut Env) -> Result<()> {
    env.start(Setup::default()).await?;
    let pod = env.pod("short").asks("run-for", "6s").asks("log-every", "50ms").asks("exit-code", "3");
    env.create(pod.spec(json!({"restartPolicy": "Never"}))).await?;
    env.pod_ready("short").await?;
    let kubectl = Kubectl::own(Dialect::WebSocket);
    let followed = env.run(&kubectl, &["logs", "-f", "short"]).await?.success()?;
    env.pod_until("short", "to have failed", |pod| phase(pod) == "Failed").await?;
    let afterwards = env.kubectl(&["logs", "short"]).await?;
    ensure!(followed.text() == afterwards, "followed: {}\nafterwards: {afterwards}", followed.text());
    ensure!(afterwards.ends_with("main: exited with code 3\n") && afterwards.lines().count() > 50, "{afterwards}");
    env.streams("logs", 0).await
}

pub(crate) async fn the_log_of_the_run_before_is_kept(env: &mut Env) -> Result<()> {
    env.start(Setup::default()).await?;
    let pod = env.pod("again").asks("run-for", "2s").asks("restarts", "1").asks("restart-after", "500ms");
    env.create(pod.asks("log-every", "500ms").spec(json!({"restartPolicy": "OnFailure"}))).await?;
    env.pod_until("again", "to have been started again", |pod| {
        let containers = pod.status.as_ref().and_then(|status| status.container_statuses.as_ref());
        containers.into_iter().flatten().any(|container| container.restart_count == 1)
    })
    .await?;
    let previous = env.kubectl(&["logs", "again", "--previous"]).await?;
    ensure!(previous.starts_with("main: started, run 0\nmain: line 1\n"), "{previous}");
    ensure!(previous.ends_with("main: exited with code 1\n"), "{previous}");
    let current = env.kubectl(&["logs", "again"]).await?;
    ensure!(current.starts_with("main: started, run 1\n"), "{current}");
    Ok(())
}

pub(crate) async fn a_burst_of_lines_arrives_whole(env: &mut Env) -> Result<()> {
    const LINES: u32 = 200_000;
    env.start(Setup::default()).await?;
    env.create(env.pod("loud").asks("log-lines", &LINES.to_string()).asks("log-bytes", "100")).await?;
    env.pod_ready("loud").await?;
    let printed = env.kubectl(&["logs", "loud"]).await?;
    ensure!(printed.len() == 100 * (LINES as usize + 1), "{} bytes", printed.len());
    for (number, line) in printed.lines().enumerate().skip(1) {
        ensure!(line.starts_with(&format!("main: line {number}.")), "line {number} is {line}");
    }
    Ok(())
}
