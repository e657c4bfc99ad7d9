//! What the provider is given: the pod at its creation, and what changes of it later.

use std::time::SystemTime;

use k8s_openapi::api::core::v1::Pod;
use tokio::time::Instant;
use vk_provider::{Aspects, Error, ErrorKind, Observation};

use super::{Next, Stage, Task, object, object::UserFields};
use crate::{
    admission::Requests,
    references::{Notice, Resolved, Stamp, Unresolved},
    status::{self, Observed, ProviderRecord, Resize},
};

/// The reason of a pod that the provider does not create.
const PROVIDER_FAILED: &str = "ProviderFailed";

impl Task {
    pub(super) async fn create(&mut self, pod: &Pod) -> Next {
        if !self.gate.borrow().may_create() {
            return Next::Wait(None);
        }
        if let Some(at) = self.must_wait() {
            return Next::Wait(Some(at));
        }
        if let Err(next) = self.admit(pod).await {
            return next;
        }
        self.stale = false;
        let resolved = match self.resolve(pod).await {
            Ok(resolved) => resolved,
            Err(next) => return next,
        };
        // Until here it may have taken a while, and what is made now would have to be paid for and removed again.
        if !self.may_act().await || self.is_unwanted() || !self.gate.borrow().may_create() {
            return Next::Step;
        }
        let mut request = resolved.pod.clone();
        request.id.handle = self.id.handle.clone();
        let mut outcome = self.shared.provider.create(request).await;
        self.shared.node.called(&outcome);
        if let Err(error) = &outcome
            && error.kind == ErrorKind::Conflict
        {
            // The backend may have it already, from a call whose answer was lost. If it has not, the refusal to create
            // it stands.
            let found = self.shared.provider.get(&self.id).await;
            self.shared.node.called(&found);
            if found.is_ok() {
                outcome = found;
            }
        }
        match outcome {
            Ok(observation) => {
                self.shared.events.success(pod, "ProviderCreateSuccess", "Create pod in provider successfully");
                self.observed = Observed::Waiting;
                self.given(pod, resolved, &observation);
                Next::Wait(self.renew_at)
            }
            Err(error) => self.create_failed(pod, &error),
        }
    }

    /// Whether the pod has been deleted, or marked for it, since it was looked at.
    fn is_unwanted(&self) -> bool {
        let inbox = self.inbox.borrow();
        inbox.deleted || inbox.pod.as_ref().is_some_and(|pod| object::end_of_grace(pod).is_some())
    }

    fn create_failed(&mut self, pod: &Pod, error: &Error) -> Next {
        self.shared.events.warning(pod, "ProviderCreateFailed", error.message.clone());
        if error.kind.is_final() {
            self.set_stage(Stage::Refused { asked: UserFields::of(pod) });
            let (reason, message) = (PROVIDER_FAILED.to_owned(), error.message.clone());
            // The controller of a pod that is to run always would make the next one at once, without back-off.
            self.observed = match object::restart_policy(pod) {
                "Always" => Observed::Held { reason, message },
                _ => Observed::Refused { reason, message },
            };
            return Next::Wait(None);
        }
        let reason = if error.kind == ErrorKind::Exhausted { "CapacityExhausted" } else { PROVIDER_FAILED };
        self.observed = Observed::Held { reason: reason.into(), message: error.message.clone() };
        self.retry(error)
    }

    /// Compares what the pod is with what the provider was given, and tells it the difference.
    pub(super) async fn update(&mut self, pod: &Pod) -> Next {
        if let Some(at) = self.must_wait() {
            return Next::Wait(Some(at));
        }
        let due = self.renew_at.is_some_and(|at| at <= Instant::now());
        if self.considered.as_ref().is_some_and(|considered| considered.are_of(pod)) && !self.stale && !due {
            return Next::Wait(self.renew_at);
        }
        self.stale = false;
        match self.difference(pod).await {
            Err(next) => {
                // It is still to be looked at.
                self.stale = true;
                next
            }
            Ok(None) => Next::Wait(self.renew_at),
            Ok(Some((resolved, changed))) if !changed.any() => {
                self.keep(pod, resolved);
                Next::Wait(self.renew_at)
            }
            Ok(Some((resolved, changed))) => self.update_with(pod, resolved, changed).await,
        }
    }

    async fn update_with(&mut self, pod: &Pod, resolved: Resolved, changed: Aspects) -> Next {
        if !self.may_act().await || self.is_unwanted() {
            self.stale = true;
            return Next::Step;
        }
        let mut request = resolved.pod.clone();
        request.id.handle = self.id.handle.clone();
        let outcome = self.shared.provider.update(request, changed).await;
        self.shared.node.called(&outcome);
        match outcome {
            Ok(observation) => {
                self.shared.events.success(pod, "ProviderUpdateSuccess", "Update pod in provider successfully");
                self.given(pod, resolved, &observation);
                Next::Wait(self.renew_at)
            }
            Err(error) if error.kind == ErrorKind::NotFound => {
                // Whether it is lost is for listings to say, which show how many are.
                self.shared.nudge.relist();
                self.stale = true;
                self.retry(&error)
            }
            Err(error) => {
                self.shared.events.warning(pod, "ProviderUpdateFailed", error.message.clone());
                if error.kind.is_final() {
                    // It runs on as it was. What was sent stays the measure, so that the next change brings this one
                    // along; until then it is not tried again.
                    self.considered = Some(UserFields::of(pod));
                    self.resize = match changed.spec && status::is_resized(pod) {
                        true => Resize::Infeasible(error.message),
                        false => Resize::Done,
                    };
                    self.renew_at = resolved.renew_at;
                    return Next::Wait(self.renew_at);
                }
                self.stale = true;
                self.retry(&error)
            }
        }
    }

    /// The pod as it should be, and what of it the provider does not have yet; `None` if there is nothing to look at.
    async fn difference(&mut self, pod: &Pod) -> Result<Option<(Resolved, Aspects)>, Next> {
        let Some(sent) = self.sent else {
            let Some(changed) = self.changed_while_away(pod).await? else { return Ok(None) };
            return Ok(Some((self.resolve(pod).await?, changed)));
        };
        let resolved = self.resolve(pod).await?;
        let changed = resolved.fingerprint.changed_since(&sent);
        Ok(Some((resolved, changed)))
    }

    /// What changed of a pod that an earlier life of the host created; `None` if nothing did and no token is due, so
    /// that it need not be resolved at all.
    async fn changed_while_away(&mut self, pod: &Pod) -> Result<Option<Aspects>, Next> {
        let record = self.record.as_ref().and_then(|record| record.stamp.as_deref());
        let Some(earlier) = record.and_then(|stamp| stamp.parse::<Stamp>().ok()) else {
            // The host died between the creation and the note of what was sent. That was the pod as it is now, or
            // nearly so; telling the provider once more could restart what runs.
            return Ok(Some(Aspects::default()));
        };
        let stamp = match self.shared.references.stamp(pod, &mut self.links).await {
            Ok(stamp) => stamp,
            Err(unresolved) => return Err(self.unresolved(pod, unresolved)),
        };
        let mut changed = stamp.changed_since(&earlier);
        if let Some(renew_at) = earlier.renew_at() {
            match renew_at.duration_since(SystemTime::now()) {
                Ok(left) => self.renew_at = Some(Instant::now() + left),
                Err(_) => changed.volumes = true,
            }
        }
        if changed.any() {
            return Ok(Some(changed));
        }
        self.considered = Some(UserFields::of(pod));
        self.resize = Resize::Done;
        Ok(None)
    }

    /// The provider took the pod as resolved.
    fn given(&mut self, pod: &Pod, resolved: Resolved, observation: &Observation) {
        self.set_stage(Stage::Created { since: Some(Instant::now()) });
        self.observe(observation);
        self.keep(pod, resolved);
        self.shared.nudge.soon();
    }

    /// What the provider has is the pod as resolved.
    fn keep(&mut self, pod: &Pod, resolved: Resolved) {
        self.backoff.reset();
        self.not_before = None;
        self.considered = Some(UserFields::of(pod));
        self.resize = Resize::Done;
        self.shared.admission.count(&self.id.uid, Requests::of_spec(pod));
        self.renew_at = resolved.renew_at;
        self.record = Some(ProviderRecord { handle: self.id.handle.clone(), stamp: Some(resolved.stamp.to_string()) });
        self.environment = Some(resolved.environment);
        self.sent = Some(resolved.fingerprint);
    }

    /// Everything that the pod refers to; or how to go on without it.
    async fn resolve(&mut self, pod: &Pod) -> Result<Resolved, Next> {
        match self.shared.references.resolve(pod, &mut self.links, self.environment.as_ref()).await {
            Ok(resolved) => {
                if std::mem::take(&mut self.waits_for_references) {
                    // What kept the pod waiting was not the provider.
                    self.backoff.reset();
                }
                self.notify(pod, &resolved.notices);
                Ok(resolved)
            }
            Err(unresolved) => Err(self.unresolved(pod, unresolved)),
        }
    }

    /// Something that the pod refers to cannot be had: it waits for that, and looks again from time to time.
    fn unresolved(&mut self, pod: &Pod, unresolved: Unresolved) -> Next {
        let Unresolved { reason, message, notices, transient } = unresolved;
        self.notify(pod, &notices);
        self.waits_for_references = true;
        let wait = self.backoff.next();
        if transient {
            // That says nothing about the pod, so nothing is said of it.
            let vk_provider::PodId { namespace, name, .. } = &self.id;
            tracing::warn!(namespace, pod = name, reason, message, retry_in = ?wait, "references cannot be read");
            return self.wait_for(wait);
        }
        if self.tell(format!("{reason} {message}")) {
            self.shared.events.warning(pod, reason, message.clone());
        }
        if matches!(self.stage, Stage::Unclaimed) {
            self.observed = Observed::Held { reason: "CreateContainerConfigError".into(), message };
        }
        self.wait_for(wait)
    }

    /// Each notice comes once while it holds.
    fn notify(&mut self, pod: &Pod, notices: &[Notice]) {
        for notice in notices {
            self.shared.events.warning(pod, notice.reason, notice.message.clone());
        }
    }
}
