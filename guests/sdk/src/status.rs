//! What became of a pod: the part of the core/v1 PodStatus that a provider knows.
//!
//! The host derives a missing phase, owns all conditions of Kubernetes and their times, and checks what it gets.

use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::manifest::{Container, Manifest};

/// The state of a pod.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PodStatus {
    /// Where it is in its life; the host derives it from the containers where it is missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<Phase>,
    /// Why the pod as a whole is as it is: one word in CamelCase.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The same for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Its addresses, at most one of each family.
    #[serde(rename = "podIPs", skip_serializing_if = "Vec::is_empty")]
    pub pod_ips: Vec<PodIp>,
    /// Init containers and sidecars, in the order of the manifest.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub init_container_statuses: Vec<ContainerStatus>,
    /// The containers, in the order of the manifest.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub container_statuses: Vec<ContainerStatus>,
}

impl PodStatus {
    /// All containers run and are ready since a time, as on a backend that reports no more than that. Init containers
    /// that are no sidecars have completed.
    pub fn running(manifest: &Manifest, since: SystemTime) -> Self {
        let running = |container: &Container| ContainerStatus::new(container, ContainerState::running(since));
        let init = |container: &Container| match container.is_sidecar() {
            true => running(container),
            false => ContainerStatus::new(container, ContainerState::completed(since, since)),
        };
        Self {
            phase: Some(Phase::Running),
            init_container_statuses: manifest.spec.init_containers.iter().map(init).collect(),
            container_statuses: manifest.spec.containers.iter().map(running).collect(),
            ..Self::default()
        }
    }

    /// The same pod with an address.
    #[must_use]
    pub fn with_ip(mut self, ip: impl Into<String>) -> Self {
        self.pod_ips.push(PodIp { ip: ip.into() });
        self
    }

    /// The document that the contract carries.
    pub fn to_json(&self) -> String {
        // Strings, numbers and lists of them always have a form in JSON.
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// Where a pod is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// Not all containers have started.
    Pending,
    /// All have started, and one runs or will start again.
    Running,
    /// All ended with exit code 0 and will not start again.
    Succeeded,
    /// All ended, one of them badly, and will not start again.
    Failed,
}

/// An address of a pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodIp {
    /// The address, IPv4 or IPv6.
    pub ip: String,
}

/// The state of a container.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ContainerStatus {
    /// The container's name.
    pub name: String,
    /// What it is doing.
    pub state: ContainerState,
    /// How it ended the last time, if it was started again since.
    #[serde(skip_serializing_if = "ContainerState::is_empty")]
    pub last_state: ContainerState,
    /// Whether it takes traffic.
    pub ready: bool,
    /// Whether it runs and has passed its start-up.
    pub started: bool,
    /// How often it was started again.
    pub restart_count: u32,
    /// The image that runs.
    pub image: String,
    /// The image's digest or the backend's id of it. Kubernetes wants the field, if empty.
    #[serde(rename = "imageID")]
    pub image_id: String,
    /// The backend's id of the container, as `TYPE://ID`.
    #[serde(rename = "containerID", skip_serializing_if = "Option::is_none")]
    pub container_id: Option<String>,
}

impl ContainerStatus {
    /// A container of the manifest in a state. One that runs is started and ready; one that completed is ready, as the kubelet has it
    /// for init containers.
    pub fn new(container: &Container, state: ContainerState) -> Self {
        let running = state.running.is_some();
        Self {
            name: container.name.clone(),
            image: container.image.clone(),
            ready: running || state.terminated.as_ref().is_some_and(|ended| ended.exit_code == 0),
            started: running,
            state,
            ..Self::default()
        }
    }
}

/// What a container does: at most one of the three.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ContainerState {
    /// It has not started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waiting: Option<Waiting>,
    /// It runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub running: Option<Running>,
    /// It has ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub terminated: Option<Terminated>,
}

impl ContainerState {
    /// It has not started, for a reason that is one word in CamelCase such as `ContainerCreating`.
    pub fn waiting(reason: impl Into<String>) -> Self {
        Self { waiting: Some(Waiting { reason: reason.into(), message: None }), ..Self::default() }
    }

    /// It runs.
    pub fn running(since: SystemTime) -> Self {
        Self { running: Some(Running { started_at: timestamp(since) }), ..Self::default() }
    }

    /// It ran and ended by itself with exit code 0.
    pub fn completed(started_at: SystemTime, finished_at: SystemTime) -> Self {
        Self::terminated(0, "Completed", started_at, finished_at)
    }

    /// It ran and ended; the reason is one word in CamelCase, by custom `Completed`, `Error` or `OOMKilled`.
    pub fn terminated(
        exit_code: i32,
        reason: impl Into<String>,
        started_at: SystemTime,
        finished_at: SystemTime,
    ) -> Self {
        let terminated = Terminated {
            exit_code,
            reason: reason.into(),
            message: None,
            started_at: Some(timestamp(started_at)),
            finished_at: Some(timestamp(finished_at)),
            container_id: None,
        };
        Self { terminated: Some(terminated), ..Self::default() }
    }

    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Why a container has not started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiting {
    /// One word in CamelCase.
    pub reason: String,
    /// The same for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// Since when a container runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Running {
    /// In RFC 3339; see [`timestamp`]. Empty if it is not known: the host then keeps the time at which it first saw it run.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub started_at: String,
}

/// How a container ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Terminated {
    /// Its exit code.
    pub exit_code: i32,
    /// One word in CamelCase.
    pub reason: String,
    /// The same for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// In RFC 3339; see [`timestamp`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<String>,
    /// In RFC 3339; see [`timestamp`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<String>,
    /// The backend's id of what ended, as `TYPE://ID`.
    #[serde(default, rename = "containerID", skip_serializing_if = "Option::is_none")]
    pub container_id: Option<String>,
}

/// A time as Kubernetes writes it: RFC 3339 in UTC with whole seconds. Times before 1970 count as 1970, later ones than
/// the year 9999 as its end.
pub fn timestamp(time: SystemTime) -> String {
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(since_1970(time).as_secs());
    humantime::format_rfc3339_seconds(time).to_string()
}

/// A time as it stands before the lines of logs: like [`timestamp`], with nanoseconds.
pub fn timestamp_nanos(time: SystemTime) -> String {
    humantime::format_rfc3339_nanos(SystemTime::UNIX_EPOCH + since_1970(time)).to_string()
}

fn since_1970(time: SystemTime) -> Duration {
    const END: Duration = Duration::from_secs(253_402_300_799);
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().min(END)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn a_status_is_written_as_kubernetes_reads_it() {
        let manifest = Manifest::parse(
            r#"{"spec":{"initContainers":[{"name":"i","image":"x"},{"name":"s","image":"y","restartPolicy":"Always"}],
                "containers":[{"name":"c","image":"z"}]}}"#,
        )
        .unwrap();
        let status = PodStatus::running(&manifest, at(1_700_000_000)).with_ip("10.0.0.7");
        let json: serde_json::Value = serde_json::from_str(&status.to_json()).unwrap();
        let since = "2023-11-14T22:13:20Z";
        assert_eq!(
            json,
            serde_json::json!({
                "phase": "Running",
                "podIPs": [{"ip": "10.0.0.7"}],
                "initContainerStatuses": [
                    {"name": "i", "image": "x", "imageID": "", "ready": true, "started": false, "restartCount": 0,
                     "state": {"terminated": {"exitCode": 0, "reason": "Completed", "startedAt": since, "finishedAt": since}}},
                    {"name": "s", "image": "y", "imageID": "", "ready": true, "started": true, "restartCount": 0,
                     "state": {"running": {"startedAt": since}}},
                ],
                "containerStatuses": [
                    {"name": "c", "image": "z", "imageID": "", "ready": true, "started": true, "restartCount": 0,
                     "state": {"running": {"startedAt": since}}},
                ],
            })
        );
    }

    #[test]
    fn what_is_written_is_read_back_the_same() {
        let container = Container { name: "c".into(), image: "z".into(), ..Container::default() };
        let mut status = ContainerStatus::new(&container, ContainerState::waiting("CrashLoopBackOff"));
        status.last_state = ContainerState::terminated(137, "OOMKilled", at(1), at(2));
        status.restart_count = 3;
        let pod = PodStatus { container_statuses: vec![status], ..PodStatus::default() };
        assert_eq!(serde_json::from_str::<PodStatus>(&pod.to_json()).unwrap(), pod);
    }

    #[test]
    fn times_that_no_timestamp_can_say_are_cut() {
        assert_eq!(timestamp(SystemTime::UNIX_EPOCH - Duration::from_secs(5)), "1970-01-01T00:00:00Z");
        assert_eq!(timestamp(at(300_000_000_000)), "9999-12-31T23:59:59Z");
    }
}
