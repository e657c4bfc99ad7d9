//! Connections for sessions: WebSockets, upgrades and plain bytes.

use std::{io, path::Path, time::Duration};

use futures::{SinkExt, StreamExt};
use prometheus_client::{encoding::text::encode, registry::Registry};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, UnixListener},
    task::JoinHandle,
};
use tokio_tungstenite::{
    accept_hdr_async,
    tungstenite::{
        self,
        handshake::server::{ErrorResponse, Request, Response},
        protocol::{CloseFrame, frame::coding::CloseCode},
    },
};
use vk_egress::{Egress, Failure, Limits, Metrics, Policy};
use vk_provider::{Answer, ByteChannel, Connection, Dialled, Ending, Message, Transport};

use crate::{
    server::{OK, Server, Step, egress, get, headers},
    tls::Authority,
};

const SWITCH: &str =
    "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: tcp\r\nx-backend: b\r\n\r\nearly ";

fn websocket(url: impl Into<String>) -> Transport {
    Transport::WebSocket { url: url.into(), headers: vec![], protocols: vec![] }
}

fn upgrade(url: impl Into<String>) -> Transport {
    Transport::Upgrade {
        method: "POST".into(),
        url: url.into(),
        headers: headers(&[("x-a", "1")]),
        body: b"{}".to_vec(),
        protocol: "tcp".into(),
    }
}

fn granted(grants: &[&str]) -> Egress {
    with_limits(grants, Limits::default())
}

fn with_limits(grants: &[&str], limits: Limits) -> Egress {
    let grants = grants.iter().map(|grant| grant.parse().unwrap()).collect();
    egress(Policy { grants, limits, ..Policy::default() })
}

async fn dial(egress: &Egress, transport: Transport) -> Result<Dialled, Failure> {
    // A task of its own, since callers want a future that can go to another thread.
    let egress = egress.clone();
    tokio::spawn(async move { egress.dial(&transport).await }).await.unwrap()
}

async fn failure(egress: &Egress, transport: Transport) -> Failure {
    dial(egress, transport).await.err().expect("a failure")
}

async fn refusal(egress: &Egress, transport: Transport) -> Answer {
    match dial(egress, transport).await {
        Ok(Dialled::Refused(answer)) => answer,
        Ok(Dialled::Opened(answer, _)) => panic!("opened: {answer:?}"),
        Err(failure) => panic!("{failure}"),
    }
}

async fn bytes(egress: &Egress, transport: Transport) -> (Answer, Box<dyn ByteChannel>) {
    match dial(egress, transport).await {
        Ok(Dialled::Opened(answer, Connection::Bytes(channel))) => (answer, channel),
        Ok(_) => panic!("no bytes"),
        Err(failure) => panic!("{failure}"),
    }
}

async fn listen() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    (listener, address)
}

/// Takes one request, answers it, then sends back in capitals what comes, and says when nothing more does.
async fn shout(mut stream: impl AsyncRead + AsyncWrite + Unpin, answer: &str) -> String {
    let mut request = Vec::new();
    while !request.ends_with(b"{}") && !request.ends_with(b"GET") {
        assert_ne!(stream.read_buf(&mut request).await.unwrap(), 0);
    }
    stream.write_all(answer.as_bytes()).await.unwrap();
    let mut input = Vec::new();
    while stream.read_buf(&mut input).await.unwrap() > 0 {
        stream.write_all(input.to_ascii_uppercase().as_slice()).await.unwrap();
        input.clear();
    }
    stream.write_all(b" end").await.unwrap();
    stream.shutdown().await.unwrap();
    String::from_utf8(request).unwrap()
}

/// Sends, closes that side, and reads to the end.
async fn converse(mut channel: Box<dyn ByteChannel>) -> String {
    channel.write_all(b"hello").await.unwrap();
    channel.shutdown().await.unwrap();
    let mut heard = String::new();
    channel.read_to_string(&mut heard).await.unwrap();
    heard
}

#[tokio::test]
async fn an_upgraded_connection_carries_bytes_from_the_first_on_and_closes_by_halves() {
    let (listener, address) = listen().await;
    let server = tokio::spawn(async move { shout(listener.accept().await.unwrap().0, SWITCH).await });
    let url = format!("http://{address}");
    let (answer, channel) = bytes(&granted(&[&url]), upgrade(format!("{url}/v1.44/exec/1%2F2/start?x=%20"))).await;
    assert_eq!(answer.status, 101);
    assert!(answer.headers.contains(&("x-backend".into(), "b".into())), "{answer:?}");
    assert_eq!(converse(channel).await, "early HELLO end");
    let expected = format!(
        "POST /v1.44/exec/1%2F2/start?x=%20 HTTP/1.1\r\nx-a: 1\r\nhost: {address}\r\nconnection: Upgrade\r\n\
         upgrade: tcp\r\ncontent-length: 2\r\n\r\n{{}}"
    );
    assert_eq!(server.await.unwrap(), expected);
}

#[tokio::test]
async fn a_granted_socket_is_upgraded_like_a_server() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("docker.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let server = tokio::spawn(async move { shout(listener.accept().await.unwrap().0, SWITCH).await });
    let url = |path: &Path| format!("http+unix://{}/attach", path.display().to_string().replace('/', "%2F"));
    let egress = granted(&[&format!("unix://{}", path.display())]);
    let (_, channel) = bytes(&egress, upgrade(url(&path))).await;
    assert_eq!(converse(channel).await, "early HELLO end");
    assert!(server.await.unwrap().starts_with("POST /attach HTTP/1.1\r\nx-a: 1\r\nhost: localhost\r\n"));
    let other = folder.path().join("other.sock");
    let denied = format!("sandbox.net does not grant unix://{}", other.display());
    assert_eq!(failure(&egress, upgrade(url(&other))).await, Failure::Denied(denied));
}

#[tokio::test]
async fn tcp_carries_bytes_and_closes_by_halves() {
    let (listener, address) = listen().await;
    let server = tokio::spawn(async move { shout(listener.accept().await.unwrap().0, "hi ").await });
    let port = address.rsplit(':').next().unwrap().parse().unwrap();
    let egress = granted(&[&format!("tcp://{address}")]);
    let (answer, mut channel) = bytes(&egress, Transport::Tcp { host: "127.0.0.1".into(), port }).await;
    assert_eq!(answer, Answer::default());
    channel.write_all(b"GET").await.unwrap();
    let mut greeting = [0; 3];
    channel.read_exact(&mut greeting).await.unwrap();
    assert_eq!(converse(channel).await, "HELLO end");
    assert_eq!(server.await.unwrap(), "GET");
}

#[tokio::test]
async fn no_transport_needs_no_connection() {
    let Ok(Dialled::Opened(answer, Connection::None)) = dial(&granted(&[]), Transport::None).await else { panic!() };
    assert_eq!(answer, Answer::default());
}

/// Takes one WebSocket, chooses the second subprotocol, sends back what comes, and then closes.
async fn echo(stream: impl AsyncRead + AsyncWrite + Unpin) -> (String, Vec<tungstenite::Message>) {
    let mut head = String::new();
    #[allow(clippy::result_large_err, reason = "the callback's type")]
    let choose = |request: &Request, mut response: Response| -> Result<Response, ErrorResponse> {
        let header = |name| request.headers().get(name).map_or("", |value| value.to_str().unwrap());
        head = format!("{} {} {}", request.uri(), header("x-a"), header("host"));
        if let Some((_, second)) = header("sec-websocket-protocol").split_once(", ") {
            response.headers_mut().insert("sec-websocket-protocol", second.parse().unwrap());
        }
        Ok(response)
    };
    let mut socket = accept_hdr_async(stream, choose).await.unwrap();
    socket.send(tungstenite::Message::Ping("are you there".into())).await.unwrap();
    let mut seen = Vec::new();
    while let Some(Ok(message)) = socket.next().await {
        if message.is_text() || message.is_binary() {
            socket.send(message.clone()).await.unwrap();
        }
        seen.push(message);
        if seen.len() == 3 {
            let frame = CloseFrame { code: CloseCode::Library(4000), reason: "enough".into() };
            socket.close(Some(frame)).await.unwrap();
        }
    }
    (head, seen)
}

async fn check_echo(egress: &Egress, url: String, server: JoinHandle<(String, Vec<tungstenite::Message>)>) {
    let transport = Transport::WebSocket {
        url: format!("{url}/exec?command=sh"),
        headers: headers(&[("x-a", "1")]),
        protocols: vec!["v5.channel.k8s.io".into(), "v4.channel.k8s.io".into()],
    };
    let Dialled::Opened(answer, Connection::WebSocket(mut channel)) = dial(egress, transport).await.unwrap() else {
        panic!("not opened");
    };
    assert_eq!(answer.status, 101);
    assert!(answer.headers.contains(&("sec-websocket-protocol".into(), "v4.channel.k8s.io".into())), "{answer:?}");
    let messages = [Message::Text("grüße".into()), Message::Binary(vec![0xff; 100_000].into())];
    for message in &messages {
        channel.send(message.clone()).await.unwrap();
        assert_eq!(channel.next().await.unwrap().unwrap(), *message);
    }
    let end = Message::Close(Ending { code: Some(4000), reason: "enough".into() });
    assert_eq!(channel.next().await.unwrap().unwrap(), end);
    assert!(channel.next().await.is_none());
    drop(channel);
    let (head, seen) = server.await.unwrap();
    let (_, host) = url.split_once("://").unwrap();
    assert_eq!(head, format!("/exec?command=sh 1 {host}"));
    let pong = tungstenite::Message::Pong("are you there".into());
    assert!(seen.contains(&pong), "{seen:?}");
    assert!(matches!(seen.last(), Some(tungstenite::Message::Close(_))), "the close is answered: {seen:?}");
}

#[tokio::test]
async fn a_websocket_carries_messages_and_answers_pings_and_closes() {
    let (listener, address) = listen().await;
    let server = tokio::spawn(async move { echo(listener.accept().await.unwrap().0).await });
    let url = format!("ws://{address}");
    check_echo(&granted(&[&url]), url, server).await;
}

#[tokio::test]
async fn a_websocket_over_tls_trusts_what_its_origin_does() {
    let authority = Authority::new();
    let acceptor = authority.acceptor("127.0.0.1", None, b"http/1.1");
    let (listener, address) = listen().await;
    let server = tokio::spawn(async move {
        loop {
            // The first client does not trust this one.
            if let Ok(stream) = acceptor.accept(listener.accept().await.unwrap().0).await {
                return echo(stream).await;
            }
        }
    });
    let url = format!("wss://{address}");
    let untrusted = failure(&granted(&[&url]), websocket(&url)).await;
    assert!(matches!(&untrusted, Failure::Tls(text) if text.contains("ca in sandbox.tls")), "{untrusted:?}");
    let policy = Policy {
        grants: vec![url.parse().unwrap()],
        tls: [(url.clone(), authority.settings())].into(),
        ..Policy::default()
    };
    check_echo(&egress(policy), url, server).await;
}

#[tokio::test]
async fn a_server_of_http2_alone_cannot_be_upgraded() {
    let authority = Authority::new();
    let server = Server::start_tls(OK, Some(authority.acceptor("127.0.0.1", None, b"h2"))).await;
    let url = format!("https://{}", server.address);
    let policy = Policy {
        grants: vec![url.parse().unwrap()],
        tls: [(url.clone(), authority.settings())].into(),
        ..Policy::default()
    };
    let failure = failure(&egress(policy), upgrade(url)).await;
    assert!(matches!(failure, Failure::Tls(_)), "{failure:?}");
}

#[tokio::test]
async fn what_is_denied_or_invalid_makes_no_connection() {
    let server = Server::start(OK).await;
    let (address, port) = (server.address, server.address.port());
    let egress = granted(&[&format!("http://{address}"), &format!("ws://localhost:{port}")]);
    let tcp = |host: &str, port| Transport::Tcp { host: host.into(), port };
    for (transport, missing) in [
        (websocket(format!("ws://{address}/")), format!("does not grant ws://{address}")),
        (websocket(format!("wss://{address}/")), format!("does not grant wss://{address}")),
        (websocket(format!("ws://localhost:{port}/")), format!("grant ws://127.0.0.1:{port} in sandbox.net as well")),
        (upgrade(format!("http://127.0.0.2:{port}/")), format!("does not grant http://127.0.0.2:{port}")),
        (upgrade(format!("https://{address}/")), format!("does not grant https://{address}")),
        (upgrade("http+unix://%2Frun%2Fx.sock/"), "does not grant unix:///run/x.sock".into()),
        (tcp("127.0.0.1", port), format!("does not grant tcp://{address}")),
        (tcp("db.test", 5432), "does not grant tcp://db.test:5432".into()),
    ] {
        let failure = failure(&egress, transport).await;
        assert!(matches!(&failure, Failure::Denied(text) if text.contains(&missing)), "{failure:?}, not {missing}");
    }
    let url = || server.url("/");
    let with_header = |name: &str| Transport::WebSocket {
        url: format!("ws://localhost:{port}/"),
        headers: headers(&[(name, "x")]),
        protocols: vec![],
    };
    let with_protocol = |protocol: &str| Transport::Upgrade {
        method: "GET".into(),
        url: url(),
        headers: vec![],
        body: vec![],
        protocol: protocol.into(),
    };
    let subprotocol = |name: &str| Transport::WebSocket {
        url: format!("ws://localhost:{port}/"),
        headers: vec![],
        protocols: vec![name.into()],
    };
    for transport in [
        websocket(url()),
        websocket("/"),
        upgrade(format!("ws://{address}/")),
        upgrade(format!("tcp://{address}/")),
        with_header("Host"),
        with_header("Connection"),
        with_header("Upgrade"),
        with_header("Proxy-Authorization"),
        with_header("Sec-WebSocket-Key"),
        with_header("sec-websocket-extensions"),
        with_header("sec-websocket-protocol"),
        with_protocol(""),
        with_protocol("tcp\r\nhost: other"),
        with_protocol("tcp, h2c"),
        subprotocol(""),
        subprotocol("a b"),
        subprotocol("a\r\nb"),
        Transport::Upgrade {
            method: "CONNECT".into(),
            url: url(),
            headers: vec![],
            body: vec![],
            protocol: "tcp".into(),
        },
        tcp("127.0.0.1", 0),
    ] {
        let shown = format!("{transport:?}");
        let failure = failure(&egress, transport).await;
        assert!(matches!(failure, Failure::Invalid(_)), "{shown}: {failure:?}");
    }
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn what_the_host_denies_is_not_reached_although_it_is_granted() {
    let server = Server::start(OK).await;
    let (address, port) = (server.address, server.address.port());
    let grants = ["http", "ws", "tcp"].map(|scheme| format!("{scheme}://{address}").parse().unwrap());
    let egress = egress(Policy { grants: grants.into(), denied: vec![("::1".into(), port)], ..Policy::default() });
    for transport in [
        websocket(format!("ws://{address}/")),
        upgrade(format!("http://{address}/")),
        Transport::Tcp { host: "127.0.0.1".into(), port },
    ] {
        let failure = failure(&egress, transport).await;
        assert!(matches!(&failure, Failure::Denied(text) if text.contains("which no grant opens")), "{failure:?}");
    }
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn an_answer_that_does_not_switch_is_a_refusal_with_the_beginning_of_its_body() {
    const FORBIDDEN: &str = "HTTP/1.1 403 Forbidden\r\nx-backend: b\r\ncontent-length: 6\r\n\r\nnot me";
    for transport in [websocket as fn(String) -> Transport, upgrade] {
        let server = Server::start(&[Step::Send(FORBIDDEN)]).await;
        let (http, ws) = (server.url(""), format!("ws://{}", server.address));
        let egress = granted(&[&http, &ws]);
        let url = if matches!(transport(String::new()), Transport::WebSocket { .. }) { ws } else { http };
        let answer = refusal(&egress, transport(url)).await;
        assert_eq!((answer.status, answer.body.as_slice()), (403, b"not me".as_slice()));
        assert!(answer.headers.contains(&("x-backend".into(), "b".into())), "{answer:?}");
    }
    let endless = Server::start(&[Step::Send("HTTP/1.1 200 OK\r\n\r\n"), Step::Flood("0123456789")]).await;
    let answer = refusal(&granted(&[&endless.url("")]), upgrade(endless.url("/"))).await;
    assert_eq!((answer.status, answer.body.len()), (200, 64 << 10));
    let broken = Server::start(&[Step::Send("HTTP/1.1 500 No\r\ncontent-length: 9\r\n\r\nhalf"), Step::Close]).await;
    let answer = refusal(&granted(&[&broken.url("")]), upgrade(broken.url("/"))).await;
    assert_eq!((answer.status, answer.body.as_slice()), (500, b"half".as_slice()));
}

#[tokio::test]
async fn a_peer_that_breaks_http_or_the_handshake_is_told_apart() {
    let limits = || Limits { request_timeout: Duration::from_millis(300), ..Limits::default() };
    for (steps, expected) in [
        (vec![Step::Close], None),
        (vec![Step::Send("SSH-2.0-OpenSSH\r\n\r\n"), Step::Close], None),
        (vec![Step::Send("HTTP/1.1 101 Switching Protocols\r\n"), Step::Flood("x: 0123456789\r\n")], None),
        (vec![Step::Send("HTTP/1.1 101 Switching Protocols\r\nx: "), Step::Flood("0123456789")], None),
        (vec![Step::Send(SWITCH)], None),
        (
            vec![Step::Send(
                "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
                 sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
            )],
            None,
        ),
        (vec![Step::Hang], Some(Failure::Timeout)),
        (vec![Step::Flood("HTTP/1.1 100 Continue\r\n\r\n")], Some(Failure::Timeout)),
    ] {
        let server = Server::start(&steps).await;
        let url = format!("ws://{}", server.address);
        let failure = failure(&with_limits(&[&url], limits()), websocket(format!("{url}/?key=hunter2"))).await;
        match expected {
            Some(expected) => assert_eq!(failure, expected),
            None => assert!(matches!(failure, Failure::Protocol(_)), "{failure:?}"),
        }
        assert!(!failure.to_string().contains("hunter2"), "{failure}");
    }
}

#[tokio::test]
async fn a_message_that_is_too_large_ends_the_connection() {
    // A frame's announcement is enough; parts of a message add up.
    let announced = [&[0x82, 127][..], &((4u64 << 20) + 1).to_be_bytes()].concat();
    let part = [&[0x00, 127][..], &(1u64 << 20).to_be_bytes(), &vec![b'x'; 1 << 20]].concat();
    let first = [&[0x02], &part[1..]].concat();
    let parts = [first, part.repeat(4)].concat();
    for frames in [announced, parts] {
        let (listener, address) = listen().await;
        let server = tokio::spawn(async move {
            let stream = listener.accept().await.unwrap().0;
            let mut socket = tokio_tungstenite::accept_async(stream).await.unwrap();
            // The client may be gone before all is written.
            let _ = socket.get_mut().write_all(&frames).await;
            socket
        });
        let url = format!("ws://{address}");
        let dialled = dial(&granted(&[&url]), websocket(&url)).await.unwrap();
        let Dialled::Opened(_, Connection::WebSocket(mut channel)) = dialled else { panic!("not opened") };
        let error = channel.next().await.unwrap().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{error}");
        assert!(error.to_string().contains("at most 4194304 bytes"), "{error}");
        assert!(channel.next().await.is_none());
        drop(channel);
        server.await.unwrap();
    }
}

#[tokio::test]
async fn a_websocket_that_breaks_off_ends_with_an_error() {
    let (listener, address) = listen().await;
    let server = tokio::spawn(async move {
        drop(tokio_tungstenite::accept_async(listener.accept().await.unwrap().0).await.unwrap());
    });
    let url = format!("ws://{address}");
    let dialled = dial(&granted(&[&url]), websocket(&url)).await.unwrap();
    let Dialled::Opened(_, Connection::WebSocket(mut channel)) = dialled else { panic!("not opened") };
    let error = channel.next().await.unwrap().unwrap_err();
    assert_eq!(error.to_string(), "the WebSocket broke off without a close");
    server.await.unwrap();
}

#[tokio::test]
async fn sessions_are_bounded_and_leave_requests_their_places() {
    let server = Server::start(OK).await;
    let (http, tcp) = (server.url(""), format!("tcp://{}", server.address));
    let limits = Limits { sessions: 2, requests_in_flight: 1, ..Limits::default() };
    let egress = with_limits(&[&http, &tcp], limits);
    let session = || Transport::Tcp { host: "127.0.0.1".into(), port: server.address.port() };
    let (_first, second) = (bytes(&egress, session()).await, bytes(&egress, session()).await);
    let full = failure(&egress, session()).await;
    let text = format!("no connection to {tcp}: all 2 that sandbox.sessions allows are open");
    assert_eq!(full, Failure::Connect(text));
    assert_eq!(egress.send(get(server.url("/"))).await.unwrap().status, 200);
    drop(second);
    bytes(&egress, session()).await;
}

#[tokio::test]
async fn connections_are_counted_with_requests() {
    let server = Server::start(&[Step::Send("HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n")]).await;
    let mut registry = Registry::default();
    let policy = Policy { grants: vec![server.url("").parse().unwrap()], ..Policy::default() };
    let egress = Egress::new(policy, Metrics::new(&mut registry)).unwrap();
    refusal(&egress, upgrade(server.url("/"))).await;
    failure(&egress, websocket("ws://other.test/")).await;
    failure(&egress, websocket("other")).await;
    let mut text = String::new();
    encode(&mut text, &registry).unwrap();
    for decision in ["allowed", "denied", "failed"] {
        let line = format!("vk_egress_requests_total{{decision=\"{decision}\"}} 1");
        assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
    }
}
