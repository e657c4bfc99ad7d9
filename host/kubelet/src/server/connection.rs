//! One connection: TLS, then HTTP/1.1 until either side is done.

use std::{
    io,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls_pki_types::CertificateDer;
use socket2::{SockRef, TcpKeepalive};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_util::sync::CancellationToken;

use super::{handler::Handler, place::Place, write_timeout::WriteTimeout};
use crate::{certificate::Certificates, seldom::Seldom};

/// Who takes longer is not worth the place.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(10);
/// From the end of the handshake to that of the first request's head.
const FIRST_REQUEST_WITHIN: Duration = Duration::from_secs(10);
/// From one answer to the end of the next request's head, as in the kubelet.
const IDLE: Duration = Duration::from_secs(90);
/// A peer that takes nothing of an answer or a session for so long is gone, as in the kubelet.
const TAKES_WITHIN: Duration = Duration::from_secs(4 * 60 * 60);
/// A request's line and headers. The line holds a command to execute and is at most 64 KiB.
const LARGEST_HEAD: usize = 128 << 10;

/// A peer that vanished without a word is noticed after about a minute, in a session too, where silence is usual.
fn keepalive() -> TcpKeepalive {
    TcpKeepalive::new().with_time(Duration::from_secs(30)).with_interval(Duration::from_secs(10)).with_retries(3)
}

/// What all connections share.
pub(super) struct Shared {
    pub(super) tls: Tls,
    pub(super) handler: Arc<Handler>,
    pub(super) stopping: CancellationToken,
    pub(super) end: CancellationToken,
}

/// The other side of a connection.
#[derive(Debug)]
pub(crate) struct Peer {
    /// The certificates that it showed, its own first. Only that it has the key is certain.
    pub(crate) certificates: Vec<CertificateDer<'static>>,
    has_asked: AtomicBool,
    /// Sessions keep it too: they outlive the HTTP on their connections.
    place: Place,
}

impl Peer {
    pub(super) fn asks(&self) {
        self.has_asked.store(true, Ordering::Relaxed);
    }

    /// Somebody who is known has asked. `false`: there is no place for that.
    pub(super) fn settle(&self) -> bool {
        self.place.settle()
    }

    pub(super) fn is_settled(&self) -> bool {
        self.place.is_settled()
    }
}

/// Makes a connection ready to be served.
pub(super) fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    SockRef::from(stream).set_tcp_keepalive(&keepalive())
}

/// Serves a connection to its end.
pub(super) async fn serve(
    shared: Arc<Shared>,
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    place: Place,
) {
    let Some(stream) = shared.end.run_until_cancelled(shared.tls.accept(stream)).await.flatten() else { return };
    let shown = stream.get_ref().1.peer_certificates().unwrap_or_default();
    let certificates = shown.iter().map(|certificate| certificate.clone().into_owned()).collect();
    let peer = Arc::new(Peer { certificates, has_asked: AtomicBool::new(false), place });

    let service = {
        let (handler, peer) = (shared.handler.clone(), peer.clone());
        service_fn(move |request| handler.clone().handle(peer.clone(), request))
    };
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE)
        .max_header_size(LARGEST_HEAD)
        .max_buf_size(LARGEST_HEAD)
        .serve_connection(TokioIo::new(WriteTimeout::new(stream, TAKES_WITHIN)), service)
        .with_upgrades();
    let mut connection = pin!(connection);
    let mut first = pin!(time::sleep(FIRST_REQUEST_WITHIN));
    let (mut is_early, mut is_stopping) = (true, false);
    loop {
        tokio::select! {
            ended = &mut connection => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "a connection ended");
                }
                return;
            }
            () = &mut first, if is_early => {
                if !peer.has_asked.load(Ordering::Relaxed) {
                    return;
                }
                is_early = false;
            }
            () = shared.stopping.cancelled(), if !is_stopping => {
                connection.as_mut().graceful_shutdown();
                is_stopping = true;
            }
            () = shared.end.cancelled() => return,
        }
    }
}

/// Handshakes.
pub(super) struct Tls {
    acceptor: TlsAcceptor,
    certificates: Arc<Certificates>,
    nothing_to_serve_with: Seldom,
    failed: Seldom,
}

impl Tls {
    pub(super) fn new(acceptor: TlsAcceptor, certificates: Arc<Certificates>) -> Self {
        Self { acceptor, certificates, nothing_to_serve_with: Seldom::default(), failed: Seldom::default() }
    }

    async fn accept<S: AsyncRead + AsyncWrite + Unpin>(&self, stream: S) -> Option<TlsStream<S>> {
        let error = match time::timeout(HANDSHAKE_WITHIN, self.acceptor.accept(stream)).await {
            Ok(Ok(stream)) => return Some(stream),
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no TLS handshake within {} s", HANDSHAKE_WITHIN.as_secs()),
        };
        if self.certificates.is_empty() {
            if self.nothing_to_serve_with.is_due() {
                tracing::warn!("connections are refused: there is no serving certificate yet");
            }
        } else if self.failed.is_due() {
            tracing::info!(%error, "a connection was refused; more of these within a minute are not logged");
        }
        None
    }
}
