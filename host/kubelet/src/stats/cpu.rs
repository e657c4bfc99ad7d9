//! CPU time as counters.

use std::{
    collections::{HashMap, HashSet},
    time::SystemTime,
};

use vk_provider::ContainerUsage;

/// What containers had used when last seen, and what the node has used in all.
///
/// A provider that knows only how much CPU a container uses at present has it multiplied by the time since the sample
/// before, so that there is a counter all the same; it begins at 0 when the host does.
#[derive(Debug, Default)]
pub(super) struct CpuBook {
    node: u64,
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

    /// Forgets pods that are gone, but not what they have used.
    pub(super) fn keep_only(&mut self, uids: &HashSet<&str>) {
        self.pods.retain(|uid, _| uids.contains(uid.as_str()));
    }

    /// Enters a sample; yields it with what can be derived from the one before.
    pub(super) fn enter(&mut self, uid: &str, sample: &ContainerUsage) -> Cpu {
        let ContainerUsage { name, started_at, usage } = sample;
        let is_same = |last: &&Entry| !matches!((last.started_at, started_at), (Some(a), Some(b)) if a != *b);
        let last = self.pods.get(uid).and_then(|pod| pod.get(name)).filter(is_same);
        let before = last.and_then(|last| last.cpu.nano_seconds);
        let elapsed = last.and_then(|last| usage.at.duration_since(last.at).ok()).filter(|elapsed| !elapsed.is_zero());
        let nano_seconds = usage.cpu_core_nano_seconds.or_else(|| {
            let used = elapsed.map_or(0, |elapsed| nanos(usage.cpu_nano_cores.unwrap_or(0), elapsed.as_nanos()));
            usage.cpu_nano_cores.map(|_| before.unwrap_or(0).saturating_add(used))
        });
        let Some(total) = nano_seconds else { return Cpu::default() };
        // A counter that fell was begun anew.
        let grown = before.filter(|before| *before <= total).map_or(total, |before| total - before);
        self.node = self.node.saturating_add(grown);
        let derived = match (before, elapsed) {
            (Some(_), Some(elapsed)) => Some(clamped(u128::from(grown) * NANOS / elapsed.as_nanos())),
            // The same sample once more.
            _ => last.and_then(|last| last.cpu.nano_cores),
        };
        let cpu = Cpu { nano_seconds, nano_cores: usage.cpu_nano_cores.or(derived) };
        let entry = Entry { at: usage.at, started_at: *started_at, cpu };
        self.pods.entry(uid.to_owned()).or_default().insert(name.clone(), entry);
        cpu
    }
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
        book.enter("1", &started(sample(30, Some(40), None), 1));
        assert_eq!(book.node(), 140);
        // Another start shows it even where the counter has overtaken the one before.
        book.enter("1", &started(sample(40, Some(60), None), 2));
        assert_eq!(book.node(), 200);
        assert_eq!(book.enter("1", &started(sample(50, None, Some(1)), 3)).nano_seconds, Some(0));
    }

    #[test]
    fn the_node_keeps_what_pods_used_that_are_gone() {
        let mut book = CpuBook::default();
        book.enter("1", &sample(10, Some(100), None));
        book.enter("2", &sample(10, Some(50), None));
        book.keep_only(&HashSet::from(["2"]));
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
                    book.keep_only(&HashSet::new());
                }
                prop_assert!(book.node() >= node);
                node = book.node();
            }
        }
    }
}
