//! What a pod consists of, and how it goes on: containers, init containers, restart policies, probes.

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use vk_e2e::{AzureSetup, Dialect, Env, Kubectl, phase};

use super::{containers, main_container, once, printed, properties, script};

pub(crate) async fn several_containers_of_a_pod_are_one_group(env: &mut Env) -> Result<()> {
    let azure = env.start_azure(AzureSetup::default()).await?;
    let small = json!({"requests": {"cpu": "250m", "memory": "200M"}});
    let pod = env.pod("three").spec(json!({
        "volumes": [{"name": "shared", "emptyDir": {}}],
        "containers": [
            {
                "name": "writer", "image": "registry.example.com/writer:1", "resources": small,
                "command": ["sh", "-c"], "args": ["echo handed over >/shared/note; echo written; sleep infinity"],
                "volumeMounts": [{"name": "shared", "mountPath": "/shared"}],
            },
            {
                "name": "reader", "image": "registry.example.com/reader:1", "resources": small,
                "command": ["sh", "-c", "until cat /mnt/note; do sleep 0.1; done; sleep infinity"],
                "volumeMounts": [{"name": "shared", "mountPath": "/mnt"}],
            },
            {"name": "third", "image": "registry.example.com/third:1", "resources": small},
        ],
    }));
    env.create(pod).await?;
    let pod = env.pod_ready("three").await?;
    let names: Vec<&str> = containers(&pod).iter().map(|container| container.name.as_str()).collect();
    ensure!(names == ["writer", "reader", "third"], "{names:?}");
    let written = env.kubectl(&["logs", "three", "-c", "writer"]).await?;
    ensure!(written == "written\n", "{written}");
    let mut reader = env.spawn(&Kubectl::own(Dialect::WebSocket), &["logs", "-f", "three", "-c", "reader"])?;
    reader.line_with("handed over").await?;
    reader.kill().await?;
    let third = env.kubectl(&["logs", "three", "-c", "third"]).await?;
    ensure!(third.contains("registry.example.com/third:1"), "another image: {third}");
    let shown = env.kubectl(&["get", "pod", "three"]).await?;
    ensure!(shown.contains("3/3"), "{shown}");
    ensure!(azure.groups().len() == 1, "{} groups", azure.groups().len());
    Ok(())
}

pub(crate) async fn init_containers_run_one_after_the_other_before_the_others(env: &mut Env) -> Result<()> {
    env.start_azure(AzureSetup::default()).await?;
    let step = |name: &str| {
        json!({
            "name": name, "image": "registry.example.com/init:1",
            "command": ["sh", "-c", format!("sleep 0.3; echo {name} >>/mnt/work/steps")],
            "volumeMounts": [{"name": "work", "mountPath": "/mnt/work"}],
        })
    };
    let pod = once(env, "prepared", "echo main >>/mnt/work/steps; cat /mnt/work/steps")
        .mounts("work", json!({"emptyDir": {}}))
        .spec(json!({"initContainers": [step("first"), step("second")]}));
    let printed = printed(env, pod).await?;
    ensure!(printed == "first\nsecond\nmain\n", "{printed}");
    let pod = env.pods().get("prepared").await?;
    let statuses = pod.status.and_then(|status| status.init_container_statuses).unwrap_or_default();
    let codes: Vec<_> = statuses
        .iter()
        .map(|status| {
            let ended = status.state.as_ref().and_then(|state| state.terminated.as_ref());
            (status.name.as_str(), ended.map(|ended| ended.exit_code))
        })
        .collect();
    ensure!(codes == [("first", Some(0)), ("second", Some(0))], "{codes:?}");
    Ok(())
}

pub(crate) async fn an_init_container_that_fails_holds_the_pod_back(env: &mut Env) -> Result<()> {
    env.start_azure(AzureSetup::default()).await?;
    let init = json!({"name": "first", "image": "registry.example.com/init:1", "command": ["sh", "-c", "exit 7"]});
    env.create(once(env, "broken", "echo never").spec(json!({"restartPolicy": "Never", "initContainers": [init]})))
        .await?;
    let pod = env.pod_until("broken", "to be Failed", |pod| phase(pod) == "Failed").await?;
    let statuses = pod.status.and_then(|status| status.init_container_statuses).unwrap_or_default();
    let ended =
        statuses.first().and_then(|status| status.state.as_ref()?.terminated.clone()).context("it has not ended")?;
    ensure!(ended.exit_code == 7, "{ended:?}");
    Ok(())
}

pub(crate) async fn linux_pods_run_on_a_linux_node(env: &mut Env) -> Result<()> {
    let azure = env.start_azure(AzureSetup::default().setting("OperatingSystem = \"Linux\"")).await?;
    let pod = once(env, "penguin", "uname").spec(json!({"restartPolicy": "Never", "os": {"name": "linux"}}));
    ensure!(printed(env, pod).await? == "Linux\n");
    let group = azure.group_of(&env.pods().get("penguin").await?)?;
    ensure!(properties(&group)["osType"] == "Linux", "{group}");
    let system = env.get_node().await?.status.and_then(|status| status.node_info).map(|info| info.operating_system);
    ensure!(system.as_deref() == Some("linux"), "the node says {system:?}");
    Ok(())
}

pub(crate) async fn windows_pods_run_on_a_windows_node(env: &mut Env) -> Result<()> {
    let azure = env.start_azure(AzureSetup::default().flag("--os").flag("Windows")).await?;
    // The token of the account, which the API server mounts into every pod, must not be in the way.
    let pod = env.pod("shop").spec(json!({"automountServiceAccountToken": true, "os": {"name": "windows"}}));
    env.create(pod).await?;
    let pod = env.pod_ready("shop").await?;
    let group = azure.group_of(&pod)?;
    ensure!(properties(&group)["osType"] == "Windows", "{group}");
    ensure!(properties(&group)["volumes"].as_array().is_none_or(Vec::is_empty), "{group}");
    let labels = env.get_node().await?.metadata.labels.unwrap_or_default();
    ensure!(labels.get("kubernetes.io/os").is_some_and(|system| system == "windows"), "{labels:?}");
    Ok(())
}

pub(crate) async fn restart_policies_decide_what_becomes_of_a_container_that_ends(env: &mut Env) -> Result<()> {
    let delays = |options: &mut vk_azure::Options| options.delays.back_off = std::time::Duration::from_millis(200);
    let azure = env.start_azure(AzureSetup::default().azure(delays)).await?;
    for (name, policy, script) in [
        ("always", "Always", "sleep 0.2"),
        ("on-failure", "OnFailure", "sleep 0.2; exit 4"),
        ("on-failure-well", "OnFailure", "exit 0"),
        ("never", "Never", "exit 4"),
        ("never-well", "Never", "exit 0"),
    ] {
        env.create(super::script(env, name, script).spec(json!({"restartPolicy": policy}))).await?;
    }
    for name in ["always", "on-failure"] {
        let restarted = env.pod_until(name, "to be started again", |pod| {
            containers(pod).first().is_some_and(|container| container.restart_count >= 2)
        });
        let pod = restarted.await?;
        let last = containers(&pod).first().and_then(|container| container.last_state.clone()).unwrap_or_default();
        let ended = last.terminated.with_context(|| format!("{name} has no last state"))?;
        ensure!(ended.exit_code == if name == "always" { 0 } else { 4 }, "{name}: {ended:?}");
    }
    for (name, wanted, code) in
        [("on-failure-well", "Succeeded", 0), ("never", "Failed", 4), ("never-well", "Succeeded", 0)]
    {
        let pod = env.pod_until(name, &format!("to be {wanted}"), |pod| phase(pod) == wanted).await?;
        let state = containers(&pod).first().and_then(|container| container.state.clone()).unwrap_or_default();
        let ended = state.terminated.with_context(|| format!("{name} has not ended"))?;
        ensure!(
            ended.exit_code == code && ended.started_at.is_some() && ended.finished_at.is_some(),
            "{name}: {ended:?}"
        );
        let group = azure.group_of(&pod)?;
        let policy = if name.starts_with("never") { "Never" } else { "OnFailure" };
        ensure!(properties(&group)["restartPolicy"] == policy, "{group}");
    }
    Ok(())
}

pub(crate) async fn a_liveness_probe_restarts_a_container_that_is_stuck(env: &mut Env) -> Result<()> {
    let delays = |options: &mut vk_azure::Options| options.delays.back_off = std::time::Duration::from_millis(200);
    let azure = env.start_azure(AzureSetup::default().azure(delays)).await?;
    let probe = json!({
        "exec": {"command": ["test", "-e", "/tmp/alive"]},
        "periodSeconds": 1, "failureThreshold": 1, "timeoutSeconds": 5, "initialDelaySeconds": 1,
    });
    let get = json!({"httpGet": {"port": "web", "path": "/ready", "scheme": "HTTP"}, "periodSeconds": 5});
    let stuck = script(env, "stuck", "touch /tmp/alive; sleep 2; rm /tmp/alive; sleep infinity")
        .container(json!({"livenessProbe": probe, "readinessProbe": get}))
        .container(json!({"ports": [{"name": "web", "containerPort": 18080}]}))
        .annotation("virtual-kubelet.io/public-ip", "false");
    env.create(stuck).await?;
    let pod = env.pod_until("stuck", "to be restarted", |pod| {
        containers(pod).first().is_some_and(|container| container.restart_count >= 1)
    });
    let group = azure.group_of(&pod.await?)?;
    let container = main_container(&group);
    ensure!(container["livenessProbe"]["exec"]["command"] == json!(["test", "-e", "/tmp/alive"]), "{container}");
    ensure!(container["livenessProbe"]["failureThreshold"] == 1, "{container}");
    let get = &container["readinessProbe"]["httpGet"];
    ensure!((&get["port"], &get["path"], &get["scheme"]) == (&json!(18080), &json!("/ready"), &json!("http")), "{get}");
    super::described(env, "stuck", "Killing").await?;
    Ok(())
}
