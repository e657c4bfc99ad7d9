//! How others reach the node's task: to tell that the provider was replaced or was not, and how it treats its pods.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{Notify, watch},
    time::Instant,
};

use super::health;
use crate::events::{Events, Kind};

/// How long a denied call shows although others succeed: longer than the longest wait before it is tried again, or the
/// condition would flap with every try.
const DENIAL_SHOWS: Duration = Duration::from_secs(330);

/// Lets others tell the node's task what they saw. Cheap to clone.
#[derive(Debug, Clone)]
pub struct NodeHandle {
    describe: Arc<Notify>,
    told: Arc<watch::Sender<Told>>,
    recovered: Arc<watch::Sender<()>>,
    events: Events,
}

/// What others have told.
#[derive(Debug, Clone, Default)]
pub(super) struct Told {
    denial: Option<Denial>,
    /// Why nothing is concluded from pods that the provider does not have any more.
    pub(super) vanished: Option<String>,
}

impl Told {
    /// Why pod calls are not authorized.
    pub(super) fn denied(&self) -> Option<String> {
        self.denial.as_ref().map(|denial| denial.message.clone())
    }
}

/// The last call that was not authorized.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Denial {
    at: Instant,
    message: String,
}

impl NodeHandle {
    /// A handle, and what it reaches the task through.
    pub(super) fn new(events: Events) -> (Self, Arc<Notify>, watch::Receiver<Told>) {
        let (told, receiver) = watch::channel(Told::default());
        let describe = Arc::new(Notify::new());
        let recovered = Arc::default();
        (Self { describe: Arc::clone(&describe), told: Arc::new(told), recovered, events }, describe, receiver)
    }

    /// A handle that reaches nobody.
    #[cfg(test)]
    pub(crate) fn detached() -> Self {
        let client = crate::fake_api::FakeApi::default().client();
        Self::new(Events::new(client, "detached", Default::default()).0).0
    }

    /// Another provider, or another configuration of it, has taken over: it is asked to describe the node at once.
    pub fn provider_replaced(&self, provider: &vk_provider::Info) {
        self.describe.notify_one();
        let vk_provider::Info { name, version } = provider;
        self.events.on_node(Kind::Normal, "ProviderReplaced", format!("provider {name} {version} has taken over"));
    }

    /// The provider was to be replaced, and serves on as it was.
    pub fn replacement_failed(&self, why: &str) {
        let message = format!("the provider was not replaced, and the one before serves on: {why}");
        self.events.on_node(Kind::Warning, "ProviderReplacementFailed", message);
    }

    /// Reports how a provider's call ended, so that the condition `ProviderAuthorized` follows all calls. Never waits.
    /// A denial shows until a call succeeds five and a half minutes after it.
    pub fn called<T>(&self, outcome: &vk_provider::Result<T>) {
        let now = Instant::now();
        self.told.send_if_modified(|Told { denial, .. }| match (outcome, &denial) {
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

    /// The provider answers again after it did not: there is no need to wait any longer with what failed meanwhile.
    pub(crate) fn recovered(&self) {
        self.recovered.send_replace(());
    }

    /// Changes whenever the provider answers again after it did not.
    pub(crate) fn recoveries(&self) -> watch::Receiver<()> {
        self.recovered.subscribe()
    }

    /// Tells that many pods have vanished together from the provider, and what is done about it; `None`: that is over.
    pub(crate) fn pods_vanished(&self, message: Option<String>) {
        self.told.send_if_modified(|told| std::mem::replace(&mut told.vanished, message.clone()) != message);
    }

    /// What is told of pods that have vanished together.
    #[cfg(test)]
    pub(crate) fn vanished(&self) -> Option<String> {
        self.told.borrow().vanished.clone()
    }
}
