//! Clients that take their output late, as behind a pager, and ping meanwhile; over TCP, which throws away what is on its
//! way when a socket is dropped with a ping unread.

use std::{future::pending, time::Duration};

use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use tokio::time::{Instant, advance, pause, resume, sleep};
use tokio_tungstenite::tungstenite::{Message, protocol::frame::coding::CloseCode};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::testing::{Sent, connect_tcp, spdy, websocket};

/// More than a socket that is not read takes in, and less than what TCP takes on its way to one.
const LENGTH: usize = 400_000;
const PINGS: usize = 20;
const PING_PERIOD: Duration = Duration::from_secs(3);

/// Lets the time between two pings pass: none for tests, except for what the kernel takes to pass the last one on.
async fn until_next_ping() {
    sleep(Duration::from_millis(10)).await;
    pause();
    advance(PING_PERIOD).await;
    resume();
}

/// Writes its output and ends.
async fn write(Client { mut output, .. }: Client) {
    for _ in 0..LENGTH / 10_000 {
        output.output(Bytes::from_static(&[7; 10_000])).await.unwrap();
    }
    output.finish(Outcome::Exit(0)).await;
}

#[tokio::test]
async fn it_gets_all_over_a_websocket() {
    let streams = Streams::for_tests();
    let io = connect_tcp(service(&streams, OUTPUT, (), write)).await;
    let mut socket = websocket(io, "v5.channel.k8s.io").await;
    for _ in 0..PINGS {
        socket.send(Message::Ping(Bytes::new())).await.unwrap();
        until_next_ping().await;
    }
    let (mut received, mut status) = (0, None);
    let code = loop {
        match socket.next().await.expect("a close").expect("a sound connection") {
            Message::Binary(bytes) if bytes.first() == Some(&1) => received += bytes.len() - 1,
            Message::Binary(bytes) => status = Some(bytes),
            Message::Close(frame) => break frame.unwrap().code,
            _ => {}
        }
    };
    assert_eq!((received, code), (LENGTH, CloseCode::Normal));
    assert!(status.is_some(), "the status");
}

#[tokio::test]
async fn it_gets_all_over_spdy() {
    let streams = Streams::for_tests();
    let io = connect_tcp(service(&streams, OUTPUT, (), write)).await;
    let mut peer = spdy(io, "v4.channel.k8s.io").await;
    let error = peer.open(&[("streamtype", "error")]).await;
    let stdout = peer.open(&[("streamtype", "stdout")]).await;
    for _ in 0..PINGS {
        peer.ping().await;
        until_next_ping().await;
    }
    let mut others = Vec::new();
    assert_eq!(peer.read_stream(stdout, &mut others).await.len(), LENGTH);
    while !others.contains(&Sent::Fin(error)) {
        others.extend(peer.next().await);
    }
}

#[tokio::test(start_paused = true)]
async fn it_is_waited_for_a_quarter_of_an_hour() {
    let streams = Streams::for_tests();
    let gone = CancellationToken::new();
    let io = serving_held(&streams, OUTPUT, gone.clone().drop_guard(), ending(Outcome::Exit(0)));
    let mut socket = websocket(io, "v5.channel.k8s.io").await;
    let began = Instant::now();
    let pings = async {
        while socket.send(Message::Ping(Bytes::new())).await.is_ok() {
            sleep(PING_PERIOD).await;
        }
        pending().await
    };
    tokio::select! {
        () = gone.cancelled() => {}
        () = pings => {}
    }
    assert_eq!(began.elapsed().as_secs(), 15 * 60);
}

#[tokio::test(start_paused = true)]
async fn its_connection_is_counted_until_it_is_over() {
    let streams = Streams::for_tests();
    let (over, gone) = (CancellationToken::new(), CancellationToken::new());
    let of_session = over.clone();
    let session = |Client { mut output, input }: Client| async move {
        let _over = of_session.drop_guard();
        let _input = input;
        output.output(vec![7; 100_000].into()).await.unwrap();
        output.finish(Outcome::Exit(0)).await;
    };
    let io = serving_held(&streams, OUTPUT, gone.clone().drop_guard(), session);
    let mut peer = spdy(io, "v4.channel.k8s.io").await;
    peer.open(&[("streamtype", "error")]).await;
    peer.open(&[("streamtype", "stdout")]).await;
    over.cancelled().await;
    sleep(Duration::from_secs(60)).await;
    assert!(!gone.is_cancelled(), "it still has output to take");
    drop(peer);
    streams.all_gone().await;
    assert!(gone.is_cancelled());
}

#[tokio::test(start_paused = true)]
async fn one_that_takes_nothing_for_hours_keeps_its_session() {
    let streams = Streams::for_tests();
    let mut peer = spdy(serving(&streams, OUTPUT, write), "v4.channel.k8s.io").await;
    peer.open(&[("streamtype", "error")]).await;
    let stdout = peer.open(&[("streamtype", "stdout")]).await;
    sleep(Duration::from_secs(3 * 60 * 60)).await;
    assert_eq!(peer.read_stream(stdout, &mut Vec::new()).await.len(), LENGTH);
}

#[tokio::test(start_paused = true)]
async fn one_that_takes_nothing_does_not_hold_up_a_node_that_stops() {
    let streams = Streams::for_tests();
    let over = CancellationToken::new();
    let of_session = over.clone();
    let session = |Client { mut output, .. }: Client| async move {
        let _over = of_session.drop_guard();
        output.output(vec![7; 100_000].into()).await.unwrap();
        output.finish(Outcome::Exit(0)).await;
    };
    let mut peer = spdy(serving(&streams, OUTPUT, session), "v4.channel.k8s.io").await;
    peer.open(&[("streamtype", "error")]).await;
    peer.open(&[("streamtype", "stdout")]).await;
    over.cancelled().await;
    streams.stop.cancel();
    streams.all_gone().await;
}

/// Takes no input, and ends when its client is gone.
async fn deaf(Client { input, output }: Client) {
    input.gone().cancelled().await;
    output.finish(Outcome::Abandoned).await;
}

const INPUT_BYTES: usize = 300_000;

#[tokio::test(start_paused = true)]
async fn one_that_goes_is_noticed_though_nobody_takes_its_input() {
    let streams = Streams::for_tests();
    let mut peer = spdy(serving(&streams, PIPES, deaf), "v4.channel.k8s.io").await;
    peer.open(&[("streamtype", "error")]).await;
    let stdin = peer.open(&[("streamtype", "stdin")]).await;
    peer.open(&[("streamtype", "stdout")]).await;
    peer.open(&[("streamtype", "stderr")]).await;
    for _ in 0..INPUT_BYTES / 10_000 {
        peer.data(stdin, &[7; 10_000]).await;
    }
    drop(peer);
    streams.all_gone().await;

    let streams = Streams::for_tests();
    let mut socket = websocket(serving(&streams, PIPES, deaf), "v5.channel.k8s.io").await;
    for _ in 0..10 {
        socket.send(Message::Binary([&[0], &[7; 20_000][..]].concat().into())).await.unwrap();
    }
    drop(socket);
    streams.all_gone().await;
}
