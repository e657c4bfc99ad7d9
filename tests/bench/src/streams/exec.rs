//! How long an exec takes, and what one costs that idles.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api,
    api::{AttachParams, AttachedProcess},
};
use tokio::{io::AsyncReadExt as _, time};

use super::stub;
use crate::process::Usage;

/// What is not measured yet: the first ones find cold caches.
const WARM_UP: usize = 20;
/// Sessions that are opened at a time.
const AT_ONCE: usize = 10;
/// How long memory is left to settle.
const SETTLE: Duration = Duration::from_secs(3);

/// How long the commands took, each from the request to the status.
pub(crate) struct RoundTrips {
    pub(crate) host: Vec<Duration>,
    pub(crate) stub: Vec<Duration>,
}

/// Runs `true` so many times at each of the two, in turns.
pub(crate) async fn round_trips(pods: &Api<Pod>, count: usize) -> Result<RoundTrips> {
    let mut trips = RoundTrips { host: Vec::new(), stub: Vec::new() };
    let stub = stub::pod("web");
    for number in 0..count + WARM_UP {
        let (at_host, at_stub) = (round_trip(pods, "web").await?, round_trip(pods, &stub).await?);
        if number >= WARM_UP {
            trips.host.push(at_host);
            trips.stub.push(at_stub);
        }
    }
    Ok(trips)
}

async fn round_trip(pods: &Api<Pod>, pod: &str) -> Result<Duration> {
    let began = Instant::now();
    let mut process = pods.exec(pod, ["true"], &AttachParams::default()).await?;
    let status = process.take_status().context("no status is to come")?.await.context("no status came")?;
    let took = began.elapsed();
    ensure!(status.status.as_deref() == Some("Success"), "{pod}: {status:?}");
    process.join().await?;
    Ok(took)
}

/// Bytes of vk-host's resident memory for each of so many sessions that do nothing, beside as many.
pub(crate) async fn idle(pods: &Api<Pod>, host: Usage, count: usize) -> Result<f64> {
    // They stay open: what is freed stays the process's, and would pass for no cost of those that come.
    let first = sessions(pods, count).await?;
    time::sleep(SETTLE).await;
    let before = host.memory()?;
    let second = sessions(pods, count).await?;
    time::sleep(SETTLE).await;
    let after = host.memory()?;
    drop((first, second));
    Ok((after as f64 - before as f64) / count as f64)
}

/// Opens sessions and waits until each command has begun.
async fn sessions(pods: &Api<Pod>, count: usize) -> Result<Vec<AttachedProcess>> {
    let open = async |_: usize| {
        let wanted = AttachParams::default().stdin(true);
        let mut process = pods.exec("web", ["sh", "-c", "echo; sleep 3600"], &wanted).await?;
        let mut first = [0; 1];
        process.stdout().context("no output")?.read_exact(&mut first).await?;
        anyhow::Ok(process)
    };
    stream::iter(0..count).map(open).buffer_unordered(AT_ONCE).try_collect().await
}
