//! What `kubectl get` and `kubectl describe` tell of groups: states, exit codes, restarts, times, events.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use vk_azure::{Effect, Options, Route};
use vk_e2e::{AzureSetup, Env, is_ready, phase, reason};

use super::{containers, once, script};

pub(crate) async fn exit_codes_times_and_reasons_are_those_of_the_containers(env: &mut Env) -> Result<()> {
    env.start_azure(AzureSetup::default()).await?;
    let ended = |name: &str, code: i32| {
        json!({"name": name, "image": "registry.example.com/x:1", "command": ["sh", "-c", format!("exit {code}")],
            "resources": {"requests": {"cpu": "100m", "memory": "100M"}}})
    };
    let pod = env.pod("ended").spec(json!({
        "restartPolicy": "Never", "containers": [ended("well", 0), ended("badly", 3), ended("killed", 137)],
    }));
    env.create(pod).await?;
    let pod = env.pod_until("ended", "to be Failed", |pod| phase(pod) == "Failed").await?;
    for (container, (code, reason)) in containers(&pod).iter().zip([(0, "Completed"), (3, "Error"), (137, "Error")]) {
        let state = container.state.clone().and_then(|state| state.terminated);
        let state = state.with_context(|| format!("{} has not ended", container.name))?;
        ensure!(state.exit_code == code && state.reason.as_deref() == Some(reason), "{}: {state:?}", container.name);
        ensure!(state.started_at.is_some() && state.finished_at >= state.started_at, "{}: {state:?}", container.name);
        ensure!(!container.ready && container.container_id.is_some(), "{container:?}");
    }
    let shown = env.kubectl(&["get", "pod", "ended"]).await?;
    ensure!(shown.contains("0/3"), "{shown}");
    Ok(())
}

pub(crate) async fn a_container_out_of_memory_and_other_states_are_told(env: &mut Env) -> Result<()> {
    let azure = env.start_azure(AzureSetup::default()).await?;
    for name in ["hungry", "unhealthy", "stopped", "moved"] {
        env.create(env.pod(name)).await?;
    }
    for name in ["hungry", "unhealthy", "stopped", "moved"] {
        env.pod_ready(name).await?;
    }
    let of = async |name: &str| azure.name_of(&env.pods().get(name).await?);
    // What the simulator's containers do not do, Azure is made to say.
    let killed = json!({
        "state": "Terminated", "exitCode": 137, "detailStatus": "OOMKilled",
        "startTime": "2024-01-01T00:00:00.1234567Z", "finishTime": "2024-01-01T00:00:01Z",
    });
    let view = json!({"instanceView": {"currentState": killed}});
    let edit = json!({"properties": {"instanceView": {"state": "Failed"}, "containers": {"0": {"properties": view}}}});
    azure.simulator.edit_group(&of("hungry").await?, edit);
    let edit = json!({"properties": {"provisioningState": "Unhealthy"}});
    azure.simulator.edit_group(&of("unhealthy").await?, edit);
    let edit = json!({"properties": {"ipAddress": {"ip": "198.18.255.7", "type": "Public"}}});
    azure.simulator.edit_group(&of("moved").await?, edit);

    let hungry = env.pod_until("hungry", "to be Failed", |pod| phase(pod) == "Failed").await?;
    let state = containers(&hungry).first().and_then(|container| container.state.clone()?.terminated);
    let state = state.context("it has not ended")?;
    ensure!((state.exit_code, state.reason.as_deref()) == (137, Some("OOMKilled")), "{state:?}");
    env.pod_until("moved", "to have its new address", |pod| {
        pod.status.as_ref().is_some_and(|status| status.pod_ip.as_deref() == Some("198.18.255.7"))
    })
    .await?;
    // A word that says nothing about containers ends none of them.
    let unhealthy = env.pods().get("unhealthy").await?;
    ensure!(is_ready(&unhealthy) && phase(&unhealthy) == "Running", "{:?}", unhealthy.status);

    // Somebody stops a group by hand.
    let name = of("stopped").await?;
    let edit = json!({"properties": {"instanceView": {"state": "Stopped"}}});
    azure.simulator.edit_group(&name, edit);
    env.pod_until("stopped", "not to be Ready", |pod| !is_ready(pod)).await?;
    Ok(())
}

pub(crate) async fn events_of_groups_reach_kubectl_describe(env: &mut Env) -> Result<()> {
    let azure = env.start_azure(AzureSetup::default()).await?;
    env.create(env.pod("told")).await?;
    env.pod_ready("told").await?;
    for reason in ["Pulling", "Pulled", "Started"] {
        let event = env.event("told", reason).await?;
        let field = event.involved_object.field_path.unwrap_or_default();
        ensure!(field == "spec.containers{main}", "{reason} is of {field:?}");
    }
    // A volume that cannot be mounted is an event of the whole group.
    let at = k8s_openapi::jiff::Timestamp::now().to_string();
    let event = json!([{
        "count": 1, "name": "FailedMount", "message": "the share is not there", "type": "Warning",
        "firstTimestamp": at, "lastTimestamp": at,
    }]);
    let name = azure.name_of(&env.pods().get("told").await?)?;
    azure.simulator.edit_group(&name, json!({"properties": {"instanceView": {"events": event}}}));
    let described = super::described(env, "told", "FailedMount").await?;
    let line = described.lines().find(|line| line.contains("FailedMount")).unwrap_or_default();
    ensure!(line.contains("Warning") && line.contains("the share is not there"), "{described}");
    let shown = described.lines().filter(|line| line.contains("Pulled")).count();
    ensure!(shown == 1, "Pulled is shown {shown} times: {described}");
    Ok(())
}

pub(crate) async fn a_pod_that_starts_shows_how_far_it_is(env: &mut Env) -> Result<()> {
    let slow = |options: &mut Options| {
        options.delays.schedule = Duration::from_secs(4);
        options.delays.pull = Duration::from_secs(600);
    };
    let azure = env.start_azure(AzureSetup::default().azure(slow)).await?;
    env.create(env.pod("slow")).await?;
    azure.groups_until(1).await?;
    let waiting = env.pod_until("slow", "to wait", |pod| {
        containers(pod)
            .first()
            .is_some_and(|container| container.state.as_ref().is_some_and(|state| state.waiting.is_some()))
    });
    let pod = waiting.await?;
    ensure!(phase(&pod) == "Pending", "{}", phase(&pod));
    env.event("slow", "Pulling").await?;
    azure.advance(Duration::from_secs(600));
    let pod = env.pod_ready("slow").await?;
    ensure!(containers(&pod).iter().all(|container| container.started == Some(true)), "{:?}", containers(&pod));
    Ok(())
}

pub(crate) async fn an_image_that_cannot_be_pulled_is_told_and_gives_up_in_the_end(env: &mut Env) -> Result<()> {
    let private = |options: &mut Options| {
        let registry = vk_azure::Registry {
            server: "private.example.com".to_owned(),
            username: "somebody".to_owned(),
            password: vk_e2e::hidden("password"),
        };
        options.registries.push(registry);
    };
    let azure = env.start_azure(AzureSetup::default().azure(private)).await?;
    env.create(env.pod("unknown").container(json!({"image": "private.example.com/app:1"}))).await?;
    let waiting = env.pod_until("unknown", "to say why it waits", |pod| {
        let state = containers(pod).first().and_then(|container| container.state.as_ref()?.waiting.as_ref());
        state.and_then(|waiting| waiting.reason.as_deref()).is_some_and(|reason| reason.contains("Image"))
    });
    waiting.await?;
    let event = env.event("unknown", "Failed").await?;
    ensure!(event.type_.as_deref() == Some("Warning"), "{event:?}");
    azure.advance(Duration::from_secs(31 * 60));
    env.pod_until("unknown", "to be Failed", |pod| phase(pod) == "Failed").await?;
    Ok(())
}

pub(crate) async fn a_group_that_somebody_removed_fails_its_pod(env: &mut Env) -> Result<()> {
    let azure = env.start_azure(AzureSetup::default()).await?;
    env.create(env.pod("removed").spec(json!({"restartPolicy": "Never"}))).await?;
    let pod = env.pod_ready("removed").await?;
    azure.simulator.remove_group(&azure.name_of(&pod)?);
    let pod = env.pod_until("removed", "to be Failed", |pod| phase(pod) == "Failed").await?;
    ensure!(!reason(&pod).is_empty(), "{:?}", pod.status);
    Ok(())
}

pub(crate) async fn odd_answers_are_read_all_the_same(env: &mut Env) -> Result<()> {
    let odd = |options: &mut Options| {
        options.quirks = vk_azure::Quirks {
            get_after_put: 1_500,
            list_after_put: 3_000,
            list_after_delete: 3_000,
            get_after_delete: 2,
            ip_absent: 2_000,
            fraction_digits: Some(7),
            omit_events: true,
            null_previous_state: true,
            loud_ids: true,
        };
        options.page_size = 2;
    };
    let azure = env.start_azure(AzureSetup::default().azure(odd)).await?;
    azure.simulator.fault(vk_azure::Fault::new(Effect::Gzip).on(Route::List).times(2));
    env.create(once(env, "over", "exit 0")).await?;
    let ready = env.running("odd", 5).await?;
    env.pod_until("over", "to have succeeded", |pod| phase(pod) == "Succeeded").await?;
    env.pods_until("group=odd", "addresses", |seen| {
        seen.values().all(|pod| pod.status.as_ref().is_some_and(|status| status.pod_ip.is_some()))
    })
    .await?;
    for pod in ready.values() {
        ensure!(azure.groups_of(pod).len() == 1, "{:?}", azure.groups_of(pod));
    }
    env.create(script(env, "last", "sleep infinity")).await?;
    env.pod_ready("last").await?;
    env.kubectl(&["delete", "pods", "--all", "--timeout=60s"]).await?;
    azure.groups_until(0).await
}
