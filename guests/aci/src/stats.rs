//! What pods use.
//!
//! The service itself tells it late, by the minute, and at the cost of requests; an extension in groups of a subnet tells
//! it at once. So a group with the extension is asked itself, others are looked up in Azure Monitor if the operator wants
//! that, and what is known from neither is left out.

mod monitor;
mod realtime;
#[cfg(test)]
mod tests;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use vk_sdk::{
    Error, PodId, Result, Stats, cache,
    stats::{self, ContainerUsage, PodUsage, Usage},
};

use crate::{clock::milliseconds, provider::Aci, target::Target, time};

/// For how long the shape of a group is believed to stay: its address may change when it restarts.
const SHAPE: Duration = Duration::from_secs(5 * 60);
/// A pod that could not be read is left alone for so long, so that those that can be have their turn.
const PAUSE: Duration = Duration::from_secs(60);
const EXTENSION: &str = "realtime-metrics";

/// What of a group matters here.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Shape {
    group: String,
    /// Of the extension, if the group has it.
    realtime: Option<String>,
    containers: Vec<Container>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Container {
    name: String,
    /// In milliseconds since 1970.
    started: Option<u64>,
}

impl Stats for Aci {
    fn read_usage(&self, pods: Vec<PodId>) -> Result<Vec<PodUsage>> {
        if !self.settings.realtime_metrics && !self.settings.monitor_metrics {
            return Ok(Vec::new());
        }
        stats::read_each(pods, |pod| {
            let paused = format!("stats/paused/{}", pod.uid);
            if cache::get(&paused).is_some() {
                return Err(Error::not_found("what the pod uses could not be read a moment ago"));
            }
            let shape = format!("stats/shape/{}", pod.uid);
            self.usage(pod, &shape).inspect_err(|_| {
                cache::remove(&shape);
                cache::set(&paused, b"", PAUSE);
            })
        })
    }
}

impl Aci {
    fn usage(&self, pod: PodId, key: &str) -> Result<PodUsage> {
        let shape = match cache::get_json(key) {
            Some(shape) => shape,
            None => {
                let shape = Shape::of(&Target::find(&self.pods, &pod)?);
                cache::set_json(key, &shape, SHAPE)?;
                shape
            }
        };
        let arm = &self.pods.arm;
        match &shape.realtime {
            Some(ip) => Ok(realtime::usage(pod, &shape, &arm.realtime(ip)?)),
            None if self.settings.monitor_metrics => monitor::usage(arm, pod, &shape),
            None => Err(Error::not_found("the pod's group has no extension that tells what it uses")),
        }
    }
}

impl Shape {
    fn of(target: &Target) -> Self {
        let properties = target.group.properties.as_ref();
        let has_extension = properties.is_some_and(|properties| {
            properties.extensions.iter().any(|extension| extension.properties.extension_type == EXTENSION)
        });
        let address = properties.and_then(|properties| properties.ip_address.as_ref()?.ip.clone());
        let containers = properties.into_iter().flat_map(|properties| &properties.containers).map(|container| {
            let view = container.properties.instance_view.as_ref();
            let started = view.and_then(|view| view.current_state.as_ref()?.start_time.as_deref());
            Container { name: container.name.clone(), started: started.and_then(time::parse).map(milliseconds) }
        });
        Self {
            group: target.name.clone(),
            realtime: address.filter(|_| has_extension),
            containers: containers.collect(),
        }
    }

    /// A pod and what those of its containers use of which something is known.
    fn usage(&self, pod: PodId, mut of: impl FnMut(&Container) -> Option<Usage>) -> PodUsage {
        let containers = self.containers.iter().filter_map(|container| {
            let usage = ContainerUsage::new(&container.name, of(container)?);
            Some(container.started().into_iter().fold(usage, ContainerUsage::started_at))
        });
        let usage = PodUsage::new(pod, containers.collect());
        let started = self.containers.iter().filter_map(Container::started).min();
        started.into_iter().fold(usage, PodUsage::started_at)
    }
}

impl Container {
    fn started(&self) -> Option<SystemTime> {
        self.started.map(|started| UNIX_EPOCH + Duration::from_millis(started))
    }
}
