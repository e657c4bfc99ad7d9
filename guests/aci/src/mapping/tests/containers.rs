use serde_json::json;

use super::{container, pod, with};

#[test]
fn several_containers_and_init_containers_keep_their_order() {
    let mount = json!([{"name": "scratch", "mountPath": "/s", "readOnly": true}]);
    let spec = json!({
        "volumes": [{"name": "scratch", "emptyDir": {}}],
        "initContainers": [
            container("first", json!({"command": ["a"], "args": ["b"], "env": [{"name": "A", "value": "1"}],
                "volumeMounts": mount})),
            container("second", json!({})),
        ],
        "containers": [container("web", json!({"volumeMounts": mount})), container("log", json!({}))],
    });
    let group = pod(spec).properties();
    assert_eq!(
        group["initContainers"],
        json!([
            {"name": "first", "properties": {"image": "nginx:1.27", "command": ["a", "b"],
                "environmentVariables": [{"name": "A", "value": "1"}],
                "volumeMounts": [{"name": "scratch", "mountPath": "/s", "readOnly": true}]}},
            {"name": "second", "properties": {"image": "nginx:1.27"}},
        ])
    );
    let names: Vec<_> = group["containers"].as_array().unwrap().iter().map(|container| &container["name"]).collect();
    assert_eq!(names, ["web", "log"]);
}

#[test]
fn command_and_arguments_are_one_list() {
    assert_eq!(with(json!({"command": ["a", "b"], "args": ["c"]})).container()["command"], json!(["a", "b", "c"]));
    assert!(with(json!({})).container().get("command").is_none());
}

const ARGUMENTS: &str = "ACI does not support providing args without specifying the command. Please supply both command and \
                         args to the pod spec.";

#[test]
fn arguments_without_a_command_are_refused() {
    assert_eq!(with(json!({"args": ["c"]})).refused(), format!("spec.containers[app].args: {ARGUMENTS}"));
    let spec = json!({"containers": [container("app", json!({}))], "initContainers": [container("i", json!({"args": ["c"]}))]});
    assert_eq!(pod(spec).refused(), format!("spec.initContainers[i].args: {ARGUMENTS}"));
}

#[test]
fn hooks_startup_probes_and_restart_policies_of_containers_are_refused() {
    let hook = json!({"postStart": {"exec": {"command": ["a"]}}});
    for (members, refusal) in [
        (json!({"lifecycle": hook}), "lifecycle: ACI does not support lifecycle hooks"),
        (json!({"startupProbe": {"exec": {"command": ["a"]}}}), "startupProbe: ACI does not support startupProbe"),
        (json!({"restartPolicy": "Never"}), "restartPolicy: ACI restarts all containers of a group alike"),
    ] {
        assert_eq!(with(members).refused(), format!("spec.containers[app].{refusal}"));
    }
    with(json!({"lifecycle": {}, "startupProbe": null, "restartPolicy": null})).group();
}

#[test]
fn init_containers_are_refused_what_they_cannot_have() {
    let probe = json!({"exec": {"command": ["a"]}});
    for (members, field, what) in [
        (json!({"ports": [{"containerPort": 80}]}), "ports", "ports"),
        (json!({"resources": {"requests": {"cpu": "1"}}}), "resources.requests", "resources requests"),
        (json!({"resources": {"limits": {"cpu": "1"}}}), "resources.limits", "resources limits"),
        (json!({"livenessProbe": probe}), "livenessProbe", "livenessProbe"),
        (json!({"readinessProbe": probe}), "readinessProbe", "readinessProbe"),
        (json!({"lifecycle": {"preStop": {"sleep": {"seconds": 1}}}}), "lifecycle", "lifecycle hooks"),
        (json!({"startupProbe": probe}), "startupProbe", "startupProbe"),
    ] {
        let spec = json!({"containers": [container("app", json!({}))], "initContainers": [container("i", members)]});
        let expected =
            format!("spec.initContainers[i].{field}: azure container instances initContainers do not support {what}");
        assert_eq!(pod(spec).refused(), expected);
    }
}

#[test]
fn a_sidecar_is_refused_and_never_gets_among_the_init_containers() {
    let spec = json!({"containers": [container("app", json!({}))],
        "initContainers": [container("mesh", json!({"restartPolicy": "Always"})), container("i", json!({}))]});
    let refusal = pod(spec.clone()).refused();
    assert!(refusal.starts_with("spec.initContainers[mesh].restartPolicy: azure container instances"), "{refusal}");
    let (group, warnings) = pod(spec).annotated("vk-host.dev/ignore", "spec.initContainers.restartPolicy").mapped();
    assert_eq!(group["properties"]["initContainers"], json!([{"name": "i", "properties": {"image": "nginx:1.27"}}]));
    assert_eq!(
        warnings,
        ["FieldsPassedOver: passed over as the pod's annotation has it: spec.initContainers[mesh].restartPolicy"]
    );
}

#[test]
fn groups_have_as_many_containers_as_the_service_takes() {
    let many = |count: usize| {
        let containers: Vec<_> = (0..count).map(|number| container(&format!("c{number}"), json!({}))).collect();
        pod(json!({"containers": containers}))
    };
    many(60).group();
    assert_eq!(many(61).refused(), "spec.containers: a group has at most 60 containers, and these are 61");
    many(1).on_windows().group();
    assert_eq!(many(2).on_windows().refused(), "spec.containers: ACI has groups of several containers for Linux only");
}

#[test]
fn all_that_is_refused_is_named_at_once() {
    let given = pod(json!({"hostNetwork": true,
        "containers": [container("app", json!({"args": ["a"], "workingDir": "/w", "ports": [{"containerPort": 1, "protocol": "SCTP"}]}))]}));
    let refusal = given.refused();
    for field in ["spec.hostNetwork: ", "[app].args: ", "[app].workingDir: ", "[app].ports[1].protocol: "] {
        assert!(refusal.contains(field), "{refusal}");
    }
}
