//! What a pod asks for: the part of the core/v1 Pod that most providers need, typed. Read anything else with
//! [`parse`] and a type of your own. [`Quantity`] reads amounts of resources, [`Refusals`] collects what a backend
//! cannot honour.

mod container;
mod quantity;
mod refusals;
mod volume;

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, de::DeserializeOwned};
use serde_json::Value;

pub use container::*;
pub use quantity::Quantity;
pub use refusals::{IGNORE, Refusals};
pub use volume::{Volume, VolumeMount};

use crate::{Error, Result};

/// What is `null` is not set.
fn or_default<'de, T, D>(deserializer: D) -> std::result::Result<T, D::Error>
where
    T: Default + Deserialize<'de>,
    D: Deserializer<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// Reads a pod's manifest, or any JSON document of the contract, as a type.
///
/// # Errors
///
/// [`invalid`](Error::invalid), saying what was expected where.
pub fn parse<T: DeserializeOwned>(json: &str) -> Result<T> {
    read("the document", json)
}

fn read<T: DeserializeOwned>(what: &str, json: &str) -> Result<T> {
    serde_json::from_str(json).map_err(|error| Error::invalid(format!("{what}: {error}")))
}

/// A pod. Every reference in it is resolved by the host.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Manifest {
    /// Its metadata.
    pub metadata: Metadata,
    /// What is to run.
    pub spec: Spec,
}

impl Manifest {
    /// Reads the manifest of a pod.
    ///
    /// # Errors
    ///
    /// Those of [`parse`].
    pub fn parse(json: &str) -> Result<Self> {
        read("the pod's manifest", json)
    }

    /// The value of an annotation.
    pub fn annotation(&self, key: &str) -> Option<&str> {
        self.metadata.annotations.get(key).map(String::as_str)
    }
}

/// The metadata of a pod.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Metadata {
    /// The pod's name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Its uid.
    pub uid: String,
    /// Its labels.
    #[serde(deserialize_with = "or_default")]
    pub labels: BTreeMap<String, String>,
    /// Its annotations.
    #[serde(deserialize_with = "or_default")]
    pub annotations: BTreeMap<String, String>,
    /// When it was made, such as `2023-04-12T12:00:00Z`.
    pub creation_timestamp: Option<String>,
}

/// The spec of a pod.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Spec {
    /// Init containers and sidecars, in the order in which they start.
    #[serde(deserialize_with = "or_default")]
    pub init_containers: Vec<Container>,
    /// The containers.
    #[serde(deserialize_with = "or_default")]
    pub containers: Vec<Container>,
    /// What happens when a container ends.
    #[serde(deserialize_with = "or_default")]
    pub restart_policy: RestartPolicy,
    /// How long the pod may take to stop, in seconds; 30 where it is not set.
    pub termination_grace_period_seconds: Option<u64>,
    /// How long the pod may be active, in seconds. The host sees to it.
    pub active_deadline_seconds: Option<u64>,
    /// The volumes as they stand in the manifest. Their contents are in [`Pod::volumes`](crate::Pod::volumes).
    #[serde(deserialize_with = "or_default")]
    pub volumes: Vec<Volume>,
    /// The node that it is for.
    pub node_name: Option<String>,
    /// The account that it acts as.
    pub service_account_name: Option<String>,
    /// Its host name; its own name where it is not set.
    pub hostname: Option<String>,
    /// The domain of its host name.
    pub subdomain: Option<String>,
    /// Whether it is in the node's network.
    #[serde(deserialize_with = "or_default")]
    pub host_network: bool,
    /// Whether it sees the node's processes.
    #[serde(rename = "hostPID", deserialize_with = "or_default")]
    pub host_pid: bool,
    /// Whether it is in the node's namespace of inter-process communication.
    #[serde(rename = "hostIPC", deserialize_with = "or_default")]
    pub host_ipc: bool,
    /// Whether its containers see each other's processes.
    #[serde(deserialize_with = "or_default")]
    pub share_process_namespace: bool,
    /// Names that its containers resolve to addresses.
    #[serde(deserialize_with = "or_default")]
    pub host_aliases: Vec<HostAlias>,
    /// Where its containers' name servers come from.
    #[serde(deserialize_with = "or_default")]
    pub dns_policy: DnsPolicy,
    /// What is added to what the policy gives.
    pub dns_config: Option<DnsConfig>,
    /// The pod's security context, as it stands in the manifest.
    pub security_context: Option<Value>,
}

/// Names for an address.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct HostAlias {
    /// The address.
    pub ip: String,
    /// Its names.
    #[serde(deserialize_with = "or_default")]
    pub hostnames: Vec<String>,
}

/// Where name servers come from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub enum DnsPolicy {
    /// From the cluster.
    #[default]
    ClusterFirst,
    /// From the cluster, also in the node's network.
    ClusterFirstWithHostNet,
    /// From where the pod runs.
    Default,
    /// From the pod's own [`DnsConfig`] alone.
    None,
}

/// A pod's own wishes on the resolving of names.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct DnsConfig {
    /// Addresses of name servers.
    #[serde(deserialize_with = "or_default")]
    pub nameservers: Vec<String>,
    /// Domains that are searched.
    #[serde(deserialize_with = "or_default")]
    pub searches: Vec<String>,
    /// Options of the resolver.
    #[serde(deserialize_with = "or_default")]
    pub options: Vec<DnsOption>,
}

/// An option of the resolver: `name` or `name:value`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct DnsOption {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: Option<String>,
}

/// What happens when a container ends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub enum RestartPolicy {
    /// It starts again.
    #[default]
    Always,
    /// It starts again if its exit code is not 0.
    OnFailure,
    /// It stays as it is.
    Never,
}

impl RestartPolicy {
    /// As Kubernetes writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Always => "Always",
            Self::OnFailure => "OnFailure",
            Self::Never => "Never",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_is_read_with_what_it_does_not_set_as_kubernetes_defaults_it() {
        let manifest = Manifest::parse(
            r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a","namespace":"d","uid":"u","annotations":{"k":"v"}},
                "spec":{"initContainers":[{"name":"s","image":"i","restartPolicy":"Always"},{"name":"t"}],
                "containers":[{"name":"c","image":"nginx","resources":{"limits":{"cpu":"1"}},"ports":[{"containerPort":80}],
                "env":[{"name":"A","value":"x","valueFrom":{"secretKeyRef":{"name":"s","key":"k"}}},{"name":"B","value":"y"}]}]}}"#,
        )
        .unwrap();
        assert_eq!(manifest.annotation("k"), Some("v"));
        assert_eq!(manifest.spec.restart_policy, RestartPolicy::Always);
        assert_eq!(manifest.spec.init_containers.iter().map(Container::is_sidecar).collect::<Vec<_>>(), [true, false]);
        let container = &manifest.spec.containers[0];
        assert_eq!(container.resources.limits["cpu"], "1");
        assert_eq!(container.ports[0].container_port, 80);
        assert_eq!(container.env.iter().map(EnvVar::is_secret).collect::<Vec<_>>(), [true, false]);
    }

    #[test]
    fn what_is_null_is_not_set() {
        let manifest = Manifest::parse(
            r#"{"metadata":{"creationTimestamp":null,"labels":null,"annotations":null},"spec":{"containers":[{"env":null,
                "ports":null,"resources":null,"volumeMounts":null,"command":null,"livenessProbe":null,"stdin":null}],
                "initContainers":null,"volumes":null,"hostNetwork":null,"hostPID":null,"dnsPolicy":null,"dnsConfig":null,
                "restartPolicy":null,"nodeName":null}}"#,
        )
        .unwrap();
        let spec = manifest.spec;
        assert!(manifest.metadata.creation_timestamp.is_none() && manifest.metadata.annotations.is_empty());
        assert!(spec.volumes.is_empty() && !spec.host_network && !spec.host_pid && spec.dns_config.is_none());
        assert_eq!((spec.dns_policy, spec.restart_policy.as_str()), (DnsPolicy::ClusterFirst, "Always"));
        assert!(spec.containers[0].env.is_empty() && spec.containers[0].liveness_probe.is_none());
    }

    #[test]
    fn what_a_pod_wishes_of_its_node_and_of_names_is_read() {
        let manifest = Manifest::parse(
            r#"{"metadata":{"creationTimestamp":"2023-04-12T12:00:00Z"},"spec":{"hostPID":true,"hostIPC":true,
                "hostAliases":[{"ip":"1.2.3.4","hostnames":["a"]}],"dnsPolicy":"None","dnsConfig":{"nameservers":["1.1.1.1"],
                "options":[{"name":"ndots","value":"2"}]},"securityContext":{"runAsUser":1},"serviceAccountName":"s"}}"#,
        )
        .unwrap();
        let spec = manifest.spec;
        assert_eq!(manifest.metadata.creation_timestamp.as_deref(), Some("2023-04-12T12:00:00Z"));
        assert!(spec.host_pid && spec.host_ipc && !spec.host_network);
        assert_eq!(spec.host_aliases, [HostAlias { ip: "1.2.3.4".into(), hostnames: vec!["a".into()] }]);
        let dns = spec.dns_config.unwrap();
        assert_eq!((spec.dns_policy, &dns.nameservers[..]), (DnsPolicy::None, &["1.1.1.1".to_owned()][..]));
        assert_eq!(dns.options, [DnsOption { name: "ndots".into(), value: Some("2".into()) }]);
        assert_eq!(spec.security_context, Some(serde_json::json!({"runAsUser": 1})));
        assert_eq!(spec.service_account_name.as_deref(), Some("s"));
    }

    #[test]
    fn a_manifest_that_is_none_is_invalid() {
        let error = Manifest::parse(r#"{"spec":{"containers":5}}"#).unwrap_err();
        assert!(error.message.starts_with("the pod's manifest: invalid type: integer `5`"), "{}", error.message);
        let error = parse::<u32>("[]").unwrap_err();
        assert!(error.message.starts_with("the document: invalid type: sequence"), "{}", error.message);
    }
}
