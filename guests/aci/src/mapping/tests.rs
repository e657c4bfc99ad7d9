//! Pods as people write them, and the groups that come of them.

mod containers;
mod environment;
mod fields;
mod network;
mod ports;
mod probes;
mod registry;
mod resources;
mod volumes;

use proptest::prelude::*;
use serde_json::{Value, json};
use vk_sdk::{ErrorKind, File, Login, OperatingSystem, Pod, PodId, Volume};

use super::{Mapped, container_group};
use crate::{
    group::{LogAnalytics, Secret},
    settings::{self, Network, Settings},
};

/// A pod on a node, with what the host has resolved of it.
struct Given {
    metadata: Value,
    spec: Value,
    volumes: Vec<Volume>,
    logins: Vec<Login>,
    settings: Settings,
}

/// A pod with this spec.
fn pod(spec: Value) -> Given {
    let metadata = json!({"name": "web", "namespace": "demo", "uid": "u-1", "creationTimestamp": "2023-04-12T12:00:00Z",
        "annotations": {}});
    Given { metadata, spec, volumes: Vec::new(), logins: Vec::new(), settings: settings() }
}

/// A pod whose one container has these members besides its name and image.
fn with(members: Value) -> Given {
    pod(json!({"containers": [container("app", members)]}))
}

fn container(name: &str, members: Value) -> Value {
    let mut container = json!({"name": name, "image": "nginx:1.27"});
    container.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    container
}

fn settings() -> Settings {
    Settings { owner: "o1".into(), node_name: "vk".into(), ..settings::testing::managed(None) }
}

impl Given {
    fn annotated(mut self, name: &str, value: &str) -> Self {
        self.metadata["annotations"][name] = json!(value);
        self
    }

    fn set(mut self, change: impl FnOnce(&mut Settings)) -> Self {
        change(&mut self.settings);
        self
    }

    fn on_windows(self) -> Self {
        self.set(|settings| settings.operating_system = OperatingSystem::Windows)
    }

    fn in_subnet(self) -> Self {
        self.set(|settings| {
            settings.network = Some(Network {
                subscription: "netsub".into(),
                resource_group: "netrg".into(),
                vnet: "net".into(),
                subnet: "pods".into(),
                cidr: None,
                dns: Some("10.0.0.10".into()),
                cluster_domain: "cluster.local".into(),
            });
        })
    }

    fn files(mut self, volume: &str, files: &[(&str, &str)]) -> Self {
        let file = |(path, data): &(&str, &str)| File { path: (*path).into(), mode: 0o644, data: (*data).into() };
        self.volumes.push(Volume { name: volume.into(), files: files.iter().map(file).collect() });
        self
    }

    fn pod(&self) -> Pod {
        let text = |name: &str| self.metadata[name].as_str().unwrap().to_owned();
        Pod {
            id: PodId { namespace: text("namespace"), name: text("name"), uid: text("uid"), handle: None },
            manifest: json!({"apiVersion": "v1", "kind": "Pod", "metadata": self.metadata, "spec": self.spec})
                .to_string(),
            volumes: self.volumes.clone(),
            logins: self.logins.clone(),
            objects: Vec::new(),
        }
    }

    fn map(&self) -> vk_sdk::Result<Mapped> {
        container_group(&self.pod(), &self.settings)
    }

    /// The group as it is sent, and reasons and messages of the warnings.
    fn mapped(self) -> (Value, Vec<String>) {
        let Mapped { group, warnings } = self.map().unwrap_or_else(|error| panic!("{error:?}"));
        let warnings = warnings.into_iter().map(|warning| format!("{}: {}", warning.reason, warning.message));
        (serde_json::to_value(group).unwrap(), warnings.collect())
    }

    /// The group, of which nothing is to be said.
    fn group(self) -> Value {
        let (group, warnings) = self.mapped();
        assert_eq!(warnings, [""; 0]);
        group
    }

    fn properties(self) -> Value {
        self.group()["properties"].take()
    }

    /// The first container.
    fn container(self) -> Value {
        self.properties()["containers"][0]["properties"].take()
    }

    fn warnings(self) -> Vec<String> {
        self.mapped().1
    }

    /// Why the pod is refused, without the remedy that always follows.
    fn refused(self) -> String {
        let Err(error) = self.map() else { panic!("{} should be refused", self.spec) };
        assert_eq!(error.kind, ErrorKind::Unsupported, "{}", error.message);
        let remedy = "; to run the pod without a field, list its name in the annotation vk-host.dev/ignore";
        error.message.strip_suffix(remedy).unwrap().to_owned()
    }

    /// What is missing outside of the pod, for which the host tries again.
    fn missing(self) -> String {
        let Err(error) = self.map() else { panic!("{} should lack something", self.spec) };
        assert_eq!(error.kind, ErrorKind::Internal, "{}", error.message);
        error.message
    }

    fn invalid(self) -> String {
        let Err(error) = self.map() else { panic!("{} should be invalid", self.spec) };
        assert_eq!(error.kind, ErrorKind::Invalid, "{}", error.message);
        error.message
    }
}

#[test]
fn a_plain_pod_becomes_a_group_with_a_public_address() {
    let mut group = pod(json!({
        "restartPolicy": "OnFailure",
        "containers": [{
            "name": "app", "image": "nginx:1.27", "command": ["sh"], "ports": [{"containerPort": 8080}],
            "resources": {"requests": {"cpu": "500m", "memory": "1Gi"}},
        }],
    }))
    .group();
    let name = group["name"].take();
    assert!(name.as_str().unwrap().starts_with("demo-web-"), "{name}");
    assert_eq!(
        group,
        json!({
            "name": null,
            "location": "westeurope",
            "tags": {
                "PodName": "web", "NodeName": "vk", "Namespace": "demo", "UID": "u-1",
                "CreationTimestamp": "2023-04-12 12:00:00 +0000 UTC", "vk-host.dev-owner": "o1",
            },
            "properties": {
                "containers": [{"name": "app", "properties": {
                    "image": "nginx:1.27", "command": ["sh"], "ports": [{"port": 8080, "protocol": "TCP"}],
                    "resources": {"requests": {"cpu": 0.5, "memoryInGB": 1.0}},
                }}],
                "restartPolicy": "OnFailure",
                "osType": "Linux",
                "ipAddress": {"type": "Public", "ports": [{"port": 8080, "protocol": "TCP"}]},
            },
        })
    );
}

/// What the API server fills in asks for nothing that must be spoken of.
#[test]
fn a_pod_as_the_api_server_writes_it_becomes_a_group_without_a_word() {
    let group = pod(json!({
        "volumes": [{"name": "kube-api-access-x7x2p", "projected": {"defaultMode": 420, "sources": [
            {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
            {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
            {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": {"fieldPath": "metadata.namespace"}}]}},
        ]}}],
        "containers": [{
            "name": "app", "image": "nginx", "resources": {}, "imagePullPolicy": "Always",
            "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
            "env": [{"name": "KUBERNETES_SERVICE_HOST", "value": "10.96.0.1"}],
            "volumeMounts": [{"name": "kube-api-access-x7x2p", "readOnly": true,
                "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"}],
            "ports": [{"name": "web", "containerPort": 80, "protocol": "TCP"}],
            "livenessProbe": {"httpGet": {"path": "/", "port": "web", "scheme": "HTTP"}, "timeoutSeconds": 1,
                "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3},
        }],
        "restartPolicy": "Always", "terminationGracePeriodSeconds": 30, "dnsPolicy": "ClusterFirst",
        "serviceAccountName": "default", "serviceAccount": "default", "nodeName": "vk", "securityContext": {},
        "schedulerName": "default-scheduler", "priority": 0, "enableServiceLinks": true,
        "preemptionPolicy": "PreemptLowerPriority",
        "tolerations": [{"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute",
            "tolerationSeconds": 300}],
    }))
    .files("kube-api-access-x7x2p", &[("ca.crt", "c"), ("namespace", "demo"), ("token", "t")])
    .group();
    assert_eq!(
        group["properties"]["volumes"],
        json!([{"name": "kube-api-access-x7x2p", "secret": {"ca.crt": "Yw==", "namespace": "ZGVtbw==", "token": "dA=="}}])
    );
}

#[test]
fn restart_policies_and_operating_systems_are_those_of_pod_and_node() {
    for policy in ["Always", "OnFailure", "Never"] {
        let given = pod(json!({"restartPolicy": policy, "containers": [container("app", json!({}))]}));
        assert_eq!(given.properties()["restartPolicy"], policy);
    }
    assert_eq!(with(json!({})).properties()["osType"], "Linux");
    assert_eq!(with(json!({})).on_windows().properties()["osType"], "Windows");
}

#[test]
fn a_pod_without_a_time_of_creation_has_no_tag_of_it() {
    let mut given = with(json!({}));
    given.metadata["creationTimestamp"] = Value::Null;
    assert!(given.group()["tags"].get("CreationTimestamp").is_none());
}

#[test]
fn equal_pods_are_equal_groups_byte_for_byte() {
    let given = with(json!({"env": [{"name": "B", "value": "1"}, {"name": "A", "value": "2"}],
        "volumeMounts": [{"name": "files", "mountPath": "/f"}]}));
    let mut given = given.files("files", &[("z", "1"), ("a", "2"), ("m", "3")]);
    given.spec["volumes"] = json!([{"name": "files", "secret": {"secretName": "s"}}]);
    let sent = |given: &Given| serde_json::to_string(&given.map().unwrap().group).unwrap();
    assert_eq!(sent(&given), sent(&given));
    assert!(sent(&given).contains(r#""secret":{"a":"Mg==","m":"Mw==","z":"MQ=="}"#), "{}", sent(&given));
}

#[test]
fn output_goes_to_log_analytics_with_the_pods_uid_for_the_services_own_monitoring() {
    let logs = |log_type: Option<&str>| LogAnalytics {
        workspace_id: "w".into(),
        workspace_key: Some(Secret("k".into())),
        log_type: log_type.map(str::to_owned),
        metadata: [("node-name".to_owned(), "vk".to_owned())].into(),
        workspace_resource_id: None,
    };
    let sent = |log_type| {
        let given = with(json!({})).set(|settings| settings.log_analytics = Some(logs(log_type)));
        given.properties()["diagnostics"]["logAnalytics"].take()
    };
    assert_eq!(
        sent(Some("ContainerInsights")),
        json!({"workspaceId": "w", "workspaceKey": "k", "logType": "ContainerInsights",
            "metadata": {"node-name": "vk", "pod-uuid": "u-1"}})
    );
    assert_eq!(sent(None), json!({"workspaceId": "w", "workspaceKey": "k", "metadata": {"node-name": "vk"}}));
}

#[test]
fn a_pod_may_take_spare_machines() {
    let priority = |value| with(json!({})).annotated("virtual-kubelet.io/priority", value);
    assert_eq!(priority("spot").properties()["priority"], "Spot");
    assert_eq!(priority("Regular").properties()["priority"], "Regular");
    assert!(with(json!({})).properties().get("priority").is_none());
    assert_eq!(
        priority("High").invalid(),
        r#"annotation virtual-kubelet.io/priority: "High" is not "Regular" or "Spot""#
    );
}

#[test]
fn confidential_groups_are_asked_for_by_policy_or_by_sku() {
    let given = |name: &str, value| {
        let spec = json!({"containers": [container("app", json!({}))], "initContainers": [container("i", json!({}))]});
        pod(spec).annotated(&format!("virtual-kubelet.io/{name}"), value).properties()
    };
    let group = given("confidential-compute-cce-policy", "cG9saWN5");
    assert_eq!(group["sku"], "Confidential");
    assert_eq!(group["confidentialComputeProperties"], json!({"ccePolicy": "cG9saWN5"}));
    assert_eq!(group["initContainers"][0]["name"], "i");
    let group = given("container-sku", "Confidential");
    assert_eq!(group["sku"], "Confidential");
    assert!(group.get("confidentialComputeProperties").is_none());
    assert!(given("container-sku", "standard").get("sku").is_none());
    assert!(given("confidential-compute-cce-policy", "").get("sku").is_none());
}

proptest! {
    #[test]
    fn a_pod_is_mapped_or_refused_but_nothing_panics(
        name in "[a-z]{1,3}",
        cpu in "[0-9]{0,3}[mk.]?[0-9]{0,2}",
        port in 0_u16..,
        path in "[/a:]{0,4}",
    ) {
        let given = with(json!({
            "resources": {"limits": {"cpu": cpu}}, "ports": [{"containerPort": port}],
            "env": [{"name": name}], "volumeMounts": [{"name": name, "mountPath": path}],
            "livenessProbe": {"httpGet": {"port": name}},
        }));
        if let Err(error) = given.map() {
            prop_assert!(matches!(error.kind, ErrorKind::Invalid | ErrorKind::Unsupported));
        }
    }
}
