//! The Node as it is built.

use vk_provider::Taint;

use super::*;

#[test]
fn what_a_provider_may_not_set_is_dropped_by_name() {
    let mut given = description();
    given.architecture = "not a label".into();
    given.labels = [
        ("kubernetes.io/hostname", "evil"),
        ("node-role.kubernetes.io/control-plane", ""),
        ("x.k8s.io/y", "z"),
        ("node.kubernetes.io/instance-type", "big"),
        ("topology.kubernetes.io/region", "west"),
        ("type", "other"),
        ("bad key", "v"),
        ("key", "bad value"),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .to_vec();
    given.annotations =
        vec![("node.alpha.kubernetes.io/ttl".into(), "0".into()), ("example.com/n".into(), "any text!".into())];
    given.capacity = [
        ("cpu", "lots"),
        ("memory", "-1Gi"),
        ("pods", "1.5"),
        ("example.com/gpu", "500m"),
        ("sockets", "2"),
        ("ephemeral-storage", "1Ti"),
    ]
    .map(|(name, amount)| (name.to_owned(), amount.to_owned()))
    .to_vec();
    given.allocatable = Vec::new();
    given.taints = [
        ("node.kubernetes.io/unreachable", "NoExecute"),
        ("example.com/slow", "PreferNoSchedule"),
        ("example.com/bad", "Never"),
    ]
    .map(|(key, effect)| Taint { key: key.into(), value: String::new(), effect: effect.into() })
    .to_vec();
    let info = Info { name: "mock".into(), version: "1".into() };
    let built = super::super::object::build(&Settings { taints: Taints::Disabled, ..settings() }, &info, &given, 40);
    let labels = built.node.metadata.labels.unwrap();
    assert_eq!(labels["kubernetes.io/hostname"], "vk");
    assert_eq!(labels["type"], "virtual-kubelet");
    assert_eq!(labels["kubernetes.io/arch"], "amd64");
    assert_eq!(labels["topology.kubernetes.io/region"], "west");
    assert_eq!(labels["node.kubernetes.io/instance-type"], "big");
    assert_eq!(labels.len(), 8);
    assert_eq!(built.node.metadata.annotations.unwrap().len(), 1);
    let status = built.node.status.unwrap();
    assert_eq!(status.capacity.unwrap().into_keys().collect::<Vec<_>>(), ["ephemeral-storage"]);
    assert_eq!(status.node_info.unwrap().kubelet_version, "v1.36.0-vk-0.1.0", "not above what the client speaks");
    let taints: Vec<String> = built.node.spec.unwrap().taints.unwrap().into_iter().map(|taint| taint.key).collect();
    assert_eq!(taints, ["example.com/slow"]);
    for part in [
        "architecture",
        "kubernetes.io/hostname is not",
        "control-plane",
        "x.k8s.io/y",
        "\"bad key\"",
        "\"bad value\"",
        "node.alpha.kubernetes.io/ttl",
        "cpu \"lots\"",
        "memory \"-1Gi\" is negative",
        "pods \"1.5\" is not a whole number",
        "example.com/gpu \"500m\" is not a whole number",
        "\"sockets\"",
        "node.kubernetes.io/unreachable",
        "example.com/bad",
    ] {
        assert!(built.dropped.iter().any(|complaint| complaint.contains(part)), "{part} in {:#?}", built.dropped);
    }
}

#[test]
fn the_taint_is_what_the_operator_says() {
    let info = Info { name: "mock".into(), version: "1".into() };
    let given = Taints::Given(Taint { key: "dedicated".into(), value: "vk".into(), effect: "NoExecute".into() });
    for (taints, expected) in [
        (Taints::Default, json!([{ "key": "virtual-kubelet.io/provider", "value": "mock", "effect": "NoSchedule" }])),
        (Taints::Disabled, Value::Null),
        (given, json!([{ "key": "dedicated", "value": "vk", "effect": "NoExecute" }])),
    ] {
        let built = super::super::object::build(&Settings { taints, ..settings() }, &info, &description(), 36);
        assert_eq!(json!(built.node.spec.unwrap().taints), expected);
    }
}
