//! Pods that may be active for a limited time only.
//!
//! As with a kubelet, the pod's containers are ended first, with the pod's grace, and only then is it Failed: whoever
//! replaces it may count on nothing of it running any more.

use k8s_openapi::{api::core::v1::Pod, jiff::Timestamp};
use vk_provider::ErrorKind;

use super::{Next, Task, object};
use crate::status::{Observed, Verdict};

const DEADLINE_EXCEEDED: Verdict =
    Verdict { reason: "DeadlineExceeded", message: "Pod was active on the node longer than the specified deadline" };

impl Task {
    /// The verdict on the pod, once its time is over.
    pub(super) fn verdict(&self) -> Option<Verdict> {
        self.overdue.is_some().then_some(DEADLINE_EXCEEDED)
    }

    /// Asks what became of a pod that an earlier life of the host had created, unless that has been told.
    async fn look_once_more(&mut self) -> Result<(), Next> {
        if !matches!(self.observed, Observed::Present) {
            return Ok(());
        }
        if let Some(at) = self.must_wait() {
            return Err(Next::Wait(Some(at)));
        }
        let found = self.shared.provider.get(&self.id).await;
        self.shared.node.called(&found);
        match found {
            Ok(observation) => {
                self.observe(&observation);
                Ok(())
            }
            Err(error) if error.kind == ErrorKind::NotFound => Ok(()),
            Err(error) => Err(self.retry(&error)),
        }
    }

    /// Ends the pod, whose time is over.
    pub(super) async fn expire(&mut self, pod: &Pod) -> Next {
        let end_of_grace = match self.overdue {
            Some(end) => end,
            None => {
                if let Err(next) = self.look_once_more().await {
                    return next;
                }
                if self.has_ended(pod) {
                    // It came to its end by itself, which only has to be written.
                    return Next::Wait(self.sync().await);
                }
                let Verdict { reason, message } = DEADLINE_EXCEEDED;
                self.shared.events.warning(pod, reason, message);
                let end = Timestamp::now().checked_add(object::grace(pod)).unwrap_or(Timestamp::MAX);
                *self.overdue.insert(end)
            }
        };
        match self.stop_and_tell(pod, end_of_grace).await {
            Err(next) => next,
            Ok(()) => match self.write_last(pod).await {
                Ok(()) => Next::Wait(None),
                Err(next) => next,
            },
        }
    }
}
