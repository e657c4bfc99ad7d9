//! Hostile peers, over TLS and against the whole server: it takes bounded memory, and serves on.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail the test")]

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use flate2::{Compress, Compression, FlushCompress};
use futures::future::join_all;
use prometheus_client::registry::Registry;
use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpSocket, TcpStream},
    sync::watch,
    time,
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tokio_util::sync::CancellationToken;
use vk_kubelet::{
    Access, ClientAuthorities, ClientCa, Config, Metrics, NodePod, Parts, Pods, ReviewError, Reviews, Server, User,
    certificate::{self, Certificates},
    stats,
};
use vk_provider::{
    Cursor, Dialled, LogChunk, LogQuery, Logs, Opened, PodId, PodUsage, Progress, Result, SessionEvent, SessionRequest,
    Sessions, Stats, Transport,
};

/// What all of them may take together, their own side of the connections included. Each alone would take more, were what
/// it sends or is sent kept.
const BOUND: u64 = 128 << 20;
/// Connections of each kind.
const PEERS: usize = 64;
/// How long a peer tries to send all that it has.
const PATIENCE: Duration = Duration::from_secs(3);

const EXEC: &str = "POST /exec/ns/p/c?command=sh&input=1&output=1 HTTP/1.1\r\nHost: node\r\nConnection: Upgrade\r\n\
                    Upgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: v4.channel.k8s.io\r\n\r\n";
const FOLLOW: &str = "GET /containerLogs/ns/p/c?follow=true HTTP/1.1\r\nHost: node\r\n\r\n";

#[tokio::test(flavor = "multi_thread")]
async fn hostile_peers_take_bounded_memory_and_the_server_serves_on() {
    let node = Node::new().await;
    assert!(node.is_healthy().await);
    let before = memory("VmRSS:");

    let header = format!("X-Header: {}\r\n", "x".repeat(8_000)).into_bytes();
    let heads = node.peers(1, false, "GET / HTTP/1.1\r\nHost: node\r\n", None, |_| header.clone(), 1_000).await;
    let syn = |number| syn_stream(number, &stored(number == 0, &[b'x'; 2_000]));
    let streams = node.peers(2, true, EXEC, Some("101"), syn, 5_000).await;
    let bomb = [DICTIONARY_ID, &deflated(16 << 20)].concat();
    let bombs = node.peers(3, true, EXEC, Some("101"), |number| syn_stream(number, &bomb), 1).await;
    let ping = |number: u32| [&[0x80, 3, 0, 6, 0, 0, 0, 4][..], &(2 * number + 1).to_be_bytes()].concat().repeat(1_000);
    let pings = node.peers(4, true, EXEC, Some("101"), ping, 1_000).await;
    // They never read what there is without end.
    let readers = node.peers(5, true, FOLLOW, Some("200"), |_| Vec::new(), 0).await;
    assert_eq!([heads, streams, bombs, pings, readers], [PEERS; 5]);

    let peak = memory("VmHWM:");
    assert!(peak - before < BOUND, "{} MiB", (peak - before) >> 20);
    assert!(node.is_healthy().await);
}

/// Bytes, by name, of what the process takes.
fn memory(name: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

const DICTIONARY_ID: &[u8] = &[0x78, 0xf9, 0xe3, 0xc6, 0xa7, 0xc2];

fn syn_stream(number: u32, block: &[u8]) -> Vec<u8> {
    let length = u32::try_from(10 + block.len()).unwrap().to_be_bytes();
    let id = (2 * number + 1).to_be_bytes();
    [&[0x80, 3, 0, 1], &length[..], &id, &[0; 6], block].concat()
}

/// A header block of one header, not compressed.
fn stored(is_first: bool, value: &[u8]) -> Vec<u8> {
    let word = |value: usize| u32::try_from(value).unwrap().to_be_bytes();
    let plain = [&word(1)[..], &word(1), b"a", &word(value.len()), value].concat();
    let length = u16::try_from(plain.len()).unwrap();
    let begin = if is_first { DICTIONARY_ID } else { &[] };
    [begin, &[0], &length.to_le_bytes(), &(!length).to_le_bytes(), &plain, &[0, 0, 0, 0xff, 0xff]].concat()
}

/// So many zeros, without the header of zlib.
fn deflated(zeros: usize) -> Vec<u8> {
    let mut compress = Compress::new(Compression::best(), false);
    let mut out = Vec::with_capacity(1 << 20);
    compress.compress_vec(&vec![0; zeros], &mut out, FlushCompress::Sync).unwrap();
    out
}

struct Node {
    address: SocketAddr,
    strangers: TlsConnector,
    admins: TlsConnector,
    held: std::sync::Mutex<Vec<TlsStream<TcpStream>>>,
}

impl Node {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let file = folder.path().join(name);
            fs::write(&file, text).unwrap();
            file
        };
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let ca = params.self_signed(&key).unwrap();
        let issuer = Issuer::new(params, key);
        let issue = |name: &str, usage| {
            let key = KeyPair::generate().unwrap();
            let mut params = CertificateParams::new(vec!["127.0.0.1".into()]).unwrap();
            params.distinguished_name.push(DnType::CommonName, name);
            params.extended_key_usages = vec![usage];
            (params.signed_by(&key, &issuer).unwrap(), key)
        };
        let (serving, serving_key) = issue("node", ExtendedKeyUsagePurpose::ServerAuth);
        let file = write("serving.pem", &format!("{}{}", serving.pem(), serving_key.serialize_pem()));

        let mut registry = Registry::default();
        let metrics = Metrics::new(&mut registry);
        let certificates = Arc::new(Certificates::new(metrics.clone()));
        certificates.replace(certificate::load(&file, &file).unwrap());
        let client_ca = Arc::new(ClientCa::default());
        client_ca.replace(ClientAuthorities::load(&write("ca.pem", &ca.pem())).unwrap());
        let provider = Arc::new(Provider);
        let parts = Parts {
            logs: provider.clone(),
            sessions: provider.clone(),
            stats: provider.clone(),
            node: stats::Node { name: "node".into(), started_at: SystemTime::now(), memory: Box::new(|| None) },
            pods: provider.clone(),
            reviews: provider,
            certificates,
            client_ca,
            registry: Arc::new(registry),
            metrics,
            ready: watch::channel(true).1,
        };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = Server::new(Config::default(), parts).unwrap();
        tokio::spawn(server.serve(listener, CancellationToken::new()));

        let (admin, admin_key) = issue("admin", ExtendedKeyUsagePurpose::ClientAuth);
        let identity = (vec![admin.into()], PrivatePkcs8KeyDer::from(admin_key.serialize_der()).into());
        Self {
            address,
            strangers: connector(ca.der(), None),
            admins: connector(ca.der(), Some(identity)),
            held: std::sync::Mutex::default(),
        }
    }

    /// Peers with an address of their own, each of which begins, waits for this status, and sends so many times, or until
    /// the server takes no more. Whoever is not cut off stays. How many began.
    async fn peers(
        &self,
        address: u8,
        is_known: bool,
        begin: &str,
        status: Option<&str>,
        next: impl Fn(u32) -> Vec<u8>,
        times: u32,
    ) -> usize {
        let peers = join_all((0..PEERS).map(async |_| {
            let mut stream = self.connect(address, is_known).await?;
            stream.write_all(begin.as_bytes()).await.ok()?;
            stream.flush().await.ok()?;
            if let Some(status) = status {
                let mut head = [0; 12];
                stream.read_exact(&mut head).await.ok()?;
                assert_eq!(str::from_utf8(&head).unwrap(), format!("HTTP/1.1 {status}"));
            }
            let flood = async {
                for number in 0..times {
                    stream.write_all(&next(number)).await.ok()?;
                }
                stream.flush().await.ok()
            };
            if !matches!(time::timeout(PATIENCE, flood).await, Ok(None)) {
                self.held.lock().unwrap().push(stream);
            }
            Some(())
        }));
        peers.await.into_iter().flatten().count()
    }

    async fn connect(&self, address: u8, is_known: bool) -> Option<TlsStream<TcpStream>> {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((Ipv4Addr::new(127, 0, 1, address), 0).into()).unwrap();
        let stream = socket.connect(self.address).await.ok()?;
        let connector = if is_known { &self.admins } else { &self.strangers };
        connector.connect("127.0.0.1".try_into().unwrap(), stream).await.ok()
    }

    async fn is_healthy(&self) -> bool {
        let asked = async {
            let mut stream = self.connect(100, true).await?;
            stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n").await.ok()?;
            stream.flush().await.ok()?;
            let mut answer = Vec::new();
            let _ = stream.read_to_end(&mut answer).await;
            Some(answer.starts_with(b"HTTP/1.1 200"))
        };
        time::timeout(Duration::from_secs(60), asked).await.ok().flatten().unwrap_or(false)
    }
}

type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn connector(ca: &CertificateDer<'static>, identity: Option<Identity>) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots.add(ca.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    TlsConnector::from(Arc::new(match identity {
        Some((chain, key)) => config.with_client_auth_cert(chain, key).unwrap(),
        None => config.with_no_client_auth(),
    }))
}

/// A node with one pod, whose log has no end and whose sessions do nothing. Whoever is known may do everything.
struct Provider;

#[async_trait]
impl Logs for Provider {
    async fn read(&self, _: &LogQuery, _: Option<Cursor>) -> Result<LogChunk> {
        Ok(LogChunk { data: vec![b'x'; 64 << 10], next: Some(Vec::new()), read_after: Duration::ZERO })
    }
}

#[async_trait]
impl Sessions for Provider {
    async fn open(&self, _: &PodId, _: &SessionRequest) -> Result<Opened> {
        Ok(Opened { state: Vec::new(), transport: Transport::None })
    }

    async fn dial(&self, _: &Transport) -> Result<Dialled> {
        Ok(Dialled::Opened(vk_provider::Answer::default(), vk_provider::Connection::None))
    }

    async fn step(&self, _: &PodId, _: &[u8], _: Vec<SessionEvent>) -> Result<Progress> {
        Ok(Progress::default())
    }
}

#[async_trait]
impl Stats for Provider {
    async fn read(&self, _: &[PodId]) -> Result<Vec<PodUsage>> {
        Ok(Vec::new())
    }
}

impl Pods for Provider {
    fn find(&self, namespace: &str, name: &str) -> Option<NodePod> {
        self.all().into_iter().find(|pod| pod.id.namespace == namespace && pod.id.name == name)
    }

    fn all(&self) -> Vec<NodePod> {
        let object = json!({
            "metadata": { "namespace": "ns", "name": "p", "uid": "u" },
            "spec": { "containers": [{ "name": "c" }] },
            "status": { "phase": "Running", "containerStatuses": [{
                "name": "c", "image": "i", "imageID": "", "ready": true, "restartCount": 0, "state": { "running": {} },
            }] },
        });
        let id = PodId { namespace: "ns".into(), name: "p".into(), uid: "u".into(), handle: None };
        vec![NodePod { id, object: Arc::new(serde_json::from_value(object).unwrap()) }]
    }
}

#[async_trait]
impl Reviews for Provider {
    async fn token(&self, _: &str) -> std::result::Result<Option<User>, ReviewError> {
        Ok(None)
    }

    async fn access(&self, _: &Access) -> std::result::Result<bool, ReviewError> {
        Ok(true)
    }
}
