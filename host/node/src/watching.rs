//! How a watch that broke is begun anew.

use std::time::Duration;

use kube::runtime::utils;

use crate::pods::Backoff;

/// The longest pause. kube's own grows to a minute, in which a node that the API server has come back for does nothing.
const LONGEST: Duration = Duration::from_secs(5);

/// The pauses between two attempts of a watch.
pub(crate) struct Pauses(Backoff);

/// From half a second to five, with jitter.
pub(crate) fn pauses() -> Pauses {
    Pauses(Backoff::capped(LONGEST))
}

impl Iterator for Pauses {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        Some(self.0.next())
    }
}

impl utils::Backoff for Pauses {
    fn reset(&mut self) {
        self.0.reset();
    }
}
