//! How long to wait before the next try.

use std::time::Duration;

use rand::RngExt;

/// Exponential back-off with jitter, from one second to five minutes.
///
/// Each wait lies between half of the step and the step, so that pods that failed together do not come back together.
#[derive(Debug)]
pub(crate) struct Backoff {
    step: Duration,
    cap: Duration,
}

/// The first step, and the least that a provider's `retry-after` is taken for.
pub(crate) const SHORTEST: Duration = Duration::from_secs(1);
/// The last step, and the most that a provider's `retry-after` is taken for.
pub(crate) const LONGEST: Duration = Duration::from_secs(300);

impl Backoff {
    /// Up to five minutes, for a backend that should not be pestered.
    pub(crate) fn new() -> Self {
        Self::capped(LONGEST)
    }

    /// Up to `cap`, where somebody waits for the outcome.
    pub(crate) fn capped(cap: Duration) -> Self {
        Self { step: SHORTEST, cap }
    }

    /// The next wait; the one after it is twice as long.
    pub(crate) fn next(&mut self) -> Duration {
        let step = self.step;
        self.step = (step * 2).min(self.cap);
        step.mul_f64(rand::rng().random_range(0.5..=1.0))
    }

    /// The next wait after an error that may say by itself when to come back.
    pub(crate) fn after(&mut self, error: &vk_provider::Error) -> Duration {
        let step = self.next();
        match error.retry_after {
            // Never earlier than told, and not all at once.
            Some(wanted) => wanted.clamp(SHORTEST, LONGEST).mul_f64(rand::rng().random_range(1.0..=1.25)).min(LONGEST),
            None => step,
        }
    }

    /// Something succeeded: the next failure starts from the first step.
    pub(crate) fn reset(&mut self) {
        self.step = SHORTEST;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vk_provider::{Error, ErrorKind};

    #[test]
    fn waits_double_up_to_the_cap_and_are_never_shorter_than_half_a_step() {
        let mut backoff = Backoff::capped(Duration::from_secs(10));
        for step in [1, 2, 4, 8, 10, 10].map(Duration::from_secs) {
            let wait = backoff.next();
            assert!(wait >= step / 2 && wait <= step, "{wait:?} for a step of {step:?}");
        }
        backoff.reset();
        assert!(backoff.next() <= SHORTEST);
    }

    #[test]
    fn a_retry_after_wins_over_the_step_but_is_clamped() {
        let mut backoff = Backoff::new();
        for (given, least) in [(0, 1), (30, 30), (86_400, 300)] {
            let error =
                Error { retry_after: Some(Duration::from_secs(given)), ..Error::new(ErrorKind::Exhausted, "quota") };
            let (wait, least) = (backoff.after(&error), Duration::from_secs(least));
            assert!(wait >= least && wait <= least.mul_f64(1.25).min(LONGEST), "{wait:?} for {given} s");
        }
    }
}
