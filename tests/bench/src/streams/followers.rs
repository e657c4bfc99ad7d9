//! What many cost that follow a log at once.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use futures::{AsyncBufReadExt as _, StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::{api::core::v1::Pod, jiff::Timestamp};
use kube::{Api, api::LogParams};
use tokio::time;

use crate::{figures::percentile, process::Usage};

/// Lines that each reads while it is measured: ten seconds' worth.
const LINES: usize = 100;

/// What was measured of followers.
pub(crate) struct Followers {
    /// Seconds from the moment a line is written to the moment a follower has it, for the middle and the 99th of a hundred.
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    /// Milliseconds of vk-host's processor time a second, for all.
    pub(crate) cpu: f64,
}

/// Has so many clients follow one log.
pub(crate) async fn follow(pods: &Api<Pod>, host: Usage, count: usize) -> Result<Followers> {
    let open = async |_: usize| {
        let wanted = LogParams { follow: true, timestamps: true, tail_lines: Some(0), ..LogParams::default() };
        let mut lines = Box::pin(pods.log_stream("steady", &wanted).await?).lines();
        lines.try_next().await?.context("the log has ended")?;
        anyhow::Ok(lines)
    };
    let followers: Vec<_> = stream::iter(0..count).map(open).buffer_unordered(10).try_collect().await?;
    let (cpu, began) = (host.cpu()?, time::Instant::now());
    let read = async |mut lines: futures::io::Lines<_>| {
        let mut delays = Vec::with_capacity(LINES);
        while delays.len() < LINES {
            let line: String = lines.try_next().await?.context("the log has ended")?;
            let written: Timestamp = line.split(' ').next().unwrap_or_default().parse()?;
            let delay = Timestamp::now().duration_since(written);
            delays.push(Duration::try_from(delay).unwrap_or_default());
        }
        anyhow::Ok((lines, delays))
    };
    let read: Vec<_> = stream::iter(followers).map(read).buffer_unordered(count.max(1)).try_collect().await?;
    let cpu = (host.cpu()? - cpu).as_secs_f64() * 1_000.0 / began.elapsed().as_secs_f64();
    let delays: Vec<Duration> = read.iter().flat_map(|(_, delays)| delays.iter().copied()).collect();
    ensure!(delays.len() == LINES * count, "{} lines were read", delays.len());
    let of = |share| percentile(delays.clone(), share).context("nobody has followed");
    Ok(Followers { p50: of(0.5)?, p99: of(0.99)?, cpu })
}
