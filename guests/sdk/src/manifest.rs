//! What a pod asks for: the part of the core/v1 Pod that most providers need, typed. Read anything else with
//! [`parse`] and a type of your own.

use std::collections::BTreeMap;

use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{Error, Result};

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
#[serde(default)]
pub struct Metadata {
    /// The pod's name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Its uid.
    pub uid: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its annotations.
    pub annotations: BTreeMap<String, String>,
}

/// The spec of a pod.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Spec {
    /// Init containers and sidecars, in the order in which they start.
    pub init_containers: Vec<Container>,
    /// The containers.
    pub containers: Vec<Container>,
    /// What happens when a container ends.
    pub restart_policy: RestartPolicy,
    /// How long the pod may take to stop, in seconds; 30 where it is not set.
    pub termination_grace_period_seconds: Option<u64>,
    /// The volumes, as they stand in the manifest: `{"name": …, KIND: {…}}`. The contents are in
    /// [`Pod::volumes`](crate::Pod::volumes).
    pub volumes: Vec<Value>,
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

/// A container of a pod.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Container {
    /// Its name, unique in the pod.
    pub name: String,
    /// Its image.
    pub image: String,
    /// Replaces the image's entry point where it is not empty.
    pub command: Vec<String>,
    /// Replaces the image's arguments where it is not empty.
    pub args: Vec<String>,
    /// Replaces the image's working directory.
    pub working_dir: Option<String>,
    /// Its environment.
    pub env: Vec<EnvVar>,
    /// The ports that it listens on.
    pub ports: Vec<Port>,
    /// What it needs.
    pub resources: Resources,
    /// Where its volumes are mounted.
    pub volume_mounts: Vec<VolumeMount>,
    /// On an init container, [`Always`](RestartPolicy::Always) makes it a sidecar.
    pub restart_policy: Option<RestartPolicy>,
}

impl Container {
    /// Whether this init container is a sidecar: started in its turn and kept running.
    pub fn is_sidecar(&self) -> bool {
        self.restart_policy == Some(RestartPolicy::Always)
    }
}

/// An environment variable.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct EnvVar {
    /// Its name.
    pub name: String,
    /// Its value, resolved, save for fields that only the provider knows: `status.podIP` and `status.podIPs`.
    pub value: Option<String>,
    /// Where the value comes from; `secretKeyRef` tells a secret from a plain value.
    pub value_from: Option<Value>,
}

impl EnvVar {
    /// Whether the value comes from a secret.
    pub fn is_secret(&self) -> bool {
        self.value_from.as_ref().is_some_and(|source| source.get("secretKeyRef").is_some())
    }
}

/// A port of a container.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Port {
    /// The number.
    pub container_port: u16,
    /// `TCP` where it is not set, else `UDP` or `SCTP`.
    pub protocol: Option<String>,
    /// Its name.
    pub name: Option<String>,
}

/// What a container needs: quantities by name of the resource, as Kubernetes writes them.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Resources {
    /// At least this.
    pub requests: BTreeMap<String, String>,
    /// At most this.
    pub limits: BTreeMap<String, String>,
}

/// Where a volume is mounted.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct VolumeMount {
    /// The volume's name.
    pub name: String,
    /// Where in the container.
    pub mount_path: String,
    /// Which part of the volume.
    pub sub_path: Option<String>,
    /// Whether it may not be written.
    pub read_only: bool,
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
    fn a_manifest_that_is_none_is_invalid() {
        let error = Manifest::parse(r#"{"spec":{"containers":5}}"#).unwrap_err();
        assert!(error.message.starts_with("the pod's manifest: invalid type: integer `5`"), "{}", error.message);
        let error = parse::<u32>("[]").unwrap_err();
        assert!(error.message.starts_with("the document: invalid type: sequence"), "{}", error.message);
    }
}
