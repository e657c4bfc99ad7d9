//! What pods use.

use std::time::SystemTime;

use async_trait::async_trait;

use crate::{PodId, Result};

/// Says what pods use.
///
/// # Errors
///
/// A provider that does not export the interface fails with [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported).
#[async_trait]
pub trait Stats: Send + Sync {
    /// The usage of these pods; those that cannot be read are left out. Callers ask for at most
    /// [`STATS_BATCH`] at a time.
    async fn read(&self, pods: &[PodId]) -> Result<Vec<PodUsage>>;
}

/// The most pods of one [`Stats::read`].
pub const STATS_BATCH: usize = 100;

/// What one pod uses. Unchecked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodUsage {
    /// Which pod.
    pub pod: PodId,
    /// When it was started.
    pub started_at: Option<SystemTime>,
    /// Its containers.
    pub containers: Vec<ContainerUsage>,
    /// What it sent and received.
    pub network: Option<NetworkUsage>,
}

/// What one container uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerUsage {
    /// Its name.
    pub name: String,
    /// When it was started.
    pub started_at: Option<SystemTime>,
    /// How much.
    pub usage: Usage,
}

/// An amount of CPU and memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Usage {
    /// When it was read.
    pub at: SystemTime,
    /// Billionths of a core, on average over a short while.
    pub cpu_nano_cores: Option<u64>,
    /// Billionths of a core-second since the start.
    pub cpu_core_nano_seconds: Option<u64>,
    /// What cannot be freed.
    pub memory_working_set_bytes: Option<u64>,
    /// All that is in use, caches included.
    pub memory_usage_bytes: Option<u64>,
    /// Anonymous memory.
    pub memory_rss_bytes: Option<u64>,
}

/// Bytes on the network since the pod's start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkUsage {
    /// When it was read.
    pub at: SystemTime,
    /// Received.
    pub received_bytes: u64,
    /// Sent.
    pub sent_bytes: u64,
}
