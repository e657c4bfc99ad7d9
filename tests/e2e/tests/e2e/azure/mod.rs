//! Pods as container groups of Azure: the real control plane and kubectl on one side, a simulator of Azure that checks
//! what it is sent on the other. Its containers run, so that what they print is what the pod's features came to.

pub(crate) mod burst;
pub(crate) mod credentials;
pub(crate) mod faults;
pub(crate) mod features;
pub(crate) mod manners;
pub(crate) mod network;
pub(crate) mod ownership;
pub(crate) mod refusals;
pub(crate) mod size;
pub(crate) mod status;
pub(crate) mod streams;
pub(crate) mod throttling;
pub(crate) mod usage;
pub(crate) mod variables;
pub(crate) mod volumes;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use serde_json::{Value, json};
use vk_e2e::{Env, PodBuilder, phase};

/// A pod whose container runs a script of the shell.
fn script(env: &Env, name: &str, script: &str) -> PodBuilder {
    env.pod(name).container(json!({"command": ["sh", "-c", script]}))
}

/// A pod that runs a script once.
fn once(env: &Env, name: &str, text: &str) -> PodBuilder {
    script(env, name, text).spec(json!({"restartPolicy": "Never"}))
}

/// Runs a pod to its end, which must be a good one, and returns what its container `main` has printed.
async fn printed(env: &Env, pod: PodBuilder) -> Result<String> {
    let pod = env.create(pod).await?;
    let name = pod.metadata.name.context("the pod has no name")?;
    let over = env.pod_until(&name, "to be over", |pod| matches!(phase(pod), "Succeeded" | "Failed")).await?;
    let printed = env.kubectl(&["logs", &name, "-c", "main"]).await?;
    ensure!(phase(&over) == "Succeeded", "pod {name} is {} and printed: {printed}", phase(&over));
    Ok(printed)
}

/// The statuses of a pod's containers.
fn containers(pod: &Pod) -> &[ContainerStatus] {
    pod.status.as_ref().and_then(|status| status.container_statuses.as_deref()).unwrap_or_default()
}

/// The properties of a group.
fn properties(group: &Value) -> &Value {
    &group["properties"]
}

/// The properties of a group's first container.
fn main_container(group: &Value) -> &Value {
    &group["properties"]["containers"][0]["properties"]
}

/// What `kubectl describe` says of a pod, once it says something.
async fn described(env: &Env, name: &str, part: &str) -> Result<String> {
    vk_e2e::eventually(&format!("kubectl describe pod {name} to say {part:?}"), vk_e2e::PATIENCE, async || {
        let described = env.kubectl(&["describe", "pod", name]).await.map_err(|error| error.to_string())?;
        if described.contains(part) { Ok(described) } else { Err(described) }
    })
    .await
}
