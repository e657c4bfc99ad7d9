//! The figures of Azure Monitor: averages of minutes, which are added up to counters.
//!
//! They cost two requests, so they are asked for once in a minute at most, however often the node's figures are.

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
    arm::{Arm, Metrics, Point},
    clock::{milliseconds, now},
    time,
};

/// How far back is asked for. Minutes come late.
const SPAN: Duration = Duration::from_secs(5 * 60);
/// How long what was added up is kept.
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

pub(super) fn usage(arm: &Arm, pod: PodId, shape: &Shape) -> Result<PodUsage> {
    let key = format!("stats/monitor/{}", pod.uid);
    let mut kept: Kept = cache::get_json(&key).unwrap_or_default();
    let to = now();
    if milliseconds(to).saturating_sub(kept.asked) >= MINUTE {
        let from = to - SPAN;
        kept.asked = milliseconds(to);
        kept.add(shape, &arm.container_metrics(&shape.group, from, to)?, &arm.network_metrics(&shape.group, from, to)?);
        cache::set_json(&key, &kept, KEPT)?;
    }
    if kept.cpu.is_empty() {
        return Err(Error::not_found("Azure Monitor has no figures of the pod yet"));
    }
    Ok(kept.usage(pod, shape))
}

impl Kept {
    fn add(&mut self, shape: &Shape, containers: &Metrics, network: &Metrics) {
        for name in shape.containers.iter().map(|container| &container.name) {
            for (metric, counters) in [("CpuUsage", &mut self.cpu), ("MemoryUsage", &mut self.memory)] {
                let before = counters.get(name).copied();
                if let Some(counter) = Counter::after(before, containers.points(metric, Some(name))) {
                    counters.insert(name.clone(), counter);
                }
            }
        }
        let add = |before, metric| Counter::after(before, network.points(metric, None));
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
    /// Adds the minutes that are new. Where some are missing in between it begins anew: consumers of counters take one
    /// that went back for just that.
    pub(super) fn after(before: Option<Self>, points: &[Point]) -> Option<Self> {
        let mut minutes: Vec<_> = points
            .iter()
            .filter_map(|point| Some((milliseconds(time::parse(&point.time_stamp)?), point.average?)))
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
