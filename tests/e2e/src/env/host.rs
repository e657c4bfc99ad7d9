//! The test's vk-host: started, stopped, reconfigured, read.

use std::{
    net::TcpListener,
    path::PathBuf,
    process::ExitStatus,
    sync::atomic::{AtomicU16, Ordering},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use tokio::process::Command;

use super::{Env, LEASE_STILL, STOPS_WITHIN, tail};
use crate::{PATIENCE, Setup, VkHost, condition, eventually};

impl Env {
    /// Starts vk-host and waits until its node is Ready.
    ///
    /// # Errors
    ///
    /// If it is not in time.
    pub async fn start(&mut self, setup: Setup) -> Result<()> {
        self.launch(setup)?;
        self.registered().await
    }

    /// Starts vk-host and waits for nothing.
    ///
    /// # Errors
    ///
    /// If it does not start.
    pub fn launch(&mut self, setup: Setup) -> Result<()> {
        self.prepare(setup)?;
        self.launch_again()
    }

    /// Writes the files that vk-host is started with.
    ///
    /// # Errors
    ///
    /// If they cannot be written.
    pub fn prepare(&mut self, setup: Setup) -> Result<()> {
        self.setup = setup;
        self.configure(&self.setup)?;
        if !self.component().exists() {
            std::fs::copy(self.bench.mock(), self.component())?;
        }
        Ok(())
    }

    /// Starts vk-host as it was started before, and waits until its node is Ready.
    ///
    /// # Errors
    ///
    /// If it is not in time.
    pub async fn start_again(&mut self) -> Result<()> {
        self.launch_again()?;
        self.registered().await
    }

    /// Starts vk-host as it was started before, and waits for nothing.
    ///
    /// # Errors
    ///
    /// If it does not start.
    pub fn launch_again(&mut self) -> Result<()> {
        let port = free_port()?;
        self.metrics = Some(port);
        let mut command = self.command();
        command.args(["--metrics-addr", &format!("127.0.0.1:{port}")]);
        let log = self.bench.path("vk-host.log");
        self.host = Some(VkHost::start(command, &log, self.deaths.clone())?);
        Ok(())
    }

    /// Starts another vk-host beside the test's own, for the same node and with the same files, and waits for nothing.
    ///
    /// # Errors
    ///
    /// If it does not start.
    pub fn launch_another(&self, setup: &Setup) -> Result<VkHost> {
        static NEXT: AtomicU16 = AtomicU16::new(0);
        let log = self.bench.path(&format!("another-{}.log", NEXT.fetch_add(1, Ordering::Relaxed)));
        VkHost::start(self.command_for(setup), &log, self.deaths.clone())
    }

    /// vk-host with all flags of the setup; for runs that are to fail.
    pub fn command(&self) -> Command {
        self.command_for(&self.setup)
    }

    fn command_for(&self, setup: &Setup) -> Command {
        let mut command = self.bench.vk_host();
        let kubeconfig = setup.kubeconfig.clone().unwrap_or_else(|| self.cluster.kubeconfig());
        command.arg("--kubeconfig").arg(kubeconfig).args(["--nodename", &self.node]);
        match &setup.provider {
            Some(flags) => command.args(flags),
            None => {
                command.arg("--provider-wasm").arg(self.component());
                command.arg("--provider-config").arg(self.bench.path("mock.toml"))
            }
        };
        command.arg("--cache-dir").arg(&self.bench.programs.cache);
        command.args(setup.kubelet(&self.cluster)).args(&setup.flags);
        command.envs(setup.variables.iter().map(|(name, value)| (name, value)));
        self.with_control_plane(command)
    }

    /// A command that runs among the control plane's processes, so that its reaper ends it when it ends them.
    pub(crate) fn with_control_plane(&self, mut command: Command) -> Command {
        command.process_group(self.group);
        command
    }

    /// A port of 127.0.0.1 that nobody else gets.
    pub(crate) fn free_port(&self) -> Result<u16> {
        free_port()
    }

    /// Waits until the process that was started last has registered its node, and the node is Ready.
    ///
    /// # Errors
    ///
    /// If that takes too long.
    pub async fn registered(&self) -> Result<()> {
        // One that was killed before it has left a lease that is waited for.
        eventually("vk-host to register its node", LEASE_STILL + PATIENCE, async || match self.probe("readyz").await {
            Ok(answer) if answer.status().is_success() => Ok(()),
            Ok(answer) => Err(format!("{} from {}", answer.status(), answer.url())),
            Err(error) => Err(error.to_string()),
        })
        .await?;
        self.node_until("to be Ready", |node| condition(node, "Ready").is_some_and(|ready| ready.status == "True"))
            .await?;
        Ok(())
    }

    /// Writes the mock's configuration file anew; a running vk-host will notice.
    ///
    /// # Errors
    ///
    /// If it cannot be written.
    pub fn configure(&self, setup: &Setup) -> Result<()> {
        self.replace("mock.toml", setup.configuration(&self.backend.url()))
    }

    /// Puts a file into the test's folder by a rename, as careful operators do.
    ///
    /// # Errors
    ///
    /// If it cannot be written.
    pub fn replace(&self, name: &str, content: impl AsRef<[u8]>) -> Result<()> {
        let incoming = self.bench.write("incoming", content)?;
        std::fs::rename(incoming, self.bench.path(name)).context("cannot rename")
    }

    /// The component that this test's vk-host runs.
    pub fn component(&self) -> PathBuf {
        self.bench.path("mock.wasm")
    }

    /// The running vk-host.
    ///
    /// # Errors
    ///
    /// If there is none.
    pub fn vk_host(&self) -> Result<&VkHost> {
        self.host.as_ref().context("vk-host does not run")
    }

    /// Everything that vk-host has written.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.bench.path("vk-host.log")).unwrap_or_default()
    }

    /// Waits for a line of vk-host's log with all of these parts, after the first `skip` lines.
    ///
    /// # Errors
    ///
    /// If it is not written in time.
    pub async fn line(&self, skip: usize, parts: &[&str]) -> Result<String> {
        let what = format!("a log line with {parts:?}");
        eventually(&what, PATIENCE, async || {
            let log = self.log();
            let found = log.lines().skip(skip).find(|line| parts.iter().all(|part| line.contains(part)));
            found.map(str::to_owned).ok_or_else(|| tail(&log, 5))
        })
        .await
    }

    /// Stops vk-host cleanly.
    ///
    /// # Errors
    ///
    /// If it does not end in time.
    pub async fn sigterm(&mut self) -> Result<ExitStatus> {
        self.vk_host()?.sigterm();
        self.vk_host()?.ended(STOPS_WITHIN).await
    }

    /// Kills vk-host.
    ///
    /// # Errors
    ///
    /// If it does not end in time.
    pub async fn kill9(&mut self) -> Result<()> {
        self.vk_host()?.kill9();
        self.vk_host()?.ended(STOPS_WITHIN).await.map(drop)
    }

    /// vk-host's metrics in their text format.
    ///
    /// # Errors
    ///
    /// If they cannot be read.
    pub async fn metrics(&self) -> Result<String> {
        Ok(self.probe("metrics").await?.error_for_status()?.text().await?)
    }

    /// What vk-host's server of metrics and health answers at a path.
    ///
    /// # Errors
    ///
    /// If it does not answer.
    pub async fn probe(&self, path: &str) -> Result<reqwest::Response> {
        let port = self.metrics.context("vk-host was not started")?;
        let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(5)).build()?;
        Ok(client.get(format!("http://127.0.0.1:{port}/{path}")).send().await?)
    }
}

/// A port outside of the range that the system hands out, so that no outgoing connection takes it meanwhile.
fn free_port() -> Result<u16> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = u16::try_from(std::process::id() % 9_000)?;
    for _ in 0..1_000 {
        let port = 20_000 + (first + NEXT.fetch_add(1, Ordering::Relaxed) % 1_000);
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("there is no free port from {} on", 20_000 + first)
}
