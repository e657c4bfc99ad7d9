//! The table: each figure of each contestant, and whether vk-host reaches its goals.

use std::{collections::BTreeMap, fmt::Write as _};

use crate::{
    contestant::Contestant,
    figures::{Figures, Spread},
};

/// The figures of all rounds.
pub(crate) type Results = BTreeMap<Contestant, Vec<Figures>>;

/// A figure, and what vk-host is to reach in it.
struct Row {
    what: String,
    figure: fn(&Figures) -> Option<f64>,
    digits: usize,
    goals: &'static [Goal],
}

/// A bound on vk-host's median, as a multiple of another's.
struct Goal {
    bound: Bound,
    factor: f64,
    of: Contestant,
}

#[derive(PartialEq)]
enum Bound {
    AtLeast,
    AtMost,
}

const fn at_least(factor: f64, of: Contestant) -> Goal {
    Goal { bound: Bound::AtLeast, factor, of }
}

const fn at_most(factor: f64, of: Contestant) -> Goal {
    Goal { bound: Bound::AtMost, factor, of }
}

use Contestant::{Floor, Kwok, VkHost};

const RATE: &[Goal] = &[at_least(0.9, Floor)];
const LATENCY: &[Goal] = &[at_most(1.15, Floor)];
const CPU: &[Goal] = &[at_most(1.5, Floor), at_most(1.0 / 3.0, Kwok)];
const MEMORY: &[Goal] = &[at_most(1.0, Kwok)];
const DELETION: &[Goal] = &[at_least(1.0, Kwok)];
/// The same, but for a request that is repeated now and then.
const WRITES: &[Goal] = &[at_most(1.01, Floor)];

/// What the figures are called, with the sizes that they were measured with.
pub(crate) struct Titles {
    pub(crate) backlog: usize,
    pub(crate) small: usize,
    pub(crate) large: usize,
}

fn rows(Titles { backlog, small, large }: &Titles) -> Vec<Row> {
    let row = |what: String, digits, goals, figure| Row { what, figure, digits, goals };
    vec![
        row(format!("backlog of {backlog}: pods/s Ready, 10 % to 90 %"), 0, RATE, |of| of.backlog_rate),
        row(format!("burst of {small}: p99 create to Ready, s"), 2, LATENCY, |of| of.small_p99),
        row(format!("burst of {large}: pods/s Ready"), 0, RATE, |of| of.large_rate),
        row(format!("burst of {large}: p99 create to Ready, s"), 2, LATENCY, |of| of.large_p99),
        row("processor time per 1000 pods up, s".into(), 2, CPU, |of| of.cpu_up),
        row(format!("resident memory with {large} pods, MiB"), 0, MEMORY, |of| of.memory),
        row(format!("processor time while {large} pods idle, ms/s"), 1, &[], |of| of.cpu_idle),
        row(format!("deletion of {small}: pods/s gone"), 0, DELETION, |of| of.deletion_rate),
        row("API writes per pod, up".into(), 2, WRITES, |of| of.writes_up),
        row("API writes per pod, down".into(), 2, WRITES, |of| of.writes_down),
        row("events written per pod".into(), 2, &[], |of| of.events),
    ]
}

/// The table, as Markdown.
pub(crate) fn table(results: &Results, titles: &Titles) -> String {
    let mut text = String::from("| figure |");
    for contestant in results.keys() {
        let _ = write!(text, " {contestant} |");
    }
    text.push_str(" of the floor | of kwok | goal | |\n|---|");
    text.push_str(&"---:|".repeat(results.len() + 2));
    text.push_str("---|---|\n");
    for row in rows(titles) {
        let _ = write!(text, "| {} |", row.what);
        for figures in results.values() {
            let _ = write!(text, " {} |", row.spread(figures));
        }
        for of in [Floor, Kwok] {
            let ratio = row.median(results, VkHost).zip(row.median(results, of)).map(|(own, other)| own / other);
            let shown = ratio.filter(|ratio| ratio.is_finite()).map(|ratio| format!("{ratio:.2}"));
            let _ = write!(text, " {} |", shown.unwrap_or_default());
        }
        let _ = writeln!(text, " {} | {} |", row.goal(), row.verdict(results));
    }
    text
}

impl Row {
    fn median(&self, results: &Results, of: Contestant) -> Option<f64> {
        Spread::of(results.get(&of)?.iter().filter_map(self.figure)).map(|spread| spread.median)
    }

    fn spread(&self, figures: &[Figures]) -> String {
        let digits = self.digits;
        match Spread::of(figures.iter().filter_map(self.figure)) {
            None => String::new(),
            Some(Spread { median, .. }) if figures.len() == 1 => format!("{median:.digits$}"),
            Some(Spread { least, median, greatest }) => {
                format!("{median:.digits$} ({least:.digits$}-{greatest:.digits$})")
            }
        }
    }

    fn goal(&self) -> String {
        let shown = self.goals.iter().map(|goal| {
            let bound = if goal.bound == Bound::AtLeast { "at least" } else { "at most" };
            format!("{bound} {:.2} of {}", goal.factor, goal.of)
        });
        shown.collect::<Vec<_>>().join(", ")
    }

    fn verdict(&self, results: &Results) -> &'static str {
        let reached = |goal: &Goal| {
            let (own, other) = (self.median(results, VkHost)?, self.median(results, goal.of)?);
            Some(match goal.bound {
                Bound::AtLeast => own >= goal.factor * other,
                Bound::AtMost => own <= goal.factor * other,
            })
        };
        match self.goals.iter().map(reached).collect::<Option<Vec<_>>>() {
            Some(reached) if !reached.is_empty() => {
                if reached.into_iter().all(|reached| reached) {
                    "met"
                } else {
                    "MISSED"
                }
            }
            _ => "",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TITLES: Titles = Titles { backlog: 2_000, small: 1_000, large: 5_000 };

    fn figures(backlog_rate: f64, cpu_up: f64) -> Figures {
        Figures { backlog_rate: Some(backlog_rate), cpu_up: Some(cpu_up), ..Figures::default() }
    }

    fn line<'a>(table: &'a str, with: &str) -> &'a str {
        table.lines().find(|line| line.contains(with)).unwrap()
    }

    #[test]
    fn medians_spreads_ratios_and_verdicts_are_in_the_table() {
        let results = Results::from([
            (Floor, vec![figures(500.0, 0.3), figures(520.0, 0.3), figures(400.0, 0.3)]),
            (Kwok, vec![figures(300.0, 1.2); 3]),
            (VkHost, vec![figures(450.0, 0.42), figures(449.0, 0.42), figures(600.0, 0.42)]),
        ]);
        let table = table(&results, &TITLES);
        assert_eq!(
            line(&table, "backlog of 2000"),
            "| backlog of 2000: pods/s Ready, 10 % to 90 % | 500 (400-520) | 300 (300-300) | 450 (449-600) | 0.90 | 1.50 | \
             at least 0.90 of floor | met |"
        );
        assert_eq!(
            line(&table, "processor time per"),
            "| processor time per 1000 pods up, s | 0.30 (0.30-0.30) | 1.20 (1.20-1.20) | 0.42 (0.42-0.42) | 1.40 | 0.35 | \
             at most 1.50 of floor, at most 0.33 of kwok | MISSED |"
        );
        assert!(line(&table, "deletion").ends_with("| at least 1.00 of kwok |  |"), "{table}");
    }

    #[test]
    fn without_a_measure_there_is_no_verdict() {
        let results = Results::from([(VkHost, vec![figures(450.0, 0.4)])]);
        let table = table(&results, &TITLES);
        assert!(line(&table, "| figure").starts_with("| figure | vk-host | of the floor |"), "{table}");
        assert!(line(&table, "backlog").contains("| 450 |  |  |") && !table.contains("met"), "{table}");
    }
}
