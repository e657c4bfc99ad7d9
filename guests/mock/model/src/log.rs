//! What a container writes, as a function of time. Nothing is kept: every line follows from its number.
//!
//! ```text
//!   c: started, run 0             at the start
//!   c: line 1 … line BURST        at the start
//!   c: line BURST + 1 …           every so often while it runs
//!   c: exited with code 3         at the end
//! ```

use serde::{Deserialize, Serialize};

use crate::life::{ContainerState, Exit, Run};

/// How a container writes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Log {
    burst: u64,
    /// In milliseconds; 0: nothing more after the burst.
    every: Option<u64>,
    pub(crate) bytes: usize,
    pub(crate) text: String,
}

impl Default for Log {
    fn default() -> Self {
        Self { burst: 0, every: None, bytes: 0, text: "line".to_owned() }
    }
}

/// How often a container writes that is not told to.
const DEFAULT_EVERY: u64 = 1000;

/// One run of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Episode {
    /// How many there were before it.
    pub number: u32,
    /// When it began.
    pub started: u64,
    /// How it ended, if it has.
    pub exit: Option<Exit>,
}

impl ContainerState {
    /// The run that is under way, or the last one if none is.
    pub fn current(&self) -> Option<Episode> {
        match &self.run {
            Run::Running(since) => Some(Episode { number: self.restarts, started: *since, exit: None }),
            Run::Exited(exit) => Some(Episode::ended(self.restarts, exit)),
            Run::Waiting(_) => self.last.as_ref().map(|exit| Episode::ended(self.restarts, exit)),
        }
    }

    /// The last run that the container was started again after, or waits to be.
    pub fn previous(&self) -> Option<Episode> {
        let number = if matches!(self.run, Run::Waiting(_)) { self.restarts } else { self.restarts.saturating_sub(1) };
        self.last.as_ref().map(|exit| Episode::ended(number, exit))
    }
}

impl Episode {
    fn ended(number: u32, exit: &Exit) -> Self {
        Self { number, started: exit.started, exit: Some(exit.clone()) }
    }
}

impl Log {
    pub(crate) fn burst(&mut self, lines: u64) {
        self.burst = lines;
        self.every.get_or_insert(0);
    }

    pub(crate) fn every(&mut self, milliseconds: u64) {
        self.every = Some(milliseconds);
    }

    fn period(&self) -> Option<u64> {
        Some(self.every.unwrap_or(DEFAULT_EVERY)).filter(|period| *period > 0)
    }

    /// How many lines a run has written by a time.
    pub fn count(&self, episode: &Episode, now: u64) -> u64 {
        if now < episode.started {
            return 0;
        }
        let end = episode.exit.as_ref().map_or(now, |exit| exit.finished.min(now));
        let ended = episode.exit.as_ref().is_some_and(|exit| exit.finished <= now);
        let later = self.period().map_or(0, |period| end.saturating_sub(episode.started) / period);
        1_u64.saturating_add(self.burst).saturating_add(later).saturating_add(u64::from(ended))
    }

    /// When a line was written, of those that are there.
    pub fn written(&self, episode: &Episode, line: u64) -> u64 {
        let regular = line.saturating_sub(self.burst).saturating_mul(self.period().unwrap_or(0));
        let at = episode.started.saturating_add(if line <= self.burst { 0 } else { regular });
        episode.exit.as_ref().map_or(at, |exit| at.min(exit.finished))
    }

    /// When the next line comes after a time.
    pub fn next(&self, episode: &Episode, now: u64) -> Option<u64> {
        let period = self.period()?;
        let passed = now.saturating_sub(episode.started) / period;
        Some(episode.started.saturating_add((passed + 1).saturating_mul(period)))
    }

    /// The first line, of those that are there, that was written at a time or later.
    pub fn first_since(&self, episode: &Episode, since: u64, count: u64) -> u64 {
        let (mut low, mut high) = (0, count);
        while low < high {
            let middle = low + (high - low) / 2;
            if self.written(episode, middle) < since {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    /// Appends a line, of those that are there, with its end.
    pub fn write(&self, container: &str, episode: &Episode, line: u64, to: &mut Vec<u8>) {
        let begin = to.len();
        let ending = episode.exit.as_ref().filter(|exit| line + 1 == self.count(episode, exit.finished));
        let text = match (line, ending) {
            (0, _) => format!("{container}: started, run {}", episode.number),
            (_, Some(exit)) => format!("{container}: exited with code {}", exit.code),
            _ => format!("{container}: {} {line}", self.text),
        };
        to.extend_from_slice(text.as_bytes());
        let written = to.len() - begin;
        to.extend(std::iter::repeat_n(b'.', self.bytes.saturating_sub(written + 1)));
        to.push(b'\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn running() -> Episode {
        Episode { number: 0, started: 10_000, exit: None }
    }

    fn ended(number: u32) -> Episode {
        Episode::ended(number, &Exit { code: 3, reason: "Error".into(), started: 10_000, finished: 12_500 })
    }

    fn text(log: &Log, episode: &Episode, now: u64) -> String {
        let mut bytes = Vec::new();
        for line in 0..log.count(episode, now) {
            log.write("c", episode, line, &mut bytes);
        }
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn a_container_that_says_nothing_else_writes_a_line_each_second_until_it_ends() {
        let log = Log::default();
        assert_eq!(text(&log, &running(), 9_999), "");
        assert_eq!(text(&log, &running(), 12_000), "c: started, run 0\nc: line 1\nc: line 2\n");
        assert_eq!(log.next(&running(), 12_000), Some(13_000));
        let whole = "c: started, run 7\nc: line 1\nc: line 2\nc: exited with code 3\n";
        assert_eq!(text(&log, &ended(7), 99_000), whole);
        let times: Vec<_> = (0..4).map(|line| log.written(&ended(7), line)).collect();
        assert_eq!(times, [10_000, 11_000, 12_000, 12_500]);
    }

    #[test]
    fn a_burst_is_all_there_at_once_and_then_silence() {
        let mut log = Log::default();
        log.burst(3);
        assert_eq!(text(&log, &running(), 10_000), "c: started, run 0\nc: line 1\nc: line 2\nc: line 3\n");
        assert_eq!(log.count(&running(), 99_000), 4);
        assert_eq!(log.next(&running(), 10_000), None);
        log.every(500);
        assert_eq!(log.count(&running(), 11_000), 6);
        assert_eq!(log.written(&running(), 5), 11_000);
    }

    #[test]
    fn lines_are_as_long_as_was_asked_for() {
        let log = Log { bytes: 20, text: "x".into(), ..Log::default() };
        assert_eq!(text(&log, &running(), 11_000), "c: started, run 0..\nc: x 1.............\n");
    }

    #[test]
    fn the_first_line_since_a_time_is_found() {
        let log = Log::default();
        let since = |time| log.first_since(&ended(0), time, 4);
        assert_eq!([0, 10_000, 10_001, 11_000, 12_001, 12_501].map(since), [0, 0, 1, 1, 3, 4]);
    }

    #[test]
    fn the_runs_of_a_container_are_told_apart() {
        let exit = Exit { code: 1, reason: "Error".into(), started: 1, finished: 2 };
        let state = |run, last| ContainerState {
            name: "c".into(),
            image: String::new(),
            kind: crate::Kind::App,
            restarts: 2,
            run,
            last,
        };
        let again = state(Run::Running(5), Some(exit.clone()));
        assert_eq!(again.current(), Some(Episode { number: 2, started: 5, exit: None }));
        assert_eq!(again.previous(), Some(Episode::ended(1, &exit)));
        let waits = state(Run::Waiting("CrashLoopBackOff".into()), Some(exit.clone()));
        assert_eq!(
            (waits.current(), waits.previous()),
            (Some(Episode::ended(2, &exit)), Some(Episode::ended(2, &exit)))
        );
        let pending = state(Run::Waiting("ContainerCreating".into()), None);
        assert_eq!((pending.current(), pending.previous()), (None, None));
    }
}
