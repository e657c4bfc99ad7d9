//! What the running pods use at one time, read from the provider and checked.

use std::{
    collections::{HashMap, HashSet},
    time::{Duration, SystemTime},
};

use futures::{StreamExt, stream};
use k8s_openapi::{api::core::v1::Pod, apimachinery::pkg::apis::meta::v1::Time};
use tokio::time::timeout;
use vk_provider::{ContainerUsage, Error, ErrorKind, NetworkUsage, PodId, PodUsage, STATS_BATCH, Stats, Usage};

use super::cpu::{Cpu, CpuBook};
use crate::NodePod;

/// How many batches are read at once.
const PARALLEL: usize = 4;
/// All batches have so long: metrics-server waits for ten seconds.
const TIME: Duration = Duration::from_secs(8);

/// What the provider answered.
pub(super) struct Reading {
    began_at: SystemTime,
    /// The pods of the node, whether they run or not.
    pods: Vec<NodePod>,
    /// By uid; of pods that run.
    usage: HashMap<String, PodUsage>,
    is_partial: bool,
}

/// What the node and its pods use.
#[derive(Debug)]
pub(super) struct Snapshot {
    pub(super) at: SystemTime,
    /// Billionths of a core-second, never falling.
    pub(super) cpu_nano_seconds: u64,
    /// By namespace and name.
    pub(super) pods: Vec<PodSample>,
    /// Whether pods are missing.
    pub(super) is_partial: bool,
}

#[derive(Debug)]
pub(super) struct PodSample {
    pub(super) id: PodId,
    pub(super) started_at: Option<SystemTime>,
    /// In the order of the spec.
    pub(super) containers: Vec<ContainerSample>,
    pub(super) network: Option<NetworkUsage>,
}

#[derive(Debug)]
pub(super) struct ContainerSample {
    pub(super) name: String,
    pub(super) image: String,
    pub(super) started_at: Option<SystemTime>,
    pub(super) at: SystemTime,
    pub(super) cpu: Cpu,
    pub(super) memory: Memory,
}

/// Bytes of memory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Memory {
    /// What cannot be freed; the best that is known of it.
    pub(super) working_set: Option<u64>,
    pub(super) usage: Option<u64>,
    pub(super) rss: Option<u64>,
}

/// Reads what runs, in batches.
///
/// # Errors
///
/// If the provider says that it cannot, or if no batch could be read.
pub(super) async fn read(stats: &dyn Stats, pods: Vec<NodePod>) -> Result<Reading, Error> {
    let began_at = SystemTime::now();
    let running: Vec<PodId> = pods.iter().filter(|pod| runs(&pod.object)).map(|pod| pod.id.clone()).collect();
    // Without pods an empty batch still tells whether the provider can.
    let batches: Vec<&[PodId]> = if running.is_empty() { vec![&[]] } else { running.chunks(STATS_BATCH).collect() };
    let began = tokio::time::Instant::now();
    // Collected: a stream that still holds the closure cannot be sent to another thread.
    let calls: Vec<_> = batches
        .into_iter()
        .map(|batch| async move {
            let late = || Error::new(ErrorKind::Unavailable, "the provider did not say in time what pods use");
            let answer = timeout(TIME.saturating_sub(began.elapsed()), stats.read(batch)).await;
            (batch, answer.unwrap_or_else(|_| Err(late())))
        })
        .collect();
    let mut answers = stream::iter(calls).buffer_unordered(PARALLEL);
    let (mut usage, mut failure, mut has_answer) = (HashMap::new(), None, false);
    while let Some((batch, answer)) = answers.next().await {
        match answer {
            Ok(answer) => {
                has_answer = true;
                let asked: HashSet<&str> = batch.iter().map(|id| id.uid.as_str()).collect();
                for pod in answer.into_iter().take(batch.len()).filter(|pod| asked.contains(pod.pod.uid.as_str())) {
                    usage.entry(pod.pod.uid.clone()).or_insert(pod);
                }
            }
            Err(error) if error.kind == ErrorKind::Unsupported => return Err(error),
            Err(error) => {
                tracing::debug!(kind = error.kind.as_str(), %error, pods = batch.len(), "what pods use cannot be read");
                failure = Some(error);
            }
        }
    }
    drop(answers);
    match failure {
        Some(error) if !has_answer => Err(error),
        failure => Ok(Reading { began_at, pods, usage, is_partial: failure.is_some() }),
    }
}

fn runs(pod: &Pod) -> bool {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Running")
}

impl Snapshot {
    /// Enters what was read into the book, and takes from it what follows from earlier readings.
    pub(super) fn new(reading: Reading, book: &mut CpuBook, node_at: &mut Option<SystemTime>) -> Self {
        let Reading { began_at, pods, mut usage, is_partial } = reading;
        book.begin(began_at, &pods.iter().map(|pod| pod.id.uid.as_str()).collect());
        let mut samples: Vec<_> = pods
            .into_iter()
            .filter_map(|pod| usage.remove(&pod.id.uid).map(|usage| PodSample::new(pod, usage, book)))
            .collect();
        samples.sort_by(|a, b| (&a.id.namespace, &a.id.name).cmp(&(&b.id.namespace, &b.id.name)));
        // The sum is as old as the newest of its parts; a clock that is ahead of ours counts for no more than ours.
        let now = SystemTime::now();
        let newest = samples.iter().flat_map(|pod| &pod.containers).map(|container| container.at).max();
        let at = newest.unwrap_or(now).min(now).max(node_at.unwrap_or(SystemTime::UNIX_EPOCH));
        *node_at = Some(at);
        Self { at, cpu_nano_seconds: book.node(), pods: samples, is_partial }
    }

    pub(super) fn containers(&self) -> impl Iterator<Item = (&PodSample, &ContainerSample)> {
        self.pods.iter().flat_map(|pod| pod.containers.iter().map(move |container| (pod, container)))
    }

    /// What all pods use together.
    pub(super) fn memory(&self) -> Memory {
        self.pods.iter().map(PodSample::memory).fold(Memory::default(), Memory::plus)
    }

    /// Billionths of a core that all pods use at present.
    pub(super) fn cpu_nano_cores(&self) -> Option<u64> {
        self.pods.iter().map(|pod| pod.cpu().nano_cores).fold(None, plus)
    }
}

impl PodSample {
    fn new(pod: NodePod, usage: PodUsage, book: &mut CpuBook) -> Self {
        let NodePod { id, object } = pod;
        let began = object.status.as_ref().and_then(|status| time(status.start_time.as_ref()));
        let started_at = usage.started_at.or(began);
        let mut answered: HashMap<String, ContainerUsage> = HashMap::new();
        for container in usage.containers {
            answered.entry(container.name.clone()).or_insert(container);
        }
        // What is no container of the pod falls out.
        let containers = specified(&object)
            .into_iter()
            .filter_map(|(name, image)| {
                let mut answered = answered.remove(name)?;
                answered.started_at = answered.started_at.or_else(|| running_since(&object, name)).or(started_at);
                let cpu = book.enter(&id.uid, &answered);
                let usage = &answered.usage;
                let memory = Memory {
                    working_set: usage.memory_working_set_bytes.or(usage.memory_usage_bytes).or(usage.memory_rss_bytes),
                    usage: usage.memory_usage_bytes,
                    rss: usage.memory_rss_bytes,
                };
                let ContainerUsage { started_at, usage: Usage { at, .. }, name } = answered;
                Some(ContainerSample { name, image: image.to_owned(), started_at, at, cpu, memory })
            })
            .collect();
        Self { id, started_at, containers, network: usage.network }
    }

    /// When the newest of its containers' samples was taken.
    pub(super) fn at(&self) -> Option<SystemTime> {
        self.containers.iter().map(|container| container.at).max()
    }

    pub(super) fn cpu(&self) -> Cpu {
        self.containers.iter().fold(Cpu::default(), |sum, container| Cpu {
            nano_seconds: plus(sum.nano_seconds, container.cpu.nano_seconds),
            nano_cores: plus(sum.nano_cores, container.cpu.nano_cores),
        })
    }

    pub(super) fn memory(&self) -> Memory {
        self.containers.iter().map(|container| container.memory).fold(Memory::default(), Memory::plus)
    }
}

impl Memory {
    fn plus(self, other: Self) -> Self {
        Self {
            working_set: plus(self.working_set, other.working_set),
            usage: plus(self.usage, other.usage),
            rss: plus(self.rss, other.rss),
        }
    }
}

/// What is known of a sum whose parts may be unknown.
fn plus(a: Option<u64>, b: Option<u64>) -> Option<u64> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.saturating_add(b)),
        (a, b) => a.or(b),
    }
}

/// Names and images of the containers of the spec.
fn specified(pod: &Pod) -> Vec<(&str, &str)> {
    let Some(spec) = &pod.spec else { return Vec::new() };
    let inits = spec.init_containers.iter().flatten();
    let ephemeral = spec.ephemeral_containers.iter().flatten();
    inits
        .chain(&spec.containers)
        .map(|container| (container.name.as_str(), container.image.as_deref().unwrap_or_default()))
        .chain(ephemeral.map(|container| (container.name.as_str(), container.image.as_deref().unwrap_or_default())))
        .collect()
}

fn running_since(pod: &Pod, container: &str) -> Option<SystemTime> {
    let status = pod.status.as_ref()?;
    let statuses = status.container_statuses.iter().chain(&status.init_container_statuses).flatten();
    let state = statuses.into_iter().find(|status| status.name == container)?.state.as_ref()?;
    time(state.running.as_ref()?.started_at.as_ref())
}

fn time(time: Option<&Time>) -> Option<SystemTime> {
    time.map(|time| time.0.into())
}
