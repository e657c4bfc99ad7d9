use std::time::Duration;

use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    time::{Instant, sleep, timeout},
};
use tokio_tungstenite::tungstenite::{Message, protocol::frame::coding::CloseCode};

use super::*;
use crate::{
    spdy::Status,
    testing::{Sent, SpdyClient, ask, header_values, spdy, websocket},
};

/// Longer than what is noticed takes to be.
const SOON: Duration = Duration::from_secs(60);

/// A connection to a port as kubectl makes it: the error and the data stream.
async fn connect_to<Io>(peer: &mut SpdyClient<Io>, port: &str, request: &str) -> (u32, u32)
where
    Io: AsyncRead + AsyncWrite + Unpin,
{
    let error = peer.open(&[("streamtype", "error"), ("port", port), ("requestid", request)]).await;
    peer.fin(error).await;
    (error, peer.open(&[("streamtype", "data"), ("port", port), ("requestid", request)]).await)
}

async fn forward<Io: AsyncRead + AsyncWrite + Unpin>(peer: &mut SpdyClient<Io>) {
    let (error, data) = connect_to(peer, "80", "0").await;
    assert_eq!(peer.next().await, Some(Sent::Data(data, "80:".into())));
    let (other_error, other) = connect_to(peer, "443", "1").await;
    assert_eq!(peer.next().await, Some(Sent::Data(other, "443:".into())));
    peer.data(data, b"hello").await;
    assert_eq!(peer.next().await, Some(Sent::Data(data, "hello".into())));
    peer.data(other, b"you").await;
    assert_eq!(peer.next().await, Some(Sent::Data(other, "you".into())));
    for (data, error) in [(data, error), (other, other_error)] {
        peer.fin(data).await;
        let mut ends = [peer.next().await.unwrap(), peer.next().await.unwrap()];
        ends.sort_by_key(|sent| format!("{sent:?}"));
        assert_eq!(ends, [Sent::Fin(error), Sent::Fin(data)], "nothing was wrong");
    }
}

#[tokio::test(start_paused = true)]
async fn connections_to_ports_are_pairs_of_streams() {
    let streams = Streams::for_tests();
    let mut peer = spdy(serving(&streams, &[], echo), "portforward.k8s.io").await;
    forward(&mut peer).await;
    peer.goaway().await;
    assert_eq!(peer.next().await, Some(Sent::GoAway));
    drop(peer);
    streams.all_gone().await;
}

#[tokio::test(start_paused = true)]
async fn other_protocols_are_refused() {
    let streams = Streams::for_tests();
    let headers =
        [("Connection", "Upgrade"), ("Upgrade", "SPDY/3.1"), ("X-Stream-Protocol-Version", "v4.channel.k8s.io")];
    let head = ask(&mut serving(&streams, &[], echo), "POST", &headers).await;
    assert!(head.starts_with("HTTP/1.1 403 "), "{head}");
    assert_eq!(header_values(&head, "x-accepted-stream-protocol-versions"), ["portforward.k8s.io"]);
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_fails_says_so_and_the_others_go_on() {
    let streams = Streams::for_tests();
    let mut peer = spdy(serving(&streams, &[], echo), "portforward.k8s.io").await;
    let (error, data) = connect_to(&mut peer, "1", "0").await;
    let mut others = Vec::new();
    let text = peer.read_stream(error, &mut others).await;
    assert_eq!(text, b"error forwarding port 1 to pod web, uid 1234: connection refused");
    if others.is_empty() {
        others.extend(peer.next().await);
    }
    assert_eq!(others, [Sent::Fin(data)]);
    let (_, data) = connect_to(&mut peer, "80", "1").await;
    assert_eq!(peer.next().await, Some(Sent::Data(data, "80:".into())));
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_is_reset_is_no_failure_and_the_others_go_on() {
    let failed = Outcome::Failed(Error::new(ErrorKind::Unavailable, "the backend is away"));
    for (outcome, half_closed) in [Outcome::Abandoned, failed].iter().flat_map(|it| [(it, false), (it, true)]) {
        let end = outcome.clone();
        let session = move |port: u16, Client { mut input, mut output }: Client| {
            let end = end.clone();
            async move {
                output.output(format!("{port}:").into()).await.unwrap();
                loop {
                    match input.next().await {
                        ClientEvent::Input(bytes) => output.output(bytes).await.unwrap(),
                        ClientEvent::Gone => return output.finish(end).await,
                        _ => {}
                    }
                }
            }
        };
        let streams = Streams::for_tests();
        let mut peer = spdy(serving(&streams, &[], session), "portforward.k8s.io").await;
        let (error, data) = connect_to(&mut peer, "80", "0").await;
        assert_eq!(peer.next().await, Some(Sent::Data(data, "80:".into())));
        let (_, other) = connect_to(&mut peer, "443", "1").await;
        assert_eq!(peer.next().await, Some(Sent::Data(other, "443:".into())));
        if half_closed {
            peer.fin(data).await;
        }
        peer.reset(data).await;
        assert_eq!(peer.next().await, Some(Sent::Fin(error)), "{outcome:?}, half closed: {half_closed}");
        peer.data(other, b"still there").await;
        assert_eq!(peer.next().await, Some(Sent::Data(other, "still there".into())));
        drop(peer);
        streams.all_gone().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_is_noticed_to_go_though_nobody_takes_its_input() {
    let streams = Streams::for_tests();
    let (saw, mut seen) = tokio::sync::mpsc::channel(1);
    let session = move |_, Client { input, output }: Client| {
        let saw = saw.clone();
        async move {
            input.gone().cancelled().await;
            saw.send(()).await.unwrap();
            output.finish(Outcome::Abandoned).await;
        }
    };
    let mut peer = spdy(serving(&streams, &[], session), "portforward.k8s.io").await;
    let (error, data) = connect_to(&mut peer, "80", "0").await;
    for _ in 0..20 {
        peer.data(data, &[7; 10_000]).await;
    }
    peer.reset(data).await;
    assert_eq!(timeout(SOON, seen.recv()).await, Ok(Some(())));
    assert_eq!(peer.next().await, Some(Sent::Fin(error)));

    let (_, data) = connect_to(&mut peer, "80", "1").await;
    for _ in 0..30 {
        peer.data(data, &[7; 10_000]).await;
    }
    drop(peer);
    assert_eq!(timeout(SOON, seen.recv()).await, Ok(Some(())));
    streams.all_gone().await;
}

#[tokio::test(start_paused = true)]
async fn connections_beyond_those_of_a_user_are_reset_and_the_others_go_on() {
    let streams = Streams::for_tests();
    let mut peer = spdy(serving_at_most(1, &streams, &[], echo), "portforward.k8s.io").await;
    let (error, data) = connect_to(&mut peer, "80", "0").await;
    assert_eq!(peer.next().await, Some(Sent::Data(data, "80:".into())));
    let (refused_error, refused) = connect_to(&mut peer, "80", "1").await;
    let mut resets = [peer.next().await, peer.next().await];
    resets.sort_by_key(|sent| format!("{sent:?}"));
    assert_eq!(resets, [refused_error, refused].map(|id| Some(Sent::Reset(id, Status::REFUSED_STREAM))));
    peer.data(data, b"x").await;
    assert_eq!(peer.next().await, Some(Sent::Data(data, "x".into())));

    peer.fin(data).await;
    let mut others = Vec::new();
    peer.read_stream(error, &mut others).await;
    sleep(Duration::from_secs(1)).await;
    let (_, again) = connect_to(&mut peer, "80", "2").await;
    while others.last() != Some(&Sent::Data(again, "80:".into())) {
        others.push(peer.next().await.expect("a place that is free again"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_is_over_here_waits_for_the_client_to_see_it() {
    let streams = Streams::for_tests();
    let hang_up = |_, client: Client| async move { client.output.finish(Outcome::Exit(0)).await };
    let mut peer = spdy(serving(&streams, &[], hang_up), "portforward.k8s.io").await;
    let start = Instant::now();
    let (_, data) = connect_to(&mut peer, "80", "0").await;
    peer.next().await;
    peer.next().await;
    peer.data(data, b"too late").await;
    assert_eq!(peer.next().await, Some(Sent::Reset(data, Status::CANCEL)));
    assert_eq!(start.elapsed().as_secs(), 10);

    let (_, data) = connect_to(&mut peer, "80", "1").await;
    peer.next().await;
    peer.next().await;
    peer.reset(data).await;
    sleep(Duration::from_secs(20)).await;
    peer.goaway().await;
    assert_eq!(peer.next().await, Some(Sent::GoAway), "nothing was left to reset");
}

#[tokio::test(start_paused = true)]
async fn streams_that_are_for_nothing_are_reset() {
    let streams = Streams::for_tests();
    let mut peer = spdy(serving(&streams, &[], echo), "portforward.k8s.io").await;
    for headers in [
        &[("streamtype", "data"), ("port", "0"), ("requestid", "0")][..],
        &[("streamtype", "data"), ("port", "65536"), ("requestid", "0")],
        &[("streamtype", "data"), ("port", "http"), ("requestid", "0")],
        &[("streamtype", "data"), ("port", "-1"), ("requestid", "0")],
        &[("streamtype", "data"), ("requestid", "0")],
        &[("streamtype", "stdin"), ("port", "80"), ("requestid", "0")],
        &[("port", "80"), ("requestid", "0")],
        &[("streamtype", "data"), ("port", "80"), ("requestid", &"0".repeat(100))],
    ] {
        let id = peer.open(headers).await;
        assert_eq!(peer.next().await, Some(Sent::Reset(id, Status::PROTOCOL_ERROR)), "{headers:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn streams_without_a_request_id_are_a_pair_by_their_order() {
    let streams = Streams::for_tests();
    let mut peer = spdy(serving(&streams, &[], echo), "portforward.k8s.io").await;
    peer.open(&[("streamtype", "error"), ("port", "80")]).await;
    let data = peer.open(&[("streamtype", "data"), ("port", "80")]).await;
    assert_eq!(peer.next().await, Some(Sent::Data(data, "80:".into())));
}

#[tokio::test(start_paused = true)]
async fn a_stream_without_the_other_is_reset_after_its_time() {
    let streams = Streams::for_tests();
    let mut peer = spdy(serving(&streams, &[], echo), "portforward.k8s.io").await;
    let start = Instant::now();
    let error = peer.open(&[("streamtype", "error"), ("port", "80"), ("requestid", "0")]).await;
    assert_eq!(peer.next().await, Some(Sent::Reset(error, Status::CANCEL)));
    assert_eq!(start.elapsed().as_secs(), 30);
}

#[tokio::test(start_paused = true)]
async fn more_than_512_connections_are_refused() {
    let streams = Streams::for_tests();
    let mut peer = spdy(serving(&streams, &[], echo), "portforward.k8s.io").await;
    for request in 0..512 {
        let (_, data) = connect_to(&mut peer, "80", &request.to_string()).await;
        assert_eq!(peer.next().await, Some(Sent::Data(data, "80:".into())));
    }
    let id = peer.syn(&[("streamtype", "error"), ("port", "80"), ("requestid", "one more")]).await;
    assert_eq!(peer.next().await, Some(Sent::Reset(id, Status::REFUSED_STREAM)));
    drop(peer);
    streams.all_gone().await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_vanishes_leaves_nothing() {
    let streams = Streams::for_tests();
    let mut peer = spdy(serving(&streams, &[], echo), "portforward.k8s.io").await;
    let (_, half_closed) = connect_to(&mut peer, "80", "0").await;
    peer.next().await;
    peer.fin(half_closed).await;
    peer.next().await;
    peer.next().await;
    connect_to(&mut peer, "80", "1").await;
    peer.next().await;
    peer.open(&[("streamtype", "error"), ("port", "80"), ("requestid", "2")]).await;
    drop(peer);
    streams.all_gone().await;
}

#[tokio::test(start_paused = true)]
async fn the_end_of_input_is_no_end_and_a_client_that_vanishes_after_it_is_gone() {
    let streams = Streams::for_tests();
    let (saw, mut seen) = tokio::sync::mpsc::channel(4);
    let session = move |_, Client { mut input, output }: Client| {
        let saw = saw.clone();
        async move {
            for _ in 0..3 {
                saw.send(input.next().await).await.unwrap();
            }
            output.finish(Outcome::Exit(0)).await;
        }
    };
    let mut peer = spdy(serving(&streams, &[], session), "portforward.k8s.io").await;
    let (_, data) = connect_to(&mut peer, "80", "0").await;
    peer.data(data, b"x").await;
    peer.fin(data).await;
    assert_eq!(seen.recv().await, Some(ClientEvent::Input("x".into())));
    assert_eq!(seen.recv().await, Some(ClientEvent::InputClosed));
    sleep(Duration::from_secs(60)).await;
    assert!(seen.try_recv().is_err(), "it may still take what comes");
    drop(peer);
    assert_eq!(seen.recv().await, Some(ClientEvent::Gone));
    streams.all_gone().await;
}

#[tokio::test(start_paused = true)]
async fn a_node_that_stops_takes_no_more_and_ends_with_its_last_session() {
    let streams = Streams::for_tests();
    let mut peer = spdy(serving(&streams, &[], echo), "portforward.k8s.io").await;
    let (error, data) = connect_to(&mut peer, "80", "0").await;
    assert_eq!(peer.next().await, Some(Sent::Data(data, "80:".into())));
    streams.stop.cancel();
    tokio::task::yield_now().await;
    peer.data(data, b"still there").await;
    assert_eq!(peer.next().await, Some(Sent::Data(data, "still there".into())));
    let id = peer.syn(&[("streamtype", "error"), ("port", "80"), ("requestid", "1")]).await;
    assert_eq!(peer.next().await, Some(Sent::Reset(id, Status::REFUSED_STREAM)));
    peer.fin(data).await;
    let mut ends = [peer.next().await, peer.next().await];
    ends.sort_by_key(|sent| format!("{sent:?}"));
    assert_eq!(ends, [Some(Sent::Fin(error)), Some(Sent::Fin(data))]);
    assert_eq!(peer.next().await, Some(Sent::GoAway));
    drop(peer);
    streams.all_gone().await;
}

const TUNNEL: &str = "v4.channel.k8s.io, SPDY/3.1+portforward.k8s.io";

/// Passes bytes to a WebSocket in messages of so many bytes with empty ones between them, and back.
async fn tunnel(io: DuplexStream, length: usize) -> (DuplexStream, tokio::task::JoinHandle<Option<CloseCode>>) {
    let (mut sink, mut stream) = websocket(io, TUNNEL).await.split();
    let (client, inner) = tokio::io::duplex(64 << 10);
    let (mut from, mut to) = tokio::io::split(inner);
    let closed = tokio::spawn(async move {
        let pass_on = async {
            let mut buffer = vec![0; length];
            while let Ok(read @ 1..) = from.read(&mut buffer).await {
                for message in [&buffer[..read], b""] {
                    sink.send(Message::Binary(Bytes::copy_from_slice(message))).await.unwrap();
                }
            }
            std::future::pending().await
        };
        let pass_back = async {
            loop {
                match stream.next().await {
                    Some(Ok(Message::Binary(bytes))) => to.write_all(&bytes).await.unwrap(),
                    Some(Ok(Message::Close(frame))) => break frame.map(|frame| frame.code),
                    other => panic!("{other:?}"),
                }
            }
        };
        tokio::select! { code = pass_back => code, () = pass_on => None }
    });
    (client, closed)
}

#[tokio::test(start_paused = true)]
async fn spdy_goes_through_a_websocket_however_its_messages_are_cut() {
    for length in [1, 2, 7, 32 << 10] {
        let streams = Streams::for_tests();
        let (io, closed) = tunnel(serving(&streams, &[], echo), length).await;
        let mut peer = SpdyClient::new(io);
        forward(&mut peer).await;
        streams.stop.cancel();
        assert_eq!(peer.next().await, Some(Sent::GoAway));
        assert_eq!(closed.await.unwrap(), Some(CloseCode::Normal));
        streams.all_gone().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_tunnel_takes_no_text() {
    let streams = Streams::for_tests();
    let mut socket = websocket(serving(&streams, &[], echo), TUNNEL).await;
    socket.send(Message::text("no")).await.unwrap();
    let Some(Ok(Message::Close(Some(_)))) = socket.next().await else { panic!("no close") };
    assert!(socket.next().await.is_none());
    drop(socket);
    streams.all_gone().await;
}

#[tokio::test(start_paused = true)]
async fn a_tunnel_whose_client_closes_leaves_nothing() {
    let streams = Streams::for_tests();
    let (io, closed) = tunnel(serving(&streams, &[], echo), 1000).await;
    let mut peer = SpdyClient::new(io);
    connect_to(&mut peer, "80", "0").await;
    closed.abort();
    streams.all_gone().await;
}

#[tokio::test(start_paused = true)]
async fn much_passes_whole_both_ways() {
    let streams = Streams::for_tests();
    let (io, _) = tunnel(serving(&streams, &[], echo), 10_000).await;
    let mut peer = SpdyClient::new(io);
    let (_, data) = connect_to(&mut peer, "80", "0").await;
    assert_eq!(peer.next().await, Some(Sent::Data(data, "80:".into())));
    let sent: Vec<u8> = (0..500_000_u32).map(|number| (number / 11) as u8).collect();
    let mut received = Vec::new();
    for piece in sent.chunks(20_000) {
        peer.data(data, piece).await;
        while received.len() + 40_000 < sent.len() && received.len() < 20_000 {
            let Some(Sent::Data(_, bytes)) = peer.next().await else { panic!("no data") };
            received.extend_from_slice(&bytes);
        }
    }
    peer.fin(data).await;
    received.extend(peer.read_stream(data, &mut Vec::new()).await);
    assert!(received == sent, "{} bytes of {}", received.len(), sent.len());
}
