//! Several hosts and one node name: only one of them ever acts.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::{coordination::v1::Lease, core::v1::Pod};
use kube::{
    Api, Client, Config,
    api::{DeleteParams, PostParams},
    config::{KubeConfigOptions, Kubeconfig},
    runtime::watcher,
};
use tokio::time::Instant;
use vk_backend::Backend;
use vk_cluster::{Cluster, Options};
use vk_e2e::{Env, PATIENCE, Seen, Setup, VkHost, condition, eventually, is_ready, uid, until};

const INSTANCE: &str = "vk-host.dev/instance";
/// How long a lease must not move before another host takes it.
const STILL: Duration = Duration::from_secs(15);

/// The process that holds the node's lease.
async fn holder(env: &Env) -> Result<Option<String>> {
    let leases: Api<Lease> = Api::namespaced(env.client.clone(), "kube-node-lease");
    let lease = leases.get_opt(&env.node).await?;
    Ok(lease.and_then(|lease| lease.metadata.annotations?.remove(INSTANCE)))
}

async fn line(host: &VkHost, parts: &[&str]) -> Result<String> {
    eventually(&format!("a log line with {parts:?}"), PATIENCE, async || {
        let log = host.log();
        let found = log.lines().find(|line| parts.iter().all(|part| line.contains(part)));
        found.map(str::to_owned).ok_or(log)
    })
    .await
}

/// Waits until `host` holds the lease, and says how long that took.
async fn takes_over(env: &Env, host: &VkHost) -> Result<Duration> {
    let since = Instant::now();
    line(host, &["took the lease", &env.node]).await?;
    let took = since.elapsed();
    line(host, &["adopted node", &env.node]).await?;
    env.node_until("to be Ready", |node| condition(node, "Ready").is_some_and(|ready| ready.status == "True")).await?;
    Ok(took)
}

/// The host ends, because the node is another's, and says so in one line.
async fn ends_for_another(env: &Env, host: &VkHost) -> Result<()> {
    host.may_end();
    let status = host.ended(PATIENCE).await?;
    ensure!(status.code() == Some(1), "it ended with {status}");
    let log = host.log();
    let errors: Vec<&str> = log.lines().filter(|line| line.starts_with("vk-host: error: ")).collect();
    let [error] = errors.as_slice() else { anyhow::bail!("not one error: {errors:?}") };
    ensure!(log.lines().next_back() == Some(error), "the error is not the last line: {log}");
    for part in ["another vk-host", "has taken over", &env.node, "--nodename"] {
        ensure!(error.contains(part), "{part} is not in: {error}");
    }
    Ok(())
}

pub(crate) async fn a_second_host_waits_without_a_deed_and_takes_over_from_one_that_stops(env: &mut Env) -> Result<()> {
    env.start(Setup::default()).await?;
    let mut uids: Vec<String> = env.running("some", 5).await?.into_keys().collect();
    let first = holder(env).await?.context("nobody holds the lease")?;
    // With a backend of its own, so that it shows what it asks for.
    let untouched = Backend::start().await?;
    let configuration = std::fs::read_to_string(env.bench.path("mock.toml"))?;
    let file = env.bench.write("idle.toml", configuration.replace(&env.backend.url(), &untouched.url()))?;
    let [component, file] = [env.component(), file].map(|path| path.display().to_string());
    let flags = ["--provider-wasm", &component, "--provider-config", &file];
    let idle = env.launch_another(&Setup::default().provider(&flags))?;
    let second = env.launch_another(&Setup::default())?;
    for host in [&idle, &second] {
        line(host, &["WARN", &env.node, &first, "--nodename"]).await?;
    }
    uids.extend(env.running("more", 5).await?.into_keys());
    ensure!(untouched.counts().requests.is_empty(), "{:?}", untouched.counts().requests);
    ensure!(holder(env).await?.as_ref() == Some(&first), "the lease has changed hands");
    // One that never held it leaves it alone.
    idle.sigterm();
    ensure!(idle.ended(PATIENCE).await?.code() == Some(0), "the idle host did not end well");
    ensure!(holder(env).await?.as_ref() == Some(&first), "the lease has changed hands");

    ensure!(env.sigterm().await?.code() == Some(0), "the first host did not end well");
    let took = takes_over(env, &second).await?;
    ensure!(took < Duration::from_secs(8), "the lease was given up, and taken {took:?} later");
    env.create(env.pod("newcomer")).await?;
    uids.push(uid(&env.pod_ready("newcomer").await?));
    env.ready("some", 5).await?;
    env.made_once_and_left_alone(uids)
}

pub(crate) async fn a_second_host_takes_over_soon_from_one_that_was_killed(env: &mut Env) -> Result<()> {
    env.start(Setup::default()).await?;
    let mut uids: Vec<String> = env.running("some", 5).await?.into_keys().collect();
    let second = env.launch_another(&Setup::default())?;
    line(&second, &["WARN", &env.node, "--nodename"]).await?;
    env.kill9().await?;
    env.create(env.pod("newcomer")).await?;
    let took = takes_over(env, &second).await?;
    ensure!(took < STILL + Duration::from_secs(7), "the lease was taken after {took:?}");
    uids.push(uid(&env.pod_ready("newcomer").await?));
    env.ready("some", 5).await?;
    env.made_once_and_left_alone(uids)
}

pub(crate) async fn a_host_whose_lease_is_taken_ends_and_leaves_the_node_as_it_is(env: &mut Env) -> Result<()> {
    env.start(Setup::default()).await?;
    let uids: Vec<String> = env.running("some", 5).await?.into_keys().collect();
    env.vk_host()?.may_end();
    let taken = format!("{INSTANCE}=somebody-else");
    env.kubectl(&["annotate", "lease", &env.node, "--namespace", "kube-node-lease", "--overwrite", &taken]).await?;
    ends_for_another(env, env.vk_host()?).await?;
    ensure!(holder(env).await?.as_deref() == Some("somebody-else"), "the lease was written");
    let node = env.get_node().await?;
    ensure!(condition(&node, "Ready").is_some_and(|ready| ready.status == "True"), "the node was written");
    env.ready("some", 5).await?;
    env.made_once_and_left_alone(uids)
}

pub(crate) async fn a_host_that_stood_still_finds_its_lease_taken_and_touches_nothing(env: &mut Env) -> Result<()> {
    env.start(Setup::default()).await?;
    let mut uids: Vec<String> = env.running("old", 5).await?.into_keys().collect();
    env.vk_host()?.may_end();
    let second = env.launch_another(&Setup::default())?;
    line(&second, &["WARN", &env.node, "--nodename"]).await?;
    env.vk_host()?.freeze();
    takes_over(env, &second).await?;
    // What the first will learn of when it goes on: it would ask for these pods again, and end that one.
    uids.extend(env.running("new", 20).await?.into_keys());
    env.create(env.pod("leaving")).await?;
    env.pod_ready("leaving").await?;
    env.delete("leaving").await?;
    env.pod_gone("leaving").await?;
    let asked = env.backend.counts().pods;
    let node = env.get_node().await?;

    env.vk_host()?.thaw();
    ends_for_another(env, env.vk_host()?).await?;
    ensure!(env.backend.counts().pods == asked, "pods were touched: {:?}", env.backend.counts().pods);
    let now = env.get_node().await?;
    let ready = |node| condition(node, "Ready").and_then(|ready| ready.last_transition_time.clone());
    ensure!(ready(&now) == ready(&node), "the node was not Ready for a while");
    env.create(env.pod("newcomer")).await?;
    uids.push(uid(&env.pod_ready("newcomer").await?));
    env.made_once_and_left_alone(uids)
}

pub(crate) async fn two_clusters_with_one_backend_and_equal_names_leave_each_other_alone(env: &mut Env) -> Result<()> {
    // It needs no controllers: pods are bound, and they need no ServiceAccount.
    let options = Options { controller_manager: false, scheduler: false, ..Options::default() };
    let elsewhere = Cluster::start(options).await?;
    let kubeconfig = Kubeconfig::read_from(elsewhere.kubeconfig())?;
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    let there: Api<Pod> = Api::namespaced(Client::try_from(config)?, "default");

    env.start(Setup::default()).await?;
    let mut here: Vec<String> = env.running("some", 3).await?.into_keys().collect();
    // The same names, and the same backend.
    let setup = Setup::default().kubeconfig(elsewhere.kubeconfig());
    let other = env.launch_another(&setup)?;
    for number in 0..3 {
        let pod = env.pod(&format!("some-{number}")).label("group", "some").build()?;
        there.create(&PostParams::default(), &pod).await?;
    }
    let all_ready = |seen: &Seen<Pod>| seen.len() == 3 && seen.values().all(is_ready);
    let selection = || watcher::Config::default().labels("group=some");
    let others =
        until(there.clone(), selection(), "3 pods to be Ready in the other cluster", PATIENCE, all_ready).await?;
    let others: Vec<String> = others.into_keys().collect();
    let owner = |uid: &str| env.backend.pod(uid).map(|pod| pod.owner);
    ensure!(owner(&here[0]).is_some() && owner(&here[0]) != owner(&others[0]), "{:?}", owner(&here[0]));

    // Each tells orphans apart from the other's pods: one that is, goes.
    ensure!(env.sigterm().await?.code() == Some(0), "the host did not end well");
    env.kubectl(&["delete", "pod", "some-0", "--force", "--grace-period=0"]).await?;
    let orphan = env.backend.pods().into_iter().find(|pod| pod.id.name == "some-0" && here.contains(&pod.id.uid));
    let orphan = orphan.context("the backend lost a pod by itself")?.id.uid;
    env.start_again().await?;
    env.backend_without(std::slice::from_ref(&orphan)).await?;
    here.retain(|uid| *uid != orphan);
    env.made_once_and_left_alone(here.iter().chain(&others).cloned())?;

    // And a deletion there is none here.
    there.delete("some-1", &DeleteParams::default()).await?;
    let two = |seen: &Seen<Pod>| seen.len() == 2;
    let left = until(there, selection(), "a pod to go in the other cluster", PATIENCE, two).await?;
    env.ready("some", 2).await?;
    env.made_once_and_left_alone(here.into_iter().chain(left.into_keys()))?;
    drop(other);
    elsewhere.stop().await;
    Ok(())
}
