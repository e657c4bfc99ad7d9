//! The Kubernetes side of a virtual node.
//!
//! ```text
//!                     ┌─ registration: Node object, conditions <── Provider::describe
//!                     ├─ lease: the node lives, and this process alone acts for it
//!  API server <──>  Node ─ pods: watch ──> task per pod ──> Provider::create, update, delete
//!                     │            │           ^   │
//!                     │            │           │   └──> status: compose, patch ──> API server
//!                     │            │           └── Provider::poll
//!                     │            ├─ admission: whether the node takes a pod
//!                     │            └─ references: ConfigMaps, Secrets, tokens, services a pod needs
//!                     └─ events: what `kubectl describe` shows
//! ```
//!
//! Data goes one way: watch event, pod task, provider call, observation, status patch. The crate knows nothing of
//! WebAssembly; a provider is whatever implements [`vk_provider::Provider`].

mod admission;
mod events;
#[cfg(test)]
mod fake_api;
mod lease;
mod metrics;
mod owner;
mod pods;
mod quantity;
mod references;
mod registration;
mod status;
mod version;
mod watching;

use std::{net::IpAddr, sync::Arc, time::Duration};

use kube::Client;
use tokio::{
    sync::{mpsc, watch},
    task::{JoinError, JoinHandle},
    time,
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};
use vk_provider::{OperatingSystem, PodEvent, Provider};

pub use lease::LeaseTaken;
pub use metrics::Metrics;
pub use owner::{OwnerError, owner};
pub use pods::{Directory, DirectoryPod};
pub use registration::{NodeHandle, RegistrationError, Taints};

use events::Events;
use lease::{Fence, Keeper};
use quantity::Quantity;
use references::References;
use registration::{NodeFacts, Registration};

/// How often the provider is asked what the node offers.
const DESCRIBE_EVERY: Duration = Duration::from_secs(10);
/// How long a stop waits for provider calls and status writes in flight. Kubernetes gives a container 30 s by default.
const STOP_WITHIN: Duration = Duration::from_secs(20);

/// What the operator decides.
#[derive(Debug, Clone)]
pub struct Config {
    /// The node's name.
    pub node_name: String,
    /// The one namespace whose pods are run; `None`: all.
    pub namespace: Option<String>,
    /// What the node's pods must be made for; `None`: what the provider says.
    pub operating_system: Option<OperatingSystem>,
    /// The node's InternalIP addresses, and its pods' hostIPs: at most one of each family.
    pub addresses: Vec<IpAddr>,
    /// Where the kubelet API listens; `None`: nowhere.
    pub port: Option<u16>,
    /// What the kubelet API can do beyond what every API server expects of it, as in the Node's `declaredFeatures`.
    pub declared_features: Vec<String>,
    /// The taints that the node is created with.
    pub taints: Taints,
    /// Leave alone what the provider runs and the cluster does not know.
    pub keep_orphans: bool,
    /// How long the provider may be unreachable before the node is not Ready any more.
    pub not_ready_after: Duration,
    /// The version of vk-host, without `v`; part of the node's kubeletVersion.
    pub version: String,
}

/// The connections to the API server.
#[derive(Clone)]
pub struct Clients {
    /// For pods, the node and events.
    pub main: Client,
    /// For what pods refer to: a watch for each object.
    pub references: Client,
    /// For the lease alone, without repetitions of its own, so that a renewal neither hangs nor waits behind others.
    pub lease: Client,
}

/// Why a node ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The Node object cannot be had.
    #[error(transparent)]
    Registration(#[from] RegistrationError),
    /// The node is another process's now.
    #[error(transparent)]
    Lease(#[from] LeaseTaken),
    /// A part of the node failed as a program.
    #[error("{part} ended abnormally")]
    Panic {
        /// Which part.
        part: &'static str,
        /// What tokio knows of it.
        #[source]
        source: JoinError,
    },
}

/// A virtual node, not started yet.
pub struct Node {
    acting: Acting,
    reported: mpsc::Receiver<PodEvent>,
    writer: events::Writer,
}

impl Node {
    /// A node whose pods `provider` runs; `reported` is what it has to tell about them.
    pub fn new(
        config: Config,
        clients: Clients,
        provider: Arc<dyn Provider>,
        reported: mpsc::Receiver<PodEvent>,
        metrics: Metrics,
    ) -> Self {
        let (events, writer) = Events::new(clients.main.clone(), &config.node_name, metrics.events_dropped.clone());
        let settings = registration::Settings {
            node_name: config.node_name.clone(),
            operating_system: config.operating_system,
            addresses: config.addresses.clone(),
            port: config.port,
            declared_features: config.declared_features.clone(),
            taints: config.taints.clone(),
            describe_every: DESCRIBE_EVERY,
            not_ready_after: config.not_ready_after,
            version: config.version.clone(),
        };
        let (registration, handle, facts) =
            Registration::new(settings, clients.main.clone(), provider.clone(), events.clone());
        Self {
            acting: Acting {
                config,
                clients,
                provider,
                metrics,
                events,
                registration,
                handle,
                facts,
                directory: Directory::default(),
            },
            reported,
            writer,
        }
    }

    /// Tells the node what others saw, while it runs.
    pub fn handle(&self) -> NodeHandle {
        self.acting.handle.clone()
    }

    /// The node's pods by name, while it runs.
    pub fn directory(&self) -> Directory {
        self.acting.directory.clone()
    }

    /// Says how many bytes of memory the node offers to pods at the moment; `None` until it is registered.
    pub fn memory(&self) -> impl Fn() -> Option<u64> + Send + Sync + 'static {
        let facts = self.acting.facts.clone();
        move || {
            let facts = facts.borrow();
            let memory = Quantity::try_from(facts.as_ref()?.allocatable.get("memory")?).ok()?;
            u64::try_from(memory.units()).ok()
        }
    }

    /// Whether the node is registered; changes once.
    pub fn registered(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut facts = self.acting.facts.clone();
        async move {
            // The sender goes only when the node ends.
            let _ = facts.wait_for(Option::is_some).await;
        }
    }

    /// Runs the node until `stop`. Neither the Node nor a pod is touched before the node's lease is this process's.
    ///
    /// A stop lets provider calls in flight end, for at most 20 seconds, turns the node NotReady, gives up the lease and
    /// leaves its pods and the Node object as they are.
    ///
    /// # Errors
    ///
    /// If the node cannot be registered, because a real kubelet has its name, or another process takes its lease.
    pub async fn run(self, stop: CancellationToken) -> Result<(), Error> {
        let Self { acting, reported, writer } = self;
        let events_stop = CancellationToken::new();
        let writer = tokio::spawn(writer.run(events_stop.clone()));
        let relay = tokio::spawn(relay(reported, acting.events.clone(), events_stop.clone()));
        let outcome = acting.run(&stop).await;
        // Last, so that what happened before is told.
        events_stop.cancel();
        finish("relay", relay).await?;
        finish("events", writer).await?;
        outcome
    }
}

/// All of a node that needs its lease.
struct Acting {
    config: Config,
    clients: Clients,
    provider: Arc<dyn Provider>,
    metrics: Metrics,
    events: Events,
    registration: Registration,
    handle: NodeHandle,
    facts: watch::Receiver<Option<Arc<NodeFacts>>>,
    directory: Directory,
}

impl Acting {
    /// Takes the lease, acts while it is held, and gives it up.
    async fn run(self, stop: &CancellationToken) -> Result<(), Error> {
        let (mut keeper, fence) =
            Keeper::new(self.clients.lease.clone(), &self.config.node_name, self.facts.clone(), self.metrics.clone());
        let acquired = stop.run_until_cancelled(async {
            // A real kubelet's lease stays as it is.
            self.registration.refuse_real_kubelet().await?;
            keeper.acquire().await;
            Ok(())
        });
        match acquired.await {
            Some(Ok(())) => {}
            Some(Err(refused)) => return Err(Error::Registration(refused)),
            None => {
                keeper.release().await;
                return Ok(());
            }
        }
        let lease_stop = CancellationToken::new();
        let mut lease = tokio::spawn(keeper.hold(lease_stop.clone()));
        let outcome = tokio::select! {
            // Another process acts by now: this one drops what it does, without a last word.
            ended = &mut lease => {
                stop.cancel();
                return joined("lease", ended);
            }
            outcome = self.act(fence, stop) => outcome,
        };
        // Whatever is left of the node's parts ends, and then the lease is given up.
        stop.cancel();
        lease_stop.cancel();
        outcome.and(joined("lease", lease.await))
    }

    /// Registers the node and runs its pods. Dropped, it ends at once.
    async fn act(self, fence: Fence, stop: &CancellationToken) -> Result<(), Error> {
        // Stopped one after the other: pods while the node still counts as alive, then the node.
        let node_stop = CancellationToken::new();
        let _readiness = AbortOnDropHandle::new(tokio::spawn(show_readiness(self.facts.clone(), self.metrics.clone())));
        let mut registration = AbortOnDropHandle::new(tokio::spawn(self.registration.run(node_stop.clone())));
        let references = References::new(
            self.clients.references,
            self.config.namespace.clone(),
            self.facts.clone(),
            self.metrics.clone(),
            // Not `stop`: steps that pods have begun are let end, with what they refer to.
            node_stop.clone(),
        );
        let _references_end = node_stop.clone().drop_guard();
        let shared = Arc::new(pods::Shared {
            provider: self.provider,
            api: pods::PodApi::new(
                self.clients.main,
                &self.config.node_name,
                self.config.namespace,
                self.metrics.clone(),
            ),
            references,
            admission: admission::Admission::new(),
            directory: self.directory,
            events: self.events,
            node: self.handle,
            facts: self.facts.clone(),
            fence,
            nudge: Arc::default(),
            keep_orphans: self.config.keep_orphans,
            metrics: self.metrics,
        });
        let mut facts = self.facts;
        let run_pods = async {
            // No pod call comes before a describe was tried, and no status before the node has addresses.
            // What is waited for comes with a lock, which is gone at the end of this line.
            let registered = stop.run_until_cancelled(facts.wait_for(Option::is_some)).await.is_some();
            if registered { pods::run(shared, stop.clone()).await } else { Ok(()) }
        };
        tokio::select! {
            ended = &mut registration => joined("registration", ended),
            ended = bounded(run_pods, stop) => {
                node_stop.cancel();
                let registered = joined("registration", registration.await);
                ended.map_err(|source| Error::Panic { part: "pods", source }).and(registered)
            }
        }
    }
}

/// Runs the pods, and after a stop for as long as a stop may take.
async fn bounded(pods: impl Future<Output = Result<(), JoinError>>, stop: &CancellationToken) -> Result<(), JoinError> {
    let bound = async {
        stop.cancelled().await;
        time::sleep(STOP_WITHIN).await;
    };
    tokio::select! {
        ended = pods => ended,
        () = bound => {
            tracing::warn!("provider calls in flight were given up after {STOP_WITHIN:?}");
            Ok(())
        }
    }
}

/// Keeps the metric at what the node says, for as long as it has a keeper.
async fn show_readiness(mut facts: watch::Receiver<Option<Arc<NodeFacts>>>, metrics: Metrics) {
    loop {
        metrics.ready(facts.borrow_and_update().as_ref().is_some_and(|facts| facts.ready));
        if facts.changed().await.is_err() {
            return;
        }
    }
}

/// Hands on what the provider reports of pods.
async fn relay(mut reported: mpsc::Receiver<PodEvent>, events: Events, stop: CancellationToken) {
    while let Some(Some(event)) = stop.run_until_cancelled(reported.recv()).await {
        events.reported(&event);
    }
}

async fn finish(part: &'static str, task: JoinHandle<()>) -> Result<(), Error> {
    task.await.map_err(|source| Error::Panic { part, source })
}

fn joined<E: Into<Error>>(part: &'static str, ended: Result<Result<(), E>, JoinError>) -> Result<(), Error> {
    ended.map_err(|source| Error::Panic { part, source })?.map_err(Into::into)
}
