//! vk-host dies at the worst moment, or stands still.

use std::time::Duration;

use anyhow::{Result, ensure};
use futures::future::try_join_all;
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};
use tokio::time::Instant;
use vk_backend::{Effect, Fault, Operation};
use vk_e2e::{Env, PATIENCE, Seen, Setup, condition, is_ready, phase, until};

/// Of each of three kinds, whose calls are all held: the host makes 14 calls about pods at one time.
const PODS: usize = 4;

fn names(group: &str) -> Vec<String> {
    (0..PODS).map(|number| format!("{group}-{number}")).collect()
}

/// What the host notes with a pod once it has been created.
fn is_noted(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.into_iter().flatten().any(|condition| condition.type_ == "vk-host.dev/provider")
}

pub(crate) async fn a_kill_between_a_deed_and_its_answer_doubles_and_loses_nothing(env: &mut Env) -> Result<()> {
    env.start(Setup::default()).await?;
    let changed: Vec<String> = env.running("changed", PODS).await?.into_keys().collect();
    let deleted: Vec<String> = env.running("deleted", PODS).await?.into_keys().collect();
    for operation in [Operation::Create, Operation::Update, Operation::Delete] {
        env.backend.fault(Fault::new(Effect::Late { milliseconds: None }).on(operation));
    }
    let created = names("created").into_iter().map(|name| env.pod(&name).label("group", "created"));
    let created: Vec<String> = env.create_all(created, PODS).await?.iter().map(vk_e2e::uid).collect();
    let label = json!({"metadata": {"labels": {"tier": "front"}}});
    try_join_all(names("changed").iter().map(|name| env.patch(name, &label))).await?;
    try_join_all(names("deleted").iter().map(|name| env.delete(name))).await?;
    env.backend_until("all of it to be done", |backend| {
        let done = |uids: &[String], deed: fn(&vk_backend::Count) -> u64| {
            uids.iter().filter(|uid| deed(&backend.count(uid)) > 0).count()
        };
        let done = [
            done(&created, |count| count.made),
            done(&changed, |count| count.updates),
            done(&deleted, |count| count.gone),
        ];
        if done == [PODS; 3] { Ok(()) } else { Err(format!("created, changed, deleted: {done:?}")) }
    })
    .await?;
    env.kill9().await?;
    // The API knows nothing of it, or the kill would prove nothing.
    for pod in env.pods().list(&kube::api::ListParams::default()).await? {
        let group = pod.metadata.labels.as_ref().and_then(|labels| labels.get("group")).cloned().unwrap_or_default();
        match group.as_str() {
            "created" => ensure!(phase(&pod) == "Pending" && !is_noted(&pod), "{:?}", pod.status),
            "deleted" => ensure!(pod.metadata.deletion_timestamp.is_some(), "{:?}", pod.metadata),
            _ => ensure!(is_ready(&pod), "{:?}", pod.status),
        }
    }
    env.backend.clear_faults();
    env.start_again().await?;

    let now: Vec<String> = env.ready("created", PODS).await?.into_keys().collect();
    env.pods_gone("group=deleted").await?;
    env.ready("changed", PODS).await?;
    env.backend_until("the changes", |backend| {
        let label = |uid| Some(backend.pod(uid)?.manifest.pointer("/metadata/labels/tier")? == &Value::from("front"));
        let missing = changed.iter().find(|uid| label(uid) != Some(true));
        missing.map_or(Ok(()), |uid| Err(format!("not of {uid}")))
    })
    .await?;
    ensure!(env.backend.pods().len() == 2 * PODS, "{} pods in the backend", env.backend.pods().len());
    for uid in &now {
        ensure!(created.contains(uid), "another pod than before");
    }
    env.made_once_and_left_alone(created)?;
    env.made_once(changed)?;
    env.made_once(deleted)
}

pub(crate) async fn pods_are_ready_again_at_once_after_a_host_stood_still(env: &mut Env) -> Result<()> {
    const STANDSTILL: Duration = Duration::from_secs(70);
    const READY_WITHIN: Duration = Duration::from_secs(10);
    env.start(Setup::default()).await?;
    let uids: Vec<String> = env.running("some", 20).await?.into_keys().collect();
    let before = env.vk_host()?.pid();
    env.vk_host()?.freeze();
    let frozen = Instant::now();
    let not_ready = |seen: &Seen<Pod>| seen.len() == 20 && !seen.values().any(is_ready);
    let selection = kube::runtime::watcher::Config::default().labels("group=some");
    until(env.pods(), selection, "the controller manager to set all pods NotReady", STANDSTILL, not_ready).await?;
    tokio::time::sleep_until(frozen + STANDSTILL).await;
    env.vk_host()?.thaw();
    let thawed = Instant::now();
    let now = env.ready("some", 20).await?;
    let took = thawed.elapsed();
    eprintln!("20 pods that had turned NotReady are Ready {took:.2?} after the host goes on");
    ensure!(took <= READY_WITHIN, "the pods were Ready again only after {took:?}");

    ensure!(env.vk_host()?.pid() == before, "the host was restarted");
    ensure!(now.keys().eq(uids.iter()), "other pods than before");
    for pod in now.values() {
        let containers = pod.status.as_ref().and_then(|status| status.container_statuses.as_ref());
        let restarts: i32 = containers.into_iter().flatten().map(|container| container.restart_count).sum();
        ensure!(restarts == 0, "a container was restarted: {:?}", pod.metadata.name);
    }
    env.made_once_and_left_alone(uids)?;
    env.node_until("to be Ready and without a taint of the controller manager's", |node| {
        let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_ref());
        condition(node, "Ready").is_some_and(|ready| ready.status == "True")
            && !taints.into_iter().flatten().any(|taint| taint.key.starts_with("node.kubernetes.io/"))
    })
    .await?;
    env.create(env.pod("newcomer")).await?;
    tokio::time::timeout(PATIENCE, env.pod_ready("newcomer")).await?.map(drop)
}
