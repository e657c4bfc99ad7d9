//! The node's Lease: it says that the host lives, whatever the provider does, and which process that host is.
//!
//! ```text
//!            free, or still for 15 s              every 10 s
//!  acquire ──────────────────────────> hold ──────────┐   stop
//!     └ another's: waits, nothing acts   ^ └───────────┘ ────────> release
//!                                        └ another's: LeaseTaken, the process ends
//! ```
//!
//! A lease that lapses makes the controller manager set every pod of the node NotReady, so nothing but the API server
//! itself may hold up its renewal: it has a client of its own, and each request is short.
//!
//! Two processes that act for one node would make its pods twice. So the lease names the process in an annotation, and
//! whoever holds it acts alone. It is taken by a write that carries the resourceVersion, so of two that wait one wins. The
//! one that waits goes by its own clock and by whether the lease moves, so the clocks of the two need not agree; only a
//! lease that by its renewTime has lapsed is taken at once. A clock that is 30 s ahead takes a live lease for that, and
//! the other host then ends.
//!
//! A host that was stopped, or cut off, for a while may have lost the lease without knowing. Within 15 s of its last
//! renewal nobody else can have taken it; later it does not know. Therefore nothing is changed at the provider outside of
//! that time: see [`Fence`]. When the API server is down for longer, such changes wait for it, and so would their
//! results. What was begun before is not called back, and a machine that sleeps stops this clock too, so the fence makes
//! two acting hosts improbable where the backend alone could make them impossible.
//!
//! A lease made before there is a Node has no owner, and gets it with the Node. It is deleted by a clean stop if there
//! never was one; after a kill it stays behind until the next host of that name.

mod fence;
mod object;
mod rival;

#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use k8s_openapi::api::coordination::v1::Lease;
use kube::{
    Api, Client,
    api::{DeleteParams, PostParams, Preconditions},
};
use tokio::{
    sync::watch,
    time::{Instant, MissedTickBehavior, interval_at, sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::{metrics::Metrics, registration::NodeFacts};
use rival::Rival;

pub(crate) use fence::Fence;

/// Where the controller manager looks for the leases of nodes.
const NAMESPACE: &str = "kube-node-lease";
/// A quarter of what the lease says.
const RENEW_EVERY: Duration = Duration::from_secs(10);
/// How long a lease must not have moved before another process takes it.
const STILL_FOR: Duration = Duration::from_secs(15);
/// How often a lease that is waited for is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// So short that a renewal which hangs is made again before others may take the lease.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(3);
/// The pauses between attempts of one renewal.
const MIN_PAUSE: Duration = Duration::from_millis(200);
const MAX_PAUSE: Duration = Duration::from_secs(7);
/// How long giving up the lease may hold up a stop.
const RELEASE_WITHIN: Duration = Duration::from_secs(5);

/// Another process has taken the node's lease while this one held it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "another vk-host (instance {instance}) has taken over node {node_name}: a node is for one vk-host, so stop the other, or give this one another --nodename"
)]
pub struct LeaseTaken {
    /// The node's name.
    pub node_name: String,
    /// The other process, as the lease names it.
    pub instance: String,
}

#[derive(Debug, thiserror::Error)]
enum LeaseError {
    #[error("no answer within {} s", REQUEST_TIMEOUT.as_secs())]
    Timeout,
    #[error(transparent)]
    Api(#[from] kube::Error),
}

impl LeaseError {
    fn is(&self, check: fn(&kube::core::Status) -> bool) -> bool {
        matches!(self, Self::Api(kube::Error::Api(status)) if check(status))
    }

    /// Whether somebody else was faster: what is there has to be read again.
    fn is_race(&self) -> bool {
        self.is(kube::core::Status::is_conflict) || self.is(kube::core::Status::is_already_exists)
    }
}

/// Takes the node's lease, keeps it and gives it up.
pub(crate) struct Keeper {
    api: Api<Lease>,
    node_name: String,
    /// This process.
    instance: String,
    node: watch::Receiver<Option<Arc<NodeFacts>>>,
    metrics: Metrics,
    /// The lease as the API had it last.
    known: Option<Lease>,
    /// The lease may be this process's.
    asked: bool,
    /// When the last request that renewed it was sent.
    renewed: watch::Sender<Option<Instant>>,
}

impl Keeper {
    /// The keeper of the lease of `node_name`, and what those consult who act under it. `client` should not retry by
    /// itself.
    pub(crate) fn new(
        client: Client,
        node_name: &str,
        node: watch::Receiver<Option<Arc<NodeFacts>>>,
        metrics: Metrics,
    ) -> (Self, Fence) {
        let (renewed, fence) = Fence::new();
        let keeper = Self {
            api: Api::namespaced(client, NAMESPACE),
            node_name: node_name.to_owned(),
            instance: format!("{:032x}", rand::random::<u128>()),
            node,
            metrics,
            known: None,
            asked: false,
            renewed,
        };
        (keeper, fence)
    }

    /// Waits until the lease is this process's.
    pub(crate) async fn acquire(&mut self) {
        let mut rival = Rival::default();
        let mut pause = MIN_PAUSE;
        loop {
            match self.try_acquire(&mut rival).await {
                Ok(true) => break,
                Ok(false) => {
                    pause = MIN_PAUSE;
                    sleep(LOOK_EVERY).await;
                }
                Err(error) if error.is_race() => sleep(MIN_PAUSE).await,
                Err(error) => {
                    // While the API server is away, the other one cannot renew either.
                    rival.forget();
                    warn!("cannot take the lease of node {}, trying again: {error}", self.node_name);
                    sleep(pause).await;
                    pause = (pause * 2).min(MAX_PAUSE);
                }
            }
        }
        info!(instance = self.instance, "took the lease of node {}", self.node_name);
    }

    async fn try_acquire(&mut self, rival: &mut Rival) -> Result<bool, LeaseError> {
        let known = request(self.api.get_opt(&self.node_name)).await?;
        if let Some(lease) = &known
            && let Some(instance) = self.other_holder(lease)
            && !object::has_lapsed(lease)
            && !rival.is_still(lease, Instant::now())
        {
            if rival.is_news(instance) {
                warn!(
                    "node {} is held by another vk-host (instance {instance}): nothing is done until that one ends or has \
                     not renewed its lease for {} s; if both are to run, give this one another --nodename",
                    self.node_name,
                    STILL_FOR.as_secs()
                );
            }
            return Ok(false);
        }
        self.write(known).await?;
        Ok(true)
    }

    /// Renews the lease until `stop`, then gives it up.
    ///
    /// # Errors
    ///
    /// If another process has it. That one acts by then, so this one must not touch anything any more.
    pub(crate) async fn hold(mut self, stop: CancellationToken) -> Result<(), LeaseTaken> {
        tokio::select! {
            () = stop.cancelled() => {}
            taken = self.keep() => {
                self.renewed.send_replace(None);
                return Err(taken);
            }
        }
        self.release().await;
        Ok(())
    }

    /// Comes back only when the lease is lost.
    async fn keep(&mut self) -> LeaseTaken {
        let mut ticks = interval_at(Instant::now() + RENEW_EVERY, RENEW_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // As it is written.
        let mut uid = None;
        loop {
            let owner = self.owner();
            if owner == uid {
                tokio::select! {
                    _ = ticks.tick() => {}
                    changed = self.node.changed() => match changed {
                        // A node that was made again is another owner: the garbage collector would take the lease.
                        Ok(()) => continue,
                        // The node's task has ended; the host lives as long as nobody stops it.
                        Err(_) => drop(ticks.tick().await),
                    },
                }
            }
            uid = owner;
            if let Err(taken) = self.renew().await {
                return taken;
            }
        }
    }

    /// The uid of the node, once there is one.
    fn owner(&self) -> Option<String> {
        self.node.borrow().as_ref().map(|facts| facts.uid.clone()).filter(|uid| !uid.is_empty())
    }

    /// Renews until it has worked.
    async fn renew(&mut self) -> Result<(), LeaseTaken> {
        let mut pause = MIN_PAUSE;
        loop {
            let outcome = self.try_renew().await;
            if outcome.is_err() {
                self.metrics.lease(false);
            }
            match outcome {
                Ok(renewed) => return renewed,
                Err(error) if error.is_race() => {
                    debug!("the lease of node {} was changed by somebody: reading it again", self.node_name);
                }
                Err(error) => warn!("could not renew the lease of node {}: {error}", self.node_name),
            }
            sleep(pause).await;
            pause = (pause * 2).min(MAX_PAUSE);
        }
    }

    async fn try_renew(&mut self) -> Result<Result<(), LeaseTaken>, LeaseError> {
        let known = self.known().await?;
        if let Some(instance) = known.as_ref().and_then(|lease| self.other_holder(lease)) {
            return Ok(Err(LeaseTaken { node_name: self.node_name.clone(), instance: instance.to_owned() }));
        }
        self.write(known).await.map(Ok)
    }

    /// The lease, read anew if the last request failed.
    async fn known(&mut self) -> Result<Option<Lease>, LeaseError> {
        match self.known.take() {
            Some(lease) => Ok(Some(lease)),
            None => request(self.api.get_opt(&self.node_name)).await,
        }
    }

    /// Writes the lease as this process's.
    async fn write(&mut self, known: Option<Lease>) -> Result<(), LeaseError> {
        self.asked = true;
        // Before the request: from when it is written on, others see the lease move.
        let sent = Instant::now();
        let (owner, params) = (self.owner(), PostParams::default());
        let named = |lease| object::held(lease, &self.node_name, &self.instance, owner.as_deref());
        let written = match known {
            Some(known) => match request(self.api.replace(&self.node_name, &params, &named(known))).await {
                Err(error) if error.is(kube::core::Status::is_not_found) => None,
                replaced => Some(replaced?),
            },
            None => None,
        };
        self.known = Some(match written {
            Some(lease) => lease,
            None => request(self.api.create(&params, &named(Lease::default()))).await?,
        });
        self.metrics.lease(true);
        self.renewed.send_replace(Some(sent));
        Ok(())
    }

    /// The process that holds the lease, if that is another one.
    fn other_holder<'a>(&self, lease: &'a Lease) -> Option<&'a str> {
        object::instance(lease).filter(|instance| *instance != self.instance)
    }

    /// Gives the lease up, so that the next host can begin at once. Bounded.
    pub(crate) async fn release(&mut self) {
        if !self.asked {
            return;
        }
        let releasing = async {
            loop {
                match self.try_release().await {
                    Err(error) if error.is(kube::core::Status::is_forbidden) => return Err(error),
                    Err(error) => debug!("the lease of node {} is not given up yet: {error}", self.node_name),
                    Ok(()) => return Ok(()),
                }
                sleep(MIN_PAUSE).await;
            }
        };
        let problem = match timeout(RELEASE_WITHIN, releasing).await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no success within {} s", RELEASE_WITHIN.as_secs()),
        };
        warn!(
            "could not give up the lease of node {}, so that the next host will wait {} s for it: {problem}",
            self.node_name,
            STILL_FOR.as_secs()
        );
    }

    async fn try_release(&mut self) -> Result<(), LeaseError> {
        let own = self.known().await?.filter(|lease| object::instance(lease) == Some(&self.instance));
        let Some(lease) = own else { return Ok(()) };
        if lease.metadata.owner_references.is_none() {
            // There never was a node, so nobody would remove it.
            let preconditions = Preconditions {
                uid: lease.metadata.uid.clone(),
                resource_version: lease.metadata.resource_version.clone(),
            };
            let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
            return request(self.api.delete(&self.node_name, &params)).await.map(drop);
        }
        let lease = object::given_up(lease);
        request(self.api.replace(&self.node_name, &PostParams::default(), &lease)).await.map(drop)
    }
}

async fn request<T>(call: impl Future<Output = kube::Result<T>>) -> Result<T, LeaseError> {
    Ok(timeout(REQUEST_TIMEOUT, call).await.map_err(|_| LeaseError::Timeout)??)
}
