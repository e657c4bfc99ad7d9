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
//! Nothing is created before the provider has listed completely what it runs: a host that was restarted finds its pods
//! again instead of making them twice.

mod api;
mod backoff;
mod object;
mod orphans;
mod poll;
mod task;

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

pub(crate) use api::PodApi;
pub(crate) use backoff::Backoff;
pub(crate) use poll::Nudge;
pub(crate) use task::Shared;

use poll::{Batch, Listing};
use task::Task;

/// How long a pod whose task failed as a program is left alone.
const AFTER_PANIC: Duration = Duration::from_secs(10);

/// What is known of a pod from the watch and the polls, for its task to look at.
#[derive(Debug, Clone)]
pub(crate) struct Inbox {
    /// The pod as the watch brought it last; `None` for an orphan, which the API server does not know.
    pub(crate) pod: Option<Arc<Pod>>,
    /// The pod has left the API, or never was in it.
    pub(crate) deleted: bool,
    /// What the provider said of it last.
    pub(crate) seen: Option<Arc<Observation>>,
    /// The provider said that it is gone, in a poll that began then.
    pub(crate) removed: Option<Instant>,
    /// When the latest two complete listings began that did not name it, older first.
    pub(crate) absent: [Option<Instant>; 2],
}

impl Inbox {
    fn new(pod: Option<Arc<Pod>>, seen: Option<Arc<Observation>>) -> Self {
        Self { deleted: pod.is_none(), pod, seen, removed: None, absent: [None; 2] }
    }

    fn observe(&mut self, observation: Arc<Observation>) {
        // An answer without a status says only that the pod is there, and perhaps under what handle.
        let says_nothing = observation.status.is_none()
            && self
                .seen
                .as_ref()
                .is_some_and(|seen| observation.pod.handle.is_none() || observation.pod.handle == seen.pod.handle);
        if !says_nothing || self.removed.is_some() {
            self.seen = Some(observation);
        }
        self.removed = None;
        self.absent = [None; 2];
    }
}

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
    let pods = watcher(shared.api.scope(), selection).default_backoff();
    let controller = Controller {
        shared,
        pods: HashMap::new(),
        tasks: JoinSet::new(),
        running: HashMap::new(),
        relist: None,
        watched: false,
        strangers: HashMap::new(),
        listed: watch::channel(false).0,
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

struct Controller {
    shared: Arc<Shared>,
    /// By uid.
    pods: HashMap<String, watch::Sender<Inbox>>,
    tasks: JoinSet<()>,
    /// Which pod a task of `tasks` runs.
    running: HashMap<Id, String>,
    /// The uids that a listing of the API server has named so far.
    relist: Option<HashSet<String>>,
    /// Whether the API server has named all pods once.
    watched: bool,
    /// What the provider reported and no known pod claims, by uid.
    strangers: HashMap<String, Arc<Observation>>,
    /// Whether the provider has listed completely what it runs.
    listed: watch::Sender<bool>,
    /// When the provider's latest complete listing began.
    last_listing: Option<Instant>,
    unclaimed: watch::Sender<Vec<PodId>>,
    stop: CancellationToken,
}

impl Controller {
    async fn run(
        mut self,
        pods: impl Stream<Item = watcher::Result<watcher::Event<Pod>>>,
        mut batches: mpsc::Receiver<Batch>,
        mut orphans: mpsc::Receiver<PodId>,
    ) {
        let mut pods = std::pin::pin!(pods);
        let stop = self.stop.clone();
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                Some(event) = pods.next() => match event {
                    Ok(event) => self.watched(event),
                    Err(error) => tracing::warn!(%error, "pod watch broke; it is resumed"),
                },
                Some(batch) = batches.recv() => self.polled(batch),
                Some(orphan) = orphans.recv() => self.remove_orphan(orphan),
                Some(ended) = self.tasks.join_next_with_id() => self.ended(ended),
            }
        }
        while let Some(ended) = self.tasks.join_next_with_id().await {
            self.ended(ended);
        }
    }

    fn watched(&mut self, event: watcher::Event<Pod>) {
        match event {
            watcher::Event::Init => self.relist = Some(HashSet::new()),
            watcher::Event::InitApply(pod) => {
                if let (Some(named), Some(uid)) = (&mut self.relist, &pod.metadata.uid) {
                    named.insert(uid.clone());
                }
                self.apply(pod);
            }
            watcher::Event::InitDone => {
                let Some(named) = self.relist.take() else { return };
                for (uid, inbox) in &self.pods {
                    if !named.contains(uid) {
                        inbox.send_modify(|inbox| inbox.deleted = true);
                    }
                }
                self.shared.metrics.relists.inc();
                self.watched = true;
                self.publish_strangers();
            }
            watcher::Event::Apply(pod) => self.apply(pod),
            watcher::Event::Delete(pod) => {
                if let Some(inbox) = pod.metadata.uid.as_ref().and_then(|uid| self.pods.get(uid)) {
                    inbox.send_modify(|inbox| inbox.deleted = true);
                }
            }
        }
    }

    fn apply(&mut self, mut pod: Pod) {
        if object::is_mirror(&pod) {
            return;
        }
        // Nobody reads them, and they are as large as the rest.
        pod.metadata.managed_fields = None;
        let Some(id) = object::pod_id(&pod) else { return };
        let pod = Arc::new(pod);
        if let Some(inbox) = self.pods.get(&id.uid) {
            inbox.send_modify(|inbox| inbox.pod = Some(pod));
        } else {
            let mut inbox = Inbox::new(Some(pod), self.strangers.remove(&id.uid));
            if inbox.seen.is_none() {
                // The provider may have listed before the API server did.
                inbox.absent[1] = self.last_listing;
            }
            self.spawn(id, inbox, Duration::ZERO);
        }
    }

    fn polled(&mut self, batch: Batch) {
        for observation in batch.observed {
            let observation = Arc::new(observation);
            match self.pods.get(&observation.pod.uid) {
                Some(inbox) => inbox.send_modify(|inbox| inbox.observe(observation)),
                None => drop(self.strangers.insert(observation.pod.uid.clone(), observation)),
            }
        }
        for pod in batch.removed {
            self.strangers.remove(&pod.uid);
            if let Some(inbox) = self.pods.get(&pod.uid) {
                inbox.send_modify(|inbox| inbox.removed = Some(batch.began));
            }
        }
        if let Some(listing) = batch.listing {
            self.provider_listed(&listing);
        }
    }

    fn provider_listed(&mut self, listing: &Listing) {
        for (uid, inbox) in &self.pods {
            if !listing.uids.contains(uid) {
                inbox.send_modify(|inbox| inbox.absent = [inbox.absent[1], Some(listing.began)]);
            }
        }
        self.last_listing = Some(listing.began);
        self.strangers.retain(|uid, _| listing.uids.contains(uid));
        // Announced once, so that no task that waits for it can miss it.
        if self.listed.send_if_modified(|listed| !std::mem::replace(listed, true)) {
            tracing::info!(pods = listing.uids.len(), "provider listed what it runs");
        }
        self.publish_strangers();
    }

    /// Has those judged whom no pod claims, once both sides have been listed.
    fn publish_strangers(&self) {
        if self.watched && *self.listed.borrow() {
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
        let (sender, receiver) = watch::channel(inbox);
        let stop = self.stop.clone();
        let task = Task::new(self.shared.clone(), id, receiver, self.listed.subscribe(), stop.clone());
        let handle = self.tasks.spawn(async move {
            if delay.is_zero() || stop.run_until_cancelled(time::sleep(delay)).await.is_some() {
                task.run().await;
            }
        });
        self.running.insert(handle.id(), uid.clone());
        self.pods.insert(uid, sender);
    }

    fn ended(&mut self, ended: Result<(Id, ()), JoinError>) {
        let id = match &ended {
            Ok((id, ())) => *id,
            Err(error) => error.id(),
        };
        let Some(uid) = self.running.remove(&id) else { return };
        let Some(inbox) = self.pods.remove(&uid) else { return };
        if let Err(error) = ended {
            // What failed was the host's own code. The pod must not stay behind without anybody who minds it.
            tracing::error!(%error, uid, retry_in = ?AFTER_PANIC, "the pod's task ended abnormally and is started again");
            let inbox = inbox.borrow().clone();
            let id = match (&inbox.pod, &inbox.seen) {
                (Some(pod), _) => object::pod_id(pod),
                (None, seen) => seen.as_ref().map(|seen| seen.pod.clone()),
            };
            if let Some(id) = id {
                self.spawn(id, inbox, AFTER_PANIC);
            }
        }
    }
}
