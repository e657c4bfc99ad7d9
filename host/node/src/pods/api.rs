//! The calls to the API server that act on pods.

use std::{collections::HashSet, time::Duration};

use k8s_openapi::{
    api::core::v1::{Node, Pod},
    serde::de::IgnoredAny,
};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams, Preconditions, Request},
};
use serde_json::Value;
use tokio::{sync::Semaphore, time};
use vk_provider::PodId;

use super::received::Received;
use crate::metrics::Metrics;

/// How long a call may take, with the client's own repetitions.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Writes at one time. Each takes a connection, and the API server works through them no faster for having more of them
/// in hand.
const WRITES: usize = 32;
/// Objects in a page of a listing.
const PAGE: u32 = 500;

/// Why a pod could not be written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WriteError {
    /// It is gone, or another pod has its name.
    #[error("the pod is gone or another one has its name")]
    Replaced,
    /// The API server says no.
    #[error("{0}")]
    Failed(#[source] Box<kube::Error>),
    /// It does not answer.
    #[error("the API server did not answer within {TIMEOUT:?}")]
    Timeout,
}

/// Why something could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    /// The API server says no.
    #[error(transparent)]
    Failed(#[from] kube::Error),
    /// It does not answer.
    #[error("the API server did not answer within {TIMEOUT:?}")]
    Timeout,
}

/// The pods of this node in the API.
pub(crate) struct PodApi {
    client: Client,
    node_name: String,
    namespace: Option<String>,
    writes: Semaphore,
    metrics: Metrics,
}

impl PodApi {
    /// The pods bound to `node_name`, of one namespace or of all.
    pub(crate) fn new(client: Client, node_name: &str, namespace: Option<String>, metrics: Metrics) -> Self {
        Self { client, node_name: node_name.to_owned(), namespace, writes: Semaphore::new(WRITES), metrics }
    }

    /// What lists and watches go to.
    pub(crate) fn scope(&self) -> Api<Received> {
        match &self.namespace {
            Some(namespace) => Api::namespaced(self.client.clone(), namespace),
            None => Api::all(self.client.clone()),
        }
    }

    /// The field selector of the node's pods, in the one spelling that the Node authorizer admits.
    pub(crate) fn selector(&self) -> String {
        format!("spec.nodeName={}", self.node_name)
    }

    /// Whether pods of this namespace can be seen at all.
    pub(crate) fn covers(&self, namespace: &str) -> bool {
        self.namespace.as_deref().is_none_or(|own| own == namespace)
    }

    /// The uids of the node's pods as etcd has them at this moment.
    pub(crate) async fn list_uids(&self) -> Result<HashSet<String>, ReadError> {
        let api = self.scope();
        let mut params = ListParams::default().fields(&self.selector()).limit(PAGE);
        let mut uids = HashSet::new();
        loop {
            let page = time::timeout(TIMEOUT, api.list_metadata(&params)).await.map_err(|_| ReadError::Timeout)??;
            uids.extend(page.items.iter().filter_map(ResourceExt::uid));
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => params = params.continue_token(&token),
                None => return Ok(uids),
            }
        }
    }

    /// The node as etcd has it at this moment.
    pub(crate) async fn node(&self) -> Result<Node, ReadError> {
        let api: Api<Node> = Api::all(self.client.clone());
        Ok(time::timeout(TIMEOUT, api.get(&self.node_name)).await.map_err(|_| ReadError::Timeout)??)
    }

    /// Applies a strategic-merge patch that carries the pod's uid to its status.
    pub(crate) async fn patch_status(&self, pod: &PodId, patch: &Value) -> Result<Pod, WriteError> {
        let api: Api<Received> = Api::namespaced(self.client.clone(), &pod.namespace);
        let patched = self.write(api.patch_status(&pod.name, &PatchParams::default(), &Patch::Strategic(patch))).await;
        patched.map(|Received(pod)| pod)
    }

    /// Removes the pod's object: what it stood for is gone.
    pub(crate) async fn delete(&self, pod: &PodId) -> Result<(), WriteError> {
        let preconditions = Preconditions { uid: Some(pod.uid.clone()), resource_version: None };
        let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() }.grace_period(0);
        let request = Request::new(Pod::url_path(&(), Some(&pod.namespace))).delete(&pod.name, &params);
        // The answer is the pod as it was, which nobody asks for.
        let call = async { self.client.request(request.map_err(kube::Error::BuildRequest)?).await };
        self.write(call).await.map(|IgnoredAny| ())
    }

    async fn write<T>(&self, call: impl Future<Output = Result<T, kube::Error>>) -> Result<T, WriteError> {
        let waiting = self.metrics.write_waits();
        // The semaphore is never closed.
        let _permit = self.writes.acquire().await.ok();
        drop(waiting);
        match time::timeout(TIMEOUT, call).await {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(kube::Error::Api(status))) if is_other_pod(&status) => Err(WriteError::Replaced),
            Ok(Err(error)) => Err(WriteError::Failed(Box::new(error))),
            Err(_) => Err(WriteError::Timeout),
        }
    }
}

/// A patch with a uid that is not the object's is answered with 422 on `metadata.uid`, a delete with 409.
fn is_other_pod(status: &kube::core::Status) -> bool {
    match status.code {
        404 | 409 => true,
        422 => status
            .details
            .as_ref()
            .is_some_and(|details| details.causes.iter().any(|cause| cause.field == "metadata.uid")),
        _ => false,
    }
}
