//! `/stats/summary`: the Summary API, v1alpha1.

use std::time::SystemTime;

use bytes::Bytes;
use jiff::Timestamp;
use serde::Serialize;
use vk_provider::{Error, ErrorKind, NetworkUsage};

use super::{
    Node,
    cadvisor::INTERFACE,
    cpu::Cpu,
    snapshot::{ContainerSample, Memory, PodSample, Snapshot},
};

pub(super) fn render(node: &Node, snapshot: &Snapshot, only_cpu_and_memory: bool) -> Result<Bytes, Error> {
    let cpu = Cpu { nano_seconds: Some(snapshot.cpu_nano_seconds), nano_cores: snapshot.cpu_nano_cores() };
    let mut memory = MemoryStats::new(snapshot.at, snapshot.memory());
    memory.available_bytes = (node.memory)().map(|all| all.saturating_sub(memory.working_set_bytes.unwrap_or(0)));
    let summary = Summary {
        node: NodeStats {
            node_name: &node.name,
            start_time: time(node.started_at),
            cpu: CpuStats::new(snapshot.at, cpu),
            memory,
        },
        pods: snapshot.pods.iter().map(|pod| PodStats::new(pod, only_cpu_and_memory)).collect(),
    };
    let json = serde_json::to_vec(&summary);
    json.map(Bytes::from).map_err(|error| Error::new(ErrorKind::Internal, format!("the summary: {error}")))
}

#[derive(Serialize)]
struct Summary<'a> {
    node: NodeStats<'a>,
    pods: Vec<PodStats<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct NodeStats<'a> {
    node_name: &'a str,
    start_time: String,
    cpu: CpuStats,
    memory: MemoryStats,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PodStats<'a> {
    pod_ref: PodReference<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    start_time: Option<String>,
    containers: Vec<ContainerStats<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cpu: Option<CpuStats>,
    #[serde(skip_serializing_if = "Option::is_none")]
    memory: Option<MemoryStats>,
    #[serde(skip_serializing_if = "Option::is_none")]
    network: Option<NetworkStats>,
}

#[derive(Serialize)]
struct PodReference<'a> {
    name: &'a str,
    namespace: &'a str,
    uid: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ContainerStats<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    start_time: Option<String>,
    cpu: CpuStats,
    memory: MemoryStats,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CpuStats {
    time: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    usage_nano_cores: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    usage_core_nano_seconds: Option<u64>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct MemoryStats {
    time: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    available_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    usage_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    working_set_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rss_bytes: Option<u64>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct NetworkStats {
    time: String,
    #[serde(flatten)]
    default: InterfaceStats,
    interfaces: Vec<InterfaceStats>,
}

#[derive(Serialize, Clone, Copy)]
#[serde(rename_all = "camelCase")]
struct InterfaceStats {
    name: &'static str,
    rx_bytes: u64,
    tx_bytes: u64,
}

impl<'a> PodStats<'a> {
    fn new(pod: &'a PodSample, only_cpu_and_memory: bool) -> Self {
        let network = pod.network.as_ref().filter(|_| !only_cpu_and_memory);
        Self {
            pod_ref: PodReference { name: &pod.id.name, namespace: &pod.id.namespace, uid: &pod.id.uid },
            start_time: pod.started_at.map(time),
            containers: pod.containers.iter().map(ContainerStats::new).collect(),
            cpu: pod.at().map(|at| CpuStats::new(at, pod.cpu())),
            memory: pod.at().map(|at| MemoryStats::new(at, pod.memory())),
            network: network.map(NetworkStats::new),
        }
    }
}

impl<'a> ContainerStats<'a> {
    fn new(container: &'a ContainerSample) -> Self {
        Self {
            name: &container.name,
            start_time: container.started_at.map(time),
            cpu: CpuStats::new(container.at, container.cpu),
            memory: MemoryStats::new(container.at, container.memory),
        }
    }
}

impl CpuStats {
    fn new(at: SystemTime, cpu: Cpu) -> Self {
        Self { time: time(at), usage_nano_cores: cpu.nano_cores, usage_core_nano_seconds: cpu.nano_seconds }
    }
}

impl MemoryStats {
    fn new(at: SystemTime, memory: Memory) -> Self {
        Self {
            time: time(at),
            available_bytes: None,
            usage_bytes: memory.usage,
            working_set_bytes: memory.working_set,
            rss_bytes: memory.rss,
        }
    }
}

impl NetworkStats {
    fn new(network: &NetworkUsage) -> Self {
        let default =
            InterfaceStats { name: INTERFACE, rx_bytes: network.received_bytes, tx_bytes: network.sent_bytes };
        Self { time: time(network.at), default, interfaces: vec![default] }
    }
}

/// As Kubernetes writes times: RFC 3339, whole seconds.
fn time(at: SystemTime) -> String {
    let at =
        Timestamp::try_from(at).unwrap_or(if at < SystemTime::UNIX_EPOCH { Timestamp::MIN } else { Timestamp::MAX });
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
