//! What this crate needs to know of the node's pods.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use vk_provider::PodId;

/// The pods bound to the node, as the API server has them. Answers from memory.
pub trait Pods: Send + Sync {
    /// The pod of this name, if the node has it.
    fn find(&self, namespace: &str, name: &str) -> Option<NodePod>;

    /// All of them, in no order.
    fn all(&self) -> Vec<NodePod>;
}

/// A pod of the node.
#[derive(Debug, Clone)]
pub struct NodePod {
    /// How the provider knows it.
    pub id: PodId,
    /// As the API server has it; without managedFields.
    pub object: Arc<Pod>,
}
