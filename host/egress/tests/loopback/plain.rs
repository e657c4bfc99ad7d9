//! Buffered requests over plain HTTP and unix sockets.

use std::time::{Duration, Instant};

use prometheus_client::{encoding::text::encode, registry::Registry};
use vk_egress::{Egress, Failure, Limits, Metrics, Policy, Request};

use crate::server::{OK, Server, Step, egress, get, headers};

fn short() -> Limits {
    Limits { request_timeout: Duration::from_millis(300), ..Limits::default() }
}

#[tokio::test]
async fn a_request_goes_out_byte_for_byte_and_only_host_and_content_length_are_added() {
    let server = Server::start(OK).await;
    let request = Request {
        method: "POST".into(),
        url: server.url("/a/../b/.//%2f%2E/~!$&'()*+,;=:@?q=%20+&&x=[]#fragment"),
        headers: headers(&[("x-b", "2"), ("Authorization", "AWS4 x;y"), ("x-a", "1"), ("x-c", "  in  side ")]),
        body: "body".into(),
        timeout: None,
    };
    let response = server.egress(Limits::default()).send(request).await.unwrap();
    assert_eq!((response.status, response.body.as_ref()), (200, b"ok".as_slice()));
    assert_eq!(response.headers, headers(&[("content-length", "2")]));
    let expected = format!(
        "POST /a/../b/.//%2f%2E/~!$&'()*+,;=:@?q=%20+&&x=[] HTTP/1.1\r\nx-b: 2\r\nauthorization: AWS4 x;y\r\nx-a: 1\r\n\
         x-c:   in  side \r\nhost: {}\r\ncontent-length: 4\r\n\r\nbody",
        server.address
    );
    assert_eq!(server.requests(), [expected]);
}

#[tokio::test]
async fn a_url_without_a_path_asks_for_the_root_and_an_empty_post_says_its_length() {
    let server = Server::start(OK).await;
    let egress = server.egress(Limits::default());
    egress.send(get(server.url(""))).await.unwrap();
    egress.send(get(server.url("?a=b"))).await.unwrap();
    egress.send(Request { method: "POST".into(), ..get(server.url("/start")) }).await.unwrap();
    let host = format!("host: {}", server.address);
    assert_eq!(
        server.requests(),
        [
            format!("GET / HTTP/1.1\r\n{host}\r\n\r\n"),
            format!("GET /?a=b HTTP/1.1\r\n{host}\r\n\r\n"),
            format!("POST /start HTTP/1.1\r\ncontent-length: 0\r\n{host}\r\n\r\n"),
        ]
    );
}

#[tokio::test]
async fn a_connection_is_used_again() {
    let server = Server::start(OK).await;
    let egress = server.egress(Limits::default());
    for _ in 0..5 {
        egress.clone().send(get(server.url("/"))).await.unwrap();
    }
    assert_eq!((server.requests().len(), server.connections()), (5, 1));
}

#[tokio::test]
async fn a_redirect_is_returned_and_a_compressed_body_stays_compressed() {
    let server = Server::start(&[Step::Send(
        "HTTP/1.1 302 Found\r\nlocation: http://169.254.169.254/\r\ncontent-encoding: gzip\r\ncontent-length: 3\r\n\r\nzip",
    )])
    .await;
    let response = server.egress(Limits::default()).send(get(server.url("/"))).await.unwrap();
    assert_eq!((response.status, response.body.as_ref()), (302, b"zip".as_slice()));
    assert!(response.headers.contains(&("location".into(), "http://169.254.169.254/".into())));
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn what_is_denied_or_invalid_makes_no_connection() {
    let server = Server::start(OK).await;
    let port = server.address.port();
    let egress = server.egress(Limits::default());
    for url in [
        format!("http://localhost:{port}/"),
        format!("http://127.0.0.2:{port}/"),
        format!("https://127.0.0.1:{port}/"),
        format!("http+unix://%2Frun%2Fx.sock/{port}"),
    ] {
        let failure = egress.send(get(&url)).await.unwrap_err();
        assert!(
            matches!(&failure, Failure::Denied(text) if text.starts_with("sandbox.net does not grant")),
            "{url}: {failure}"
        );
    }
    for (url, pairs) in [
        (format!("http://2130706433:{port}/"), vec![]),
        (format!("http://user@127.0.0.1:{port}/"), vec![]),
        (format!("ws://127.0.0.1:{port}/"), vec![]),
        ("/".into(), vec![]),
        (server.url("/"), vec![("Host", "other")]),
        (server.url("/"), vec![("content-length", "7")]),
    ] {
        let request = Request { headers: headers(&pairs), ..get(&url) };
        let failure = egress.send(request).await.unwrap_err();
        assert!(matches!(failure, Failure::Invalid(_)), "{url}: {failure}");
    }
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn what_the_host_denies_is_not_reached_although_it_is_granted() {
    let server = Server::start(OK).await;
    let policy = Policy {
        grants: vec![server.url("").parse().unwrap()],
        denied: vec![("localhost".into(), 1), ("::1".into(), server.address.port())],
        ..Policy::default()
    };
    let failure = egress(policy).send(get(server.url("/"))).await.unwrap_err();
    assert!(matches!(&failure, Failure::Denied(text) if text.contains("which no grant opens")), "{failure}");
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn the_system_resolves_localhost_and_the_refusal_says_what_to_grant() {
    let server = Server::start(OK).await;
    let url = format!("http://localhost:{}", server.address.port());
    let policy = |grants: &[&str]| Policy {
        grants: grants.iter().map(|text| text.parse().unwrap()).collect(),
        ..Policy::default()
    };
    let failure = egress(policy(&[&url])).send(get(&url)).await.unwrap_err();
    assert!(matches!(&failure, Failure::Denied(text) if text.contains("a loopback address")), "{failure}");
    assert_eq!(server.connections(), 0);
    egress(policy(&[&url, &server.url("")])).send(get(&url)).await.unwrap();
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn a_body_beyond_the_limit_is_cut_off() {
    let limits = || Limits { response_bytes: 10, ..Limits::default() };
    for (steps, fits) in [
        (vec![Step::Send("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n0123456789")], true),
        (vec![Step::Send("HTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\n"), Step::Hang], false),
        (
            vec![Step::Send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"), Step::Flood("4\r\nabcd\r\n")],
            false,
        ),
        (vec![Step::Send("HTTP/1.1 200 OK\r\n\r\n"), Step::Flood("abcd")], false),
    ] {
        let server = Server::start(&steps).await;
        let result = server.egress(limits()).send(get(server.url("/"))).await.map(|response| response.body.len());
        assert_eq!(result, if fits { Ok(10) } else { Err(Failure::TooLarge(10)) });
    }
}

#[tokio::test]
async fn time_runs_until_the_last_byte() {
    for steps in [
        vec![Step::Hang],
        vec![Step::Send("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nab"), Step::Hang],
        vec![
            Step::Send("HTTP/1.1 200 OK\r\n\r\n"),
            Step::Pause(Duration::from_millis(200)),
            Step::Send("a"),
            Step::Hang,
        ],
    ] {
        let server = Server::start(&steps).await;
        let began = Instant::now();
        assert_eq!(server.egress(short()).send(get(server.url("/"))).await.unwrap_err(), Failure::Timeout);
        assert!(began.elapsed() >= Duration::from_millis(300) && began.elapsed() < Duration::from_secs(5));
    }
    let server = Server::start(&[Step::Hang]).await;
    let request = Request { timeout: Some(Duration::from_millis(50)), ..get(server.url("/")) };
    assert_eq!(server.egress(Limits::default()).send(request).await.unwrap_err(), Failure::Timeout);
}

#[tokio::test]
async fn a_request_whose_turn_does_not_come_names_the_limit_and_is_not_sent() {
    let server = Server::start(&[Step::Hang]).await;
    let egress = server.egress(Limits { requests_in_flight: 1, ..short() });
    let first = tokio::spawn({
        let (egress, url) = (egress.clone(), server.url("/first"));
        async move { egress.send(get(url)).await }
    });
    while server.requests().is_empty() {
        tokio::task::yield_now().await;
    }
    let second = Request { timeout: Some(Duration::from_millis(50)), ..get(server.url("/second")) };
    let failure = egress.send(second).await.unwrap_err();
    assert_eq!(failure, Failure::Connect("all 1 requests that sandbox.requests allows were in flight for 50ms".into()));
    assert_eq!(server.requests().len(), 1);
    assert_eq!(first.await.unwrap().unwrap_err(), Failure::Timeout);
    // The first one's place is free again.
    assert_eq!(egress.send(get(server.url("/third"))).await.unwrap_err(), Failure::Timeout);
    assert_eq!(server.requests().len(), 2);
}

#[tokio::test]
async fn a_peer_that_breaks_http_or_refuses_the_connection_is_told_apart() {
    for steps in [
        vec![Step::Close],
        vec![Step::Send("SSH-2.0-OpenSSH\r\n\r\n"), Step::Close],
        vec![Step::Send("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nab"), Step::Close],
    ] {
        let server = Server::start(&steps).await;
        let failure = server.egress(short()).send(get(server.url("/?key=hunter2"))).await.unwrap_err();
        assert!(matches!(failure, Failure::Protocol(_)), "{failure:?}");
        assert!(!failure.to_string().contains("hunter2"), "{failure}");
    }
    let unused = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let url = format!("http://{unused}");
    let egress = egress(Policy { grants: vec![url.parse().unwrap()], ..Policy::default() });
    let failure = egress.send(get(url)).await.unwrap_err();
    assert!(matches!(&failure, Failure::Connect(text) if text.contains("refused")), "{failure:?}");
}

#[tokio::test]
async fn a_granted_socket_is_asked_like_a_server() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.sock");
    let server = Server::start_unix(&path, OK).await;
    let grant = format!("unix://{}", path.display());
    let egress = egress(Policy { grants: vec![grant.parse().unwrap()], ..Policy::default() });
    let authority = path.display().to_string().replace('/', "%2F");
    for _ in 0..2 {
        let response = egress.send(get(format!("http+unix://{authority}/v1.44/a%2Fb?x=y"))).await.unwrap();
        assert_eq!(response.status, 200);
    }
    let expected = "GET /v1.44/a%2Fb?x=y HTTP/1.1\r\nhost: localhost\r\n\r\n";
    assert_eq!(server.requests(), [expected, expected]);
    let other = egress.send(get(format!("http+unix://{authority}2/"))).await.unwrap_err();
    assert_eq!(other, Failure::Denied(format!("sandbox.net does not grant {grant}2")));
}

#[tokio::test]
async fn every_request_is_counted_once_by_its_decision() {
    let server = Server::start(OK).await;
    let mut registry = Registry::default();
    let policy = Policy { grants: vec![server.url("").parse().unwrap()], ..Policy::default() };
    let egress = Egress::new(policy, Metrics::new(&mut registry)).unwrap();
    egress.send(get(server.url("/"))).await.unwrap();
    egress.send(get("http://other.test/")).await.unwrap_err();
    egress.send(get("http://other.test/")).await.unwrap_err();
    egress.send(Request { method: "CONNECT".into(), ..get(server.url("/")) }).await.unwrap_err();
    let mut text = String::new();
    encode(&mut text, &registry).unwrap();
    for line in [
        "vk_egress_requests_total{decision=\"allowed\"} 1",
        "vk_egress_requests_total{decision=\"denied\"} 2",
        "vk_egress_requests_total{decision=\"failed\"} 1",
        "vk_egress_request_duration_seconds_count 2",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
    }
}
