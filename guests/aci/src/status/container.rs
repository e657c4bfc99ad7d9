//! The states of a group's containers.

use sha2::{Digest as _, Sha256};
use vk_sdk::status::{ContainerState, ContainerStatus, Running, Terminated, Waiting, timestamp};

use super::latest;
use crate::{
    group::{Container, ContainerInstanceView, GroupProperties, ServiceEvent, State},
    time,
};

/// The exit code of a container whose end nobody saw, and the reason, both as a kubelet has them.
const UNSEEN: (i32, &str) = (137, "ContainerStatusUnknown");

/// The containers of a group, and what the group says of them all.
pub(super) struct Containers<'a> {
    pub(super) group_id: Option<&'a str>,
    pub(super) group_state: &'a str,
    pub(super) properties: &'a GroupProperties,
}

impl Containers<'_> {
    pub(super) fn init(&self) -> Vec<ContainerStatus> {
        self.statuses(&self.properties.init_containers, "PodInitializing")
    }

    pub(super) fn regular(&self) -> Vec<ContainerStatus> {
        let default = if self.is_initialized() { "ContainerCreating" } else { "PodInitializing" };
        self.statuses(&self.properties.containers, default)
    }

    fn is_initialized(&self) -> bool {
        self.properties.init_containers.iter().all(|container| {
            let view = container.properties.instance_view.as_ref();
            let state = view.and_then(|view| view.current_state.as_ref());
            state.is_some_and(|state| is_ended(state) && state.exit_code.unwrap_or_default() == 0)
        })
    }

    /// The host takes a list for a complete one. So where the service leaves out the state of one container, nothing is
    /// said of any, and the host keeps what it knows.
    fn statuses(&self, containers: &[Container], default: &str) -> Vec<ContainerStatus> {
        containers.iter().map(|container| self.status(container, default)).collect::<Option<_>>().unwrap_or_default()
    }

    fn status(&self, container: &Container, default: &str) -> Option<ContainerStatus> {
        let view = container.properties.instance_view.as_ref();
        let current = view.and_then(|view| view.current_state.as_ref());
        let container_id = self.id_of(&container.name);
        let state = match (view, current.filter(|state| !word(state).is_empty())) {
            (Some(_), Some(state)) if is_ended(state) => {
                ended(terminated(state, self.group_state == "Succeeded", container_id.as_deref()))
            }
            (Some(_), Some(state)) if word(state) == "Running" => running(state),
            (Some(view), Some(state)) => waiting(state, view, default),
            _ if matches!(self.group_state, "Pending" | "Creating" | "Accepted") => ContainerState::waiting(default),
            _ => return None,
        };
        let previous = view.and_then(|view| view.previous_state.as_ref()).filter(|state| is_ended(state));
        let last_state = previous.map(|state| ended(terminated(state, false, container_id.as_deref())));
        let is_running = state.running.is_some();
        Some(ContainerStatus {
            name: container.name.clone(),
            state,
            last_state: last_state.unwrap_or_default(),
            ready: is_running,
            started: is_running,
            restart_count: view.and_then(|view| view.restart_count).unwrap_or_default(),
            image: container.properties.image.clone().unwrap_or_default(),
            image_id: String::new(),
            container_id,
        })
    }

    /// The service has no ids of containers: it is made from the group's, whose letters may come in either case.
    fn id_of(&self, name: &str) -> Option<String> {
        let id = format!("{}/containers/{name}", self.group_id?).to_uppercase();
        Some(Sha256::digest(id).iter().fold("aci://".to_owned(), |id, byte| format!("{id}{byte:02x}")))
    }
}

fn word(state: &State) -> &str {
    state.state.as_deref().unwrap_or_default()
}

fn detail(state: &State) -> &str {
    state.detail_status.as_deref().unwrap_or_default().trim()
}

fn is_ended(state: &State) -> bool {
    matches!(word(state), "Terminated" | "Succeeded" | "Failed" | "Canceled")
}

fn written(time: Option<&String>) -> Option<String> {
    time.and_then(|text| time::parse(text)).map(timestamp)
}

fn running(state: &State) -> ContainerState {
    let started_at = written(state.start_time.as_ref()).unwrap_or_default();
    ContainerState { running: Some(Running { started_at }), ..ContainerState::default() }
}

fn ended(terminated: Terminated) -> ContainerState {
    ContainerState { terminated: Some(terminated), ..ContainerState::default() }
}

/// `all_succeeded`: the group says so of all its containers.
fn terminated(state: &State, all_succeeded: bool, id: Option<&str>) -> Terminated {
    let detail = detail(state);
    let completed = all_succeeded || word(state) == "Succeeded" || detail == "Completed";
    let (exit_code, reason, message) = match state.exit_code {
        Some(0) => (0, "Completed", Some(detail)),
        None if completed => (0, "Completed", Some(detail)),
        Some(code) if matches!(word(state), "Failed" | "Canceled") => (code, word(state), Some(detail)),
        Some(code) => match worded(detail) {
            Some((reason, message)) => (code, reason, message),
            None => (code, "Error", Some(detail)),
        },
        None => (UNSEEN.0, UNSEEN.1, Some(detail)),
    };
    Terminated {
        exit_code,
        reason: reason.to_owned(),
        message: message.filter(|message| !message.is_empty() && *message != reason).map(str::to_owned),
        started_at: written(state.start_time.as_ref()),
        finished_at: written(state.finish_time.as_ref()),
        container_id: id.map(str::to_owned),
    }
}

fn waiting(state: &State, view: &ContainerInstanceView, default: &str) -> ContainerState {
    let ran = view.previous_state.as_ref().is_some_and(is_ended);
    let (reason, message) = worded(detail(state))
        .or_else(|| held_up(&view.events))
        .unwrap_or((if ran { "CrashLoopBackOff" } else { default }, Some(detail(state))));
    let message = message.filter(|message| !message.is_empty()).map(str::to_owned);
    ContainerState { waiting: Some(Waiting { reason: reason.to_owned(), message }), ..ContainerState::default() }
}

/// Takes `CrashLoopBackOff: back-off 10s …` apart; `None` if it does not begin with a reason.
fn worded(detail: &str) -> Option<(&str, Option<&str>)> {
    let (reason, message) = match detail.split_once(':') {
        Some((reason, message)) => (reason.trim_end(), Some(message.trim())),
        None => (detail, None),
    };
    let is_word = reason.starts_with(|char: char| char.is_ascii_uppercase())
        && reason.bytes().all(|byte| byte.is_ascii_alphanumeric());
    // These say no more than the state.
    let says_nothing = matches!(reason, "Waiting" | "Pending" | "Creating" | "Terminated");
    (is_word && !says_nothing).then_some((reason, message))
}

/// What keeps a container from starting, as its events have it.
fn held_up(events: &[ServiceEvent]) -> Option<(&str, Option<&str>)> {
    // Another attempt does not take back why the last one failed.
    let latest = latest(events.iter().filter(|event| event.name.as_deref() != Some("Pulling")))?;
    let message = latest.message.as_deref().unwrap_or_default();
    let says = |word: &str| message.to_ascii_lowercase().contains(word);
    let reason = match latest.name.as_deref()? {
        "BackOff" if says("restart") => "CrashLoopBackOff",
        "BackOff" => "ImagePullBackOff",
        "Failed" if says("pull") || says("image") => "ErrImagePull",
        "Failed" => "CreateContainerError",
        _ => return None,
    };
    Some((reason, Some(message)))
}
