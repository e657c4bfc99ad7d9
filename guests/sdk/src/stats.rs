//! What pods use, for `kubectl top` and autoscalers.

use std::time::{SystemTime, UNIX_EPOCH};

pub use crate::bindings::stats::exports::vk::provider::stats::{ContainerUsage, NetworkUsage, PodUsage, Usage};
use crate::{PodId, Provider, Result};

/// Says what pods use. Implement it beside [`Provider`], and export it: `export!(MyProvider: Stats)`.
pub trait Stats: Provider {
    /// The usage of these pods, without those that cannot be read. The host asks for a hundred at most at a time.
    fn read_usage(&self, pods: Vec<PodId>) -> Result<Vec<PodUsage>>;
}

impl PodUsage {
    /// A pod and what its containers use.
    pub fn new(pod: PodId, containers: Vec<ContainerUsage>) -> Self {
        Self { pod, started_at: None, containers, network: None }
    }

    /// The same, with when the pod was started.
    #[must_use]
    pub fn started_at(mut self, time: SystemTime) -> Self {
        self.started_at = Some(unix_milliseconds(time));
        self
    }
}

impl ContainerUsage {
    /// A container and what it uses.
    pub fn new(name: impl Into<String>, usage: Usage) -> Self {
        Self { name: name.into(), started_at: None, usage }
    }

    /// The same, with when the container was started. It tells consumers that a counter begins anew.
    #[must_use]
    pub fn started_at(mut self, time: SystemTime) -> Self {
        self.started_at = Some(unix_milliseconds(time));
        self
    }
}

impl Usage {
    /// What was read at a time, which is nothing yet.
    pub fn at(time: SystemTime) -> Self {
        Self {
            at: unix_milliseconds(time),
            cpu_nano_cores: None,
            cpu_core_nano_seconds: None,
            memory_working_set_bytes: None,
            memory_usage_bytes: None,
            memory_rss_bytes: None,
        }
    }

    /// CPU: billionths of a core on average over a short while, and billionths of a core-second since the start.
    #[must_use]
    pub fn cpu(mut self, nano_cores: u64, core_nano_seconds: u64) -> Self {
        self.cpu_nano_cores = Some(nano_cores);
        self.cpu_core_nano_seconds = Some(core_nano_seconds);
        self
    }

    /// Memory that cannot be freed, in bytes: the figure that `kubectl top` shows.
    #[must_use]
    pub fn working_set(mut self, bytes: u64) -> Self {
        self.memory_working_set_bytes = Some(bytes);
        self
    }
}

fn unix_milliseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
