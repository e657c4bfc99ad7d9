//! What the controller and a pod's task know of each other.

use std::sync::{Arc, Mutex, PoisonError};

use k8s_openapi::api::core::v1::Pod;
use tokio::time::Instant;
use vk_provider::Observation;

/// What is known of a pod from the watch and the polls, for its task to look at.
#[derive(Debug, Clone)]
pub(crate) struct Inbox {
    /// The pod as the watch brought it last; `None` for an orphan, which the API server does not know.
    pub(crate) pod: Option<Arc<Pod>>,
    /// The pod has left the API, or never was in it.
    pub(crate) deleted: bool,
    /// What the provider said of it last.
    pub(crate) seen: Option<Arc<Observation>>,
    pub(crate) absence: Absence,
}

impl Inbox {
    pub(super) fn new(pod: Option<Arc<Pod>>, seen: Option<Arc<Observation>>) -> Self {
        Self { deleted: pod.is_none(), pod, seen, absence: Absence::default() }
    }

    pub(super) fn observe(&mut self, observation: Arc<Observation>) {
        // An answer without a status says only that the pod is there, and perhaps under what handle.
        let says_nothing = observation.status.is_none()
            && self
                .seen
                .as_ref()
                .is_some_and(|seen| observation.pod.handle.is_none() || observation.pod.handle == seen.pod.handle);
        if !says_nothing || self.absence.removed.is_some() {
            self.seen = Some(observation);
        }
        self.absence = Absence::default();
    }
}

/// Reports of the provider that do not have a pod.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Absence {
    /// The provider said that it is gone, in a poll that began then.
    removed: Option<Instant>,
    /// When the latest two complete listings began that did not name it, older first.
    unlisted: [Option<Instant>; 2],
}

impl Absence {
    pub(super) fn removed(self, began: Instant) -> Self {
        Self { removed: Some(began), ..self }
    }

    pub(super) fn unlisted(self, began: Option<Instant>) -> Self {
        Self { unlisted: [self.unlisted[1], began], ..self }
    }

    /// Whether it is worth asking for the pod itself: it was reported as removed, or two listings lack it.
    pub(super) fn suggests_loss(self, since: Since) -> bool {
        self.unlisted.into_iter().all(|began| counts(began, since)) || counts(self.removed, since)
    }

    /// Whether one listing lacks it, which may have been an old one.
    pub(super) fn raises_doubt(self, since: Since) -> bool {
        self.unlisted.map(|began| counts(began, since)) == [false, true]
    }

    /// Whether any report lacks it: enough where the pod is expected to go.
    pub(super) fn suggests_end(self, since: Since) -> bool {
        counts(self.removed, since) || self.unlisted.into_iter().any(|began| counts(began, since))
    }
}

/// Since when the provider has a pod; `None`: since before this process.
pub(crate) type Since = Option<Instant>;

/// Whether a report without the pod counts: it was asked for after the moment since which the provider has had the pod.
fn counts(began: Option<Instant>, since: Since) -> bool {
    began.is_some_and(|began| since.is_none_or(|since| began > since))
}

/// Whether the provider has a pod as far as its task knows, for the controller to read.
#[derive(Debug, Default)]
pub(crate) struct Holding(Mutex<Option<Since>>);

impl Holding {
    pub(super) fn set(&self, held: Option<Since>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = held;
    }

    pub(super) fn get(&self) -> Option<Since> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
