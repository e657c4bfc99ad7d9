//! Pods that the provider does not have any more.
//!
//! Gone means: absent from two complete listings that began after the last creation returned, or reported as removed,
//! and `get` says not-found as well.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use tokio::time::Instant;
use vk_provider::ErrorKind;

use super::{Next, Stage, Task, object};
use crate::{
    pods::inbox::Since,
    status::{self, Observed},
};

/// A pod that stayed for so long was not lost in a row, as a kubelet counts crashes.
const LOSSES_END: Duration = Duration::from_secs(600);

impl Task {
    /// Whether the provider seems not to have the pod any more.
    pub(super) fn is_missing(&self, since: Since) -> bool {
        let absence = self.inbox.borrow().absence;
        // One listing may have been an old one. The second need not wait for its turn; unless listings are known to
        // lack this pod although it is there, or there would be one after the other for it.
        if absence.raises_doubt(since) && !self.unlisted {
            self.shared.nudge.relist();
        }
        absence.suggests_loss(since)
    }

    /// Asks for the one pod before it is given up.
    pub(super) async fn verify(&mut self, pod: &Pod) -> Next {
        if !self.gate.borrow().may_give_up() {
            return Next::Wait(None);
        }
        if let Some(at) = self.must_wait() {
            return Next::Wait(Some(at));
        }
        let outcome = self.shared.provider.get(&self.id).await;
        self.shared.node.called(&outcome);
        match outcome {
            Ok(observation) => {
                self.set_stage(Stage::Created { since: Some(Instant::now()) });
                self.unlisted = true;
                self.backoff.reset();
                self.observe(&observation);
                Next::Step
            }
            // While it was asked for, so many may have vanished that this answer is worth nothing either.
            Err(error) if error.kind == ErrorKind::NotFound && !self.gate.borrow().may_give_up() => Next::Wait(None),
            Err(error) if error.kind == ErrorKind::NotFound => self.lost(pod),
            Err(error) => self.retry(&error),
        }
    }

    fn lost(&mut self, pod: &Pod) -> Next {
        if self.has_ended(pod) {
            // It ran to its end, and the backend has cleaned up since.
            self.set_stage(Stage::Lost);
            return Next::Wait(None);
        }
        let message = "The pod was not found in the provider and may have been deleted there";
        self.shared.events.warning(pod, "NotFound", message);
        if matches!(self.stage, Stage::Created { since: Some(since) } if since.elapsed() >= LOSSES_END) {
            self.losses.reset();
        }
        self.observed = Observed::Lost;
        if object::restart_policy(pod) == "Never" {
            self.set_stage(Stage::Lost);
            return Next::Wait(None);
        }
        // What was sent is void, and what is sent next is made afresh; with back-off, as a kubelet does for a sandbox
        // that died, or a backend that drops its pods is flooded.
        self.set_stage(Stage::Unclaimed);
        self.sent = None;
        self.environment = None;
        self.considered = None;
        let wait = self.losses.next();
        self.wait_for(wait)
    }

    /// Whether the provider's last word on the pod was that it is over.
    pub(super) fn has_ended(&self, pod: &Pod) -> bool {
        let view = self.view(pod);
        let composed = status::compose(pod, &self.observed, &view.facts(self.record.as_ref()));
        matches!(composed.status.phase.as_deref(), Some("Succeeded" | "Failed"))
    }
}
