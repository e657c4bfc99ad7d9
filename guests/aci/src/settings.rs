//! What the operator has set, from the configuration file, the environment and the files of credentials.
//!
//! ```text
//!   where and what:     environment > AKS file > configuration file > default
//!   who, each field:    environment > AKS file, or without one the credentials file > configuration file
//!   endpoints:          credentials file > configuration file > the cloud's
//! ```
//!
//! A variable that is empty is not set. Errors name the key, the variable or the file, and never what a secret is.

mod analytics;
mod capacity;
mod cloud;
mod credentials;
mod file;
mod identity;
mod network;
mod region;
mod surroundings;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

use vk_sdk::{Error, OperatingSystem, Result, Startup};

use self::{
    credentials::Credentials,
    file::File,
    surroundings::{Surroundings, Wasi},
};
use crate::group::{LogAnalytics, Secret};

/// The version of the API of container groups that this provider is written for.
const API_VERSION: &str = "2023-05-01";
const USER_AGENT: &str = concat!("vk-host-aci/", env!("CARGO_PKG_VERSION"));

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
    /// Whether what other groups use is asked of Azure Monitor, at two requests a minute and pod.
    pub(crate) monitor_metrics: bool,
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

impl Settings {
    /// Reads what is set, from this component's surroundings.
    pub(crate) fn read(startup: &Startup) -> Result<Self> {
        Self::read_in(startup, &Wasi)
    }

    fn read_in(startup: &Startup, surroundings: &dyn Surroundings) -> Result<Self> {
        let file: File = vk_sdk::settings(startup)?;
        let credentials = Credentials::read(&file, surroundings)?;
        let variable = |name| surroundings.variable(name);

        let subscription = variable("AZURE_SUBSCRIPTION_ID")
            .or(credentials.subscription.clone())
            .or_else(|| given(&file.subscription_id))
            .ok_or_else(|| missing("subscription", "AZURE_SUBSCRIPTION_ID", "SubscriptionID"))?;
        let resource_group = variable("ACI_RESOURCE_GROUP")
            .or(credentials.resource_group.clone())
            .or_else(|| given(&file.resource_group))
            .ok_or_else(|| missing("resource group", "ACI_RESOURCE_GROUP", "ResourceGroup"))?;
        let region = variable("ACI_REGION")
            .or(credentials.region.clone())
            .or_else(|| given(&file.region))
            .ok_or_else(|| missing("region", "ACI_REGION", "Region"))?;
        region::check(&region);

        Ok(Self {
            owner: startup.owner.clone(),
            node_name: startup.node_name.clone(),
            operating_system: operating_system(startup.operating_system, file.operating_system.as_deref())?,
            capacity: capacity::read(&file, surroundings)?,
            identity: identity::read(&file, &credentials, surroundings)?,
            endpoints: cloud::endpoints(&file, &credentials, surroundings)?,
            network: network::read(&file, &credentials, surroundings, &subscription, &resource_group)?,
            public_ip: file.public_ip.unwrap_or(true),
            log_analytics: analytics::read(&file, surroundings, &startup.node_name)?,
            realtime_metrics: match variable("ENABLE_REAL_TIME_METRICS") {
                Some(value) => value == "true",
                None => file.realtime_metrics.unwrap_or(false),
            },
            monitor_metrics: file.monitor_metrics.unwrap_or(false),
            gpu_skus: file.gpu_skus.clone().unwrap_or_default(),
            api_version: given(&file.api_version).unwrap_or_else(|| API_VERSION.to_owned()),
            user_agent: match variable("ACI_EXTRA_USER_AGENT").or_else(|| given(&file.extra_user_agent)) {
                Some(extra) => user_agent(&extra)?,
                None => USER_AGENT.to_owned(),
            },
            subscription,
            resource_group,
            region,
        })
    }
}

/// What is empty is not set.
fn given(text: &Option<String>) -> Option<String> {
    text.clone().filter(|text| !text.is_empty())
}

fn missing(what: &str, variable: &str, key: &str) -> Error {
    Error::invalid(format!(
        "the {what} is not set: set {variable} (and let sandbox.env grant it), or {key} in the configuration file"
    ))
}

/// The host's flag and the file must not contradict each other.
fn operating_system(flag: Option<OperatingSystem>, key: Option<&str>) -> Result<OperatingSystem> {
    let Some(key) = key.filter(|key| !key.is_empty()) else { return Ok(flag.unwrap_or(OperatingSystem::Linux)) };
    let set = match key.to_ascii_lowercase().as_str() {
        "linux" => OperatingSystem::Linux,
        "windows" => OperatingSystem::Windows,
        _ => return Err(Error::invalid(format!("OperatingSystem: {key:?} is neither Linux nor Windows"))),
    };
    match flag {
        Some(flag) if flag != set => {
            let flag = flag.as_str();
            Err(Error::invalid(format!(
                "OperatingSystem is {key:?}, but --os says {flag}: make them the same, or leave one out"
            )))
        }
        _ => Ok(set),
    }
}

fn user_agent(extra: &str) -> Result<String> {
    if extra.chars().any(|char| !matches!(char, ' '..='~')) {
        return Err(Error::invalid(
            "ACI_EXTRA_USER_AGENT or ExtraUserAgent: only printable ASCII can be sent".to_owned(),
        ));
    }
    Ok(format!("{USER_AGENT} {extra}"))
}
