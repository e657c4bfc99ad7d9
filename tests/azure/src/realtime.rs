//! What a group uses, as its extension `realtime-metrics` tells it.

use axum::{
    http::StatusCode,
    response::{IntoResponse as _, Response},
};
use serde_json::{Value, json};

use crate::{
    Shared,
    clock::left,
    containers::Usage,
    error::json_response,
    group::{GroupState, Held},
};

/// What a group receives and sends each second, in bytes: the network is the machine's, and counts nothing by group.
pub(crate) const RECEIVED: u64 = 1000;
pub(crate) const SENT: u64 = 500;

/// The container that the service adds to each group.
const INFRASTRUCTURE: &str = "aci-infrastructure";

/// Answers for the group that has an address, if it has the extension and runs.
pub(crate) fn stats(shared: &Shared, address: &str) -> Response {
    let now = shared.clock.now();
    let world = shared.world();
    let has_extension = |held: &&Held| {
        held.body
            .properties
            .extensions
            .iter()
            .any(|extension| extension.properties.extension_type == "realtime-metrics")
    };
    let is_addressed = |held: &&Held| {
        held.life.state == GroupState::Running && held.life.address.is_some_and(|own| own.to_string() == address)
    };
    let Some(held) = world.groups.values().filter(has_extension).find(is_addressed) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let own = held.runs.iter().map(|(name, container)| (name.as_str(), container.usage()));
    let overhead =
        held.runs.values().map(|container| container.overhead()).fold(Usage::default(), |sum, one| sum + one);
    let all: Vec<(&str, Usage)> = own.chain([(INFRASTRUCTURE, overhead)]).collect();
    let sum = all.iter().fold(Usage::default(), |sum, (_, usage)| sum + *usage);
    let seconds = held.life.running_since.map_or(0, |since| left(since, now).as_secs());
    let network = json!({
        "name": "eth0",
        "rxBytes": seconds * RECEIVED,
        "rxErrors": 0,
        "txBytes": seconds * SENT,
        "txErrors": 0,
        "interfaces": [],
    });
    let containers = all.iter().map(|(name, usage)| {
        let mut figures = figures(*usage);
        crate::group::set(&mut figures, "", "name", json!(name));
        figures
    });
    let mut body = figures(sum);
    crate::group::set(&mut body, "", "timestamp", json!(now.as_second()));
    crate::group::set(&mut body, "", "network", network);
    crate::group::set(&mut body, "", "containers", containers.collect());
    json_response(StatusCode::OK, &body)
}

fn figures(usage: Usage) -> Value {
    json!({
        "cpu": { "usageCoreNanoSeconds": usage.cpu },
        "memory": { "usageBytes": usage.memory, "workingSetBytes": usage.memory, "rssBytes": usage.memory },
    })
}
