use serde_json::{Value, json};

use super::{Given, with};

fn env(variables: Value) -> Given {
    with(json!({"env": variables}))
}

#[test]
fn variables_keep_their_order_and_may_be_empty() {
    let variables = json!([{"name": "B", "value": "2"}, {"name": "A", "value": ""}, {"name": "C"}]);
    assert_eq!(
        env(variables).container()["environmentVariables"],
        json!([{"name": "B", "value": "2"}, {"name": "A", "value": ""}, {"name": "C", "value": ""}])
    );
}

#[test]
fn only_values_of_secrets_are_sent_as_secure() {
    let from = |kind: &str| json!({kind: {"name": "n", "key": "k"}});
    let variables = json!([
        {"name": "SECRET", "value": "s3cret", "valueFrom": from("secretKeyRef")},
        {"name": "PLAIN", "value": "p", "valueFrom": from("configMapKeyRef")},
        {"name": "FIELD", "value": "web", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
    ]);
    assert_eq!(
        env(variables.clone()).container()["environmentVariables"],
        json!([
            {"name": "SECRET", "secureValue": "s3cret"},
            {"name": "PLAIN", "value": "p"},
            {"name": "FIELD", "value": "web"},
        ])
    );
    let printed = format!("{:?}", env(variables).map().unwrap().group);
    assert!(!printed.contains("s3cret"), "{printed}");
}

#[test]
fn secrets_that_are_put_into_other_values_stay_secret() {
    let secret =
        |value: &str| json!({"name": "S", "value": value, "valueFrom": {"secretKeyRef": {"name": "n", "key": "k"}}});
    let url = json!({"name": "URL", "value": "db://u:s3cret@h"});
    let sent = env(json!([url, secret("s3cret")])).container()["environmentVariables"].take();
    assert_eq!(sent[0], json!({"name": "URL", "secureValue": "db://u:s3cret@h"}));
    for chance in ["", "db"] {
        let sent = env(json!([url, secret(chance)])).container()["environmentVariables"].take();
        assert_eq!(sent[0], json!({"name": "URL", "value": "db://u:s3cret@h"}));
    }
    let command = with(json!({"command": ["run"], "args": ["--password=s3cret"], "env": [secret("s3cret")]}));
    let warnings = command.warnings();
    assert!(warnings[0].starts_with("SecretInCommand: spec.containers[app].command has"), "{warnings:?}");
    assert!(!warnings[0].contains("s3cret"), "{warnings:?}");
}

#[test]
fn what_only_the_running_group_knows_is_refused() {
    for path in ["status.podIP", "status.podIPs"] {
        let variables = json!([{"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": path}}}]);
        assert_eq!(
            env(variables.clone()).refused(),
            format!(
                "spec.containers[app].env[IP].valueFrom.fieldRef: the value of {path} is not known before the group runs"
            )
        );
        let (group, warnings) = env(variables).annotated("vk-host.dev/ignore", "spec.containers.env[IP]").mapped();
        assert!(group["properties"]["containers"][0]["properties"].get("environmentVariables").is_none());
        assert!(warnings[0].ends_with("spec.containers[app].env[IP].valueFrom.fieldRef"), "{warnings:?}");
    }
}

#[test]
fn names_are_those_that_the_service_takes() {
    let longest = "A".repeat(63);
    env(json!([{"name": longest, "value": ""}, {"name": "a_1", "value": ""}])).group();
    for name in ["a-b", "a.b", &"A".repeat(64)] {
        assert_eq!(
            env(json!([{"name": name, "value": ""}])).refused(),
            format!("spec.containers[app].env[{name}]: ACI takes names of 1 to 63 letters, digits and _")
        );
    }
}

#[test]
fn variables_of_services_with_long_names_do_not_stop_a_pod() {
    let service = "S".repeat(60);
    let names = [
        "SERVICE_HOST",
        "SERVICE_PORT",
        "SERVICE_PORT_HTTP",
        "PORT",
        "PORT_80_TCP",
        "PORT_80_TCP_PROTO",
        "PORT_80_UDP_ADDR",
    ];
    let variables: Vec<_> =
        names.iter().map(|name| json!({"name": format!("{service}_{name}"), "value": "v"})).collect();
    let (group, warnings) = env(json!(variables)).mapped();
    assert!(group["properties"]["containers"][0]["properties"].get("environmentVariables").is_none());
    assert_eq!(warnings.len(), 1);
    assert!(warnings[0].starts_with("ServiceVariablesLeftOut: spec.containers[app]: left out SSS"), "{}", warnings[0]);
}
