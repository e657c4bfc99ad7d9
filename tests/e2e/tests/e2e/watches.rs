//! The objects that many pods refer to, each watched, over few connections.

use std::time::Duration;

use anyhow::{Result, ensure};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::{
    Api,
    api::{Patch, PatchParams, PostParams},
    runtime::watcher,
};
use serde_json::json;
use tokio::time::Instant;
use vk_e2e::{Env, Setup, eventually, is_ready, uid, until};

const PODS: usize = 1_000;
const CREATORS: usize = 20;
/// A connection for each watch would be 2,000.
const SOCKETS: usize = 100;
/// How soon a change must reach the provider.
const REACHES_WITHIN: Duration = Duration::from_secs(5);
const READY_WITHIN: Duration = Duration::from_secs(60);

pub(crate) async fn a_thousand_pods_with_objects_of_their_own_take_few_sockets(env: &mut Env) -> Result<()> {
    env.start(Setup::default()).await?;
    make_objects(env).await?;
    let pods = (0..PODS).map(|number| {
        env.pod(&format!("reader-{number}"))
            .label("group", "readers")
            .mounts("page", json!({"configMap": {"name": format!("page-{number}")}}))
            .mounts("key", json!({"secret": {"secretName": format!("key-{number}")}}))
    });
    let pods: Vec<_> = pods.collect();
    env.create_all(pods, CREATORS).await?;
    let selection = watcher::Config::default().labels("group=readers");
    until(env.pods(), selection, "all pods to be Ready", READY_WITHIN, |seen| {
        seen.len() == PODS && seen.values().all(is_ready)
    })
    .await?;
    all_are_watched(env).await?;
    changed_secret_arrives(env, 500, "two", REACHES_WITHIN).await?;

    env.cluster.stop_apiserver().await;
    env.cluster.start_apiserver().await?;
    all_are_watched(env).await?;
    changed_secret_arrives(env, 501, "two", vk_e2e::PATIENCE).await?;
    changed_secret_arrives(env, 502, "two", REACHES_WITHIN).await
}

async fn make_objects(env: &Env) -> Result<()> {
    let maps: Api<ConfigMap> = Api::namespaced(env.client.clone(), &env.namespace);
    let secrets: Api<Secret> = Api::namespaced(env.client.clone(), &env.namespace);
    let made = stream::iter(0..PODS).map(Ok).try_for_each_concurrent(CREATORS, async |number| {
        let map = json!({"metadata": {"name": format!("page-{number}")}, "data": {"title": "one"}});
        maps.create(&PostParams::default(), &serde_json::from_value(map)?).await?;
        let secret = json!({"metadata": {"name": format!("key-{number}")}, "stringData": {"word": "one"}});
        secrets.create(&PostParams::default(), &serde_json::from_value(secret)?).await?;
        Ok(())
    });
    made.await
}

/// Waits until every object is watched, and counts what that takes.
async fn all_are_watched(env: &Env) -> Result<()> {
    eventually("all objects to be watched", vk_e2e::PATIENCE, async || {
        let metrics = env.metrics().await.map_err(|error| error.to_string())?;
        let samples =
            ["configmaps", "secrets"].map(|kind| format!("vk_node_references_watched{{resource=\"{kind}\"}} {PODS}"));
        let mut missing = samples.iter().filter(|sample| !metrics.lines().any(|line| line == sample.as_str()));
        missing.next().map_or(Ok(()), |sample| Err(format!("{sample} is not among the metrics")))
    })
    .await?;
    let sockets = env.vk_host()?.sockets()?;
    eprintln!("{} objects are watched over {sockets} sockets in all", 2 * PODS);
    ensure!(sockets < SOCKETS, "{sockets} sockets are open");
    Ok(())
}

async fn changed_secret_arrives(env: &Env, number: usize, word: &str, within: Duration) -> Result<()> {
    let secrets: Api<Secret> = Api::namespaced(env.client.clone(), &env.namespace);
    let uid = uid(&env.pods().get(&format!("reader-{number}")).await?);
    let change = Patch::Merge(json!({"stringData": {"word": word}}));
    secrets.patch(&format!("key-{number}"), &PatchParams::default(), &change).await?;
    let changed = Instant::now();
    env.backend_until("the Secret's change", |backend| {
        let pod = backend.pod(&uid).ok_or("no such pod")?;
        match pod.file("key", "word") {
            Some(data) if data == word.as_bytes() => Ok(()),
            other => Err(format!("{:?}", other.map(String::from_utf8_lossy))),
        }
    })
    .await?;
    ensure!(changed.elapsed() <= within, "it took {:?} to arrive", changed.elapsed());
    ensure!(env.backend.count(&uid).updates == 1, "{:?}", env.backend.count(&uid));
    Ok(())
}
