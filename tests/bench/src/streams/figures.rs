//! The table of what was measured of streams.

use std::{fmt, time::Duration};

use super::{Sizes, exec::RoundTrips, followers::Followers, transfer::Forwards};
use crate::figures::{Spread, percentile};

/// Bytes a second, of each transfer.
#[derive(Debug, Default)]
pub(crate) struct Rates {
    pub(crate) host: Vec<f64>,
    pub(crate) stub: Vec<f64>,
}

/// Everything.
pub(crate) struct Report {
    pub(crate) sizes: Sizes,
    pub(crate) execs: RoundTrips,
    pub(crate) logs: Rates,
    pub(crate) forwards: Forwards,
    /// Bytes for each session.
    pub(crate) idle: f64,
    pub(crate) followers: Followers,
}

/// The most that vk-host may take for an exec more than the stub, in milliseconds.
const EXEC_GOAL: f64 = 15.0;
/// The least of the plain copy's rate that a forwarded port must have.
const FORWARD_GOAL: f64 = 0.6;
/// The most that an idle session may take, in kB.
const IDLE_GOAL: f64 = 50.0;

/// A line of the table.
struct Row {
    what: String,
    stub: Option<f64>,
    host: f64,
    digits: usize,
    /// What the goal is about, as shown, the goal, and whether it is reached.
    goal: Option<(String, String, bool)>,
}

impl fmt::Display for Report {
    /// As Markdown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| figure | stub | vk-host | | goal | |\n|---|---:|---:|---:|---|---|")?;
        for Row { what, stub, host, digits, goal } in self.rows() {
            let stub = stub.map(|stub| format!("{stub:.digits$}")).unwrap_or_default();
            let (compared, goal, verdict) = match goal {
                Some((compared, goal, reached)) => (compared, goal, if reached { "met" } else { "MISSED" }),
                None => (String::new(), String::new(), ""),
            };
            writeln!(f, "| {what} | {stub} | {host:.digits$} | {compared} | {goal} | {verdict} |")?;
        }
        Ok(())
    }
}

impl Report {
    fn rows(&self) -> Vec<Row> {
        let Sizes { sessions, followers, .. } = self.sizes;
        let alone = |what: String, host, digits| Row { what, stub: None, host, digits, goal: None };
        vec![
            self.exec("p50", 0.5),
            self.exec("p99", 0.99),
            beside("log, MB/s", &self.logs, None),
            beside("port-forward down, MB/s", &self.forwards.down, Some(FORWARD_GOAL)),
            beside("port-forward up, MB/s", &self.forwards.up, Some(FORWARD_GOAL)),
            alone("port-forward down by kubectl, MB/s".into(), megabytes(&self.forwards.kubectl_down), 0),
            alone("port-forward up by kubectl, MB/s".into(), megabytes(&self.forwards.kubectl_up), 0),
            {
                let each = self.idle / 1_000.0;
                let goal = (String::new(), format!("at most {IDLE_GOAL:.0} kB"), each <= IDLE_GOAL);
                Row { goal: Some(goal), ..alone(format!("memory of each of {sessions} idle sessions, kB"), each, 1) }
            },
            alone(format!("{followers} followers: p50 from written to read, ms"), self.followers.p50 * 1_000.0, 0),
            alone(format!("{followers} followers: p99 from written to read, ms"), self.followers.p99 * 1_000.0, 0),
            alone(format!("{followers} followers: processor time, ms/s"), self.followers.cpu, 0),
        ]
    }

    fn exec(&self, name: &str, share: f64) -> Row {
        let of = |durations: &[Duration]| percentile(durations.to_vec(), share).unwrap_or(f64::NAN) * 1_000.0;
        let (stub, host) = (of(&self.execs.stub), of(&self.execs.host));
        let more = host - stub;
        Row {
            what: format!("exec round trip {name}, ms"),
            stub: Some(stub),
            host,
            digits: 1,
            goal: Some((format!("{more:+.1} ms"), format!("at most {EXEC_GOAL:.0} ms more"), more <= EXEC_GOAL)),
        }
    }
}

fn beside(what: &str, rates: &Rates, goal: Option<f64>) -> Row {
    let (stub, host) = (megabytes(&rates.stub), megabytes(&rates.host));
    let share = host / stub;
    let goal = goal.map(|goal| (format!("{share:.2}"), format!("at least {goal:.2} of the stub's"), share >= goal));
    Row { what: what.to_owned(), stub: Some(stub), host, digits: 0, goal }
}

/// The median, in millions of bytes a second.
fn megabytes(rates: &[f64]) -> f64 {
    Spread::of(rates.iter().copied()).map_or(f64::NAN, |spread| spread.median / 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(forward: f64, idle: f64, exec: u64) -> Report {
        let sizes = Sizes { execs: 1, transfer: 1, transfers: 1, sessions: 200, followers: 100 };
        let rates = |host| Rates { host: vec![host], stub: vec![500e6] };
        let trips = |milliseconds| vec![Duration::from_millis(milliseconds); 3];
        Report {
            sizes,
            execs: RoundTrips { host: trips(exec), stub: trips(10) },
            logs: rates(250e6),
            forwards: Forwards { down: rates(forward), up: rates(400e6), ..Forwards::default() },
            idle,
            followers: Followers { p50: 0.1, p99: 0.25, cpu: 55.0 },
        }
    }

    fn line(report: &Report, with: &str) -> String {
        report.to_string().lines().find(|line| line.contains(with)).unwrap().to_owned()
    }

    #[test]
    fn what_vk_host_adds_is_beside_the_goal_for_it() {
        let good = report(300e6, 50_000.0, 25);
        assert_eq!(
            line(&good, "trip p99"),
            "| exec round trip p99, ms | 10.0 | 25.0 | +15.0 ms | at most 15 ms more | met |"
        );
        assert_eq!(
            line(&good, "forward down, "),
            "| port-forward down, MB/s | 500 | 300 | 0.60 | at least 0.60 of the stub's | met |"
        );
        assert_eq!(
            line(&good, "idle"),
            "| memory of each of 200 idle sessions, kB |  | 50.0 |  | at most 50 kB | met |"
        );
        assert_eq!(line(&good, "p99 from"), "| 100 followers: p99 from written to read, ms |  | 250 |  |  |  |");
        let bad = report(299e6, 50_001.0, 26);
        for row in ["trip p50", "forward down, ", "idle"] {
            assert!(line(&bad, row).ends_with("| MISSED |"), "{}", line(&bad, row));
        }
    }

    #[test]
    fn what_was_not_measured_reaches_no_goal() {
        let mut empty = report(300e6, 1.0, 10);
        empty.execs.host.clear();
        assert!(line(&empty, "trip p50").ends_with("| MISSED |"));
    }
}
