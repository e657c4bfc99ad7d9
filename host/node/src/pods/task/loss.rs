//! Pods that the provider does not have any more.
//!
//! Gone means: absent from two complete listings that began after the last creation returned, or reported as removed,
//! and `get` says not-found as well.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use tokio::time::Instant;
use vk_provider::ErrorKind;

use super::{Next, Stage, Task, object};
use crate::status::{self, Observed};

/// A pod that stayed for so long was not lost in a row, as a kubelet counts crashes.
const LOSSES_END: Duration = Duration::from_secs(600);

/// Whether a report without the pod counts: it was asked for after the moment since which the provider has had the pod.
pub(super) fn proves_gone(began: Option<Instant>, since: Option<Instant>) -> bool {
    began.is_some_and(|began| since.is_none_or(|since| began > since))
}

impl Task {
    /// Whether the provider seems not to have the pod any more.
    pub(super) fn is_missing(&self, since: Option<Instant>) -> bool {
        let inbox = self.inbox.borrow();
        let absent = inbox.absent.map(|began| proves_gone(began, since));
        if absent == [false, true] {
            // One listing may have been an old one. The second need not wait for its turn.
            self.shared.nudge.relist();
        }
        absent == [true, true] || proves_gone(inbox.removed, since)
    }

    /// Asks for the one pod before it is given up.
    pub(super) async fn verify(&mut self, pod: &Pod) -> Next {
        if let Some(at) = self.must_wait() {
            return Next::Wait(Some(at));
        }
        let outcome = self.shared.provider.get(&self.id).await;
        self.shared.node.called(&outcome);
        match outcome {
            Ok(observation) => {
                self.stage = Stage::Created { since: Some(Instant::now()) };
                self.observe(&observation);
                Next::Step
            }
            Err(error) if error.kind == ErrorKind::NotFound => self.lost(pod),
            Err(error) => self.retry(&error),
        }
    }

    fn lost(&mut self, pod: &Pod) -> Next {
        if self.has_ended(pod) {
            // It ran to its end, and the backend has cleaned up since.
            self.stage = Stage::Lost;
            return Next::Wait(None);
        }
        let message = "The pod was not found in the provider and may have been deleted there";
        self.shared.events.warning(pod, "NotFound", message);
        if matches!(self.stage, Stage::Created { since: Some(since) } if since.elapsed() >= LOSSES_END) {
            self.losses.reset();
        }
        self.observed = Observed::Lost;
        if object::restart_policy(pod) == "Never" {
            self.stage = Stage::Lost;
            return Next::Wait(None);
        }
        // What was sent is void, and what is sent next is made afresh; with back-off, as a kubelet does for a sandbox
        // that died, or a backend that drops its pods is flooded.
        self.stage = Stage::Unclaimed;
        self.sent = None;
        self.environment = None;
        self.considered = None;
        let wait = self.losses.next();
        self.wait_for(wait)
    }

    /// Whether the provider's last word on the pod was that it is over.
    fn has_ended(&self, pod: &Pod) -> bool {
        let view = self.view();
        let composed = status::compose(pod, &self.observed, &view.facts(self.record.as_ref()));
        matches!(composed.status.phase.as_deref(), Some("Succeeded" | "Failed"))
    }
}
