//! A container's log as a stream of bytes: the loop around [`Logs::read`].
//!
//! The provider reads one piece after the other, each from the cursor that came with the piece before. Without follow
//! the stream ends where the provider says that this is all for now. With follow it goes on until the provider says
//! that the log is complete, or until the run of the container that was asked for is over and, a second later, a read
//! brings nothing.
//!
//! What fails before the first piece is the request's error. What fails later:
//!
//! | error | with follow | without |
//! |---|---|---|
//! | unavailable, exhausted | read again, with back-off; three times when the container has ended | the end |
//! | invalid, for a cursor | begun anew | the end |
//! | others | the end | the end |
//!
//! A provider that was replaced may not read its predecessor's cursor. The log is then read from the moment of the last
//! read: what was written during that read may come twice, and what it had left waiting is lost.
//!
//! A log that ends with an error ends with a line that says so, as a kubelet's does, and breaks the connection off. The
//! line is there because the API server passes a connection that broke off on as a log that is complete.

mod reader;
mod run;
#[cfg(test)]
mod tests;

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use futures::Stream;
use tokio_util::sync::ReusableBoxFuture;
use vk_provider::{Error, LogQuery, Logs};

use reader::Reader;
pub use run::run_of;

/// Says whether the run of the container whose log is followed still goes on. Asked about once a second.
pub type Running = Box<dyn Fn() -> bool + Send + Sync>;

/// Begins to read a log: awaits its first piece. With `follow`, what is written later comes too; of a previous run
/// nothing does.
///
/// # Errors
///
/// That of the first read.
pub async fn open(logs: Arc<dyn Logs>, query: LogQuery, follow: Option<Running>) -> Result<LogStream, Error> {
    let mut reader = Reader::new(logs, query, follow);
    let first = reader.read().await?;
    Ok(LogStream {
        first: Some(first).filter(|bytes| !bytes.is_empty()),
        next: Some(ReusableBoxFuture::new(next(reader))),
    })
}

/// The bytes of a log. An error is the last item, and comes after a line that tells it. Dropped, nothing is read any
/// more.
pub struct LogStream {
    first: Option<Bytes>,
    /// Away once the log has ended.
    next: Option<ReusableBoxFuture<'static, Next>>,
}

/// A piece, and what reads the one after it.
type Next = (Option<io::Result<Bytes>>, Reader);

async fn next(mut reader: Reader) -> Next {
    (reader.next().await, reader)
}

impl Stream for LogStream {
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(Ok(first)));
        }
        let Some(future) = &mut self.next else { return Poll::Ready(None) };
        let (item, reader) = ready!(future.poll(context));
        match item {
            Some(_) => future.set(next(reader)),
            None => self.next = None,
        }
        Poll::Ready(item)
    }
}
