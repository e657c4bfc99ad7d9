//! Streams through the API server: kubectl in its versions and dialects, and which way the API server took them.

use std::{collections::BTreeMap, fs::File, path::Path, process::Stdio, time::Duration};

use anyhow::{Context as _, Result};
use http::Request;
use tokio::{process::Command, time};

use super::Env;
use crate::{
    PATIENCE, eventually,
    kubectl::{Finished, Kubectl, Running},
    sample,
};

/// No transfer takes longer.
const LONGEST_TRANSFER: Duration = Duration::from_secs(120);

/// What is streamed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamKind {
    /// `kubectl exec`.
    Exec,
    /// `kubectl attach`.
    Attach,
    /// `kubectl port-forward`.
    PortForward,
}

/// How a connection came to the node, as vk-host counts it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Upgrade {
    kind: String,
    carrier: String,
    protocol: String,
}

impl Upgrade {
    /// As current clients make it.
    pub fn of(kind: StreamKind, is_websocket: bool) -> Self {
        let (kind, spdy, websocket) = match kind {
            StreamKind::Exec => ("exec", "v4.channel.k8s.io", "v5.channel.k8s.io"),
            StreamKind::Attach => ("attach", "v4.channel.k8s.io", "v5.channel.k8s.io"),
            StreamKind::PortForward => ("port_forward", "portforward.k8s.io", "SPDY/3.1+portforward.k8s.io"),
        };
        let (carrier, protocol) = if is_websocket { ("websocket", websocket) } else { ("spdy", spdy) };
        Self { kind: kind.to_owned(), carrier: carrier.to_owned(), protocol: protocol.to_owned() }
    }
}

impl Env {
    /// A kubectl in the test's namespace, to be started.
    pub fn client(&self, kubectl: &Kubectl, arguments: &[&str]) -> Command {
        let mut command = kubectl.command(&self.cluster);
        command.args(["--namespace", &self.namespace]).args(arguments);
        command
    }

    /// Runs a kubectl without input to its end.
    ///
    /// # Errors
    ///
    /// If it does not end within two minutes.
    pub async fn run(&self, kubectl: &Kubectl, arguments: &[&str]) -> Result<Finished> {
        self.run_with(kubectl, arguments, Stdio::null()).await
    }

    /// Runs a kubectl with a file as its input to its end.
    ///
    /// # Errors
    ///
    /// As [`run`](Self::run).
    pub async fn run_on(&self, kubectl: &Kubectl, arguments: &[&str], input: &Path) -> Result<Finished> {
        self.run_with(kubectl, arguments, File::open(input)?.into()).await
    }

    async fn run_with(&self, kubectl: &Kubectl, arguments: &[&str], input: Stdio) -> Result<Finished> {
        let mut command = self.client(kubectl, arguments);
        let output = command.stdin(input).output();
        let what = || format!("{} {}", kubectl.name, arguments.join(" "));
        let output = time::timeout(LONGEST_TRANSFER, output).await.with_context(what)?.with_context(what)?;
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        Ok(Finished { code: output.status.code(), output: output.stdout, errors })
    }

    /// Starts a kubectl that is talked to.
    ///
    /// # Errors
    ///
    /// If it does not start.
    pub fn spawn(&self, kubectl: &Kubectl, arguments: &[&str]) -> Result<Running> {
        Running::start(self.client(kubectl, arguments))
    }

    /// Starts a kubectl at a terminal of so many rows and columns. Its first line names the terminal's device.
    ///
    /// # Errors
    ///
    /// If it does not start.
    pub fn spawn_at_terminal(&self, kubectl: &Kubectl, size: (u16, u16), arguments: &[&str]) -> Result<Running> {
        let client = self.client(kubectl, arguments);
        let client = client.as_std();
        let quoted = |word: &std::ffi::OsStr| format!("'{}'", word.to_string_lossy().replace('\'', r"'\''"));
        let words: Vec<String> = std::iter::once(client.get_program()).chain(client.get_args()).map(quoted).collect();
        let (rows, columns) = size;
        let script = format!("tty; stty rows {rows} cols {columns}; exec {}", words.join(" "));
        let mut command = Command::new("script");
        command.args(["--quiet", "--return", "--command", &script, "/dev/null"]);
        for (name, value) in client.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        Running::start(command).context("install the program `script`, of Debian's package bsdutils")
    }

    /// Forwards a port of a pod. Returns the kubectl that does it, and the local port.
    ///
    /// # Errors
    ///
    /// If it does not begin in time.
    pub async fn forward(&self, kubectl: &Kubectl, pod: &str, port: u16) -> Result<(Running, u16)> {
        let pod = format!("pod/{pod}");
        let mut running = self.spawn(kubectl, &["port-forward", &pod, &format!(":{port}")])?;
        let line = running.line().await.with_context(|| kubectl.name.clone())?;
        let local = line.strip_prefix("Forwarding from 127.0.0.1:").and_then(|rest| rest.split(' ').next());
        let local = local.and_then(|port| port.parse().ok()).with_context(|| format!("kubectl says {line:?}"))?;
        Ok((running, local))
    }

    /// How many connections have come to the node so far.
    ///
    /// # Errors
    ///
    /// If vk-host cannot be asked.
    pub async fn upgrades(&self) -> Result<BTreeMap<Upgrade, u64>> {
        let mut counts = BTreeMap::new();
        for (labels, value) in samples(&self.metrics().await?, "vk_kubelet_upgrades_total") {
            let [kind, carrier, protocol] = ["kind", "carrier", "protocol"].map(|name| label(labels, name));
            counts.insert(Upgrade { kind, carrier, protocol }, value);
        }
        Ok(counts)
    }

    /// How many WebSockets of clients the API server has turned into SPDY so far, those of exec and attach taken together.
    ///
    /// # Errors
    ///
    /// If it cannot be asked.
    pub async fn translated(&self, kind: StreamKind) -> Result<u64> {
        let name = match kind {
            StreamKind::Exec | StreamKind::Attach => "apiserver_stream_translator_requests_total",
            StreamKind::PortForward => "apiserver_stream_tunnel_requests_total",
        };
        let text = self.client.request_text(Request::get("/metrics").body(Vec::new())?).await?;
        Ok(samples(&text, name).map(|(_, value)| value).sum())
    }

    /// Waits until vk-host has so many open streams of a kind: exec, attach, port_forward or logs.
    ///
    /// # Errors
    ///
    /// If that takes too long.
    pub async fn streams(&self, kind: &str, count: usize) -> Result<()> {
        self.gauge(&format!("vk_kubelet_streams{{kind=\"{kind}\"}}"), count).await
    }

    /// Waits until a gauge of vk-host's has a value.
    ///
    /// # Errors
    ///
    /// If that takes too long.
    pub async fn gauge(&self, name: &str, value: usize) -> Result<()> {
        eventually(&format!("{name} to be {value}"), PATIENCE, async || {
            let found = async { sample(&self.metrics().await?, name) }.await.map_err(|error| error.to_string())?;
            if found == value as f64 { Ok(()) } else { Err(found.to_string()) }
        })
        .await
    }
}

/// The labels and values of a family's samples.
fn samples<'a>(text: &'a str, name: &'a str) -> impl Iterator<Item = (&'a str, u64)> {
    text.lines().filter_map(move |line| {
        let (labels, value) = line.strip_prefix(name)?.strip_prefix('{')?.split_once("} ")?;
        Some((labels, value.parse::<f64>().ok()? as u64))
    })
}

fn label(labels: &str, name: &str) -> String {
    let value = labels.split(',').find_map(|label| label.strip_prefix(name)?.strip_prefix('='));
    value.unwrap_or_default().trim_matches('"').to_owned()
}
