//! vk-host comes and goes; its pods stay.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use vk_backend::{Effect, Fault, Operation};
use vk_e2e::{Env, PATIENCE, Seen, Setup, condition, eventually, is_ready, phase, uid};

const PODS: usize = 50;

/// Pods with files and a token, whose versions a new process must not take for news.
async fn fifty_pods(env: &Env) -> Result<Vec<String>> {
    env.kubectl(&["create", "configmap", "page", "--from-literal=title=one"]).await?;
    let pods = (0..PODS).map(|number| {
        let pod = env.pod(&format!("many-{number}")).label("group", "many");
        let variable = json!([{"name": "T", "valueFrom": {"configMapKeyRef": {"name": "page", "key": "title"}}}]);
        pod.spec(json!({"automountServiceAccountToken": true}))
            .mounts("page", json!({"configMap": {"name": "page"}}))
            .container(json!({"env": variable}))
    });
    env.create_all(pods, 10).await?;
    Ok(env.ready("many", PODS).await?.into_keys().collect())
}

/// A new pod runs, the old ones are as they were, and each of them is still minded: it can be deleted.
async fn all_is_well_after_the_restart(env: &Env, uids: Vec<String>) -> Result<()> {
    env.create(env.pod("newcomer")).await?;
    env.pod_ready("newcomer").await?;
    let now = env.ready("many", PODS).await?;
    ensure!(now.keys().eq(uids.iter()), "other pods than before");
    for pod in now.values() {
        let containers = pod.status.as_ref().and_then(|status| status.container_statuses.as_ref());
        let restarts: i32 = containers.into_iter().flatten().map(|container| container.restart_count).sum();
        ensure!(restarts == 0, "a container was restarted: {:?}", pod.metadata.name);
    }
    env.made_once_and_left_alone(uids.clone())?;
    env.kubectl(&["delete", "pods", "-l", "group=many", "--wait=false"]).await?;
    env.pods_gone("group=many").await?;
    env.backend_without(&uids).await?;
    for uid in uids {
        let count = env.backend.count(&uid);
        ensure!((count.made, count.creates, count.updates) == (1, 1, 0), "{uid}: {count:?}");
    }
    Ok(())
}

pub(crate) async fn fifty_pods_outlive_a_clean_restart_untouched(env: &mut Env) -> Result<()> {
    env.start(Setup::default()).await?;
    let uids = fifty_pods(env).await?;
    let status = env.sigterm().await?;
    ensure!(status.code() == Some(0), "vk-host ended with {status}");
    env.start_again().await?;
    all_is_well_after_the_restart(env, uids).await
}

pub(crate) async fn fifty_pods_outlive_a_kill_untouched(env: &mut Env) -> Result<()> {
    env.start(Setup::default()).await?;
    let uids = fifty_pods(env).await?;
    env.kill9().await?;
    env.start_again().await?;
    all_is_well_after_the_restart(env, uids).await
}

pub(crate) async fn a_kill_amid_creations_makes_no_pod_twice_and_loses_none(env: &mut Env) -> Result<()> {
    env.start(Setup::default()).await?;
    // Slow enough that many calls are in flight when the process dies.
    let slow = env.backend.fault(Fault::new(Effect::Slow { milliseconds: 300 }).on(Operation::Create));
    let pods = (0..2 * PODS).map(|number| env.pod(&format!("amid-{number}")).label("group", "amid"));
    let pods: Vec<_> = pods.collect();
    env.create_all(pods, 20).await?;
    env.backend_until("some pods to be made", |backend| match backend.pods().len() {
        made if made >= PODS / 2 => Ok(()),
        made => Err(format!("{made} made")),
    })
    .await?;
    env.kill9().await?;
    let made: BTreeSet<String> = env.backend.pods().into_iter().map(|pod| pod.id.uid).collect();
    ensure!(made.len() < 2 * PODS, "all pods were made before the kill, so that it proves nothing");
    env.backend.clear_fault(slow);
    env.start_again().await?;
    let uids: Vec<String> = env.ready("amid", 2 * PODS).await?.into_keys().collect();
    env.made_once(uids.clone())?;
    for uid in made {
        ensure!(env.backend.count(&uid).creates == 1, "{uid} was there, and was asked for again");
    }
    ensure!(env.backend.pods().len() == uids.len(), "{} pods in the backend", env.backend.pods().len());
    Ok(())
}

pub(crate) async fn what_changed_while_the_host_was_away_is_caught_up_with(env: &mut Env) -> Result<()> {
    env.start(Setup::default()).await?;
    env.kubectl(&["create", "configmap", "page", "--from-literal=title=one"]).await?;
    env.create(env.pod("reader").mounts("page", json!({"configMap": {"name": "page"}}))).await?;
    for name in ["labelled", "deleted", "untouched"] {
        env.create(env.pod(name)).await?;
    }
    let never = json!({"restartPolicy": "Never"});
    env.create(env.pod("finished").asks("run-for", "100ms").spec(never.clone())).await?;
    env.create(env.pod("finishing").spec(never)).await?;
    let finished = uid(&env.pod_until("finished", "to succeed", |pod| phase(pod) == "Succeeded").await?);
    let finishing = uid(&env.pod_ready("finishing").await?);
    let mut uids = Vec::new();
    for name in ["reader", "labelled", "deleted", "untouched"] {
        uids.push(uid(&env.pod_ready(name).await?));
    }
    env.sigterm().await?;

    env.kubectl(&["patch", "configmap", "page", "-p", r#"{"data": {"title": "two"}}"#]).await?;
    env.kubectl(&["label", "pod", "labelled", "tier=front"]).await?;
    env.kubectl(&["delete", "pod", "deleted", "--wait=false"]).await?;
    env.create(env.pod("newcomer")).await?;
    ensure!(env.backend.finish(&finishing, 3, Some("OOMKilled")), "the backend has no such pod");
    env.start_again().await?;

    let failed = env.pod_until("finishing", "to have failed", |pod| phase(pod) == "Failed").await?;
    let container = failed.status.and_then(|status| status.container_statuses?.into_iter().next());
    let end = container.and_then(|container| container.state?.terminated).context("no container has terminated")?;
    ensure!((end.exit_code, end.reason.as_deref()) == (3, Some("OOMKilled")), "{end:?}");
    env.pod_gone("deleted").await?;
    env.pod_ready("newcomer").await?;
    let [reader, labelled, deleted, untouched] = uids.as_slice() else { unreachable!("four names") };
    env.backend_without(std::slice::from_ref(deleted)).await?;
    env.backend_until("the edit of the ConfigMap", |backend| {
        let pod = backend.pod(reader).ok_or("no such pod")?;
        if pod.file("page", "title") == Some(b"two") { Ok(()) } else { Err(format!("{:?}", pod.volumes)) }
    })
    .await?;
    env.backend_until("the label", |backend| match backend.count(labelled).updates {
        1 => Ok(()),
        updates => Err(format!("{updates} updates")),
    })
    .await?;
    for (uid, wanted) in [(reader, &[["volumes"]]), (labelled, &[["metadata"]])] {
        let pod = env.backend.pod(uid).context("the backend has no such pod")?;
        ensure!(pod.changed == *wanted, "{:?} of {}", pod.changed, pod.id.name);
        ensure!(env.backend.count(uid).creates == 1, "{} was made again", pod.id.name);
    }
    ensure!(phase(&env.pods().get("finished").await?) == "Succeeded", "a finished pod was touched");
    env.made_once_and_left_alone([untouched.clone(), finished, finishing])
}

/// Pods that were deleted by force while nobody looked: those of the group `some` with these numbers.
async fn make_orphans(env: &mut Env, setup: Setup, numbers: std::ops::Range<usize>) -> Result<Vec<String>> {
    env.start(setup).await?;
    let all = env.running("some", 5).await?;
    env.sigterm().await?;
    let mut orphans = Vec::new();
    for number in numbers {
        let name = format!("some-{number}");
        orphans.push(uid(&env.pods().get(&name).await?));
        env.kubectl(&["delete", "pod", &name, "--force", "--grace-period=0"]).await?;
    }
    ensure!(all.keys().all(|uid| env.backend.pod(uid).is_some()), "the backend lost a pod by itself");
    Ok(orphans)
}

pub(crate) async fn orphans_are_removed_and_a_namesake_is_not(env: &mut Env) -> Result<()> {
    let orphans = make_orphans(env, Setup::default(), 0..3).await?;
    // Another pod under the name of one that is gone.
    let namesake = uid(&env.create(env.pod("some-0").label("group", "some")).await?);
    env.start_again().await?;
    env.backend_without(&orphans).await?;
    env.ready("some", 3).await?;
    for orphan in orphans {
        ensure!(env.backend.count(&orphan).gone == 1, "{orphan}: {:?}", env.backend.count(&orphan));
    }
    let others = [uid(&env.pods().get("some-3").await?), uid(&env.pods().get("some-4").await?)];
    env.made_once_and_left_alone(others.into_iter().chain([namesake]))
}

pub(crate) async fn an_orphan_is_kept_with_keep_orphans(env: &mut Env) -> Result<()> {
    let orphans = make_orphans(env, Setup::default().flag("--keep-orphans"), 0..1).await?;
    let [orphan] = orphans.as_slice() else { unreachable!("one was made") };
    env.start_again().await?;
    env.line(0, &["orphan", "kept", orphan]).await?;
    // A pod's whole life after the verdict.
    env.create(env.pod("newcomer")).await?;
    env.pod_ready("newcomer").await?;
    env.delete("newcomer").await?;
    env.pod_gone("newcomer").await?;
    env.made_once_and_left_alone(orphans)
}

pub(crate) async fn a_clean_stop_posts_not_ready_and_leaves_the_workloads(env: &mut Env) -> Result<()> {
    env.start(Setup::default()).await?;
    let mut uids: Vec<String> = env.running("some", 5).await?.into_keys().collect();
    // A call in flight is waited for.
    env.backend.fault(Fault::new(Effect::Slow { milliseconds: 2_000 }).on(Operation::Create).times(1));
    env.create(env.pod("late")).await?;
    env.backend_until("the call that is in flight", |backend| {
        let asked = backend.counts().requests.get(&Operation::Create).copied().unwrap_or_default();
        if asked == 6 { Ok(()) } else { Err(format!("{asked} calls")) }
    })
    .await?;
    let status = env.sigterm().await?;
    ensure!(status.code() == Some(0), "vk-host ended with {status}");

    let node = env.get_node().await?;
    let ready = condition(&node, "Ready").context("no condition Ready")?;
    ensure!(ready.status == "False", "Ready is {} ({:?})", ready.status, ready.message);
    let shown = env.kubectl(&["get", "node", &env.node]).await?;
    ensure!(shown.contains("NotReady"), "{shown}");
    uids.push(uid(&env.pods().get("late").await?));
    ensure!(env.backend.pods().len() == 6, "{} pods in the backend", env.backend.pods().len());
    env.made_once_and_left_alone(uids.clone())?;
    for pod in env.pods().list(&kube::api::ListParams::default().labels("group=some")).await? {
        ensure!(phase(&pod) == "Running", "a pod is {}", phase(&pod));
    }

    env.start_again().await?;
    env.pod_ready("late").await?;
    // Ctrl-C is a clean stop too.
    env.vk_host()?.sigint();
    let status = env.vk_host()?.ended(PATIENCE).await?;
    ensure!(status.code() == Some(0), "vk-host ended with {status}");
    env.start_again().await?;
    env.pods_until("group=some", "the pods to be Ready again", |seen: &Seen<_>| seen.values().all(is_ready)).await?;
    env.made_once_and_left_alone(uids)?;
    eventually("the stop to be told", PATIENCE, async || {
        let log = env.log();
        if log.contains("SIGTERM") { Ok(()) } else { Err(log) }
    })
    .await
}
