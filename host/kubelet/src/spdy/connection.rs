//! A connection, as its owner has it.

use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::watch,
    task::AbortHandle,
};

use super::{Accept, Ended, Limits, driver::Driver, streams::Shared};

/// A connection of a peer. Dropping it ends it at once.
#[derive(Debug)]
pub struct Connection {
    pub(super) streams: Shared,
    driver: AbortHandle,
    ended: watch::Receiver<Option<Ended>>,
}

impl Connection {
    /// Speaks SPDY over a transport on which both sides have agreed to. Must be called on a tokio runtime, where a task
    /// then moves what is sent and received until the connection ends.
    pub fn new<T>(transport: T, limits: Limits) -> (Self, Accept)
    where
        T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let streams = Shared::new(limits.clone());
        let (sender, ended) = watch::channel(None);
        let driver = Driver::new(transport, limits, streams.clone(), sender);
        let driver = tokio::spawn(driver.run()).abort_handle();
        (Self { streams: streams.clone(), driver, ended }, Accept { streams })
    }

    /// Closes it: sends what was written, resets the streams that are not over, says goodbye and waits for the peer to
    /// close too. A peer that has not taken what was written would lose it otherwise. What the peer still sends is
    /// dropped; nothing more can be written.
    ///
    /// Returns once the transport is closed: at the latest after [`Limits::drain_timeout`], counted from here, and twice
    /// [`Limits::close_timeout`]. May be dropped; the connection then goes on closing for as long as it is not dropped.
    pub async fn close(&self) -> Ended {
        self.streams.lock().close();
        self.closed().await
    }

    /// Waits until it has ended, and says why.
    pub async fn closed(&self) -> Ended {
        let mut ended = self.ended.clone();
        let why = ended.wait_for(Option::is_some).await.ok().and_then(|why| why.clone());
        why.unwrap_or(Ended::Closed)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}
