//! The pods of the node.
//!
//! ```text
//!  API server ──watch──> Controller ──inbox──> Task (one per uid) ──> Provider::create, update, delete
//!  Provider  ──poll────>     │                   │
//!                            │                   └──> status patch, API delete
//!                            └── uids that only the provider knows ──> orphans
//! ```
//!
//! The controller is a single task that owns the table of pods; it decides nothing, it only routes what the watch and
//! the polls bring to the inbox of the pod that it concerns. All that happens to a pod happens in that pod's own task,
//! one step at a time, so calls on one pod never overlap and a slow pod holds up no other.
//!
//! Nothing is created before both sides have listed completely what they have: a host that was restarted finds its pods
//! again instead of making them twice, and counts what runs before it admits more. Nothing is created or given up while
//! many pods are missing at once.

mod api;
mod backoff;
mod directory;
mod gate;
mod inbox;
mod object;
mod orphans;
mod poll;
mod received;
mod task;
mod vanishing;

#[cfg(test)]
mod tests;

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use futures::{Stream, StreamExt};
use k8s_openapi::api::core::v1::Pod;
use kube::runtime::{WatchStreamExt, watcher};
use tokio::{
    sync::{mpsc, watch},
    task::{Id, JoinError, JoinHandle, JoinSet},
    time::{self, Instant},
};
use tokio_util::sync::CancellationToken;
use vk_provider::{Observation, PodId};

use crate::{admission::Requests, metrics::Watched, status::ProviderRecord};

pub(crate) use api::PodApi;
pub(crate) use backoff::Backoff;
pub use directory::{Directory, DirectoryPod};
use gate::Gate;
use inbox::{Absence, Holding, Inbox};
pub(crate) use poll::Nudge;
pub(crate) use task::Shared;

use poll::Batch;
use received::Received;
use task::Task;
use vanishing::{Due, Vanished, Vanishing};

/// How long a pod whose task failed as a program is left alone.
const AFTER_PANIC: Duration = Duration::from_secs(10);

/// Runs the pods until `stop`, then lets the calls in flight end.
///
/// # Errors
///
/// If a part that all pods depend on failed as a program.
pub(crate) async fn run(shared: Arc<Shared>, stop: CancellationToken) -> Result<(), JoinError> {
    let (batches, received) = mpsc::channel(1);
    let (unclaimed, reported) = watch::channel(Vec::new());
    let (verdicts, orphans) = mpsc::channel(16);
    let poller = tokio::spawn(poll::run(
        shared.provider.clone(),
        shared.node.clone(),
        shared.nudge.clone(),
        batches,
        stop.clone(),
    ));
    let judge = tokio::spawn(orphans::run(shared.clone(), reported, verdicts, stop.clone()));
    let selection = watcher::Config::default().fields(&shared.api.selector());
    let pods = watcher(shared.api.scope(), selection).backoff(crate::watching::pauses());
    let controller = Controller {
        shared,
        pods: HashMap::new(),
        tasks: JoinSet::new(),
        running: HashMap::new(),
        relist: None,
        strangers: HashMap::new(),
        gate: watch::Sender::new(Gate::default()),
        vanishing: Vanishing::default(),
        last_listing: None,
        unclaimed,
        stop,
    };
    tokio::select! {
        () = controller.run(pods, received, orphans) => Ok(()),
        error = panic_of(poller) => Err(error),
        error = panic_of(judge) => Err(error),
    }
}

/// Comes back only if the task failed as a program.
async fn panic_of(task: JoinHandle<()>) -> JoinError {
    match task.await {
        Ok(()) => std::future::pending().await,
        Err(error) => error,
    }
}

/// A pod that a task minds.
struct Minded {
    id: PodId,
    inbox: watch::Sender<Inbox>,
    holding: Arc<Holding>,
}

struct Controller {
    shared: Arc<Shared>,
    /// By uid.
    pods: HashMap<String, Minded>,
    tasks: JoinSet<()>,
    /// Which pod a task of `tasks` runs.
    running: HashMap<Id, String>,
    /// The uids that a listing of the API server has named so far.
    relist: Option<HashSet<String>>,
    /// What the provider reported and no known pod claims, by uid.
    strangers: HashMap<String, Arc<Observation>>,
    /// Whether pods may be created and given up.
    gate: watch::Sender<Gate>,
    vanishing: Vanishing,
    /// When the provider's latest complete listing began.
    last_listing: Option<Instant>,
    unclaimed: watch::Sender<Vec<PodId>>,
    stop: CancellationToken,
}

impl Controller {
    async fn run(
        mut self,
        pods: impl Stream<Item = watcher::Result<watcher::Event<Received>>>,
        mut batches: mpsc::Receiver<Batch>,
        mut orphans: mpsc::Receiver<PodId>,
    ) {
        let mut pods = std::pin::pin!(pods);
        let stop = self.stop.clone();
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                due = self.vanishing.due() => match due {
                    Due::Look => self.shared.nudge.relist(),
                    Due::GiveUp => self.give_up(),
                },
                Some(event) = pods.next() => {
                    self.shared.metrics.watch(Watched::Pods, &event);
                    match event {
                        Ok(event) => self.watched(event),
                        Err(error) => tracing::warn!(%error, "pod watch broke; it is resumed"),
                    }
                }
                Some(batch) = batches.recv() => self.polled(batch),
                Some(orphan) = orphans.recv() => self.remove_orphan(orphan),
                Some(ended) = self.tasks.join_next_with_id() => self.ended(ended),
            }
        }
        while let Some(ended) = self.tasks.join_next_with_id().await {
            self.ended(ended);
        }
    }

    fn watched(&mut self, event: watcher::Event<Received>) {
        match event {
            watcher::Event::Init => self.relist = Some(HashSet::new()),
            watcher::Event::InitApply(Received(pod)) => {
                if let (Some(named), Some(uid)) = (&mut self.relist, &pod.metadata.uid) {
                    named.insert(uid.clone());
                }
                self.apply(pod);
            }
            watcher::Event::InitDone => {
                let Some(named) = self.relist.take() else { return };
                for (uid, pod) in &self.pods {
                    if !named.contains(uid) {
                        pod.inbox.send_modify(|inbox| inbox.deleted = true);
                    }
                }
                self.settle(|gate| gate.watched = true);
                self.publish_strangers();
            }
            watcher::Event::Apply(Received(pod)) => self.apply(pod),
            watcher::Event::Delete(Received(pod)) => {
                if let Some(pod) = pod.metadata.uid.as_ref().and_then(|uid| self.pods.get(uid)) {
                    pod.inbox.send_modify(|inbox| inbox.deleted = true);
                }
            }
        }
    }

    fn apply(&mut self, pod: Pod) {
        if object::is_mirror(&pod) {
            return;
        }
        let Some(id) = object::pod_id(&pod) else { return };
        // A list that was read has room for more than is in it, for as long as the pod lives. A copy has not.
        let pod = Arc::new(pod.clone());
        if let Some(known) = self.pods.get(&id.uid) {
            known.inbox.send_modify(|inbox| inbox.pod = Some(pod));
        } else {
            let mut inbox = Inbox::new(Some(pod), self.strangers.remove(&id.uid));
            if inbox.seen.is_none() {
                // The provider may have listed before the API server did.
                inbox.absence = inbox.absence.unlisted(self.last_listing);
            }
            self.spawn(id, inbox, Duration::ZERO);
        }
    }

    fn polled(&mut self, batch: Batch) {
        for observation in batch.observed {
            let observation = Arc::new(observation);
            match self.pods.get(&observation.pod.uid) {
                Some(pod) => pod.inbox.send_modify(|inbox| inbox.observe(observation)),
                None => drop(self.strangers.insert(observation.pod.uid.clone(), observation)),
            }
        }
        let removed: HashSet<&str> = batch.removed.iter().map(|pod| pod.uid.as_str()).collect();
        self.strangers.retain(|uid, _| !removed.contains(uid.as_str()));
        let lacking = |uid: &str, mut absence: Absence| {
            if removed.contains(uid) {
                absence = absence.removed(batch.began);
            }
            match &batch.listing {
                Some(listing) if !listing.uids.contains(uid) => absence.unlisted(Some(listing.began)),
                _ => absence,
            }
        };
        if batch.listing.is_some() || !removed.is_empty() || self.vanishing.is_waiting() {
            // Before any task learns of it, and concludes that its pod is lost.
            self.judge(lacking);
            for (uid, pod) in &self.pods {
                pod.inbox.send_if_modified(|inbox| {
                    let absence = lacking(uid, inbox.absence);
                    std::mem::replace(&mut inbox.absence, absence) != absence
                });
            }
        }
        if let Some(listing) = batch.listing {
            self.last_listing = Some(listing.began);
            self.strangers.retain(|uid, _| listing.uids.contains(uid));
            if !self.gate.borrow().listed {
                tracing::info!(pods = listing.uids.len(), "provider listed what it runs");
            }
            self.settle(|gate| gate.listed = true);
            self.publish_strangers();
        }
    }

    /// Opens the gate a little further. What runs is counted before anything can be admitted beside it.
    fn settle(&self, further: impl FnOnce(&mut Gate)) {
        let before = *self.gate.borrow();
        let mut gate = before;
        further(&mut gate);
        if gate.is_settled() && !before.is_settled() {
            for (uid, pod) in &self.pods {
                let inbox = pod.inbox.borrow();
                let pod = inbox.pod.as_ref().filter(|pod| !object::is_terminal(pod));
                let runs = |pod: &&Arc<Pod>| inbox.seen.is_some() || ProviderRecord::of(pod).is_some();
                if let Some(pod) = pod.filter(runs) {
                    self.shared.admission.count(uid, Requests::in_use(pod));
                }
            }
        }
        self.set_gate(gate);
    }

    fn set_gate(&self, gate: Gate) {
        self.gate.send_if_modified(|known| std::mem::replace(known, gate) != gate);
    }

    /// Judges whether too many pods are missing at once, with what a poll brings for each.
    fn judge(&mut self, lacking: impl Fn(&str, Absence) -> Absence) {
        let held = self.pods.iter().filter_map(|(uid, pod)| {
            let since = pod.holding.get()?;
            let inbox = pod.inbox.borrow();
            let stays = !inbox.deleted && inbox.pod.as_ref().is_some_and(|pod| !object::is_leaving(pod));
            stays.then(|| (uid.as_str(), lacking(uid, inbox.absence).suggests_loss(since)))
        });
        if let Some(Vanished { missing, of }) = self.vanishing.judge(held, Instant::now()) {
            let message = format!(
                "{missing} of {of} pods have vanished together from the provider: no pod is failed or created for {} s, \
                 unless they come back",
                vanishing::PATIENCE.as_secs()
            );
            tracing::warn!("{message}");
            self.shared.node.pods_vanished(Some(message));
        }
        self.show_vanishing();
    }

    /// The pods that have vanished do not come back.
    fn give_up(&mut self) {
        tracing::warn!("the pods that have vanished together did not come back, and are given up");
        self.vanishing.give_up();
        self.show_vanishing();
    }

    fn show_vanishing(&self) {
        let vanished = self.vanishing.is_waiting();
        if !vanished {
            self.shared.node.pods_vanished(None);
        }
        let gate = *self.gate.borrow();
        self.set_gate(Gate { vanished, ..gate });
    }

    /// Has those judged whom no pod claims, once both sides have been listed.
    fn publish_strangers(&self) {
        if self.gate.borrow().is_settled() {
            let strangers = self.strangers.values().map(|observation| observation.pod.clone()).collect();
            self.unclaimed.send_replace(strangers);
        }
    }

    fn remove_orphan(&mut self, orphan: PodId) {
        // It may have found its pod since it was judged.
        if let Some(seen) = self.strangers.remove(&orphan.uid) {
            self.spawn(orphan, Inbox::new(None, Some(seen)), Duration::ZERO);
        }
    }

    fn spawn(&mut self, id: PodId, inbox: Inbox, delay: Duration) {
        let uid = id.uid.clone();
        let known = id.clone();
        // An orphan is no pod of the node, and another one may have its name.
        let is_known = inbox.pod.is_some() && !inbox.deleted;
        let (sender, receiver) = watch::channel(inbox);
        if is_known {
            self.shared.directory.add(&id, receiver.clone());
        }
        let stop = self.stop.clone();
        let holding = Arc::new(Holding::default());
        // Boxed, so that its way from here to where it runs does not leave room for copies behind.
        let task = Task::new(self.shared.clone(), id, receiver, self.gate.subscribe(), holding.clone(), stop.clone());
        let task = Box::new(task);
        let handle = self.tasks.spawn(async move {
            if delay.is_zero() || stop.run_until_cancelled(time::sleep(delay)).await.is_some() {
                task.run().await;
            }
        });
        self.running.insert(handle.id(), uid.clone());
        self.pods.insert(uid, Minded { id: known, inbox: sender, holding });
    }

    fn ended(&mut self, ended: Result<(Id, ()), JoinError>) {
        let id = match &ended {
            Ok((id, ())) => *id,
            Err(error) => error.id(),
        };
        let Some(uid) = self.running.remove(&id) else { return };
        let Some(pod) = self.pods.remove(&uid) else { return };
        self.shared.directory.remove(&pod.id);
        let Err(error) = ended else {
            self.shared.admission.release(&uid);
            return;
        };
        // What failed was the host's own code. The pod must not stay behind without anybody who minds it.
        tracing::error!(%error, uid, retry_in = ?AFTER_PANIC, "the pod's task ended abnormally and is started again");
        let inbox = pod.inbox.borrow().clone();
        let id = match (&inbox.pod, &inbox.seen) {
            (Some(pod), _) => object::pod_id(pod),
            (None, seen) => seen.as_ref().map(|seen| seen.pod.clone()),
        };
        if let Some(id) = id {
            self.spawn(id, inbox, AFTER_PANIC);
        }
    }
}
