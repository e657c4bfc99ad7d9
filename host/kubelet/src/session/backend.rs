//! The backend's connection, as two sides that do not wait for each other.

use std::{future::Future, io, pin::Pin};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::{
    SinkExt, StreamExt,
    stream::{SplitSink, SplitStream},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf},
    time::timeout,
};
use vk_provider::{ByteChannel, Connection, Ending, Message, MessageChannel};

use super::{PATIENCE, lane::Outlet};

/// The most that one read brings, and the most that counts as progress of a write.
pub(super) const CHUNK_BYTES: usize = 64 << 10;

/// What a connection carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Messages of a WebSocket.
    Messages,
    /// Bytes, with half closes.
    Bytes,
}

/// What comes from the backend.
#[derive(Debug)]
pub(super) enum Received {
    Text(String),
    Message(Bytes),
    Bytes(Bytes),
    /// Nothing follows.
    Done(Ending),
}

/// What goes to the backend.
#[derive(Debug)]
pub(super) enum Sending {
    Text(String),
    Binary(Bytes),
    /// Nothing follows.
    Close,
}

/// The side that is read.
pub(super) enum Reader {
    Messages(SplitStream<Pin<Box<dyn MessageChannel>>>),
    Bytes(ReadHalf<Box<dyn ByteChannel>>),
}

/// The side that is written.
pub(super) enum Writer {
    Messages(SplitSink<Pin<Box<dyn MessageChannel>>, Message>),
    Bytes(WriteHalf<Box<dyn ByteChannel>>),
}

/// Takes a connection apart.
pub(super) fn split(connection: Connection) -> Option<(Kind, Reader, Writer)> {
    match connection {
        Connection::WebSocket(channel) => {
            let (sink, stream) = channel.split();
            Some((Kind::Messages, Reader::Messages(stream), Writer::Messages(sink)))
        }
        Connection::Bytes(channel) => {
            let (read, write) = tokio::io::split(channel);
            Some((Kind::Bytes, Reader::Bytes(read), Writer::Bytes(write)))
        }
        Connection::None => None,
    }
}

impl Reader {
    /// The next piece. May be dropped without loss. Not to be called again after [`Received::Done`].
    pub(super) async fn next(&mut self) -> Received {
        match self {
            Self::Messages(messages) => match messages.next().await {
                Some(Ok(Message::Text(text))) => Received::Text(text),
                Some(Ok(Message::Binary(bytes))) => Received::Message(bytes),
                Some(Ok(Message::Close(ending))) => Received::Done(ending),
                Some(Err(error)) => broken(&error),
                None => Received::Done(Ending::default()),
            },
            Self::Bytes(bytes) => match read(bytes).await {
                Ok(piece) if piece.is_empty() => Received::Done(Ending::default()),
                Ok(piece) => Received::Bytes(piece),
                Err(error) => broken(&error),
            },
        }
    }
}

fn broken(error: &io::Error) -> Received {
    Received::Done(Ending { code: None, reason: error.to_string() })
}

/// Reads what is there. The buffer lives only while something is there, so that a connection on which nothing comes
/// costs none.
async fn read(from: &mut ReadHalf<Box<dyn ByteChannel>>) -> io::Result<Bytes> {
    std::future::poll_fn(|context| {
        let mut buffer = BytesMut::with_capacity(CHUNK_BYTES);
        let read = std::pin::pin!(from.read_buf(&mut buffer)).poll(context);
        read.map_ok(|length| {
            // A small piece does not hold on to a large buffer.
            if length < CHUNK_BYTES / 4 { Bytes::copy_from_slice(&buffer) } else { buffer.freeze() }
        })
    })
    .await
}

#[async_trait]
impl Outlet for Writer {
    type Item = Sending;

    fn size(item: &Sending) -> usize {
        match item {
            Sending::Text(text) => text.len(),
            Sending::Binary(bytes) => bytes.len(),
            Sending::Close => 0,
        }
    }

    async fn write(&mut self, item: Sending, more: bool) -> io::Result<()> {
        match self {
            Self::Messages(sink) => {
                let message = match item {
                    Sending::Text(text) => Message::Text(text),
                    Sending::Binary(bytes) => Message::Binary(bytes),
                    Sending::Close => Message::Close(Ending { code: Some(NORMAL_CLOSURE), reason: String::new() }),
                };
                timeout(PATIENCE, async { if more { sink.feed(message).await } else { sink.send(message).await } })
                    .await?
            }
            Self::Bytes(write) => {
                let bytes = match item {
                    Sending::Text(text) => Bytes::from(text),
                    Sending::Binary(bytes) => bytes,
                    Sending::Close => return timeout(PATIENCE, write.shutdown()).await?,
                };
                for piece in bytes.chunks(CHUNK_BYTES) {
                    timeout(PATIENCE, write.write_all(piece)).await??;
                }
                if more { Ok(()) } else { timeout(PATIENCE, write.flush()).await? }
            }
        }
    }
}

/// The close code of a WebSocket that did what it was for.
const NORMAL_CLOSURE: u16 = 1000;
