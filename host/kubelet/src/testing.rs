//! For tests: a server of one connection, and clients that speak to it.

mod spdy;

use std::{convert::Infallible, future::ready, net::Ipv4Addr};

use http::{HeaderValue, Request, Response, header::SEC_WEBSOCKET_PROTOCOL};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, duplex},
    net::{TcpListener, TcpStream},
};
use tokio_tungstenite::{WebSocketStream, client_async, tungstenite::client::IntoClientRequest};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub(crate) use spdy::{Sent, SpdyClient};

use crate::{
    StreamLimits,
    body::Body,
    streams::{CLOSE, Streams},
};

impl Streams {
    /// With the limits of the kubelet.
    pub(crate) fn for_tests() -> Self {
        Self { limits: StreamLimits::default(), tasks: TaskTracker::new(), stop: CancellationToken::new() }
    }

    /// Waits until nothing runs any more, which takes no longer than an end with all its waits.
    pub(crate) async fn all_gone(&self) {
        self.tasks.close();
        let gone = tokio::time::timeout(3 * CLOSE, self.tasks.wait()).await;
        assert!(gone.is_ok(), "{} tasks are left", self.tasks.len());
    }
}

/// The client's end of a connection whose server answers requests so.
pub(crate) fn connect<S>(service: S) -> DuplexStream
where
    S: Fn(Request<Incoming>) -> Response<Body> + Send + 'static,
{
    let (client, server) = duplex(64 << 10);
    answer(server, service);
    client
}

/// The same over TCP.
pub(crate) async fn connect_tcp<S>(service: S) -> TcpStream
where
    S: Fn(Request<Incoming>) -> Response<Body> + Send + 'static,
{
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    answer(listener.accept().await.unwrap().0, service);
    client
}

fn answer<Io, S>(io: Io, service: S)
where
    Io: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: Fn(Request<Incoming>) -> Response<Body> + Send + 'static,
{
    let service = service_fn(move |request| ready(Ok::<_, Infallible>(service(request))));
    tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(io), service).with_upgrades());
}

/// Sends a request, and yields the head of the answer.
pub(crate) async fn ask<Io>(io: &mut Io, method: &str, headers: &[(&str, &str)]) -> String
where
    Io: AsyncRead + AsyncWrite + Unpin,
{
    let mut request = format!("{method} / HTTP/1.1\r\nHost: node\r\n");
    for (name, value) in headers {
        request += &format!("{name}: {value}\r\n");
    }
    request += "\r\n";
    io.write_all(request.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(io.read_u8().await.expect("the head of an answer"));
    }
    String::from_utf8(head).unwrap()
}

/// The values of a header in an answer's head.
pub(crate) fn header_values<'a>(head: &'a str, name: &str) -> Vec<&'a str> {
    let lines = head.lines().filter_map(|line| line.split_once(": "));
    lines.filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value).collect()
}

/// Opens a WebSocket that offers these subprotocols.
pub(crate) async fn websocket<Io>(io: Io, protocols: &str) -> WebSocketStream<Io>
where
    Io: AsyncRead + AsyncWrite + Unpin,
{
    let mut request = "ws://node/".into_client_request().unwrap();
    if !protocols.is_empty() {
        request.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_str(protocols).unwrap());
    }
    client_async(request, io).await.expect("an upgrade").0
}

/// Upgrades to SPDY with this protocol on top.
pub(crate) async fn spdy<Io>(mut io: Io, protocol: &str) -> SpdyClient<Io>
where
    Io: AsyncRead + AsyncWrite + Unpin,
{
    let headers = [("Connection", "Upgrade"), ("Upgrade", "SPDY/3.1"), ("X-Stream-Protocol-Version", protocol)];
    let head = ask(&mut io, "POST", &headers).await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    SpdyClient::new(io)
}
