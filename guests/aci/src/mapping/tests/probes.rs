use serde_json::{Value, json};

use super::{Given, with};

const PROBES: [&str; 2] = ["livenessProbe", "readinessProbe"];

fn probed(name: &str, probe: &Value) -> Given {
    with(json!({name: probe, "ports": [{"name": "web", "containerPort": 81}, {"name": "http", "containerPort": 8080}]}))
}

#[test]
fn probes_are_mapped_with_all_their_numbers() {
    for name in PROBES {
        for port in [json!("http"), json!(8080)] {
            let probe = json!({
                "httpGet": {"port": port, "path": "/", "scheme": "HTTP", "httpHeaders": [{"name": "A", "value": "b"}]},
                "initialDelaySeconds": 10, "periodSeconds": 5, "timeoutSeconds": 60, "successThreshold": 3,
                "failureThreshold": 5,
            });
            assert_eq!(
                probed(name, &probe).container()[name],
                json!({
                    "httpGet": {"port": 8080, "path": "/", "scheme": "http",
                        "httpHeaders": [{"name": "A", "value": "b"}]},
                    "initialDelaySeconds": 10, "periodSeconds": 5, "timeoutSeconds": 60, "successThreshold": 3,
                    "failureThreshold": 5,
                })
            );
        }
    }
}

#[test]
fn a_probe_runs_a_command_or_makes_a_request() {
    for (probe, expected) in [
        (
            json!({"exec": {"command": ["/bin/sh", "-c", "/probes/"]}}),
            json!({"exec": {"command": ["/bin/sh", "-c", "/probes/"]}}),
        ),
        (json!({"httpGet": {"port": "http", "path": "/"}}), json!({"httpGet": {"port": 8080, "path": "/"}})),
        (json!({"httpGet": {"port": "81", "scheme": ""}}), json!({"httpGet": {"port": 81}})),
        (json!({"httpGet": {"port": 1, "scheme": "HTTPS"}}), json!({"httpGet": {"port": 1, "scheme": "https"}})),
    ] {
        for name in PROBES {
            assert_eq!(probed(name, &probe).container()[name], expected, "{probe}");
        }
    }
    let without_ports = with(json!({"livenessProbe": {"exec": {"command": ["a"]}}}));
    assert_eq!(without_ports.container()["livenessProbe"], json!({"exec": {"command": ["a"]}}));
}

#[test]
fn probes_that_the_service_does_not_know_are_refused() {
    let one = r#"probe must specify one of "exec" and "httpGet""#;
    for (probe, refusal) in [
        (json!({"periodSeconds": 1}), format!(": {one}")),
        (json!({"tcpSocket": {"port": 80}}), format!(": {one}; ACI has no tcpSocket probes")),
        (json!({"grpc": {"port": 80}}), format!(": {one}; ACI has no grpc probes")),
        (
            json!({"exec": {"command": ["a"]}, "httpGet": {"port": 80}}),
            r#": probe may not specify more than one of "exec" and "httpGet""#.to_owned(),
        ),
        (json!({"httpGet": {"port": "nope"}}), ".httpGet.port: unable to find named port: nope".to_owned()),
        (json!({"httpGet": {"port": 80, "host": "h"}}), ".httpGet.host: ACI asks the container itself".to_owned()),
    ] {
        for name in PROBES {
            assert_eq!(probed(name, &probe).refused(), format!("spec.containers[app].{name}{refusal}"));
            let (group, _) = probed(name, &probe).annotated("vk-host.dev/ignore", "spec.containers").mapped();
            let kept = group["properties"]["containers"][0]["properties"].get(name).is_some();
            assert_eq!(kept, refusal.starts_with(".httpGet.host"), "{probe}");
        }
    }
}

#[test]
fn how_long_a_container_may_take_to_stop_after_a_probe_is_passed_over() {
    let probe = json!({"exec": {"command": ["a"]}, "terminationGracePeriodSeconds": 5});
    assert_eq!(
        probed("livenessProbe", &probe).warnings(),
        ["FieldsIgnored: spec.containers[app].livenessProbe.terminationGracePeriodSeconds: \
          ACI decides how long containers may take to stop"]
    );
}
