//! Servers that record the bytes of every request and answer by script, and what the tests need to ask them.

use std::{
    net::SocketAddr,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use prometheus_client::registry::Registry;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, UnixListener},
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;
use vk_egress::{Egress, Limits, Metrics, Policy, Request};

/// What a server does once it has read a request.
#[derive(Clone)]
pub(crate) enum Step {
    Send(&'static str),
    Pause(Duration),
    /// Sends the same bytes until the client goes away.
    Flood(&'static str),
    Close,
    /// Neither answers nor closes.
    Hang,
}

pub(crate) const OK: &[Step] = &[Step::Send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")];

/// Stops with all its connections when it is dropped.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    seen: Arc<Seen>,
    _tasks: JoinSet<()>,
}

#[derive(Default)]
struct Seen {
    connections: AtomicUsize,
    requests: Mutex<Vec<String>>,
}

impl Server {
    /// Answers every request by the same steps.
    pub(crate) async fn start(steps: &[Step]) -> Self {
        Self::start_tls(steps, None).await
    }

    pub(crate) async fn start_tls(steps: &[Step], acceptor: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (seen, steps) = (Arc::new(Seen::default()), steps.to_vec());
        let shared = seen.clone();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                shared.connections.fetch_add(1, Ordering::SeqCst);
                let (seen, steps, acceptor) = (shared.clone(), steps.clone(), acceptor.clone());
                connections.spawn(async move {
                    match acceptor {
                        Some(acceptor) => {
                            if let Ok(stream) = acceptor.accept(stream).await {
                                serve(stream, &steps, &seen).await;
                            }
                        }
                        None => serve(stream, &steps, &seen).await,
                    }
                });
            }
        });
        Self { address, seen, _tasks: tasks }
    }

    pub(crate) async fn start_unix(path: &Path, steps: &[Step]) -> Self {
        let listener = UnixListener::bind(path).unwrap();
        let (seen, steps) = (Arc::new(Seen::default()), steps.to_vec());
        let shared = seen.clone();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                serve(stream, &steps, &shared).await;
            }
        });
        Self { address: ([0, 0, 0, 0], 0).into(), seen, _tasks: tasks }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn connections(&self) -> usize {
        self.seen.connections.load(Ordering::SeqCst)
    }

    /// Head and body of every request, as they came.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.seen.requests.lock().unwrap().clone()
    }

    /// A gate that grants this server alone.
    pub(crate) fn egress(&self, limits: Limits) -> Egress {
        egress(Policy { grants: vec![self.url("").parse().unwrap()], limits, ..Policy::default() })
    }
}

async fn serve(mut stream: impl AsyncRead + AsyncWrite + Unpin, steps: &[Step], seen: &Seen) {
    while let Some(request) = read(&mut stream).await {
        seen.requests.lock().unwrap().push(request);
        for step in steps {
            match step {
                Step::Send(text) => {
                    if stream.write_all(text.as_bytes()).await.is_err() {
                        return;
                    }
                    let _ = stream.flush().await;
                }
                Step::Pause(time) => tokio::time::sleep(*time).await,
                Step::Flood(text) => while stream.write_all(text.as_bytes()).await.is_ok() {},
                Step::Close => return,
                Step::Hang => std::future::pending().await,
            }
        }
    }
}

/// One request: the head, then as many bytes as its Content-Length says, or all chunks.
async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Option<String> {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length =
                head.lines().find_map(|line| line.strip_prefix("content-length: ")).map(|text| text.parse().unwrap());
            let is_chunked = head.contains("transfer-encoding: chunked");
            if (is_chunked && body.ends_with("0\r\n\r\n")) || (!is_chunked && body.len() >= length.unwrap_or(0)) {
                return Some(text.into_owned());
            }
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
}

pub(crate) fn egress(policy: Policy) -> Egress {
    Egress::new(policy, Metrics::new(&mut Registry::default())).unwrap()
}

pub(crate) fn get(url: impl Into<String>) -> Request {
    Request { method: "GET".into(), url: url.into(), headers: vec![], body: Bytes::new(), timeout: None }
}

pub(crate) fn headers(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}
