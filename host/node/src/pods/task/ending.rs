//! Deletion: the provider first, then the API object.
//!
//! As with a kubelet, a pod is Terminating for as long as something of it may still run.

use std::time::Duration;

use k8s_openapi::{api::core::v1::Pod, jiff::Timestamp};
use tokio::time::Instant;
use vk_provider::{Deletion, Error, ErrorKind, PodId};

use super::{Backoff, Next, Stage, Task, earlier, object};
use crate::{pods::backoff::LONGEST, status};

/// How often a deletion that is on its way is asked for again at most; its caller is a person who waits.
const LONGEST_STEP: Duration = Duration::from_secs(10);

/// A deletion under way.
pub(super) struct Ending {
    /// When the grace ends that was asked for last.
    deadline: Option<Timestamp>,
    ask_at: Instant,
    /// The provider's last answer was that it is on its way.
    stopping: bool,
    steps: Backoff,
    errors: Backoff,
    /// `ask_at` is a wait for the backend as a whole.
    waits_for_backend: bool,
    /// Nothing of the pod is left in the provider.
    gone: bool,
}

impl Ending {
    fn new(deadline: Option<Timestamp>) -> Self {
        Self {
            deadline,
            ask_at: Instant::now(),
            stopping: false,
            steps: Backoff::capped(LONGEST_STEP),
            errors: Backoff::new(),
            waits_for_backend: false,
            gone: false,
        }
    }

    pub(super) fn backend_recovered(&mut self) {
        if self.waits_for_backend {
            self.errors.reset();
            self.ask_at = Instant::now() + self.errors.next();
        }
    }
}

impl Task {
    /// The pod has been marked for deletion; its grace ends at `deadline`.
    pub(super) async fn end(&mut self, pod: &Pod, deadline: Timestamp) -> Next {
        if let Err(next) = self.stop_and_tell(pod, deadline).await {
            return next;
        }
        let kept = pod.metadata.finalizers.as_ref().is_some_and(|finalizers| !finalizers.is_empty());
        if (kept || object::restart_policy(pod) != "Always") && !object::is_terminal(pod) {
            // Whoever counts pods that finish, such as the Job controller, must see it finished before it goes.
            if let Err(next) = self.write_last(pod).await {
                return next;
            }
        }
        if let Some(at) = self.must_wait_to_write() {
            return Next::Wait(Some(at));
        }
        match self.shared.api.delete(&self.id).await {
            Ok(()) => {
                self.shared.events.success(pod, "ProviderDeleteSuccess", "Delete pod in provider successfully");
                self.set_stage(Stage::Removed);
                self.shared.admission.release(&self.id.uid);
                Next::Wait(None)
            }
            // A pod that is gone already is told by the watch.
            Err(error) => Next::Wait(Some(self.write_failed("deletion", &error))),
        }
    }

    /// Has the provider stop and remove the pod; until it is gone, its status goes on.
    pub(super) async fn stop_and_tell(&mut self, pod: &Pod, deadline: Timestamp) -> Result<(), Next> {
        let Err((at, error)) = self.stop_in_provider(Some(deadline)).await else { return Ok(()) };
        if let Some(error) = error {
            self.shared.events.warning(pod, "ProviderDeleteFailed", error.message);
        }
        let write_again = self.sync().await;
        Err(Next::Wait(earlier(Some(at), write_again)))
    }

    /// Writes the last status of a pod of which nothing is left in the provider.
    pub(super) async fn write_last(&mut self, pod: &Pod) -> Result<(), Next> {
        if let Some(at) = self.must_wait_to_write() {
            return Err(Next::Wait(Some(at)));
        }
        let view = self.view(pod);
        let composed = status::last(pod, &self.observed, &view.facts(self.record.as_ref()), self.verdict());
        let Some(patch) = status::patch(pod, &composed.status) else { return Ok(()) };
        match self.shared.api.patch_status(&self.id, &patch).await {
            Ok(patched) => {
                self.wrote(patched);
                Ok(())
            }
            Err(error) => Err(Next::Wait(Some(self.write_failed("status", &error)))),
        }
    }

    /// The API does not have the pod, or not any more; the provider's copy goes all the same.
    pub(super) async fn remove_unlisted(&mut self) -> Next {
        if matches!(self.stage, Stage::Removed) {
            return Next::End;
        }
        // For the scheduler its place is free already.
        self.shared.admission.release(&self.id.uid);
        match self.stop_in_provider(None).await {
            Ok(()) => Next::End,
            Err((at, error)) => {
                if let Some(error) = error {
                    let PodId { namespace, name, uid, .. } = &self.id;
                    tracing::warn!(namespace, pod = name, uid, %error, "a pod that the cluster does not have cannot be removed");
                }
                Next::Wait(Some(at))
            }
        }
    }

    /// Has the provider stop and remove the pod, with what is left of the grace, or at once without a deadline. Answers
    /// when to ask again if it is not gone yet.
    async fn stop_in_provider(&mut self, deadline: Option<Timestamp>) -> Result<(), (Instant, Option<Error>)> {
        if !self.may_act().await {
            return Err((Instant::now(), None));
        }
        let seems_gone = self.seems_gone();
        // With so many pods missing, that there is nothing to stop proves little: it may still run.
        let doubted = seems_gone && !self.gate.borrow().may_give_up();
        let ending = self.ending.get_or_insert_with(|| Ending::new(deadline));
        if ending.gone {
            return Ok(());
        }
        let deadline_moved = ending.deadline != deadline;
        if Instant::now() < ending.ask_at && !deadline_moved && !(seems_gone && ending.stopping) {
            return Err((ending.ask_at, None));
        }
        ending.deadline = deadline;
        let grace = deadline.map_or(Duration::ZERO, object::left_until);
        let outcome = self.shared.provider.delete(&self.id, grace).await;
        self.shared.node.called(&outcome);
        ending.stopping = matches!(outcome, Ok(Deletion::Stopping));
        ending.waits_for_backend = outcome.as_ref().is_err_and(Error::is_outage);
        let (wait, error) = match outcome {
            Ok(Deletion::Gone) if doubted => (LONGEST_STEP, None),
            Err(error) if doubted && error.kind == ErrorKind::NotFound => (LONGEST_STEP, None),
            Ok(Deletion::Gone) => {
                ending.gone = true;
                return Ok(());
            }
            Err(error) if error.kind == ErrorKind::NotFound => {
                ending.gone = true;
                return Ok(());
            }
            Ok(Deletion::Stopping) => {
                self.shared.nudge.soon();
                let step = ending.steps.next();
                (if grace.is_zero() { step } else { step.min(grace) }, None)
            }
            Err(error) if error.kind.is_final() => (LONGEST, Some(error)),
            Err(error) => (ending.errors.after(&error), Some(error)),
        };
        ending.ask_at = Instant::now() + wait;
        Err((ending.ask_at, error))
    }

    /// Whether the provider's reports suggest that a pod which was on its way is gone by now.
    fn seems_gone(&self) -> bool {
        let Stage::Created { since } = self.stage else { return false };
        self.inbox.borrow().absence.suggests_end(since)
    }
}
