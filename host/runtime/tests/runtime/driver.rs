//! Whole sessions: a client, the driver of `vk-kubelet`, a real component, and backends behind real sockets.

use std::{io, path::Path, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{SinkExt as _, StreamExt as _};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, UnixListener},
    sync::mpsc,
    task::JoinHandle,
};
use tokio_tungstenite::{
    accept_async,
    tungstenite::{
        Message,
        protocol::{CloseFrame, frame::coding::CloseCode},
    },
};
use tokio_util::sync::CancellationToken;
use vk_kubelet::{Client, ClientEvent, ClientInput, ClientOutput, Outcome, session};
use vk_provider::{Exec, SessionRequest as Request, TerminalSize};
use vk_runtime::Generation;

use crate::{
    probe::{Logs, Probe, id},
    sessions::{exec, generation, named},
};

fn granting(name: &str, grant: &str) -> Generation {
    let mut generation = named(name);
    generation.sandbox.egress.grants = vec![grant.parse().unwrap()];
    generation
}

struct Input(mpsc::UnboundedReceiver<ClientEvent>);

#[async_trait]
impl ClientInput for Input {
    async fn next(&mut self) -> ClientEvent {
        self.0.recv().await.unwrap_or(ClientEvent::Gone)
    }

    fn gone(&self) -> CancellationToken {
        CancellationToken::new()
    }
}

#[derive(Debug, PartialEq)]
enum Heard {
    Output(Bytes),
    ErrorOutput(Bytes),
}

struct Output(mpsc::UnboundedSender<Heard>);

#[async_trait]
impl ClientOutput for Output {
    async fn output(&mut self, bytes: Bytes) -> io::Result<()> {
        self.0.send(Heard::Output(bytes)).map_err(io::Error::other)
    }

    async fn error_output(&mut self, bytes: Bytes) -> io::Result<()> {
        self.0.send(Heard::ErrorOutput(bytes)).map_err(io::Error::other)
    }

    async fn finish(self: Box<Self>, _: Outcome) {}
}

/// The client's end of a session.
struct Session {
    to: mpsc::UnboundedSender<ClientEvent>,
    from: mpsc::UnboundedReceiver<Heard>,
    outcome: JoinHandle<Outcome>,
}

impl Session {
    fn start(probe: &Probe, request: Request) -> Self {
        let (to, input) = mpsc::unbounded_channel();
        let (output, from) = mpsc::unbounded_channel();
        let client = Client { input: Box::new(Input(input)), output: Box::new(Output(output)) };
        let running = session::run(probe.runtime.clone(), id("uid", None), request, client, CancellationToken::new());
        Self { to, from, outcome: tokio::spawn(running) }
    }

    fn send(&self, event: ClientEvent) {
        self.to.send(event).unwrap();
    }

    fn command(&self, command: &str) {
        self.send(ClientEvent::Input(command.to_owned().into()));
    }

    /// Waits for exactly this output, in whatever pieces.
    async fn hears(&mut self, expected: &str) {
        let mut heard = String::new();
        while heard.len() < expected.len() {
            match self.from.recv().await {
                Some(Heard::Output(bytes)) => heard += str::from_utf8(&bytes).unwrap(),
                other => panic!("{other:?} after {heard:?}"),
            }
        }
        assert_eq!(heard, expected);
    }

    async fn ends(mut self) -> Outcome {
        let outcome = self.outcome.await.unwrap();
        assert_eq!(self.from.recv().await, None, "all was heard");
        outcome
    }
}

async fn listen() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    (listener, address)
}

/// A WebSocket that sends texts back in capitals and bytes as they came, and closes when it is asked to.
async fn shouting_websocket(stream: impl AsyncRead + AsyncWrite + Unpin) {
    let mut socket = accept_async(stream).await.unwrap();
    while let Some(Ok(message)) = socket.next().await {
        match message {
            Message::Text(text) if text == "close" => {
                let frame = CloseFrame { code: CloseCode::Library(4000), reason: "enough".into() };
                socket.close(Some(frame)).await.unwrap();
            }
            Message::Text(text) => socket.send(Message::Text(text.to_uppercase().into())).await.unwrap(),
            Message::Binary(bytes) => socket.send(Message::Binary(bytes)).await.unwrap(),
            _ => {}
        }
    }
}

/// Bytes come back in capitals; at their end it says so, and closes.
async fn shouting_bytes(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    let mut bytes = Vec::new();
    while stream.read_buf(&mut bytes).await.unwrap() > 0 {
        stream.write_all(&bytes.to_ascii_uppercase()).await.unwrap();
        bytes.clear();
    }
    stream.write_all(b"bye").await.unwrap();
    stream.shutdown().await.unwrap();
}

async fn after_head(mut stream: impl AsyncRead + AsyncWrite + Unpin, answer: &str) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n{}") {
        assert_ne!(stream.read_buf(&mut head).await.unwrap(), 0);
    }
    stream.write_all(answer.as_bytes()).await.unwrap();
    shouting_bytes(stream).await;
}

#[tokio::test]
async fn a_command_runs_over_a_websocket_and_across_a_replacement() {
    let (listener, address) = listen().await;
    let server = tokio::spawn(async move { shouting_websocket(listener.accept().await.unwrap().0).await });
    let url = format!("ws://{address}");
    let probe = Probe::start(granting("first", &url)).await;
    let mut session = Session::start(&probe, exec(&format!("websocket {url}/exec")));
    session.hears("opened 101 [] \n").await;
    session.command("send-text hello");
    session.hears("text HELLO\n").await;
    session.command("send-binary hello");
    session.hears("binary hello\n").await;
    session.command("name");
    session.hears("first\n").await;
    session.command("exit-when-disconnected 3");
    session.hears("ok\n").await;
    // The connection is no longer granted, but it stands.
    probe.runtime.replace(named("second")).await.unwrap();
    session.command("name");
    session.hears("second\n").await;
    session.command("send-text close");
    session.hears("disconnected Some(4000) enough\n").await;
    assert_eq!(session.ends().await, Outcome::Exit(3));
    server.await.unwrap();
}

#[tokio::test]
async fn a_command_runs_over_an_upgraded_socket_whose_bytes_are_relayed() {
    const SWITCH: &str = "HTTP/1.1 101 UPGRADED\r\nconnection: Upgrade\r\nupgrade: tcp\r\nx-backend: b\r\n\r\n";
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("docker.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let server = tokio::spawn(async move { after_head(listener.accept().await.unwrap().0, SWITCH).await });
    let url = |path: &Path| format!("http+unix://{}/exec", path.display().to_string().replace('/', "%2F"));
    let probe = Probe::start(granting("a", &format!("unix://{}", path.display()))).await;
    let mut session = Session::start(&probe, exec(&format!("upgrade {} tcp {{}}", url(&path))));
    session.hears("opened 101 [b] \n").await;
    session.command("send-binary typed");
    session.hears("binary TYPED\n").await;
    session.command("exit-when-disconnected 7");
    session.hears("ok\n").await;
    session.command("error-output oops");
    assert_eq!(session.from.recv().await, Some(Heard::ErrorOutput("oops".into())));
    session.command("relay");
    session.command("raw bytes");
    session.hears("RAW BYTES").await;
    session.send(ClientEvent::InputClosed);
    session.hears("bye").await;
    session.hears("disconnected None \n").await;
    assert_eq!(session.ends().await, Outcome::Exit(7));
    server.await.unwrap();
}

#[tokio::test]
async fn a_port_is_forwarded_over_tcp() {
    let (listener, address) = listen().await;
    let port = listener.local_addr().unwrap().port();
    let server = tokio::spawn(async move { shouting_bytes(listener.accept().await.unwrap().0).await });
    let probe = Probe::start(granting("a", &format!("tcp://{address}"))).await;
    let mut session = Session::start(&probe, Request::PortForward(port));
    session.hears("opened 0 [] \n").await;
    session.command("relay");
    session.command("hello");
    session.hears("HELLO").await;
    session.send(ClientEvent::InputClosed);
    session.hears("bye").await;
    session.hears("disconnected None \n").await;
    assert_eq!(session.ends().await, Outcome::Exit(0));
    server.await.unwrap();
}

#[tokio::test]
async fn a_provider_does_without_a_connection() {
    let probe = Probe::start(generation()).await;
    let tty = Some(TerminalSize { columns: 80, rows: 24 });
    let exec = Exec { container: "app".into(), command: vec!["none".into()], stdin: true, tty };
    let mut session = Session::start(&probe, Request::Exec(exec));
    session.hears("opened 0 [] \n").await;
    session.command("request");
    session.hears("exec in app stdin=true tty=80x24 of default/web\n").await;
    session.send(ClientEvent::Resized(TerminalSize { columns: 132, rows: 50 }));
    session.hears("resized 132x50\n").await;
    session.command("wake-after 1");
    session.hears("woken\n").await;
    session.send(ClientEvent::InputClosed);
    session.hears("input-closed\n").await;
    drop(session.to);
    assert_eq!(session.outcome.await.unwrap(), Outcome::Abandoned);
}

#[tokio::test]
async fn a_backend_that_refuses_ends_the_session_and_is_quoted() {
    const FORBIDDEN: &str = "HTTP/1.1 403 Forbidden\r\nx-backend: b\r\ncontent-length: 6\r\n\r\nnot me";
    let (listener, address) = listen().await;
    let _server = tokio::spawn(async move { after_head(listener.accept().await.unwrap().0, FORBIDDEN).await });
    let url = format!("http://{address}");
    let probe = Probe::start(granting("a", &url)).await;
    let mut session = Session::start(&probe, exec(&format!("upgrade {url}/exec tcp {{}}")));
    session.hears("refused 403 [b] not me\n").await;
    let Outcome::Failed(error) = session.ends().await else { panic!("it did not fail") };
    assert!(error.message.contains("403"), "{error:?}");
}

#[tokio::test]
async fn a_backend_that_is_not_granted_is_named_to_the_client() {
    let probe = Probe::start(generation()).await;
    let session = Session::start(&probe, Request::PortForward(5432));
    let Outcome::Failed(error) = session.ends().await else { panic!("it did not fail") };
    assert!(error.message.contains("sandbox.net does not grant tcp://127.0.0.1:5432"), "{error:?}");
}

#[tokio::test]
async fn a_trap_ends_one_session_and_no_other() {
    let probe = Probe::start(generation()).await;
    let [mut other, mut trapped] = [(); 2].map(|()| Session::start(&probe, exec("none")));
    other.hears("opened 0 [] \n").await;
    trapped.hears("opened 0 [] \n").await;
    trapped.command("trap");
    let Outcome::Failed(error) = trapped.ends().await else { panic!("it did not fail") };
    assert!(error.message.contains("the provider trapped in step-session"), "{error:?}");
    other.command("output still here");
    other.hears("still here").await;
    other.command("exit 42");
    assert_eq!(other.ends().await, Outcome::Exit(42));
}

#[tokio::test]
async fn a_client_that_goes_leaves_nothing_behind() {
    let logs = Logs::collect();
    let (listener, address) = listen().await;
    let url = format!("ws://{address}");
    let server = tokio::spawn(async move { shouting_websocket(listener.accept().await.unwrap().0).await });
    let probe = Probe::start(granting("a", &url)).await;
    let mut session = Session::start(&probe, exec(&format!("websocket {url}")));
    session.hears("opened 101 [] \n").await;
    let weak = Arc::downgrade(&probe.runtime);
    drop(session.to);
    assert_eq!(session.outcome.await.unwrap(), Outcome::Abandoned);
    server.await.unwrap();
    assert!(logs.line_with("abandoned by the client of web").contains("INFO"));
    drop(probe);
    assert!(weak.upgrade().is_none(), "somebody still holds the runtime");
}
