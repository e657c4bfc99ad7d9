//! A new generation takes over from the one that serves.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use serde_json::json;
use tokio::task::JoinSet;
use vk_provider::{Fault, Provider as _};
use vk_runtime::{Limits, ReadGrant, StartError};

use crate::probe::{Probe, ask, generation, with_limits, with_settings};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replacement_under_load_loses_no_call() {
    let probe = Probe::start(with_settings(r#"{"version": "0"}"#)).await;
    let stop = Arc::new(AtomicBool::new(false));
    let mut callers = JoinSet::new();
    for _ in 0..50 {
        let (runtime, stop) = (probe.runtime.clone(), stop.clone());
        callers.spawn(async move {
            let mut calls = 0;
            while !stop.load(Relaxed) {
                ask(&runtime, "sleep 2").await.unwrap();
                calls += 1;
            }
            calls
        });
    }
    for version in 1..=5 {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let info = probe.runtime.replace(with_settings(&format!(r#"{{"version": "{version}"}}"#))).await.unwrap();
        assert_eq!(info.version, version.to_string());
        assert_eq!(probe.runtime.info(), info);
    }
    stop.store(true, Relaxed);
    let calls: Vec<i32> = callers.join_all().await;
    assert!(calls.iter().all(|&calls| calls > 0), "{calls:?}");
    assert_eq!(probe.metric("vk_provider_replacements_total{outcome=\"replaced\"}"), 5.0);
    probe.until(|probe| probe.instances("busy") == 0.0).await;
    assert!(probe.instances("idle") <= 16.0, "instances of the old generations are gone");
}

#[tokio::test]
async fn a_call_in_flight_ends_on_the_generation_that_it_began_on() {
    let probe = Probe::start(generation()).await;
    let runtime = probe.runtime.clone();
    let call = tokio::spawn(async move { ask(&runtime, "sleep 300").await });
    probe.until(|probe| probe.instances("busy") == 1.0).await;
    probe.runtime.replace(with_settings(r#"{"name": "next"}"#)).await.unwrap();
    assert_eq!(probe.runtime.info().name, "next");
    assert!(!call.is_finished());
    call.await.unwrap().unwrap();
    assert_eq!(probe.retired("drained"), 1.0);
    assert_eq!(probe.instances("idle"), 1.0, "the new generation's");
}

#[tokio::test]
async fn calls_that_wait_for_the_old_generation_get_the_new_one() {
    let probe = Probe::start(with_limits(Limits { instances: 1, ..Limits::default() })).await;
    let runtime = probe.runtime.clone();
    let occupying = tokio::spawn(async move { ask(&runtime, "sleep 60000").await });
    probe.until(|probe| probe.instances("busy") == 1.0).await;
    let runtime = probe.runtime.clone();
    let waiting = tokio::spawn(async move { runtime.describe().await });
    tokio::task::yield_now().await;
    probe.runtime.replace(with_settings(r#"{"name": "next"}"#)).await.unwrap();
    waiting.await.unwrap().unwrap();
    assert!(!occupying.is_finished());
    occupying.abort();
}

#[tokio::test]
async fn a_failed_replacement_leaves_the_old_one_serving() {
    let probe = Probe::start(with_settings(r#"{"version": "old"}"#)).await;
    let mut truncated = generation();
    truncated.wasm = truncated.wasm[..truncated.wasm.len() - 10].into();
    truncated.label = "cut.wasm".into();
    let mut foreign = generation();
    foreign.wasm = crate::guests::guest("foreign");
    let mut unreadable = generation();
    unreadable.sandbox.read = vec![ReadGrant { name: "/does/not/exist".into(), real: "/does/not/exist".into() }];
    let cases = [
        (truncated, "cut.wasm is truncated"),
        (foreign, "probe.wasm does not satisfy the world vk:provider/provider@0.1.0"),
        (unreadable, "probe.wasm: sandbox.read grants /does/not/exist, which cannot be opened"),
        (
            with_settings(r#"{"configure": "error invalid Region is missing"}"#),
            "probe.wasm does not accept its configuration: Region is missing",
        ),
        (
            with_settings(r#"{"configure": "trap"}"#),
            "probe.wasm does not accept its configuration: the provider trapped",
        ),
        (
            with_settings(r#"{"name": "no good"}"#),
            "probe.wasm does not accept its configuration: the provider gave a malformed",
        ),
        (
            with_settings(r#"{"describe": "error unavailable no route"}"#),
            "probe.wasm cannot describe the node: no route",
        ),
        (with_settings(r#"{"describe": "trap"}"#), "probe.wasm cannot describe the node: the provider trapped"),
    ];
    let count = cases.len();
    for (generation, message) in cases {
        let error = probe.runtime.replace(generation).await.unwrap_err();
        assert!(error.to_string().starts_with(message), "{error}");
        assert_eq!(probe.runtime.info().version, "old");
        probe.ask("ok").await.unwrap();
    }
    assert_eq!(probe.metric("vk_provider_replacements_total{outcome=\"failed\"}"), count as f64);
    assert_eq!(probe.ask("calls").await.unwrap(), 1 + count, "on the same instance all the time");
    assert_eq!(probe.instances("idle"), 1.0, "nothing is left of what failed");
}

#[tokio::test]
async fn the_same_component_and_configuration_change_nothing() {
    let probe = Probe::start(generation()).await;
    probe.ask("cache-set key value 60000").await.unwrap();
    let mut same = generation();
    same.label = "another-name.wasm".into();
    probe.runtime.replace(same).await.unwrap();
    assert_eq!(probe.ask("cache-get key").await.unwrap(), "value");
    assert_eq!(probe.metric("vk_provider_replacements_total{outcome=\"unchanged\"}"), 1.0);

    let mut other = generation();
    other.sandbox.env = vec![("A".into(), "b".into())];
    probe.runtime.replace(other).await.unwrap();
    assert_eq!(probe.ask("cache-get key").await.unwrap(), json!(null), "the cache starts empty");
    assert_eq!(probe.ask("env A").await.unwrap(), "b");
}

#[tokio::test]
async fn replacements_come_one_after_the_other() {
    let probe = Probe::start(generation()).await;
    let replace = |name: &str| {
        let runtime = probe.runtime.clone();
        let generation = with_settings(&format!(r#"{{"name": "{name}", "configure": "sleep 20"}}"#));
        async move { runtime.replace(generation).await.unwrap().name }
    };
    let names = tokio::join!(replace("a"), replace("b"), replace("c"));
    assert_eq!(names, ("a".into(), "b".into(), "c".into()));
    assert_eq!(probe.runtime.info().name, "c");
}

#[tokio::test]
async fn a_replacement_does_not_outlive_the_close() {
    let probe = Probe::start(generation()).await;
    probe.runtime.close(Duration::ZERO).await;
    let error = probe.runtime.replace(with_settings(r#"{"name": "late"}"#)).await.unwrap_err();
    assert!(matches!(error, StartError::Closed), "{error}");
}

#[tokio::test]
async fn what_the_old_generation_reported_is_not_reported_again() {
    let mut probe = Probe::start(generation()).await;
    probe.ask("event 1000 Pulled image").await.unwrap();
    probe.runtime.replace(with_settings(r#"{"name": "next"}"#)).await.unwrap();
    probe.ask("event 1000 Pulled image").await.unwrap();
    probe.ask("event 2000 Started").await.unwrap();
    assert_eq!(probe.events.recv().await.unwrap().reason, "Pulled");
    assert_eq!(probe.events.recv().await.unwrap().reason, "Started");
}

#[tokio::test]
async fn an_instance_that_is_made_later_blames_no_pod_for_its_configuration() {
    // The second instance finds what the first one left in the cache, and refuses.
    let probe = Probe::start(with_settings(r#"{"configure": "once"}"#)).await;
    assert_eq!(probe.ask("trap").await.unwrap_err().fault, Some(Fault::Trap));
    let error = probe.ask("ok").await.unwrap_err();
    assert_eq!(error.kind, vk_provider::ErrorKind::Internal);
    assert_eq!(error.message, "a further instance does not accept its configuration: not a second time");
    assert_eq!(probe.retired("configure"), 1.0);
}
