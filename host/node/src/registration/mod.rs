//! The Node object: made or adopted, kept up to date, made again when somebody deletes it.
//!
//! ```text
//!  describe, every 10 s or when asked ──> Health ──┐
//!  pod calls: authorized or not ──────────> Health ├──> the wanted Node ──diff──> patches ──> API server
//!  the Node, watched by name ──────────────────────┘                                   └────> NodeFacts, for others
//! ```
//!
//! One task owns all of it. Others reach it through a [`NodeHandle`] and read what it publishes.
//!
//! The provider is asked before anything is written. If it cannot answer, a node that was there before is adopted as it
//! is, with its capacity and labels, so that a host which starts during an outage of the backend costs no pod its Ready;
//! one that never was is made when the provider has described it. Until that first description, an answer that the
//! provider cannot work as it is configured ends the host.
//!
//! - `describe`: asks the provider. `health`: what its answers say of the node
//! - `object`: the Node as wanted. `patch`: the way there from the Node that is
//! - `register`: made or adopted. `report`: kept up to date

mod describe;
mod error;
mod facts;
mod handle;
mod health;
mod object;
mod patch;
mod register;
mod report;

#[cfg(test)]
mod tests;

use std::{net::IpAddr, pin::pin, sync::Arc, time::Duration};

use futures::StreamExt;
use k8s_openapi::api::core::v1::Node;
use kube::{
    Api, Client,
    runtime::{WatchStreamExt, watcher::watch_object},
};
use tokio::{
    sync::{Notify, mpsc, watch},
    time::{Instant, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};
use vk_provider::{Description, OperatingSystem, Provider};

use crate::{events::Events, version::is_older};
use describe::Answer;
use error::{MAX_PAUSE, MIN_PAUSE};
use handle::Told;
use health::Health;

pub use error::RegistrationError;
pub(crate) use facts::NodeFacts;
pub use handle::NodeHandle;

/// How often the status is sent when nothing changes, as a kubelet does beside its lease.
const REPORT_EVERY: Duration = Duration::from_secs(300);
/// How long the last report may hold up a stop.
const GOODBYE_TIMEOUT: Duration = Duration::from_secs(5);

/// Which taint the node is made with, beside those of the provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Taints {
    /// `virtual-kubelet.io/provider=NAME:NoSchedule`.
    Default,
    /// None.
    Disabled,
    /// This one.
    Given(vk_provider::Taint),
}

/// What an operator decides about the node.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) node_name: String,
    /// `None`: what the provider says.
    pub(crate) operating_system: Option<OperatingSystem>,
    /// The node's InternalIP addresses.
    pub(crate) addresses: Vec<IpAddr>,
    /// Where the kubelet API listens.
    pub(crate) port: Option<u16>,
    /// What it can do beyond what every API server expects.
    pub(crate) declared_features: Vec<String>,
    pub(crate) taints: Taints,
    pub(crate) describe_every: Duration,
    pub(crate) not_ready_after: Duration,
    /// The version of vk-host, without `v`.
    pub(crate) version: String,
}

/// The task that owns the Node object.
pub(crate) struct Registration {
    settings: Settings,
    api: Api<Node>,
    client: Client,
    provider: Arc<dyn Provider>,
    events: Events,
    handle: NodeHandle,
    describe: Arc<Notify>,
    told: watch::Receiver<Told>,
    facts: watch::Sender<Option<Arc<NodeFacts>>>,
    health: Health,
    owned: patch::Owned,
    /// The minor version of the API server.
    server_minor: u32,
    /// Whether the label that NodeRestriction refuses may be set.
    with_role: bool,
    /// Whether the API server keeps what the node declares of itself: older ones drop it.
    with_features: bool,
    /// What was complained of already.
    dropped: Vec<String>,
    /// The last good answer of the provider, and the node as the API has it, once there are any.
    description: Option<Description>,
    current: Option<Node>,
}

impl Registration {
    /// The task, the way to reach it, and what it publishes: `None` until the node is registered.
    pub(crate) fn new(
        settings: Settings,
        client: Client,
        provider: Arc<dyn Provider>,
        events: Events,
    ) -> (Self, NodeHandle, watch::Receiver<Option<Arc<NodeFacts>>>) {
        let (facts, published) = watch::channel(None);
        let (handle, describe, told) = NodeHandle::new(events.clone());
        let registration = Self {
            settings,
            api: Api::all(client.clone()),
            client,
            provider,
            events,
            handle: handle.clone(),
            describe,
            told,
            facts,
            health: Health::default(),
            owned: patch::Owned::default(),
            server_minor: 0,
            with_role: true,
            with_features: true,
            dropped: Vec::new(),
            description: None,
            current: None,
        };
        (registration, handle, published)
    }

    /// Registers the node and keeps it until `shutdown`, then posts NotReady and returns.
    ///
    /// # Errors
    ///
    /// Fails only for what no waiting mends: see [`RegistrationError`]. An API server or a provider that cannot be
    /// reached is asked again, for ever.
    pub(crate) async fn run(mut self, shutdown: CancellationToken) -> Result<(), RegistrationError> {
        let (sender, mut answers) = mpsc::channel(1);
        let describing =
            describe::run(Arc::clone(&self.provider), self.settings.describe_every, Arc::clone(&self.describe), sender);
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = describing => {}
            ended = self.keep(&mut answers) => ended?,
        }
        self.health.stopping();
        if self.current.is_some() && timeout(GOODBYE_TIMEOUT, self.report(true)).await.is_err() {
            warn!("could not post NotReady for node {} in time", self.settings.node_name);
        }
        Ok(())
    }

    async fn keep(&mut self, answers: &mut mpsc::Receiver<Answer>) -> Result<(), RegistrationError> {
        self.learn_server_version().await;
        let name = self.settings.node_name.clone();
        let mut seen = pin!(watch_object(self.api.clone(), &name).backoff(crate::watching::pauses()));
        let mut told = self.told.clone();
        let mut next_report = Instant::now() + REPORT_EVERY;
        let mut pause = MIN_PAUSE;
        let mut retry: Option<Instant> = None;
        loop {
            let now = Instant::now();
            let not_ready = self.health.not_ready_at(self.settings.not_ready_after, now);
            let wake = [Some(next_report), not_ready, retry].into_iter().flatten().min().unwrap_or(next_report);
            tokio::select! {
                answer = answers.recv() => match answer {
                    Some(answer) => self.described(answer)?,
                    None => return Ok(()),
                },
                Ok(()) = told.changed() => {
                    let told = told.borrow_and_update();
                    self.health.told(told.denied(), told.vanished.clone());
                }
                node = seen.next(), if self.current.is_some() => match node {
                    Some(Ok(Some(node))) => self.seen(node),
                    Some(Ok(None)) => {
                        warn!("node {name} was deleted by somebody");
                        self.current = None;
                    }
                    Some(Err(error)) => debug!(error = &error as &dyn std::error::Error, "the watch of the node was interrupted"),
                    None => return Ok(()),
                },
                () = sleep_until(wake) => {}
            }
            if self.current.is_none() && self.has_asked() {
                self.register().await?;
            }
            let due = Instant::now() >= next_report;
            if due || retry.is_none_or(|at| at <= Instant::now()) {
                match self.report(due).await {
                    Ok(()) => (retry, pause) = (None, MIN_PAUSE),
                    Err(error) if error.is_other_node() => {
                        warn!("node {name} was replaced by somebody ({error}): looking again");
                        self.register().await?;
                        retry = Some(Instant::now());
                    }
                    Err(error) => {
                        warn!("could not update node {name}, trying again in {} s: {error}", pause.as_secs());
                        retry = Some(Instant::now() + pause);
                        pause = (pause * 2).min(MAX_PAUSE);
                    }
                }
                if due {
                    next_report = Instant::now() + REPORT_EVERY;
                }
            }
        }
    }

    /// Whether the provider has answered in any way.
    fn has_asked(&self) -> bool {
        self.description.is_some() || self.health.is_failing()
    }

    /// Takes in an answer of the provider.
    fn described(&mut self, answer: Answer) -> Result<(), RegistrationError> {
        match answer {
            Ok(description) => {
                if self.health.is_failing() {
                    self.handle.recovered();
                }
                self.health.described(Ok(()), Instant::now());
                let dropped =
                    object::build(&self.settings, &self.provider.info(), &description, self.server_minor).dropped;
                for complaint in dropped.iter().filter(|complaint| !self.dropped.contains(complaint)) {
                    warn!("dropped from the provider's description of the node: {complaint}");
                }
                self.dropped = dropped;
                self.description = Some(description);
            }
            Err(error) if self.description.is_none() && error.kind.is_final() => {
                return Err(RegistrationError::Refused(error));
            }
            Err(error) => {
                warn!(kind = error.kind.as_str(), "the provider could not describe the node: {error}");
                self.health.described(Err(error), Instant::now());
            }
        }
        Ok(())
    }

    /// Takes in the node as the API had it at some time: an older one than what is known is of no use.
    fn seen(&mut self, node: Node) {
        let Some(current) = &self.current else { return };
        if is_older(&node.metadata, &current.metadata) {
            return;
        }
        if current.metadata.uid == node.metadata.uid {
            self.accept(node);
        } else {
            warn!("node {} was replaced by somebody: looking again", self.settings.node_name);
            self.current = None;
        }
    }

    /// Keeps and publishes the node.
    fn accept(&mut self, node: Node) {
        let facts = NodeFacts::of(&node, self.settings.addresses.clone());
        self.facts.send_if_modified(|known| {
            let changed = known.as_deref() != Some(&facts);
            if changed {
                *known = Some(Arc::new(facts));
            }
            changed
        });
        self.current = Some(node);
    }
}
