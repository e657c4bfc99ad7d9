//! What `--metrics-addr` serves.

use std::time::{Duration, SystemTime};

use anyhow::{Result, ensure};
use serde_json::json;
use vk_backend::{Effect, Fault, Operation};
use vk_e2e::{Env, PATIENCE, Setup, eventually};

/// The metrics of one moment.
struct Scrape(String);

impl Scrape {
    async fn of(env: &Env) -> Result<Self> {
        Ok(Self(env.metrics().await?))
    }

    /// A sample, by its name and labels as exported; 0 if it is not there.
    fn value(&self, sample: &str) -> Result<f64> {
        vk_e2e::sample(&self.0, sample)
    }
}

/// Waits until a sample is as wanted: what was done shows in the metrics, but not in the same moment.
async fn shows(env: &Env, sample: &str, wanted: impl Fn(f64) -> bool) -> Result<()> {
    eventually(sample, PATIENCE, async || {
        let value = async { Scrape::of(env).await?.value(sample) }.await.map_err(|error| error.to_string())?;
        if wanted(value) { Ok(()) } else { Err(value.to_string()) }
    })
    .await
}

pub(crate) async fn what_happens_shows_in_the_metrics_and_readiness_follows_the_node(env: &mut Env) -> Result<()> {
    env.start(Setup::default()).await?;
    let idle = Scrape::of(env).await?;
    for sample in ["vk_node_pods{phase=\"Running\"}", "vk_provider_calls_total{function=\"create\",outcome=\"ok\"}"] {
        ensure!(idle.0.contains(&format!("{sample} 0")), "{sample} is not there from the beginning");
    }

    env.kubectl(&["create", "secret", "generic", "key", "--from-literal=word=one"]).await?;
    env.create(env.pod("reader").mounts("key", json!({"secret": {"secretName": "key"}}))).await?;
    env.create(env.pod("refused").asks("reject-create", "invalid")).await?;
    env.running("some", 3).await?;
    env.pod_ready("reader").await?;
    env.event("refused", "ProviderCreateFailed").await?;
    env.kubectl(&["patch", "secret", "key", "-p", r#"{"stringData": {"word": "two"}}"#]).await?;
    env.delete("some-0").await?;
    env.pod_gone("some-0").await?;

    let at_least = |least: f64| move |value: f64| value >= least;
    for (sample, least) in [
        ("vk_node_ready", 1.0),
        ("vk_node_pods{phase=\"Pending\"}", 1.0),
        ("vk_node_watch_events_total{resource=\"pods\"}", 10.0),
        ("vk_node_watch_events_total{resource=\"secrets\"}", 1.0),
        ("vk_node_watch_lists_total{resource=\"pods\"}", 1.0),
        ("vk_node_lease_renewals_total{outcome=\"ok\"}", 1.0),
        ("vk_api_requests_total{verb=\"patch\",resource=\"pods/status\",code=\"200\"}", 5.0),
        ("vk_api_request_duration_seconds_count{verb=\"patch\",resource=\"pods/status\"}", 5.0),
        ("vk_api_requests_total{verb=\"delete\",resource=\"pods\",code=\"200\"}", 1.0),
        ("vk_api_requests_total{verb=\"create\",resource=\"events\",code=\"201\"}", 1.0),
        ("vk_api_requests_total{verb=\"watch\",resource=\"secrets\",code=\"200\"}", 1.0),
        ("vk_api_connections", 1.0),
        ("vk_provider_calls_total{function=\"create\",outcome=\"ok\"}", 4.0),
        ("vk_provider_calls_total{function=\"create\",outcome=\"invalid\"}", 1.0),
        ("vk_provider_calls_total{function=\"update\",outcome=\"ok\"}", 1.0),
        ("vk_provider_call_duration_seconds_count{function=\"create\"}", 5.0),
        ("vk_provider_instances{state=\"idle\"}", 1.0),
        ("vk_provider_memory_bytes", 65_536.0),
        ("vk_egress_requests_total{decision=\"allowed\"}", 5.0),
        ("vk_egress_request_duration_seconds_count", 5.0),
    ] {
        shows(env, sample, at_least(least)).await?;
    }
    shows(env, "vk_node_pods{phase=\"Running\"}", |pods| pods == 3.0).await?;
    shows(env, "vk_node_references_watched{resource=\"secrets\"}", |watched| watched == 1.0).await?;
    // Nobody waits for anything.
    for gauge in ["vk_node_pod_steps", "vk_node_pod_writes_waiting", "vk_provider_calls_waiting"] {
        shows(env, gauge, |value| value == 0.0).await?;
    }
    let renewed = Scrape::of(env).await?.value("vk_node_lease_renewed_timestamp_seconds")?;
    let age = SystemTime::UNIX_EPOCH.elapsed()?.as_secs_f64() - renewed;
    ensure!((0.0..40.0).contains(&age), "the lease was renewed {age} s ago");

    a_stop_shows_while_it_lasts(env).await
}

async fn a_stop_shows_while_it_lasts(env: &mut Env) -> Result<()> {
    ensure!(env.probe("readyz").await?.status() == 200, "a registered node is not ready");
    // The stop waits for this call.
    let held = env.backend.fault(Fault::new(Effect::Late { milliseconds: None }).on(Operation::Create).times(1));
    env.create(env.pod("late")).await?;
    env.backend_until("the creation to be on its way", |backend| {
        let begun = backend.faults().iter().any(|armed| armed.number == held && armed.struck == 1);
        if begun { Ok(()) } else { Err("it has not begun".to_owned()) }
    })
    .await?;
    shows(env, "vk_node_pod_steps", |steps| steps == 1.0).await?;
    env.vk_host()?.sigterm();
    eventually("a host that stops to say so", Duration::from_secs(10), async || {
        let answer = env.probe("readyz").await.map_err(|error| error.to_string())?;
        if answer.status() == 503 { Ok(()) } else { Err(answer.status().to_string()) }
    })
    .await?;
    ensure!(env.probe("healthz").await?.status() == 200, "it is alive until it ends");
    ensure!(env.backend.clear_fault(held), "nothing was held");
    let status = env.vk_host()?.ended(Duration::from_secs(30)).await?;
    ensure!(status.success(), "it ended with {status}");
    Ok(())
}
