//! The figures of Azure Monitor: averages of minutes, which are added up to counters.
//!
//! They cost two reads of the quota that everything shares. So they are asked for once in a minute at most, with many pods
//! more seldom, and not at all while little is left, however often the node's figures are.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use serde::{Deserialize, Serialize};
use vk_sdk::{
    Error, PodId, Result, cache,
    stats::{NetworkUsage, PodUsage, Usage},
};

use super::Shape;
use crate::{
    arm::{Arm, Class, Metrics, Point, is_low},
    clock::{milliseconds, now},
    time,
};

/// How far back is asked for, beyond what was asked for before. Minutes come late.
const SPAN: Duration = Duration::from_secs(5 * 60);
/// In so many milliseconds one pod is asked for at most, so that all pods together cost a read a second.
const EACH: u64 = 2_000;
/// How long what was added up is kept, beyond the time until it is asked for again.
const KEPT: Duration = Duration::from_secs(30 * 60);
/// How long a minute has, in milliseconds.
const MINUTE: u64 = 60_000;
/// Billionths of a core in a thousandth of one.
const NANO_CORES: f64 = 1e6;

/// What was added up of a metric.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Counter {
    /// When the last minute began that is in it, in milliseconds since 1970.
    pub(super) minute: u64,
    /// The average of that minute.
    pub(super) last: f64,
    /// The sum of all averages, each times the seconds of a minute.
    pub(super) sum: f64,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Kept {
    /// When Azure Monitor was asked, in milliseconds since 1970.
    asked: u64,
    cpu: BTreeMap<String, Counter>,
    memory: BTreeMap<String, Counter>,
    received: Option<Counter>,
    sent: Option<Counter>,
}

/// `pods` is how many the caller asks for; others may ask for more.
pub(super) fn usage(arm: &Arm, pod: PodId, shape: &Shape, pods: usize) -> Result<PodUsage> {
    let key = format!("{PREFIX}{}", pod.uid);
    let interval = interval(pods.max(cache::keys(PREFIX).len()));
    let mut kept: Kept = cache::get_json(&key).unwrap_or_default();
    let to = now();
    if milliseconds(to).saturating_sub(kept.asked) >= interval && !is_low(Class::Read) {
        let interval = Duration::from_millis(interval);
        let from = to - SPAN - interval;
        kept.asked = milliseconds(to);
        kept.add(shape, &arm.container_metrics(&shape.group, from, to)?, &arm.network_metrics(&shape.group, from, to)?);
        cache::set_json(&key, &kept, KEPT + interval)?;
    }
    if kept.cpu.is_empty() {
        return Err(Error::not_found("Azure Monitor has no figures of the pod yet"));
    }
    Ok(kept.usage(pod, shape))
}

const PREFIX: &str = "stats/monitor/";

/// How many milliseconds are between two questions for the same pod.
pub(super) fn interval(pods: usize) -> u64 {
    u64::try_from(pods).unwrap_or(u64::MAX).saturating_mul(EACH).max(MINUTE)
}

impl Kept {
    fn add(&mut self, shape: &Shape, containers: &Metrics, network: &Metrics) {
        for name in shape.containers.iter().map(|container| &container.name) {
            for (metric, counters) in [("CpuUsage", &mut self.cpu), ("MemoryUsage", &mut self.memory)] {
                let before = counters.get(name).copied();
                if let Some(counter) = Counter::after(before, containers.points(metric, Some(name)), self.asked) {
                    counters.insert(name.clone(), counter);
                }
            }
        }
        let asked = self.asked;
        let add = |before, metric| Counter::after(before, network.points(metric, None), asked);
        self.received = add(self.received, "NetworkBytesReceivedPerSecond");
        self.sent = add(self.sent, "NetworkBytesTransmittedPerSecond");
    }

    fn usage(&self, pod: PodId, shape: &Shape) -> PodUsage {
        let mut usage = shape.usage(pod, |container| {
            let cpu = self.cpu.get(&container.name)?;
            let mut usage = Usage::at(cpu.at()).cpu(whole(cpu.last * NANO_CORES), whole(cpu.sum * NANO_CORES));
            let memory = self.memory.get(&container.name).map(|memory| whole(memory.last));
            usage.memory_usage_bytes = memory;
            usage.memory_working_set_bytes = memory;
            Some(usage)
        });
        usage.network = self.received.zip(self.sent).map(|(received, sent)| NetworkUsage {
            at: milliseconds(received.at()),
            received_bytes: whole(received.sum),
            sent_bytes: whole(sent.sum),
        });
        usage
    }
}

impl Counter {
    /// Adds the minutes that are new and were over when they were asked for, in milliseconds since 1970: one that is under
    /// way is told as it is so far. Where minutes are missing before the first that is told it begins anew: consumers of
    /// counters take one that went back for just that. In minutes that are missing after it nothing was measured, and
    /// nothing is added for them.
    pub(super) fn after(before: Option<Self>, points: &[Point], asked: u64) -> Option<Self> {
        let mut minutes: Vec<_> = points
            .iter()
            .filter_map(|point| Some((milliseconds(time::parse(&point.time_stamp)?), point.average?)))
            .filter(|(minute, _)| minute.saturating_add(MINUTE) <= asked)
            .filter(|(_, average)| average.is_finite() && *average >= 0.0)
            .collect();
        minutes.sort_by_key(|(minute, _)| *minute);
        let first = minutes.first().map(|(minute, _)| *minute);
        let before = before.filter(|before| first.is_none_or(|first| first <= before.minute + MINUTE));
        minutes.into_iter().fold(before, |counter, (minute, average)| match counter {
            Some(counter) if minute <= counter.minute => Some(counter),
            _ => {
                let sum = counter.map_or(0.0, |counter| counter.sum) + average * 60.0;
                Some(Self { minute, last: average, sum })
            }
        })
    }

    /// When the last minute ended.
    fn at(&self) -> SystemTime {
        std::time::UNIX_EPOCH + Duration::from_millis(self.minute + MINUTE)
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "averages are finite and not negative")]
fn whole(value: f64) -> u64 {
    value as u64
}
