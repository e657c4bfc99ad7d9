//! What peers do, and what they get for it.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use futures::{FutureExt, poll};
use tokio::{
    io::{AsyncRead, AsyncReadExt, ReadBuf},
    time::{Instant, sleep, timeout},
};

use super::client::{
    FIN, Sent, UNIDIRECTIONAL, connect, connect_over, data, goaway, headers, ping, rst_stream, settle,
};
use crate::spdy::{Connection, Ended, Limits, ProtocolError, Status, StreamError};

fn bytes(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

#[tokio::test(start_paused = true)]
async fn bytes_and_their_end_pass_both_ways() {
    let (mut client, _connection, mut accept) = connect();
    let mut stream = client.open(1, &mut accept).await;

    client.send([data(1, 0, b"to"), data(1, 0, b""), data(1, FIN, b" you")].concat()).await;
    settle().await;
    assert_eq!(stream.reader.read().await.unwrap().unwrap(), "to you");
    assert_eq!(stream.reader.read().await.unwrap(), None);
    assert_eq!(stream.reader.read().await.unwrap(), None, "the end stays the end");

    // Half closed: the other direction is open.
    stream.writer.write(bytes("and to me")).await.unwrap();
    stream.writer.finish();
    assert_eq!(client.read_stream(1).await, b"and to me");
    assert!(matches!(stream.writer.write(bytes("more")).await, Err(StreamError::Finished)));
    drop(stream);

    // It is over, so nothing is said of it. The next has the id after it.
    client.open(3, &mut accept).await;
    assert_eq!(client.next().await, Some(Sent::Reset(3, Status::CANCEL)), "that one was dropped unfinished");
}

#[tokio::test(start_paused = true)]
async fn a_stream_ends_by_the_flags_of_any_frame() {
    let (mut client, _connection, mut accept) = connect();
    client.syn(1, FIN).await;
    assert_eq!(client.next().await, Some(Sent::Reply(1, false)));
    let mut opened_finished = accept.next().await.unwrap();
    assert_eq!(opened_finished.reader.read().await.unwrap(), None);
    opened_finished.writer.write(bytes("hello")).await.unwrap();
    assert_eq!(client.next().await, Some(Sent::Data(1, bytes("hello"), false)));

    let mut by_headers = client.open(3, &mut accept).await;
    let block = client.deflater.block(&[("trailer", "x")]);
    client.send(headers(3, FIN, &block)).await;
    assert_eq!(by_headers.reader.read().await.unwrap(), None);
    // Its block was read though nobody needs it: the next one refers to what was before.
    client.open(5, &mut accept).await;
}

#[tokio::test(start_paused = true)]
async fn a_unidirectional_stream_takes_nothing_from_here() {
    let (mut client, _connection, mut accept) = connect();
    client.syn(1, UNIDIRECTIONAL).await;
    assert_eq!(client.next().await, Some(Sent::Reply(1, true)));
    let mut stream = accept.next().await.unwrap();
    assert!(matches!(stream.writer.write(bytes("no")).await, Err(StreamError::Finished)));
    client.send(data(1, FIN, b"yes")).await;
    assert_eq!(stream.reader.read().await.unwrap().unwrap(), "yes");
    assert_eq!(stream.reader.read().await.unwrap(), None);
}

#[tokio::test(start_paused = true)]
async fn a_reset_by_the_peer_ends_both_directions_and_drops_what_was_not_finished() {
    let (mut client, connection, mut accept) = connect();
    let mut stream = client.open(1, &mut accept).await;
    client.send([data(1, 0, b"never read"), rst_stream(1, 5)].concat()).await;
    settle().await;
    assert!(matches!(stream.reader.read().await, Err(StreamError::Reset(Status::CANCEL))));
    assert!(matches!(stream.writer.write(bytes("no")).await, Err(StreamError::Reset(Status::CANCEL))));
    assert_eq!(connection.streams.lock().held(), 0);

    let mut finished = client.open(3, &mut accept).await;
    client.send([data(3, FIN, b"all of it"), rst_stream(3, 5)].concat()).await;
    settle().await;
    assert_eq!(finished.reader.read().await.unwrap().unwrap(), "all of it");
    assert_eq!(finished.reader.read().await.unwrap(), None);
    assert!(matches!(finished.writer.write(bytes("no")).await, Err(StreamError::Reset(Status::CANCEL))));

    drop((stream, finished));
    assert_eq!(connection.streams.lock().count(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_waits_learns_of_a_reset_from_either_side() {
    let (mut client, _connection, mut accept) = connect();
    let mut stream = client.open(1, &mut accept).await;
    let mut read = Box::pin(stream.reader.read());
    assert!(poll!(&mut read).is_pending());
    stream.writer.reset(Status::INTERNAL_ERROR);
    assert!(matches!(read.await, Err(StreamError::Reset(Status::INTERNAL_ERROR))));
    assert_eq!(client.next().await, Some(Sent::Reset(1, Status::INTERNAL_ERROR)));

    let mut stream = client.open(3, &mut accept).await;
    let mut read = Box::pin(stream.reader.read());
    assert!(poll!(&mut read).is_pending());
    client.send(rst_stream(3, 1)).await;
    assert!(matches!(read.await, Err(StreamError::Reset(Status::PROTOCOL_ERROR))));
}

#[tokio::test(start_paused = true)]
async fn dropping_the_handles_sends_what_was_finished_and_resets_the_rest() {
    let (mut client, connection, mut accept) = connect();
    let mut stream = client.open(1, &mut accept).await;
    stream.writer.write(bytes("last words")).await.unwrap();
    stream.writer.finish();
    drop(stream);
    assert_eq!(client.next().await, Some(Sent::Data(1, bytes("last words"), true)));
    assert_eq!(client.next().await, Some(Sent::Reset(1, Status::CANCEL)), "what the peer would send is not read");
    assert_eq!(connection.streams.lock().count(), 0);

    // One handle is enough to keep a stream.
    let stream = client.open(3, &mut accept).await;
    drop(stream.reader);
    client.send(data(3, FIN, b"into the void")).await;
    let mut writer = stream.writer;
    writer.write(bytes("still here")).await.unwrap();
    assert_eq!(client.next().await, Some(Sent::Data(3, bytes("still here"), false)));
    assert_eq!(connection.streams.lock().held(), 0);
    writer.finish();
    assert_eq!(client.read_stream(3).await, b"");
}

#[tokio::test(start_paused = true)]
async fn after_goaway_streams_go_on_and_new_ones_are_refused_until_all_are_over() {
    let (mut client, connection, mut accept) = connect();
    let mut stream = client.open(1, &mut accept).await;
    client.send(goaway()).await;
    assert!(accept.next().await.is_none());
    client.syn(3, 0).await;
    assert_eq!(client.next().await, Some(Sent::Reset(3, Status::REFUSED_STREAM)));

    client.send(data(1, FIN, b"question")).await;
    assert_eq!(stream.reader.read().await.unwrap().unwrap(), "question");
    stream.writer.write(bytes("answer")).await.unwrap();
    stream.writer.finish();
    assert_eq!(client.read_stream(1).await, b"answer");
    assert_eq!(client.next().await, Some(Sent::GoAway));
    drop(client);
    assert!(matches!(connection.closed().await, Ended::ByPeer));
}

#[tokio::test(start_paused = true)]
async fn a_stream_opened_before_goaway_in_the_same_read_is_served() {
    let (mut client, _connection, mut accept) = connect();
    let block = client.deflater.block(&[("streamtype", "x")]);
    client.send([super::client::syn_stream(1, FIN, &block), goaway()].concat()).await;
    assert_eq!(client.next().await, Some(Sent::Reply(1, false)));
    let mut stream = accept.next().await.expect("it came before");
    assert!(accept.next().await.is_none());
    stream.writer.finish();
    assert_eq!(client.read_stream(1).await, b"");
    assert_eq!(client.next().await, Some(Sent::GoAway));
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_vanishes_ends_everything() {
    let (mut client, connection, mut accept) = connect();
    let mut stream = client.open(1, &mut accept).await;
    client.send(data(1, 0, b"bye")).await;
    settle().await;
    drop(client);
    assert!(matches!(connection.closed().await, Ended::ByPeer));
    assert!(accept.next().await.is_none());
    assert_eq!(stream.reader.read().await.unwrap().unwrap(), "bye", "what was received can be read");
    assert!(matches!(stream.reader.read().await, Err(StreamError::Connection(Ended::ByPeer))));
    assert!(matches!(stream.writer.write(bytes("no")).await, Err(StreamError::Connection(Ended::ByPeer))));
}

/// A transport that cannot be read.
struct Unreadable(io::ErrorKind);

impl AsyncRead for Unreadable {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Err(self.0.into()))
    }
}

#[tokio::test(start_paused = true)]
async fn a_transport_that_fails_ends_the_connection() {
    let failing = |kind| Connection::new(tokio::io::join(Unreadable(kind), tokio::io::sink()), Limits::new(1)).0;
    assert!(matches!(failing(io::ErrorKind::UnexpectedEof).closed().await, Ended::ByPeer), "TLS cut off");
    let ended = failing(io::ErrorKind::ConnectionReset).closed().await;
    assert_eq!(ended.to_string(), "the SPDY connection broke: connection reset");
}

#[tokio::test(start_paused = true)]
async fn a_dropped_connection_ends_everything() {
    let (mut client, connection, mut accept) = connect();
    let mut stream = client.open(1, &mut accept).await;
    drop(connection);
    assert!(matches!(stream.reader.read().await, Err(StreamError::Connection(Ended::Closed))));
    assert!(accept.next().await.is_none());
    assert_eq!(client.next().await, None);
}

#[tokio::test(start_paused = true)]
async fn pings_of_the_peer_are_answered_and_keep_the_connection() {
    let (mut client, connection, mut accept) = connect();
    let _stream = client.open(1, &mut accept).await;
    let idle = Limits::new(1).idle_timeout;
    for id in [1, 3, 5] {
        sleep(idle - Duration::from_secs(1)).await;
        client.send(ping(id)).await;
        assert_eq!(client.next().await, Some(Sent::Ping(id)));
    }
    let last = Instant::now();
    // The answer to a ping of ours, were there one, is not answered.
    client.send(ping(2)).await;
    assert_eq!(client.next().await, Some(Sent::Reset(1, Status::CANCEL)));
    assert_eq!(last.elapsed().as_secs(), idle.as_secs());
    assert_eq!(client.next().await, Some(Sent::GoAway));
    drop(client);
    assert!(matches!(connection.closed().await, Ended::Idle));
}

#[tokio::test(start_paused = true)]
async fn bytes_that_nobody_expects_are_dropped() {
    let (mut client, connection, mut accept) = connect();
    client.send(data(9, 0, b"no such stream")).await;
    let mut stream = client.open(11, &mut accept).await;
    client.send([data(11, FIN, b"all"), data(11, FIN, b"after the end"), data(13, 0, b"not yet")].concat()).await;
    settle().await;
    assert_eq!(stream.reader.read().await.unwrap().unwrap(), "all");
    assert_eq!(stream.reader.read().await.unwrap(), None);
    assert_eq!(connection.streams.lock().held(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_is_not_read_stops_the_reading_of_the_socket_and_loses_nothing() {
    let (mut client, connection, mut accept) = connect_over(1000, Limits { stream_buffer: 10_000, ..Limits::new(8) });
    let mut stream = client.open(1, &mut accept).await;
    let sent: Vec<u8> = (0..100_000u32).map(|n| (n % 251) as u8).collect();
    let frame = data(1, FIN, &sent);
    let mut sending = Box::pin(client.send(frame));
    // A minute in which the sender gets no further.
    assert!(timeout(Duration::from_secs(60), &mut sending).await.is_err());
    let held = connection.streams.lock().held();
    assert!((10_000..10_000 + 32 * 1024).contains(&held), "{held}");

    let mut read = Vec::new();
    let reading = async {
        while let Some(bytes) = stream.reader.read().await.unwrap() {
            read.extend_from_slice(&bytes);
        }
    };
    tokio::join!(reading, sending);
    assert_eq!(read, sent);
}

#[tokio::test(start_paused = true)]
async fn a_reader_may_wait_for_the_end_of_its_stream_alone() {
    let (mut client, connection, mut accept) = connect();
    let mut stream = client.open(1, &mut accept).await;
    client.send(data(1, FIN, b"unread")).await;
    settle().await;
    assert!(stream.reader.broken().now_or_never().is_none(), "the end of what is sent is no end");
    assert!(!stream.writer.is_reset());
    client.send(rst_stream(1, 5)).await;
    stream.reader.broken().await;
    assert!(stream.writer.is_reset());
    let mut other = client.open(3, &mut accept).await;
    let mut broken = Box::pin(other.reader.broken());
    assert!(poll!(&mut broken).is_pending());
    drop((client, connection));
    broken.await;
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_vanishes_while_its_socket_is_not_read_is_noticed() {
    let (mut client, connection, mut accept) = connect_over(1000, Limits { stream_buffer: 100, ..Limits::new(8) });
    let mut stream = client.open(1, &mut accept).await;
    client.send(data(1, 0, &[7; 100])).await;
    // Pings come, while nothing is read.
    assert_eq!(client.next().await, Some(Sent::Ping(2)));
    assert_eq!(client.next().await, Some(Sent::Ping(4)));
    drop(client);
    let ended = timeout(Duration::from_secs(60), connection.closed()).await.expect("noticed");
    assert!(matches!(ended, Ended::Broken(_)), "{ended}");
    assert_eq!(stream.reader.read().await.unwrap().unwrap().len(), 100);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_writes_little_does_not_wait_for_one_that_writes_much() {
    let (mut client, _connection, mut accept) = connect_over(1000, Limits::new(8));
    let mut much = client.open(1, &mut accept).await;
    let mut little = client.open(3, &mut accept).await;
    much.writer.write(Bytes::from(vec![7; 10_000_000])).await.unwrap();
    settle().await;
    little.writer.write(bytes("me too")).await.unwrap();
    let mut before = 0;
    loop {
        match client.next().await.unwrap() {
            Sent::Data(1, bytes, _) => before += bytes.len(),
            Sent::Data(3, bytes, _) => break assert_eq!(bytes, "me too"),
            other => panic!("{other:?}"),
        }
    }
    // The frame that was being written and the next one, at most.
    assert!(before <= 64 * 1024, "{before}");
}

#[tokio::test(start_paused = true)]
async fn tiny_writes_that_wait_for_the_peer_go_together() {
    let (mut client, _connection, mut accept) = connect_over(100, Limits::new(8));
    let mut stream = client.open(1, &mut accept).await;
    let written: Vec<u8> = (0..20_000u32).map(|n| (n % 251) as u8).collect();
    for byte in &written {
        stream.writer.write(Bytes::copy_from_slice(&[*byte])).await.unwrap();
    }
    stream.writer.finish();
    let mut wire = Vec::new();
    while !wire.ends_with(&written[19_000..]) {
        client.transport.read_buf(&mut wire).await.unwrap();
    }
    assert!(wire.len() < written.len() + 100 * 8, "{} bytes", wire.len());
}

#[tokio::test(start_paused = true)]
async fn once_no_streams_are_expected_their_headers_are_not_looked_at() {
    let (mut client, _connection, mut accept) = connect();
    let mut stream = client.open(1, &mut accept).await;
    drop(accept);
    settle().await;
    client.send(super::client::syn_stream(3, 0, b"nothing that inflates")).await;
    assert_eq!(client.next().await, Some(Sent::Reset(3, Status::REFUSED_STREAM)));
    client.send([headers(1, 0, b"neither"), data(1, 0, b"goes on")].concat()).await;
    assert_eq!(stream.reader.read().await.unwrap().unwrap(), "goes on");
}

#[tokio::test(start_paused = true)]
async fn streams_that_nobody_accepted_are_reset_when_no_more_are_expected() {
    let (mut client, connection, accept) = connect();
    client.syn(1, 0).await;
    assert_eq!(client.next().await, Some(Sent::Reply(1, false)));
    drop(accept);
    assert_eq!(client.next().await, Some(Sent::Reset(1, Status::CANCEL)));
    assert_eq!(connection.streams.lock().count(), 0);
}

#[tokio::test(start_paused = true)]
async fn more_streams_than_allowed_are_refused_until_others_are_dropped() {
    let (mut client, _connection, mut accept) = connect_over(1000, Limits::new(2));
    let first = client.open(1, &mut accept).await;
    let _second = client.open(3, &mut accept).await;
    client.syn(5, 0).await;
    assert_eq!(client.next().await, Some(Sent::Reset(5, Status::REFUSED_STREAM)));
    // Reset by the peer, but still held here.
    client.send(rst_stream(1, 5)).await;
    client.syn(7, 0).await;
    assert_eq!(client.next().await, Some(Sent::Reset(7, Status::REFUSED_STREAM)));
    drop(first);
    client.open(9, &mut accept).await;
}

#[tokio::test(start_paused = true)]
async fn reads_and_writes_that_are_given_up_lose_and_repeat_nothing() {
    let (mut client, _connection, mut accept) = connect_over(100, Limits::new(8));
    let mut stream = client.open(1, &mut accept).await;
    assert!(stream.reader.read().now_or_never().is_none());
    client.send(data(1, 0, b"for the second read")).await;
    assert_eq!(stream.reader.read().await.unwrap().unwrap(), "for the second read");

    let mut expected = 0;
    // The pipe takes 100 bytes, what waits to be sent is bounded: in the end a write has to wait.
    while stream.writer.write(Bytes::from(vec![7; 1000])).now_or_never().is_some_and(|written| written.is_ok()) {
        expected += 1000;
        settle().await;
    }
    assert!((32_000..100_000).contains(&expected), "{expected}");
    stream.writer.finish();
    assert_eq!(client.read_stream(1).await.len(), expected);
}

#[tokio::test(start_paused = true)]
async fn a_broken_protocol_ends_the_connection_and_says_so() {
    let (mut client, connection, mut accept) = connect();
    let mut stream = client.open(3, &mut accept).await;
    client.syn(1, 0).await;
    let why = connection.closed().await;
    assert!(matches!(why, Ended::Protocol(ProtocolError::StreamId(1))), "{why}");
    assert_eq!(why.to_string(), "the SPDY connection was given up: the peer sent the invalid stream id 1");
    let error = stream.reader.read().await.unwrap_err();
    assert!(matches!(error, StreamError::Connection(Ended::Protocol(_))), "{error}");
    let mut rest = Vec::new();
    client.transport.read_to_end(&mut rest).await.unwrap();
    // RST_STREAM of what was open, GOAWAY: last good stream 3, PROTOCOL_ERROR.
    assert_eq!(rest, super::golden::bytes("80030003 00000008 00000003 00000005  80030007 00000008 00000003 00000001"));
}
