//! What the tests of this module share: pods from JSON, and the API server's side of a strategic-merge patch.

mod properties;
mod tables;

use std::{
    net::IpAddr,
    sync::{Arc, LazyLock},
};

use k8s_openapi::{
    api::core::v1::{ContainerStatus, Pod, PodCondition, PodStatus},
    jiff::Timestamp,
};
use serde_json::{Value, json};

use super::*;
use crate::fake_api::{merge, strategic};

static HOST_IPS: LazyLock<Vec<IpAddr>> =
    LazyLock::new(|| vec!["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()]);

fn at(time: &str) -> Timestamp {
    time.parse().unwrap()
}

fn facts(now: &str) -> Facts<'static> {
    Facts { now: at(now), host_ips: &HOST_IPS, provider: None, resize: &Resize::Unjudged }
}

const T0: &str = "2026-05-01T10:00:00Z";
const T1: &str = "2026-05-01T10:00:10.75Z";
const T2: &str = "2026-05-01T10:05:00Z";

/// A pod with the containers `web` and, if asked for, more of its spec.
fn pod(spec: Value) -> Pod {
    let mut base = json!({
        "metadata": {
            "name": "web", "namespace": "shop", "uid": "u-1", "generation": 3, "creationTimestamp": "2026-05-01T09:59:59Z",
        },
        "spec": { "containers": [{ "name": "web", "image": "web:1" }] },
        "status": {
            "phase": "Pending", "qosClass": "Burstable",
            "conditions": [{ "type": "PodScheduled", "status": "True", "lastTransitionTime": "2026-05-01T09:59:59Z" }],
        },
    });
    merge(&mut base["spec"], &spec);
    serde_json::from_value(base).unwrap()
}

fn reported(status: Value) -> Observed {
    Observed::Reported(Arc::new(Report::parse(&status.to_string())))
}

fn running(name: &str) -> Value {
    json!({ "name": name, "state": { "running": { "startedAt": T0 } }, "ready": true, "containerID": format!("mock://{name}") })
}

fn terminated(name: &str, code: i32) -> Value {
    json!({ "name": name, "state": { "terminated": { "exitCode": code, "finishedAt": T0 } } })
}

/// What the API server makes of a strategic-merge patch of a pod's status.
fn applied(pod: &Pod, patch: &Value) -> Pod {
    let mut object = serde_json::to_value(pod).unwrap();
    assert_eq!(patch["metadata"], json!({ "uid": pod.metadata.uid }));
    if object["status"].is_null() {
        object["status"] = json!({});
    }
    strategic(&mut object["status"], &patch["status"]);
    serde_json::from_value(object).unwrap()
}

/// Composes, patches and applies, as the pod controller does; checks that nothing is left to do.
fn step(pod: &Pod, observed: &Observed, facts: &Facts<'_>) -> Pod {
    let composed = compose(pod, observed, facts);
    let Some(patch) = patch(pod, &composed.status) else { return pod.clone() };
    let pod = applied(pod, &patch);
    let again = compose(&pod, observed, facts);
    assert_eq!(super::patch(&pod, &again.status), None, "a second composition changes nothing");
    pod
}

fn status(pod: &Pod) -> &PodStatus {
    pod.status.as_ref().unwrap()
}

fn phase(pod: &Pod) -> &str {
    status(pod).phase.as_deref().unwrap()
}

fn condition<'a>(pod: &'a Pod, kind: &str) -> &'a PodCondition {
    status(pod).conditions.iter().flatten().find(|condition| condition.type_ == kind).unwrap()
}

/// A condition as `status reason message`.
fn says(pod: &Pod, kind: &str) -> String {
    let condition = condition(pod, kind);
    let words = [Some(&condition.status), condition.reason.as_ref(), condition.message.as_ref()];
    words.into_iter().flatten().cloned().collect::<Vec<_>>().join(" ")
}

fn container<'a>(pod: &'a Pod, name: &str) -> &'a ContainerStatus {
    let status = status(pod);
    let lists = [&status.init_container_statuses, &status.container_statuses, &status.ephemeral_container_statuses];
    lists.into_iter().flatten().flatten().find(|status| status.name == name).unwrap()
}

fn waiting_reason<'a>(pod: &'a Pod, name: &str) -> Option<&'a str> {
    container(pod, name).state.as_ref()?.waiting.as_ref()?.reason.as_deref()
}

fn exit_code(pod: &Pod, name: &str) -> Option<i32> {
    Some(container(pod, name).state.as_ref()?.terminated.as_ref()?.exit_code)
}

fn problems(composed: &Composed) -> Vec<String> {
    composed.problems.iter().map(ToString::to_string).collect()
}
