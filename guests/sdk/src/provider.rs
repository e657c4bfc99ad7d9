//! The trait that a provider implements.

use std::time::Duration;

use crate::{Aspects, Changes, Cursor, Deletion, Description, Error, Observation, Pod, PodId, Result, Startup};

/// Runs pods on some backend. Hand the implementing type to [`export!`](crate::export).
///
/// Calls may be repeated and are idempotent on the pod's uid. They start work and return: none waits for a workload to
/// converge, [`poll`](Self::poll) reports that. Calls on one pod never overlap, but `poll` and `describe` may overlap
/// calls on pods, on other instances.
///
/// # Errors
///
/// The [`ErrorKind`](crate::ErrorKind) alone decides what the host does next; the message is shown to people.
pub trait Provider: Sized + 'static {
    /// The provider's name, as in the node's taint `virtual-kubelet.io/provider=NAME`: a DNS label, 1 to 63 of `a-z`,
    /// `0-9` and `-`, with no `-` at an end.
    const NAME: &'static str;
    /// The provider's version, at most 128 bytes, usually `env!("CARGO_PKG_VERSION")`.
    const VERSION: &'static str;

    /// Makes the instance from what the operator configured. Called once on each instance, before everything else: check the
    /// settings ([`settings`](crate::settings)) and use no network.
    fn configure(startup: Startup) -> Result<Self>;

    /// What the node offers. Called before any call on a pod, then periodically: the place for one-time set-up of the
    /// backend. An error says that the backend cannot be reached.
    fn describe(&self) -> Result<Description>;

    /// Starts a pod. If the backend already has one with this uid, reports that one.
    ///
    /// What the provider cannot honour it refuses with [`Error::unsupported`], naming the field.
    fn create(&self, pod: Pod) -> Result<Observation>;

    /// Changes a running pod in the named aspects; after an error it runs on as it was.
    ///
    /// Unless overridden: changed labels, annotations and registry logins are taken note of, everything else is refused.
    fn update(&self, pod: Pod, changed: Aspects) -> Result<Observation> {
        let refused = changed - (Aspects::METADATA | Aspects::LOGINS);
        if refused.is_empty() {
            return Ok(Observation { pod: pod.id, status: None });
        }
        let what = if refused.contains(Aspects::SPEC) { "spec" } else { "volumes" };
        Err(Error::unsupported(format!("{} cannot change the {what} of a running pod: recreate it", Self::NAME)))
    }

    /// Stops and removes a pod. `grace` is what is left of its grace period; zero means: end it and remove it now. While the answer is
    /// [`Deletion::Stopping`] the host asks again. A pod that is not there is [`Deletion::Gone`].
    fn delete(&self, pod: PodId, grace: Duration) -> Result<Deletion>;

    /// The state of one pod; [`Error::not_found`] if the backend does not have it.
    fn get(&self, pod: PodId) -> Result<Observation>;

    /// What changed since the cursor; `None` begins a listing. See [`Changes`] for the three kinds of answer.
    ///
    /// A cursor outlives the provider's version: begin it with a version byte, and answer [`Error::invalid`] to one that
    /// you cannot read; the host then starts over.
    fn poll(&self, since: Option<Cursor>) -> Result<Changes>;
}
