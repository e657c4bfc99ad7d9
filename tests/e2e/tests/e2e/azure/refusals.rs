//! What container groups cannot do is refused, and `kubectl describe` names the field.

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use vk_azure::Route;
use vk_e2e::{AzureSetup, Env};

/// Pods by what is wrong with them, and what is said of it.
fn refused() -> Vec<(&'static str, Value, Value, &'static [&'static str])> {
    let none = || json!({});
    vec![
        (
            "args-alone",
            none(),
            json!({"args": ["-v"]}),
            &["spec.containers[main].args", "without specifying the command"],
        ),
        (
            "hook",
            none(),
            json!({"lifecycle": {"postStart": {"exec": {"command": ["true"]}}}}),
            &["lifecycle", "ACI does not support lifecycle hooks"],
        ),
        (
            "startup",
            none(),
            json!({"startupProbe": {"exec": {"command": ["true"]}}}),
            &["startupProbe", "ACI does not support startupProbe"],
        ),
        ("tcp-probe", none(), json!({"livenessProbe": {"tcpSocket": {"port": 80}}}), &["livenessProbe", "tcpSocket"]),
        ("user", none(), json!({"securityContext": {"runAsUser": 1000}}), &["securityContext.runAsUser"]),
        ("directory", none(), json!({"workingDir": "/srv"}), &["workingDir"]),
        (
            "sctp",
            none(),
            json!({"ports": [{"containerPort": 80, "protocol": "SCTP"}]}),
            &["ports[80].protocol", "SCTP"],
        ),
        (
            "host-path",
            json!({"volumes": [{"name": "host", "hostPath": {"path": "/etc"}}]}),
            none(),
            &["requires volume host", "hostPath"],
        ),
        (
            "claim",
            json!({"volumes": [{"name": "disk", "nfs": {"server": "s", "path": "/"}}]}),
            none(),
            &["requires volume disk", "nfs"],
        ),
        ("host-net", json!({"hostNetwork": true}), none(), &["spec.hostNetwork"]),
        (
            "sidecar",
            json!({"initContainers": [{"name": "proxy", "image": "registry.example.com/proxy:1", "restartPolicy": "Always"}]}),
            none(),
            &["spec.initContainers[proxy].restartPolicy", "sidecar"],
        ),
        (
            "init-ports",
            json!({"initContainers": [{"name": "first", "image": "registry.example.com/first:1", "ports": [{"containerPort": 80}]}]}),
            none(),
            &["spec.initContainers[first].ports", "azure container instances initContainers do not support ports"],
        ),
        (
            "part",
            json!({"volumes": [{"name": "scratch", "emptyDir": {}}]}),
            json!({"volumeMounts": [{"name": "scratch", "mountPath": "/mnt", "subPath": "part"}]}),
            &["volumeMounts[scratch].subPath"],
        ),
    ]
}

pub(crate) async fn what_groups_cannot_do_is_refused_by_the_name_of_its_field(env: &mut Env) -> Result<()> {
    let azure = env.start_azure(AzureSetup::default()).await?;
    let all = refused();
    for (name, spec, container, _) in &all {
        env.create(env.pod(name).spec(spec.clone()).container(container.clone())).await?;
    }
    for (name, _, _, parts) in &all {
        let described = super::described(env, name, parts.first().copied().unwrap_or_default()).await?;
        for part in *parts {
            ensure!(described.contains(part), "{name}: {part:?} is not in: {described}");
        }
    }
    ensure!(azure.count(Route::Put) == 0, "{} groups were asked for", azure.count(Route::Put));
    Ok(())
}

pub(crate) async fn a_pod_may_say_that_a_refused_field_is_passed_over(env: &mut Env) -> Result<()> {
    env.start_azure(AzureSetup::default()).await?;
    let pod = env.pod("lenient").container(json!({"workingDir": "/srv"}));
    env.create(pod.annotation("vk-host.dev/ignore", "spec.containers[main].workingDir")).await?;
    env.pod_ready("lenient").await?;
    let event = env.event("lenient", "FieldsPassedOver").await?;
    ensure!(event.message.as_deref().is_some_and(|message| message.contains("workingDir")), "{event:?}");
    Ok(())
}
