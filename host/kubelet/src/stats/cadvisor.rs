//! `/metrics/cadvisor`: of cAdvisor's metrics, those that common dashboards read and a provider can know.

use std::time::SystemTime;

use vk_provider::NetworkUsage;

use super::{
    exposition::{Exposition, Sample, billionths, count, seconds},
    snapshot::{ContainerSample, Snapshot},
};

pub(super) fn render(snapshot: &Snapshot) -> String {
    let mut text = Exposition::default();
    for (name, kind, help, value) in CONTAINERS {
        let mut family = text.family(name, kind, help);
        for (pod, container) in snapshot.containers() {
            let Some((value, at)) = value(container) else { continue };
            let id = format!("/pod{}/{}", pod.id.uid, container.name);
            let mut labels = vec![
                ("container", container.name.as_str()),
                ("id", &id),
                ("image", &container.image),
                ("name", &container.name),
                ("namespace", &pod.id.namespace),
                ("pod", &pod.id.name),
            ];
            if name == CPU {
                labels.insert(1, ("cpu", "total"));
            }
            family.sample(&Sample { labels: &labels, value, at });
        }
    }
    for (name, help, value) in NETWORKS {
        let mut family = text.family(name, "counter", help);
        for pod in &snapshot.pods {
            let Some(network) = &pod.network else { continue };
            let id = format!("/pod{}", pod.id.uid);
            let labels = [
                ("container", ""),
                ("id", &id),
                ("image", ""),
                ("interface", INTERFACE),
                ("name", ""),
                ("namespace", &pod.id.namespace),
                ("pod", &pod.id.name),
            ];
            family.sample(&Sample { labels: &labels, value: count(value(network)), at: Some(network.at) });
        }
    }
    text.into_text()
}

/// The name of a pod's interface, of which the provider says none.
pub(super) const INTERFACE: &str = "eth0";

/// Its samples say that they are of all processors together.
const CPU: &str = "container_cpu_usage_seconds_total";

type Value = fn(&ContainerSample) -> Option<(f64, Option<SystemTime>)>;

const CONTAINERS: [(&str, &str, &str, Value); 5] = [
    (CPU, "counter", "Cumulative cpu time consumed in seconds.", |container| {
        container.cpu.nano_seconds.map(|nanos| (billionths(nanos), Some(container.at)))
    }),
    ("container_memory_rss", "gauge", "Size of RSS in bytes.", |container| {
        container.memory.rss.map(|bytes| (count(bytes), Some(container.at)))
    }),
    (
        "container_memory_usage_bytes",
        "gauge",
        "Current memory usage in bytes, including all memory regardless of when it was accessed",
        |container| container.memory.usage.map(|bytes| (count(bytes), Some(container.at))),
    ),
    ("container_memory_working_set_bytes", "gauge", "Current working set in bytes.", |container| {
        container.memory.working_set.map(|bytes| (count(bytes), Some(container.at)))
    }),
    (
        "container_start_time_seconds",
        "gauge",
        "Start time of the container since unix epoch in seconds.",
        |container| container.started_at.map(|started_at| (seconds(started_at), None)),
    ),
];

type Count = fn(&NetworkUsage) -> u64;

const NETWORKS: [(&str, &str, Count); 2] = [
    ("container_network_receive_bytes_total", "Cumulative count of bytes received", |network| network.received_bytes),
    ("container_network_transmit_bytes_total", "Cumulative count of bytes transmitted", |network| network.sent_bytes),
];
