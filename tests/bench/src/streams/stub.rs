//! The stub: the least that a kubelet can do with streams. It authenticates nobody, and knows no pods.

use std::{convert::Infallible, fs, net::SocketAddr, sync::Arc};

use anyhow::{Context as _, Result};
use futures::{SinkExt as _, StreamExt as _, stream};
use http::{
    HeaderName, Request, Response, StatusCode,
    header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, UPGRADE},
};
use http_body_util::{BodyExt as _, Either, Full, StreamBody};
use hyper::{
    body::{Bytes, Frame, Incoming},
    service::service_fn,
    upgrade::Upgraded,
};
use hyper_util::rt::TokioIo;
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};
use tokio::{
    io,
    net::{TcpListener, TcpStream},
};
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Message,
        handshake::derive_accept_key,
        protocol::{CloseFrame, Role, frame::coding::CloseCode},
    },
};
use vk_cluster::CertificateFiles;

use super::{logs, peer::Peer};

/// What a session's end looks like that went well, on the channel for it.
const SUCCESS: &[u8] = b"\x03{\"metadata\":{},\"status\":\"Success\"}";
/// The protocol of a WebSocket whose parts each have an end of their own.
const CHANNELS: &str = "v5.channel.k8s.io";
/// How much of a log goes out at a time.
const PIECE: usize = 64 << 10;

/// A running stub. It ends with the process.
pub(crate) struct Stub {
    port: u16,
}

/// What it needs to know.
#[derive(Clone)]
struct Answers {
    source: SocketAddr,
    sink: SocketAddr,
    log: Bytes,
    length: usize,
}

/// The pod of the stub's that stands beside one of vk-host's.
pub(crate) fn pod(name: &str) -> String {
    format!("{name}-stub")
}

impl Stub {
    /// Listens on a free port of 127.0.0.1. A log is `length` bytes long.
    pub(crate) async fn start(files: &CertificateFiles, peer: &Peer, length: usize) -> Result<Self> {
        let chain = CertificateDer::pem_slice_iter(&fs::read(&files.certificate)?).collect::<Result<Vec<_>, _>>()?;
        let key = PrivateKeyDer::from_pem_slice(&fs::read(&files.key)?)?;
        let config = ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key)?;
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        let answers = Answers { source: peer.source, sink: peer.sink, log: logs::piece(PIECE).into(), length };
        tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                let (acceptor, answers) = (acceptor.clone(), answers.clone());
                tokio::spawn(async move {
                    // The API server tells when one of its connections fails.
                    let _ = serve(connection, acceptor, answers).await;
                });
            }
        });
        Ok(Self { port })
    }

    /// Where it listens.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }
}

async fn serve(connection: TcpStream, acceptor: TlsAcceptor, answers: Answers) -> Result<()> {
    connection.set_nodelay(true)?;
    let connection = TokioIo::new(acceptor.accept(connection).await?);
    let service = service_fn(|request| {
        let answers = answers.clone();
        async move { Ok::<_, Infallible>(answer(request, answers)) }
    });
    hyper::server::conn::http1::Builder::new().serve_connection(connection, service).with_upgrades().await?;
    Ok(())
}

type Body = Either<Full<Bytes>, http_body_util::combinators::UnsyncBoxBody<Bytes, Infallible>>;

fn answer(mut request: Request<Incoming>, answers: Answers) -> Response<Body> {
    let path = request.uri().path().to_owned();
    let upgrade = hyper::upgrade::on(&mut request);
    if path.starts_with("/exec/") {
        let key = request.headers().get(SEC_WEBSOCKET_KEY).map(|key| derive_accept_key(key.as_bytes()));
        tokio::spawn(async move { succeed(upgrade.await?).await });
        let accept = key.unwrap_or_default();
        let headers = [(SEC_WEBSOCKET_ACCEPT, accept.as_str()), (SEC_WEBSOCKET_PROTOCOL, CHANNELS)];
        return switch("websocket", &headers);
    }
    if path.starts_with("/portForward/") {
        let backend = if path.ends_with(&pod("sink")) { answers.sink } else { answers.source };
        tokio::spawn(async move { copy(upgrade.await?, backend).await });
        let protocol = HeaderName::from_static("x-stream-protocol-version");
        return switch("SPDY/3.1", &[(protocol, "portforward.k8s.io")]);
    }
    if path.starts_with("/containerLogs/") {
        let pieces = answers.length.div_ceil(PIECE);
        let frames = stream::iter(std::iter::repeat_n(answers.log, pieces).map(|piece| Ok(Frame::data(piece))));
        return Response::new(Either::Right(StreamBody::new(frames).boxed_unsync()));
    }
    let mut unknown = Response::new(Either::Left(Full::default()));
    *unknown.status_mut() = StatusCode::NOT_FOUND;
    unknown
}

fn switch(protocol: &'static str, headers: &[(HeaderName, &str)]) -> Response<Body> {
    let mut response = Response::builder().status(StatusCode::SWITCHING_PROTOCOLS);
    response = response.header(CONNECTION, "Upgrade").header(UPGRADE, protocol);
    for (name, value) in headers {
        response = response.header(name, *value);
    }
    response.body(Either::Left(Full::default())).unwrap_or_else(|_| Response::new(Either::Left(Full::default())))
}

/// Ends a session as soon as it has begun.
async fn succeed(upgraded: Upgraded) -> Result<()> {
    let mut socket = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, None).await;
    socket.send(Message::binary(SUCCESS)).await?;
    socket.send(Message::Close(Some(CloseFrame { code: CloseCode::Normal, reason: "".into() }))).await?;
    // Whoever closes first loses what the other has not read yet.
    while socket.next().await.is_some_and(|message| message.is_ok()) {}
    Ok(())
}

/// Copies bytes as they are, in both directions.
async fn copy(upgraded: Upgraded, backend: SocketAddr) -> Result<()> {
    let mut backend = TcpStream::connect(backend).await.context("the peer does not answer")?;
    io::copy_bidirectional(&mut TokioIo::new(upgraded), &mut backend).await?;
    Ok(())
}
