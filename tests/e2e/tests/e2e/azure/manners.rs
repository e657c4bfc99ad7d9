//! How much the provider asks of Azure.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::json;
use tokio::time::{self, Instant};
use vk_e2e::{AzureSetup, Env, phase};

use super::script;

const PODS: usize = 99;
/// How long is counted.
const WINDOW: Duration = Duration::from_secs(30);
const REQUESTS_PER_SECOND: f64 = 5.0;
const SEEN_WITHIN: Duration = Duration::from_secs(30);

pub(crate) async fn a_hundred_running_pods_cost_few_requests_and_an_exit_is_seen_soon(env: &mut Env) -> Result<()> {
    let azure = env.start_azure(AzureSetup::default()).await?;
    let ends = script(env, "ends", "until test -e /tmp/end; do sleep 0.2; done; exit 3");
    env.create(ends.spec(json!({"restartPolicy": "Never"}))).await?;
    env.running("steady", PODS).await?;
    env.pod_ready("ends").await?;

    let before = azure.simulator.requests().len();
    time::sleep(WINDOW).await;
    let asked = azure.simulator.requests().len() - before;
    let rate = asked as f64 / WINDOW.as_secs_f64();
    eprintln!("{} running pods cost {rate:.1} requests/s", PODS + 1);
    ensure!(rate <= REQUESTS_PER_SECOND, "{rate:.1} requests/s");

    env.kubectl(&["exec", "ends", "--", "touch", "/tmp/end"]).await?;
    let began = Instant::now();
    env.pod_until("ends", "to be Failed", |pod| phase(pod) == "Failed").await?;
    let took = began.elapsed();
    eprintln!("its exit was seen after {took:.1?}");
    ensure!(took <= SEEN_WITHIN, "the exit was seen after {took:?}");
    Ok(())
}
