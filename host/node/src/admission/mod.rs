//! Admission: whether the node takes a pod at all, asked once before the pod is created.
//!
//! ```text
//!  task ──admit──> operating system, resources, node affinity, taints ──> counted, or a Rejection
//!  a pod that runs already ──count──> Ledger: requests by uid, and their sum
//!  a pod that is over ────release──>    └──> Vacancy: whoever waits for a place looks again
//! ```
//!
//! The checks, their order, their reasons and their wording are the kubelet's, for clients know them. Its check of host
//! ports is left out: pods of a virtual node share no network namespace with it. What a pod requests is counted in the
//! same step that admits it, so of two pods only one gets the last CPU, and the sum is kept up to date rather than made
//! anew for each pod. What runs is never admitted again: less room than before ends no pod.

mod affinity;
mod requests;
mod taints;

#[cfg(test)]
mod tests;

use std::{
    borrow::Cow,
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use tokio::{
    sync::watch,
    time::{self, Instant},
};

use crate::registration::NodeFacts;

pub(crate) use requests::Requests;

/// The label of nodes, and of pods that are made for one operating system.
const OS_LABEL: &str = "kubernetes.io/os";
/// How long after a change a pod that waits for a place looks again: changes come in bursts.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Why the node does not take a pod, in the kubelet's words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Rejection {
    #[error("Failed to admit pod as the `kubernetes.io/os` label doesn't match node label")]
    OsLabel,
    #[error("Failed to admit pod as the OS field doesn't match node OS")]
    OsField,
    #[error("Node didn't have enough resource: {resource}, requested: {requested}, used: {used}, capacity: {capacity}")]
    Insufficient { resource: String, requested: i64, used: i64, capacity: i64 },
    #[error("Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector")]
    NodeAffinity,
    #[error("Predicate TaintToleration failed: node(s) had taints that the pod didn't tolerate")]
    TaintToleration,
}

impl Rejection {
    /// The pod's reason, and the event's.
    pub(crate) fn reason(&self) -> Cow<'static, str> {
        match self {
            Self::OsLabel => "PodOSSelectorNodeLabelDoesNotMatch".into(),
            Self::OsField => "PodOSNotSupported".into(),
            Self::Insufficient { resource, .. } => format!("OutOf{resource}").into(),
            Self::NodeAffinity => "NodeAffinity".into(),
            Self::TaintToleration => "TaintToleration".into(),
        }
    }

    /// Whether a newer version of the node could allow the pod: the scheduler may have seen one before the host.
    pub(crate) fn depends_on_the_node(&self) -> bool {
        matches!(self, Self::NodeAffinity | Self::TaintToleration)
    }
}

/// Decides which pods the node takes, and knows what those that it took request.
#[derive(Debug)]
pub(crate) struct Admission {
    ledger: Mutex<Ledger>,
    /// Moves when there is more room than before.
    room: watch::Sender<()>,
}

impl Admission {
    pub(crate) fn new() -> Self {
        Self { ledger: Mutex::default(), room: watch::Sender::new(()) }
    }

    /// Takes the pod and counts it, unless something rules it out. A pod that is counted already stays so.
    pub(crate) fn admit(&self, uid: &str, pod: &Pod, node: &NodeFacts) -> Result<(), Rejection> {
        check_operating_system(pod, node)?;
        let requests = Requests::of_spec(pod);
        let mut ledger = self.ledger();
        if ledger.pods.contains_key(uid) {
            return Ok(());
        }
        ledger.check_room(&requests, node)?;
        if !affinity::matches(pod, node) {
            return Err(Rejection::NodeAffinity);
        }
        if !taints::tolerates(pod, &node.taints) {
            return Err(Rejection::TaintToleration);
        }
        ledger.set(uid, requests);
        Ok(())
    }

    /// Counts a pod that runs, whatever room there is; in place of what was counted for it before.
    pub(crate) fn count(&self, uid: &str, requests: Requests) {
        if self.ledger().set(uid, requests) {
            self.room.send_replace(());
        }
    }

    /// The pod is over, and does not count any more.
    pub(crate) fn release(&self, uid: &str) {
        if self.ledger().remove(uid) {
            self.room.send_replace(());
        }
    }

    /// For a pod that waits until there is a place for it.
    pub(crate) fn vacancy(&self, node: watch::Receiver<Option<Arc<NodeFacts>>>) -> Vacancy {
        Vacancy { room: self.room.subscribe(), node, look_at: None }
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        // Nothing in it is ever half done.
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn check_operating_system(pod: &Pod, node: &NodeFacts) -> Result<(), Rejection> {
    let os = node.operating_system.as_str();
    if pod.labels().get(OS_LABEL).is_some_and(|label| label != os) {
        return Err(Rejection::OsLabel);
    }
    match pod.spec.as_ref().and_then(|spec| spec.os.as_ref()) {
        Some(wanted) if wanted.name != os => Err(Rejection::OsField),
        _ => Ok(()),
    }
}

/// What the pods request that the node has taken.
#[derive(Debug, Default)]
struct Ledger {
    /// By uid.
    pods: HashMap<String, Requests>,
    sum: Requests,
}

impl Ledger {
    /// The kubelet's order: pods, CPU, memory, storage, then the rest.
    fn check_room(&self, wanted: &Requests, node: &NodeFacts) -> Result<(), Rejection> {
        let room = Requests::of_allocatable(&node.allocatable);
        let insufficient = |resource: &str, requested, used, capacity| Rejection::Insufficient {
            resource: resource.to_owned(),
            requested,
            used,
            capacity,
        };
        let pods = i64::try_from(self.pods.len()).unwrap_or(i64::MAX);
        if pods >= room.get("pods") {
            return Err(insufficient("pods", 1, pods, room.get("pods")));
        }
        for (resource, requested) in wanted.iter().filter(|(_, requested)| *requested > 0) {
            let capacity = room.known(resource);
            if capacity.is_none() && is_extended(resource) {
                // Such as one that the cluster has as a whole, or a DRA driver provides.
                continue;
            }
            let (used, capacity) = (self.sum.get(resource), capacity.unwrap_or(0));
            if requested > capacity.saturating_sub(used) {
                return Err(insufficient(resource, requested, used, capacity));
            }
        }
        Ok(())
    }

    /// Answers whether there is more room than before.
    fn set(&mut self, uid: &str, requests: Requests) -> bool {
        let freed = self.pods.get(uid).is_some_and(|known| known.exceeds(&requests));
        self.remove(uid);
        self.sum.add(&requests);
        self.pods.insert(uid.to_owned(), requests);
        freed
    }

    fn remove(&mut self, uid: &str) -> bool {
        let Some(requests) = self.pods.remove(uid) else { return false };
        self.sum.subtract(&requests);
        true
    }
}

/// Whether a resource is none that Kubernetes defines.
fn is_extended(resource: &str) -> bool {
    resource.contains('/') && !resource.contains("kubernetes.io/")
}

/// A place that a pod waits for.
#[derive(Debug)]
pub(crate) struct Vacancy {
    room: watch::Receiver<()>,
    node: watch::Receiver<Option<Arc<NodeFacts>>>,
    /// Something has changed; then is looked again.
    look_at: Option<Instant>,
}

impl Vacancy {
    /// Comes back when the node, or what runs there, has changed. Nothing is lost if it is dropped meanwhile.
    pub(crate) async fn changed(&mut self) {
        let at = match self.look_at {
            Some(at) => at,
            None => {
                let changed = tokio::select! {
                    changed = self.room.changed() => changed,
                    changed = self.node.changed() => changed,
                };
                if changed.is_err() {
                    // The node ends.
                    std::future::pending::<()>().await;
                }
                *self.look_at.insert(Instant::now() + LOOK_AGAIN)
            }
        };
        time::sleep_until(at).await;
        self.look_at = None;
        self.room.mark_unchanged();
        self.node.mark_unchanged();
    }
}
