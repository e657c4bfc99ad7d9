//! The HTTPS server: who may connect, for how long, and how it stops.
//!
//! ```text
//!  listener ─> connection (TLS) ─> handler: authenticate ─> path ─> authorize ─> routes
//! ```

mod connection;
mod handler;
mod place;
mod slots;
#[cfg(test)]
mod tests;
mod write_timeout;

use std::{sync::Arc, time::Duration};

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
    routes::{Routes, StreamPlaces},
    seldom::Seldom,
    stats,
    streams::Streams,
};

/// How long to wait after a connection could not be accepted: most likely there are no descriptors left.
const ACCEPT_AGAIN: Duration = Duration::from_millis(200);
/// How long sessions that are ended at a stop may take to say so to their clients.
const END_WITHIN: Duration = Duration::from_secs(5);

/// How the server behaves.
#[derive(Debug, Clone)]
pub struct Config {
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

impl Default for Config {
    fn default() -> Self {
        Self {
            anonymous_auth: false,
            stop_grace: Duration::from_secs(10),
            streams: StreamLimits::default(),
            limits: Limits::default(),
        }
    }
}

/// How much there may be at once. What exceeds it is refused, nothing that is there ends for it. Of IPv6, 64 bits count
/// as one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Connections of those who have been authenticated, sessions included.
    pub connections: usize,
    /// Of these, from one address.
    pub connections_per_address: usize,
    /// Connections on which nobody has been authenticated yet.
    pub unauthenticated_connections: usize,
    /// Of these, from one address.
    pub unauthenticated_connections_per_address: usize,
    /// Sessions and logs that are read, of one user. To a node, whoever comes through the API server is one user. A
    /// port-forward counts once; connections to its ports have a bound of their own, 4,096 of one user.
    pub streams_per_user: usize,
    /// Of the pods of one namespace.
    pub streams_per_namespace: usize,
    /// Of one pod.
    pub streams_per_pod: usize,
    /// Other requests of one user.
    pub requests_per_user: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 4_096,
            connections_per_address: 2_048,
            unauthenticated_connections: 512,
            unauthenticated_connections_per_address: 128,
            streams_per_user: 1_024,
            streams_per_namespace: 768,
            streams_per_pod: 512,
            requests_per_user: 128,
        }
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
    /// The node, beside its pods.
    pub node: stats::Node,
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
    places: place::Places,
    certificates: Arc<Certificates>,
    handler: Arc<handler::Handler>,
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
        let Config { anonymous_auth, stop_grace, streams: stream_limits, limits } = config;
        let Parts { logs, sessions, stats, node, pods, reviews, certificates, client_ca, registry, metrics, ready } =
            parts;
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
            logs,
            sessions,
            collector: stats::Collector::new(stats, pods.clone(), node),
            pods,
            registry,
            ready,
            streams,
            end: end.clone(),
            places: StreamPlaces::new(limits),
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
            places: place::Places::new(&limits, metrics),
            certificates,
            handler: Arc::new(handler),
            streams: tasks,
            stopping,
            end,
        })
    }

    fn shared(&self) -> Arc<connection::Shared> {
        Arc::new(connection::Shared {
            tls: connection::Tls::new(self.acceptor.clone(), self.certificates.clone()),
            handler: self.handler.clone(),
            stopping: self.stopping.clone(),
            end: self.end.clone(),
        })
    }

    /// Serves until `stop`; then takes no connections and no requests, and waits as long as the configuration says for
    /// sessions and logs to end, before it ends them.
    pub async fn serve(self, listener: TcpListener, stop: CancellationToken) {
        let connections = TaskTracker::new();
        let shared = self.shared();
        let (crowded, failed) = (Seldom::default(), Seldom::default());
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = stop.cancelled() => break,
            };
            match accepted {
                Ok((stream, address)) => {
                    let address = address.ip().to_canonical();
                    let Some(place) = self.places.enter(address) else {
                        if crowded.is_due() {
                            tracing::warn!(
                                %address,
                                "connections are refused: as many as may be wait to be authenticated"
                            );
                        }
                        continue;
                    };
                    if let Err(error) = connection::prepare(&stream) {
                        tracing::debug!(%error, "a connection broke before it began");
                        continue;
                    }
                    connections.spawn(connection::serve(shared.clone(), stream, place));
                }
                Err(error) => {
                    if failed.is_due() {
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
