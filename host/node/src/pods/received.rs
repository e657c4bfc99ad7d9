//! A pod as the API server sends it, read without its managed fields.
//!
//! They are as large as the rest of a pod, nobody here reads them, and of what a burst of pods costs the host, reading
//! them into trees of values was a tenth.

use std::borrow::Cow;

use k8s_openapi::{
    api::core::v1::{Pod, PodSpec, PodStatus},
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference, Time},
    serde::{Deserialize, Deserializer},
};
use kube::Resource;

type Texts = std::collections::BTreeMap<String, String>;

/// A pod without managed fields.
#[derive(Debug, Clone)]
pub(crate) struct Received(pub(crate) Pod);

impl<'de> Deserialize<'de> for Received {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Object { metadata, spec, status } = Object::deserialize(deserializer)?;
        Ok(Self(Pod { metadata: metadata.into(), spec, status }))
    }
}

impl Resource for Received {
    type DynamicType = ();
    type Scope = <Pod as Resource>::Scope;

    fn kind((): &()) -> Cow<'_, str> {
        Pod::kind(&())
    }

    fn group((): &()) -> Cow<'_, str> {
        Pod::group(&())
    }

    fn version((): &()) -> Cow<'_, str> {
        Pod::version(&())
    }

    fn plural((): &()) -> Cow<'_, str> {
        Pod::plural(&())
    }

    fn meta(&self) -> &ObjectMeta {
        &self.0.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.0.metadata
    }
}

#[derive(Deserialize)]
#[serde(crate = "k8s_openapi::serde")]
struct Object {
    #[serde(default)]
    metadata: Metadata,
    spec: Option<PodSpec>,
    status: Option<PodStatus>,
}

/// [`ObjectMeta`] but for `managedFields`.
#[derive(Default, Deserialize)]
#[serde(crate = "k8s_openapi::serde", rename_all = "camelCase")]
struct Metadata {
    annotations: Option<Texts>,
    creation_timestamp: Option<Time>,
    deletion_grace_period_seconds: Option<i64>,
    deletion_timestamp: Option<Time>,
    finalizers: Option<Vec<String>>,
    generate_name: Option<String>,
    generation: Option<i64>,
    labels: Option<Texts>,
    name: Option<String>,
    namespace: Option<String>,
    owner_references: Option<Vec<OwnerReference>>,
    resource_version: Option<String>,
    self_link: Option<String>,
    uid: Option<String>,
}

impl From<Metadata> for ObjectMeta {
    fn from(metadata: Metadata) -> Self {
        Self {
            annotations: metadata.annotations,
            creation_timestamp: metadata.creation_timestamp,
            deletion_grace_period_seconds: metadata.deletion_grace_period_seconds,
            deletion_timestamp: metadata.deletion_timestamp,
            finalizers: metadata.finalizers,
            generate_name: metadata.generate_name,
            generation: metadata.generation,
            labels: metadata.labels,
            managed_fields: None,
            name: metadata.name,
            namespace: metadata.namespace,
            owner_references: metadata.owner_references,
            resource_version: metadata.resource_version,
            self_link: metadata.self_link,
            uid: metadata.uid,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn everything_is_read_but_managed_fields() {
        let time = "2026-01-02T03:04:05Z";
        let mut object = json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "annotations": {"a": "1"}, "creationTimestamp": time, "deletionGracePeriodSeconds": 30,
                "deletionTimestamp": time, "finalizers": ["f"], "generateName": "p-", "generation": 2,
                "labels": {"l": "1"}, "name": "p-1", "namespace": "n",
                "ownerReferences": [{"apiVersion": "v1", "kind": "K", "name": "o", "uid": "u"}],
                "resourceVersion": "7", "selfLink": "s", "uid": "u-1",
            },
            "spec": {"nodeName": "node", "containers": [{"name": "c", "image": "i"}]},
            "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]},
        });
        let whole: Pod = serde_json::from_value(object.clone()).unwrap();
        // Every field that there is stands above, so none was forgotten.
        let known = serde_json::to_value(&whole.metadata).unwrap();
        let fields = 15;
        assert_eq!(known.as_object().map(serde_json::Map::len), Some(fields - 1));

        object["metadata"]["managedFields"] = json!([{"manager": "m", "fieldsV1": {"f:status": {"f:phase": {}}}}]);
        let received: Received = serde_json::from_value(object).unwrap();
        assert_eq!(received.0, whole);
    }

    #[test]
    fn an_empty_object_is_a_pod() {
        let received: Received = serde_json::from_value(Value::Object(serde_json::Map::new())).unwrap();
        assert_eq!(received.0, Pod::default());
    }
}
