//! What is measured of a contestant, and the arithmetic.

use std::{
    fmt,
    time::{Duration, Instant},
};

/// The figures of one turn; `None`: not measured.
#[derive(Debug, Clone, Default)]
pub(crate) struct Figures {
    /// Pods a second, between the tenth and the ninetieth of a hundred that become Ready.
    pub(crate) backlog_rate: Option<f64>,
    /// Seconds.
    pub(crate) small_p99: Option<f64>,
    /// Pods a second, from the first request to the last pod that becomes Ready.
    pub(crate) large_rate: Option<f64>,
    /// Seconds.
    pub(crate) large_p99: Option<f64>,
    /// Seconds of processor time for a thousand pods.
    pub(crate) cpu_up: Option<f64>,
    /// MiB.
    pub(crate) memory: Option<f64>,
    /// Milliseconds of processor time a second, while nothing happens.
    pub(crate) cpu_idle: Option<f64>,
    /// Pods a second, from the first request to the last pod that has gone.
    pub(crate) deletion_rate: Option<f64>,
    /// Requests a pod.
    pub(crate) writes_up: Option<f64>,
    /// Requests a pod.
    pub(crate) writes_down: Option<f64>,
    /// Requests a pod, up and down.
    pub(crate) events: Option<f64>,
}

impl fmt::Display for Figures {
    /// In one line, for those who wait for the rest.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [
            ("backlog", self.backlog_rate, "/s"),
            ("small p99", self.small_p99, " s"),
            ("deletion", self.deletion_rate, "/s"),
            ("large", self.large_rate, "/s"),
            ("large p99", self.large_p99, " s"),
            ("cpu", self.cpu_up, " s/1000"),
            ("idle", self.cpu_idle, " ms/s"),
            ("memory", self.memory, " MiB"),
            ("writes", self.writes_up, " up"),
            ("and", self.writes_down, " down"),
            ("events", self.events, ""),
        ];
        let measured = parts.into_iter().filter_map(|(what, value, unit)| {
            let value = value?;
            let digits = if value < 100.0 { 2 } else { 0 };
            Some(format!("{what} {value:.digits$}{unit}"))
        });
        f.write_str(&measured.collect::<Vec<_>>().join(", "))
    }
}

/// The value below which this share of the durations lies, in seconds.
pub(crate) fn percentile(mut durations: Vec<Duration>, share: f64) -> Option<f64> {
    durations.sort();
    let rank = (durations.len() as f64 * share).ceil() as usize;
    durations.get(rank.saturating_sub(1)).map(Duration::as_secs_f64)
}

/// How many happen a second between two shares of all; the moments are in order.
pub(crate) fn rate_between(moments: &[Instant], from: f64, to: f64) -> Option<f64> {
    let at = |share: f64| (moments.len() as f64 * share) as usize;
    let (first, last) = (moments.get(at(from))?, moments.get(at(to))?);
    let seconds = last.duration_since(*first).as_secs_f64();
    (seconds > 0.0).then(|| (at(to) - at(from)) as f64 / seconds)
}

/// The middle value, the least and the greatest.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Spread {
    pub(crate) least: f64,
    pub(crate) median: f64,
    pub(crate) greatest: f64,
}

impl Spread {
    /// Of an even number of values, the median is the mean of the two in the middle.
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let middle = |index: usize| values.get(index).copied();
        let median = (middle(values.len().saturating_sub(1) / 2)? + middle(values.len() / 2)?) / 2.0;
        Some(Self { least: *values.first()?, median, greatest: *values.last()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_percentile_is_a_value_that_was_measured() {
        let durations = |count: u64| (1..=count).rev().map(Duration::from_secs).collect::<Vec<_>>();
        assert_eq!(percentile(durations(1_000), 0.99), Some(990.0));
        assert_eq!(percentile(durations(10), 0.99), Some(10.0));
        assert_eq!(percentile(durations(1), 0.5), Some(1.0));
        assert_eq!(percentile(Vec::new(), 0.99), None);
    }

    #[test]
    fn the_slow_first_and_last_tenth_do_not_count_in_the_rate() {
        let start = Instant::now();
        let at = |number: u64| match number {
            0..10 => start,
            10..=90 => start + Duration::from_secs(100) + Duration::from_millis(10 * number),
            _ => start + Duration::from_secs(10_000),
        };
        let moments: Vec<_> = (0..100).map(at).collect();
        assert!((rate_between(&moments, 0.1, 0.9).unwrap() - 100.0).abs() < 1e-6);
        assert_eq!(rate_between(&[start], 0.1, 0.9), None);
    }

    #[test]
    fn the_median_lies_between_the_extremes() {
        assert_eq!(Spread::of([3.0, 1.0, 2.0]), Some(Spread { least: 1.0, median: 2.0, greatest: 3.0 }));
        assert_eq!(Spread::of([4.0, 1.0]).map(|spread| spread.median), Some(2.5));
        assert_eq!(Spread::of([]), None);
    }
}
