//! The part of a log that one answer holds, and where in it a reader goes on.
//!
//! The service has no offsets: it hands out the last lines of a log, each with its time, and older ones drop out. So a
//! place in the log is the time of the line before it, and how many lines up to there have just that time.

use std::time::{SystemTime, UNIX_EPOCH};

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
    /// Its bytes, as a reader wants them.
    pub(super) fn bytes(&self, timestamps: bool) -> &[u8] {
        if timestamps { self.stamped.as_bytes() } else { self.text.as_bytes() }
    }

    pub(super) fn is_complete(&self) -> bool {
        self.stamped.ends_with('\n')
    }
}

/// A place between two lines: behind the line that is the `count`th with this time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
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
    /// What the service answered when it was asked for `tail` lines, or for all.
    pub(super) fn new(content: &'a str, tail: Option<u32>) -> Self {
        let mut time = 0;
        // Counted first: where there are many, memory for twice as many would be needed else.
        let mut lines = Vec::with_capacity(content.split_inclusive('\n').count());
        lines.extend(content.split_inclusive('\n').map(|stamped| {
            let text = match stamp(stamped) {
                Some((own, text)) => {
                    time = own;
                    text
                }
                None => stamped,
            };
            Line { time, stamped, text }
        }));
        let is_whole = tail.is_none_or(|tail| lines.len() < usize::try_from(tail).unwrap_or(usize::MAX));
        Self { lines, is_whole }
    }

    /// Whether lines of this time are in it.
    pub(super) fn has(&self, time: u64) -> bool {
        self.lines.iter().any(|line| line.time == time)
    }

    pub(super) fn lines(&self) -> &[Line<'a>] {
        &self.lines
    }

    /// How many lines are before a place; `None` if more lines must be seen to tell.
    pub(super) fn before(&self, place: Place) -> Option<usize> {
        if place == Place::default() {
            self.is_whole.then_some(0)
        } else if self.has(place.time) {
            let mut equal = self.lines.iter().enumerate().filter(|(_, line)| line.time == place.time);
            let nth = equal.clone().nth(place.count.saturating_sub(1));
            // Those that dropped out are the oldest, so that fewer than were handed out mean that none is new.
            let last = nth.or_else(|| equal.next_back());
            self.shows_all(place.time).then(|| last.map_or(0, |(index, _)| index + 1))
        } else {
            // The line itself dropped out.
            let is_seen = self.is_whole || self.lines.iter().any(|line| (1..place.time).contains(&line.time));
            is_seen.then(|| self.lines.iter().take_while(|line| line.time < place.time).count())
        }
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
