//! What others may know of the node.

use std::{collections::BTreeMap, net::IpAddr};

use k8s_openapi::{
    api::core::v1::{Node, Taint},
    apimachinery::pkg::api::resource::Quantity,
};

use super::patch;

/// The node as it stands in the API.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct NodeFacts {
    pub(crate) name: String,
    /// Empty while there is no node, because somebody deleted it and it cannot be made again yet.
    pub(crate) uid: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) taints: Vec<Taint>,
    /// As in the label `kubernetes.io/os`.
    pub(crate) operating_system: String,
    pub(crate) allocatable: BTreeMap<String, Quantity>,
    pub(crate) host_ips: Vec<IpAddr>,
    pub(crate) ready: bool,
}

impl NodeFacts {
    /// What `node` says of itself; its addresses are the host's.
    pub(crate) fn of(node: &Node, host_ips: Vec<IpAddr>) -> Self {
        let status = node.status.as_ref();
        let mut conditions = status.and_then(|status| status.conditions.as_ref()).into_iter().flatten();
        let info = status.and_then(|status| status.node_info.as_ref());
        Self {
            name: node.metadata.name.clone().unwrap_or_default(),
            uid: node.metadata.uid.clone().unwrap_or_default(),
            labels: node.metadata.labels.clone().unwrap_or_default(),
            taints: node.spec.as_ref().and_then(|spec| spec.taints.clone()).unwrap_or_default(),
            operating_system: info.map(|info| info.operating_system.clone()).unwrap_or_default(),
            allocatable: patch::allocatable(node),
            host_ips,
            ready: conditions.any(|condition| condition.type_ == "Ready" && condition.status == "True"),
        }
    }
}
