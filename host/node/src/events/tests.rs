//! Events against a small API server, in paused time.

use std::time::SystemTime;

use http::Method;
use prometheus_client::metrics::counter::Counter;
use serde_json::{Value, json};
use vk_provider::PodId;

use super::*;
use crate::fake_api::{FakeApi, Instead};

const EVENTS: &str = "namespaces/shop/events";

fn pod(name: &str) -> Pod {
    let metadata = json!({ "name": name, "namespace": "shop", "uid": format!("u-{name}") });
    serde_json::from_value(json!({ "metadata": metadata })).unwrap()
}

fn start(api: &FakeApi) -> (Events, CancellationToken) {
    let (events, writer) = Events::new(api.client(), "vk", Counter::default());
    let stop = CancellationToken::new();
    tokio::spawn(writer.run(stop.clone()));
    (events, stop)
}

async fn settle() {
    sleep(Duration::from_millis(10)).await;
}

fn report(at: u64, reason: &str, container: Option<&str>) -> PodEvent {
    PodEvent {
        pod: PodId { namespace: "shop".into(), name: "web".into(), uid: "u-web".into(), handle: None },
        container: container.map(str::to_owned),
        at: SystemTime::UNIX_EPOCH + Duration::from_secs(at),
        warning: true,
        reason: reason.into(),
        message: "m".into(),
    }
}

#[tokio::test(start_paused = true)]
async fn an_event_says_all_that_kubectl_describe_looks_for() {
    let api = FakeApi::default();
    let (events, _stop) = start(&api);
    events.warning(&pod("web"), "ProviderCreateFailed", "no quota");
    events.success(&pod("web"), "ProviderCreateSuccess", "Create pod in provider successfully");
    events.on_node(Kind::Warning, "ProviderUnreachable", "no route");
    settle().await;
    let written = api.list(EVENTS);
    assert_eq!(written.len(), 2);
    let event = written.iter().find(|event| event["reason"] == "ProviderCreateFailed").unwrap();
    assert_eq!(
        event["involvedObject"],
        json!({ "apiVersion": "v1", "kind": "Pod", "namespace": "shop", "name": "web", "uid": "u-web" })
    );
    assert_eq!(
        (&event["type"], &event["message"], &event["count"]),
        (&json!("Warning"), &json!("no quota"), &json!(1))
    );
    assert_eq!(event["source"], json!({ "component": "virtual-kubelet", "host": "vk" }));
    let node = &api.list("namespaces/default/events")[0];
    assert_eq!((&node["involvedObject"]["kind"], &node["involvedObject"]["uid"]), (&json!("Node"), &json!("vk")));
}

#[tokio::test(start_paused = true)]
async fn repeats_are_counted_in_one_event() {
    let api = FakeApi::default();
    let (events, _stop) = start(&api);
    for _ in 0..5 {
        events.warning(&pod("web"), "ProviderCreateFailed", "no quota");
    }
    settle().await;
    for _ in 0..2 {
        events.warning(&pod("web"), "ProviderCreateFailed", "no quota");
        settle().await;
    }
    events.warning(&pod("api"), "ProviderCreateFailed", "no quota");
    settle().await;
    let counts: Vec<Value> = api.list(EVENTS).iter().map(|event| event["count"].clone()).collect();
    assert_eq!(counts.iter().map(|count| count.as_i64().unwrap()).max(), Some(7));
    assert_eq!(counts.len(), 2, "another pod has an event of its own");
    assert_eq!(api.calls(&Method::POST).len(), 2);
    assert_eq!(api.calls(&Method::PATCH).len(), 2, "those that came at once were one write");
}

#[tokio::test(start_paused = true)]
async fn messages_that_never_repeat_do_not_make_events_without_end() {
    let api = FakeApi::default();
    let (events, _stop) = start(&api);
    for request in 0..50 {
        events.warning(&pod("web"), "ProviderCreateFailed", format!("request {request} failed"));
        settle().await;
    }
    assert_eq!(api.list(EVENTS).len(), 10);
    assert!(api.list(EVENTS).iter().any(|event| event["message"] == "request 49 failed"), "the latest one is told");
}

#[tokio::test(start_paused = true)]
async fn an_event_that_is_forgotten_is_made_again() {
    let api = FakeApi::default();
    let (events, _stop) = start(&api);
    events.warning(&pod("web"), "ProviderCreateFailed", "no quota");
    settle().await;
    let name = api.list(EVENTS)[0]["metadata"]["name"].as_str().unwrap().to_owned();
    api.remove(&format!("{EVENTS}/{name}"));
    events.warning(&pod("web"), "ProviderCreateFailed", "no quota");
    settle().await;
    assert_eq!(api.list(EVENTS)[0]["count"], 2);
    sleep(Duration::from_secs(601)).await;
    events.warning(&pod("web"), "ProviderCreateFailed", "no quota");
    settle().await;
    assert_eq!(api.list(EVENTS).len(), 2, "after ten minutes it is another event");
}

#[tokio::test(start_paused = true)]
async fn a_burst_of_successes_pays_few_writes_and_every_failure_is_told() {
    let api = FakeApi::default();
    let (events, _stop) = start(&api);
    for index in 0..1000 {
        events.success(&pod(&format!("ok-{index}")), "ProviderCreateSuccess", "Create pod in provider successfully");
    }
    for index in 0..1000 {
        events.warning(&pod(&format!("bad-{index}")), "ProviderCreateFailed", "no quota");
    }
    settle().await;
    let of = |reason: &str| api.list(EVENTS).iter().filter(|event| event["reason"] == reason).count();
    assert_eq!((of("ProviderCreateSuccess"), of("ProviderCreateFailed")), (10, 1000));
    sleep(Duration::from_secs(3)).await;
    for index in 0..10 {
        events.success(&pod(&format!("later-{index}")), "ProviderCreateSuccess", "Create pod in provider successfully");
    }
    settle().await;
    assert_eq!(of("ProviderCreateSuccess"), 13, "the bucket fills by one a second");
}

#[tokio::test(start_paused = true)]
async fn what_a_provider_reports_twice_is_written_once() {
    let api = FakeApi::default();
    let (events, _stop) = start(&api);
    for _ in 0..3 {
        events.reported(&report(100, "Pulled", Some("main")));
    }
    events.reported(&report(101, "Pulled", Some("main")));
    events.reported(&report(100, "not a reason!", None));
    settle().await;
    let written = api.list(EVENTS);
    let pulled = written.iter().find(|event| event["reason"] == "Pulled").unwrap();
    assert_eq!(pulled["count"], 2);
    assert_eq!(pulled["involvedObject"]["fieldPath"], "spec.containers{main}");
    assert_eq!(pulled["firstTimestamp"], "1970-01-01T00:01:40Z");
    assert!(written.iter().any(|event| event["reason"] == "ReportedByProvider"));
}

#[tokio::test(start_paused = true)]
async fn long_messages_are_cut_to_what_the_api_server_takes() {
    let api = FakeApi::default();
    let (events, _stop) = start(&api);
    events.warning(&pod("web"), "ProviderCreateFailed", "é".repeat(2000));
    settle().await;
    assert_eq!(api.list(EVENTS)[0]["message"].as_str().unwrap().len(), 1024);
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_tried_again_and_a_refused_event_is_not() {
    let api = FakeApi::default();
    let mut failing = 2;
    api.rule(move |_| {
        failing -= 1;
        (failing >= 0).then_some(Instead::Refuse(503, "ServiceUnavailable", "busy"))
    });
    let (events, _stop) = start(&api);
    events.warning(&pod("web"), "ProviderCreateFailed", "no quota");
    sleep(Duration::from_secs(10)).await;
    assert_eq!(api.list(EVENTS).len(), 1);
    api.rule(|_| Some(Instead::Refuse(403, "Forbidden", "namespace is being terminated")));
    let before = api.calls(&Method::POST).len();
    events.warning(&pod("api"), "ProviderCreateFailed", "no quota");
    sleep(Duration::from_secs(60)).await;
    assert_eq!(api.calls(&Method::POST).len(), before + 1);
}

#[tokio::test(start_paused = true)]
async fn callers_never_wait_for_an_api_server_that_hangs() {
    let api = FakeApi::default();
    api.rule(|_| Some(Instead::Hang));
    let (events, stop) = start(&api);
    let started = Instant::now();
    for index in 0..3 * QUEUE {
        events.warning(&pod("web"), "ProviderCreateFailed", format!("{index}"));
    }
    assert_eq!(started.elapsed(), Duration::ZERO);
    sleep(Duration::from_secs(1)).await;
    api.rule(|_| None);
    stop.cancel();
    settle().await;
    assert!(!api.list(EVENTS).is_empty(), "the one whose request hung is written with the stop");
}

#[tokio::test(start_paused = true)]
async fn what_is_queued_is_written_before_the_stop() {
    let api = FakeApi::default();
    let (events, stop) = start(&api);
    stop.cancel();
    events.warning(&pod("web"), "ProviderDeleteFailed", "busy");
    settle().await;
    assert_eq!(api.list(EVENTS).len(), 1);
}
