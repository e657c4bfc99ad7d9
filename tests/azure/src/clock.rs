//! The time in the simulator: that of the machine, and as much further as tests have moved it.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use tokio::sync::watch;

#[derive(Debug)]
pub(crate) struct Clock {
    /// How far it is ahead of the machine's.
    ahead: watch::Sender<Duration>,
    /// The latest time that was told: the machine's clock may be set back, this one never goes back.
    latest: Mutex<Timestamp>,
}

impl Clock {
    pub(crate) fn new() -> Self {
        Self { ahead: watch::Sender::new(Duration::ZERO), latest: Mutex::new(Timestamp::UNIX_EPOCH) }
    }

    pub(crate) fn now(&self) -> Timestamp {
        let now = after(Timestamp::now(), *self.ahead.borrow());
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        *latest = now.max(*latest);
        *latest
    }

    pub(crate) fn advance(&self, by: Duration) {
        self.ahead.send_modify(|ahead| *ahead = ahead.saturating_add(by));
    }

    /// Returns once a time has come, be it by waiting or by [`advance`](Self::advance).
    pub(crate) async fn reach(&self, time: Timestamp) {
        let mut moved = self.ahead.subscribe();
        loop {
            moved.mark_unchanged();
            let left = left(self.now(), time);
            if left.is_zero() {
                return;
            }
            tokio::select! {
                () = tokio::time::sleep(left) => {}
                _moved = moved.changed() => {}
            }
        }
    }
}

/// A time so much later, or the last there is.
pub(crate) fn after(time: Timestamp, by: Duration) -> Timestamp {
    time.checked_add(by).unwrap_or(Timestamp::MAX)
}

/// How long from one time until another; zero if that has passed.
pub(crate) fn left(from: Timestamp, until: Timestamp) -> Duration {
    Duration::try_from(until.duration_since(from)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_time_is_reached_by_moving_the_clock() {
        let clock = Clock::new();
        let start = clock.now();
        let hour = Duration::from_secs(3600);
        let reached = clock.reach(after(start, hour));
        tokio::pin!(reached);
        assert!(futures::poll!(reached.as_mut()).is_pending());
        clock.advance(hour / 2);
        assert!(futures::poll!(reached.as_mut()).is_pending());
        clock.advance(hour / 2);
        reached.await;
        assert!(left(start, clock.now()) >= hour);
    }
}
