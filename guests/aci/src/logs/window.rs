//! The part of a log that one answer holds, and where in it a reader goes on.
//!
//! The service has no offsets: it hands out the last lines of a log, each with its time, and older ones drop out. So a
//! place in the log is the time of the line before it, and how many lines up to there have just that time.

use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// A line as the service wrote it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Line<'a> {
    /// Nanoseconds since 1970; that of the line before if it has none itself, and 0 if there is none before it either.
    pub(super) time: u64,
    /// With its time.
    pub(super) stamped: &'a str,
    /// Without.
    pub(super) text: &'a str,
}

impl Line<'_> {
    fn is_complete(&self) -> bool {
        self.stamped.ends_with('\n')
    }
}

/// A place between two lines: behind the line that is the `count`th with this time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Place {
    pub(super) time: u64,
    pub(super) count: usize,
}

/// The last lines of a log.
#[derive(Debug)]
pub(super) struct Window<'a> {
    lines: Vec<Line<'a>>,
    /// Whether there are no lines before these.
    is_whole: bool,
}

impl<'a> Window<'a> {
    /// What the service answered when it was asked for `tail` lines, or for all. A last line that is not finished is
    /// left for later unless the log is: its rest is still to come.
    pub(super) fn new(content: &'a str, tail: Option<u32>, is_finished: bool) -> Self {
        let mut time = 0;
        let mut lines: Vec<_> = content
            .split_inclusive('\n')
            .map(|stamped| {
                let text = match stamp(stamped) {
                    Some((own, text)) => {
                        time = own;
                        text
                    }
                    None => stamped,
                };
                Line { time, stamped, text }
            })
            .collect();
        let is_whole = tail.is_none_or(|tail| lines.len() < usize::try_from(tail).unwrap_or(usize::MAX));
        if !is_finished {
            lines.pop_if(|line| !line.is_complete());
        }
        Self { lines, is_whole }
    }

    pub(super) fn lines(&self) -> &[Line<'a>] {
        &self.lines
    }

    /// The lines behind a place; `None` if more lines must be seen to tell.
    pub(super) fn after(&self, place: Place) -> Option<&[Line<'a>]> {
        let begin = if place == Place::default() {
            self.is_whole.then_some(0)
        } else if self.lines.iter().any(|line| line.time == place.time) {
            let mut equal = self.lines.iter().enumerate().filter(|(_, line)| line.time == place.time);
            let nth = equal.clone().nth(place.count.saturating_sub(1));
            // Those that dropped out are the oldest, so that fewer than were handed out mean that none is new.
            let last = nth.or_else(|| equal.next_back());
            self.shows_all(place.time).then(|| last.map_or(0, |(index, _)| index + 1))
        } else {
            // The line itself dropped out.
            let is_seen = self.is_whole || self.lines.iter().any(|line| (1..place.time).contains(&line.time));
            is_seen.then(|| self.lines.iter().take_while(|line| line.time < place.time).count())
        };
        begin.and_then(|begin| self.lines.get(begin..))
    }

    /// The place behind the first `count` lines; `None` if more lines must be seen to tell.
    pub(super) fn place(&self, count: usize) -> Option<Place> {
        let handed_out = self.lines.get(..count)?;
        let Some(last) = handed_out.last() else { return self.is_whole.then(Place::default) };
        let count = handed_out.iter().filter(|line| line.time == last.time).count();
        self.shows_all(last.time).then_some(Place { time: last.time, count })
    }

    /// Whether no line of this time is older than the window. Lines without a time of their own at its beginning may be
    /// of any.
    fn shows_all(&self, time: u64) -> bool {
        self.is_whole || self.lines.iter().take_while(|line| line.time != time).any(|line| line.time > 0)
    }
}

/// Splits off the time at a line's beginning.
fn stamp(line: &str) -> Option<(u64, &str)> {
    let (time, text) = line.split_once(' ').or_else(|| Some((line.strip_suffix('\n')?, "\n")))?;
    let since = humantime::parse_rfc3339(time).ok()?.duration_since(UNIX_EPOCH).ok()?;
    Some((u64::try_from(since.as_nanos()).ok()?, text))
}

/// A time as lines have it.
pub(super) fn nanoseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
