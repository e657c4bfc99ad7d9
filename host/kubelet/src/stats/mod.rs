//! What pods use, as metrics-server, Prometheus and `kubectl top` want it.
//!
//! ```text
//!  Stats::read, 100 pods at a time ──> checks ──> CPU book ──> Snapshot ──> /stats/summary, /metrics/resource,
//!                                                                           /metrics/cadvisor
//! ```
//!
//! The node is what its pods use: there is nothing else on it. Its counter of CPU time never falls, also when pods go.
//!
//! A snapshot is kept for two seconds, and whoever asks while one is being made waits for it: several scrapers do not
//! make several times the calls. A batch that cannot be read leaves out its pods and sets `resource_scrape_error`.

mod cadvisor;
mod cpu;
mod exposition;
mod resource;
mod snapshot;
mod summary;

#[cfg(test)]
mod tests;

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use tokio::{sync::Mutex, time::Instant};
use vk_provider::{Error, ErrorKind, Stats};

use crate::Pods;
use cpu::CpuBook;
use snapshot::Snapshot;

/// How long a snapshot serves. Shorter than any scraper's interval.
const FRESH: Duration = Duration::from_secs(2);

/// What is known of the node itself.
pub struct Node {
    /// Its name.
    pub name: String,
    /// When it began.
    pub started_at: SystemTime,
    /// The bytes of memory that it offers at present, if that is known.
    pub memory: Box<dyn Fn() -> Option<u64> + Send + Sync>,
}

/// Collects what pods use and renders it.
pub struct Collector {
    stats: Arc<dyn Stats>,
    pods: Arc<dyn Pods>,
    node: Node,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    book: CpuBook,
    /// The time of the node's last sample.
    node_at: Option<SystemTime>,
    last: Option<(Instant, Result<Arc<Snapshot>, Error>)>,
}

impl Collector {
    /// Of the pods of this node that run.
    pub fn new(stats: Arc<dyn Stats>, pods: Arc<dyn Pods>, node: Node) -> Self {
        Self { stats, pods, node, state: Mutex::default() }
    }

    /// `/stats/summary`: the Summary API v1alpha1, JSON. With `only_cpu_and_memory`, no more than that of each.
    ///
    /// # Errors
    ///
    /// If the provider does not say what pods use, or none of its answers could be had.
    pub async fn summary(&self, only_cpu_and_memory: bool) -> Result<Bytes, Error> {
        let snapshot = self.snapshot().await?;
        summary::render(&self.node, &snapshot, only_cpu_and_memory)
    }

    /// `/metrics/resource`: Prometheus text, version 0.0.4. Where no answer could be had it holds only the scrape error.
    ///
    /// # Errors
    ///
    /// If the provider does not say what pods use.
    pub async fn resource_metrics(&self) -> Result<String, Error> {
        match self.snapshot().await {
            Ok(snapshot) => Ok(resource::render(Some(&snapshot))),
            Err(error) if error.kind == ErrorKind::Unsupported => Err(error),
            Err(_) => Ok(resource::render(None)),
        }
    }

    /// `/metrics/cadvisor`: of cAdvisor's metrics, in Prometheus text, those that a provider can know.
    ///
    /// # Errors
    ///
    /// As in [`summary`](Self::summary).
    pub async fn cadvisor_metrics(&self) -> Result<String, Error> {
        Ok(cadvisor::render(&*self.snapshot().await?))
    }

    async fn snapshot(&self) -> Result<Arc<Snapshot>, Error> {
        let mut state = self.state.lock().await;
        if let Some((at, last)) = &state.last
            && at.elapsed() < FRESH
        {
            return last.clone();
        }
        let read = snapshot::read(&*self.stats, self.pods.all()).await;
        if let Err(error) = &read {
            tracing::debug!(kind = error.kind.as_str(), %error, "what pods use cannot be read");
        }
        let State { book, node_at, last } = &mut *state;
        let snapshot = read.map(|reading| Arc::new(Snapshot::new(reading, book, node_at)));
        *last = Some((Instant::now(), snapshot.clone()));
        snapshot
    }
}
