//! Something that vk-host needs is away for a while.

use std::time::Duration;

use anyhow::{Result, ensure};
use futures::future::try_join_all;
use k8s_openapi::{
    api::core::v1::{Node, Pod},
    apimachinery::pkg::apis::meta::v1::Time,
};
use kube::runtime::watcher;
use tokio::time::{self, Instant};
use vk_backend::{Effect, Fault, Operation};
use vk_e2e::{Env, PATIENCE, Seen, Setup, condition, is_ready, phase, reason, uid, until};

/// After a lease was renewed last, the controller manager waits 50 s before it sets the node's pods NotReady.
const LAPSES: Duration = Duration::from_secs(65);

pub(crate) async fn an_outage_of_the_backend_loses_nothing(env: &mut Env) -> Result<()> {
    env.start(Setup::default()).await?;
    let mut uids: Vec<String> = env.running("old", 10).await?.into_keys().collect();
    env.backend.stop().await;
    let new = (0..5).map(|number| env.pod(&format!("new-{number}")).label("group", "new"));
    let new: Vec<_> = new.collect();
    uids.extend(env.create_all(new, 5).await?.iter().map(uid));
    for name in ["old-0", "old-1"] {
        env.delete(name).await?;
        env.event(name, "ProviderDeleteFailed").await?;
    }
    let event = env.event("new-0", "ProviderCreateFailed").await?;
    ensure!(event.message.as_deref().is_some_and(|message| !message.is_empty()), "the event says nothing");
    env.node_until("to show that the provider cannot be reached", |node| {
        condition(node, "ProviderReachable").is_some_and(|condition| condition.status == "False")
    })
    .await?;
    // Nothing was lost, nothing went before it was gone.
    ensure!(condition(&env.get_node().await?, "Ready").is_some_and(|ready| ready.status == "True"), "NotReady");
    for pod in env.pods().list(&kube::api::ListParams::default()).await? {
        let name = pod.metadata.name.clone().unwrap_or_default();
        match name.as_str() {
            "old-0" | "old-1" => ensure!(pod.metadata.deletion_timestamp.is_some(), "{name} is not on its way out"),
            _ if name.starts_with("old") => ensure!(is_ready(&pod), "{name} is not Ready any more"),
            _ => ensure!(phase(&pod) == "Pending", "{name} is {}", phase(&pod)),
        }
    }

    env.backend.restart().await?;
    for name in ["old-0", "old-1"] {
        env.pod_gone(name).await?;
    }
    env.ready("new", 5).await?;
    let left = env.ready("old", 8).await?;
    env.made_once(uids)?;
    ensure!(env.backend.pods().len() == 13, "{} pods in the backend", env.backend.pods().len());
    env.made_once_and_left_alone(left.into_keys())?;
    env.node_until("to show that the provider can be reached again", |node| {
        condition(node, "ProviderReachable").is_none_or(|condition| condition.status == "True")
    })
    .await?;
    Ok(())
}

pub(crate) async fn a_lost_answer_to_a_creation_makes_no_second_pod(env: &mut Env) -> Result<()> {
    env.start(Setup::default()).await?;
    env.backend.fault(Fault::new(Effect::LostAnswer).on(Operation::Create).times(1));
    env.create(env.pod("lost")).await?;
    env.create(env.pod("cut")).await?;
    let (lost, cut) = (uid(&env.pod_ready("lost").await?), uid(&env.pod_ready("cut").await?));
    env.made_once([lost, cut])?;
    ensure!(env.backend.pods().len() == 2, "{} pods in the backend", env.backend.pods().len());

    env.backend.fault(Fault::new(Effect::LostAnswer).on(Operation::Delete).times(1));
    env.kubectl(&["delete", "pod", "lost", "cut", "--timeout=30s"]).await?;
    ensure!(env.backend.pods().is_empty(), "{} pods in the backend", env.backend.pods().len());
    Ok(())
}

pub(crate) async fn listings_that_forget_pods_for_a_while_end_none(env: &mut Env) -> Result<()> {
    env.start(Setup::default()).await?;
    let uids: Vec<String> = env.running("some", 10).await?.into_keys().collect();
    // Two listings that name no pod, and a cursor that is no good any more, so that there will be listings.
    env.backend.fault(Fault::new(Effect::Empty).on(Operation::List).times(2));
    env.backend.fault(Fault::new(Effect::Status { code: 410, retry_after: None }).on(Operation::Changes).times(1));
    env.backend_until("the empty listings to be read", |backend| match backend.faults().len() {
        0 => Ok(()),
        _ => Err("there is one left".to_owned()),
    })
    .await?;
    // Each pod is still minded, and by the same life.
    let names: Vec<String> = (0..10).map(|number| format!("some-{number}")).collect();
    let annotation = serde_json::json!({"metadata": {"annotations": {"example.com/seen": "yes"}}});
    try_join_all(names.iter().map(|name| env.patch(name, &annotation))).await?;
    env.backend_until("an update of each pod", |backend| {
        match uids.iter().find(|uid| backend.count(uid).updates == 0) {
            None => Ok(()),
            Some(uid) => Err(format!("none of {uid}: {:?}", backend.count(uid))),
        }
    })
    .await?;
    let now = env.ready("some", 10).await?;
    ensure!(now.keys().eq(uids.iter()), "other pods than before");
    for uid in uids {
        let count = env.backend.count(&uid);
        ensure!((count.made, count.creates, count.deletes) == (1, 1, 0), "{count:?}");
    }
    Ok(())
}

pub(crate) async fn pods_that_the_backend_lost_are_made_again_or_failed(env: &mut Env) -> Result<()> {
    env.start(Setup::default()).await?;
    env.create(env.pod("always")).await?;
    env.create(env.pod("never").spec(serde_json::json!({"restartPolicy": "Never"}))).await?;
    let (always, never) = (uid(&env.pod_ready("always").await?), uid(&env.pod_ready("never").await?));
    for uid in [&always, &never] {
        ensure!(env.backend.remove(uid), "the backend has no such pod");
    }
    env.event("always", "NotFound").await?;
    let failed = env.pod_until("never", "to be Failed", |pod| phase(pod) == "Failed").await?;
    ensure!(reason(&failed) == "NotFound", "its reason is {:?}", reason(&failed));
    env.backend_until("the pod that may be restarted", |backend| match backend.count(&always).made {
        2 => Ok(()),
        made => Err(format!("made {made} times")),
    })
    .await?;
    env.pod_ready("always").await?;
    ensure!(env.backend.count(&never).made == 1, "a pod that may run once was made again");
    Ok(())
}

pub(crate) async fn a_host_that_starts_during_an_outage_keeps_node_and_pods_ready(env: &mut Env) -> Result<()> {
    env.start(Setup::default()).await?;
    let before = env.running("some", 5).await?;
    env.kill9().await?;
    let killed = Instant::now();
    env.backend.stop().await;
    let lines = env.log().lines().count();
    env.launch(Setup::default())?;
    env.line(lines, &["WARN", "describe", &env.backend.address().to_string()]).await?;
    env.registered().await?;
    let node = env.node_until("to show that the provider cannot be reached", |node| {
        condition(node, "ProviderReachable").is_some_and(|condition| condition.status == "False")
    });
    let node = node.await?;
    time::sleep_until(killed + LAPSES).await;

    env.backend.restart().await?;
    // Waits double up to a minute, so that the next call may be as far away.
    env.create(env.pod("newcomer")).await?;
    let newcomer = watcher::Config::default().fields("metadata.name=newcomer");
    let ready = |seen: &Seen<_>| seen.values().any(is_ready);
    until(env.pods(), newcomer, "the newcomer to be Ready", PATIENCE + Duration::from_secs(60), ready).await?;
    // None has lost it for a moment: the times of the transitions are the same.
    let since = |node: &Node| condition(node, "Ready").and_then(|ready| ready.last_transition_time.clone());
    ensure!(since(&env.get_node().await?) == since(&node), "the node has lost Ready");
    let now = env.ready("some", 5).await?;
    ensure!(now.keys().eq(before.keys()), "other pods than before");
    for (uid, pod) in &now {
        ensure!(ready_since(pod) == ready_since(&before[uid]), "pod {:?} has lost Ready", pod.metadata.name);
    }
    env.made_once_and_left_alone(now.into_keys())
}

fn ready_since(pod: &Pod) -> Option<Time> {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    let ready = conditions.into_iter().flatten().find(|condition| condition.type_ == "Ready")?;
    ready.last_transition_time.clone()
}

pub(crate) async fn an_outage_of_the_api_server_is_survived(env: &mut Env) -> Result<()> {
    env.start(Setup::default()).await?;
    let uids: Vec<String> = env.running("some", 10).await?.into_keys().collect();
    let ending =
        env.create(env.pod("ending").asks("run-for", "6s").spec(serde_json::json!({"restartPolicy": "Never"})));
    let ending = uid(&ending.await?);
    env.pod_ready("ending").await?;
    env.cluster.stop_apiserver().await;
    // What happens meanwhile is told afterwards.
    env.backend_until("the pod to end during the outage", |backend| {
        let state = backend.pod(&ending).map(|pod| format!("{:?}", pod.state)).unwrap_or_default();
        if state.contains("Succeeded") { Ok(()) } else { Err(state) }
    })
    .await?;
    env.cluster.start_apiserver().await?;
    env.pod_until("ending", "to have succeeded", |pod| phase(pod) == "Succeeded").await?;
    env.create(env.pod("newcomer")).await?;
    env.pod_ready("newcomer").await?;
    env.ready("some", 10).await?;
    env.made_once_and_left_alone(uids)
}
