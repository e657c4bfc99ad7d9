//! The Node object: made or adopted, kept up to date, made again when somebody deletes it.
//!
//! ```text
//!  describe, every 10 s or when asked ──> Health ──┐
//!  pod calls: authorized or not ──────────> Health ├──> the wanted Node ──diff──> patches ──> API server
//!  the Node, watched by name ──────────────────────┘                                   └────> NodeFacts, for others
//! ```
//!
//! One task owns all of it. Others reach it through a [`NodeHandle`] and read what it publishes.

mod describe;
mod error;
mod handle;
mod health;
mod object;
mod patch;

#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, net::IpAddr, pin::pin, sync::Arc, time::Duration};

use futures::StreamExt;
use k8s_openapi::{api::core::v1::Node, apimachinery::pkg::api::resource::Quantity, jiff::Timestamp};
use kube::{
    Api, Client,
    api::{Patch, PatchParams, PostParams},
    runtime::{WatchStreamExt, watcher::watch_object},
};
use tokio::{
    sync::{Notify, mpsc, watch},
    time::{Instant, sleep, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};
use vk_provider::{Description, ErrorKind, OperatingSystem, Provider};

use crate::{
    events::{Events, Kind},
    version::is_older,
};
use describe::Answer;
use error::{RequestError, request};
use handle::Denial;
use health::Health;

pub use error::RegistrationError;
pub use handle::NodeHandle;

/// How often the status is sent when nothing changes, as a kubelet does beside its lease.
const REPORT_EVERY: Duration = Duration::from_secs(300);
/// How long the last report may hold up a stop.
const GOODBYE_TIMEOUT: Duration = Duration::from_secs(5);
/// The pauses between attempts to reach the API server.
const MIN_PAUSE: Duration = Duration::from_secs(1);
const MAX_PAUSE: Duration = Duration::from_secs(30);
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
    pub(crate) taints: Taints,
    pub(crate) describe_every: Duration,
    pub(crate) not_ready_after: Duration,
    /// The version of vk-host, without `v`.
    pub(crate) version: String,
}

/// The node as it stands in the API.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct NodeFacts {
    pub(crate) uid: String,
    pub(crate) allocatable: BTreeMap<String, Quantity>,
    pub(crate) host_ips: Vec<IpAddr>,
    pub(crate) ready: bool,
}

/// The task that owns the Node object.
pub(crate) struct Registration {
    settings: Settings,
    api: Api<Node>,
    client: Client,
    provider: Arc<dyn Provider>,
    events: Events,
    describe: Arc<Notify>,
    denial: watch::Receiver<Option<Denial>>,
    facts: watch::Sender<Option<Arc<NodeFacts>>>,
    health: Health,
    owned: patch::Owned,
    /// The minor version of the API server.
    server_minor: u32,
    /// Whether the label that NodeRestriction refuses may be set.
    with_role: bool,
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
        let (handle, describe, denial) = NodeHandle::new();
        let registration = Self {
            settings,
            api: Api::all(client.clone()),
            client,
            provider,
            events,
            describe,
            denial,
            facts,
            health: Health::default(),
            owned: patch::Owned::default(),
            server_minor: 0,
            with_role: true,
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
        self.first_description(answers).await?;
        self.learn_server_version().await;
        self.register().await?;

        let name = self.settings.node_name.clone();
        let mut seen = pin!(watch_object(self.api.clone(), &name).default_backoff());
        let mut denial = self.denial.clone();
        let mut next_report = Instant::now() + REPORT_EVERY;
        let mut pause = MIN_PAUSE;
        let mut retry: Option<Instant> = None;
        loop {
            let now = Instant::now();
            let not_ready = self.health.not_ready_at(self.settings.not_ready_after, now);
            let wake = [Some(next_report), not_ready, retry].into_iter().flatten().min().unwrap_or(next_report);
            let mut deleted = false;
            tokio::select! {
                answer = answers.recv() => match answer {
                    Some(answer) => self.described(answer),
                    None => return Ok(()),
                },
                Ok(()) = denial.changed() => {
                    let message = denial.borrow_and_update().as_ref().map(|denial| denial.message.clone());
                    self.health.authorized(message);
                }
                node = seen.next() => match node {
                    Some(Ok(Some(node))) => self.seen(node),
                    Some(Ok(None)) => deleted = true,
                    Some(Err(error)) => debug!(error = &error as &dyn std::error::Error, "the watch of the node was interrupted"),
                    None => return Ok(()),
                },
                () = sleep_until(wake) => {}
            }
            if deleted {
                warn!("node {name} was deleted by somebody: making it again");
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

    /// Waits until the provider has described the node once.
    async fn first_description(&mut self, answers: &mut mpsc::Receiver<Answer>) -> Result<(), RegistrationError> {
        while self.description.is_none() {
            match answers.recv().await {
                None => break,
                Some(Ok(description)) => self.description = Some(description),
                Some(Err(error)) if matches!(error.kind, ErrorKind::Invalid | ErrorKind::Unsupported) => {
                    return Err(RegistrationError::Refused(error));
                }
                Some(Err(error)) => warn!(
                    kind = error.kind.as_str(),
                    "the node is not registered before the provider has described it, which failed: {error}"
                ),
            }
        }
        Ok(())
    }

    /// Asks for the API server's version, which the node's version must not exceed.
    async fn learn_server_version(&mut self) {
        let mut pause = MIN_PAUSE;
        loop {
            match request(self.client.apiserver_version()).await {
                Ok(version) => {
                    let digits: String = version.minor.chars().take_while(char::is_ascii_digit).collect();
                    self.server_minor = digits.parse().unwrap_or(u32::MAX);
                    return;
                }
                Err(error) => warn!("cannot reach the API server, trying again in {} s: {error}", pause.as_secs()),
            }
            sleep(pause).await;
            pause = (pause * 2).min(MAX_PAUSE);
        }
    }

    /// Makes or adopts the node, however long it takes.
    async fn register(&mut self) -> Result<(), RegistrationError> {
        let mut pause = MIN_PAUSE;
        loop {
            match self.try_register().await {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(refused)) => return Err(refused),
                Err(error) => warn!(
                    "cannot register node {}, trying again in {} s: {error}",
                    self.settings.node_name,
                    pause.as_secs()
                ),
            }
            sleep(pause).await;
            pause = (pause * 2).min(MAX_PAUSE);
        }
    }

    async fn try_register(&mut self) -> Result<Result<(), RegistrationError>, RequestError> {
        let name = self.settings.node_name.clone();
        if let Some(node) = request(self.api.get_opt(&name)).await? {
            if let Some(version) = object::real_kubelet(&node) {
                return Ok(Err(RegistrationError::RealKubelet { name, kubelet_version: version.to_owned() }));
            }
            return self.adopt(node).await.map(Ok);
        }
        let mut wanted = self.wanted(None);
        let created = match request(self.api.create(&PostParams::default(), &wanted)).await {
            Err(error) if self.with_role && error.is_refusal() => {
                self.go_without_role();
                wanted = self.wanted(None);
                request(self.api.create(&PostParams::default(), &wanted)).await
            }
            created => created,
        };
        match created {
            Ok(node) => {
                info!("registered node {name}");
                self.owned.add(&wanted);
                self.accept(node);
                Ok(Ok(()))
            }
            // Somebody was faster, or the role label was not what was refused.
            Err(error) => {
                self.with_role = true;
                Err(error)
            }
        }
    }

    /// Takes over a node that exists already.
    async fn adopt(&mut self, node: Node) -> Result<(), RequestError> {
        let name = self.settings.node_name.clone();
        let mut node = node;
        if let Some(patch) = patch::taints(&node, &self.wanted(Some(&node))) {
            match request(self.api.patch(&name, &PatchParams::default(), &Patch::Merge(&patch))).await {
                Ok(patched) => node = patched,
                Err(error) if error.is(kube::core::Status::is_forbidden) => {
                    warn!("node {name} lacks a taint that this identity may not add: {error}");
                }
                Err(error) => return Err(error),
            }
        }
        info!("adopted node {name}");
        self.accept(node);
        self.report(true).await
    }

    /// The node as it should be.
    fn wanted(&self, current: Option<&Node>) -> Node {
        let fallback;
        let description = match &self.description {
            Some(description) => description,
            None => {
                fallback = describe::nothing();
                &fallback
            }
        };
        let mut node = object::build(&self.settings, &self.provider.info(), description, self.server_minor).node;
        if !self.with_role
            && let Some(labels) = &mut node.metadata.labels
        {
            labels.remove(object::ROLE_LABEL);
        }
        let known = current.and_then(|node| node.status.as_ref()?.conditions.as_deref()).unwrap_or_default();
        let conditions = self.health.conditions(description, self.settings.not_ready_after, Instant::now());
        if let Some(status) = &mut node.status {
            status.conditions = Some(health::date(&conditions, known, now()));
        }
        node
    }

    /// Takes in an answer of the provider.
    fn described(&mut self, answer: Answer) {
        match answer {
            Ok(description) => {
                self.health.described(Ok(()), Instant::now());
                let dropped =
                    object::build(&self.settings, &self.provider.info(), &description, self.server_minor).dropped;
                for complaint in dropped.iter().filter(|complaint| !self.dropped.contains(complaint)) {
                    warn!("dropped from the provider's description of the node: {complaint}");
                }
                self.dropped = dropped;
                self.description = Some(description);
            }
            Err(error) => {
                warn!(kind = error.kind.as_str(), "the provider could not describe the node: {error}");
                self.health.described(Err(error), Instant::now());
            }
        }
    }

    /// Takes in the node as the API had it at some time: an older one than what is known is of no use.
    fn seen(&mut self, node: Node) {
        let older = self.current.as_ref().is_some_and(|current| is_older(&node.metadata, &current.metadata));
        if !older {
            self.accept(node);
        }
    }

    /// Keeps and publishes the node.
    fn accept(&mut self, node: Node) {
        let ready = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
        let ready = ready.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True");
        let facts = NodeFacts {
            uid: node.metadata.uid.clone().unwrap_or_default(),
            allocatable: patch::allocatable(&node),
            host_ips: self.settings.addresses.clone(),
            ready,
        };
        self.facts.send_if_modified(|known| {
            let changed = known.as_deref() != Some(&facts);
            if changed {
                *known = Some(Arc::new(facts));
            }
            changed
        });
        self.current = Some(node);
    }

    /// Sends what differs, and the conditions in any case if a heartbeat is due.
    async fn report(&mut self, heartbeat: bool) -> Result<(), RequestError> {
        self.report_metadata().await?;
        let Some(current) = &self.current else { return Ok(()) };
        let wanted = self.wanted(Some(current));
        if let Some(patch) = patch::status(current, &wanted, &self.owned, heartbeat) {
            let (params, patch) = (PatchParams::default(), Patch::Strategic(&patch));
            let node = request(self.api.patch_status(&self.settings.node_name, &params, &patch)).await?;
            self.tell(current, &wanted);
            self.accept(node);
        }
        self.owned.add(&wanted);
        Ok(())
    }

    /// Sends labels and annotations that differ; without the role label where the API server refuses it.
    async fn report_metadata(&mut self) -> Result<(), RequestError> {
        loop {
            let Some(current) = &self.current else { return Ok(()) };
            let Some(patch) = patch::metadata(current, &self.wanted(Some(current)), &self.owned) else { return Ok(()) };
            let (params, patch) = (PatchParams::default(), Patch::Merge(&patch));
            match request(self.api.patch(&self.settings.node_name, &params, &patch)).await {
                Ok(node) => {
                    self.accept(node);
                    return Ok(());
                }
                Err(error) if self.with_role && !error.is_other_node() && error.is_refusal() => self.go_without_role(),
                Err(error) => return Err(error),
            }
        }
    }

    fn go_without_role(&mut self) {
        info!("the API server does not let this identity set {}: going on without", object::ROLE_LABEL);
        self.with_role = false;
    }

    /// Tells of conditions that turn, for whoever looks at the node later.
    fn tell(&self, current: &Node, wanted: &Node) {
        let conditions =
            |node: &Node| node.status.as_ref().and_then(|status| status.conditions.clone()).unwrap_or_default();
        let known = conditions(current);
        for condition in conditions(wanted) {
            let (kind, reason) = match (condition.type_.as_str(), condition.status.as_str()) {
                ("Ready", "False") => (Kind::Normal, "NodeNotReady"),
                ("Ready", "True") => (Kind::Normal, "NodeReady"),
                ("ProviderReachable", "False") => (Kind::Warning, "ProviderUnreachable"),
                ("ProviderAuthorized", "False") => (Kind::Warning, "ProviderUnauthorized"),
                _ => continue,
            };
            let turned = known.iter().any(|known| known.type_ == condition.type_ && known.status != condition.status);
            if turned {
                self.events.on_node(kind, reason, condition.message.unwrap_or_default());
            }
        }
    }
}

/// The time in whole seconds, as the API keeps it.
fn now() -> Timestamp {
    let now = Timestamp::now();
    Timestamp::from_second(now.as_second()).unwrap_or(now)
}
