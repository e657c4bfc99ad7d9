//! A fault costs one instance and fails one call.

use std::time::Duration;

use serde_json::json;
use tokio::{task::JoinSet, time::Instant};
use vk_provider::{ErrorKind, Fault};
use vk_runtime::{Limits, StartError, Timeouts};

use crate::probe::{Logs, Probe, ask, generation, with_limits, with_settings};

fn tight() -> Limits {
    let timeouts = Timeouts { get: Duration::from_secs(20), ..Timeouts::default() };
    Limits { cpu: Duration::from_millis(300), memory: 16 << 20, timeouts, ..Limits::default() }
}

#[tokio::test]
async fn each_fault_names_its_limit() {
    let mut limits = tight();
    limits.timeouts.get = Duration::from_secs(1);
    limits.handles = 100;
    let probe = Probe::start(with_limits(limits)).await;
    for (command, fault, message) in [
        ("trap", Fault::Trap, "the provider trapped in get: wasm trap: wasm `unreachable` instruction executed"),
        ("stack 100000000", Fault::Trap, "the provider used more than 1 MiB of stack in get"),
        ("exit 3", Fault::Trap, "the provider ended itself with status 1 in get"),
        ("random 2000000", Fault::Trap, "the provider trapped in get: "),
        ("allocate", Fault::Memory, "the provider needed more than 16 MiB of memory in get (sandbox.memory)"),
        ("spin", Fault::Cpu, "the provider computed for more than 300 ms in get (sandbox.cpu)"),
        ("sleep 60000", Fault::Timeout, "the provider did not answer get within 1 s (sandbox.timeouts.get)"),
        ("handles 200", Fault::Memory, "the provider opened more than 100 handles in get (sandbox.handles)"),
    ] {
        let error = probe.ask(command).await.unwrap_err();
        assert_eq!(error.fault, Some(fault), "{command}: {error}");
        assert!(error.message.starts_with(message), "{command}: {error}");
        let kind = if fault == Fault::Timeout { ErrorKind::Unavailable } else { ErrorKind::Internal };
        assert_eq!(error.kind, kind);
        assert_eq!(probe.ask("calls").await.unwrap(), 1, "after {command} the next call has another instance");
        assert_eq!(probe.ask("calls").await.unwrap(), 2);
    }
    for (reason, count) in [("trap", 4.0), ("memory", 2.0), ("cpu", 1.0), ("timeout", 1.0)] {
        assert_eq!(probe.retired(reason), count, "{reason}");
        let sample = format!("vk_provider_calls_total{{function=\"get\",outcome=\"{reason}\"}}");
        assert_eq!(probe.metric(&sample), count, "{sample}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn faults_harm_no_other_call() {
    let probe = Probe::start(with_limits(tight())).await;
    let mut calls = JoinSet::new();
    for number in 0..50 {
        let fault = ["trap", "spin", "allocate", "stack 100000000", "other-pod", "exit 1"][number % 6];
        for command in [format!("env {number}"), fault.to_owned()] {
            let runtime = probe.runtime.clone();
            calls.spawn(async move { (command.clone(), ask(&runtime, &command).await) });
        }
    }
    let mut sound = 0;
    while let Some(call) = calls.join_next().await {
        let (command, result) = call.unwrap();
        if command.starts_with("env") {
            assert_eq!(result.unwrap(), json!(null), "{command}");
            sound += 1;
        } else {
            assert!(result.unwrap_err().fault.is_some(), "{command}");
        }
    }
    assert_eq!(sound, 50);
}

/// A guest that computes yields to the other tasks of its thread.
#[tokio::test(flavor = "current_thread")]
async fn a_computing_guest_blocks_no_thread() {
    let probe = Probe::start(generation()).await;
    let runtime = probe.runtime.clone();
    let computing = tokio::spawn(async move { ask(&runtime, "compute 1000").await });
    probe.until(|probe| probe.instances("busy") == 1.0).await;
    for _ in 0..10 {
        let begin = Instant::now();
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert!(begin.elapsed() < Duration::from_millis(500), "waited {:?}", begin.elapsed());
    }
    assert!(!computing.is_finished(), "the guest was to compute all the while");
    computing.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_call_whose_caller_is_gone_takes_its_instance_with_it() {
    let probe = Probe::start(generation()).await;
    let runtime = probe.runtime.clone();
    let abandoned = tokio::spawn(async move { ask(&runtime, "sleep 60000").await });
    probe.until(|probe| probe.instances("busy") == 1.0).await;
    abandoned.abort();
    probe.until(|probe| probe.instances("busy") == 0.0).await;
    assert_eq!(probe.retired("cancelled"), 1.0);
    assert_eq!(probe.metric("vk_provider_calls_total{function=\"get\",outcome=\"cancelled\"}"), 1.0);
    assert_eq!(probe.instances("idle"), 0.0);
    assert_eq!(probe.ask("calls").await.unwrap(), 1, "another instance");
}

#[tokio::test]
async fn a_guest_that_bears_to_get_no_memory_may_answer_but_is_retired() {
    let probe = Probe::start(with_limits(tight())).await;
    let got = probe.ask("allocate-politely").await.unwrap().as_u64().unwrap();
    assert!((4 << 20..16 << 20).contains(&got), "{got}");
    assert_eq!(probe.retired("memory"), 1.0);
    assert_eq!(probe.metric("vk_provider_memory_bytes"), 0.0, "its memory is given back");
}

#[tokio::test(start_paused = true)]
async fn every_call_has_a_time_limit_of_its_own() {
    let probe = Probe::start(generation()).await;
    let begin = Instant::now();
    assert_eq!(probe.ask("sleep 3600000").await.unwrap_err().fault, Some(Fault::Timeout));
    assert_eq!(begin.elapsed().as_secs(), 15);

    use vk_provider::Provider as _;
    let begin = Instant::now();
    let error = probe.runtime.create(crate::probe::pod("sleep 3600000")).await.unwrap_err();
    assert_eq!(error.message, "the provider did not answer create within 60 s (sandbox.timeouts.create)");
    assert_eq!(begin.elapsed().as_secs(), 60);
}

#[tokio::test]
async fn a_trap_is_logged_with_the_guests_stack() {
    let logs = Logs::collect();
    let probe = Probe::start(generation()).await;
    probe.ask("trap").await.unwrap_err();
    let panic = logs.line_with("told to trap");
    assert!(panic.contains("WARN") && panic.contains("stream=\"stderr\"") && panic.contains("pod=\"default/web\""));
    let trap = logs.line_with("the provider trapped in get");
    assert!(trap.contains("fault=\"trap\"") && trap.contains("pod=\"default/web\""), "{trap}");
    assert!(logs.lines().iter().any(|line| line.contains("commands::run")), "{:#?}", logs.lines());
}

#[tokio::test]
async fn a_fault_at_the_start_is_an_error_of_the_start() {
    let mut limits = tight();
    limits.timeouts.configure = Duration::from_millis(500);
    for (command, fault) in
        [("trap", Fault::Trap), ("spin", Fault::Cpu), ("allocate", Fault::Memory), ("sleep 60000", Fault::Timeout)]
    {
        let mut generation = with_settings(&format!(r#"{{"configure": "{command}"}}"#));
        generation.sandbox.limits = limits.clone();
        let Err(error) = Probe::try_start(generation).await else { panic!("{command}") };
        let StartError::Configure { source, .. } = &error else { panic!("{error:?}") };
        assert_eq!(source.fault, Some(fault), "{command}");
        assert!(
            error.to_string().starts_with("probe.wasm does not accept its configuration: the provider "),
            "{error}"
        );
    }
}

#[tokio::test]
async fn a_component_that_is_too_large_for_its_memory_does_not_start() {
    let limits = Limits { memory: 64 << 10, ..Limits::default() };
    let Err(error) = Probe::try_start(with_limits(limits)).await else { panic!() };
    assert!(error.to_string().ends_with("needed more than 64 KiB of memory in configure (sandbox.memory)"), "{error}");
}
