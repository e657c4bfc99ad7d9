//! Pods that may be active for a limited time only.
//!
//! As with a kubelet, the pod's containers are ended first, with the pod's grace, and only then is it Failed: whoever
//! replaces it may count on nothing of it running any more.

use k8s_openapi::{api::core::v1::Pod, jiff::Timestamp};

use super::{Next, Task, object};
use crate::status::Verdict;

const DEADLINE_EXCEEDED: Verdict =
    Verdict { reason: "DeadlineExceeded", message: "Pod was active on the node longer than the specified deadline" };

impl Task {
    /// The verdict on the pod, once its time is over.
    pub(super) fn verdict(&self) -> Option<Verdict> {
        self.overdue.is_some().then_some(DEADLINE_EXCEEDED)
    }

    /// Ends the pod, whose time is over.
    pub(super) async fn expire(&mut self, pod: &Pod) -> Next {
        let end_of_grace = match self.overdue {
            Some(end) => end,
            None => {
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
