//! The server over real TLS, and what a peer of it sees.

mod connections;
mod identities;
mod requests;
mod rights;

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Once},
    time::Duration,
};

use prometheus_client::registry::Registry;
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
    time,
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tokio_util::sync::CancellationToken;

use super::{Config, Limits, Parts, Server};
use crate::{
    ClientCa, Metrics, StreamLimits,
    certificate::Certificates,
    fakes::{Authority, FakePods, FakeProvider, FakeReviews, Identity, pod},
};

/// Longer than anything takes here, on a machine that does other things too.
const SOON: Duration = Duration::from_secs(60);

/// Somebody who may do everything.
const ADMIN: &str = "admin";

/// A server that runs, and what it was given.
struct Fixture {
    address: SocketAddr,
    client_authority: Authority,
    serving_authority: Authority,
    reviews: Arc<FakeReviews>,
    pods: Arc<FakePods>,
    provider: Arc<FakeProvider>,
    certificates: Arc<Certificates>,
    client_ca: Arc<ClientCa>,
    ready: watch::Sender<bool>,
    registry: Arc<Registry>,
    stop: CancellationToken,
    served: JoinHandle<()>,
}

struct Options {
    rules: &'static [&'static str],
    anonymous: bool,
    limits: Limits,
    stop_grace: Duration,
    has_certificate: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            rules: &["admin * *"],
            anonymous: false,
            limits: Limits::default(),
            stop_grace: Duration::from_secs(1),
            has_certificate: true,
        }
    }
}

impl Fixture {
    async fn new() -> Self {
        Self::with(Options::default()).await
    }

    async fn with(options: Options) -> Self {
        let (client_authority, serving_authority) = (Authority::new("clients"), Authority::new("kubelets"));
        let mut registry = Registry::default();
        let metrics = Metrics::new(&mut registry);
        let registry = Arc::new(registry);
        let certificates = Arc::new(Certificates::new(metrics.clone()));
        if options.has_certificate {
            certificates.replace(serving_authority.server("node").as_serving());
        }
        let client_ca = Arc::new(ClientCa::default());
        client_ca.replace(client_authority.as_client_ca());
        let reviews = FakeReviews::allowing(options.rules);
        let (pods, provider) = (Arc::new(FakePods::default()), Arc::new(FakeProvider::default()));
        pods.0.lock().unwrap().push(pod("p", serde_json::json!({ "state": { "running": {} } })));
        let (ready, is_ready) = watch::channel(true);
        let config = Config {
            node_name: "node".into(),
            anonymous_auth: options.anonymous,
            stop_grace: options.stop_grace,
            streams: StreamLimits::default(),
            limits: options.limits,
        };
        let parts = Parts {
            logs: provider.clone(),
            sessions: provider.clone(),
            stats: provider.clone(),
            pods: pods.clone(),
            reviews: reviews.clone(),
            certificates: certificates.clone(),
            client_ca: client_ca.clone(),
            registry: registry.clone(),
            metrics,
            ready: is_ready,
        };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let served = tokio::spawn(Server::new(config, parts).unwrap().serve(listener, stop.clone()));
        Self {
            address,
            client_authority,
            serving_authority,
            reviews,
            pods,
            provider,
            certificates,
            client_ca,
            ready,
            registry,
            stop,
            served,
        }
    }

    fn client(&self, name: &str) -> Identity {
        self.client_authority.client(name, &[])
    }

    /// One request of somebody who may do everything.
    async fn get(&self, path: &str) -> Answer {
        self.ask(Some(&self.client(ADMIN)), "GET", path, "").await
    }

    /// One request on a connection of its own. Headers end in CRLF each.
    async fn ask(&self, identity: Option<&Identity>, method: &str, path: &str, headers: &str) -> Answer {
        let mut connection = self.connect(identity).await;
        let request = format!("{method} {path} HTTP/1.1\r\nHost: node\r\nConnection: close\r\n{headers}\r\n");
        connection.send(&request).await;
        connection.rest().await
    }

    async fn connect(&self, identity: Option<&Identity>) -> Connection {
        self.try_connect(identity, rustls::ALL_VERSIONS, &[b"http/1.1"]).await.unwrap()
    }

    /// Fails if the handshake does; with TLS 1.3 the client may only see it when it reads.
    async fn try_connect(
        &self,
        identity: Option<&Identity>,
        versions: &[&'static SupportedProtocolVersion],
        protocols: &[&[u8]],
    ) -> std::io::Result<Connection> {
        let mut roots = RootCertStore::empty();
        roots.add(self.serving_authority.certificate.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match identity {
            Some(identity) => config.with_client_auth_cert(identity.chain.clone(), identity.key.clone_key()).unwrap(),
            None => config.with_no_client_auth(),
        };
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        let stream = TcpStream::connect(self.address).await?;
        let name = "127.0.0.1".try_into().unwrap();
        let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
        Ok(Connection(stream))
    }

    /// Stops the server, and waits for its end.
    async fn stop(self) {
        self.stop.cancel();
        time::timeout(SOON, self.served).await.unwrap().unwrap();
    }

    /// The value of a metric, given with its labels; 0 if it is not there.
    fn metric(&self, series: &str) -> f64 {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.map_or(0.0, |value| value.parse().unwrap())
    }
}

struct Connection(TlsStream<TcpStream>);

/// What came back.
#[derive(Debug)]
struct Answer {
    status: u16,
    /// In lower case.
    head: String,
    body: String,
    /// What came after it.
    rest: String,
}

impl Connection {
    async fn send(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).await.unwrap();
        self.0.flush().await.unwrap();
    }

    /// One answer, and the connection left open.
    async fn answer(&mut self) -> Answer {
        let mut text = Vec::new();
        loop {
            let mut bytes = [0; 4096];
            let read = time::timeout(SOON, self.0.read(&mut bytes)).await.unwrap().unwrap();
            assert_ne!(read, 0, "the connection ended after {:?}", String::from_utf8_lossy(&text));
            text.extend_from_slice(&bytes[..read]);
            if let Some(answer) = Answer::parse(&String::from_utf8_lossy(&text), false) {
                return answer;
            }
        }
    }

    /// All that comes until the server closes.
    async fn rest(&mut self) -> Answer {
        let text = self.until_closed().await;
        Answer::parse(&text, true).unwrap_or_else(|| panic!("no answer in {text:?}"))
    }

    async fn until_closed(&mut self) -> String {
        let mut text = Vec::new();
        let ended = time::timeout(SOON, self.0.read_to_end(&mut text)).await.expect("the connection ends");
        if let Err(error) = ended {
            assert!(
                matches!(error.kind(), std::io::ErrorKind::UnexpectedEof | std::io::ErrorKind::ConnectionReset),
                "{error}"
            );
        }
        String::from_utf8(text).unwrap()
    }
}

impl Answer {
    fn parse(text: &str, is_all: bool) -> Option<Self> {
        let (head, rest) = text.split_once("\r\n\r\n")?;
        let head = head.to_lowercase();
        let status = head.split(' ').nth(1)?.parse().ok()?;
        assert!(!(300..400).contains(&status) && !head.contains("\r\nlocation:"), "a redirect: {text}");
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).map(|n| n.parse().unwrap());
        let (body, rest) = match length {
            Some(length) if rest.len() >= length => {
                let (body, rest) = rest.split_at(length);
                (body.to_owned(), rest)
            }
            // The answer to HEAD.
            Some(_) if is_all && rest.is_empty() => (String::new(), ""),
            Some(_) => return None,
            None if head.contains("transfer-encoding: chunked") => dechunked(rest)?,
            None if is_all || status == 101 => (rest.to_owned(), ""),
            None => return None,
        };
        Some(Self { status, head, body, rest: rest.to_owned() })
    }

    fn closes(&self) -> bool {
        self.head.contains("\r\nconnection: close")
    }
}

fn dechunked(mut text: &str) -> Option<(String, &str)> {
    let mut body = String::new();
    loop {
        let (size, rest) = text.split_once("\r\n")?;
        let size = usize::from_str_radix(size, 16).unwrap();
        body.push_str(rest.get(..size)?);
        text = rest.get(size..)?.strip_prefix("\r\n")?;
        if size == 0 {
            return Some((body, text));
        }
    }
}

/// Every route there is, and some that are not.
const ROUTES: [&str; 18] = [
    "/healthz",
    "/readyz",
    "/pods",
    "/runningpods/",
    "/stats/summary",
    "/metrics",
    "/metrics/resource",
    "/metrics/cadvisor",
    "/metrics/probes",
    "/containerLogs/ns/p/c",
    "/exec/ns/p/c",
    "/attach/ns/p/c",
    "/portForward/ns/p",
    "/run/ns/p/c",
    "/logs/",
    "/debug/pprof/profile",
    "/configz",
    "/",
];
