//! The configuration file.

use serde::Deserialize;

/// Its keys, in their classic spelling. None holds a secret: those are in the environment or in files of their own.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct File {
    pub(super) region: Option<String>,
    pub(super) resource_group: Option<String>,
    pub(super) operating_system: Option<String>,
    #[serde(rename = "CPU")]
    pub(super) cpu: Option<Quantity>,
    pub(super) memory: Option<Quantity>,
    pub(super) pods: Option<Quantity>,
    #[serde(rename = "GPU")]
    pub(super) gpu: Option<Quantity>,
    #[serde(rename = "GPUSKUs")]
    pub(super) gpu_skus: Option<Vec<String>>,

    pub(super) auth_location: Option<String>,
    #[serde(rename = "AKSCredentialLocation")]
    pub(super) aks_credential_location: Option<String>,
    #[serde(rename = "SubscriptionID")]
    pub(super) subscription_id: Option<String>,
    #[serde(rename = "TenantID")]
    pub(super) tenant_id: Option<String>,
    #[serde(rename = "ClientID")]
    pub(super) client_id: Option<String>,
    #[serde(rename = "UserIdentityClientID")]
    pub(super) user_identity_client_id: Option<String>,
    /// The machine's own identity, if none is named.
    pub(super) managed_identity: Option<bool>,
    pub(super) token_version: Option<String>,

    pub(super) cloud: Option<String>,
    pub(super) directory_endpoint: Option<String>,
    pub(super) resource_manager_endpoint: Option<String>,
    pub(super) metadata_endpoint: Option<String>,
    pub(super) realtime_endpoint: Option<String>,
    #[serde(rename = "APIVersion")]
    pub(super) api_version: Option<String>,
    pub(super) extra_user_agent: Option<String>,

    #[serde(rename = "VNetSubscriptionID")]
    pub(super) vnet_subscription_id: Option<String>,
    #[serde(rename = "VNetResourceGroup")]
    pub(super) vnet_resource_group: Option<String>,
    #[serde(rename = "VNetName")]
    pub(super) vnet_name: Option<String>,
    pub(super) subnet_name: Option<String>,
    #[serde(rename = "SubnetCIDR")]
    pub(super) subnet_cidr: Option<String>,
    #[serde(rename = "KubeDNSIP")]
    pub(super) kube_dns_ip: Option<String>,
    pub(super) cluster_domain: Option<String>,
    #[serde(rename = "PublicIP")]
    pub(super) public_ip: Option<bool>,
    pub(super) realtime_metrics: Option<bool>,
    pub(super) monitor_metrics: Option<bool>,

    pub(super) log_analytics_auth_location: Option<String>,
    #[serde(rename = "ClusterResourceID")]
    pub(super) cluster_resource_id: Option<String>,
}

/// In TOML, `20` or `"20"`.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged, expecting = "a quantity such as 20 or \"100Gi\"")]
pub(super) enum Quantity {
    Whole(u64),
    Decimal(f64),
    Text(String),
}

impl std::fmt::Display for Quantity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Whole(number) => number.fmt(f),
            Self::Decimal(number) => number.fmt(f),
            Self::Text(text) => text.fmt(f),
        }
    }
}
