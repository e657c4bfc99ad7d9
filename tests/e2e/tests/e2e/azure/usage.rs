//! What `kubectl top` is made from.

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use vk_azure::{Effect, Fault, Refusal, Route};
use vk_e2e::{AzureSetup, Env, PATIENCE, eventually};

use super::{network::in_subnet, script};

/// A pod that keeps a core busy for a tenth of the time, and some memory.
async fn busy(env: &Env) -> Result<()> {
    env.create(script(env, "busy", "while :; do i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; sleep 0.2; done"))
        .await?;
    env.pod_ready("busy").await.map(drop)
}

/// Waits until the node tells that the pod has used cores and memory.
async fn is_told(env: &Env, token: &str) -> Result<Value> {
    let (client, url) = (env.https(None)?, env.kubelet_url("/stats/summary").await?);
    eventually("figures of the pod", PATIENCE, async || {
        let summary =
            async { client.get(&url).bearer_auth(token).send().await?.error_for_status()?.json::<Value>().await };
        let summary = summary.await.map_err(|error| error.to_string())?;
        let pods = summary["pods"].as_array().cloned().unwrap_or_default();
        let Some(pod) = pods.into_iter().find(|pod| pod["podRef"]["name"] == "busy") else {
            return Err(format!("no pod: {summary}"));
        };
        let container = &pod["containers"][0];
        let figure = |what: &str, name: &str| container[what][name].as_u64().unwrap_or_default();
        let used = figure("cpu", "usageNanoCores") > 0 && figure("cpu", "usageCoreNanoSeconds") > 0;
        if used && figure("memory", "workingSetBytes") > 0 { Ok(pod) } else { Err(pod.to_string()) }
    })
    .await
}

pub(crate) async fn pods_in_a_subnet_tell_what_they_use_by_their_extension(env: &mut Env) -> Result<()> {
    let subnet = Some(json!({"addressPrefix": "10.241.0.0/16"}));
    let azure = env.start_azure(in_subnet("pods", subnet).variable("ENABLE_REAL_TIME_METRICS", "true")).await?;
    busy(env).await?;
    let token = env.account("scraper", &["get"], &["nodes/stats"]).await?;
    let pod = is_told(env, &token).await?;
    ensure!(pod["containers"].as_array().is_some_and(|containers| containers.len() == 1), "{pod}");
    ensure!(azure.count(Route::Realtime) > 0 && azure.count(Route::Metrics) == 0, "{:?}", azure.simulator.counts());
    Ok(())
}

pub(crate) async fn other_pods_tell_what_they_use_by_azure_monitor(env: &mut Env) -> Result<()> {
    let azure = env.start_azure(AzureSetup::default()).await?;
    busy(env).await?;
    let token = env.account("scraper", &["get"], &["nodes/stats"]).await?;
    is_told(env, &token).await?;
    ensure!(azure.count(Route::Realtime) == 0 && azure.count(Route::Metrics) > 0, "{:?}", azure.simulator.counts());
    Ok(())
}

pub(crate) async fn figures_that_cannot_be_read_leave_the_others(env: &mut Env) -> Result<()> {
    let subnet = Some(json!({"addressPrefix": "10.241.0.0/16"}));
    let azure = env.start_azure(in_subnet("pods", subnet).variable("ENABLE_REAL_TIME_METRICS", "true")).await?;
    busy(env).await?;
    let token = env.account("scraper", &["get"], &["nodes/stats"]).await?;
    let page = Refusal { code: 200, body: Some("<html>not JSON</html>".to_owned()), ..Refusal::default() };
    for effect in [Effect::Refused, Effect::Status(Refusal::empty(500)), Effect::Status(page)] {
        azure.simulator.fault(Fault::new(effect).on(Route::Realtime).times(1));
        is_told(env, &token).await?;
    }
    Ok(())
}
