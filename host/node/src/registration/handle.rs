//! How others reach the node's task: to have the provider asked, and to tell whether its calls are authorized.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{Notify, watch},
    time::Instant,
};

use super::health;

/// How long a denied call shows although others succeed: longer than the longest wait before it is tried again, or the
/// condition would flap with every try.
const DENIAL_SHOWS: Duration = Duration::from_secs(330);

/// Lets others tell the node's task what they saw. Cheap to clone.
#[derive(Debug, Clone)]
pub struct NodeHandle {
    describe: Arc<Notify>,
    denial: Arc<watch::Sender<Option<Denial>>>,
}

/// The last call that was not authorized.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Denial {
    at: Instant,
    pub(super) message: String,
}

impl NodeHandle {
    /// A handle, and what it reaches the task through.
    pub(super) fn new() -> (Self, Arc<Notify>, watch::Receiver<Option<Denial>>) {
        let (denial, receiver) = watch::channel(None);
        let describe = Arc::new(Notify::new());
        (Self { describe: Arc::clone(&describe), denial: Arc::new(denial) }, describe, receiver)
    }

    /// A handle that reaches nobody.
    #[cfg(test)]
    pub(crate) fn detached() -> Self {
        Self::new().0
    }

    /// Asks for a describe at once, as after the provider was replaced.
    pub fn describe_now(&self) {
        self.describe.notify_one();
    }

    /// Reports how a provider's call ended, so that the condition `ProviderAuthorized` follows all calls. Never waits.
    /// A denial shows until a call succeeds five and a half minutes after it.
    pub fn called<T>(&self, outcome: &vk_provider::Result<T>) {
        let now = Instant::now();
        self.denial.send_if_modified(|denial| match (outcome, &denial) {
            (Err(error), known) if health::is_denial(error.kind) => {
                let changed = known.as_ref().is_none_or(|known| known.message != error.message);
                *denial = Some(Denial { at: now, message: error.message.clone() });
                changed
            }
            (Ok(_), Some(known)) if now.duration_since(known.at) >= DENIAL_SHOWS => {
                *denial = None;
                true
            }
            _ => false,
        });
    }
}
