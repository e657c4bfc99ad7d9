//! What a test on the cluster has: a namespace, a node name, a backend, vk-host.

mod backend;
mod cluster;
mod host;
mod kubelet;
mod streams;

pub use kubelet::upgrade;
pub use streams::{StreamKind, Upgrade};

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use anyhow::{Error, Result, bail};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, ServiceAccount};
use kube::{Api, Client, api::PostParams, runtime::watcher};
use serde_json::json;
use tokio::sync::mpsc;
use vk_backend::Backend;
use vk_cluster::Cluster;

use crate::{Azure, Bench, Setup, VkHost, suite::Control, until};

/// How long the controller manager may take to equip a namespace: after an outage of the API server it comes back late.
const EQUIPPED_WITHIN: Duration = Duration::from_secs(120);
/// A stop waits for calls in flight, for at most 20 s.
const STOPS_WITHIN: Duration = Duration::from_secs(30);
/// How long vk-host waits for the lease of another one that does not move.
const LEASE_STILL: Duration = Duration::from_secs(15);
/// Lines of vk-host's log that a failure shows.
const SHOWN_LINES: usize = 60;

/// A test's own part of the world.
pub struct Env {
    /// The files under test, and a folder.
    pub bench: Bench,
    /// The test's namespace.
    pub namespace: String,
    /// The name of the test's node.
    pub node: String,
    /// Where the mock keeps its pods.
    pub backend: Backend,
    /// Where the provider for Azure keeps its pods, once it is started.
    pub(crate) azure: Option<Arc<Azure>>,
    /// The administrator's client.
    pub client: Client,
    /// The control plane that all tests share.
    pub cluster: Arc<Cluster>,
    /// The control plane's process group.
    group: i32,
    setup: Setup,
    host: Option<VkHost>,
    metrics: Option<u16>,
    deaths: mpsc::UnboundedSender<String>,
}

impl Env {
    pub(crate) async fn new(
        bench: Bench,
        control: Control,
        number: u32,
        deaths: mpsc::UnboundedSender<String>,
    ) -> Result<Self> {
        let Control { cluster, client, group } = control;
        let env = Self {
            bench,
            namespace: format!("e2e-{number}"),
            node: format!("vk-{number}"),
            backend: Backend::start().await?,
            azure: None,
            client,
            cluster,
            group,
            setup: Setup::default(),
            host: None,
            metrics: None,
            deaths,
        };
        env.make_namespace(&env.namespace).await?;
        Ok(env)
    }

    /// Makes a namespace and waits until pods can be made in it.
    ///
    /// # Errors
    ///
    /// If that takes too long.
    pub async fn make_namespace(&self, name: &str) -> Result<()> {
        let namespace = serde_json::from_value(json!({"metadata": {"name": name}}))?;
        Api::<Namespace>::all(self.client.clone()).create(&PostParams::default(), &namespace).await?;
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client.clone(), name);
        let default = watcher::Config::default().fields("metadata.name=default");
        until(accounts, default, "the ServiceAccount default", EQUIPPED_WITHIN, |seen| !seen.is_empty()).await?;
        let maps: Api<ConfigMap> = Api::namespaced(self.client.clone(), name);
        let root = watcher::Config::default().fields("metadata.name=kube-root-ca.crt");
        until(maps, root, "the ConfigMap kube-root-ca.crt", EQUIPPED_WITHIN, |seen| !seen.is_empty()).await?;
        Ok(())
    }

    /// Ends vk-host and adds to a failure what helps to understand it.
    pub(crate) async fn close(mut self, outcome: Result<()>) -> Result<()> {
        let azure = self.azure.take();
        let outcome = match (outcome, &azure) {
            (Ok(()), Some(azure)) => azure.check(&self).await,
            (outcome, _) => outcome,
        };
        let host = self.host.take();
        if let Some(host) = &host {
            host.kill9();
            host.ended(STOPS_WITHIN).await?;
        }
        let log = self.log();
        let outcome = match outcome {
            Ok(()) if log.contains("panicked") => Err(Error::msg("vk-host panicked")),
            outcome => outcome,
        };
        let Err(error) = outcome else { return Ok(()) };
        let mut report = format!("{error:#}\n\n");
        for command in [&["get", "pods", "-o", "wide"][..], &["get", "events", "--sort-by=.lastTimestamp"]] {
            let shown = self.kubectl(command).await.unwrap_or_else(|error| error.to_string());
            report.push_str(&format!("$ kubectl {}\n{}\n\n", command.join(" "), tail(&shown, 25)));
        }
        match azure {
            Some(azure) => report.push_str(&format!("Azure has {}\n\n", azure.report())),
            None => {
                let requests: BTreeMap<_, _> = self.backend.counts().requests;
                report.push_str(&format!("requests to the backend: {requests:?}\n\n"));
            }
        }
        report.push_str(&format!("the end of vk-host's log:\n{}", tail(&log, SHOWN_LINES)));
        bail!(report)
    }
}

fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    all.get(all.len().saturating_sub(lines)..).unwrap_or_default().join("\n")
}
