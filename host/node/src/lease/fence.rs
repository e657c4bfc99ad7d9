//! Keeps a host that does not know whether it holds the lease from changing anything.

use std::future::pending;

use tokio::{sync::watch, time::Instant};

use super::STILL_FOR;

/// Open while it is certain that nobody else has taken the lease. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Fence(watch::Receiver<Option<Instant>>);

impl Fence {
    /// A closed fence, and what opens it: the moment of the last renewal.
    pub(super) fn new() -> (watch::Sender<Option<Instant>>, Self) {
        let (renewed, receiver) = watch::channel(None);
        (renewed, Self(receiver))
    }

    /// One that is always open.
    #[cfg(test)]
    pub(crate) fn none() -> Self {
        Self(watch::channel(Some(Instant::now() + std::time::Duration::from_secs(1 << 32))).1)
    }

    /// Waits until it is open; once the lease is lost, for ever.
    pub(crate) async fn open(&self) {
        let certain = |renewed: &Option<Instant>| renewed.is_some_and(|at| at.elapsed() < STILL_FOR);
        if self.0.clone().wait_for(certain).await.is_err() {
            pending().await
        }
    }
}
