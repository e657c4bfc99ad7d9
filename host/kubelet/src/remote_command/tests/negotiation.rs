use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::testing::{ask, header_values};

const SPDY: [(&str, &str); 2] = [("Connection", "Upgrade"), ("Upgrade", "SPDY/3.1")];
pub(super) const WEBSOCKET: [(&str, &str); 4] = [
    ("Connection", "Upgrade"),
    ("Upgrade", "websocket"),
    ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ("Sec-WebSocket-Version", "13"),
];

async fn answer_to(method: &str, headers: &[(&str, &str)]) -> String {
    let streams = Streams::for_tests();
    let mut io = serving(&streams, OUTPUT, ending(Outcome::Exit(0)));
    ask(&mut io, method, headers).await
}

/// It is refused with this status, on a connection that takes nothing more.
async fn assert_refused(method: &str, headers: &[(&str, &str)], status: u16) -> String {
    let streams = Streams::for_tests();
    let mut io = serving(&streams, OUTPUT, |_| async { panic!("there is nothing to run") });
    let head = ask(&mut io, method, headers).await;
    assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{headers:?}: {head}");
    assert_eq!(header_values(&head, "connection"), ["close"], "{headers:?}");
    let _ = io.write_all(b"GET / HTTP/1.1\r\nHost: node\r\n\r\n").await;
    let mut rest = String::new();
    let _ = io.read_to_string(&mut rest).await;
    assert!(!rest.contains("HTTP/1.1"), "{headers:?}: {rest}");
    assert!(streams.tasks.is_empty());
    head + &rest
}

#[tokio::test]
async fn a_request_that_is_no_upgrade_is_refused_and_ends_its_connection() {
    for headers in [
        &[][..],
        &[("Connection", "Upgrade")],
        &[("Upgrade", "SPDY/3.1")],
        &[("Connection", "keep-alive"), ("Upgrade", "websocket")],
        &[("Connection", "Upgrade"), ("Upgrade", "h2c")],
    ] {
        assert_refused("GET", headers, 400).await;
    }
}

#[tokio::test]
async fn a_request_for_no_stream_is_refused() {
    let streams = Streams::for_tests();
    for wanted in [Wanted::default(), Wanted { stderr: true, tty: true, ..Wanted::default() }] {
        let mut io = serving(&streams, wanted, ending(Outcome::Exit(0)));
        let head = ask(&mut io, "POST", &SPDY).await;
        assert!(head.starts_with("HTTP/1.1 400 "), "{head}");
    }
}

#[tokio::test]
async fn spdy_speaks_the_first_protocol_of_the_client_that_it_knows() {
    for (offers, chosen) in [
        (&["v5.channel.k8s.io", "v4.channel.k8s.io", "v3.channel.k8s.io"][..], "v4.channel.k8s.io"),
        (&["v5.channel.k8s.io, v4.channel.k8s.io,v3.channel.k8s.io"], "v4.channel.k8s.io"),
        (&["v2.channel.k8s.io", "v4.channel.k8s.io"], "v2.channel.k8s.io"),
        (&["other, ,channel.k8s.io", "v3.channel.k8s.io"], "channel.k8s.io"),
    ] {
        let mut headers = SPDY.to_vec();
        headers.extend(offers.iter().map(|offer| ("X-Stream-Protocol-Version", *offer)));
        let head = answer_to("POST", &headers).await;
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        assert_eq!(header_values(&head, "x-stream-protocol-version"), [chosen]);
        assert_eq!(header_values(&head, "connection"), ["Upgrade"]);
        assert_eq!(header_values(&head, "upgrade"), ["SPDY/3.1"]);
    }
}

#[tokio::test]
async fn spdy_without_a_common_protocol_is_refused() {
    assert_refused("POST", &SPDY, 400).await;
    let mut headers = SPDY.to_vec();
    headers.push(("X-Stream-Protocol-Version", "v5.channel.k8s.io"));
    let head = assert_refused("POST", &headers, 403).await;
    let accepted = header_values(&head, "x-accepted-stream-protocol-versions");
    assert_eq!(accepted, ["v4.channel.k8s.io", "v3.channel.k8s.io", "v2.channel.k8s.io", "channel.k8s.io"]);
}

#[tokio::test]
async fn upgrade_headers_may_say_more_and_in_any_case() {
    let headers = [
        ("Connection", "keep-alive, UPGRADE"),
        ("Upgrade", "h2c, spdy/3.1"),
        ("X-Stream-Protocol-Version", "channel.k8s.io"),
    ];
    let head = answer_to("GET", &headers).await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
}

#[tokio::test]
async fn websockets_speak_version_5_if_they_can_and_else_the_clients_first() {
    for (offers, chosen) in [
        (&["v4.channel.k8s.io, v5.channel.k8s.io"][..], &["v5.channel.k8s.io"][..]),
        (&["v4.channel.k8s.io", "v5.channel.k8s.io"], &["v5.channel.k8s.io"]),
        (&["other, base64.channel.k8s.io, v4.channel.k8s.io"], &["base64.channel.k8s.io"]),
        (&["v4.base64.channel.k8s.io"], &["v4.base64.channel.k8s.io"]),
        (&["channel.k8s.io"], &["channel.k8s.io"]),
        (&[], &[]),
    ] {
        let mut headers = WEBSOCKET.to_vec();
        headers.extend(offers.iter().map(|offer| ("Sec-WebSocket-Protocol", *offer)));
        let head = answer_to("GET", &headers).await;
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        assert_eq!(header_values(&head, "sec-websocket-protocol"), chosen, "{offers:?}");
        assert_eq!(header_values(&head, "sec-websocket-accept"), ["s3pPLMBiTxaQ9kYGzzhZRbK+xOo="]);
    }
}

#[tokio::test]
async fn handshakes_that_are_wrong_are_refused() {
    let without = |name| WEBSOCKET.into_iter().filter(move |(key, _)| *key != name).collect::<Vec<_>>();
    assert_refused("POST", &WEBSOCKET, 400).await;
    assert_refused("GET", &without("Sec-WebSocket-Key"), 400).await;
    let head = assert_refused("GET", &without("Sec-WebSocket-Version"), 426).await;
    assert_eq!(header_values(&head, "sec-websocket-version"), ["13"]);

    let mut headers = WEBSOCKET.to_vec();
    headers.push(("Sec-WebSocket-Protocol", "v6.channel.k8s.io, SPDY/3.1+portforward.k8s.io"));
    assert_refused("GET", &headers, 403).await;
}
