//! Something that vk-host needs is away for a while.

use std::time::Duration;

use anyhow::{Result, ensure};
use futures::future::try_join_all;
use k8s_openapi::{
    api::core::v1::{Node, Pod},
    apimachinery::pkg::apis::meta::v1::Time,
};
use kube::{api::ListParams, runtime::watcher};
use serde_json::json;
use tokio::time::{self, Instant};
use vk_backend::{Effect, Fault, Operation};
use vk_e2e::{Env, Seen, Setup, condition, is_ready, phase, reason, throughout, uid, until};

/// After a lease was renewed last, the controller manager waits 50 s before it sets the node's pods NotReady.
const LAPSES: Duration = Duration::from_secs(65);

/// The controller manager gives a node 50 s; an outage of the backend must last longer to tell something.
const BACKEND_AWAY: Duration = Duration::from_secs(120);
/// The provider is asked to describe the node every 10 s; when it can again, no wait goes on.
const CAUGHT_UP_WITHIN: Duration = Duration::from_secs(40);
const API_SERVER_AWAY: Duration = Duration::from_secs(30);

pub(crate) async fn two_minutes_without_the_backend_lose_nothing(env: &mut Env) -> Result<()> {
    env.start(Setup::default()).await?;
    let old = env.running("old", 10).await?;
    env.running("leaving", 2).await?;
    env.backend.stop().await;
    let began = Instant::now();

    // No pod that runs loses Ready, and neither does the node.
    let of_the_group = watcher::Config::default().labels("group=old");
    let pods = throughout(env.pods(), of_the_group, "Ready", is_ready, during_the_outage(env, began));
    let this_node = watcher::Config::default().fields(&format!("metadata.name={}", env.node));
    let is_ready = |node: &Node| condition(node, "Ready").is_some_and(|ready| ready.status == "True");
    throughout(env.nodes(), this_node, "Ready", is_ready, pods).await?;

    env.backend.restart().await?;
    let began = Instant::now();
    let with_label = |group: &str| watcher::Config::default().labels(&format!("group={group}"));
    let what = "the deletions to be finished";
    until(env.pods(), with_label("leaving"), what, CAUGHT_UP_WITHIN, Seen::is_empty).await?;
    let all_ready = |seen: &Seen<Pod>| seen.len() == 5 && seen.values().all(vk_e2e::is_ready);
    let what = "the pods that were made meanwhile to be Ready";
    let new = until(env.pods(), with_label("new"), what, CAUGHT_UP_WITHIN, all_ready).await?;
    eprintln!("{:.0?} after an outage of {BACKEND_AWAY:?} all is caught up with", began.elapsed());
    ensure!(env.backend.pods().len() == 15, "{} pods in the backend", env.backend.pods().len());
    env.made_once(new.into_keys())?;
    env.made_once_and_left_alone(old.into_keys())?;
    env.node_until("to show that the provider can be reached again", |node| {
        condition(node, "ProviderReachable").is_none_or(|condition| condition.status == "True")
    })
    .await?;
    Ok(())
}

async fn during_the_outage(env: &Env, began: Instant) -> Result<()> {
    env.create_all((0..5).map(|number| env.pod(&format!("new-{number}")).label("group", "new")), 5).await?;
    for name in ["leaving-0", "leaving-1"] {
        env.delete(name).await?;
        env.event(name, "ProviderDeleteFailed").await?;
    }
    let event = env.event("new-0", "ProviderCreateFailed").await?;
    ensure!(event.message.as_deref().is_some_and(|message| !message.is_empty()), "the event says nothing");
    env.node_until("to show that the provider cannot be reached", |node| {
        condition(node, "ProviderReachable").is_some_and(|condition| condition.status == "False")
    })
    .await?;
    time::sleep_until(began + BACKEND_AWAY).await;
    // Nothing went before it was gone, and nothing runs that was not made.
    for pod in env.pods().list(&ListParams::default()).await? {
        let name = pod.metadata.name.clone().unwrap_or_default();
        if name.starts_with("leaving") {
            ensure!(pod.metadata.deletion_timestamp.is_some(), "{name} is not on its way out");
        } else if name.starts_with("new") {
            ensure!(phase(&pod) == "Pending", "{name} is {}", phase(&pod));
        }
    }
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
    // Ten would be too many to believe that they are gone; what is proved here is the rule for each one.
    const PODS: usize = 9;
    env.start(Setup::default()).await?;
    let uids: Vec<String> = env.running("some", PODS).await?.into_keys().collect();
    // Two listings that name no pod, and a cursor that is no good any more, so that there will be listings.
    env.backend.fault(Fault::new(Effect::Empty).on(Operation::List).times(2));
    env.backend.fault(Fault::new(Effect::Status { code: 410, retry_after: None }).on(Operation::Changes).times(1));
    env.backend_until("the empty listings to be read", |backend| match backend.faults().len() {
        0 => Ok(()),
        _ => Err("there is one left".to_owned()),
    })
    .await?;
    // Each pod is still minded, and by the same life.
    let names: Vec<String> = (0..PODS).map(|number| format!("some-{number}")).collect();
    let annotation = json!({"metadata": {"annotations": {"example.com/seen": "yes"}}});
    try_join_all(names.iter().map(|name| env.patch(name, &annotation))).await?;
    env.backend_until("an update of each pod", |backend| {
        match uids.iter().find(|uid| backend.count(uid).updates == 0) {
            None => Ok(()),
            Some(uid) => Err(format!("none of {uid}: {:?}", backend.count(uid))),
        }
    })
    .await?;
    let now = env.ready("some", PODS).await?;
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
    env.create(env.pod("never").spec(json!({"restartPolicy": "Never"}))).await?;
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
    env.create(env.pod("newcomer")).await?;
    let newcomer = watcher::Config::default().fields("metadata.name=newcomer");
    let ready = |seen: &Seen<_>| seen.values().any(is_ready);
    until(env.pods(), newcomer, "the newcomer to be Ready", CAUGHT_UP_WITHIN, ready).await?;
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

pub(crate) async fn thirty_seconds_without_the_api_server_are_caught_up_with(env: &mut Env) -> Result<()> {
    env.start(Setup::default()).await?;
    let uids: Vec<String> = env.running("some", 10).await?.into_keys().collect();
    let never = json!({"restartPolicy": "Never"});
    for name in ["succeeds", "fails"] {
        env.create(env.pod(name).spec(never.clone())).await?;
    }
    env.create(env.pod("stops").asks("stop-after", "4s")).await?;
    let mut meanwhile = Vec::new();
    for name in ["succeeds", "fails", "stops"] {
        meanwhile.push(uid(&env.pod_ready(name).await?));
    }
    let [succeeds, fails, stops] = meanwhile.as_slice() else { unreachable!("three names") };
    // Under way when it goes away: a deletion, and creations of which the backend has done its part.
    env.delete("stops").await?;
    env.backend.fault(Fault::new(Effect::Late { milliseconds: Some(2_000) }).on(Operation::Create));
    let begun = (0..5).map(|number| env.pod(&format!("begun-{number}")).label("group", "begun"));
    let begun: Vec<String> = env.create_all(begun, 5).await?.iter().map(uid).collect();
    env.backend_until("the deletion and the creations to have begun", |backend| {
        let made = begun.iter().filter(|uid| backend.count(uid).made == 1).count();
        let stopping = backend.pod(stops).is_some_and(|pod| pod.stopping);
        if stopping && made == 5 { Ok(()) } else { Err(format!("stopping: {stopping}, made: {made}")) }
    })
    .await?;

    env.cluster.stop_apiserver().await;
    let began = Instant::now();
    ensure!(env.backend.finish(succeeds, 0, None), "the backend has no such pod");
    ensure!(env.backend.finish(fails, 3, Some("OOMKilled")), "the backend has no such pod");
    env.backend.clear_faults();
    time::sleep_until(began + API_SERVER_AWAY).await;
    env.cluster.start_apiserver().await?;

    let began = Instant::now();
    env.pod_until("succeeds", "to have succeeded", |pod| phase(pod) == "Succeeded").await?;
    env.pod_until("fails", "to have failed", |pod| phase(pod) == "Failed").await?;
    env.pod_gone("stops").await?;
    env.ready("begun", 5).await?;
    env.create(env.pod("newcomer")).await?;
    env.pod_ready("newcomer").await?;
    eprintln!("{:.1?} after an outage of {API_SERVER_AWAY:?} all is caught up with", began.elapsed());
    let now = env.ready("some", 10).await?;
    ensure!(now.keys().eq(uids.iter()), "other pods than before");
    env.backend_without(std::slice::from_ref(stops)).await?;
    env.made_once_and_left_alone(uids.into_iter().chain(begun))?;
    env.made_once(meanwhile)
}
