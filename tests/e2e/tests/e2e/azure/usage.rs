//! What `kubectl top` is made from.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use vk_azure::{Effect, Fault, Refusal, Route};
use vk_e2e::{AzureSetup, Env, eventually};

use super::{network::in_subnet, script};

/// Azure Monitor has figures by the minute.
const MEASURED_WITHIN: Duration = Duration::from_secs(140);

/// A pod that keeps a core busy for some of the time.
async fn busy(env: &Env, name: &str) -> Result<()> {
    let pod = script(env, name, "while :; do i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; sleep 0.2; done");
    env.create(pod).await?;
    env.pod_ready(name).await.map(drop)
}

/// Waits until the node tells that a pod has used cores and memory, and returns what it tells.
async fn figures(env: &Env) -> Result<Value> {
    let token = env.account("scraper", &["get"], &["nodes/stats"]).await?;
    let (client, url) = (env.https(None)?, env.kubelet_url("/stats/summary").await?);
    eventually("figures of a pod", MEASURED_WITHIN, async || {
        let summary =
            async { client.get(&url).bearer_auth(&token).send().await?.error_for_status()?.json::<Value>().await };
        let summary = summary.await.map_err(|error| error.to_string())?;
        let used = |pod: &&Value| {
            let container = &pod["containers"][0];
            let figure = |what: &str, name: &str| container[what][name].as_u64().unwrap_or_default();
            figure("cpu", "usageCoreNanoSeconds") > 0 && figure("memory", "workingSetBytes") > 0
        };
        summary["pods"].as_array().into_iter().flatten().find(used).cloned().ok_or_else(|| summary.to_string())
    })
    .await
}

fn with_extension() -> AzureSetup {
    let subnet = Some(json!({"addressPrefix": "10.241.0.0/16"}));
    in_subnet("pods", subnet).variable("ENABLE_REAL_TIME_METRICS", "true")
}

pub(crate) async fn pods_in_a_subnet_tell_what_they_use_by_their_extension(env: &mut Env) -> Result<()> {
    let azure = env.start_azure(with_extension()).await?;
    busy(env, "busy").await?;
    let pod = figures(env).await?;
    // Azure's own container in the group is not the pod's.
    ensure!(pod["containers"].as_array().is_some_and(|containers| containers.len() == 1), "{pod}");
    ensure!(azure.count(Route::Realtime) > 0 && azure.count(Route::Metrics) == 0, "{:?}", azure.simulator.counts());
    Ok(())
}

pub(crate) async fn other_pods_tell_what_they_use_by_azure_monitor(env: &mut Env) -> Result<()> {
    let azure = env.start_azure(AzureSetup::default().setting("MonitorMetrics = true")).await?;
    busy(env, "busy").await?;
    figures(env).await?;
    ensure!(azure.count(Route::Realtime) == 0 && azure.count(Route::Metrics) > 0, "{:?}", azure.simulator.counts());
    Ok(())
}

pub(crate) async fn figures_that_cannot_be_read_leave_the_others(env: &mut Env) -> Result<()> {
    let azure = env.start_azure(with_extension()).await?;
    let page = Refusal { code: 200, body: Some("<html>not JSON</html>".to_owned()), ..Refusal::default() };
    let faults = [Effect::Refused, Effect::Status(Refusal::empty(500)), Effect::Status(page)];
    for number in 0..=faults.len() {
        busy(env, &format!("busy-{number}")).await?;
    }
    for (number, effect) in (0..).zip(faults) {
        azure.simulator.fault(Fault::new(effect).on(Route::Realtime).after(number).times(1));
    }
    figures(env).await?;
    azure.struck().await
}
