//! What the connections of exec, attach and port-forward have in common.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::spdy::{self, Connection};

/// How long the connections of exec, attach and port-forward may take for things.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamLimits {
    /// A connection on which nothing came or went for so long, pings included, is closed; so is one whose client took
    /// nothing of what waits for it.
    pub idle: Duration,
    /// A SPDY client has so long to create the streams of a session.
    pub creation: Duration,
}

/// As the kubelet has them.
impl Default for StreamLimits {
    fn default() -> Self {
        Self { idle: Duration::from_secs(4 * 60 * 60), creation: Duration::from_secs(30) }
    }
}

/// A peer has so long to take what is left to send when a session is over; a pager may be in its way.
pub(crate) const DRAIN: Duration = Duration::from_secs(15 * 60);
/// It may be silent for so long once it was sent all, and has so long when the node stops.
pub(crate) const CLOSE: Duration = Duration::from_secs(10);

/// What serves the connections of exec, attach and port-forward.
#[derive(Debug, Clone)]
pub(crate) struct Streams {
    /// How long they may take.
    pub(crate) limits: StreamLimits,
    /// Counts what runs for them: connections and sessions.
    pub(crate) tasks: TaskTracker,
    /// Cancelled when the node stops. A connection of port-forward then takes no more and ends with its last session;
    /// sessions themselves are ended by those who run them.
    pub(crate) stop: CancellationToken,
}

impl Streams {
    /// Closes a connection whose sessions are over.
    pub(crate) async fn close(&self, connection: &Connection) {
        tokio::select! {
            _ = connection.close() => {}
            () = async { drained(&self.stop).await; sleep(CLOSE).await } => {}
        }
    }

    /// What a SPDY connection may take, with so many streams at once.
    pub(crate) fn spdy_limits(&self, streams: usize) -> spdy::Limits {
        spdy::Limits {
            idle_timeout: self.limits.idle,
            write_timeout: self.limits.idle,
            drain_timeout: DRAIN,
            close_timeout: CLOSE,
            ..spdy::Limits::new(streams)
        }
    }
}

/// When something last came or went.
pub(crate) struct Activity(Mutex<Instant>);

impl Activity {
    /// Something did just now.
    pub(crate) fn new() -> Self {
        Self(Mutex::new(Instant::now()))
    }

    /// Something does now.
    pub(crate) fn note(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// Is over when nothing has for so long.
    pub(crate) async fn idle(&self, limit: Duration) {
        loop {
            let end = *self.0.lock().unwrap_or_else(PoisonError::into_inner) + limit;
            if end <= Instant::now() {
                return;
            }
            sleep_until(end).await;
        }
    }
}

/// Is over when a peer has had its time to take what is left, which is short when the node stops.
pub(crate) async fn drained(stop: &CancellationToken) {
    tokio::select! {
        () = sleep(DRAIN) => {}
        () = stop.cancelled() => sleep(CLOSE).await,
    }
}
