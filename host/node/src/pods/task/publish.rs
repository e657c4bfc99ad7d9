//! What the world sees of the pod: its status, and what is told in events.

use std::{sync::Arc, time::Duration};

use k8s_openapi::{api::core::v1::Pod, jiff::Timestamp};
use tokio::time::Instant;
use vk_provider::PodId;

use super::{Stage, Task};
use crate::{
    pods::{api::WriteError, object},
    registration::NodeFacts,
    status::{self, Observed, Problem, ProviderRecord, Resize},
};

/// How many different things are remembered as told: a provider may make up new ones without end.
const MOST_TOLD: usize = 64;
/// When something that still holds is told again; events are kept for an hour.
const TELL_AGAIN: Duration = Duration::from_secs(300);

impl Task {
    /// Writes the status if the API has another one. Answers when to try again.
    pub(super) async fn sync(&mut self) -> Option<Instant> {
        if let Some(at) = self.must_wait_to_write() {
            return Some(at);
        }
        // A provider call may have taken a minute, in which others have written. What has come in stays marked as unseen.
        let newest = self.inbox.borrow().pod.clone();
        if let Some(newest) = newest {
            self.unstepped |= self.take(&newest);
        }
        let pod = self.pod.clone()?;
        // Nothing to say yet: a pod that is about to be created costs one write, not two.
        if matches!(self.observed, Observed::Waiting) && matches!(self.stage, Stage::Unclaimed) {
            return None;
        }
        if let Some(record) = &mut self.record
            && record.handle != self.id.handle
        {
            record.handle.clone_from(&self.id.handle);
        }
        let view = self.view(&pod);
        let composed = status::compose(&pod, &self.observed, &view.facts(self.record.as_ref()));
        if self.overdue.is_some() && !object::is_terminal(&pod) && status::is_terminal(&composed.status) {
            // That is written with the verdict, once nothing of the pod is left.
            return None;
        }
        self.report(&pod, composed.problems);
        let patch = status::patch(&pod, &composed.status)?;
        match self.shared.api.patch_status(&self.id, &patch).await {
            Ok(patched) => {
                self.wrote(patched);
                None
            }
            Err(error) => Some(self.write_failed("status", &error)),
        }
    }

    fn report(&mut self, pod: &Pod, problems: Vec<Problem>) {
        for problem in problems {
            let message = format!("The provider's status has a value that is left out: {problem}");
            if self.tell(message.clone()) {
                self.shared.events.warning(pod, "ProviderStatusInvalid", message);
            }
        }
    }

    /// Whether this has not been told for a while.
    pub(super) fn tell(&mut self, message: String) -> bool {
        let now = Instant::now();
        if self.told.get(&message).is_some_and(|at| now.duration_since(*at) < TELL_AGAIN) {
            return false;
        }
        if self.told.len() >= MOST_TOLD {
            self.told.clear();
        }
        self.told.insert(message, now);
        true
    }

    pub(super) fn wrote(&mut self, pod: Pod) {
        self.write_backoff.reset();
        // Others may have written in between. A write that changes nothing keeps the version, and ends it here.
        self.unstepped |= self.take(&Arc::new(pod));
    }

    /// Whether the API server must not be written to yet.
    pub(super) fn must_wait_to_write(&mut self) -> Option<Instant> {
        self.write_not_before = self.write_not_before.filter(|at| Instant::now() < *at);
        self.write_not_before
    }

    pub(super) fn write_failed(&mut self, what: &str, error: &WriteError) -> Instant {
        let wait = self.write_backoff.next();
        let PodId { namespace, name, uid, .. } = &self.id;
        match error {
            // The watch will tell what became of it; only if it does not, there is something to try again.
            WriteError::Replaced => {
                tracing::debug!(namespace, pod = name, uid, %error, "{what} of the pod not written")
            }
            _ => tracing::warn!(namespace, pod = name, uid, %error, retry_in = ?wait, "{what} of the pod not written"),
        }
        let at = Instant::now() + wait;
        self.write_not_before = Some(at);
        at
    }

    /// What a composition of the status of `pod` needs to know.
    pub(super) fn view(&self, pod: &Pod) -> View {
        let judged = self.considered.as_ref().is_some_and(|considered| considered.are_of(pod));
        View {
            now: Timestamp::now(),
            node: self.shared.facts.borrow().clone(),
            resize: if judged { self.resize.clone() } else { Resize::Unjudged },
        }
    }
}

/// The node, the time and what became of the pod's latest change, as of one composition.
pub(super) struct View {
    now: Timestamp,
    node: Option<Arc<NodeFacts>>,
    resize: Resize,
}

impl View {
    pub(super) fn facts<'a>(&'a self, provider: Option<&'a ProviderRecord>) -> status::Facts<'a> {
        let host_ips = self.node.as_ref().map_or(&[][..], |node| &node.host_ips);
        status::Facts { now: self.now, host_ips, provider, resize: &self.resize }
    }
}
