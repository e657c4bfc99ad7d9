//! What the operator has set, from the configuration file, the environment and the files of credentials.

use vk_sdk::OperatingSystem;

use crate::group::{LogAnalytics, Secret};

/// Everything that is set, with its defaults.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// From the host: the mark of what is this node's.
    pub(crate) owner: String,
    pub(crate) node_name: String,
    pub(crate) operating_system: OperatingSystem,
    pub(crate) subscription: String,
    pub(crate) resource_group: String,
    /// As the operator spells it.
    pub(crate) region: String,
    pub(crate) capacity: Capacity,
    pub(crate) identity: Identity,
    pub(crate) endpoints: Endpoints,
    /// With it, pods get private addresses in a subnet.
    pub(crate) network: Option<Network>,
    /// Whether pods with ports get a public address where they do not say so themselves.
    pub(crate) public_ip: bool,
    pub(crate) log_analytics: Option<LogAnalytics>,
    /// Whether groups in a subnet get the extension that tells what they use.
    pub(crate) realtime_metrics: bool,
    /// GPU SKUs of the region, as the operator lists them.
    pub(crate) gpu_skus: Vec<String>,
    /// Version of the API of container groups.
    pub(crate) api_version: String,
    pub(crate) user_agent: String,
}

/// What the node offers, as Kubernetes writes quantities.
#[derive(Debug, Clone)]
pub(crate) struct Capacity {
    pub(crate) cpu: String,
    pub(crate) memory: String,
    pub(crate) pods: String,
    pub(crate) gpu: Option<String>,
}

/// Who the provider is for Azure.
#[derive(Debug, Clone)]
pub(crate) enum Identity {
    ServicePrincipal {
        tenant: String,
        client_id: String,
        secret: Secret,
        version: TokenVersion,
    },
    /// Of the machine that vk-host runs on; `client_id` picks one of several.
    Managed {
        client_id: Option<String>,
    },
}

/// Which endpoint of the directory gives tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TokenVersion {
    V1,
    V2,
}

/// Where requests go: each an URL without a slash at its end.
#[derive(Debug, Clone)]
pub(crate) struct Endpoints {
    /// The directory, such as `https://login.microsoftonline.com`.
    pub(crate) directory: String,
    /// Azure Resource Manager, such as `https://management.azure.com`.
    pub(crate) resource_manager: String,
    /// The instance metadata service, such as `http://169.254.169.254`.
    pub(crate) metadata: String,
    /// Where a group's realtime figures are read, with `{ip}` for its address: `http://{ip}:18899`.
    pub(crate) realtime: String,
}

/// The subnet that pods are in.
#[derive(Debug, Clone)]
pub(crate) struct Network {
    pub(crate) subscription: String,
    pub(crate) resource_group: String,
    pub(crate) vnet: String,
    pub(crate) subnet: String,
    /// With it the subnet is made if it is not there.
    pub(crate) cidr: Option<String>,
    /// The cluster's name server, for pods with dnsPolicy ClusterFirst.
    pub(crate) dns: Option<String>,
    pub(crate) cluster_domain: String,
}
