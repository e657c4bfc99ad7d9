//! CPU time as counters.

use std::{
    collections::{HashMap, HashSet},
    time::{Duration, SystemTime},
};

use vk_provider::ContainerUsage;

/// What containers had used when last seen, and what the node has used in all.
///
/// A provider that knows only how much CPU a container uses at present has it multiplied by the time since the sample
/// before, so that there is a counter all the same; it begins at 0 when the host does.
///
/// The node's counter begins with all that the containers of the first reading have used. From then on it grows by what
/// is used between two readings, and by no lifetime of a container that only happened to be missing before.
#[derive(Debug, Default)]
pub(super) struct CpuBook {
    node: u64,
    /// When the reading before this one began, if there was one, and when this one did.
    last_reading: Option<SystemTime>,
    reading: Option<SystemTime>,
    /// By pod uid, then by container.
    pods: HashMap<String, HashMap<String, Entry>>,
}

#[derive(Debug)]
struct Entry {
    at: SystemTime,
    started_at: Option<SystemTime>,
    cpu: Cpu,
}

/// The CPU of a container.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Cpu {
    /// Billionths of a core-second since the start.
    pub(super) nano_seconds: Option<u64>,
    /// Billionths of a core, at present.
    pub(super) nano_cores: Option<u64>,
}

impl CpuBook {
    /// Billionths of a core-second that the node's pods have used, those included that are gone. Never falls.
    pub(super) fn node(&self) -> u64 {
        self.node
    }

    /// Begins to enter what was read from `at` on. Forgets pods that are gone, but not what they have used.
    pub(super) fn begin(&mut self, at: SystemTime, uids: &HashSet<&str>) {
        self.last_reading = self.reading.replace(at);
        self.pods.retain(|uid, _| uids.contains(uid.as_str()));
    }

    /// Enters a sample; yields it with what can be derived from the one before.
    pub(super) fn enter(&mut self, uid: &str, sample: &ContainerUsage) -> Cpu {
        let ContainerUsage { name, started_at, usage } = sample;
        let known = self.pods.get(uid).and_then(|pod| pod.get(name));
        let last = known.filter(|known| !known.is_begun_anew(*started_at));
        let before = last.and_then(|last| last.cpu.nano_seconds);
        let elapsed = last.and_then(|last| usage.at.duration_since(last.at).ok()).filter(|elapsed| !elapsed.is_zero());
        let nano_seconds = usage.cpu_core_nano_seconds.or_else(|| {
            let used = elapsed.map_or(0, |elapsed| nanos(usage.cpu_nano_cores.unwrap_or(0), elapsed.as_nanos()));
            usage.cpu_nano_cores.map(|_| before.unwrap_or(0).saturating_add(used))
        });
        let Some(total) = nano_seconds else { return Cpu::default() };
        let grown = match (before, known) {
            // A counter that fell was begun anew.
            (Some(before), _) => at_most(total.checked_sub(before).unwrap_or(total), elapsed),
            (None, Some(known)) => at_most(total, usage.at.duration_since(known.at).ok()),
            (None, None) if self.last_reading.is_none() => total,
            (None, None) => {
                let is_new = |at: &SystemTime| self.last_reading.is_some_and(|last| !is_later(last, *at));
                let new = started_at.filter(is_new);
                at_most(total, new.and_then(|at| usage.at.duration_since(at).ok()))
            }
        };
        self.node = self.node.saturating_add(grown);
        let derived = match (before, elapsed) {
            (Some(_), Some(elapsed)) => Some(clamped(u128::from(grown) * NANOS / elapsed.as_nanos())),
            // The same sample once more.
            _ => last.and_then(|last| last.cpu.nano_cores),
        };
        let cpu = Cpu { nano_seconds, nano_cores: usage.cpu_nano_cores.or(derived) };
        // What is no newer than what is known would have what was used in between counted twice.
        if last.is_none() || elapsed.is_some() {
            let entry = Entry { at: usage.at, started_at: *started_at, cpu };
            self.pods.entry(uid.to_owned()).or_default().insert(name.clone(), entry);
        }
        cpu
    }
}

impl Entry {
    /// Whether the container was started again since, if it started then. Some providers reckon the start anew each time.
    fn is_begun_anew(&self, started_at: Option<SystemTime>) -> bool {
        let (Some(before), Some(now)) = (self.started_at, started_at) else { return false };
        is_later(now, before) && !is_later(self.at, now)
    }
}

/// Whether a time is later than another for certain.
fn is_later(time: SystemTime, than: SystemTime) -> bool {
    time.duration_since(than).is_ok_and(|by| by > TOLERANCE)
}

/// By how much clocks, and times that are given in seconds, may be off.
const TOLERANCE: Duration = Duration::from_secs(1);
/// More cores than any container has: a counter that grows faster is one that leapt.
const CORES: u128 = 1_024;

/// What can have been used in this time; nothing if none has passed, or it is not known how much.
fn at_most(used: u64, elapsed: Option<Duration>) -> u64 {
    elapsed.map_or(0, |elapsed| used.min(clamped(elapsed.as_nanos().saturating_mul(CORES))))
}

/// Billionths in one.
const NANOS: u128 = 1_000_000_000;

/// So many billionths of a core for so many billionths of a second.
fn nanos(nano_cores: u64, elapsed: u128) -> u64 {
    clamped(u128::from(nano_cores).saturating_mul(elapsed) / NANOS)
}

fn clamped(number: u128) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;
    use vk_provider::Usage;

    use super::*;

    fn sample(second: u64, nano_seconds: Option<u64>, nano_cores: Option<u64>) -> ContainerUsage {
        let usage = Usage {
            at: SystemTime::UNIX_EPOCH + Duration::from_secs(second),
            cpu_nano_cores: nano_cores,
            cpu_core_nano_seconds: nano_seconds,
            memory_working_set_bytes: None,
            memory_usage_bytes: None,
            memory_rss_bytes: None,
        };
        ContainerUsage { name: "app".into(), started_at: None, usage }
    }

    fn cpu(nano_seconds: u64, nano_cores: Option<u64>) -> Cpu {
        Cpu { nano_seconds: Some(nano_seconds), nano_cores }
    }

    #[test]
    fn a_counter_is_taken_as_it_is_and_its_rate_derived() {
        let mut book = CpuBook::default();
        assert_eq!(book.enter("1", &sample(10, Some(5_000_000_000), None)), cpu(5_000_000_000, None));
        let second = cpu(6_000_000_000, Some(100_000_000));
        assert_eq!(book.enter("1", &sample(20, Some(6_000_000_000), None)), second);
        assert_eq!(book.enter("1", &sample(20, Some(6_000_000_000), None)), second);
        assert_eq!(book.enter("1", &sample(30, Some(7_000_000_000), Some(3))), cpu(7_000_000_000, Some(3)));
        assert_eq!(book.node(), 7_000_000_000);
    }

    #[test]
    fn a_rate_becomes_a_counter() {
        let mut book = CpuBook::default();
        assert_eq!(book.enter("1", &sample(10, None, Some(500_000_000))), cpu(0, Some(500_000_000)));
        assert_eq!(book.enter("1", &sample(20, None, Some(500_000_000))), cpu(5_000_000_000, Some(500_000_000)));
        // An older sample adds nothing.
        assert_eq!(book.enter("1", &sample(15, None, Some(9))), cpu(5_000_000_000, Some(9)));
        assert_eq!(book.node(), 5_000_000_000);
    }

    #[test]
    fn nothing_known_is_nothing() {
        let mut book = CpuBook::default();
        assert_eq!(book.enter("1", &sample(10, None, None)), Cpu::default());
        assert_eq!(book.node(), 0);
    }

    #[test]
    fn a_container_that_was_started_again_begins_anew_and_the_node_goes_on() {
        let mut book = CpuBook::default();
        book.enter("1", &sample(10, Some(100), None));
        assert_eq!(book.enter("1", &sample(20, Some(30), None)).nano_seconds, Some(30));
        assert_eq!(book.node(), 130);
        let started = |sample, second| ContainerUsage {
            started_at: Some(SystemTime::UNIX_EPOCH + Duration::from_secs(second)),
            ..sample
        };
        book.enter("1", &started(sample(30, Some(40), None), 15));
        assert_eq!(book.node(), 140);
        // Another start shows it even where the counter has overtaken the one before.
        book.enter("1", &started(sample(40, Some(60), None), 35));
        assert_eq!(book.node(), 200);
        assert_eq!(book.enter("1", &started(sample(50, None, Some(1)), 45)).nano_seconds, Some(0));
    }

    #[test]
    fn a_start_that_is_reckoned_anew_each_time_is_the_same() {
        let mut book = CpuBook::default();
        for (second, start, total) in
            [(100, 5_000, 1_000), (110, 5_700, 1_001), (120, 4_900, 1_002), (130, 9_000, 1_003)]
        {
            let started_at = Some(SystemTime::UNIX_EPOCH + Duration::from_millis(start));
            book.enter("1", &ContainerUsage { started_at, ..sample(second, Some(total), None) });
        }
        assert_eq!(book.node(), 1_003);
    }

    #[test]
    fn what_a_container_used_before_it_was_first_seen_counts_only_at_first_or_if_it_is_new() {
        let mut book = CpuBook::default();
        let (all, at) =
            (HashSet::from(["1", "2", "3", "4"]), |second| SystemTime::UNIX_EPOCH + Duration::from_secs(second));
        let started = |start: Option<u64>, second, total| ContainerUsage {
            started_at: start.map(at),
            ..sample(second, Some(total), None)
        };
        book.begin(at(100), &all);
        book.enter("1", &started(Some(1), 99, 1_000_000));
        assert_eq!(book.node(), 1_000_000);

        book.begin(at(110), &all);
        book.enter("2", &started(Some(1), 109, 5_000_000));
        book.enter("3", &started(None, 109, 5_000_000));
        assert_eq!(book.node(), 1_000_000, "they ran before");
        book.enter("4", &started(Some(104), 109, 7));
        assert_eq!(book.node(), 1_000_007);

        book.begin(at(120), &all);
        book.enter("2", &started(Some(1), 119, 5_000_010));
        assert_eq!(book.node(), 1_000_017);
    }

    #[test]
    fn a_counter_that_leaps_grows_the_node_by_what_can_be() {
        let mut book = CpuBook::default();
        book.enter("1", &sample(10, Some(0), None));
        book.enter("1", &sample(11, Some(u64::MAX), None));
        assert_eq!(book.node(), 1_024_000_000_000);
    }

    #[test]
    fn an_older_sample_counts_nothing_twice() {
        let mut book = CpuBook::default();
        for (second, total) in [(10, 100), (20, 200), (15, 150), (20, 200), (30, 250)] {
            book.enter("1", &sample(second, Some(total), None));
        }
        assert_eq!(book.node(), 250);
    }

    #[test]
    fn the_node_keeps_what_pods_used_that_are_gone() {
        let mut book = CpuBook::default();
        book.enter("1", &sample(10, Some(100), None));
        book.enter("2", &sample(10, Some(50), None));
        book.begin(SystemTime::UNIX_EPOCH, &HashSet::from(["2"]));
        assert_eq!((book.node(), book.pods.len()), (150, 1));
    }

    #[test]
    fn absurd_numbers_do_not_overflow() {
        let mut book = CpuBook::default();
        for second in [1, 2, u32::MAX.into()] {
            book.enter("1", &sample(second, Some(u64::MAX), None));
            book.enter("2", &sample(second, None, Some(u64::MAX)));
        }
        assert_eq!(book.node(), u64::MAX);
    }

    proptest! {
        #[test]
        fn the_nodes_counter_never_falls(
            samples in prop::collection::vec((0_u64..3, 0_u64..50, any::<bool>(), 0_u64..1000, 0_u64..20), 1..60),
        ) {
            let mut book = CpuBook::default();
            let mut node = 0;
            for (pod, second, counts, number, forgotten) in samples {
                let (total, rate) = if counts { (Some(number), None) } else { (None, Some(number)) };
                book.enter(&pod.to_string(), &sample(second, total, rate));
                if forgotten == 0 {
                    book.begin(SystemTime::UNIX_EPOCH, &HashSet::new());
                }
                prop_assert!(book.node() >= node);
                node = book.node();
            }
        }
    }
}
