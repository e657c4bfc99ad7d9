//! The HTTPS server: who may connect, for how long, and how it stops.
//!
//! ```text
//!  listener ─> connection (TLS) ─> handler: authenticate ─> path ─> authorize ─> routes
//! ```

mod connection;
mod handler;
mod seldom;
mod slots;
#[cfg(test)]
mod tests;

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use prometheus_client::registry::Registry;
use rustls::{ServerConfig, crypto::ring};
use tokio::{net::TcpListener, sync::watch, time};
use tokio_rustls::TlsAcceptor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use vk_provider::{Logs, Sessions, Stats};

pub(crate) use connection::Peer;
pub(crate) use slots::{Slot, Slots};

use crate::{
    Metrics, Pods, StreamLimits,
    authentication::{AnyCertificate, Authenticator, ClientCa},
    authorization::Authorizer,
    certificate::Certificates,
    reviews::Reviews,
    routes::Routes,
    streams::Streams,
};

/// How long to wait after a connection could not be accepted: most likely there are no descriptors left.
const ACCEPT_AGAIN: Duration = Duration::from_millis(200);
/// How long sessions that are ended at a stop may take to say so to their clients.
const END_WITHIN: Duration = Duration::from_secs(5);

/// How the server behaves.
#[derive(Debug, Clone)]
pub struct Config {
    /// The node's name.
    pub node_name: String,
    /// Whether requests without credentials are let in, as user system:anonymous; what they may do is then up to the API
    /// server.
    pub anonymous_auth: bool,
    /// How long sessions and followed logs may go on after a stop was asked for.
    pub stop_grace: Duration,
    /// How long connections of exec, attach and port-forward may take.
    pub streams: StreamLimits,
    /// How much there may be at once.
    pub limits: Limits,
}

/// How much there may be at once. What exceeds it is refused, nothing that is there ends for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Connections, sessions included.
    pub connections: usize,
    /// Connections from one address.
    pub connections_per_address: usize,
    /// Sessions and logs that are read, of one user. To a node, whoever comes through the API server is one user.
    pub streams_per_user: usize,
    /// Other requests of one user.
    pub requests_per_user: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { connections: 4_096, connections_per_address: 2_048, streams_per_user: 1_024, requests_per_user: 128 }
    }
}

/// What the server serves, and what it needs for it.
pub struct Parts {
    /// Reads logs.
    pub logs: Arc<dyn Logs>,
    /// Translates exec, attach and port-forward.
    pub sessions: Arc<dyn Sessions>,
    /// Says what pods use.
    pub stats: Arc<dyn Stats>,
    /// The node's pods.
    pub pods: Arc<dyn Pods>,
    /// Decides who may do what: [`ApiServer`](crate::ApiServer).
    pub reviews: Arc<dyn Reviews>,
    /// What to serve with.
    pub certificates: Arc<Certificates>,
    /// Whose client certificates are believed.
    pub client_ca: Arc<ClientCa>,
    /// What /metrics shows.
    pub registry: Arc<Registry>,
    /// Where the server counts.
    pub metrics: Metrics,
    /// Whether the node is registered, for /readyz.
    pub ready: watch::Receiver<bool>,
}

/// The HTTPS server of a node. There is no other: nothing is answered without TLS.
pub struct Server {
    acceptor: TlsAcceptor,
    stop_grace: Duration,
    connections: Slots<std::net::IpAddr>,
    certificates: Arc<Certificates>,
    handler: Arc<handler::Handler>,
    metrics: Metrics,
    streams: TaskTracker,
    /// Tells everything that a stop has begun.
    stopping: CancellationToken,
    /// Ends everything that is left.
    end: CancellationToken,
}

impl Server {
    /// A server that is yet to listen.
    ///
    /// # Errors
    ///
    /// If TLS cannot be set up, which the cryptography that is built in does not bring about.
    pub fn new(config: Config, parts: Parts) -> Result<Self, rustls::Error> {
        let Config { node_name, anonymous_auth, stop_grace, streams: stream_limits, limits } = config;
        let Parts { logs, sessions, stats, pods, reviews, certificates, client_ca, registry, metrics, ready } = parts;
        let provider = Arc::new(ring::default_provider());
        let mut tls = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
            .with_client_cert_verifier(Arc::new(AnyCertificate(provider)))
            .with_cert_resolver(certificates.clone());
        // Upgrades, which most of this is about, need it.
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];

        let (stopping, end) = (CancellationToken::new(), CancellationToken::new());
        let streams = Streams { limits: stream_limits, tasks: TaskTracker::new(), stop: stopping.clone() };
        let tasks = streams.tasks.clone();
        let routes = Routes::new(crate::routes::Parts {
            node_name,
            started_at: SystemTime::now(),
            logs,
            sessions,
            stats,
            pods,
            registry,
            ready,
            streams,
            end: end.clone(),
            slots: Slots::new(limits.streams_per_user, usize::MAX),
            metrics: metrics.clone(),
        });
        let handler = handler::Handler {
            authenticator: Authenticator::new(reviews.clone(), client_ca, anonymous_auth, metrics.clone()),
            authorizer: Authorizer::new(reviews, metrics.clone()),
            requests: Slots::new(limits.requests_per_user, usize::MAX),
            routes,
            metrics: metrics.clone(),
        };
        Ok(Self {
            acceptor: TlsAcceptor::from(Arc::new(tls)),
            stop_grace,
            connections: Slots::new(limits.connections_per_address, limits.connections),
            certificates,
            handler: Arc::new(handler),
            metrics,
            streams: tasks,
            stopping,
            end,
        })
    }

    /// Serves until `stop`; then takes no connections and no requests, and waits as long as the configuration says for
    /// sessions and logs to end, before it ends them.
    pub async fn serve(self, listener: TcpListener, stop: CancellationToken) {
        let connections = TaskTracker::new();
        let tls = connection::Tls::new(self.acceptor, self.certificates);
        let shared = Arc::new(connection::Shared {
            tls,
            handler: self.handler,
            stopping: self.stopping.clone(),
            end: self.end.clone(),
        });
        let crowded = seldom::Seldom::default();
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = stop.cancelled() => break,
            };
            match accepted {
                Ok((stream, address)) => {
                    let address = address.ip().to_canonical();
                    let Some(slot) = self.connections.take(&address) else {
                        if crowded.is_due() {
                            tracing::warn!(%address, "connections are refused: there are as many as may be");
                        }
                        continue;
                    };
                    if let Err(error) = connection::prepare(&stream) {
                        tracing::debug!(%error, "a connection broke before it began");
                        continue;
                    }
                    let place = connection::Place::new(slot, &self.metrics);
                    connections.spawn(connection::serve(shared.clone(), stream, place));
                }
                Err(error) => {
                    if crowded.is_due() {
                        tracing::warn!(%error, "cannot accept connections");
                    }
                    stop.run_until_cancelled(time::sleep(ACCEPT_AGAIN)).await;
                }
            }
        }
        drop(listener);
        self.stopping.cancel();
        connections.close();
        self.streams.close();
        let ended = async {
            connections.wait().await;
            self.streams.wait().await;
        };
        tokio::pin!(ended);
        if time::timeout(self.stop_grace, &mut ended).await.is_err() {
            self.end.cancel();
            if time::timeout(END_WITHIN, ended).await.is_err() {
                tracing::debug!("sessions are left that do not end");
            }
        }
    }
}
