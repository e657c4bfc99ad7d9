//! The Node as the operator and the provider describe it: labels, taints, resources, addresses, versions. Pure.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::{
        DaemonEndpoint, Node, NodeAddress, NodeDaemonEndpoints, NodeSpec, NodeStatus, NodeSystemInfo, Taint,
    },
    apimachinery::pkg::{api::resource::Quantity, apis::meta::v1::ObjectMeta},
};
use vk_provider::{Description, Info};

use super::{Settings, Taints};
use crate::{
    quantity::Quantity as Amount,
    status::{is_name, is_qualified_name},
};

/// The label that a node identity may not set: the admission plugin NodeRestriction refuses it.
pub(super) const ROLE_LABEL: &str = "kubernetes.io/role";
/// What marks the `kubeletVersion` of a virtual node.
pub(super) const VERSION_MARK: &str = "-vk-";
/// The minor version of Kubernetes whose types the client speaks.
const CLIENT_MINOR: u32 = 36;
/// Labels of Kubernetes' own domains that a provider may set.
const ALLOWED_LABELS: [&str; 3] =
    ["topology.kubernetes.io/zone", "topology.kubernetes.io/region", "node.kubernetes.io/instance-type"];
/// Domains whose names mean something to Kubernetes or to the host.
const RESERVED_DOMAINS: [&str; 3] = ["kubernetes.io", "k8s.io", "vk-host.dev"];
/// The most bytes of annotations that are taken from a provider; the API server's limit is four times that.
const MAX_ANNOTATIONS: usize = 64 << 10;

/// A Node, and what of the description did not become part of it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Built {
    /// Without conditions.
    pub(super) node: Node,
    /// Complaints, each naming the value and why it was dropped.
    pub(super) dropped: Vec<String>,
}

/// The node that `settings` and `description` ask for. `server_minor` is the minor version of the API server.
pub(super) fn build(settings: &Settings, info: &Info, description: &Description, server_minor: u32) -> Built {
    let mut dropped = Vec::new();
    let os = settings.operating_system.unwrap_or(description.operating_system).as_str();
    let architecture = if is_name(&description.architecture) {
        description.architecture.as_str()
    } else {
        dropped.push(format!("architecture {:?} is not a label value", description.architecture));
        "amd64"
    };

    let mut labels = provider_labels(description, &mut dropped);
    let own = [
        ("type", "virtual-kubelet"),
        ("kubernetes.io/os", os),
        ("kubernetes.io/arch", architecture),
        ("kubernetes.io/hostname", settings.node_name.as_str()),
        (ROLE_LABEL, "agent"),
        ("node.kubernetes.io/exclude-from-external-load-balancers", "true"),
    ];
    labels.extend(own.map(|(key, value)| (key.to_owned(), value.to_owned())));

    let capacity = resources("capacity", &description.capacity, &mut dropped);
    let mut allocatable = resources("allocatable", &description.allocatable, &mut dropped);
    for (name, quantity) in &capacity {
        allocatable.entry(name.clone()).or_insert_with(|| quantity.clone());
    }

    let mut addresses: Vec<_> = settings
        .addresses
        .iter()
        .map(|ip| NodeAddress { type_: "InternalIP".to_owned(), address: ip.to_string() })
        .collect();
    addresses.push(NodeAddress { type_: "Hostname".to_owned(), address: settings.node_name.clone() });

    let status = NodeStatus {
        capacity: Some(capacity),
        allocatable: Some(allocatable),
        addresses: Some(addresses),
        daemon_endpoints: settings
            .port
            .map(|port| NodeDaemonEndpoints { kubelet_endpoint: Some(DaemonEndpoint { port: i32::from(port) }) }),
        declared_features: (!settings.declared_features.is_empty()).then(|| settings.declared_features.clone()),
        node_info: Some(NodeSystemInfo {
            architecture: architecture.to_owned(),
            container_runtime_version: format!("{}://{}", info.name, info.version),
            kubelet_version: format!("v1.{}.0{VERSION_MARK}{}", CLIENT_MINOR.min(server_minor), settings.version),
            operating_system: os.to_owned(),
            os_image: format!("vk-host {}", settings.version),
            // The rest is required to be there, and a virtual node has none of it.
            ..NodeSystemInfo::default()
        }),
        ..NodeStatus::default()
    };
    let taints = taints(settings, info, description, &mut dropped);
    let annotations = provider_annotations(description, &mut dropped);
    let node = Node {
        metadata: ObjectMeta {
            name: Some(settings.node_name.clone()),
            labels: Some(labels),
            annotations: (!annotations.is_empty()).then_some(annotations),
            ..ObjectMeta::default()
        },
        spec: Some(NodeSpec { taints: (!taints.is_empty()).then_some(taints), ..NodeSpec::default() }),
        status: Some(status),
    };
    Built { node, dropped }
}

/// The version of a node that no virtual kubelet runs; `None` if the host may take the node over.
pub(super) fn real_kubelet(node: &Node) -> Option<&str> {
    kubelet_version(node).filter(|version| !version.contains(VERSION_MARK))
}

/// Whether a virtual kubelet has run the node before.
pub(super) fn is_virtual(node: &Node) -> bool {
    kubelet_version(node).is_some_and(|version| version.contains(VERSION_MARK))
}

fn kubelet_version(node: &Node) -> Option<&str> {
    let version = node.status.as_ref()?.node_info.as_ref()?.kubelet_version.as_str();
    (!version.is_empty()).then_some(version)
}

/// Whether a name belongs to a domain that a provider has no say in.
fn is_reserved(key: &str) -> bool {
    let Some((domain, _)) = key.split_once('/') else { return false };
    RESERVED_DOMAINS
        .iter()
        .any(|reserved| domain == *reserved || domain.strip_suffix(reserved).is_some_and(|rest| rest.ends_with('.')))
}

fn provider_labels(description: &Description, dropped: &mut Vec<String>) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::new();
    for (key, value) in &description.labels {
        if !is_qualified_name(key) || !(value.is_empty() || is_name(value)) {
            dropped.push(format!("label {key:?}={value:?} is malformed"));
        } else if is_reserved(key) && !ALLOWED_LABELS.contains(&key.as_str()) {
            dropped.push(format!("label {key} is not the provider's to set"));
        } else {
            labels.insert(key.clone(), value.clone());
        }
    }
    labels
}

fn provider_annotations(description: &Description, dropped: &mut Vec<String>) -> BTreeMap<String, String> {
    let mut annotations = BTreeMap::new();
    let mut size = 0;
    for (key, value) in &description.annotations {
        size += key.len() + value.len();
        if !is_qualified_name(key) {
            dropped.push(format!("annotation {key:?} is malformed"));
        } else if is_reserved(key) {
            dropped.push(format!("annotation {key} is not the provider's to set"));
        } else if size > MAX_ANNOTATIONS {
            dropped.push(format!("annotation {key} is beyond the {MAX_ANNOTATIONS} bytes that a provider may use"));
        } else {
            annotations.insert(key.clone(), value.clone());
        }
    }
    annotations
}

fn taints(settings: &Settings, info: &Info, description: &Description, dropped: &mut Vec<String>) -> Vec<Taint> {
    let given = match &settings.taints {
        Taints::Default => Some(vk_provider::Taint {
            key: "virtual-kubelet.io/provider".to_owned(),
            value: info.name.clone(),
            effect: "NoSchedule".to_owned(),
        }),
        Taints::Given(taint) => Some(taint.clone()),
        Taints::Disabled => None,
    };
    let mut taints: Vec<Taint> = Vec::new();
    let own = given.iter().map(|taint| (taint, true));
    for (taint, trusted) in own.chain(description.taints.iter().map(|taint| (taint, false))) {
        let vk_provider::Taint { key, value, effect } = taint;
        if !is_qualified_name(key)
            || !(value.is_empty() || is_name(value))
            || !matches!(effect.as_str(), "NoSchedule" | "PreferNoSchedule" | "NoExecute")
        {
            dropped.push(format!("taint {key:?}={value:?}:{effect:?} is malformed"));
        } else if !trusted && is_reserved(key) {
            dropped.push(format!("taint {key} is not the provider's to set"));
        } else if taints.iter().any(|other| other.key == *key && other.effect == *effect) {
            dropped.push(format!("taint {key}:{effect} is there twice"));
        } else {
            let value = (!value.is_empty()).then(|| value.clone());
            taints.push(Taint { key: key.clone(), value, effect: effect.clone(), time_added: None });
        }
    }
    taints
}

fn resources(field: &str, given: &[(String, String)], dropped: &mut Vec<String>) -> BTreeMap<String, Quantity> {
    let mut resources = BTreeMap::new();
    for (name, amount) in given {
        let native = matches!(name.as_str(), "cpu" | "memory" | "ephemeral-storage" | "pods");
        if !native && !name.starts_with("hugepages-") && !name.contains('/') || !is_qualified_name(name) {
            dropped.push(format!("{field}: {name:?} is not a resource that a node has"));
            continue;
        }
        match amount.parse::<Amount>() {
            // The API server refuses the whole node for one of these.
            Ok(parsed) if (name == "pods" || name.contains('/')) && !is_whole(parsed) => {
                dropped.push(format!("{field}: {name} {amount:?} is not a whole number"));
            }
            Ok(parsed) if parsed >= Amount::ZERO => drop(resources.insert(name.clone(), Quantity(amount.clone()))),
            Ok(_) => dropped.push(format!("{field}: {name} {amount:?} is negative")),
            Err(error) => dropped.push(format!("{field}: {name} {error}")),
        }
    }
    resources
}

fn is_whole(amount: Amount) -> bool {
    amount.units().to_string().parse() == Ok(amount)
}
