//! Lines on standard error that show that something long is under way.

use std::io::Write;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval_at};

const EVERY: Duration = Duration::from_secs(15);

/// Awaits `work`, with a line on standard error at its start, every 15 seconds, and at its successful end.
///
/// Written past the test harness's capture of output: who waits for a first build of five minutes wants to see it.
pub async fn during<T, E>(what: &str, work: impl Future<Output = Result<T, E>>) -> Result<T, E> {
    let start = Instant::now();
    let mut ticks = interval_at(start + EVERY, EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    line(&format!("{what} ..."));
    tokio::pin!(work);
    loop {
        tokio::select! {
            outcome = &mut work => {
                if outcome.is_ok() {
                    line(&format!("{what} ... done in {}", short(start.elapsed())));
                }
                return outcome;
            }
            _ = ticks.tick() => line(&format!("{what} ... {}", short(start.elapsed()))),
        }
    }
}

fn line(text: &str) {
    // A closed standard error is no reason to stop.
    let _ = writeln!(std::io::stderr(), "{text}");
}

fn short(elapsed: Duration) -> String {
    match elapsed.as_secs() {
        0 => format!("{:.1}s", elapsed.as_secs_f64()),
        seconds @ 1..60 => format!("{seconds}s"),
        seconds => format!("{}m{:02}s", seconds / 60, seconds % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elapsed_time_reads_as_one_would_say_it() {
        let cases = [(300, "0.3s"), (999, "1.0s"), (8_900, "8s"), (60_000, "1m00s"), (278_000, "4m38s")];
        for (millis, expected) in cases {
            assert_eq!(short(Duration::from_millis(millis)), expected);
        }
    }
}
