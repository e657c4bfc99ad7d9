//! `vk-bench streams`: what streams through the API server cost, beside the least that a kubelet can do with them.
//!
//! ```text
//!  kube client ──> API server ─┬─> vk-host ─ mock: exec, logs      ──tcp──> Peer: source, sink
//!                              └─> Stub, this process: the least   ──tcp──┘
//! ```
//!
//! The stub answers an exec at once, writes a log from memory, and copies a port-forward's bytes as they are. So what is
//! measured with it is the API server's own time, the client's and the machine's, and what vk-host adds is the difference.

mod exec;
mod figures;
mod followers;
mod logs;
mod peer;
mod stub;
mod transfer;

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::Args;
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api,
    api::{DeleteParams, PostParams},
    runtime::wait::await_condition,
};
use serde_json::{Value, json};
use tokio::time;

use self::{figures::Report, peer::Peer, stub::Stub};
use crate::{
    contestant::{Contestant, Programs},
    control::{Control, READY_WITHIN},
    process::Process,
};

/// How much of everything.
#[derive(Debug, Clone, Args)]
pub(crate) struct Sizes {
    /// Commands that are run at each of the two, one after the other
    #[arg(long, default_value_t = 500)]
    execs: usize,
    /// MiB that each transfer copies
    #[arg(long, default_value_t = 512)]
    transfer: usize,
    /// Transfers of each kind; the table shows medians
    #[arg(long, default_value_t = 5)]
    transfers: usize,
    /// Sessions that idle
    #[arg(long, default_value_t = 200)]
    sessions: usize,
    /// Clients that follow a log
    #[arg(long, default_value_t = 100)]
    followers: usize,
}

/// The node that the stub is.
const STUB_NODE: &str = "bench-stub";

/// What is measured, and with what.
struct Bench {
    control: Control,
    pods: Api<Pod>,
    host: Process,
    sizes: Sizes,
}

/// Measures everything and prints the table.
pub(crate) async fn run(sizes: Sizes) -> Result<()> {
    let folder = tempfile::Builder::new().prefix("vk-bench-").tempdir().context("cannot make a folder")?;
    let peer = Peer::start(sizes.transfer << 20).await?;
    let programs = Programs::find(&[Contestant::VkHost], PathBuf::from(folder.path())).await?;
    programs.grant(&peer.grants())?;
    eprintln!("vk-bench: starting a control plane");
    let control = Control::start().await?;
    let stub = Stub::start(&control.kubelet_certificate(), &peer, sizes.transfer << 20).await?;
    control.create(node(stub.port())).await?;
    let host = programs.start(Contestant::VkHost, &control).await?;
    let pods = Api::default_namespaced(control.client.clone());
    let mut bench = Bench { control, pods, host, sizes };
    let report = bench.measure(&peer).await?;
    print!("{report}");
    bench.host.stop().await?;
    bench.control.stop().await;
    Ok(())
}

impl Bench {
    async fn measure(&mut self, peer: &Peer) -> Result<Report> {
        let Self { control, pods, host, sizes } = self;
        let node = Contestant::VkHost.node();
        let usage = host.usage();
        let work = async {
            for (name, ask) in [
                ("web", json!({})),
                ("source", json!({"port-forward": peer.source()})),
                ("sink", json!({"port-forward": peer.sink()})),
                ("loud", json!({"log-lines": logs::lines(sizes.transfer << 20), "log-bytes": logs::LINE.to_string()})),
                ("steady", json!({"log-every": "100ms"})),
            ] {
                make(pods, name, &node, &ask).await?;
                // The stub has pods of the same names, each with a mark.
                make(pods, &stub::pod(name), STUB_NODE, &json!({})).await?;
                ready(pods, name).await?;
            }
            eprintln!("vk-bench: exec");
            let execs = exec::round_trips(pods, sizes.execs).await?;
            eprintln!("vk-bench: logs");
            let logs = logs::throughput(pods, sizes.transfers, sizes.transfer << 20).await?;
            eprintln!("vk-bench: port-forward");
            let forwards = transfer::throughput(control, pods, sizes.transfers, sizes.transfer << 20).await?;
            eprintln!("vk-bench: idle sessions");
            let idle = exec::idle(pods, usage, sizes.sessions).await?;
            eprintln!("vk-bench: followers");
            let followers = followers::follow(pods, usage, sizes.followers).await?;
            Ok(Report { sizes: sizes.clone(), execs, logs, forwards, idle, followers })
        };
        host.during(work).await
    }
}

/// A node whose kubelet is at `port`, as the API server wants it to pass WebSockets on.
fn node(port: u16) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Node", "metadata": {"name": STUB_NODE},
        "status": {
            "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": port}},
            "declaredFeatures": ["ExtendWebSocketsToKubelet"],
        },
    })
}

async fn make(pods: &Api<Pod>, name: &str, node: &str, asks: &Value) -> Result<()> {
    let annotations: serde_json::Map<String, Value> = asks
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, value)| (format!("mock.vk-host.dev/{name}"), value.clone()))
        .collect();
    let pod = serde_json::from_value(json!({
        "metadata": {"name": name, "annotations": annotations},
        "spec": {
            "nodeName": node,
            "automountServiceAccountToken": false,
            "containers": [{"name": "main", "image": "registry.example.com/main:1", "stdin": true}],
        },
    }))?;
    // One of an earlier run is in nobody's way.
    let _ = pods.delete(name, &DeleteParams::default().grace_period(0)).await;
    pods.create(&PostParams::default(), &pod).await?;
    Ok(())
}

async fn ready(pods: &Api<Pod>, name: &str) -> Result<()> {
    let running = kube::runtime::conditions::is_pod_running();
    let waited = time::timeout(READY_WITHIN, await_condition(pods.clone(), name, running)).await;
    waited.with_context(|| format!("pod {name} does not run"))??;
    Ok(())
}
