//! What is done with a connection's streams.

use std::future::poll_fn;

use bytes::Bytes;

use super::{Headers, Status, StreamError, streams::Shared};

/// The streams that a peer opens.
///
/// Dropping it says that no more are expected: they are refused, and what it takes to read their headers is freed.
#[derive(Debug)]
pub struct Accept {
    pub(super) streams: Shared,
}

/// A stream that the peer opened, and that was replied to.
#[derive(Debug)]
pub struct Incoming {
    /// Odd, and higher than those before.
    pub id: u32,
    /// What the peer says of it.
    pub headers: Headers,
    /// What the peer sends.
    pub reader: Reader,
    /// What goes to the peer.
    pub writer: Writer,
}

/// The peer's half of a stream. What comes after it was dropped is dropped too.
///
/// When both it and the [`Writer`] were dropped, and the stream is not over, it is reset, with the status CANCEL; after
/// all that was written, if the writer was finished.
#[derive(Debug)]
pub struct Reader {
    streams: Shared,
    id: u32,
}

/// Our half of a stream.
#[derive(Debug)]
pub struct Writer {
    streams: Shared,
    id: u32,
}

impl Accept {
    /// The next stream. None once the peer opens no more, or the connection ends. May be dropped and called again
    /// without loss.
    pub async fn next(&mut self) -> Option<Incoming> {
        let (id, headers) = poll_fn(|context| self.streams.lock().poll_accept(context)).await?;
        let reader = Reader { streams: self.streams.clone(), id };
        let writer = Writer { streams: self.streams.clone(), id };
        Some(Incoming { id, headers, reader, writer })
    }
}

impl Drop for Accept {
    fn drop(&mut self) {
        self.streams.lock().accept_no_more();
    }
}

impl Reader {
    /// The next bytes, never none; `None` when the peer has sent all. May be dropped and called again without loss.
    ///
    /// # Errors
    ///
    /// If the stream was reset or the connection ended before the peer had sent all.
    pub async fn read(&mut self) -> Result<Option<Bytes>, StreamError> {
        poll_fn(|context| self.streams.lock().poll_read(self.id, context)).await
    }

    /// Waits until the stream is reset or the connection ends, also after the peer has sent all, and whatever is unread.
    pub async fn broken(&mut self) {
        poll_fn(|context| self.streams.lock().poll_broken(self.id, context)).await;
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.streams.lock().drop_reader(self.id);
    }
}

impl Writer {
    /// Sends bytes. Waits while those before are unsent, except for a few, and not until these are sent. If it is
    /// dropped before it is done, nothing of them is sent.
    ///
    /// # Errors
    ///
    /// If the stream was reset or finished, or the connection ended or is being closed.
    pub async fn write(&mut self, mut bytes: Bytes) -> Result<(), StreamError> {
        poll_fn(|context| self.streams.lock().poll_write(self.id, &mut bytes, context)).await
    }

    /// Says that this was all. The peer hears it after all that was written.
    pub fn finish(&mut self) {
        self.streams.lock().finish(self.id);
    }

    /// Waits until all that was written is sent, with the end if it was finished, or will never be.
    pub async fn sent(&mut self) {
        poll_fn(|context| self.streams.lock().poll_sent(self.id, context)).await;
    }

    /// Whether the stream was reset, by the peer or from here.
    pub fn is_reset(&self) -> bool {
        self.streams.lock().is_reset(self.id)
    }

    /// Resets the stream, in both directions. What was not yet sent or read is lost.
    pub fn reset(&mut self, status: Status) {
        self.streams.lock().reset(self.id, status);
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.streams.lock().drop_writer(self.id);
    }
}
