//! `/metrics/resource`: what metrics-server reads.
//!
//! Names, help and labels are the kubelet's. What is unknown is left out. What is 0 is written as the least that there
//! is: metrics-server takes 0 for a sign that a container ended, and drops its pod, or the node.

use super::{
    exposition::{Exposition, Sample, billionths, count, seconds},
    snapshot::{ContainerSample, PodSample, Snapshot},
};

/// Renders a snapshot, or that there is none.
pub(super) fn render(snapshot: Option<&Snapshot>) -> String {
    let mut text = Exposition::default();
    if let Some(snapshot) = snapshot {
        node(&mut text, snapshot);
        containers(&mut text, snapshot);
        pods(&mut text, snapshot);
    }
    let value = f64::from(u8::from(snapshot.is_none_or(|snapshot| snapshot.is_partial)));
    let help = "1 if there was an error while getting container metrics, 0 otherwise";
    text.family("scrape_error", "gauge", &format!("[ALPHA] (Deprecated since 1.29.0) {help}")).sample(&Sample {
        labels: &[],
        value,
        at: None,
    });
    text.family("resource_scrape_error", "gauge", &format!("[STABLE] {help}")).sample(&Sample {
        labels: &[],
        value,
        at: None,
    });
    text.into_text()
}

fn node(text: &mut Exposition, snapshot: &Snapshot) {
    let at = Some(snapshot.at);
    text.family(
        "node_cpu_usage_seconds_total",
        "counter",
        "[STABLE] Cumulative cpu time consumed by the node in core-seconds",
    )
    .sample(&Sample { labels: &[], value: billionths(snapshot.cpu_nano_seconds.max(1)), at });
    let bytes = snapshot.memory().working_set.unwrap_or(0).max(1);
    text.family("node_memory_working_set_bytes", "gauge", "[STABLE] Current working set of the node in bytes")
        .sample(&Sample { labels: &[], value: count(bytes), at });
}

fn containers(text: &mut Exposition, snapshot: &Snapshot) {
    fn labels<'a>(pod: &'a PodSample, container: &'a ContainerSample) -> [(&'a str, &'a str); 3] {
        [("container", &container.name), ("namespace", &pod.id.namespace), ("pod", &pod.id.name)]
    }
    let mut cpu = text.family(
        "container_cpu_usage_seconds_total",
        "counter",
        "[STABLE] Cumulative cpu time consumed by the container in core-seconds",
    );
    for (pod, container) in snapshot.containers() {
        if let Some(nanos) = container.cpu.nano_seconds {
            let (labels, value) = (&labels(pod, container), billionths(nanos.max(1)));
            cpu.sample(&Sample { labels, value, at: Some(container.at) });
        }
    }
    let mut memory = text.family(
        "container_memory_working_set_bytes",
        "gauge",
        "[STABLE] Current working set of the container in bytes",
    );
    for (pod, container) in snapshot.containers() {
        if let Some(bytes) = container.memory.working_set {
            let (labels, value) = (&labels(pod, container), count(bytes.max(1)));
            memory.sample(&Sample { labels, value, at: Some(container.at) });
        }
    }
    let mut start = text.family(
        "container_start_time_seconds",
        "gauge",
        "[STABLE] Start time of the container since unix epoch in seconds",
    );
    for (pod, container) in snapshot.containers() {
        if let Some(started_at) = container.started_at {
            start.sample(&Sample { labels: &labels(pod, container), value: seconds(started_at), at: None });
        }
    }
}

fn pods(text: &mut Exposition, snapshot: &Snapshot) {
    fn labels(pod: &PodSample) -> [(&str, &str); 2] {
        [("namespace", &pod.id.namespace), ("pod", &pod.id.name)]
    }
    let mut cpu = text.family(
        "pod_cpu_usage_seconds_total",
        "counter",
        "[STABLE] Cumulative cpu time consumed by the pod in core-seconds",
    );
    for pod in &snapshot.pods {
        if let Some(nanos) = pod.cpu().nano_seconds {
            cpu.sample(&Sample { labels: &labels(pod), value: billionths(nanos.max(1)), at: pod.at() });
        }
    }
    let mut memory =
        text.family("pod_memory_working_set_bytes", "gauge", "[STABLE] Current working set of the pod in bytes");
    for pod in &snapshot.pods {
        if let Some(bytes) = pod.memory().working_set {
            memory.sample(&Sample { labels: &labels(pod), value: count(bytes.max(1)), at: pod.at() });
        }
    }
}
