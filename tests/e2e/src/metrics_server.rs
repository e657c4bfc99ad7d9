//! metrics-server as a process beside the control plane, which reaches it as an aggregated API server.

use std::{path::PathBuf, process::Stdio, time::Duration};

use anyhow::{Context as _, Result, ensure};
use tokio::{
    io::AsyncWriteExt as _,
    process::{Child, Command},
};
use vk_cluster::{Cluster, GoTools};

use crate::{Env, eventually, programs::repository};

/// Its Go module, its rights, and where the API server finds it.
const FOLDER: &str = "tests/e2e/metrics-server";
/// It is ready once it has asked every node twice, ten seconds apart.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// A running metrics-server. Dropping it kills it, but leaves the API registered, at which nobody answers then: always
/// [`stop`](Self::stop) it.
#[derive(Debug)]
pub struct MetricsServer {
    _child: Child,
    port: u16,
}

impl MetricsServer {
    /// Builds it, unless it is there.
    ///
    /// # Errors
    ///
    /// If that fails.
    pub async fn build() -> Result<()> {
        tools().built().await.map(drop).map_err(Into::into)
    }

    /// Builds it if need be, starts it, and waits until its API is there. It is registered only once it can answer: an API
    /// that nobody serves disturbs all who look at what there is.
    ///
    /// # Errors
    ///
    /// If that takes too long.
    pub async fn start(env: &Env) -> Result<Self> {
        let program = tools().built().await?.join("metrics-server");
        apply(&env.cluster, &std::fs::read_to_string(folder().join("rights.yaml"))?).await?;
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
            .args(["--kubelet-preferred-address-types=InternalIP", "--kubelet-use-node-status-port"])
            .arg("--kubelet-request-timeout=5s")
            // The least that it takes.
            .arg("--metric-resolution=10s")
            .env_clear()
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true);
        let child = env.with_control_plane(command).spawn().context("metrics-server does not start")?;
        let server = Self { _child: child, port };
        if let Err(error) = server.register(env).await {
            let log = std::fs::read_to_string(env.bench.path("metrics-server.log")).unwrap_or_default();
            server.stop(env).await?;
            return Err(error.context(log));
        }
        Ok(server)
    }

    async fn register(&self, env: &Env) -> Result<()> {
        // It has signed its certificate itself.
        let client = reqwest::Client::builder().no_proxy().tls_danger_accept_invalid_certs(true).build()?;
        let url = format!("https://127.0.0.1:{}/readyz", self.port);
        eventually("metrics-server to be ready", READY_WITHIN, async || {
            let answer = client.get(&url).send().await.map_err(|error| error.to_string())?;
            if answer.status().is_success() { Ok(()) } else { Err(answer.text().await.unwrap_or_default()) }
        })
        .await?;
        let api = std::fs::read_to_string(folder().join("api.yaml"))?.replace("{port}", &self.port.to_string());
        apply(&env.cluster, &api).await?;
        let waited = ["wait", "apiservice/v1beta1.metrics.k8s.io", "--for=condition=Available", "--timeout=60s"];
        env.kubectl(&waited).await.map(drop)
    }

    /// Takes its API out of the API server, and ends it.
    ///
    /// # Errors
    ///
    /// If the API server refuses.
    pub async fn stop(self, env: &Env) -> Result<()> {
        env.kubectl(&["delete", "apiservice", "v1beta1.metrics.k8s.io", "--ignore-not-found"]).await.map(drop)
    }
}

/// Applies YAML that names its namespaces.
async fn apply(cluster: &Cluster, yaml: &str) -> Result<()> {
    let mut command = cluster.kubectl();
    command.args(["apply", "-f", "-"]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn()?;
    let mut input = child.stdin.take().context("kubectl has no input")?;
    // One that does not read it says so itself.
    let _ = input.write_all(yaml.as_bytes()).await;
    drop(input);
    let output = child.wait_with_output().await?;
    ensure!(output.status.success(), "kubectl apply: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

fn folder() -> PathBuf {
    repository().join(FOLDER)
}

/// Its Go module.
fn tools() -> GoTools<'static> {
    GoTools {
        name: "metrics-server",
        requirement: "sigs.k8s.io/metrics-server",
        module: folder(),
        cache: repository().join("target/metrics-server"),
        link_flags: |version| format!("-s -w -X sigs.k8s.io/metrics-server/pkg/version.gitVersion=v{version}"),
        rename: &[],
        takes: "four minutes",
        instead: "",
    }
}
