//! What can go wrong with the node, and how its requests are made.

use std::time::Duration;

use tokio::time::{sleep, timeout};
use tracing::warn;

/// How long a request to the API server may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);
/// The pauses between attempts to reach the API server.
pub(super) const MIN_PAUSE: Duration = Duration::from_secs(1);
pub(super) const MAX_PAUSE: Duration = Duration::from_secs(30);

/// Why the node cannot be registered.
#[derive(Debug, thiserror::Error)]
pub enum RegistrationError {
    /// Another kubelet owns the name.
    #[error(
        "node {name} belongs to a real kubelet (its kubeletVersion is {kubelet_version}): choose another --nodename, or delete that node"
    )]
    RealKubelet {
        /// The node's name.
        name: String,
        /// What the Node says of its kubelet.
        kubelet_version: String,
    },
    /// The provider cannot work as it is configured.
    #[error("the provider refuses to describe the node: correct its configuration")]
    Refused(#[source] vk_provider::Error),
}

/// A request that did not do what it should.
#[derive(Debug, thiserror::Error)]
pub(super) enum RequestError {
    #[error("no answer within {} s", REQUEST_TIMEOUT.as_secs())]
    Timeout,
    #[error(transparent)]
    Api(#[from] kube::Error),
}

impl RequestError {
    pub(super) fn is(&self, check: fn(&kube::core::Status) -> bool) -> bool {
        matches!(self, Self::Api(kube::Error::Api(status)) if check(status))
    }

    /// Whether this identity may not do what was asked: NodeRestriction answers so to labels beyond a kubelet's.
    pub(super) fn is_refusal(&self) -> bool {
        self.is(|status| status.is_forbidden() || status.is_invalid())
    }

    /// Whether it says that the node patched is not the node that there is.
    pub(super) fn is_other_node(&self) -> bool {
        self.is(kube::core::Status::is_not_found)
            || self.is(kube::core::Status::is_conflict)
            || self.is(|status| status.is_invalid() && status.message.contains("metadata.uid"))
    }
}

/// Makes a request, within a bounded time.
pub(super) async fn request<T>(call: impl Future<Output = kube::Result<T>>) -> Result<T, RequestError> {
    Ok(timeout(REQUEST_TIMEOUT, call).await.map_err(|_| RequestError::Timeout)??)
}

/// Asks until there is an answer. `what` is what cannot be done meanwhile.
pub(super) async fn persist<T, F>(what: &str, mut ask: impl FnMut() -> F) -> T
where
    F: Future<Output = kube::Result<T>>,
{
    let mut pause = MIN_PAUSE;
    loop {
        match request(ask()).await {
            Ok(answer) => return answer,
            Err(error) => warn!("cannot {what}, trying again in {} s: {error}", pause.as_secs()),
        }
        sleep(pause).await;
        pause = (pause * 2).min(MAX_PAUSE);
    }
}
