//! The kubelet API of the node: where it listens, what it serves with, whom it believes.
//!
//! ```text
//!  flags ──> Listening ──> port, for the Node ──> Server <── certificates, client CA <── files that change, or CSR
//!                                                   │
//!                                     Runtime, Directory of the node's pods
//! ```

use std::{net::IpAddr, sync::Arc, time::SystemTime};

use anyhow::Context as _;
use kube::Client;
use prometheus_client::registry::Registry;
use tokio::{net::TcpListener, sync::watch};
use tokio_util::sync::CancellationToken;
use vk_kubelet::{
    ApiServer, ClientAuthorities, ClientCa, Metrics, NodePod, Parts, Pods, Server,
    certificate::{self, Certificates, Requester, RequesterConfig},
    stats,
};
use vk_node::{Directory, DirectoryPod};
use vk_runtime::Runtime;

use crate::{
    address,
    config::grants::Protected,
    files::{Files, Seen},
    flags::{Certificate, KubeletOptions},
    usage::causes,
};

/// What the server can do beyond what every API server expects of a node: take WebSockets as clients send them.
pub(crate) const FEATURES: [&str; 1] = ["ExtendWebSocketsToKubelet"];

/// The port is taken, and nothing is served yet.
pub(crate) struct Listening {
    listener: TcpListener,
    port: u16,
    options: KubeletOptions,
    certificates: Arc<Certificates>,
    client_ca: Arc<ClientCa>,
    /// The certificate's files and the clients' authorities, as they were read.
    seen: Seen,
    metrics: Metrics,
}

/// What the server of a node needs beside what it listens with.
pub(crate) struct Wiring {
    pub(crate) node_name: String,
    pub(crate) addresses: Vec<IpAddr>,
    pub(crate) client: Client,
    pub(crate) runtime: Arc<Runtime>,
    pub(crate) directory: Directory,
    /// How much memory the node offers, in bytes.
    pub(crate) memory: Box<dyn Fn() -> Option<u64> + Send + Sync>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) ready: watch::Receiver<bool>,
}

impl Listening {
    /// Reads the files that the options name, and takes the port.
    ///
    /// # Errors
    ///
    /// If one of them cannot be used.
    pub(crate) async fn start(options: KubeletOptions, registry: &mut Registry) -> anyhow::Result<Self> {
        let metrics = Metrics::new(registry);
        let certificates = Arc::new(Certificates::new(metrics.clone()));
        let client_ca = Arc::new(ClientCa::default());
        let mut seen = Seen::default();
        load(&options, &certificates, &client_ca, &mut seen)?;
        let listener = address::listen(&options.listen).await;
        let listener = listener.with_context(|| format!("--listen {} cannot be listened on", options.listen))?;
        let port = listener.local_addr().context("--listen")?.port();
        Ok(Self { listener, port, options, certificates, client_ca, seen, metrics })
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// What no provider may read.
    pub(crate) fn protected(&self) -> Option<Protected> {
        let key = match &self.options.certificate {
            Certificate::Files { key, .. } => Some(key),
            Certificate::Csr { keep } => keep.as_ref(),
            Certificate::SelfSigned => None,
        };
        key.map(|key| Protected::new("the key of the kubelet API", key))
    }

    /// Where the server is reached, which no provider may reach.
    pub(crate) fn denied(&self, addresses: &[IpAddr]) -> Vec<(String, u16)> {
        let bound = self.listener.local_addr().map(|address| address.ip()).ok().filter(|ip| !ip.is_unspecified());
        let own = addresses.iter().copied().chain(bound);
        // Without an address of its own, it is reached by all of the machine's, which egress makes of loopback.
        let loopback = [IpAddr::from([127, 0, 0, 1]), IpAddr::from(std::net::Ipv6Addr::LOCALHOST)];
        own.chain(loopback).map(|address| (address.to_string(), self.port)).collect()
    }

    /// The server.
    ///
    /// # Errors
    ///
    /// If there can be none, for reasons that no configuration brings about.
    pub(crate) fn server(self, wiring: Wiring) -> anyhow::Result<Serving> {
        let Self { listener, port: _, options, certificates, client_ca, seen, metrics } = self;
        let Wiring { node_name, addresses, client, runtime, directory, memory, registry, ready } = wiring;
        let requester = match &options.certificate {
            Certificate::Files { .. } => None,
            Certificate::SelfSigned => {
                certificates.replace(certificate::self_signed(&node_name, &addresses)?);
                None
            }
            Certificate::Csr { keep } => {
                let store = keep.as_ref().map(certificate::Store::open).transpose().context("--cert-dir")?;
                let config = RequesterConfig { node_name: node_name.clone(), addresses, store };
                Some(Requester::new(client.clone(), config, certificates.clone()))
            }
        };
        let config = vk_kubelet::Config { anonymous_auth: options.anonymous, ..vk_kubelet::Config::default() };
        let node = stats::Node { name: node_name.clone(), started_at: SystemTime::now(), memory };
        let parts = Parts {
            logs: runtime.clone(),
            sessions: runtime.clone(),
            stats: runtime,
            node,
            pods: Arc::new(NodePods(directory)),
            reviews: Arc::new(ApiServer::new(client, node_name)),
            certificates: certificates.clone(),
            client_ca: client_ca.clone(),
            registry,
            metrics,
            ready: ready.clone(),
        };
        let server = Server::new(config, parts)?;
        Ok(Serving { server, listener, requester, registered: ready, seen, options, certificates, client_ca })
    }
}

/// The server and what keeps its certificates.
pub(crate) struct Serving {
    server: Server,
    listener: TcpListener,
    requester: Option<Requester>,
    registered: watch::Receiver<bool>,
    seen: Seen,
    options: KubeletOptions,
    certificates: Arc<Certificates>,
    client_ca: Arc<ClientCa>,
}

impl Serving {
    /// Serves until `stop`, and lets sessions end.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let Self { server, listener, requester, mut registered, seen, options, certificates, client_ca } = self;
        if options.client_ca.is_none() {
            tracing::warn!(
                "kubectl logs and exec work only with API servers that send a bearer token: most send a certificate; give \
                 --client-ca-file, the CA of the API server's --kubelet-client-certificate"
            );
        }
        let request = async {
            // A certificate for the node is asked for by whoever acts for it, and nobody else.
            if let Some(requester) = requester
                && registered.wait_for(|registered| *registered).await.is_ok()
            {
                requester.run(stop.clone()).await;
            }
        };
        let reload = reload(Files::watch(seen), options, certificates, client_ca);
        tokio::select! {
            () = server.serve(listener, stop.clone()) => {}
            // The first of the two does not end.
            _ = async { tokio::join!(reload, request) } => {}
        }
    }
}

/// Loads what the options name. Where one cannot be used, the last that was good stays, and the others are loaded.
///
/// # Errors
///
/// Why the first one cannot be.
fn load(
    options: &KubeletOptions,
    certificates: &Certificates,
    client_ca: &ClientCa,
    seen: &mut Seen,
) -> anyhow::Result<()> {
    let certificate = match &options.certificate {
        Certificate::Files { certificate, key } => {
            seen.note(certificate);
            seen.note(key);
            certificate::load(certificate, key).map(|loaded| certificates.replace(loaded)).map_err(Into::into)
        }
        Certificate::Csr { .. } | Certificate::SelfSigned => Ok(()),
    };
    let authorities = match &options.client_ca {
        Some(file) => {
            seen.note(file);
            let loaded = ClientAuthorities::load(file).map(|loaded| client_ca.replace(loaded));
            loaded.context("--client-ca-file")
        }
        None => Ok(()),
    };
    certificate.and(authorities)
}

/// Loads the files again whenever they change.
async fn reload(mut files: Files, options: KubeletOptions, certificates: Arc<Certificates>, client_ca: Arc<ClientCa>) {
    loop {
        files.changed().await;
        // What changes from here on is loaded next time.
        files.remember();
        match load(&options, &certificates, &client_ca, &mut Seen::default()) {
            Ok(()) => tracing::info!("the certificates of the kubelet API were loaded again"),
            Err(error) => tracing::error!(
                "the certificates of the kubelet API were not loaded, and the ones before serve on: {}",
                causes(&error)
            ),
        }
    }
}

/// The node's pods, as the kubelet API asks for them.
struct NodePods(Directory);

impl Pods for NodePods {
    fn find(&self, namespace: &str, name: &str) -> Option<NodePod> {
        self.0.find(namespace, name).map(node_pod)
    }

    fn all(&self) -> Vec<NodePod> {
        self.0.all().into_iter().map(node_pod).collect()
    }
}

fn node_pod(DirectoryPod { id, object }: DirectoryPod) -> NodePod {
    NodePod { id, object }
}
