//! The figures of the extension in a group: counters, of which two make a rate.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};
use vk_sdk::{
    PodId, cache,
    stats::{NetworkUsage, PodUsage, Usage},
};

use super::Shape;
use crate::{
    arm::Realtime,
    clock::{milliseconds, now},
};

/// How long a counter is of use for a rate.
const KEPT: Duration = Duration::from_secs(10 * 60);
/// Counters that were read closer to each other make no rate.
const SHORTEST: u64 = 1_000_000_000;

/// A counter that was read, and the rate that it made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Sample {
    /// In nanoseconds since 1970.
    pub(super) at: u64,
    /// In billionths of a core-second.
    pub(super) counter: u64,
    /// In billionths of a core.
    pub(super) rate: Option<u64>,
}

impl Sample {
    /// There is no rate if the clock or the counter went back: the container or its machine began anew.
    pub(super) fn after(before: Option<Self>, at: u64, counter: u64) -> Self {
        let began = Self { at, counter, rate: None };
        let Some(before) = before else { return began };
        match (at.checked_sub(before.at), counter.checked_sub(before.counter)) {
            (Some(passed), Some(_)) if passed < SHORTEST => before,
            (Some(passed), Some(used)) => {
                let rate = u128::from(used) * 1_000_000_000 / u128::from(passed);
                Self { rate: u64::try_from(rate).ok(), ..began }
            }
            _ => began,
        }
    }
}

pub(super) fn usage(pod: PodId, shape: &Shape, figures: &Realtime) -> PodUsage {
    let key = format!("stats/cpu/{}", pod.uid);
    let at = time(figures.timestamp).unwrap_or_else(now);
    let nanoseconds = at.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    let nanoseconds = u64::try_from(nanoseconds).unwrap_or(u64::MAX);
    let mut samples: BTreeMap<String, Sample> = cache::get_json(&key).unwrap_or_default();
    let mut usage = shape.usage(pod, |container| {
        let figures = figures.containers.iter().find(|each| each.name == container.name)?;
        let mut usage = Usage::at(at);
        if let Some(counter) = figures.cpu.as_ref().and_then(|cpu| cpu.usage_core_nano_seconds) {
            let sample = Sample::after(samples.get(&container.name).copied(), nanoseconds, counter);
            samples.insert(container.name.clone(), sample);
            usage.cpu_core_nano_seconds = Some(counter);
            usage.cpu_nano_cores = sample.rate;
        }
        if let Some(memory) = &figures.memory {
            usage.memory_usage_bytes = memory.usage_bytes;
            usage.memory_working_set_bytes = memory.working_set_bytes;
            usage.memory_rss_bytes = memory.rss_bytes;
        }
        Some(usage)
    });
    // Without it the next rate is missing, no more.
    let _ = cache::set_json(&key, &samples, KEPT);
    usage.network = figures.network.as_ref().and_then(|network| {
        let (received_bytes, sent_bytes) = (network.rx_bytes?, network.tx_bytes?);
        Some(NetworkUsage { at: milliseconds(at), received_bytes, sent_bytes })
    });
    usage
}

/// The unit of the extension's time is told nowhere. Times of this century tell it by their size.
pub(super) fn time(timestamp: u64) -> Option<SystemTime> {
    let since = match timestamp {
        0 => return None,
        1..100_000_000_000 => Duration::from_secs(timestamp),
        100_000_000_000..100_000_000_000_000 => Duration::from_millis(timestamp),
        100_000_000_000_000..100_000_000_000_000_000 => Duration::from_micros(timestamp),
        _ => Duration::from_nanos(timestamp),
    };
    Some(UNIX_EPOCH + since)
}
