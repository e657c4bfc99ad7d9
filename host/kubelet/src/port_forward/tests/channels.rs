use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Message, protocol::frame::coding::CloseCode},
};

use super::*;
use crate::testing::{ask, websocket};

async fn next(socket: &mut WebSocketStream<DuplexStream>) -> Message {
    loop {
        match socket.next().await.expect("a message").expect("a sound connection") {
            Message::Pong(_) => {}
            other => return other,
        }
    }
}

/// So many messages: those of one channel are in order, those of different ones in any.
async fn by_channel(socket: &mut WebSocketStream<DuplexStream>, messages: usize) -> Vec<(u8, Vec<u8>)> {
    let mut all = Vec::new();
    for _ in 0..messages {
        let message = next(socket).await.into_data();
        all.push((message[0], message[1..].to_vec()));
    }
    all.sort_by_key(|(channel, _)| *channel);
    all
}

#[tokio::test(start_paused = true)]
async fn each_channel_begins_with_its_port_and_each_port_has_a_session() {
    let streams = Streams::for_tests();
    let mut socket = websocket(serving(&streams, &[80, 443], echo), "v5.channel.k8s.io, v4.channel.k8s.io").await;
    let [http, https] = [80_u16, 443].map(|port| port.to_le_bytes().to_vec());
    assert_eq!(
        by_channel(&mut socket, 6).await,
        [(0, http.clone()), (0, b"80:".to_vec()), (1, http), (2, https.clone()), (2, b"443:".to_vec()), (3, https)]
    );
    socket.send(Message::Binary(Bytes::from_static(b"\x02to https"))).await.unwrap();
    assert_eq!(next(&mut socket).await, Message::Binary(Bytes::from_static(b"\x02to https")));
    for ignored in [&b""[..], b"\x01x", b"\x04x", b"\xff\x00"] {
        socket.send(Message::Binary(Bytes::from_static(ignored))).await.unwrap();
    }
    socket.send(Message::Binary(Bytes::from_static(b"\x00to http"))).await.unwrap();
    assert_eq!(next(&mut socket).await, Message::Binary(Bytes::from_static(b"\x00to http")));
    drop(socket);
    streams.all_gone().await;
}

#[tokio::test(start_paused = true)]
async fn a_port_that_fails_says_so_and_the_last_one_closes() {
    let streams = Streams::for_tests();
    let mut socket = websocket(serving(&streams, &[1], echo), "v4.base64.channel.k8s.io").await;
    assert_eq!(next(&mut socket).await, Message::text("0AQA="));
    assert_eq!(next(&mut socket).await, Message::text("1AQA="));
    let failure = "error forwarding port 1 to pod web, uid 1234: connection refused";
    let Message::Text(text) = next(&mut socket).await else { panic!("no text") };
    use base64::{Engine as _, prelude::BASE64_STANDARD};
    assert_eq!(text.split_at(1), ("1", &*BASE64_STANDARD.encode(failure)));
    let Message::Close(Some(frame)) = next(&mut socket).await else { panic!("no close") };
    assert_eq!(frame.code, CloseCode::Normal);
    drop(socket);
    streams.all_gone().await;
}

#[tokio::test]
async fn ports_are_required_and_each_takes_a_place() {
    const HEADERS: [(&str, &str); 5] = [
        ("Connection", "Upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Protocol", "base64.channel.k8s.io"),
    ];
    for (ports, status) in [(&[][..], 400), (&[80; 40], 101)] {
        let streams = Streams::for_tests();
        let head = ask(&mut serving(&streams, ports, echo), "GET", &HEADERS).await;
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{ports:?}: {head}");
    }
    let streams = Streams::for_tests();
    let head = ask(&mut serving_at_most(1, &streams, &[80, 81], echo), "GET", &HEADERS).await;
    assert!(head.starts_with("HTTP/1.1 429 "), "{head}");
}
