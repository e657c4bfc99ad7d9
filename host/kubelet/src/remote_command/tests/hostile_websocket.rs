//! Clients that break the rules, or make others wait.

use std::time::Duration;

use bytes::Bytes;
use futures::{FutureExt, SinkExt, StreamExt};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::{mpsc, oneshot},
    time::{Instant, sleep, timeout},
};
use tokio_tungstenite::tungstenite::{Message, protocol::frame::coding::CloseCode};

use super::{
    websocket::{assert_closed, binary, next, status_of},
    *,
};
use crate::testing::{ask, websocket};

/// What a client sends that it must not, and the code of the close that it gets for it.
#[tokio::test(start_paused = true)]
async fn clients_that_break_the_rules_are_told_and_their_session_too() {
    let masked = |head: &[u8], length: usize| [head, &[0; 4], &vec![0; length][..]].concat();
    for (name, raw, code) in [
        (
            "a close of a channel without its number",
            masked(&[0x82, 0x80 | 1], 0).into_iter().chain([0xff]).collect(),
            CloseCode::Protocol,
        ),
        ("a frame that is not masked", vec![0x82, 2, 0, b'x'], CloseCode::Protocol),
        ("a fragmented ping", masked(&[0x09, 0x81], 1), CloseCode::Protocol),
        ("an unknown control frame", masked(&[0x8b, 0x80], 0), CloseCode::Protocol),
        ("an unknown data frame", masked(&[0x83, 0x80], 0), CloseCode::Protocol),
        ("a continuation of nothing", masked(&[0x80, 0x81], 1), CloseCode::Protocol),
        ("reserved bits", masked(&[0xc2, 0x81], 1), CloseCode::Protocol),
        ("a ping that is too long", masked(&[0x89, 0x80 | 126, 0, 126], 126), CloseCode::Protocol),
        ("a message that is too long", masked(&[0x82, 0x80 | 127, 0, 0, 0, 0, 0, 0x40, 0, 1], 0), CloseCode::Size),
        (
            "a message without end",
            masked(&[0x82, 0x80 | 127, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], 0),
            CloseCode::Size,
        ),
        ("text that is none", masked(&[0x81, 0x81], 0).into_iter().chain([0xff]).collect(), CloseCode::Invalid),
    ] {
        let streams = Streams::for_tests();
        let (saw, seen) = oneshot::channel();
        let session = |mut client: Client| async move {
            saw.send(client.input.next().await).unwrap();
            client.output.finish(Outcome::Exit(0)).await;
        };
        let mut socket = websocket(serving(&streams, PIPES, session), "v5.channel.k8s.io").await;
        next(&mut socket).await;
        socket.get_mut().write_all(&raw).await.unwrap();
        assert_closed(&mut socket, code).await;
        drop(socket);
        assert_eq!(seen.await, Ok(ClientEvent::Gone), "{name}");
        streams.all_gone().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_close_of_an_unknown_channel_breaks_the_rules_of_version_5_alone() {
    for (protocol, code) in [("v5.channel.k8s.io", Some(CloseCode::Protocol)), ("v4.channel.k8s.io", None)] {
        let streams = Streams::for_tests();
        let mut socket = websocket(serving(&streams, PIPES, cat), protocol).await;
        next(&mut socket).await;
        socket.send(binary(b"\xff\x09")).await.unwrap();
        match code {
            Some(code) => assert_closed(&mut socket, code).await,
            None => {
                socket.send(binary(b"\x00x")).await.unwrap();
                assert_eq!(next(&mut socket).await, Some(binary(b"\x01x")));
            }
        }
    }
}

/// Writes until it may not, and says how much it wrote.
fn flood(
    written: mpsc::UnboundedSender<usize>,
) -> impl FnOnce(Client) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send>> {
    |client| {
        let Client { mut output, input } = client;
        Box::pin(async move {
            let _input = input;
            while output.output(Bytes::from_static(&[b'x'; 10_000])).await.is_ok() {
                written.send(10_000).unwrap();
            }
        })
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_never_reads_stops_the_session_and_is_cut_at_the_end() {
    let streams = Streams::for_tests();
    let (written, mut was_written) = mpsc::unbounded_channel();
    let socket = websocket(serving(&streams, PIPES, flood(written)), "v5.channel.k8s.io").await;
    sleep(Duration::from_secs(60)).await;
    let mut total = 0;
    while let Some(Some(length)) = was_written.recv().now_or_never() {
        total += length;
    }
    // What the pipe between them takes, and a few messages.
    assert!((64 << 10..320 << 10).contains(&total), "{total} bytes");
    drop(socket);
    streams.all_gone().await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_answer_the_close_is_not_waited_for() {
    let streams = Streams::for_tests();
    let mut io = serving(&streams, OUTPUT, ending(Outcome::Exit(0)));
    ask(&mut io, "GET", &negotiation::WEBSOCKET).await;
    let start = Instant::now();
    let mut all = Vec::new();
    io.read_to_end(&mut all).await.unwrap();
    assert_eq!(all, [0x82, 1, 1, 0x88, 2, 0x03, 0xe8], "the first message, and a close with 1000");
    assert!(start.elapsed() <= Duration::from_secs(11), "{:?}", start.elapsed());
    streams.all_gone().await;
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_pings_that_nobody_reads_the_answers_of_is_answered_in_part() {
    let streams = Streams::for_tests();
    let mut socket = websocket(serving(&streams, PIPES, cat), "v5.channel.k8s.io").await;
    next(&mut socket).await;
    let ping = [&[0x89, 0x80 | 125, 0, 0, 0, 0][..], &[b'x'; 125]].concat();
    for _ in 0..20_000 {
        socket.get_mut().write_all(&ping).await.unwrap();
    }
    // The pipe between them, and what is kept for it.
    let mut answers = 0;
    while let Ok(Some(Ok(Message::Pong(_)))) = timeout(Duration::from_secs(1), socket.next()).await {
        answers += 1;
    }
    assert!((1..=1 + (192 << 10) / 127).contains(&answers), "{answers} answers");
    socket.send(binary(b"\x00still there")).await.unwrap();
    assert_eq!(next(&mut socket).await, Some(binary(b"\x01still there")));
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_text_is_input_like_any_other() {
    let streams = Streams::for_tests();
    let count = |Client { mut input, output }: Client| async move {
        let mut total = 0;
        while let ClientEvent::Input(bytes) = input.next().await {
            total += bytes.len();
        }
        output.finish(Outcome::Exit(u8::from(total != 1_000_000))).await;
    };
    let mut socket = websocket(serving(&streams, PIPES, count), "v5.channel.k8s.io").await;
    next(&mut socket).await;
    for _ in 0..10_000 {
        socket.send(Message::text(format!("\0{}", "x".repeat(100)))).await.unwrap();
    }
    socket.send(binary(b"\xff\x00")).await.unwrap();
    assert_eq!(status_of(next(&mut socket).await)["status"], "Success");
}
