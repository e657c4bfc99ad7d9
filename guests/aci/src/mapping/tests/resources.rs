use serde_json::{Value, json};

use super::{Given, container, pod, with};

fn resources(resources: Value) -> Given {
    with(json!({"resources": resources}))
}

fn amounts(cpu: f64, memory: f64) -> Value {
    json!({"cpu": cpu, "memoryInGB": memory})
}

#[test]
fn requests_are_cut_to_the_services_steps() {
    for (cpu, memory, expected) in [
        ("1.981", "3.49G", amounts(1.98, 3.4)),
        ("0.99", "1.5G", amounts(0.99, 1.5)),
        ("500m", "1Gi", amounts(0.5, 1.0)),
        ("2", "2Gi", amounts(2.0, 2.1)),
        ("1m", "1Mi", amounts(0.01, 0.1)),
        ("0", "0", amounts(0.01, 0.1)),
        ("1.0001", "99999999", amounts(1.0, 0.1)),
        ("9.999999999", "100000000", amounts(10.0, 0.1)),
        ("0.29", "0.3G", amounts(0.29, 0.3)),
    ] {
        let given = resources(json!({"requests": {"cpu": cpu, "memory": memory}}));
        assert_eq!(given.container()["resources"], json!({"requests": expected}), "{cpu} {memory}");
    }
    for given in [with(json!({})), with(json!({})).on_windows()] {
        assert_eq!(given.container()["resources"], json!({"requests": amounts(1.0, 1.5)}));
    }
}

#[test]
fn amounts_are_sent_without_noise() {
    let given =
        resources(json!({"requests": {"cpu": "290m", "memory": "300M"}, "limits": {"cpu": "290m", "memory": "300M"}}));
    let sent = serde_json::to_string(&given.map().unwrap().group).unwrap();
    let expected = r#"{"requests":{"cpu":0.29,"memoryInGB":0.3},"limits":{"cpu":0.29,"memoryInGB":0.3}}"#;
    assert!(sent.contains(expected), "{sent}");
}

/// A container beside one that requests enough for it.
fn beside(resources: Value) -> Value {
    let large = json!({"resources": {"requests": {"cpu": "4", "memory": "12G"}}});
    let spec = json!({"containers": [container("app", json!({"resources": resources})), container("large", large)]});
    pod(spec).container()["resources"].take()
}

#[test]
fn a_limit_within_the_groups_total_is_kept() {
    let requests = json!({"cpu": "0.99", "memory": "1.5G"});
    for (limits, expected) in [
        (json!({"cpu": "3999m", "memory": "8010M"}), amounts(3.999, 8.0)),
        (json!({"cpu": "2"}), amounts(2.0, 1.5)),
        (json!({"memory": "2G"}), amounts(0.99, 2.0)),
        (json!({"ephemeral-storage": "1Gi"}), amounts(0.99, 1.5)),
    ] {
        assert_eq!(
            beside(json!({"requests": requests, "limits": limits})),
            json!({"requests": amounts(0.99, 1.5), "limits": expected})
        );
    }
    assert_eq!(beside(json!({"requests": requests})), json!({"requests": amounts(0.99, 1.5)}));
}

#[test]
fn a_limit_without_a_request_is_both() {
    let limits = json!({"limits": {"cpu": "2", "memory": "3G"}});
    assert_eq!(
        resources(limits).container()["resources"],
        json!({"requests": amounts(2.0, 3.0), "limits": amounts(2.0, 3.0)})
    );
}

#[test]
fn a_limit_above_the_groups_total_is_cut_with_a_warning() {
    let wanted = json!({"requests": {"cpu": "0.99", "memory": "1.5G"}, "limits": {"cpu": "3999m", "memory": "8010M"}});
    let (group, warnings) = resources(wanted).mapped();
    assert_eq!(
        group["properties"]["containers"][0]["properties"]["resources"],
        json!({"requests": amounts(0.99, 1.5), "limits": amounts(0.99, 1.5)})
    );
    assert_eq!(
        warnings,
        ["LimitsClamped: limits are cut to what all containers request together, as ACI has no more: \
          container app: cpu 3.999 is 0.99; container app: memory 8 GB is 1.5 GB"]
    );
    let two = |name| container(name, json!({"resources": {"requests": {"cpu": "1"}, "limits": {"cpu": "2"}}}));
    let group = pod(json!({"containers": [two("a"), two("b")]})).properties();
    assert_eq!(group["containers"][1]["properties"]["resources"]["limits"], amounts(2.0, 1.5));
}

#[test]
fn a_limit_is_never_below_the_request_that_is_sent() {
    let given = resources(json!({"requests": {"memory": "10M"}, "limits": {"memory": "10M", "cpu": "1m"}}));
    let resources = &given.container()["resources"];
    assert_eq!((&resources["requests"], &resources["limits"]), (&amounts(0.01, 0.1), &amounts(0.01, 0.1)));
}

#[test]
fn what_is_no_amount_is_named() {
    let given = resources(json!({"requests": {"cpu": "much"}}));
    assert!(given.invalid().starts_with("spec.containers[app].resources.requests[cpu]: \"much\" is no amount"));
}

#[test]
fn other_resources_are_refused_but_for_storage_that_every_group_has() {
    resources(json!({"requests": {"ephemeral-storage": "1Gi"}})).group();
    for name in ["hugepages-2Mi", "example.com/fpga"] {
        assert_eq!(
            resources(json!({"limits": {name: "1"}})).refused(),
            format!("spec.containers[app].resources.limits[{name}]: ACI has cores, memory and NVIDIA's GPUs")
        );
    }
    let refusal = resources(json!({"claims": [{"name": "gpu"}]})).refused();
    assert!(refusal.starts_with("spec.containers[app].resources.claims: "), "{refusal}");
}

fn gpu(count: &str, skus: &[&str]) -> Given {
    let skus = skus.iter().map(|sku| (*sku).to_owned()).collect();
    resources(json!({"limits": {"nvidia.com/gpu": count}})).set(|settings| settings.gpu_skus = skus)
}

const GPU_TYPE: &str = "virtual-kubelet.io/gpu-type";

#[test]
fn gpus_are_of_the_first_sku_or_of_the_one_that_the_pod_names() {
    for (given, sku) in [
        (gpu("10", &["K80", "P100"]), "K80"),
        (gpu("10", &["K80", "P100"]).annotated(GPU_TYPE, "P100"), "P100"),
        (gpu("10", &["K80", "P100"]).annotated(GPU_TYPE, "p100"), "P100"),
        (gpu("10", &["K80", "P100"]).annotated(GPU_TYPE, ""), "K80"),
    ] {
        let resources = &given.container()["resources"];
        for amounts in ["requests", "limits"] {
            assert_eq!(resources[amounts]["gpu"], json!({"count": 10, "sku": sku}));
        }
    }
}

#[test]
fn gpus_that_there_are_none_of_are_refused() {
    let none =
        "the pod requires GPU resource, but ACI doesn't provide GPU enabled container group in region westeurope";
    let other = "the pod requires GPU SKU V100, but ACI only supports SKUs [K80 P100] in region westeurope";
    for (given, why) in [
        (gpu("0", &["K80"]), "GPU must be a integer number"),
        (gpu("1", &[]), none),
        (gpu("1", &[]).annotated(GPU_TYPE, "V100"), none),
        (gpu("1", &["K80", "P100"]).annotated(GPU_TYPE, "V100"), other),
    ] {
        assert_eq!(given.refused(), format!("spec.containers[app].resources.limits[nvidia.com/gpu]: {why}"));
    }
}
