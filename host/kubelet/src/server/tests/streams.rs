//! Logs and sessions, from the request to the provider and back.

use std::sync::atomic::Ordering;

use futures::StreamExt as _;
use http::{HeaderValue, header::SEC_WEBSOCKET_PROTOCOL};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{self, Message, client::IntoClientRequest as _},
};
use vk_provider::{Action, Exec, LogChunk, Progress, SessionRequest, TerminalSize};

use super::*;

const FOLLOWED: &str = "GET /containerLogs/ns/p/c?follow=true&tailLines=0 HTTP/1.1\r\nHost: node\r\n\r\n";

fn chunk(data: &str, next: Option<&str>) -> vk_provider::Result<LogChunk> {
    Ok(LogChunk { data: data.into(), next: next.map(|cursor| cursor.as_bytes().to_vec()), read_after: Duration::ZERO })
}

impl Fixture {
    async fn upgrade(
        &self,
        path: &str,
        protocol: &'static str,
    ) -> Result<WebSocketStream<TlsStream<TcpStream>>, Answer> {
        let mut request = format!("wss://node{path}").into_client_request().unwrap();
        request.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(protocol));
        let connection = self.connect(Some(&self.client(ADMIN))).await;
        match tokio_tungstenite::client_async(request, connection.0).await {
            Ok((socket, _)) => Ok(socket),
            Err(tungstenite::Error::Http(response)) => Err(Answer {
                status: response.status().as_u16(),
                head: format!("{:?}", response.headers()),
                body: String::from_utf8(response.body().clone().unwrap_or_default()).unwrap(),
                rest: String::new(),
            }),
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test]
async fn a_log_is_read_to_its_end_as_it_was_asked_for() {
    let fixture = Fixture::new().await;
    fixture.provider.chunks.lock().unwrap().extend([chunk("one\n\x1b[31m", Some("1")), chunk("two\n", None)]);
    let answer = fixture.get("/containerLogs/ns/p/c?tailLines=0&timestamps=true").await;
    assert_eq!((answer.status, answer.body.as_str()), (200, "one\n\x1b[31mtwo\n"));
    let query = fixture.provider.queries.lock().unwrap()[0].clone();
    assert_eq!((query.pod.uid.as_str(), query.container.as_str()), ("uid-p", "c"));
    assert_eq!((query.tail_lines, query.timestamps, query.previous), (Some(0), true, false));
    fixture.settles(r#"vk_kubelet_streams{kind="logs"}"#, 0.0).await;
}

#[tokio::test]
async fn logs_that_there_are_not_are_refused_with_the_kubelets_statuses() {
    let fixture = Fixture::new().await;
    fixture
        .pods
        .0
        .lock()
        .unwrap()
        .push(pod("new", serde_json::json!({ "state": { "waiting": { "reason": "ContainerCreating" } } })));
    for (path, status, body) in [
        ("/containerLogs/ns/absent/c", 404, "pod \"absent\" does not exist\n"),
        ("/containerLogs/other/p/c", 404, "pod \"p\" does not exist\n"),
        ("/containerLogs/ns/p/absent", 404, "container \"absent\" not found in pod \"p\"\n"),
        ("/containerLogs/ns/new/c", 400, "container \"c\" in pod \"new\" is waiting to start: ContainerCreating\n"),
        ("/containerLogs/ns/p/c?previous=true", 400, "previous terminated container \"c\" in pod \"p\" not found\n"),
        (
            "/containerLogs/ns/p/c?sinceSeconds=1&sinceTime=2026-01-01T00:00:00Z",
            422,
            "Invalid request: at most one of `sinceTime` or `sinceSeconds` may be specified\n",
        ),
        ("/containerLogs/ns/p/c", 501, "no logs here\n"),
    ] {
        let answer = fixture.get(path).await;
        assert_eq!((answer.status, answer.body.as_str()), (status, body), "{path}");
    }
}

#[tokio::test]
async fn a_follower_counts_for_its_user_until_it_goes() {
    let limits = Limits { streams_per_user: 1, ..Limits::default() };
    let fixture = Fixture::with(Options { limits, rules: &["* * *"], ..Options::default() }).await;
    fixture.provider.chunks.lock().unwrap().push_back(chunk("one\n", Some("1")));
    fixture.provider.is_writing.store(true, Ordering::SeqCst);
    let mut follower = fixture.connect(Some(&fixture.client(ADMIN))).await;
    follower.send(FOLLOWED).await;
    let mut head = [0; 4];
    follower.0.read_exact(&mut head).await.unwrap();
    assert_eq!(fixture.metric(r#"vk_kubelet_streams{kind="logs"}"#), 1.0);

    assert_eq!(fixture.get("/containerLogs/ns/p/c").await.status, 429);
    let exec = fixture.upgrade("/exec/ns/p/c?command=id&output=1", "v4.channel.k8s.io").await.unwrap_err();
    assert_eq!(exec.status, 429);
    let other = fixture.client("other");
    assert_eq!(fixture.ask(Some(&other), "GET", "/healthz", "").await.status, 200);

    drop(follower);
    fixture.settles(r#"vk_kubelet_streams{kind="logs"}"#, 0.0).await;
    fixture.settles("vk_kubelet_connections", 0.0).await;
}

#[tokio::test]
async fn a_pod_has_only_so_many_streams_whoever_asks() {
    let limits = Limits { streams_per_pod: 1, ..Limits::default() };
    let fixture = Fixture::with(Options { limits, rules: &["* * *"], ..Options::default() }).await;
    fixture.pods.0.lock().unwrap().push(pod("q", serde_json::json!({ "state": { "running": {} } })));
    fixture.provider.is_writing.store(true, Ordering::SeqCst);
    let mut follower = fixture.connect(Some(&fixture.client("other"))).await;
    follower.send(FOLLOWED).await;
    follower.0.read_u8().await.unwrap();

    let refused = "too many sessions and logs are open: one pod may have 1 at once on this node";
    let answer = fixture.get("/containerLogs/ns/p/c").await;
    assert_eq!((answer.status, answer.body.trim_end()), (429, refused));
    for path in ["/exec/ns/p/uid-p/c?command=id&output=1", "/attach/ns/p/c?output=1", "/portForward/ns/p?port=80"] {
        let answer = fixture.upgrade(path, "v4.channel.k8s.io").await.unwrap_err();
        assert_eq!((answer.status, answer.body.trim_end()), (429, refused), "{path}");
    }
    assert_eq!(fixture.get("/containerLogs/ns/q/c").await.status, 200);

    drop(follower);
    fixture.settles(r#"vk_kubelet_streams{kind="logs"}"#, 0.0).await;
    assert_eq!(fixture.get("/containerLogs/ns/p/c").await.status, 200);
}

#[tokio::test]
async fn a_stop_gives_followers_their_time_and_no_more() {
    let fixture = Fixture::with(Options { stop_grace: Duration::from_millis(300), ..Options::default() }).await;
    fixture.provider.chunks.lock().unwrap().push_back(chunk("one\n", Some("1")));
    fixture.provider.is_writing.store(true, Ordering::SeqCst);
    let mut follower = fixture.connect(Some(&fixture.client(ADMIN))).await;
    follower.send(FOLLOWED).await;
    let mut head = [0; 4];
    follower.0.read_exact(&mut head).await.unwrap();
    let began = time::Instant::now();
    fixture.stop().await;
    assert!(began.elapsed() >= Duration::from_millis(300), "it was cut off at once");
    assert!(follower.until_closed().await.contains("one\n"));
}

#[tokio::test]
async fn exec_runs_in_the_container_that_was_asked_for() {
    let fixture = Fixture::new().await;
    let actions = vec![Action::Output(b"hello".to_vec()), Action::Exit(7)];
    fixture.provider.progress.lock().unwrap().push_back(Progress { state: None, actions });
    let path = "/exec/ns/p/uid-p/c?command=sh&command=-c&command=exit+7&input=1&output=1&error=1&tty=1";
    let mut socket = fixture.upgrade(path, "v4.channel.k8s.io").await.unwrap();
    let (mut output, mut status) = (Vec::new(), Vec::new());
    while let Some(message) = time::timeout(SOON, socket.next()).await.unwrap() {
        match message.unwrap() {
            Message::Binary(bytes) if bytes[0] == 1 => output.extend_from_slice(&bytes[1..]),
            Message::Binary(bytes) if bytes[0] == 3 => status.extend_from_slice(&bytes[1..]),
            Message::Close(frame) => {
                assert_eq!(u16::from(frame.unwrap().code), 1000);
                break;
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(output, b"hello");
    assert!(String::from_utf8(status).unwrap().contains(r#""message":"7""#));
    let _ = socket.close(None).await;
    let opened = fixture.provider.opened.lock().unwrap().clone();
    let exec = Exec {
        container: "c".into(),
        command: ["sh", "-c", "exit 7"].map(str::to_owned).to_vec(),
        stdin: true,
        tty: Some(TerminalSize { columns: 80, rows: 24 }),
    };
    assert_eq!(opened, [(fixture.pods.0.lock().unwrap()[0].id.clone(), SessionRequest::Exec(exec))]);
    drop(socket);
    fixture.settles(r#"vk_kubelet_streams{kind="exec"}"#, 0.0).await;
    fixture.settles("vk_kubelet_connections", 0.0).await;
    assert_eq!(fixture.metric(r#"vk_kubelet_requests_total{route="exec",code="101"}"#), 1.0);
    let upgrades = r#"vk_kubelet_upgrades_total{kind="exec",carrier="websocket",protocol="v4.channel.k8s.io"}"#;
    assert_eq!(fixture.metric(upgrades), 1.0);
}

#[tokio::test]
async fn sessions_that_cannot_be_are_refused_and_the_provider_is_not_asked() {
    let fixture = Fixture::new().await;
    for (path, status, body) in [
        ("/exec/ns/absent/c?command=id&output=1", 404, "pod not found\n"),
        ("/exec/other/p/c?command=id&output=1", 404, "pod not found\n"),
        ("/exec/ns/p/uid-of-another/c?command=id&output=1", 404, "pod not found\n"),
        ("/attach/ns/p/uid-of-another/c?output=1", 404, "pod not found\n"),
        ("/portForward/ns/p/uid-of-another?port=80", 404, "pod not found\n"),
        ("/exec/ns/p/absent?command=id&output=1", 404, "container not found (\"absent\")\n"),
        ("/exec/ns/p/c?output=1", 400, "you must specify a command\n"),
        ("/exec/ns/p/c?command=id", 400, "you must specify at least 1 of stdin, stdout, stderr"),
        ("/attach/ns/p/c?tty=1&error=1", 400, "you must specify at least 1 of stdin, stdout, stderr"),
        ("/portForward/ns/p?port=0", 400, "\"0\" is not a port: it must be from 1 to 65535\n"),
        ("/portForward/ns/p?port=80,x", 400, "\"x\" is not a port: it must be from 1 to 65535\n"),
        ("/portForward/ns/p?port=65536", 400, "\"65536\" is not a port: it must be from 1 to 65535\n"),
    ] {
        let answer = fixture.upgrade(path, "v4.channel.k8s.io").await.unwrap_err();
        assert_eq!((answer.status, answer.body.trim_end()), (status, body.trim_end()), "{path}");
        assert!(answer.head.contains("close"), "{answer:?}");
    }
    assert!(fixture.provider.opened.lock().unwrap().is_empty());
}
