//! What has to change for the Node in the API to be the one that is wanted. Labels, annotations, taints, resources and
//! conditions of others are never touched. Pure.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::{Node, NodeCondition, NodeStatus, Taint},
    apimachinery::pkg::api::resource::Quantity,
};
use serde_json::{Map, Value, json};

use crate::quantity;

/// What the host itself has set before, and removes when it is not wanted any more.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Owned {
    labels: Vec<String>,
    annotations: Vec<String>,
    resources: Vec<String>,
    conditions: Vec<String>,
}

impl Owned {
    /// Remembers what `wanted` sets, beside what was set before.
    pub(super) fn add(&mut self, wanted: &Node) {
        fn extend<'a>(known: &mut Vec<String>, names: impl Iterator<Item = &'a String>) {
            for name in names {
                if !known.contains(name) {
                    known.push(name.clone());
                }
            }
        }
        extend(&mut self.labels, wanted.metadata.labels.iter().flatten().map(|(name, _)| name));
        extend(&mut self.annotations, wanted.metadata.annotations.iter().flatten().map(|(name, _)| name));
        if let Some(status) = &wanted.status {
            extend(&mut self.resources, status.capacity.iter().flatten().map(|(name, _)| name));
            extend(&mut self.resources, status.allocatable.iter().flatten().map(|(name, _)| name));
            extend(&mut self.conditions, status.conditions.iter().flatten().map(|condition| &condition.type_));
        }
    }
}

/// A merge patch of labels and annotations; `None` if they are as wanted.
pub(super) fn metadata(current: &Node, wanted: &Node, owned: &Owned) -> Option<Value> {
    let mut metadata = Map::new();
    for (name, known, wanted, owned) in [
        ("labels", &current.metadata.labels, &wanted.metadata.labels, &owned.labels),
        ("annotations", &current.metadata.annotations, &wanted.metadata.annotations, &owned.annotations),
    ] {
        let empty = BTreeMap::new();
        let change = map(known.as_ref().unwrap_or(&empty), wanted.as_ref().unwrap_or(&empty), owned, |a, b| a == b);
        if !change.is_empty() {
            metadata.insert(name.to_owned(), change.into());
        }
    }
    if metadata.is_empty() {
        return None;
    }
    metadata.insert("uid".to_owned(), json!(current.metadata.uid));
    Some(json!({ "metadata": metadata }))
}

/// A merge patch that adds the taints that are missing; `None` if none is. It carries the resourceVersion, because it
/// replaces the whole list.
pub(super) fn taints(current: &Node, wanted: &Node) -> Option<Value> {
    let list =
        |node: &Node| -> Vec<Taint> { node.spec.as_ref().and_then(|spec| spec.taints.clone()).unwrap_or_default() };
    let mut taints = list(current);
    let known = taints.len();
    for taint in list(wanted) {
        if !taints.iter().any(|known| known.key == taint.key && known.effect == taint.effect) {
            taints.push(taint);
        }
    }
    (taints.len() > known).then(|| {
        json!({
            "metadata": { "uid": current.metadata.uid, "resourceVersion": current.metadata.resource_version },
            "spec": { "taints": taints },
        })
    })
}

/// A strategic-merge patch of the status; `None` if it is as wanted. With `heartbeat`, the conditions are always in it.
pub(super) fn status(current: &Node, wanted: &Node, owned: &Owned, heartbeat: bool) -> Option<Value> {
    let empty = NodeStatus::default();
    let known = current.status.as_ref().unwrap_or(&empty);
    let wanted = wanted.status.as_ref().unwrap_or(&empty);
    let mut status = Map::new();
    for (name, known, wanted) in
        [("capacity", &known.capacity, &wanted.capacity), ("allocatable", &known.allocatable, &wanted.allocatable)]
    {
        let none = BTreeMap::new();
        let (known, wanted) = (known.as_ref().unwrap_or(&none), wanted.as_ref().unwrap_or(&none));
        // What Kubernetes itself defines is the host's; extended resources may be somebody else's.
        let native = known.keys().filter(|name| !name.contains('/')).cloned();
        let owned: Vec<String> = owned.resources.iter().cloned().chain(native).collect();
        let change = map(known, wanted, &owned, quantity::equal);
        if !change.is_empty() {
            status.insert(name.to_owned(), change.into());
        }
    }
    if known.node_info != wanted.node_info {
        status.insert("nodeInfo".to_owned(), json!(wanted.node_info));
    }
    let addresses = |status: &NodeStatus| status.addresses.clone().unwrap_or_default();
    if addresses(known) != addresses(wanted) {
        // Addresses are merged by type: without the directive there could be one of each.
        let mut list: Vec<Value> = addresses(wanted).iter().map(|address| json!(address)).collect();
        list.push(json!({ "$patch": "replace" }));
        status.insert("addresses".to_owned(), list.into());
    }
    let port = |status: &NodeStatus| Some(status.daemon_endpoints.as_ref()?.kubelet_endpoint.as_ref()?.port);
    if port(known).unwrap_or(0) != port(wanted).unwrap_or(0) {
        status.insert("daemonEndpoints".to_owned(), json!({ "kubeletEndpoint": { "Port": port(wanted) } }));
    }
    let features = |status: &NodeStatus| status.declared_features.clone().unwrap_or_default();
    if features(known) != features(wanted) {
        status.insert("declaredFeatures".to_owned(), json!(features(wanted)));
    }
    let conditions = conditions(known, wanted, owned, heartbeat || !status.is_empty());
    if !conditions.is_empty() {
        status.insert("conditions".to_owned(), conditions.into());
    }
    (!status.is_empty()).then(|| json!({ "metadata": { "uid": current.metadata.uid }, "status": status }))
}

/// Conditions to send. All of them go with any report, so that their heartbeats agree.
fn conditions(known: &NodeStatus, wanted: &NodeStatus, owned: &Owned, report: bool) -> Vec<Value> {
    let known = known.conditions.as_deref().unwrap_or_default();
    let wanted = wanted.conditions.as_deref().unwrap_or_default();
    let find = |kind: &str| known.iter().find(|condition| condition.type_ == kind);
    let differs = |wanted: &NodeCondition| {
        find(&wanted.type_).is_none_or(|known| {
            known.status != wanted.status || known.reason != wanted.reason || known.message != wanted.message
        })
    };
    let gone = |kind: &&String| find(kind).is_some() && !wanted.iter().any(|wanted| wanted.type_ == **kind);
    let mut changes: Vec<Value> =
        owned.conditions.iter().filter(gone).map(|kind| json!({ "$patch": "delete", "type": kind })).collect();
    if report || !changes.is_empty() || wanted.iter().any(differs) {
        changes.extend(wanted.iter().map(|condition| json!(condition)));
    }
    changes
}

/// The entries to set or, as `null`, to remove.
fn map<T: PartialEq + serde::Serialize>(
    known: &BTreeMap<String, T>,
    wanted: &BTreeMap<String, T>,
    owned: &[String],
    equal: impl Fn(&T, &T) -> bool,
) -> Map<String, Value> {
    let mut change = Map::new();
    for (name, value) in wanted {
        if !known.get(name).is_some_and(|known| equal(known, value)) {
            change.insert(name.clone(), json!(value));
        }
    }
    for name in owned {
        if known.contains_key(name) && !wanted.contains_key(name) {
            change.insert(name.clone(), Value::Null);
        }
    }
    change
}

/// The allocatable resources of a node.
pub(super) fn allocatable(node: &Node) -> BTreeMap<String, Quantity> {
    node.status.as_ref().and_then(|status| status.allocatable.clone()).unwrap_or_default()
}
