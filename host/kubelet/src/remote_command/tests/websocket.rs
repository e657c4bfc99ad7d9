use std::time::Duration;

use bytes::Bytes;
use futures::{FutureExt, SinkExt, StreamExt};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::{mpsc, oneshot},
    time::{Instant, sleep, timeout},
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Message,
        protocol::frame::{
            Frame,
            coding::{CloseCode, Data, OpCode},
        },
    },
};
use vk_provider::TerminalSize;

use super::*;
use crate::testing::{ask, websocket};

type Socket = WebSocketStream<DuplexStream>;

fn binary(bytes: &[u8]) -> Message {
    Message::Binary(Bytes::copy_from_slice(bytes))
}

/// The next message that is no pong.
async fn next(socket: &mut Socket) -> Option<Message> {
    loop {
        match socket.next().await {
            Some(Ok(Message::Pong(_))) => {}
            other => return other.map(|message| message.expect("a sound connection")),
        }
    }
}

async fn assert_closed(socket: &mut Socket, code: CloseCode) {
    match next(socket).await {
        Some(Message::Close(Some(frame))) => assert_eq!(frame.code, code, "{frame}"),
        other => panic!("{other:?} is no close"),
    }
    assert_eq!(next(socket).await, None, "the connection ends with the close");
}

fn status_of(message: Option<Message>) -> serde_json::Value {
    let Some(Message::Binary(bytes)) = message else { panic!("{message:?} is no status") };
    assert_eq!(bytes.first(), Some(&3), "of the error channel");
    serde_json::from_slice(&bytes[1..]).unwrap()
}

#[tokio::test(start_paused = true)]
async fn version_5_has_input_its_end_output_status_and_a_close() {
    let streams = Streams::for_tests();
    let mut socket = websocket(serving(&streams, PIPES, cat), "v5.channel.k8s.io").await;
    assert_eq!(next(&mut socket).await, Some(binary(&[1])), "the first message says that the streams stand");

    socket.send(binary(b"\x00hello")).await.unwrap();
    assert_eq!(next(&mut socket).await, Some(binary(b"\x01hello")));
    // Nothing, unknown channels, and channels that are not the client's mean nothing.
    for ignored in [&b""[..], b"\x00", b"\x01x", b"\x05x", b"\xfex", b"\xff\x02", b"\xff\x04"] {
        socket.send(binary(ignored)).await.unwrap();
    }
    // A text message is as good as a binary one.
    socket.send(Message::text("\0text")).await.unwrap();
    assert_eq!(next(&mut socket).await, Some(binary(b"\x01text")));
    socket.send(binary(b"\xff\x00")).await.unwrap();
    socket.send(binary(b"\xff\x00")).await.unwrap();
    socket.send(binary(b"\x00after its end")).await.unwrap();

    assert_eq!(status_of(next(&mut socket).await)["status"], "Success");
    assert_closed(&mut socket, CloseCode::Normal).await;
    streams.all_gone().await;
}

#[tokio::test(start_paused = true)]
async fn what_begins_the_streams_is_a_channel_that_the_client_wants() {
    let streams = Streams::for_tests();
    for (wanted, channel) in [
        (Wanted { stdin: true, stderr: true, ..Wanted::default() }, 2),
        (Wanted { stdin: true, ..Wanted::default() }, 3),
        (TERMINAL, 1),
    ] {
        let mut socket = websocket(serving(&streams, wanted, cat), "v4.channel.k8s.io").await;
        assert_eq!(next(&mut socket).await, Some(binary(&[channel])), "{wanted:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn output_that_nobody_wants_is_dropped_and_order_is_kept() {
    async fn both(Client { mut output, .. }: Client) {
        for text in ["one", "two", "three"] {
            output.output(text.into()).await.unwrap();
            output.error_output(text.into()).await.unwrap();
        }
        output.finish(Outcome::Exit(42)).await;
    }
    let streams = Streams::for_tests();
    for (wanted, channels) in [(OUTPUT, &[1][..]), (PIPES, &[1, 2]), (TERMINAL, &[1])] {
        let mut socket = websocket(serving(&streams, wanted, both), "v4.channel.k8s.io").await;
        next(&mut socket).await;
        for text in ["one", "two", "three"] {
            for channel in channels {
                assert_eq!(
                    next(&mut socket).await,
                    Some(binary(&[&[*channel], text.as_bytes()].concat())),
                    "{wanted:?}"
                );
            }
        }
        assert_eq!(status_of(next(&mut socket).await)["details"]["causes"][0]["message"], "42");
        assert_closed(&mut socket, CloseCode::Normal).await;
    }
    streams.all_gone().await;
}

#[tokio::test(start_paused = true)]
async fn base64_goes_in_text_messages() {
    let streams = Streams::for_tests();
    let mut socket = websocket(serving(&streams, TERMINAL, cat), "v4.base64.channel.k8s.io").await;
    assert_eq!(next(&mut socket).await, Some(Message::text("1")));
    socket.send(Message::text("0aGVsbG8=")).await.unwrap();
    assert_eq!(next(&mut socket).await, Some(Message::text("1aGVsbG8=")));
    // {"Width":80,"Height":24}, in two pieces.
    socket.send(Message::text("4eyJXaWR0aCI6ODAs")).await.unwrap();
    socket.send(Message::text("4IkhlaWdodCI6MjR9")).await.unwrap();
    assert_eq!(next(&mut socket).await, Some(Message::text("1ODB4MjQ=")), "80x24");
    socket.send(Message::text("0not base64")).await.unwrap();
    assert_closed(&mut socket, CloseCode::Invalid).await;
    streams.all_gone().await;
}

#[tokio::test(start_paused = true)]
async fn before_version_4_only_a_failure_is_said_and_as_text() {
    let streams = Streams::for_tests();
    for protocols in ["", "channel.k8s.io"] {
        let mut socket = websocket(serving(&streams, OUTPUT, ending(Outcome::Exit(0))), protocols).await;
        assert_eq!(next(&mut socket).await, Some(binary(&[1])));
        assert_closed(&mut socket, CloseCode::Normal).await;

        let failed = Outcome::Failed(Error::new(ErrorKind::NotFound, "no such container"));
        let mut socket = websocket(serving(&streams, OUTPUT, ending(failed)), protocols).await;
        assert_eq!(next(&mut socket).await, Some(binary(&[1])));
        assert_eq!(next(&mut socket).await, Some(binary(b"\x03no such container")));
        assert_closed(&mut socket, CloseCode::Normal).await;
    }
    streams.all_gone().await;
}

#[tokio::test(start_paused = true)]
async fn a_session_that_says_nothing_of_its_end_has_failed() {
    let streams = Streams::for_tests();
    let mut socket = websocket(serving(&streams, OUTPUT, |client| async { drop(client) }), "v5.channel.k8s.io").await;
    next(&mut socket).await;
    assert_eq!(status_of(next(&mut socket).await)["reason"], "InternalError");
    assert_closed(&mut socket, CloseCode::Normal).await;
    streams.all_gone().await;
}

#[tokio::test(start_paused = true)]
async fn fragments_are_put_together_and_pings_between_them_answered() {
    let streams = Streams::for_tests();
    let mut socket = websocket(serving(&streams, PIPES, cat), "v5.channel.k8s.io").await;
    next(&mut socket).await;
    let fragment =
        |bytes: &'static [u8], opcode, last| Message::Frame(Frame::message(bytes, OpCode::Data(opcode), last));
    socket.send(fragment(b"\x00he", Data::Binary, false)).await.unwrap();
    socket.send(Message::Ping("are you there".into())).await.unwrap();
    assert_eq!(socket.next().await.unwrap().unwrap(), Message::Pong("are you there".into()));
    socket.send(fragment(b"l", Data::Continue, false)).await.unwrap();
    socket.send(fragment(b"lo", Data::Continue, true)).await.unwrap();
    assert_eq!(next(&mut socket).await, Some(binary(b"\x01hello")));
}

#[tokio::test(start_paused = true)]
async fn long_input_and_output_pass_whole() {
    let streams = Streams::for_tests();
    let socket = websocket(serving(&streams, PIPES, cat), "v5.channel.k8s.io").await;
    let (mut sink, mut stream) = socket.split();
    let sent: Vec<u8> = (0..1_000_000_u32).map(|number| (number / 7) as u8).collect();
    let message = [&[0], &sent[..]].concat();
    let send = async {
        sink.send(Message::Binary(message.into())).await.unwrap();
        sink.send(binary(b"\xff\x00")).await.unwrap();
        sink
    };
    let receive = async {
        let mut received = Vec::new();
        while let Some(Ok(Message::Binary(bytes))) = stream.next().await {
            if bytes[0] == 1 {
                received.extend_from_slice(&bytes[1..]);
            }
        }
        received
    };
    let (_sink, received) = tokio::join!(send, receive);
    assert!(received == sent, "{} bytes of {}", received.len(), sent.len());
}

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

#[tokio::test(start_paused = true)]
async fn a_client_that_vanishes_is_gone_and_leaves_nothing() {
    let streams = Streams::for_tests();
    let (saw, mut seen) = mpsc::channel(8);
    let session = |Client { mut input, mut output }: Client| async move {
        for _ in 0..3 {
            saw.send(input.next().await).await.unwrap();
        }
        assert!(output.output(Bytes::from_static(b"x")).await.is_err(), "nobody is there");
        output.finish(Outcome::Exit(0)).await;
    };
    let mut socket = websocket(serving(&streams, PIPES, session), "v5.channel.k8s.io").await;
    next(&mut socket).await;
    socket.send(binary(b"\x00last words")).await.unwrap();
    drop(socket);
    assert_eq!(seen.recv().await, Some(ClientEvent::Input("last words".into())));
    assert_eq!(seen.recv().await, Some(ClientEvent::Gone));
    assert_eq!(seen.recv().await, Some(ClientEvent::Gone), "and stays gone");
    streams.all_gone().await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_closes_is_gone_and_answered() {
    let streams = Streams::for_tests();
    let mut socket = websocket(serving(&streams, PIPES, cat), "v5.channel.k8s.io").await;
    next(&mut socket).await;
    socket.close(None).await.unwrap();
    assert_eq!(next(&mut socket).await, Some(Message::Close(None)));
    assert_eq!(next(&mut socket).await, None);
    streams.all_gone().await;
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
async fn what_a_client_does_not_take_is_kept_for_it_for_a_while() {
    async fn speak(Client { mut output, .. }: Client) {
        output.output(vec![b'x'; 100_000].into()).await.unwrap();
        output.finish(Outcome::Exit(0)).await;
    }
    let streams = Streams::for_tests();
    let mut patient = websocket(serving(&streams, OUTPUT, speak), "v5.channel.k8s.io").await;
    let _never = websocket(serving(&streams, OUTPUT, speak), "v5.channel.k8s.io").await;
    let start = Instant::now();
    sleep(Duration::from_secs(14 * 60)).await;
    let mut total = 0;
    loop {
        match next(&mut patient).await {
            Some(Message::Binary(bytes)) if bytes[0] == 1 => total += bytes.len() - 1,
            message => break assert_eq!(status_of(message)["status"], "Success"),
        }
    }
    assert_eq!(total, 100_000);
    assert_closed(&mut patient, CloseCode::Normal).await;

    streams.tasks.close();
    streams.tasks.wait().await;
    assert!(start.elapsed() < Duration::from_secs(16 * 60), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_node_that_stops_waits_for_nobody() {
    let streams = Streams::for_tests();
    let session = |Client { mut output, .. }: Client| async move {
        output.output(vec![b'x'; 100_000].into()).await.unwrap();
        output.finish(Outcome::Exit(0)).await;
    };
    let _never = websocket(serving(&streams, OUTPUT, session), "v5.channel.k8s.io").await;
    sleep(Duration::from_secs(1)).await;
    streams.stop.cancel();
    streams.all_gone().await;
}

#[tokio::test(start_paused = true)]
async fn input_that_the_session_does_not_take_is_not_read_and_the_client_not_given_up() {
    let streams = Streams::for_tests();
    let (go, may_go) = oneshot::channel::<()>();
    let session = |client: Client| async move {
        may_go.await.unwrap();
        cat(client).await;
    };
    let socket = websocket(serving(&streams, PIPES, session), "v5.channel.k8s.io").await;
    let (mut sink, mut stream) = socket.split();
    let message = [&[0], &[b'x'; 30_000][..]].concat();
    let mut sent = 0;
    while timeout(Duration::from_secs(1), sink.send(binary(&message))).await.is_ok() {
        sent += 30_000;
    }
    assert!(sent < 512 << 10, "{sent} bytes");
    // No ping would be answered, but something says that somebody is there.
    let start = Instant::now();
    loop {
        match stream.next().await.unwrap().unwrap() {
            Message::Pong(_) => break,
            other => assert_eq!(other, binary(&[1])),
        }
    }
    assert!(start.elapsed() < Duration::from_secs(20));
    go.send(()).unwrap();
    let mut received = 0;
    while received < sent {
        match stream.next().await.unwrap().unwrap() {
            Message::Binary(bytes) => received += bytes.len() - 1,
            other => assert!(other.is_pong(), "{other:?}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_on_which_nothing_comes_or_goes_is_closed_after_its_time() {
    let streams = Streams::for_tests();
    let mut socket = websocket(serving(&streams, PIPES, cat), "v5.channel.k8s.io").await;
    let start = Instant::now();
    next(&mut socket).await;
    sleep(Duration::from_secs(3600)).await;
    socket.send(Message::Ping(Bytes::new())).await.unwrap();
    assert_closed(&mut socket, CloseCode::Away).await;
    assert_eq!(start.elapsed().as_secs(), 5 * 3600);
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
async fn sizes_of_a_terminal_come_only_where_there_is_one() {
    let streams = Streams::for_tests();
    let size = |Client { mut input, output }: Client| async move {
        let event = input.next().await;
        let is_size = event == ClientEvent::Resized(TerminalSize { columns: 80, rows: 24 });
        output.finish(Outcome::Exit(if is_size { 7 } else { 8 })).await;
    };
    for (wanted, code) in [(TERMINAL, "7"), (PIPES, "8")] {
        let mut socket = websocket(serving(&streams, wanted, size), "v5.channel.k8s.io").await;
        next(&mut socket).await;
        socket.send(binary(b"\x04{\"Width\":80,\"Height\":24}")).await.unwrap();
        socket.send(binary(b"\x00x")).await.unwrap();
        assert_eq!(status_of(next(&mut socket).await)["details"]["causes"][0]["message"], code);
    }
}
