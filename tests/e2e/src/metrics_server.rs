//! metrics-server as a process beside the control plane, which reaches it as an aggregated API server.

use std::{path::Path, process::Stdio};

use anyhow::{Context as _, Result, ensure};
use tokio::{
    io::AsyncWriteExt as _,
    process::{Child, Command},
};
use vk_cluster::{Cluster, GoTools};

use crate::{Env, programs::repository};

/// Its API, its rights, and where the API server finds it.
const MANIFEST: &str = "tests/e2e/metrics-server/metrics-server.yaml";

/// A running metrics-server. Dropping it kills it, but leaves the API registered, at which nobody answers then: always
/// [`stop`](Self::stop) it.
#[derive(Debug)]
pub struct MetricsServer {
    _child: Child,
    manifest: String,
}

impl MetricsServer {
    /// Builds it if need be, starts it, and waits until its API is there.
    ///
    /// # Errors
    ///
    /// If that takes too long.
    pub async fn start(env: &Env) -> Result<Self> {
        let program = tools().built().await?.join("metrics-server");
        let port = env.free_port()?;
        let kubeconfig = env.cluster.kubeconfig_for("metrics-server", None)?;
        let log = std::fs::File::create(env.bench.path("metrics-server.log"))?;
        let mut command = Command::new(program);
        for flag in ["--kubeconfig", "--authentication-kubeconfig", "--authorization-kubeconfig"] {
            command.arg(flag).arg(&kubeconfig);
        }
        command
            .args(["--bind-address=127.0.0.1", &format!("--secure-port={port}"), "--cert-dir"])
            .arg(env.bench.path("metrics-server"))
            .arg("--kubelet-certificate-authority")
            .arg(env.cluster.authority())
            .args(["--kubelet-preferred-address-types=InternalIP", "--kubelet-request-timeout=5s"])
            // The least that it takes.
            .arg("--metric-resolution=10s")
            .env_clear()
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true);
        let manifest = std::fs::read_to_string(repository().join(MANIFEST))?.replace("{port}", &port.to_string());
        let child = env.with_control_plane(command).spawn().context("metrics-server does not start")?;
        let server = Self { _child: child, manifest };
        server.kubectl(&env.cluster, &["apply", "-f", "-"]).await?;
        let waited = ["wait", "apiservice/v1beta1.metrics.k8s.io", "--for=condition=Available", "--timeout=60s"];
        if let Err(error) = server.kubectl(&env.cluster, &waited).await {
            let log = std::fs::read_to_string(env.bench.path("metrics-server.log")).unwrap_or_default();
            server.stop(env).await?;
            return Err(error.context(log));
        }
        Ok(server)
    }

    /// Takes its API out of the API server, and ends it.
    ///
    /// # Errors
    ///
    /// If the API server refuses.
    pub async fn stop(self, env: &Env) -> Result<()> {
        self.kubectl(&env.cluster, &["delete", "--ignore-not-found", "-f", "-"]).await
    }

    /// kubectl with the manifest as its input.
    async fn kubectl(&self, cluster: &Cluster, arguments: &[&str]) -> Result<()> {
        let mut command = cluster.kubectl();
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn()?;
        let mut input = child.stdin.take().context("kubectl has no input")?;
        // One that does not read it says so itself.
        let _ = input.write_all(self.manifest.as_bytes()).await;
        drop(input);
        let output = child.wait_with_output().await?;
        let errors = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "kubectl {}: {errors}", arguments.join(" "));
        Ok(())
    }
}

/// Its Go module.
fn tools() -> GoTools<'static> {
    GoTools {
        name: "metrics-server",
        requirement: "sigs.k8s.io/metrics-server",
        module: repository().join(Path::new(MANIFEST).parent().unwrap_or(Path::new(""))),
        cache: repository().join("target/metrics-server"),
        link_flags: |version| format!("-s -w -X sigs.k8s.io/metrics-server/pkg/version.gitVersion=v{version}"),
        rename: &[],
        takes: "two minutes",
        instead: "",
    }
}
