//! How many instances there are, and how long they live.

use std::time::Duration;

use tokio::{task::JoinSet, time::Instant};
use vk_provider::{ErrorKind, Provider as _};
use vk_runtime::{Limits, Timeouts};

use crate::probe::{Probe, ask, generation, pod, with_limits};

/// Runs a command as often at once.
async fn at_once(probe: &Probe, count: usize, command: &'static str) {
    let mut calls = JoinSet::new();
    for _ in 0..count {
        let runtime = probe.runtime.clone();
        calls.spawn(async move { ask(&runtime, command).await.unwrap() });
    }
    calls.join_all().await;
}

#[tokio::test]
async fn one_call_after_the_other_uses_one_instance() {
    let probe = Probe::start(generation()).await;
    for call in 1..=5 {
        assert_eq!(probe.ask("calls").await.unwrap(), call);
    }
    assert_eq!((probe.instances("idle"), probe.instances("busy")), (1.0, 0.0));
}

#[tokio::test(start_paused = true)]
async fn the_pool_grows_with_the_calls_up_to_its_limit() {
    let probe = Probe::start(with_limits(Limits { instances: 5, ..Limits::default() })).await;
    let begin = Instant::now();
    at_once(&probe, 9, "sleep 1000").await;
    assert_eq!(begin.elapsed().as_secs(), 3, "nine calls on the three instances for pods are three rounds");
    assert_eq!(probe.instances("idle"), 3.0);
}

#[tokio::test(start_paused = true)]
async fn unused_instances_are_dropped_after_a_minute_but_one_stays_warm() {
    let probe = Probe::start(generation()).await;
    at_once(&probe, 8, "sleep 10").await;
    assert_eq!(probe.instances("idle"), 8.0);
    tokio::time::sleep(Duration::from_secs(59)).await;
    assert_eq!(probe.instances("idle"), 8.0);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(probe.instances("idle"), 1.0);
    assert_eq!(probe.retired("idle"), 7.0);
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert_eq!(probe.instances("idle"), 1.0);
    at_once(&probe, 2, "sleep 10").await;
    tokio::time::sleep(Duration::from_secs(61)).await;
    assert_eq!(probe.instances("idle"), 1.0, "it goes on after a quiet time");
}

#[tokio::test]
async fn an_instance_is_replaced_after_so_many_calls() {
    let probe = Probe::start(with_limits(Limits { calls: 2, ..Limits::default() })).await;
    let mut calls = Vec::new();
    for _ in 0..5 {
        calls.push(probe.ask("calls").await.unwrap().as_u64().unwrap());
    }
    assert_eq!(calls, [1, 2, 1, 2, 1]);
    assert_eq!(probe.retired("calls"), 2.0);
}

#[tokio::test(start_paused = true)]
async fn an_instance_is_replaced_after_an_hour() {
    let probe = Probe::start(generation()).await;
    tokio::time::sleep(Duration::from_secs(3_500)).await;
    assert_eq!(probe.ask("calls").await.unwrap(), 1);
    tokio::time::sleep(Duration::from_secs(200)).await;
    assert_eq!(probe.ask("calls").await.unwrap(), 1);
    assert_eq!(probe.retired("age"), 1.0);
}

#[tokio::test(start_paused = true)]
async fn waiting_calls_come_in_order_and_not_for_ever() {
    let timeouts = Timeouts { queue: Duration::from_secs(25), ..Timeouts::default() };
    let limits = Limits { instances: 1, timeouts, ..Limits::default() };
    let probe = Probe::start(with_limits(limits)).await;
    let mut calls = Vec::new();
    for _ in 0..4 {
        let runtime = probe.runtime.clone();
        let call = tokio::spawn(async move { (ask(&runtime, "sleep 10000").await, Instant::now()) });
        tokio::time::sleep(Duration::from_millis(10)).await;
        calls.push(call);
    }
    let begin = Instant::now();
    let mut ends = Vec::new();
    for call in calls {
        let (result, at) = call.await.unwrap();
        ends.push((result.map_err(|error| error.to_string()), at.duration_since(begin).as_secs_f64().round()));
    }
    assert!(ends[..3].iter().all(|(result, _)| result.is_ok()));
    assert_eq!(ends.iter().map(|(_, at)| *at).collect::<Vec<_>>(), [10.0, 20.0, 30.0, 25.0]);
    let message = "all instances of the provider that get may use (1) were busy for 25 s (sandbox.instances)";
    assert_eq!(ends[3].0.as_ref().unwrap_err(), message);
}

#[tokio::test(start_paused = true)]
async fn describe_and_poll_answer_while_creates_occupy_all_instances() {
    let probe = Probe::start(with_limits(Limits { instances: 4, ..Limits::default() })).await;
    let mut creates = JoinSet::new();
    for _ in 0..100 {
        let runtime = probe.runtime.clone();
        creates.spawn(async move { runtime.create(pod("sleep 30000")).await });
    }
    probe.until(|probe| probe.instances("busy") == 2.0).await;
    let begin = Instant::now();
    let (described, polled) = tokio::join!(probe.runtime.describe(), probe.runtime.poll(None));
    described.unwrap();
    polled.unwrap();
    assert!(begin.elapsed() < Duration::from_secs(1), "waited {:?}", begin.elapsed());
    assert_eq!(probe.instances("busy"), 2.0, "the creates leave two instances free");
}

#[tokio::test(start_paused = true)]
async fn closing_waits_for_calls_in_flight_and_takes_no_more() {
    let probe = Probe::start(generation()).await;
    let runtime = probe.runtime.clone();
    let call = tokio::spawn(async move { ask(&runtime, "sleep 5000").await });
    probe.until(|probe| probe.instances("busy") == 1.0).await;
    let begin = Instant::now();
    let (closing, refused) = tokio::join!(probe.runtime.close(Duration::from_secs(30)), async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        probe.runtime.describe().await.unwrap_err()
    });
    let () = closing;
    assert_eq!((refused.kind, refused.message.as_str()), (ErrorKind::Unavailable, "the host is stopping"));
    assert_eq!(begin.elapsed().as_secs(), 4);
    call.await.unwrap().unwrap();
    assert_eq!(probe.instances("idle") + probe.instances("busy"), 0.0);
}

#[tokio::test(start_paused = true)]
async fn closing_waits_no_longer_than_it_may() {
    let probe = Probe::start(generation()).await;
    let runtime = probe.runtime.clone();
    let _call = tokio::spawn(async move { ask(&runtime, "sleep 60000").await });
    probe.until(|probe| probe.instances("busy") == 1.0).await;
    let begin = Instant::now();
    probe.runtime.close(Duration::from_secs(3)).await;
    assert_eq!(begin.elapsed().as_secs(), 3);
}

#[tokio::test]
async fn memory_of_all_instances_is_counted() {
    let probe = Probe::start(generation()).await;
    let one = probe.metric("vk_provider_memory_bytes");
    assert!(one >= 65_536.0, "{one}");
    at_once(&probe, 4, "sleep 50").await;
    assert!(probe.metric("vk_provider_memory_bytes") >= 4.0 * one);
}
