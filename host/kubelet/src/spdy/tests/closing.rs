//! How a connection is closed from here, and what peers make of it.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use futures::poll;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf},
    time::{Instant, sleep},
};

use super::client::{Sent, connect, connect_over, data, ping, settle};
use crate::spdy::{Connection, Ended, Limits, Status, StreamError};

#[tokio::test(start_paused = true)]
async fn close_sends_all_that_was_written_and_waits_for_the_peer() {
    let (mut client, connection, mut accept) = connect_over(100, Limits::new(8));
    let mut done = client.open(1, &mut accept).await;
    let _open = client.open(3, &mut accept).await;
    let written = Bytes::from(vec![7; 20_000]);
    done.writer.write(written.clone()).await.unwrap();
    done.writer.finish();
    let mut close = Box::pin(connection.close());
    assert!(poll!(&mut close).is_pending());
    assert!(accept.next().await.is_none());

    sleep(Duration::from_secs(60)).await;
    // What the peer still sends is dropped, and hinders nothing.
    let block = client.deflater.block(&[("late", "stream")]);
    client.send(data(3, 0, b"late")).await;
    assert_eq!(client.read_stream(1).await, written);
    assert_eq!(client.next().await, Some(Sent::Reset(1, Status::CANCEL)));
    assert_eq!(client.next().await, Some(Sent::Reset(3, Status::CANCEL)));
    assert_eq!(client.next().await, Some(Sent::GoAway));
    client.send(super::client::syn_stream(5, 0, &block)).await;
    settle().await;
    assert!(poll!(&mut close).is_pending(), "the peer has not closed");
    drop(client);
    assert!(matches!(close.await, Ended::Closed));
}

#[tokio::test(start_paused = true)]
async fn close_is_bounded_whatever_the_peer_does() {
    let limits = Limits::new(8);
    // It takes everything and does not close.
    let (mut client, connection, mut accept) = connect();
    let _stream = client.open(1, &mut accept).await;
    let began = Instant::now();
    assert!(matches!(connection.close().await, Ended::Closed));
    assert_eq!(began.elapsed().as_secs(), limits.close_timeout.as_secs());

    // It takes nothing.
    let (mut client, connection, mut accept) = connect_over(100, Limits::new(8));
    let mut stream = client.open(1, &mut accept).await;
    stream.writer.write(Bytes::from(vec![7; 20_000])).await.unwrap();
    let began = Instant::now();
    assert!(matches!(connection.close().await, Ended::Stalled));
    assert!(began.elapsed() <= limits.drain_timeout + limits.close_timeout);

    // It takes a byte now and then, without end.
    let (mut client, connection, mut accept) = connect_over(1, Limits::new(8));
    let mut stream = client.open(1, &mut accept).await;
    stream.writer.write(Bytes::from(vec![7; 20_000])).await.unwrap();
    let began = Instant::now();
    let slow = async {
        loop {
            sleep(Duration::from_secs(30)).await;
            if client.transport.read_u8().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    };
    tokio::select! {
        ended = connection.close() => assert!(matches!(ended, Ended::Stalled)),
        () = slow => unreachable!(),
    }
    assert!(began.elapsed() <= limits.drain_timeout + limits.close_timeout);

    // It takes everything, and pings without end.
    let (mut client, connection, mut accept) = connect();
    let _stream = client.open(1, &mut accept).await;
    let began = Instant::now();
    let pings = async {
        loop {
            sleep(Duration::from_secs(7)).await;
            client.send(ping(1)).await;
        }
    };
    tokio::select! {
        ended = connection.close() => assert!(matches!(ended, Ended::Closed)),
        () = pings => unreachable!(),
    }
    assert_eq!(began.elapsed().as_secs(), limits.drain_timeout.as_secs());
}

#[tokio::test(start_paused = true)]
async fn what_carries_the_connection_has_time_to_close_after_a_peer_that_does_not() {
    let (near, _far) = tokio::io::duplex(1024);
    let (said, was_said) = tokio::sync::watch::channel(false);
    let closing = SlowToClose { io: near, closed: Box::pin(sleep(Duration::from_secs(11))), said };
    let (connection, _accept) = Connection::new(closing, Limits::new(1));
    connection.close().await;
    assert!(*was_said.borrow(), "cut off while it closed");
}

/// Whose shutdown takes until a time.
struct SlowToClose {
    io: tokio::io::DuplexStream,
    closed: Pin<Box<tokio::time::Sleep>>,
    said: tokio::sync::watch::Sender<bool>,
}

impl AsyncRead for SlowToClose {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl AsyncWrite for SlowToClose {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        std::task::ready!(self.closed.as_mut().poll(cx));
        self.said.send_replace(true);
        Poll::Ready(Ok(()))
    }
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_reads_nothing_is_given_up() {
    let (mut client, connection, mut accept) = connect_over(100, Limits::new(8));
    let mut stream = client.open(1, &mut accept).await;
    let began = Instant::now();
    let error = loop {
        if let Err(error) = stream.writer.write(Bytes::from(vec![7; 1000])).await {
            break error;
        }
        assert!(connection.streams.lock().held() <= 64 * 1024);
    };
    assert!(matches!(error, StreamError::Connection(Ended::Stalled)), "{error}");
    assert_eq!(began.elapsed().as_secs(), Limits::new(1).write_timeout.as_secs());
}
