//! The difference between the status that a pod has and the one that it should have, as a strategic-merge patch.
//!
//! Only what the host owns is compared, so what others write stays, and what others break is repaired.

use k8s_openapi::{
    api::core::v1::{ContainerState, ContainerStatus, Pod, PodCondition, PodStatus, ResourceRequirements},
    apimachinery::pkg::api::resource::Quantity,
    serde::Serialize,
};
use serde_json::{Map, Value, json};

use super::conditions::RESIZE_PENDING;
use crate::quantity;

/// The patch that brings `current` to `desired`, which was composed for it; `None` if it is there already. It carries
/// the pod's uid, so that the API server refuses it if another pod has the name by then.
pub(crate) fn patch(current: &Pod, desired: &PodStatus) -> Option<Value> {
    let empty = PodStatus::default();
    let known = current.status.as_ref().unwrap_or(&empty);
    let mut status = Map::new();

    set(&mut status, "phase", &known.phase, &desired.phase);
    set(&mut status, "reason", &known.reason, &desired.reason);
    set(&mut status, "message", &known.message, &desired.message);
    set(&mut status, "startTime", &known.start_time, &desired.start_time);
    set(&mut status, "observedGeneration", &known.observed_generation, &desired.observed_generation);
    // The two forms of an address go together: of two that differ, the API server believes the older one.
    if known.host_ip != desired.host_ip || !same(&known.host_ips, &desired.host_ips) {
        status.insert("hostIP".to_owned(), value(&desired.host_ip));
        status.insert("hostIPs".to_owned(), replaced(&desired.host_ips));
    }
    if known.pod_ip != desired.pod_ip || !same(&known.pod_ips, &desired.pod_ips) {
        status.insert("podIP".to_owned(), value(&desired.pod_ip));
        status.insert("podIPs".to_owned(), replaced(&desired.pod_ips));
    }
    for (name, known, desired) in [
        ("initContainerStatuses", &known.init_container_statuses, &desired.init_container_statuses),
        ("containerStatuses", &known.container_statuses, &desired.container_statuses),
        ("ephemeralContainerStatuses", &known.ephemeral_container_statuses, &desired.ephemeral_container_statuses),
    ] {
        if !same_containers(known.as_deref().unwrap_or_default(), desired.as_deref().unwrap_or_default()) {
            status.insert(name.to_owned(), value(desired));
        }
    }
    let conditions =
        conditions(known.conditions.as_deref().unwrap_or_default(), desired.conditions.as_deref().unwrap_or_default());
    if !conditions.is_empty() {
        status.insert("conditions".to_owned(), Value::Array(conditions));
    }

    (!status.is_empty()).then(|| json!({ "metadata": { "uid": current.metadata.uid }, "status": status }))
}

/// `null` removes a field.
fn value<T: Serialize>(of: &T) -> Value {
    serde_json::to_value(of).unwrap_or_default()
}

fn set<T: Serialize + PartialEq>(patch: &mut Map<String, Value>, name: &str, known: &Option<T>, desired: &Option<T>) {
    if known != desired {
        patch.insert(name.to_owned(), value(desired));
    }
}

/// The lists of addresses are merged by their address: without the directive an old one would stay beside the new.
fn replaced<T: Serialize>(list: &Option<Vec<T>>) -> Value {
    let mut entries: Vec<Value> = list.iter().flatten().map(value).collect();
    entries.push(json!({ "$patch": "replace" }));
    Value::Array(entries)
}

/// Whether two lists are equal; an absent one is empty.
fn same<T: PartialEq>(known: &Option<Vec<T>>, desired: &Option<Vec<T>>) -> bool {
    known.as_deref().unwrap_or_default() == desired.as_deref().unwrap_or_default()
}

fn conditions(known: &[PodCondition], desired: &[PodCondition]) -> Vec<Value> {
    let has = |list: &[PodCondition], kind| list.iter().any(|condition| condition.type_ == kind);
    let mut changes = Vec::new();
    if has(known, RESIZE_PENDING) && !has(desired, RESIZE_PENDING) {
        changes.push(json!({ "$patch": "delete", "type": RESIZE_PENDING }));
    }
    for desired in desired {
        let empty = PodCondition::default();
        let known = known.iter().find(|known| known.type_ == desired.type_).unwrap_or(&empty);
        let mut change = Map::new();
        if known.status != desired.status {
            change.insert("status".to_owned(), value(&desired.status));
        }
        set(&mut change, "reason", &known.reason, &desired.reason);
        set(&mut change, "message", &known.message, &desired.message);
        set(&mut change, "lastTransitionTime", &known.last_transition_time, &desired.last_transition_time);
        set(&mut change, "observedGeneration", &known.observed_generation, &desired.observed_generation);
        if !change.is_empty() {
            change.insert("type".to_owned(), value(&desired.type_));
            changes.push(Value::Object(change));
        }
    }
    changes
}

/// Whether the API server would store `desired` as `known`: it writes an absent state as an empty one, and quantities
/// in its own way.
fn same_containers(known: &[ContainerStatus], desired: &[ContainerStatus]) -> bool {
    known.len() == desired.len()
        && known.iter().zip(desired).all(|(known, desired)| {
            same_quantities(known.allocated_resources.as_ref(), desired.allocated_resources.as_ref())
                && same_resources(known.resources.as_ref(), desired.resources.as_ref())
                && plain(known) == plain(desired)
        })
}

fn plain(status: &ContainerStatus) -> ContainerStatus {
    let filled = |state: &Option<ContainerState>| state.clone().filter(|state| *state != ContainerState::default());
    ContainerStatus {
        state: filled(&status.state),
        last_state: filled(&status.last_state),
        resources: None,
        allocated_resources: None,
        ..status.clone()
    }
}

type Quantities = std::collections::BTreeMap<String, Quantity>;

fn same_quantities(known: Option<&Quantities>, desired: Option<&Quantities>) -> bool {
    let empty = Quantities::new();
    let (known, desired) = (known.unwrap_or(&empty), desired.unwrap_or(&empty));
    known.len() == desired.len()
        && known
            .iter()
            .zip(desired)
            .all(|((name, known), (other, desired))| name == other && quantity::equal(known, desired))
}

pub(super) fn same_resources(known: Option<&ResourceRequirements>, desired: Option<&ResourceRequirements>) -> bool {
    let empty = ResourceRequirements::default();
    let (known, desired) = (known.unwrap_or(&empty), desired.unwrap_or(&empty));
    same_quantities(known.limits.as_ref(), desired.limits.as_ref())
        && same_quantities(known.requests.as_ref(), desired.requests.as_ref())
        && known.claims == desired.claims
}
