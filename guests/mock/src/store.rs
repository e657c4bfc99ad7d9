//! Where the mock's pods are.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mock_model::{ContainerState, Episode, Order, wire::Details};
use vk_sdk::{Aspects, Changes, Deletion, Error, Pod, PodId, Result};

use crate::cursor::Cursor;

/// How many pods a part of a listing has. One of them is about a kilobyte, and a call may carry megabytes.
pub(crate) const PAGE: usize = 500;

/// A place where pods are kept; the calls that yield text yield the pod's status as JSON.
pub(crate) trait Store {
    /// Whether the place can be reached.
    fn check(&self) -> Result<()>;
    fn create(&self, pod: &Pod, order: &Order) -> Result<Created>;
    fn update(&self, pod: &Pod, order: &Order, changed: Aspects) -> Result<String>;
    fn delete(&self, pod: &PodId, grace: Duration) -> Result<Deletion>;
    fn get(&self, pod: &PodId) -> Result<String>;
    fn look(&self, pod: &PodId) -> Result<Details>;
    fn poll(&self, since: Option<Cursor>) -> Result<Changes>;
}

/// The answer to a creation.
pub(crate) struct Created {
    /// Whether the pod was not there before.
    pub(crate) made: bool,
    pub(crate) status: String,
}

/// Milliseconds since 1970.
pub(crate) fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

pub(crate) fn absent(pod: &PodId) -> Error {
    Error::not_found(format!("the mock has no pod {} with uid {}", pod.full_name(), pod.uid))
}

/// The container of that name.
pub(crate) fn container<'a>(details: &'a Details, pod: &PodId, name: &str) -> Result<&'a ContainerState> {
    let missing = || Error::not_found(format!("pod {} has no container {name:?}", pod.full_name()));
    details.state.containers.iter().find(|each| each.name == name).ok_or_else(missing)
}

/// The run of the container of that name that is under way.
pub(crate) fn running(details: &Details, pod: &PodId, name: &str) -> Result<Episode> {
    let stopped = || Error::conflict(format!("container {name:?} of pod {} is not running", pod.full_name()));
    let current = container(details, pod, name)?.current();
    current.filter(|episode| episode.exit.is_none()).ok_or_else(stopped)
}
