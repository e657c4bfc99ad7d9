//! What containers have written.
//!
//! The service has no way to follow a log: each answer holds its last lines, up to 4 MB while the container runs, and
//! 16 KB or 1,000 lines once it has ended. So who follows asks again, for few lines first and for more until those seen
//! before are among them, and no more often than the subscription's quota of reads bears.

mod window;

use std::time::Duration;

use serde::{Deserialize, Serialize};
use vk_sdk::{
    Cursor, Error, ErrorKind, Logs, Result,
    logs::{Chunk, Query},
};

use self::window::{Line, Place, Window, nanoseconds};
use crate::{identity::group_name, pods::Pods, provider::Aci, target::Target};

/// How many lines who follows asks for first, at least.
const FEWEST_LINES: u32 = 100;
/// The factor of lines from one try to the next.
const GROWTH: u32 = 8;
/// From here on the whole log is asked for.
const MOST_LINES: u32 = 100_000;
/// The most bytes of a piece.
const PIECE: usize = 4 << 20;
/// Who follows asks again after this if there was something new, and if there has long been nothing.
const READ_AFTER: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(5));
/// The first byte of a cursor: the form of what follows.
const VERSION: u8 = b'1';

/// What is known of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Has never run.
    Waiting,
    Running,
    /// Has ended, and writes no more.
    Ended,
}

impl Logs for Aci {
    fn read_log(&self, query: Query, after: Option<Cursor>) -> Result<Chunk> {
        read(&InService { pods: &self.pods, query: &query }, &query, after.as_ref())
    }
}

/// Where a container's log is.
trait Source {
    /// [`Error::not_found`] if there is no such pod or container.
    fn phase(&self) -> Result<Phase>;

    /// Its last lines, or all that there are, each with its time.
    fn lines(&self, tail: Option<u32>) -> Result<String>;
}

struct InService<'a> {
    pods: &'a Pods,
    query: &'a Query,
}

impl Source for InService<'_> {
    fn phase(&self) -> Result<Phase> {
        Target::find(self.pods, &self.query.pod)?.phase(&self.query.container)
    }

    fn lines(&self, tail: Option<u32>) -> Result<String> {
        self.pods.arm.logs(&group_name(&self.pods.owner, &self.query.pod), &self.query.container, tail)
    }
}

/// Where a reader goes on, and how it has fared.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Position {
    place: Place,
    /// How many lines the last piece had.
    lines: u32,
    /// How many pieces in a row had none.
    idle: u32,
}

fn read(source: &dyn Source, query: &Query, after: Option<&Cursor>) -> Result<Chunk> {
    match after {
        None => begin(source, query),
        Some(cursor) => go_on(source, query, Position::read(cursor)?),
    }
}

fn begin(source: &dyn Source, query: &Query) -> Result<Chunk> {
    let (container, pod) = (&query.container, query.pod.full_name());
    if query.previous {
        let message = format!(
            "Azure Container Instances keeps no log of a previous run of container {container:?} in pod {pod:?}"
        );
        return Err(Error::not_found(message));
    }
    let waiting = || Error::conflict(format!("container {container:?} in pod {pod:?} is waiting to start"));
    let phase = source.phase()?;
    if phase == Phase::Waiting {
        return Err(waiting());
    }
    // One line more, to see whether the last ones share a time with others before them.
    let mut tail = query.tail_lines.map(|lines| lines.max(1).saturating_add(1));
    loop {
        let content = source.lines(tail).map_err(|error| match error.kind {
            ErrorKind::NotFound | ErrorKind::Conflict => waiting(),
            _ => error,
        })?;
        let window = Window::new(&content, tail, phase == Phase::Ended);
        let lines = window.lines();
        let tail_lines = query.tail_lines.map_or(usize::MAX, |lines| lines.try_into().unwrap_or(usize::MAX));
        let since = query.since().map_or(0, nanoseconds);
        let by_time = lines.iter().take_while(|line| line.time < since).count();
        let wanted = lines.get(by_time.max(lines.len().saturating_sub(tail_lines))..).unwrap_or_default();
        let piece = Piece::new(wanted, query.timestamps);
        let Some(place) = window.place(lines.len() - (wanted.len() - piece.lines)) else {
            tail = more(tail);
            continue;
        };
        let next = Position::new(place, piece.lines);
        return Ok(match (piece.lines < wanted.len(), phase) {
            (true, _) => Chunk::more(piece.data, next.write()),
            (false, Phase::Ended) => Chunk::last(piece.data),
            (false, _) => next.so_far(piece.data),
        });
    }
}

fn go_on(source: &dyn Source, query: &Query, position: Position) -> Result<Chunk> {
    match piece_after(source, query, position, false) {
        Err(error) if error.kind == ErrorKind::NotFound => return Ok(Chunk::last(Vec::new())),
        Ok(chunk) if chunk.data.is_empty() => {}
        result => return result,
    }
    // Nothing new: perhaps because the container has ended. What it wrote in the meantime, and a last line without an
    // end, is seen only by who reads after that.
    match source.phase() {
        Ok(Phase::Ended) => piece_after(source, query, position, true),
        Ok(_) => Ok(Position { idle: position.idle.saturating_add(1), ..position }.so_far(Vec::new())),
        Err(error) if error.kind == ErrorKind::NotFound => Ok(Chunk::last(Vec::new())),
        Err(error) => Err(error),
    }
}

fn piece_after(source: &dyn Source, query: &Query, position: Position, is_finished: bool) -> Result<Chunk> {
    let mut tail = Some(position.lines.saturating_mul(2).clamp(FEWEST_LINES, MOST_LINES));
    loop {
        let content = source.lines(tail)?;
        let window = Window::new(&content, tail, is_finished);
        let Some(new) = window.after(position.place) else {
            tail = more(tail);
            continue;
        };
        let piece = Piece::new(new, query.timestamps);
        let handed_out = window.lines().len() - (new.len() - piece.lines);
        let place = if piece.lines == 0 { Some(position.place) } else { window.place(handed_out) };
        let Some(place) = place else {
            tail = more(tail);
            continue;
        };
        let next = Position::new(place, piece.lines);
        return Ok(match (piece.lines < new.len(), is_finished) {
            (true, _) => Chunk::more(piece.data, next.write()),
            (false, true) => Chunk::last(piece.data),
            (false, false) => next.so_far(piece.data),
        });
    }
}

fn more(tail: Option<u32>) -> Option<u32> {
    tail.and_then(|tail| tail.checked_mul(GROWTH)).filter(|tail| *tail <= MOST_LINES)
}

impl Position {
    fn new(place: Place, lines: usize) -> Self {
        Self { place, lines: lines.try_into().unwrap_or(u32::MAX), idle: 0 }
    }

    fn so_far(self, data: Vec<u8>) -> Chunk {
        let wait = READ_AFTER.0 + Duration::from_secs(self.idle.into());
        Chunk::so_far(data, self.write(), wait.min(READ_AFTER.1))
    }

    fn write(self) -> Cursor {
        let Place { time, count } = self.place;
        std::iter::once(VERSION).chain(format!("{time} {count} {} {}", self.lines, self.idle).into_bytes()).collect()
    }

    fn read(cursor: &[u8]) -> Result<Self> {
        Self::parse(cursor).ok_or_else(|| Error::invalid("the log's cursor is none of this version of the provider"))
    }

    fn parse(cursor: &[u8]) -> Option<Self> {
        let mut parts = std::str::from_utf8(cursor.strip_prefix(&[VERSION])?).ok()?.split(' ');
        let place = Place { time: parts.next()?.parse().ok()?, count: parts.next()?.parse().ok()? };
        let (lines, idle) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        parts.next().is_none().then_some(Self { place, lines, idle })
    }
}

/// As many lines as a piece holds.
struct Piece {
    data: Vec<u8>,
    lines: usize,
}

impl Piece {
    fn new(lines: &[Line<'_>], timestamps: bool) -> Self {
        let mut piece = Self { data: Vec::new(), lines: 0 };
        for line in lines {
            let text = if timestamps { line.stamped } else { line.text };
            if piece.lines > 0 && piece.data.len() + text.len() > PIECE {
                break;
            }
            piece.data.extend_from_slice(text.as_bytes());
            piece.lines += 1;
        }
        piece.data.truncate(PIECE);
        piece
    }
}

#[cfg(test)]
mod tests;
