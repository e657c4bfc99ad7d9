//! The conditions of a pod that a kubelet owns, and the one that keeps what the host knows of it.

use k8s_openapi::{
    api::core::v1::{ContainerStatus, Pod, PodCondition, PodSpec, PodStatus},
    apimachinery::pkg::apis::meta::v1::Time,
    jiff::Timestamp,
};

use super::{
    ProviderRecord, Resize,
    phase::{Phase, is_sidecar},
};

/// The type of the condition that keeps the [`ProviderRecord`] of a created pod.
pub(crate) const PROVIDER_CONDITION: &str = "vk-host.dev/provider";

/// The type of the condition that says that the provider does not give the containers what the pod asks for. It is there
/// only while that holds, as with a kubelet.
pub(super) const RESIZE_PENDING: &str = "PodResizePending";
const INFEASIBLE: &str = "Infeasible";

/// A condition without its times.
fn condition(kind: &str, holds: bool, reason: Option<&str>, message: Option<String>) -> PodCondition {
    PodCondition {
        type_: kind.to_owned(),
        status: if holds { "True" } else { "False" }.to_owned(),
        reason: reason.map(str::to_owned),
        message,
        ..PodCondition::default()
    }
}

/// The conditions that follow from a pod's containers and phase. `others` are the conditions that readiness gates may
/// name.
pub(super) fn of_containers(
    spec: &PodSpec,
    status: &PodStatus,
    phase: Phase,
    others: &[&PodCondition],
) -> [PodCondition; 4] {
    let containers_ready = containers_ready(spec, status, phase);
    let ready = ready(spec, &containers_ready, others);
    // A kubelet sets it once the sandbox with its network stands, and takes it back when nothing runs there any more.
    let reachable = status.pod_ip.is_some() || any_regular_started(spec, status);
    [
        condition("PodReadyToStartContainers", reachable && !phase.is_terminal(), None, None),
        initialized(spec, status, phase),
        ready,
        containers_ready,
    ]
}

fn find<'a>(statuses: &'a Option<Vec<ContainerStatus>>, name: &str) -> Option<&'a ContainerStatus> {
    statuses.iter().flatten().find(|status| status.name == name)
}

fn any_regular_started(spec: &PodSpec, status: &PodStatus) -> bool {
    spec.containers
        .iter()
        .filter_map(|container| find(&status.container_statuses, &container.name))
        .any(|status| status.state.as_ref().is_some_and(|state| state.running.is_some() || state.terminated.is_some()))
}

/// The kubelet's wording, in which a list of names stands in brackets.
fn complaint(parts: &[(&str, Vec<&str>)]) -> Option<String> {
    let parts: Vec<String> = parts
        .iter()
        .filter(|(_, names)| !names.is_empty())
        .map(|(what, names)| format!("containers with {what} status: [{}]", names.join(" ")))
        .collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

fn initialized(spec: &PodSpec, status: &PodStatus, phase: Phase) -> PodCondition {
    let (mut unknown, mut incomplete) = (Vec::new(), Vec::new());
    for container in spec.init_containers.iter().flatten() {
        match find(&status.init_container_statuses, &container.name) {
            None => unknown.push(container.name.as_str()),
            Some(status) => {
                let complete = if is_sidecar(container) { status.started == Some(true) } else { status.ready };
                if !complete {
                    incomplete.push(container.name.as_str());
                }
            }
        }
    }
    if phase == Phase::Succeeded && unknown.is_empty() {
        return condition("Initialized", true, Some("PodCompleted"), None);
    }
    if any_regular_started(spec, status) {
        return condition("Initialized", true, None, None);
    }
    match complaint(&[("unknown", unknown), ("incomplete", incomplete)]) {
        Some(message) => condition("Initialized", false, Some("ContainersNotInitialized"), Some(message)),
        None => condition("Initialized", true, None, None),
    }
}

fn containers_ready(spec: &PodSpec, status: &PodStatus, phase: Phase) -> PodCondition {
    const KIND: &str = "ContainersReady";
    let (mut unknown, mut unready) = (Vec::new(), Vec::new());
    let sidecars = spec.init_containers.iter().flatten().filter(|container| is_sidecar(container));
    let sidecars = sidecars.map(|container| (container, &status.init_container_statuses));
    let regular = spec.containers.iter().map(|container| (container, &status.container_statuses));
    for (container, statuses) in sidecars.chain(regular) {
        match find(statuses, &container.name) {
            None => unknown.push(container.name.as_str()),
            Some(status) if !status.ready => unready.push(container.name.as_str()),
            Some(_) => {}
        }
    }
    match phase {
        Phase::Failed => return condition(KIND, false, Some("PodFailed"), None),
        Phase::Succeeded if unknown.is_empty() => return condition(KIND, false, Some("PodCompleted"), None),
        _ => {}
    }
    match complaint(&[("unknown", unknown), ("unready", unready)]) {
        Some(message) => condition(KIND, false, Some("ContainersNotReady"), Some(message)),
        None => condition(KIND, true, None, None),
    }
}

fn ready(spec: &PodSpec, containers_ready: &PodCondition, others: &[&PodCondition]) -> PodCondition {
    if containers_ready.status != "True" {
        return PodCondition { type_: "Ready".to_owned(), ..containers_ready.clone() };
    }
    let complaints: Vec<String> = spec
        .readiness_gates
        .iter()
        .flatten()
        .filter_map(|gate| {
            let kind = &gate.condition_type;
            match others.iter().find(|condition| condition.type_ == *kind) {
                None => Some(format!("corresponding condition of pod readiness gate {kind:?} does not exist.")),
                Some(condition) if condition.status != "True" => {
                    Some(format!("the status of pod readiness gate {kind:?} is not \"True\", but {}", condition.status))
                }
                Some(_) => None,
            }
        })
        .collect();
    if complaints.is_empty() {
        condition("Ready", true, None, None)
    } else {
        condition("Ready", false, Some("ReadinessGatesNotReady"), Some(complaints.join(", ")))
    }
}

/// A condition that the status has.
pub(super) fn find_condition<'a>(status: &'a PodStatus, kind: &str) -> Option<&'a PodCondition> {
    status.conditions.iter().flatten().find(|condition| condition.type_ == kind)
}

/// Whether the containers go on with less or more than the pod asks for.
pub(crate) fn is_resize_refused(status: &PodStatus) -> bool {
    find_condition(status, RESIZE_PENDING).is_some_and(|condition| condition.reason.as_deref() == Some(INFEASIBLE))
}

pub(super) fn of_resize(resize: &Resize) -> Option<PodCondition> {
    let Resize::Infeasible(message) = resize else { return None };
    Some(condition(RESIZE_PENDING, true, Some(INFEASIBLE), Some(message.clone())))
}

/// The condition that keeps `record`.
pub(super) fn of_provider(record: &ProviderRecord) -> PodCondition {
    let fields = [("handle", &record.handle), ("stamp", &record.stamp)];
    let fields = fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value.clone()?.into())));
    let message = serde_json::Value::Object(fields.collect()).to_string();
    condition(PROVIDER_CONDITION, true, Some("Created"), Some(message))
}

impl ProviderRecord {
    /// Reads the record back from the pod's condition; `None` if the pod was never created. One that somebody garbled
    /// is an empty record: the pod was created, and the rest is learned again.
    pub(crate) fn of(pod: &Pod) -> Option<Self> {
        let conditions = pod.status.as_ref()?.conditions.as_deref()?;
        let condition = conditions.iter().find(|condition| condition.type_ == PROVIDER_CONDITION)?;
        let message = condition.message.as_deref().unwrap_or_default();
        let fields: serde_json::Value = serde_json::from_str(message).unwrap_or_default();
        let text = |name: &str| fields.get(name).and_then(serde_json::Value::as_str).map(str::to_owned);
        Some(Self { handle: text("handle"), stamp: text("stamp") })
    }
}

/// Gives each condition its times: a transition is a change of the status alone.
pub(super) fn date(conditions: &mut [PodCondition], pod: &Pod, now: Timestamp) {
    let known = pod.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    for condition in conditions {
        let known = known.iter().find(|known| known.type_ == condition.type_ && known.status == condition.status);
        let since = known.and_then(|known| known.last_transition_time.clone());
        condition.last_transition_time = Some(since.unwrap_or(Time(now)));
        condition.observed_generation = pod.metadata.generation;
    }
}
