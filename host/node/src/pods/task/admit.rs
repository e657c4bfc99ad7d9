//! Whether the node takes the pod.

use k8s_openapi::api::core::v1::Pod;

use super::{Next, Stage, Task, object};
use crate::{admission::Rejection, registration::NodeFacts, status::Observed};

impl Task {
    /// Has the pod admitted; or says how to go on without it.
    pub(super) async fn admit(&mut self, pod: &Pod) -> Result<(), Next> {
        let Some(mut outcome) = self.ask(pod) else { return Err(Next::Wait(None)) };
        let waited = self.vacancy.is_some();
        if !waited && outcome.as_ref().is_err_and(Rejection::depends_on_the_node) {
            outcome = self.ask_newest_node(pod).await.unwrap_or(outcome);
        }
        if !waited && outcome.is_err() && object::is_replaced_at_once(pod) {
            // From now on it is noticed if room is made, but some may have been made just now.
            self.vacancy = Some(self.shared.admission.vacancy(self.shared.facts.clone()));
            outcome = self.ask(pod).unwrap_or(outcome);
        }
        match outcome {
            Ok(()) => {
                if self.vacancy.take().is_some() {
                    self.observed = Observed::Waiting;
                }
                Ok(())
            }
            Err(rejection) => Err(self.rejected(pod, &rejection)),
        }
    }

    fn ask(&self, pod: &Pod) -> Option<Result<(), Rejection>> {
        let node = self.shared.facts.borrow().clone()?;
        Some(self.shared.admission.admit(&self.id.uid, pod, &node))
    }

    /// As a kubelet does: the scheduler may have seen a label that the watch has not brought yet.
    async fn ask_newest_node(&self, pod: &Pod) -> Option<Result<(), Rejection>> {
        let host_ips = self.shared.facts.borrow().as_ref()?.host_ips.clone();
        match self.shared.api.node().await {
            Ok(node) => Some(self.shared.admission.admit(&self.id.uid, pod, &NodeFacts::of(&node, host_ips))),
            Err(error) => {
                tracing::debug!(%error, "the node cannot be read again");
                None
            }
        }
    }

    /// A pod whose controller would make the next one at once waits for a place, as it would before a scheduler; any
    /// other fails, as with a kubelet.
    fn rejected(&mut self, pod: &Pod, rejection: &Rejection) -> Next {
        let reason = rejection.reason().into_owned();
        if let Observed::Held { reason: known, .. } = &self.observed
            && *known == reason
        {
            // Told once. What the others use of the node meanwhile is not worth a write for each pod that waits.
            return Next::Wait(None);
        }
        self.shared.events.warning(pod, &reason, rejection.to_string());
        let message = format!("Pod was rejected: {rejection}");
        self.observed = if object::is_replaced_at_once(pod) {
            Observed::Held { reason, message }
        } else {
            // Whatever room is made later: the API may have it as Failed by then.
            self.set_stage(Stage::Rejected);
            Observed::Refused { reason, message }
        };
        Next::Wait(None)
    }
}
