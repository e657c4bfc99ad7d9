//! How fast pods become Ready that are made all at once.

use std::time::Duration;

use anyhow::{Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::runtime::watcher;
use tokio::time::Instant;
use vk_azure::Route;
use vk_e2e::{AzureSetup, Env, Seen, is_ready, until};

const PODS: usize = 200;
const READY_WITHIN: Duration = Duration::from_secs(30);
/// How long is looked on, to tell by how much it was missed.
const LOOKED_FOR: Duration = Duration::from_secs(90);

pub(crate) async fn two_hundred_pods_at_once_are_ready_within_thirty_seconds(env: &mut Env) -> Result<()> {
    let setup = AzureSetup::default().azure(|options| {
        options.delays.put = Duration::from_millis(300);
        options.delays.schedule = Duration::from_secs(1);
        options.delays.pull = Duration::from_secs(3);
        options.delays.start = Duration::from_secs(1);
    });
    let azure = env.start_azure(setup).await?;
    let began = Instant::now();
    let pods = (0..PODS).map(|number| env.pod(&format!("burst-{number}")).label("group", "burst"));
    let selection = watcher::Config::default().labels("group=burst");
    let all_ready = |seen: &Seen<Pod>| seen.len() == PODS && seen.values().all(is_ready);
    let ready = until(env.pods(), selection, "all pods of the burst to be Ready", LOOKED_FOR, all_ready);
    futures::try_join!(env.create_all(pods, 20), ready)?;
    let took = began.elapsed();
    eprintln!("burst of {PODS} pods with 0.3 s a PUT and 5 s to start: Ready after {took:.1?}");
    ensure!(azure.count(Route::Put) == PODS, "{} PUTs", azure.count(Route::Put));
    ensure!(took <= READY_WITHIN, "Ready after {took:?}");
    Ok(())
}
