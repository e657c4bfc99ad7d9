//! One pod's life.
//!
//! ```text
//!              create                        absent from two listings, and get says so
//!  Unclaimed ────────> Created ───────────────────────┬──> Unclaimed, with back-off
//!   ^   │ invalid,       │ update on changes           └──> Lost, if it may not run twice
//!   │   v unsupported    │
//!   │  Refused           └──> deletionTimestamp
//!   └── pod changed             └──> provider delete, terminal status where needed, API delete ──> Removed
//! ```
//!
//! Whatever the stage, a report of the provider that it has the pod leads to Created. The task looks at its inbox, takes
//! the one step that is due, writes the status if it differs, and waits for the next thing to happen. A step makes at
//! most one provider call that changes something.
//!
//! - `admit`: whether the node takes the pod
//! - `provide`: creation, changes, what the pod refers to
//! - `loss`: pods that the provider does not have any more
//! - `deadline`: pods whose time is limited
//! - `ending`: deletion
//! - `publish`: the status and what is told in events

mod admit;
mod deadline;
mod ending;
mod loss;
mod provide;
mod publish;

use std::{collections::HashMap, sync::Arc, time::Duration};

use k8s_openapi::{api::core::v1::Pod, jiff::Timestamp};
use tokio::{
    sync::watch,
    time::{self, Instant},
};
use tokio_util::sync::CancellationToken;
use vk_provider::{Observation, PodId, Provider};

use super::{
    Directory, Gate, Holding, Inbox, Nudge, PodApi,
    backoff::Backoff,
    object::{self, UserFields},
};
use crate::{
    admission::{Admission, Requests, Vacancy},
    events::Events,
    lease::Fence,
    metrics::{Metrics, PhaseGauge},
    references::{Environment, Fingerprint, Links, References},
    registration::{NodeFacts, NodeHandle},
    status::{Observed, ProviderRecord, Report, Resize},
    version::is_older,
};

use ending::Ending;

/// The longest wait between two tries to write a status: somebody looks at it.
const LONGEST_WRITE_STEP: Duration = Duration::from_secs(30);

/// What the tasks of all pods share.
pub(crate) struct Shared {
    pub(crate) provider: Arc<dyn Provider>,
    pub(crate) api: PodApi,
    pub(crate) references: References,
    pub(crate) admission: Admission,
    pub(crate) directory: Directory,
    pub(crate) events: Events,
    pub(crate) node: NodeHandle,
    pub(crate) facts: watch::Receiver<Option<Arc<NodeFacts>>>,
    pub(crate) fence: Fence,
    pub(crate) nudge: Arc<Nudge>,
    pub(crate) keep_orphans: bool,
    pub(crate) metrics: Metrics,
}

/// What the provider does with the pod, as far as is known.
enum Stage {
    /// It is not known to have the pod.
    Unclaimed,
    /// It has it. Listings that began before this moment prove nothing against that.
    Created { since: Option<Instant> },
    /// It will not make this pod as it is.
    Refused { asked: UserFields },
    /// The node does not admit the pod, which is Failed for good.
    Rejected,
    /// It lost the pod, which may not be started a second time.
    Lost,
    /// Its API object has been deleted, and only finalizers may hold it.
    Removed,
}

/// What the task does after a step.
enum Next {
    /// Takes the next step at once.
    Step,
    /// Waits for something to happen, at most until then.
    Wait(Option<Instant>),
    /// The pod is no more.
    End,
}

/// One pod's task.
pub(crate) struct Task {
    shared: Arc<Shared>,
    id: PodId,
    inbox: watch::Receiver<Inbox>,
    gate: watch::Receiver<Gate>,
    holding: Arc<Holding>,
    stop: CancellationToken,
    /// The pod as the API has it: from the watch or from the answer to a write, whichever is newer.
    pod: Option<Arc<Pod>>,
    /// What the inbox held when it was looked at last.
    looked: Option<Inbox>,
    /// Set by [`Task::set_stage`], so that the controller knows.
    stage: Stage,
    /// The node has no place for the pod, which waits for one.
    vacancy: Option<Vacancy>,
    observed: Observed,
    /// The text of `observed`, where it is a report: most reports say the same again.
    reported: Option<String>,
    record: Option<ProviderRecord>,
    links: Links,
    /// As at creation.
    environment: Option<Environment>,
    /// What the provider was last given in this host's life.
    sent: Option<Fingerprint>,
    /// The pod that was last compared with what was sent.
    considered: Option<UserFields>,
    /// What the comparison came to for the containers' resources.
    resize: Resize,
    /// Something that the pod refers to has changed since.
    stale: bool,
    /// The pod that is known is another one than the last step was taken for.
    unstepped: bool,
    renew_at: Option<Instant>,
    /// No provider call before this moment, and the waits so far.
    not_before: Option<Instant>,
    backoff: Backoff,
    /// `not_before` is a wait for the backend as a whole, which ends with its outage.
    waits_for_backend: bool,
    recovered: watch::Receiver<()>,
    /// `not_before` is a wait for something that the pod refers to.
    waits_for_references: bool,
    /// The provider has the pod although its listings lack it.
    unlisted: bool,
    /// The waits before a pod that the provider lost is created again.
    losses: Backoff,
    /// No status write before this moment, and the waits so far.
    write_not_before: Option<Instant>,
    write_backoff: Backoff,
    ending: Option<Ending>,
    /// The pod's time is over; the grace that it then has ends at this moment.
    overdue: Option<Timestamp>,
    /// When an event told something last.
    told: HashMap<String, Instant>,
    phase: PhaseGauge,
}

impl Task {
    pub(super) fn new(
        shared: Arc<Shared>,
        id: PodId,
        inbox: watch::Receiver<Inbox>,
        gate: watch::Receiver<Gate>,
        holding: Arc<Holding>,
        stop: CancellationToken,
    ) -> Self {
        let phase = shared.metrics.phase();
        let recovered = shared.node.recoveries();
        Self {
            shared,
            id,
            inbox,
            gate,
            holding,
            stop,
            pod: None,
            looked: None,
            stage: Stage::Unclaimed,
            vacancy: None,
            observed: Observed::Waiting,
            reported: None,
            record: None,
            links: Links::default(),
            environment: None,
            sent: None,
            considered: None,
            resize: Resize::Unjudged,
            stale: false,
            unstepped: false,
            renew_at: None,
            not_before: None,
            backoff: Backoff::new(),
            waits_for_backend: false,
            recovered,
            waits_for_references: false,
            unlisted: false,
            losses: Backoff::new(),
            write_not_before: None,
            write_backoff: Backoff::capped(LONGEST_WRITE_STEP),
            ending: None,
            overdue: None,
            told: HashMap::new(),
            phase,
        }
    }

    /// Lives the pod's life. Ends when nothing of the pod is left, or between two steps once the node stops.
    pub(super) async fn run(mut self: Box<Self>) {
        let stop = self.stop.clone();
        let mut due = true;
        let mut until = None;
        while !stop.is_cancelled() {
            if self.look() || due {
                self.unstepped = false;
                let working = self.shared.metrics.step();
                // Boxed, so that an idle pod does not hold the room that a step takes.
                let next = Box::pin(self.step()).await;
                drop(working);
                match next {
                    Next::End => return,
                    Next::Step => {
                        due = true;
                        continue;
                    }
                    Next::Wait(at) => until = at,
                }
                if self.unstepped {
                    due = true;
                    continue;
                }
            }
            let timer = async {
                match until {
                    Some(until) => time::sleep_until(until).await,
                    None => std::future::pending().await,
                }
            };
            due = tokio::select! {
                () = stop.cancelled() => return,
                changed = self.inbox.changed() => if changed.is_err() { return } else { false },
                changed = self.gate.changed() => if changed.is_err() { return } else { true },
                () = self.links.changed() => { self.references_changed(); true }
                Ok(()) = self.recovered.changed() => { self.backend_recovered(); true }
                () = place_for(&mut self.vacancy) => true,
                () = timer => true,
            };
        }
    }

    /// Takes over what has come in. Answers whether anything has moved: what comes in most is the echo of own writes.
    fn look(&mut self) -> bool {
        let inbox = self.inbox.borrow_and_update().clone();
        let mut moved = match &self.looked {
            None => true,
            Some(looked) => looked.deleted != inbox.deleted || looked.absence != inbox.absence,
        };
        if let Some(pod) = &inbox.pod {
            moved |= self.take(pod);
        }
        if let Some(seen) = &inbox.seen {
            let known = self.looked.as_ref().and_then(|looked| looked.seen.as_ref());
            if known.is_none_or(|known| !Arc::ptr_eq(known, seen)) {
                moved |= self.observe(seen);
                self.unlisted = false;
                if !matches!(self.stage, Stage::Created { .. } | Stage::Removed) {
                    self.adopt();
                    self.not_before = None;
                    moved = true;
                }
            }
        }
        self.looked = Some(inbox);
        moved
    }

    /// Takes over a version of the pod unless a newer one is known. Answers whether it is another one.
    fn take(&mut self, pod: &Arc<Pod>) -> bool {
        let mut created = false;
        let moved = match &self.pod {
            None => {
                self.record = ProviderRecord::of(pod);
                self.id.handle = self.record.as_ref().and_then(|record| record.handle.clone());
                if self.record.is_some() {
                    // An earlier life of the host created it; the listings will say if it is still there.
                    self.observed = Observed::Present;
                    created = true;
                }
                true
            }
            Some(own) if is_older(&pod.metadata, &own.metadata) => return false,
            Some(own) => !object::is_same(pod, own),
        };
        self.phase.set(pod.status.as_ref().and_then(|status| status.phase.as_deref()));
        self.pod = Some(pod.clone());
        if created {
            self.adopt();
        }
        if object::is_terminal(pod) {
            self.shared.admission.release(&self.id.uid);
            // What it refers to need not be watched any more.
            self.links = Links::default();
        }
        moved
    }

    /// The provider has the pod, although this process did not have it created.
    fn adopt(&mut self) {
        self.set_stage(Stage::Created { since: None });
        self.vacancy = None;
        if let Some(pod) = self.pod.as_ref().filter(|pod| !object::is_terminal(pod)) {
            self.shared.admission.count(&self.id.uid, Requests::in_use(pod));
        }
    }

    fn set_stage(&mut self, stage: Stage) {
        self.holding.set(match stage {
            Stage::Created { since } => Some(since),
            _ => None,
        });
        self.stage = stage;
    }

    /// Takes over what the provider says. Answers whether that is something else than before.
    fn observe(&mut self, observation: &Observation) -> bool {
        let mut moved = false;
        if let Some(handle) = &observation.pod.handle
            && self.id.handle.as_ref() != Some(handle)
        {
            self.id.handle = Some(handle.clone());
            moved = true;
        }
        let reports = matches!(self.observed, Observed::Reported(_));
        match &observation.status {
            Some(json) if reports && self.reported.as_ref() == Some(json) => {}
            Some(json) => {
                self.observed = Observed::Reported(Arc::new(Report::parse(json)));
                self.reported = Some(json.clone());
                moved = true;
            }
            None if reports || matches!(self.observed, Observed::Present) => {}
            None => {
                self.observed = Observed::Present;
                moved = true;
            }
        }
        moved
    }

    fn references_changed(&mut self) {
        self.stale = true;
        if self.waits_for_references {
            self.not_before = None;
        }
    }

    fn backend_recovered(&mut self) {
        if self.waits_for_backend {
            self.backoff.reset();
            // Not all at once.
            self.not_before = Some(Instant::now() + self.backoff.next());
        }
        if let Some(ending) = &mut self.ending {
            ending.backend_recovered();
        }
    }

    async fn step(&mut self) -> Next {
        let inbox_deleted = self.inbox.borrow().deleted;
        let Some(pod) = self.pod.clone().filter(|_| !inbox_deleted) else {
            return self.remove_unlisted().await;
        };
        if matches!(self.stage, Stage::Removed) {
            return Next::Wait(None);
        }
        if let Some(deadline) = object::end_of_grace(&pod) {
            return self.end(&pod, deadline).await;
        }
        let time_left = object::end_of_activity(&pod).map(object::left_until);
        let acted = if object::is_terminal(&pod) {
            Next::Wait(None)
        } else if time_left.is_some_and(|left| left.is_zero()) {
            return self.expire(&pod).await;
        } else {
            match &self.stage {
                Stage::Unclaimed => self.create(&pod).await,
                Stage::Created { since } if self.is_missing(*since) => self.verify(&pod).await,
                Stage::Created { .. } => self.update(&pod).await,
                Stage::Refused { asked } if !asked.are_of(&pod) => {
                    self.set_stage(Stage::Unclaimed);
                    Next::Step
                }
                Stage::Refused { .. } | Stage::Rejected | Stage::Lost | Stage::Removed => Next::Wait(None),
            }
        };
        match acted {
            Next::Wait(until) => {
                let write_again = self.sync().await;
                let time_over = time_left.filter(|left| !left.is_zero()).map(|left| Instant::now() + left);
                Next::Wait(earlier(earlier(until, write_again), time_over))
            }
            other => other,
        }
    }

    /// Waits until something may be changed at the provider, as this host is known to be the node's. Answers no if it
    /// is stopped before.
    async fn may_act(&self) -> bool {
        self.stop.run_until_cancelled(self.shared.fence.open()).await.is_some()
    }

    /// Whether the provider must not be called yet.
    fn must_wait(&mut self) -> Option<Instant> {
        self.not_before = self.not_before.filter(|at| Instant::now() < *at);
        self.not_before
    }

    /// Waits after a failed call.
    fn retry(&mut self, error: &vk_provider::Error) -> Next {
        let wait = self.backoff.after(error);
        let next = self.wait_for(wait);
        self.waits_for_backend = error.is_outage();
        next
    }

    fn wait_for(&mut self, wait: Duration) -> Next {
        let at = Instant::now() + wait;
        self.not_before = Some(at);
        self.waits_for_backend = false;
        Next::Wait(Some(at))
    }
}

/// Comes back when there may be a place for a pod that waits for one.
async fn place_for(vacancy: &mut Option<Vacancy>) {
    match vacancy {
        Some(vacancy) => vacancy.changed().await,
        None => std::future::pending().await,
    }
}

fn earlier(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}
