//! How long a call computes, as opposed to waits.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    time::{Duration, Instant},
};

/// Measures one instance. A guest computes only while the future of its call is polled, so the time spent in polls is
/// what it computes; the epoch callback, which runs inside of a poll, compares it with the budget.
///
/// The time is the thread's wall clock: on a machine with more runnable threads than processors, it includes what the
/// operating system gives to others.
#[derive(Debug)]
pub(crate) struct Meter {
    origin: Instant,
    budget: AtomicU64,
    spent: AtomicU64,
    /// When the present poll began, in nanoseconds since `origin`.
    entered: AtomicU64,
    exceeded: AtomicBool,
}

impl Meter {
    pub(crate) fn new() -> Self {
        Self {
            origin: Instant::now(),
            budget: AtomicU64::new(0),
            spent: AtomicU64::new(0),
            entered: AtomicU64::new(0),
            exceeded: AtomicBool::new(false),
        }
    }

    /// Begins a call that may compute for `budget`.
    pub(crate) fn begin(&self, budget: Duration) {
        self.budget.store(nanoseconds(budget), Relaxed);
        self.spent.store(0, Relaxed);
        self.exceeded.store(false, Relaxed);
    }

    /// Whether the call has spent its budget. Only meaningful during a poll of [`measure`](Self::measure).
    pub(crate) fn check(&self) -> bool {
        let here = self.now().saturating_sub(self.entered.load(Relaxed));
        let exceeded = self.spent.load(Relaxed).saturating_add(here) > self.budget.load(Relaxed);
        if exceeded {
            self.exceeded.store(true, Relaxed);
        }
        exceeded
    }

    /// Whether [`check`](Self::check) found the budget spent in this call.
    pub(crate) fn exceeded(&self) -> bool {
        self.exceeded.load(Relaxed)
    }

    /// Runs a future and counts the time of its polls.
    pub(crate) async fn measure<F: Future>(&self, future: F) -> F::Output {
        let mut future = pin!(future);
        poll_fn(|context| {
            let entered = self.now();
            self.entered.store(entered, Relaxed);
            let poll = future.as_mut().poll(context);
            self.spent.fetch_add(self.now().saturating_sub(entered), Relaxed);
            poll
        })
        .await
    }

    fn now(&self) -> u64 {
        nanoseconds(self.origin.elapsed())
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn busy(duration: Duration) {
        let begin = Instant::now();
        while begin.elapsed() < duration {
            std::hint::spin_loop();
        }
    }

    #[tokio::test]
    async fn computing_counts_and_waiting_does_not() {
        let meter = Meter::new();
        meter.begin(Duration::from_millis(20));
        meter
            .measure(async {
                tokio::time::sleep(Duration::from_millis(60)).await;
                assert!(!meter.check(), "waiting was counted");
                busy(Duration::from_millis(15));
                tokio::task::yield_now().await;
                busy(Duration::from_millis(15));
                assert!(meter.check(), "two polls of 15 ms are less than 20 ms");
            })
            .await;
        assert!(meter.exceeded());
    }

    #[tokio::test]
    async fn each_call_has_its_own_budget() {
        let meter = Meter::new();
        for _ in 0..3 {
            meter.begin(Duration::from_millis(40));
            meter
                .measure(async {
                    busy(Duration::from_millis(15));
                    assert!(!meter.check());
                })
                .await;
        }
    }
}
