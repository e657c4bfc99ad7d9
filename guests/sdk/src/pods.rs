//! Constructors for what a provider says of its pods.

use std::time::Duration;

use crate::{Changes, Cursor, Extent, Observation, PodId, component::milliseconds, status::PodStatus};

impl PodId {
    /// The pod's name as people write it: `namespace/name`.
    pub fn full_name(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }

    /// The same pod with the backend's own id of it, which the host keeps and hands back with every later call. At most 4 KiB.
    #[must_use]
    pub fn with_handle(mut self, handle: impl Into<String>) -> Self {
        self.handle = Some(handle.into());
        self
    }
}

impl Observation {
    /// A pod in a state.
    pub fn new(pod: PodId, status: &PodStatus) -> Self {
        Self { pod, status: Some(status.to_json()) }
    }
}

/// The answers of a poll are of three kinds: [`page`](Self::page), [`last`](Self::last) and [`since`](Self::since).
impl Changes {
    /// A part of a listing; the host polls again at once with `next`.
    pub fn page(observed: Vec<Observation>, next: Cursor) -> Self {
        Self { observed, removed: Vec::new(), extent: Extent::Page, next: Some(next), poll_after: None }
    }

    /// The end of a listing, or all of it: what none of its pages named is gone. With `next` the host goes on from there,
    /// with `None` the next poll begins another listing.
    pub fn last(observed: Vec<Observation>, next: Option<Cursor>) -> Self {
        Self { observed, removed: Vec::new(), extent: Extent::Last, next, poll_after: None }
    }

    /// What changed since the cursor that was handed in.
    pub fn since(observed: Vec<Observation>, removed: Vec<PodId>, next: Cursor) -> Self {
        Self { observed, removed, extent: Extent::Changes, next: Some(next), poll_after: None }
    }

    /// Asks for the next poll after this time.
    #[must_use]
    pub fn poll_after(mut self, wait: Duration) -> Self {
        self.poll_after = Some(milliseconds(wait));
        self
    }
}
