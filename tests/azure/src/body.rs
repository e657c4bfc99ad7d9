//! The body of a `PUT` of a container group, as far as it is checked and lived by.

mod shown;

use std::collections::BTreeMap;

use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;

pub(crate) use shown::{without_secrets, without_views};

use crate::error::ArmError;

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Body {
    // Not IgnoredAny, which serde_ignored takes for a member that nobody knows.
    /// What only the service writes is ignored where a client sends it.
    #[serde(rename = "id")]
    _id: Value,
    #[serde(rename = "name")]
    _name: Value,
    #[serde(rename = "type")]
    _kind: Value,
    pub(crate) location: String,
    pub(crate) tags: BTreeMap<String, String>,
    #[serde(rename = "zones")]
    _zones: Vec<String>,
    pub(crate) identity: Option<Identity>,
    pub(crate) properties: Properties,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Identity {
    #[serde(rename = "type")]
    pub(crate) kind: String,
    #[serde(rename = "principalId")]
    _principal_id: Value,
    #[serde(rename = "tenantId")]
    _tenant_id: Value,
    #[serde(rename = "userAssignedIdentities")]
    _user_assigned: BTreeMap<String, Value>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Properties {
    #[serde(rename = "provisioningState")]
    _provisioning_state: Value,
    #[serde(rename = "instanceView")]
    _instance_view: Value,
    pub(crate) containers: Vec<Container>,
    pub(crate) init_containers: Vec<InitContainer>,
    pub(crate) image_registry_credentials: Vec<RegistryCredential>,
    pub(crate) restart_policy: RestartPolicy,
    pub(crate) ip_address: Option<IpAddress>,
    pub(crate) os_type: String,
    pub(crate) volumes: Vec<Volume>,
    pub(crate) diagnostics: Option<Diagnostics>,
    pub(crate) subnet_ids: Vec<SubnetId>,
    pub(crate) dns_config: Option<DnsConfig>,
    pub(crate) sku: Option<String>,
    pub(crate) priority: Option<String>,
    pub(crate) confidential_compute_properties: Option<ConfidentialComputeProperties>,
    #[serde(rename = "encryptionProperties")]
    _encryption: Option<Value>,
    pub(crate) extensions: Vec<Extension>,
}

/// What happens when a container ends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub(crate) enum RestartPolicy {
    #[default]
    Always,
    OnFailure,
    Never,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Container {
    pub(crate) name: String,
    pub(crate) properties: ContainerProperties,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct ContainerProperties {
    #[serde(rename = "instanceView")]
    _instance_view: Value,
    pub(crate) image: String,
    pub(crate) command: Vec<String>,
    pub(crate) ports: Vec<Port>,
    pub(crate) environment_variables: Vec<Variable>,
    pub(crate) resources: Resources,
    pub(crate) volume_mounts: Vec<Mount>,
    pub(crate) liveness_probe: Option<Probe>,
    pub(crate) readiness_probe: Option<Probe>,
    pub(crate) security_context: Option<SecurityContext>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct InitContainer {
    pub(crate) name: String,
    pub(crate) properties: InitProperties,
}

/// Init containers have neither ports nor resources nor probes.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct InitProperties {
    #[serde(rename = "instanceView")]
    _instance_view: Value,
    pub(crate) image: String,
    pub(crate) command: Vec<String>,
    pub(crate) environment_variables: Vec<Variable>,
    pub(crate) volume_mounts: Vec<Mount>,
    #[serde(rename = "securityContext")]
    _security_context: Option<SecurityContext>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Port {
    pub(crate) port: i64,
    #[serde(default)]
    pub(crate) protocol: Protocol,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Deserialize)]
pub(crate) enum Protocol {
    #[default]
    #[serde(rename = "TCP")]
    Tcp,
    #[serde(rename = "UDP")]
    Udp,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Variable {
    pub(crate) name: String,
    pub(crate) value: Option<String>,
    pub(crate) secure_value: Option<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Resources {
    pub(crate) requests: Option<Amounts>,
    pub(crate) limits: Option<Amounts>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Amounts {
    pub(crate) cpu: Option<f64>,
    #[serde(rename = "memoryInGB")]
    pub(crate) memory: Option<f64>,
    pub(crate) gpu: Option<Gpu>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Gpu {
    pub(crate) count: u32,
    pub(crate) sku: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Mount {
    pub(crate) name: String,
    pub(crate) mount_path: String,
    pub(crate) read_only: bool,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Probe {
    pub(crate) exec: Option<ExecProbe>,
    pub(crate) http_get: Option<HttpGet>,
    pub(crate) initial_delay_seconds: Option<i64>,
    pub(crate) period_seconds: Option<i64>,
    pub(crate) failure_threshold: Option<i64>,
    pub(crate) success_threshold: Option<i64>,
    pub(crate) timeout_seconds: Option<i64>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct ExecProbe {
    pub(crate) command: Vec<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct HttpGet {
    pub(crate) port: Option<i64>,
    pub(crate) path: Option<String>,
    pub(crate) scheme: Option<String>,
    #[serde(rename = "httpHeaders")]
    _headers: Vec<HttpHeader>,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct HttpHeader {
    #[serde(rename = "name")]
    _name: String,
    #[serde(rename = "value")]
    _value: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct SecurityContext {
    #[serde(rename = "privileged")]
    _privileged: bool,
    #[serde(rename = "allowPrivilegeEscalation")]
    _allow_privilege_escalation: bool,
    #[serde(rename = "capabilities")]
    _capabilities: Value,
    #[serde(rename = "runAsUser")]
    _run_as_user: Option<i64>,
    #[serde(rename = "runAsGroup")]
    _run_as_group: Option<i64>,
    #[serde(rename = "seccompProfile")]
    _seccomp_profile: Option<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct RegistryCredential {
    pub(crate) server: String,
    pub(crate) username: Option<String>,
    pub(crate) password: Option<String>,
    pub(crate) identity: Option<String>,
    #[serde(rename = "identityUrl")]
    _identity_url: Option<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct IpAddress {
    pub(crate) ports: Vec<Port>,
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) dns_name_label: Option<String>,
    #[serde(rename = "autoGeneratedDomainNameLabelScope")]
    _label_scope: Option<String>,
    #[serde(rename = "ip")]
    _ip: Value,
    #[serde(rename = "fqdn")]
    _fqdn: Value,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Volume {
    pub(crate) name: String,
    pub(crate) azure_file: Option<AzureFile>,
    pub(crate) empty_dir: Option<EmptyDir>,
    /// Names of files and their contents in base64.
    pub(crate) secret: Option<BTreeMap<String, String>>,
    pub(crate) git_repo: Option<GitRepo>,
}

#[derive(Debug, Clone, Default, Deserialize)]
pub(crate) struct EmptyDir {}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct AzureFile {
    pub(crate) share_name: String,
    pub(crate) read_only: bool,
    pub(crate) storage_account_name: String,
    pub(crate) storage_account_key: Option<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct GitRepo {
    pub(crate) repository: String,
    pub(crate) directory: Option<String>,
    pub(crate) revision: Option<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Diagnostics {
    pub(crate) log_analytics: Option<LogAnalytics>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct LogAnalytics {
    pub(crate) workspace_id: String,
    pub(crate) workspace_key: Option<String>,
    pub(crate) log_type: Option<String>,
    #[serde(rename = "metadata")]
    _metadata: BTreeMap<String, String>,
    #[serde(rename = "workspaceResourceId")]
    _workspace_resource_id: Option<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct SubnetId {
    pub(crate) id: String,
    #[serde(rename = "name")]
    _name: Option<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct DnsConfig {
    pub(crate) name_servers: Vec<String>,
    #[serde(rename = "searchDomains")]
    _search_domains: Option<String>,
    #[serde(rename = "options")]
    _options: Option<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct ConfidentialComputeProperties {
    pub(crate) cce_policy: Option<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Extension {
    pub(crate) name: String,
    pub(crate) properties: ExtensionProperties,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct ExtensionProperties {
    pub(crate) extension_type: String,
    #[serde(rename = "version")]
    _version: Option<String>,
    #[serde(rename = "settings")]
    _settings: Value,
    #[serde(rename = "protectedSettings")]
    _protected_settings: Value,
}

impl Body {
    /// How many cores its containers ask for.
    pub(crate) fn cores(&self) -> f64 {
        let requests = self.properties.containers.iter().filter_map(|one| one.properties.resources.requests.as_ref());
        requests.filter_map(|amounts| amounts.cpu).sum()
    }

    /// How much memory its containers ask for, in GB.
    pub(crate) fn memory(&self) -> f64 {
        let requests = self.properties.containers.iter().filter_map(|one| one.properties.resources.requests.as_ref());
        requests.filter_map(|amounts| amounts.memory).sum()
    }
}

/// Reads a body. `null` is the same as a member that is left out. With `strict`, a member that the service does not know
/// is an error.
pub(crate) fn read(sent: &Value, strict: bool) -> Result<Body, ArmError> {
    read_as(sent, strict, "ContainerGroup")
}

/// Reads what is sent as an object of a type. If it is strict, it refuses members that the type does not have.
pub(crate) fn read_as<T: DeserializeOwned>(sent: &Value, strict: bool, kind: &str) -> Result<T, ArmError> {
    let mut unknown = Vec::new();
    let body = serde_ignored::deserialize(sent, |path| unknown.push(path.to_string())).map_err(invalid)?;
    match unknown.first() {
        Some(path) if strict => Err(invalid(format!("Could not find member '{path}' on object of type '{kind}'."))),
        _ => Ok(body),
    }
}

pub(crate) fn invalid(problem: impl std::fmt::Display) -> ArmError {
    let message = format!("The request content was invalid and could not be deserialized: '{problem}'.");
    ArmError::bad_request("InvalidRequestContent", message)
}

/// Removes members that are `null`, which the service does not tell from those that are left out.
pub(crate) fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(members) => members
            .into_iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(key, value)| (key, without_nulls(value)))
            .collect(),
        Value::Array(items) => items.into_iter().map(without_nulls).collect(),
        other => other,
    }
}
