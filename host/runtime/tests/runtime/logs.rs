//! Reading logs.

use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use tokio::{task::JoinSet, time::Instant};
use vk_provider::{ErrorKind, Fault, LogChunk, LogQuery, Logs, PodId, SessionRequest, Sessions as _};
use vk_runtime::{Limits, Runtime};

use crate::probe::{Probe, ask, generation, id, with_limits};

fn query(container: &str) -> LogQuery {
    LogQuery {
        pod: id("uid", None),
        container: container.into(),
        previous: false,
        timestamps: false,
        tail_lines: None,
        since: None,
        limit_bytes: None,
    }
}

async fn read(runtime: &Runtime, container: &str) -> Result<LogChunk, vk_provider::Error> {
    Logs::read(runtime, &query(container), None).await
}

#[tokio::test]
async fn a_query_arrives_as_it_was_asked() {
    let probe = Probe::start(generation()).await;
    let pod = PodId { namespace: "n".into(), name: "p".into(), uid: "u".into(), handle: Some("h".into()) };
    let asked = LogQuery {
        pod,
        previous: true,
        timestamps: true,
        tail_lines: Some(0),
        since: Some(SystemTime::UNIX_EPOCH + Duration::from_millis(1_234)),
        limit_bytes: Some(u64::MAX),
        ..query("query")
    };
    for (query, expected) in [
        (asked, json!([["n", "p", "u", "h"], true, true, 0, 1_234, u64::MAX])),
        (query("query"), json!([["default", "web", "uid", null], false, false, null, null, null])),
    ] {
        let chunk = Logs::read(&*probe.runtime, &query, None).await.unwrap();
        assert_eq!(serde_json::from_slice::<Value>(&chunk.data).unwrap(), expected);
        assert_eq!((chunk.next, chunk.read_after), (None, Duration::ZERO));
    }
}

#[tokio::test]
async fn a_log_is_read_in_pieces_across_a_replacement() {
    let probe = Probe::start(generation()).await;
    let (mut text, mut after) = (String::new(), None);
    loop {
        let chunk = Logs::read(&*probe.runtime, &query("lines 4"), after).await.unwrap();
        assert_eq!(chunk.read_after, Duration::from_millis(250));
        text += str::from_utf8(&chunk.data).unwrap();
        after = chunk.next;
        if after.is_none() {
            break;
        }
        let next = format!(r#"{{"name": "after-{}"}}"#, text.lines().count());
        probe.runtime.replace(crate::probe::with_settings(&next)).await.unwrap();
    }
    assert_eq!(text, "line 0\nline 1\nline 2\nline 3\n");
    assert_eq!(probe.metric("vk_provider_calls_total{function=\"read-logs\",outcome=\"ok\"}"), 4.0);
}

#[tokio::test(start_paused = true)]
async fn a_read_that_fails_says_how() {
    let probe = Probe::start(generation()).await;
    for (container, fault, message) in [
        ("error not-found no such\ncontainer", None, "no such container"),
        ("trap", Some(Fault::Trap), "the provider trapped in read-logs"),
        ("sleep 60000", Some(Fault::Timeout), "did not answer read-logs within 30 s (sandbox.timeouts.read-logs)"),
        ("large-chunk 4194305", Some(Fault::Answer), "the piece of a log has 4194305 bytes, more than 4194304"),
        ("large-cursor 65537", Some(Fault::Answer), "the cursor has 65537 bytes, more than 65536"),
        ("large-chunk 20000000", Some(Fault::Answer), "more than 16 MiB at once in read-logs (sandbox.message-bytes)"),
    ] {
        let error = read(&probe.runtime, container).await.unwrap_err();
        assert_eq!(error.fault, fault, "{error:?}");
        assert!(error.message.contains(message), "{error:?}");
    }
    assert_eq!(read(&probe.runtime, "large-chunk 4194304").await.unwrap().data.len(), 4 << 20);
}

#[tokio::test]
async fn what_is_not_exported_is_unsupported_and_takes_no_instance() {
    let probe = Probe::start(generation()).await;
    let pod = id("uid", None);
    let opened = probe.runtime.open(&pod, &SessionRequest::PortForward(80)).await.unwrap_err();
    let stepped = probe.runtime.step(&pod, b"", vec![]).await.unwrap_err();
    let stats = vk_provider::Stats::read(&*probe.runtime, &[pod]).await.unwrap_err();
    for (error, interface) in [(opened, "sessions"), (stepped, "sessions"), (stats, "stats")] {
        assert_eq!((error.kind, error.fault), (ErrorKind::Unsupported, None));
        let message = format!("the provider probe 1.0 does not implement vk:provider/{interface}@0.1.0");
        assert_eq!(error.message, message);
    }
    assert_eq!(probe.ask("calls").await.unwrap(), 1);
}

#[tokio::test(start_paused = true)]
async fn followers_at_their_bound_do_not_delay_calls_on_pods() {
    let probe = Probe::start(with_limits(Limits { instances: 16, ..Limits::default() })).await;
    let mut followers = JoinSet::new();
    for _ in 0..100 {
        let runtime = probe.runtime.clone();
        followers.spawn(async move { read(&runtime, "sleep 20000").await });
    }
    // Half of the instances, without those that are left to steps and figures.
    probe.until(|probe| probe.instances("busy") == 6.0).await;
    let begin = Instant::now();
    probe.ask("ok").await.unwrap();
    assert!(begin.elapsed() < Duration::from_secs(1), "waited {:?}", begin.elapsed());
    assert_eq!(probe.instances("busy"), 6.0);
}

#[tokio::test(start_paused = true)]
async fn calls_on_pods_at_their_bound_do_not_delay_followers() {
    let probe = Probe::start(with_limits(Limits { instances: 16, ..Limits::default() })).await;
    let mut calls = JoinSet::new();
    for _ in 0..100 {
        let runtime = probe.runtime.clone();
        calls.spawn(async move { ask(&runtime, "sleep 14000").await });
    }
    probe.until(|probe| probe.instances("busy") == 12.0).await;
    let begin = Instant::now();
    read(&probe.runtime, "lines 1").await.unwrap();
    assert!(begin.elapsed() < Duration::from_secs(1), "waited {:?}", begin.elapsed());
}
