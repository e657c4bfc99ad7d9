//! The logs of containers: pieces of what [`mock_model::Log`] makes of time.

use std::time::Duration;

use mock_model::{ContainerState, Episode, Log};
use vk_sdk::{
    Cursor, Error, Result,
    logs::{Chunk, Query},
    status,
};

use crate::store::{Store, container, now};

/// How long a piece gets.
const PIECE: usize = 1 << 20;
/// Who follows sees a line after this at the latest, and asks no more often than that.
const READ_AFTER: (u64, u64) = (200, 1000);
/// The first byte of a cursor: the form of what follows.
const VERSION: u8 = b'1';

pub(crate) fn read(store: &dyn Store, query: &Query, after: Option<&Cursor>) -> Result<Chunk> {
    let details = store.look(&query.pod)?;
    let container = container(&details, &query.pod, &query.container)?;
    let log = &details.workload.log;
    let now = now();
    let begin = match after {
        Some(cursor) => Position::read(cursor)?,
        None => first(log, &wanted(container, query)?, query, now),
    };
    let piece = Piece::read(log, container, begin, query.timestamps, now);
    Ok(match (piece.next, piece.wait) {
        (None, _) => Chunk::last(piece.data),
        (Some(next), None) => Chunk::more(piece.data, next.write()),
        (Some(next), Some(wait)) => Chunk::so_far(piece.data, next.write(), wait),
    })
}

/// The run whose log is meant.
fn wanted(container: &ContainerState, query: &Query) -> Result<Episode> {
    let (name, pod) = (&container.name, query.pod.full_name());
    if query.previous {
        let missing = || Error::not_found(format!("previous terminated container {name:?} in pod {pod:?} not found"));
        return container.previous().ok_or_else(missing);
    }
    container.current().ok_or_else(|| Error::conflict(format!("container {name:?} in pod {pod:?} is waiting to start")))
}

fn first(log: &Log, episode: &Episode, query: &Query, now: u64) -> Position {
    let count = log.count(episode, now);
    let by_lines = query.tail_lines.map_or(0, |lines| count.saturating_sub(lines.into()));
    let by_time = query.since.map_or(0, |since| log.first_since(episode, since, count));
    Position { run: episode.number, line: by_lines.max(by_time) }
}

/// A line of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Position {
    pub(crate) run: u32,
    pub(crate) line: u64,
}

impl Position {
    fn write(self) -> Cursor {
        std::iter::once(VERSION).chain(format!("{} {}", self.run, self.line).into_bytes()).collect()
    }

    fn read(cursor: &[u8]) -> Result<Self> {
        let text = cursor.strip_prefix(&[VERSION]).and_then(|rest| std::str::from_utf8(rest).ok());
        let parts = text.and_then(|text| text.split_once(' '));
        parts
            .and_then(|(run, line)| Some(Self { run: run.parse().ok()?, line: line.parse().ok()? }))
            .ok_or_else(|| Error::invalid("the log's cursor is none of this version of the mock"))
    }
}

/// A piece of a log.
pub(crate) struct Piece {
    pub(crate) data: Vec<u8>,
    /// Where the next piece begins, unless this was the last.
    pub(crate) next: Option<Position>,
    /// How long it makes sense to wait for it; `None`: more is there.
    pub(crate) wait: Option<Duration>,
}

impl Piece {
    pub(crate) fn read(log: &Log, container: &ContainerState, begin: Position, timestamps: bool, now: u64) -> Self {
        let mut data = Vec::new();
        let runs = [container.current(), container.previous()];
        // Of older runs nothing is known any more.
        let Some(episode) = runs.into_iter().flatten().find(|episode| episode.number == begin.run) else {
            return Self { data, next: None, wait: None };
        };
        let count = log.count(&episode, now);
        let mut line = begin.line;
        while line < count && data.len() < PIECE {
            if timestamps {
                data.extend(rfc3339(log.written(&episode, line)).bytes());
                data.push(b' ');
            }
            log.write(&container.name, &episode, line, &mut data);
            line += 1;
        }
        let next = Some(Position { line, ..begin });
        if line < count {
            return Self { data, next, wait: None };
        }
        if episode.exit.as_ref().is_some_and(|exit| exit.finished <= now) {
            return Self { data, next: None, wait: None };
        }
        let wait = log.next(&episode, now).map_or(READ_AFTER.1, |next| next.saturating_sub(now));
        Self { data, next, wait: Some(Duration::from_millis(wait.clamp(READ_AFTER.0, READ_AFTER.1))) }
    }
}

fn rfc3339(milliseconds: u64) -> String {
    status::timestamp_nanos(std::time::UNIX_EPOCH + Duration::from_millis(milliseconds))
}
