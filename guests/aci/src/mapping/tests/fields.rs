use std::collections::HashSet;

use serde_json::{Value, json};

use super::{container, pod, with};
use crate::mapping::fields;

/// A pod whose spec has a member besides its container.
fn spec(name: &str, value: &Value) -> super::Given {
    pod(json!({"containers": [container("app", json!({}))], name: value}))
}

#[test]
fn fields_of_the_spec_without_effect_on_what_runs_are_passed_over_in_silence() {
    for (name, value) in [
        ("nodeName", json!("vk")),
        ("nodeSelector", json!({"type": "virtual-kubelet"})),
        ("affinity", json!({"nodeAffinity": {}})),
        ("tolerations", json!([{"operator": "Exists"}])),
        ("topologySpreadConstraints", json!([{"maxSkew": 1}])),
        ("schedulerName", json!("default-scheduler")),
        ("priority", json!(0)),
        ("priorityClassName", json!("high")),
        ("preemptionPolicy", json!("PreemptLowerPriority")),
        ("overhead", json!({"cpu": "1"})),
        ("readinessGates", json!([{"conditionType": "a"}])),
        ("activeDeadlineSeconds", json!(5)),
        ("enableServiceLinks", json!(false)),
        ("serviceAccountName", json!("default")),
        ("serviceAccount", json!("default")),
        ("automountServiceAccountToken", json!(false)),
        ("terminationGracePeriodSeconds", json!(30)),
        ("setHostnameAsFQDN", json!(false)),
        ("os", json!({"name": "linux"})),
        ("securityContext", json!({})),
        ("hostUsers", json!(true)),
        ("hostNetwork", json!(false)),
        ("hostAliases", json!([])),
        ("dnsPolicy", json!("ClusterFirst")),
        ("imagePullSecrets", json!([{"name": "s"}])),
    ] {
        spec(name, &value).group();
    }
}

#[test]
fn fields_of_the_spec_that_a_pod_runs_well_without_are_told() {
    for (name, value) in [
        ("hostname", json!("web-0")),
        ("subdomain", json!("web")),
        ("setHostnameAsFQDN", json!(true)),
        ("hostnameOverride", json!("h")),
        ("terminationGracePeriodSeconds", json!(31)),
        ("ephemeralContainers", json!([{"name": "debug"}])),
        ("somethingNew", json!(true)),
    ] {
        let warnings = spec(name, &value).warnings();
        assert!(
            matches!(&warnings[..], [one] if one.starts_with(&format!("FieldsIgnored: spec.{name}: "))),
            "{warnings:?}"
        );
    }
    let warnings =
        pod(json!({"hostname": "h", "subdomain": "s", "containers": [container("app", json!({"tty": true}))]}));
    let [warning] = &warnings.warnings()[..] else { panic!("one event for all") };
    assert!(warning.contains("spec.hostname, spec.subdomain: ACI chooses the host name"), "{warning}");
    assert!(warning.contains("spec.containers[app].tty: "), "{warning}");
}

#[test]
fn fields_of_the_spec_that_cannot_be_honoured_are_refused_unless_the_pod_lifts_them() {
    for (name, value) in [
        ("hostNetwork", json!(true)),
        ("hostPID", json!(true)),
        ("hostIPC", json!(true)),
        ("hostUsers", json!(false)),
        ("shareProcessNamespace", json!(true)),
        ("hostAliases", json!([{"ip": "1.2.3.4", "hostnames": ["a"]}])),
        ("runtimeClassName", json!("gvisor")),
        ("resourceClaims", json!([{"name": "c"}])),
        ("resources", json!({"limits": {"cpu": "1"}})),
        ("os", json!({"name": "windows"})),
    ] {
        let refusal = spec(name, &value).refused();
        assert!(refusal.starts_with(&format!("spec.{name}: ")), "{refusal}");
        let lifted = spec(name, &value).annotated("vk-host.dev/ignore", &format!("spec.{name}")).warnings();
        assert_eq!(lifted, [format!("FieldsPassedOver: passed over as the pod's annotation has it: spec.{name}")]);
    }
    let linux = pod(json!({"containers": [container("app", json!({}))], "os": {"name": "linux"}})).on_windows();
    assert_eq!(linux.refused(), "spec.os: this node's containers are for windows, not linux");
}

#[test]
fn fields_of_containers_are_treated_alike_in_both_lists() {
    for (members, field, refused) in [
        (json!({"imagePullPolicy": "Never"}), "imagePullPolicy", true),
        (json!({"workingDir": "/w"}), "workingDir", true),
        (json!({"volumeDevices": [{"name": "d"}]}), "volumeDevices", true),
        (json!({"restartPolicyRules": [{"action": "Restart"}]}), "restartPolicyRules", true),
        (json!({"stdin": true}), "stdin", false),
        (json!({"stdinOnce": true}), "stdinOnce", false),
        (json!({"tty": true}), "tty", false),
        (json!({"somethingNew": {"a": 1}}), "somethingNew", false),
    ] {
        for list in ["containers", "initContainers"] {
            let mut given = with(json!({}));
            given.spec[list] = json!([container("x", members.clone())]);
            let path = format!("spec.{list}[x].{field}: ");
            let said = if refused { given.refused() } else { given.warnings().join("").replace("FieldsIgnored: ", "") };
            assert!(said.starts_with(&path), "{said}");
        }
    }
    for members in [
        json!({"imagePullPolicy": "Always"}),
        json!({"imagePullPolicy": "IfNotPresent"}),
        json!({"terminationMessagePath": "/t", "terminationMessagePolicy": "FallbackToLogsOnError"}),
        json!({"resizePolicy": [{"resourceName": "cpu", "restartPolicy": "NotRequired"}]}),
        json!({"stdin": false, "tty": false, "workingDir": ""}),
    ] {
        with(members).group();
    }
}

/// Whether a security context is taken, told of, or refused.
fn security(context: &Value, of_pod: bool) -> &'static str {
    let given = if of_pod { spec("securityContext", context) } else { with(json!({"securityContext": context})) };
    match given.map() {
        Err(error) => {
            let path = if of_pod { "spec.securityContext." } else { "spec.containers[app].securityContext." };
            assert!(error.message.starts_with(path), "{}", error.message);
            "refused"
        }
        Ok(mapped) if mapped.warnings.is_empty() => "taken",
        Ok(_) => "told",
    }
}

#[test]
fn no_promise_of_a_security_context_is_dropped_in_silence() {
    for (context, of_pod, of_container) in [
        (json!({}), "taken", "taken"),
        (json!({"runAsNonRoot": false}), "taken", "taken"),
        (json!({"runAsNonRoot": true}), "refused", "refused"),
        (json!({"runAsUser": 0}), "refused", "refused"),
        (json!({"runAsUser": 1000}), "refused", "refused"),
        (json!({"runAsGroup": 1000}), "refused", "refused"),
        (json!({"seLinuxOptions": {"level": "s0"}}), "refused", "refused"),
        (json!({"windowsOptions": {"runAsUserName": "u"}}), "refused", "refused"),
        (json!({"seccompProfile": {"type": "RuntimeDefault"}}), "taken", "taken"),
        (json!({"seccompProfile": {"type": "Unconfined"}}), "refused", "refused"),
        (json!({"seccompProfile": {"type": "Localhost", "localhostProfile": "p"}}), "refused", "refused"),
        (json!({"appArmorProfile": {"type": "RuntimeDefault"}}), "taken", "taken"),
        (json!({"appArmorProfile": {"type": "Unconfined"}}), "refused", "refused"),
    ] {
        assert_eq!((security(&context, true), security(&context, false)), (of_pod, of_container), "{context}");
    }
    for (context, of_pod) in [
        (json!({"fsGroup": 1000}), "refused"),
        (json!({"supplementalGroups": [1]}), "refused"),
        (json!({"sysctls": [{"name": "n", "value": "v"}]}), "refused"),
        (json!({"fsGroupChangePolicy": "OnRootMismatch", "supplementalGroupsPolicy": "Merge"}), "taken"),
    ] {
        assert_eq!(security(&context, true), of_pod, "{context}");
    }
    for (context, of_container) in [
        (json!({"privileged": false}), "taken"),
        (json!({"privileged": true}), "refused"),
        (json!({"allowPrivilegeEscalation": true}), "taken"),
        (json!({"allowPrivilegeEscalation": false}), "told"),
        (json!({"capabilities": {"drop": ["ALL"]}}), "told"),
        (json!({"readOnlyRootFilesystem": false}), "taken"),
        (json!({"readOnlyRootFilesystem": true}), "refused"),
        (json!({"procMount": "Default"}), "taken"),
        (json!({"procMount": "Unmasked"}), "refused"),
    ] {
        assert_eq!(security(&context, false), of_container, "{context}");
    }
    let refusal = with(json!({"securityContext": {"capabilities": {"add": ["NET_ADMIN"]}}})).refused();
    assert!(refusal.starts_with("spec.containers[app].securityContext.capabilities.add: "), "{refusal}");
}

#[test]
fn confidential_groups_honour_security_contexts() {
    let given = |of_pod: Value, of_container: Value| {
        let container = container("app", json!({"securityContext": of_container}));
        pod(json!({"containers": [container], "securityContext": of_pod}))
            .annotated("virtual-kubelet.io/container-sku", "confidential")
    };
    let full = json!({"privileged": true, "allowPrivilegeEscalation": false, "runAsUser": 1,
        "capabilities": {"add": ["NET_ADMIN"], "drop": ["ALL"]}});
    let mut expected = full.clone();
    expected["runAsGroup"] = json!(3);
    assert_eq!(given(json!({"runAsUser": 2, "runAsGroup": 3}), full).container()["securityContext"], expected);
    assert!(given(json!({}), json!({})).container().get("securityContext").is_none());
    assert!(with(json!({"securityContext": {"privileged": false}})).container().get("securityContext").is_none());
    let refusal = given(json!({"fsGroup": 1}), json!({"readOnlyRootFilesystem": true})).refused();
    assert!(
        refusal.contains("spec.securityContext.fsGroup: ") && refusal.contains("readOnlyRootFilesystem: "),
        "{refusal}"
    );
}

#[test]
fn each_field_has_one_rule() {
    for rules in [
        fields::SPEC,
        fields::CONTAINER,
        fields::RESOURCES,
        fields::PORT,
        fields::MOUNT,
        fields::PROBE,
        fields::POD_SECURITY,
        fields::CONTAINER_SECURITY,
        fields::CAPABILITIES,
    ] {
        let names: HashSet<_> = rules.iter().map(|rule| rule.name).collect();
        assert_eq!(names.len(), rules.len());
    }
}
