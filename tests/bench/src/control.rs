//! The control plane that all contestants share, and what the bench does to it as administrator.
//!
//! kube-apiserver and etcd only: pods are created bound to their node, and a scheduler and a controller manager that
//! watch them would just take processor time away from what is measured.

use std::{
    path::{Path, PathBuf},
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use http::{Method, Request, header::CONTENT_TYPE};
use http_body_util::BodyExt as _;
use k8s_openapi::api::{coordination::v1::Lease, core::v1::Node};
use kube::{
    Api, Client, Config,
    api::{DeleteParams, PostParams},
    client::Body,
    config::{KubeConfigOptions, Kubeconfig},
};
use rustix::process::{Pid, getpgid};
use serde_json::{Value, json};
use tokio::process::Command;
use vk_cluster::{CertificateFiles, Cluster, Options};

use crate::counters::Writes;

/// The namespace of all pods.
pub(crate) const NAMESPACE: &str = "default";

/// How long a pod may take to run where nothing else happens.
pub(crate) const READY_WITHIN: Duration = Duration::from_secs(60);

/// A client with the identity that `kubeconfig` gives.
pub(crate) async fn client(kubeconfig: &Path) -> Result<Client> {
    let kubeconfig = Kubeconfig::read_from(kubeconfig)?;
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    Ok(Client::try_from(config)?)
}

/// The control plane, and the administrator's client.
pub(crate) struct Control {
    cluster: Cluster,
    pub(crate) client: Client,
    group: i32,
}

/// A pod that was asked for or deleted, and when that request was sent.
pub(crate) type Sent = (String, Instant);

impl Control {
    /// Starts it.
    pub(crate) async fn start() -> Result<Self> {
        let options = Options { controller_manager: false, scheduler: false, ..Options::default() };
        let cluster = Cluster::start(options).await?;
        let client = client(&cluster.kubeconfig()).await?;
        let pids = cluster.pids().await;
        let (_, pid) = pids.first().context("the control plane has no process")?;
        let group = getpgid(Pid::from_raw(i32::try_from(*pid)?))?.as_raw_nonzero().get();
        Ok(Self { cluster, client, group })
    }

    /// Ends it.
    pub(crate) async fn stop(self) {
        self.cluster.stop().await;
    }

    /// Its process group: what is in it ends with it.
    pub(crate) fn group(&self) -> i32 {
        self.group
    }

    /// A kubeconfig file for another identity than the administrator's.
    pub(crate) fn kubeconfig_for(&self, user: &str, group: Option<&str>) -> Result<PathBuf> {
        Ok(self.cluster.kubeconfig_for(user, group)?)
    }

    /// Applies a manifest.
    pub(crate) async fn apply(&self, manifest: &Path) -> Result<()> {
        let output = self.cluster.kubectl().args(["apply", "-f"]).arg(manifest).output().await?;
        ensure!(output.status.success(), "kubectl apply: {}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    }

    /// A serving certificate for kubelets that the API server trusts.
    pub(crate) fn kubelet_certificate(&self) -> CertificateFiles {
        self.cluster.kubelet_certificate()
    }

    /// The authority of the API server's certificate as a client of kubelets.
    pub(crate) fn authority(&self) -> PathBuf {
        self.cluster.authority()
    }

    /// kubectl, as administrator.
    pub(crate) fn kubectl(&self) -> Command {
        self.cluster.kubectl()
    }

    /// Makes a node with the status that it is to have.
    pub(crate) async fn create(&self, node: Value) -> Result<()> {
        self.nodes().create(&PostParams::default(), &serde_json::from_value(node)?).await?;
        Ok(())
    }

    /// Makes a node for a contestant that makes none.
    pub(crate) async fn create_node(&self, name: &str) -> Result<()> {
        let node = serde_json::from_value(json!({"metadata": {"name": name}}))?;
        self.nodes().create(&PostParams::default(), &node).await?;
        Ok(())
    }

    /// Removes a node and its lease, which would keep the next process of that name waiting.
    pub(crate) async fn delete_node(&self, name: &str) -> Result<()> {
        let leases: Api<Lease> = Api::namespaced(self.client.clone(), "kube-node-lease");
        absent(leases.delete(name, &DeleteParams::default()).await)?;
        absent(self.nodes().delete(name, &DeleteParams::default()).await)
    }

    fn nodes(&self) -> Api<Node> {
        Api::all(self.client.clone())
    }

    /// Creates pods bound to `node` by so many creators. Answers when each was sent.
    pub(crate) async fn create_pods(&self, node: &str, names: &[String], creators: usize) -> Result<Vec<Sent>> {
        self.for_each(names, creators, |name| {
            Request::builder()
                .method(Method::POST)
                .uri(format!("/api/v1/namespaces/{NAMESPACE}/pods"))
                .header(CONTENT_TYPE, "application/json")
                .body(Body::from(pod(name, node)))
        })
        .await
    }

    /// Deletes pods as their users do, or by force.
    pub(crate) async fn delete_pods(&self, names: &[String], deleters: usize, force: bool) -> Result<Vec<Sent>> {
        let query = if force { "?gracePeriodSeconds=0" } else { "" };
        self.for_each(names, deleters, |name| {
            Request::builder()
                .method(Method::DELETE)
                .uri(format!("/api/v1/namespaces/{NAMESPACE}/pods/{name}{query}"))
                .body(Body::empty())
        })
        .await
    }

    /// How many writes the API server has counted.
    pub(crate) async fn writes(&self) -> Result<Writes> {
        let request = Request::get("/metrics").body(Vec::new())?;
        Ok(Writes::read(&self.client.request_text(request).await?))
    }

    /// Answers are not parsed: what the bench computes is taken from the machine that is measured.
    async fn for_each(
        &self,
        names: &[String],
        workers: usize,
        request: impl Fn(&str) -> http::Result<Request<Body>>,
    ) -> Result<Vec<Sent>> {
        let next = AtomicUsize::new(0);
        let worker = async || {
            let mut sent = Vec::new();
            while let Some(name) = names.get(next.fetch_add(1, Ordering::Relaxed)) {
                let (request, at) = (request(name)?, Instant::now());
                let answer = self.client.send(request).await?;
                let status = answer.status();
                let body = answer.into_body().collect().await?.to_bytes();
                ensure!(status.is_success(), "pod {name}: {status}: {}", String::from_utf8_lossy(&body));
                sent.push((name.clone(), at));
            }
            anyhow::Ok(sent)
        };
        let sent: Vec<_> = stream::iter(0..workers).map(|_| worker()).buffer_unordered(workers).try_collect().await?;
        Ok(sent.concat())
    }
}

/// What was not there need not be removed.
fn absent<T>(deleted: kube::Result<T>) -> Result<()> {
    match deleted {
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        deleted => Ok(deleted.map(drop)?),
    }
}

/// A pod as a Deployment's are: labels, two variables, requests, an ownerless name.
fn pod(name: &str, node: &str) -> Vec<u8> {
    let pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app.kubernetes.io/name": "bench", "pod-template-hash": "5d4b9c7f6"}},
        "spec": {
            "nodeName": node,
            "automountServiceAccountToken": false,
            "tolerations": [{"operator": "Exists"}],
            "containers": [{
                "name": "main",
                "image": "registry.example.com/bench/main:1.0.0",
                "env": [{"name": "LOG_LEVEL", "value": "info"}, {"name": "LISTEN", "value": ":8080"}],
                "ports": [{"name": "http", "containerPort": 8080}],
                "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}, "limits": {"memory": "64Mi"}},
            }],
        },
    });
    pod.to_string().into_bytes()
}
