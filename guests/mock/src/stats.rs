//! What containers use: their curves, from their start until now.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mock_model::{ContainerState, Workload, wire::Details};
use vk_sdk::{
    PodId, Result,
    stats::{self, ContainerUsage, PodUsage, Usage},
};

use crate::store::{Store, now};

pub(crate) fn read(store: &dyn Store, pods: Vec<PodId>) -> Result<Vec<PodUsage>> {
    stats::read_each(pods, |pod| {
        let details = store.look(&pod)?;
        Ok(of_pod(pod, &details, now()))
    })
}

fn of_pod(pod: PodId, details: &Details, now: u64) -> PodUsage {
    let containers = details.state.containers.iter();
    PodUsage::new(pod, containers.filter_map(|each| of_container(each, &details.workload, now)).collect())
}

/// Only what runs uses anything.
fn of_container(container: &ContainerState, workload: &Workload, now: u64) -> Option<ContainerUsage> {
    let episode = container.current().filter(|episode| episode.exit.is_none())?;
    let runs_for = now.saturating_sub(episode.started);
    let memory = workload.memory.amount(runs_for);
    let mut usage =
        Usage::at(time(now)).cpu(workload.cpu.amount(runs_for), workload.cpu.total(runs_for)).working_set(memory);
    usage.memory_usage_bytes = Some(memory);
    usage.memory_rss_bytes = Some(memory);
    Some(ContainerUsage::new(&container.name, usage).started_at(time(episode.started)))
}

fn time(milliseconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(milliseconds)
}
