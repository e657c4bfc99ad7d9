//! What became of a group, as the status of its pod.
//!
//! Pure and total: of what the service answers no member is taken to be there. What it does not say is left out, and the
//! host keeps or derives it.

mod container;

use serde::{Deserialize, Serialize};
use vk_sdk::status::{Phase, PodIp, PodStatus};

use crate::{
    group::{ContainerGroup, GroupProperties, ServiceEvent},
    status::container::Containers,
    time,
};

/// The state of a pod whose group the service describes so.
pub(crate) fn pod_status(group: &ContainerGroup) -> PodStatus {
    let Some(properties) = &group.properties else { return PodStatus::default() };
    let word = word(properties);
    let Verdict { phase, reason, message } = Verdict::of(word, properties);
    let containers = Containers { group_id: group.id.as_deref(), group_state: word, properties };
    PodStatus {
        phase,
        reason,
        message,
        pod_ips: address(properties).map(|ip| PodIp { ip: ip.to_owned() }).into_iter().collect(),
        init_container_statuses: containers.init(),
        container_statuses: containers.regular(),
    }
}

/// The word for what the group does: that of the request to make it, until that has succeeded.
fn word(properties: &GroupProperties) -> &str {
    match properties.provisioning_state.as_deref() {
        None | Some("" | "Succeeded") => {
            properties.instance_view.as_ref().and_then(|view| view.state.as_deref()).unwrap_or_default()
        }
        Some(word) => word,
    }
}

/// The address that the group has, if the service has given it one.
pub(crate) fn address(properties: &GroupProperties) -> Option<&str> {
    let ip = properties.ip_address.as_ref()?.ip.as_deref()?;
    ip.parse::<std::net::IpAddr>().is_ok().then_some(ip)
}

/// How soon a group may be another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Motion {
    /// It starts, starts again, or is told in words that are not known.
    Moving,
    /// All that is to run runs.
    Running,
    /// It stays as it is.
    Ended,
}

/// How soon this group may be another. `status` is what [`pod_status`] made of it.
pub(crate) fn motion(group: &ContainerGroup, status: &PodStatus) -> Motion {
    if matches!(status.phase, Some(Phase::Succeeded | Phase::Failed)) {
        return Motion::Ended;
    }
    let Some(properties) = &group.properties else { return Motion::Moving };
    let has_address = properties.ip_address.is_none() || !status.pod_ips.is_empty();
    let runs = !status.container_statuses.is_empty()
        && status.container_statuses.iter().all(|container| container.state.waiting.is_none());
    let is_settled = properties.provisioning_state.as_deref() == Some("Succeeded") && word(properties) == "Running";
    if is_settled && runs && has_address { Motion::Running } else { Motion::Moving }
}

/// What is said of the pod as a whole.
#[derive(Default)]
struct Verdict {
    phase: Option<Phase>,
    reason: Option<String>,
    message: Option<String>,
}

impl Verdict {
    fn of(word: &str, properties: &GroupProperties) -> Self {
        let phase = |phase| Self { phase: Some(phase), ..Self::default() };
        let failed = |reason: &str, message: String| Self {
            phase: Some(Phase::Failed),
            reason: Some(reason.to_owned()),
            message: Some(message),
        };
        let provisioning = properties.provisioning_state.as_deref();
        match word {
            "Running" => phase(Phase::Running),
            "Succeeded" => phase(Phase::Succeeded),
            // The group could not be started; it may cost money until it is deleted.
            "Failed" if provisioning == Some("Failed") => failed(
                "ProvisioningFailed",
                complaint(properties).unwrap_or("The container group could not be started").to_owned(),
            ),
            "Failed" => phase(Phase::Failed),
            "Canceled" => failed("Canceled", "The creation of the container group was canceled".to_owned()),
            "Stopped" => failed("Stopped", "The container group was stopped".to_owned()),
            "Creating" | "Repairing" | "Pending" | "Accepted" => phase(Phase::Pending),
            // `Unhealthy`, and what is not known: the containers say more.
            _ => Self::default(),
        }
    }
}

/// The latest warning of the service.
fn complaint(properties: &GroupProperties) -> Option<&str> {
    let of_group = properties.instance_view.iter().flat_map(|view| &view.events);
    let containers = properties.init_containers.iter().chain(&properties.containers);
    let of_containers =
        containers.filter_map(|container| container.properties.instance_view.as_ref()).flat_map(|view| &view.events);
    let warnings = of_group.chain(of_containers).filter(|event| event.kind.as_deref() == Some("Warning"));
    latest(warnings)?.message.as_deref().filter(|message| !message.is_empty())
}

/// The latest of some events; of those without a time, the last.
fn latest<'a>(events: impl Iterator<Item = &'a ServiceEvent>) -> Option<&'a ServiceEvent> {
    events
        .max_by_key(|event| event.last_timestamp.as_deref().or(event.first_timestamp.as_deref()).and_then(time::parse))
}

#[cfg(test)]
mod tests;
