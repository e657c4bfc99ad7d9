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

/// How many WebSockets of clients an API server has passed on, by subresource and by what it did with them.
pub type Websockets = BTreeMap<(String, String), u64>;

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

    /// What the API server has done with WebSockets of clients so far.
    ///
    /// # Errors
    ///
    /// If it cannot be asked.
    pub async fn websockets(&self) -> Result<Websockets> {
        const NAME: &str = "apiserver_websocket_streaming_requests_total{";
        let text = self.client.request_text(Request::get("/metrics").body(Vec::new())?).await?;
        let mut counts = Websockets::new();
        for line in text.lines().filter_map(|line| line.strip_prefix(NAME)) {
            let (labels, value) = line.split_once("} ").with_context(|| format!("not a sample: {line}"))?;
            let label = |name: &str| {
                let value = labels.split(',').find_map(|label| label.strip_prefix(name)?.strip_prefix('='));
                value.unwrap_or_default().trim_matches('"').to_owned()
            };
            counts.insert((label("subresource"), label("proxy_type")), value.parse::<f64>()? as u64);
        }
        Ok(counts)
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
