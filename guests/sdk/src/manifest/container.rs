//! Containers.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::{RestartPolicy, VolumeMount, or_default};

/// A container of a pod.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Container {
    /// Its name, unique in the pod.
    pub name: String,
    /// Its image.
    pub image: String,
    /// Replaces the image's entry point where it is not empty.
    #[serde(deserialize_with = "or_default")]
    pub command: Vec<String>,
    /// Replaces the image's arguments where it is not empty.
    #[serde(deserialize_with = "or_default")]
    pub args: Vec<String>,
    /// Replaces the image's working directory.
    pub working_dir: Option<String>,
    /// Its environment.
    #[serde(deserialize_with = "or_default")]
    pub env: Vec<EnvVar>,
    /// The ports that it listens on.
    #[serde(deserialize_with = "or_default")]
    pub ports: Vec<Port>,
    /// What it needs.
    #[serde(deserialize_with = "or_default")]
    pub resources: Resources,
    /// Where its volumes are mounted.
    #[serde(deserialize_with = "or_default")]
    pub volume_mounts: Vec<VolumeMount>,
    /// On an init container, [`Always`](RestartPolicy::Always) makes it a sidecar.
    pub restart_policy: Option<RestartPolicy>,
    /// Restarts it when it fails.
    pub liveness_probe: Option<Probe>,
    /// Says whether it is ready.
    pub readiness_probe: Option<Probe>,
    /// Holds back the other probes until it succeeds.
    pub startup_probe: Option<Probe>,
    /// What is done when it has started, and before it stops, as it stands in the manifest.
    pub lifecycle: Option<Value>,
    /// Its security context, as it stands in the manifest.
    pub security_context: Option<Value>,
    /// When its image is pulled: `Always`, `IfNotPresent` or `Never`.
    pub image_pull_policy: Option<String>,
    /// Whether its input stays open.
    #[serde(deserialize_with = "or_default")]
    pub stdin: bool,
    /// Whether it has a terminal.
    #[serde(deserialize_with = "or_default")]
    pub tty: bool,
}

impl Container {
    /// Whether this init container is a sidecar: started in its turn and kept running.
    pub fn is_sidecar(&self) -> bool {
        self.restart_policy == Some(RestartPolicy::Always)
    }

    /// The number of a port that is given by number or by the name of one of the container's ports.
    pub fn port(&self, port: &PortRef) -> Option<u16> {
        match port {
            PortRef::Number(number) => Some(*number),
            PortRef::Name(name) => {
                let named = self.ports.iter().find(|port| port.name.as_ref() == Some(name));
                // A number may be written as text.
                named.map(|port| port.container_port).or_else(|| name.parse().ok())
            }
        }
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
        self.source("secretKeyRef").is_some()
    }

    /// The pod's field that the value comes from, such as `status.podIP`.
    pub fn field_path(&self) -> Option<&str> {
        self.source("fieldRef")?.get("fieldPath")?.as_str()
    }

    fn source(&self, kind: &str) -> Option<&Value> {
        self.value_from.as_ref()?.get(kind).filter(|source| !source.is_null())
    }
}

/// A port of a container.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Port {
    /// The number.
    pub container_port: u16,
    /// The node's port that leads to it.
    pub host_port: Option<u16>,
    /// `TCP` where it is not set, else `UDP` or `SCTP`.
    pub protocol: Option<String>,
    /// Its name.
    pub name: Option<String>,
}

/// What a container needs: quantities by name of the resource, as Kubernetes writes them. Read one with
/// [`Quantity::parse`](super::Quantity::parse).
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Resources {
    /// At least this.
    #[serde(deserialize_with = "or_default")]
    pub requests: BTreeMap<String, String>,
    /// At most this.
    #[serde(deserialize_with = "or_default")]
    pub limits: BTreeMap<String, String>,
}

/// A check of a container. Kubernetes accepts exactly one of its ways.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Probe {
    /// Runs a command: good if it exits 0.
    pub exec: Option<ExecProbe>,
    /// Makes a request: good if the answer is a success.
    pub http_get: Option<HttpGetProbe>,
    /// Opens a connection, as it stands in the manifest.
    pub tcp_socket: Option<Value>,
    /// Asks by gRPC, as it stands in the manifest.
    pub grpc: Option<Value>,
    /// Seconds from the container's start to the first check.
    pub initial_delay_seconds: Option<u32>,
    /// Seconds between checks.
    pub period_seconds: Option<u32>,
    /// Seconds that a check may take.
    pub timeout_seconds: Option<u32>,
    /// How many in a row make it good.
    pub success_threshold: Option<u32>,
    /// How many in a row make it bad.
    pub failure_threshold: Option<u32>,
}

/// A probe that runs a command.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ExecProbe {
    /// The command.
    #[serde(deserialize_with = "or_default")]
    pub command: Vec<String>,
}

/// A probe that makes a request.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct HttpGetProbe {
    /// Of whom; of the pod where it is not set.
    pub host: Option<String>,
    /// The port.
    pub port: PortRef,
    /// The path.
    pub path: Option<String>,
    /// `HTTP` or `HTTPS`.
    pub scheme: Option<String>,
    /// What is sent along.
    #[serde(deserialize_with = "or_default")]
    pub http_headers: Vec<HttpHeader>,
}

/// A header of a request.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct HttpHeader {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: String,
}

/// A port by number or by name; see [`Container::port`].
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum PortRef {
    /// The number.
    Number(u16),
    /// The name of a port of the container.
    Name(String),
}

impl Default for PortRef {
    fn default() -> Self {
        Self::Name(String::new())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn container(json: &str) -> Container {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn probes_are_read_with_ports_by_number_or_name() {
        let container = container(
            r#"{"ports":[{"name":"web","containerPort":80,"hostPort":80,"protocol":"UDP"}],
                "livenessProbe":{"httpGet":{"port":"web","path":"/","scheme":"HTTP","httpHeaders":[{"name":"a","value":"b"}]},
                "initialDelaySeconds":1,"periodSeconds":2,"timeoutSeconds":3,"successThreshold":4,"failureThreshold":5},
                "readinessProbe":{"exec":{"command":["a"]}},"startupProbe":{"tcpSocket":{"port":80}},
                "lifecycle":{"preStop":{}}}"#,
        );
        assert_eq!(container.ports[0].host_port, Some(80));
        let liveness = container.liveness_probe.as_ref().unwrap();
        let http = liveness.http_get.as_ref().unwrap();
        assert_eq!((http.path.as_deref(), http.http_headers[0].value.as_str()), (Some("/"), "b"));
        let numbers = [
            liveness.initial_delay_seconds,
            liveness.period_seconds,
            liveness.timeout_seconds,
            liveness.success_threshold,
            liveness.failure_threshold,
        ];
        assert_eq!(numbers, [Some(1), Some(2), Some(3), Some(4), Some(5)]);
        assert_eq!(container.readiness_probe.as_ref().unwrap().exec.as_ref().unwrap().command, ["a"]);
        assert!(container.startup_probe.as_ref().unwrap().tcp_socket.is_some() && container.lifecycle.is_some());
        for (port, number) in [
            (PortRef::Name("web".into()), Some(80)),
            (PortRef::Name("81".into()), Some(81)),
            (PortRef::Number(82), Some(82)),
            (PortRef::Name("none".into()), None),
        ] {
            assert_eq!(container.port(&port), number, "{port:?}");
        }
    }

    #[test]
    fn the_source_of_a_variable_is_told() {
        let container = container(
            r#"{"env":[{"name":"A","valueFrom":{"fieldRef":{"fieldPath":"status.podIP"}}},
                {"name":"B","value":"b","valueFrom":{"secretKeyRef":{"name":"s","key":"k"},"fieldRef":null}}]}"#,
        );
        let [field, secret] = &container.env[..] else { panic!("two variables") };
        assert_eq!((field.field_path(), field.is_secret()), (Some("status.podIP"), false));
        assert_eq!((secret.field_path(), secret.is_secret()), (None, true));
    }
}
