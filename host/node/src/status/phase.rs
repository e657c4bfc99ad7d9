//! The phase of a pod, derived from its containers as the kubelet derives it.

use k8s_openapi::api::core::v1::{Container, ContainerStatus, Pod};

/// `status.phase`, without the deprecated `Unknown`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Pending,
    Running,
    Succeeded,
    Failed,
}

impl Phase {
    pub(super) fn parse(text: &str) -> Option<Self> {
        match text {
            "Pending" => Some(Self::Pending),
            "Running" => Some(Self::Running),
            "Succeeded" => Some(Self::Succeeded),
            "Failed" => Some(Self::Failed),
            _ => None,
        }
    }

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::Running => "Running",
            Self::Succeeded => "Succeeded",
            Self::Failed => "Failed",
        }
    }

    pub(super) fn is_terminal(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed)
    }
}

/// A pod's `restartPolicy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RestartPolicy {
    Always,
    OnFailure,
    Never,
}

impl RestartPolicy {
    /// `Always` is the API server's default.
    pub(super) fn of(pod: &Pod) -> Self {
        match pod.spec.as_ref().and_then(|spec| spec.restart_policy.as_deref()) {
            Some("Never") => Self::Never,
            Some("OnFailure") => Self::OnFailure,
            _ => Self::Always,
        }
    }
}

/// Whether an init container is a sidecar: it starts in the order of the init containers and then runs beside the pod's
/// containers.
pub(super) fn is_sidecar(container: &Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}

/// What a container's status says about the phase.
enum State {
    Unknown,
    /// Has not started yet.
    Waiting,
    Running,
    /// Terminated, with its exit code.
    Terminated(i32),
    /// Waits to be restarted after it terminated with this exit code.
    Restarting(i32),
}

fn state(statuses: &[ContainerStatus], name: &str) -> State {
    let Some(status) = statuses.iter().find(|status| status.name == name) else { return State::Unknown };
    let last = status.last_state.as_ref().and_then(|state| state.terminated.as_ref());
    match &status.state {
        Some(state) if state.running.is_some() => State::Running,
        Some(state) => match (&state.terminated, &state.waiting, last) {
            (Some(terminated), _, _) => State::Terminated(terminated.exit_code),
            (None, Some(_), Some(last)) => State::Restarting(last.exit_code),
            (None, Some(_), None) => State::Waiting,
            (None, None, _) => State::Unknown,
        },
        None => State::Unknown,
    }
}

/// The phase that follows from the statuses of a pod's init containers and containers. `ending`: no container will be
/// restarted any more, whatever the restart policy says.
pub(super) fn derive(pod: &Pod, init: &[ContainerStatus], regular: &[ContainerStatus], ending: bool) -> Phase {
    let Some(spec) = &pod.spec else { return Phase::Pending };
    let policy = RestartPolicy::of(pod);
    let init_containers = spec.init_containers.as_deref().unwrap_or_default();

    let (mut init_pending, mut init_failed, mut sidecars_pending) = (false, false, false);
    let (mut unknown, mut running, mut waiting, mut stopped, mut succeeded) = (0, 0, 0, 0, 0);
    for container in init_containers {
        match (is_sidecar(container), state(init, &container.name)) {
            (false, State::Terminated(code) | State::Restarting(code)) => init_failed |= code != 0,
            (false, _) => init_pending = true,
            (true, State::Running) => {
                running += 1;
                let started = init.iter().find(|s| s.name == container.name).and_then(|s| s.started);
                sidecars_pending |= started != Some(true);
            }
            // A sidecar that ended or restarts does not count.
            (true, State::Terminated(_) | State::Restarting(_)) => {}
            (true, State::Waiting) => {
                sidecars_pending = true;
                waiting += 1;
            }
            (true, State::Unknown) => unknown += 1,
        }
    }
    let mut initialized = false;
    for container in &spec.containers {
        match state(regular, &container.name) {
            State::Running => {
                initialized = true;
                running += 1;
            }
            State::Terminated(code) => {
                initialized = true;
                stopped += 1;
                succeeded += i32::from(code == 0);
            }
            State::Restarting(_) => {
                initialized = true;
                stopped += 1;
            }
            State::Waiting => waiting += 1,
            State::Unknown => unknown += 1,
        }
    }

    if init_failed && policy == RestartPolicy::Never {
        return Phase::Failed;
    }
    // Sidecars that restart do not send an initialized pod back to Pending.
    if init_pending || (!initialized && sidecars_pending) || waiting > 0 || unknown > 0 {
        return Phase::Pending;
    }
    if running > 0 {
        return Phase::Running;
    }
    if stopped == 0 {
        return Phase::Pending;
    }
    match policy {
        _ if ending && stopped == succeeded => Phase::Succeeded,
        _ if ending => Phase::Failed,
        RestartPolicy::Always => Phase::Running,
        _ if stopped == succeeded => Phase::Succeeded,
        RestartPolicy::Never => Phase::Failed,
        RestartPolicy::OnFailure => Phase::Running,
    }
}
