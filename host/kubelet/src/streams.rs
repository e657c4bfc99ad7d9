//! What the connections of exec, attach and port-forward have in common.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::{Instant, sleep_until};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// How long the connections of exec, attach and port-forward may take for things.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamLimits {
    /// A connection on which nothing came or went for so long, pings included, is closed.
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
