//! Pods as tests want them, and what tests ask of objects.

use anyhow::{Context as _, Result};
use k8s_openapi::api::core::v1::{Node, NodeCondition, Pod};
use kube::ResourceExt as _;
use serde_json::{Map, Value, json};

/// A pod to be made: bound to a node, without a token, with a grace of five seconds, and one container `main`.
#[derive(Debug, Clone)]
pub struct PodBuilder(Value);

impl PodBuilder {
    pub(crate) fn new(name: &str, node: &str) -> Self {
        Self(json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "labels": {}, "annotations": {}},
            "spec": {
                "nodeName": node,
                "automountServiceAccountToken": false,
                "terminationGracePeriodSeconds": 5,
                "containers": [{"name": "main", "image": "registry.example.com/main:1"}],
            },
        }))
    }

    /// Asks the mock for something: the annotation `mock.vk-host.dev/…`.
    pub fn asks(self, what: &str, value: &str) -> Self {
        self.annotation(&format!("mock.vk-host.dev/{what}"), value)
    }

    /// An annotation.
    pub fn annotation(self, key: &str, value: &str) -> Self {
        self.merge("/metadata/annotations", json!({ key: value }))
    }

    /// A label.
    pub fn label(self, key: &str, value: &str) -> Self {
        self.merge("/metadata/labels", json!({ key: value }))
    }

    /// Fields of the spec, in place of those that are there.
    pub fn spec(self, fields: Value) -> Self {
        self.merge("/spec", fields)
    }

    /// Fields of the metadata, in place of those that are there.
    pub fn metadata(self, fields: Value) -> Self {
        self.merge("/metadata", fields)
    }

    /// A volume, mounted by the container: changes of a volume that nobody mounts concern nobody.
    pub fn mounts(mut self, name: &str, source: Value) -> Self {
        let mut volume = json!({"name": name});
        if let (Some(volume), Value::Object(source)) = (volume.as_object_mut(), source) {
            volume.extend(source);
        }
        self.push("/spec", "volumes", volume);
        self.push("/spec/containers/0", "volumeMounts", json!({"name": name, "mountPath": format!("/mnt/{name}")}));
        self
    }

    /// Fields of the container.
    pub fn container(self, fields: Value) -> Self {
        self.merge("/spec/containers/0", fields)
    }

    /// The pod.
    ///
    /// # Errors
    ///
    /// If it is none.
    pub fn build(self) -> Result<Pod> {
        serde_json::from_value(self.0).context("this is not a pod")
    }

    fn push(&mut self, at: &str, list: &str, item: Value) {
        if let Some(parent) = self.0.pointer_mut(at).and_then(Value::as_object_mut)
            && let Value::Array(items) = parent.entry(list).or_insert_with(|| json!([]))
        {
            items.push(item);
        }
    }

    fn merge(mut self, at: &str, fields: Value) -> Self {
        if let (Some(Value::Object(target)), Value::Object(fields)) = (self.0.pointer_mut(at), fields) {
            target.extend(Map::into_iter(fields));
        }
        self
    }
}

/// A pod's uid.
pub fn uid(pod: &Pod) -> String {
    pod.uid().unwrap_or_default()
}

/// The names of pods.
pub fn names<'a>(pods: impl IntoIterator<Item = &'a Pod>) -> Vec<String> {
    pods.into_iter().map(|pod| pod.name_any()).collect()
}

/// A pod's phase, or nothing.
pub fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default()
}

/// A pod's reason, or nothing.
pub fn reason(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|status| status.reason.as_deref()).unwrap_or_default()
}

/// Whether a pod runs and is Ready, and is not on its way out.
pub fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    pod.metadata.deletion_timestamp.is_none()
        && phase(pod) == "Running"
        && conditions.into_iter().flatten().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// A node's condition.
pub fn condition<'a>(node: &'a Node, kind: &str) -> Option<&'a NodeCondition> {
    node.status.as_ref()?.conditions.as_ref()?.iter().find(|condition| condition.type_ == kind)
}
