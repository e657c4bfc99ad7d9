//! What becomes of pods while Azure wants to be asked less.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::jiff::SignedDuration;
use vk_azure::{Effect, Fault, Quotas, Refusal, Request, Route};
use vk_e2e::{Azure, AzureSetup, Env, is_ready, phase};

fn of(azure: &Azure, route: Route) -> Vec<Request> {
    azure.simulator.requests().into_iter().filter(|request| request.route == route).collect()
}

pub(crate) async fn a_throttled_creation_is_pending_with_a_reason_and_waits_as_told(env: &mut Env) -> Result<()> {
    const WAIT: u64 = 8;
    let azure = env.start_azure(AzureSetup::default()).await?;
    azure.simulator.fault(Fault::new(Effect::Status(Refusal::throttled().retry_after(WAIT))).on(Route::Put).times(1));
    env.create(env.pod("first")).await?;
    azure.struck().await?;
    // The others wait with it, and send nothing.
    env.create(env.pod("second")).await?;
    for name in ["first", "second"] {
        let described = super::described(env, name, "ProviderCreateFailed").await?;
        ensure!(described.contains("Pending"), "{described}");
    }
    let described = super::described(env, "first", "ResourceRequestsThrottled").await?;
    ensure!(described.contains("429") || described.contains("Throttled"), "{described}");
    env.pod_ready("first").await?;
    env.pod_ready("second").await?;
    let puts = of(&azure, Route::Put);
    let (refused, next) = (puts.first().context("no PUT")?, puts.get(1).context("no second PUT")?);
    let waited = next.at.duration_since(refused.at);
    ensure!(waited >= SignedDuration::from_secs(i64::try_from(WAIT)?), "{waited:?} were waited, not {WAIT} s");
    ensure!(puts.len() == 3, "{} PUTs for two pods and one refusal", puts.len());
    Ok(())
}

pub(crate) async fn every_kind_of_request_keeps_the_wait_it_is_told(env: &mut Env) -> Result<()> {
    let azure = env.start_azure(AzureSetup::default()).await?;
    env.running("old", 2).await?;
    let date = "Fri, 31 Dec 2021 23:59:59 GMT";
    for (route, refusal) in [
        (Route::Get, Refusal::throttled().retry_after(3)),
        (Route::Put, Refusal::throttled().retry_after(date)),
        (Route::Delete, Refusal::throttled().retry_after(2)),
    ] {
        azure.simulator.fault(Fault::new(Effect::Status(refusal)).on(route).times(1));
    }
    env.create(env.pod("new")).await?;
    env.kubectl(&["delete", "pod", "old-0", "--timeout=60s"]).await?;
    env.pod_ready("new").await?;
    azure.struck().await?;
    azure.groups_until(2).await
}

/// Azure's own quota of creations, of which so many are more.
const QUOTA: usize = 100;
const MORE: usize = 8;

pub(crate) async fn real_quotas_are_kept_without_running_into_them_again_and_again(env: &mut Env) -> Result<()> {
    let quotas = |options: &mut vk_azure::Options| options.quotas = Some(Quotas::default());
    let azure = env.start_azure(AzureSetup::default().azure(quotas)).await?;
    let pods = (0..QUOTA + MORE).map(|number| env.pod(&format!("many-{number}")).label("group", "many"));
    env.create_all(pods, 20).await?;
    let waiting = env.pods_until("group=many", "all that the quota has to be Ready, and others to wait", |seen| {
        let ready = seen.values().filter(|pod| is_ready(pod)).count();
        ready == QUOTA && seen.len() == QUOTA + MORE
    });
    let waiting = waiting.await?;
    let name = waiting.values().find(|pod| !is_ready(pod)).and_then(|pod| pod.metadata.name.clone());
    let name = name.context("none waits")?;
    env.event(&name, "ProviderCreateFailed").await?;
    let pod = env.pods().get(&name).await?;
    ensure!(phase(&pod) == "Pending", "{name} is {}", phase(&pod));
    let refused = || of(&azure, Route::Put).into_iter().filter(|request| request.status == Some(429)).count();
    // No more than were on their way at once.
    ensure!(refused() <= 12, "{} creations were refused", refused());
    // Five minutes later there is room again; a host that starts then has not been told to wait.
    env.sigterm().await?;
    azure.advance(Duration::from_secs(301));
    env.start_again().await?;
    let before = refused();
    env.ready("many", QUOTA + MORE).await?;
    ensure!(refused() == before, "refused again");
    ensure!(azure.groups().len() == QUOTA + MORE, "{} groups", azure.groups().len());
    Ok(())
}
