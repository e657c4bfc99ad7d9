use serde_json::json;
use vk_sdk::testing;

use super::*;
use crate::{
    model::{self, Model, methods, pod, pods},
    settings::Network,
};

fn aci() -> Aci {
    Aci { settings: model::settings(), pods: pods() }
}

fn asked(spec: serde_json::Value) -> Pod {
    let manifest = json!({
        "metadata": {"name": "p1", "namespace": "d", "uid": "uid-1", "creationTimestamp": "2023-01-01T00:00:00Z"},
        "spec": spec,
    });
    Pod { id: pod(1), manifest: manifest.to_string(), volumes: Vec::new(), logins: Vec::new(), objects: Vec::new() }
}

#[test]
fn a_pod_lives_from_its_creation_to_its_end() {
    let model = Model::serve();
    let aci = aci();
    aci.create(asked(json!({"containers": [{"name": "c", "image": "x"}]}))).unwrap();
    assert_eq!(model.edit(|state| state.groups.len()), 1);
    assert!(aci.get(pod(1)).unwrap().status.unwrap().contains("Running"));
    assert_eq!(aci.poll(None).unwrap().observed.len(), 1);
    assert!(matches!(aci.delete(pod(1), Duration::from_secs(30)), Ok(Deletion::Gone)));
    assert_eq!(model.edit(|state| state.groups.len()), 0);
}

#[test]
fn what_cannot_be_had_is_refused_without_a_request() {
    let _model = Model::serve();
    let error =
        aci().create(asked(json!({"hostNetwork": true, "containers": [{"name": "c", "image": "x"}]}))).unwrap_err();
    assert!(error.message.contains("hostNetwork"), "{}", error.message);
    assert_eq!(methods(), "");
}

#[test]
fn a_running_group_is_never_changed() {
    let _model = Model::serve();
    let aci = aci();
    let pod = || asked(json!({"containers": [{"name": "c", "image": "x"}]}));
    for (changed, refused) in [
        (Aspects::METADATA | Aspects::LOGINS, None),
        (Aspects::SPEC | Aspects::METADATA, Some("delete the pod")),
        (Aspects::VOLUMES, Some("ConfigMaps and Secrets")),
    ] {
        let outcome = aci.update(pod(), changed);
        assert_eq!(outcome.is_err(), refused.is_some(), "{changed:?}");
        if let (Err(error), Some(words)) = (outcome, refused) {
            assert_eq!(error.kind, vk_sdk::ErrorKind::Unsupported);
            assert!(error.message.contains(words), "{}", error.message);
        }
    }
    assert_eq!(methods(), "");
}

#[test]
fn the_node_is_what_the_operator_said() {
    let _model = Model::serve();
    let description = aci().describe().unwrap();
    let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    assert_eq!(description.capacity, [pair("cpu", "20"), pair("memory", "100Gi"), pair("pods", "200")]);
    assert!(description.labels.contains(&pair("topology.kubernetes.io/region", "westeurope")));
}

#[test]
fn the_subnet_is_prepared_once() {
    let asked = || testing::requests().iter().filter(|request| request.path().contains("/subnets/")).count();
    let _model = Model::serve_with(|request, _| {
        let subnet = json!({"properties": {
            "addressPrefix": "10.0.0.0/24",
            "delegations": [{"name": "aci", "properties": {"serviceName": "Microsoft.ContainerInstance/containerGroups"}}],
        }});
        request.path().contains("/subnets/").then(|| testing::Response::new(200).json(&subnet))
    });
    let mut aci = aci();
    aci.settings.network = Some(Network {
        subscription: "s".into(),
        resource_group: "rg".into(),
        vnet: "v".into(),
        subnet: "n".into(),
        cidr: None,
        dns: None,
        cluster_domain: "cluster.local".into(),
    });
    aci.describe().unwrap();
    let first = asked();
    assert!(first > 0);
    aci.describe().unwrap();
    assert_eq!(asked(), first);
}
