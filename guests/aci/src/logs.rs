//! What containers have written.
//!
//! The service has no way to follow a log: each answer holds its last lines, up to 4 MB while the container runs, and
//! 16 KB or 1,000 lines once it has ended. So who follows asks again, for few lines first and for more until those seen
//! before are among them. That costs reads, of which the subscription has a quota for everybody: who sees nothing new
//! asks ever less often, the more so while little is left, and asks for the container's state only when it has changed,
//! as far as polling knows.

mod window;

use std::time::Duration;

use vk_sdk::{
    Cursor, Error, ErrorKind, Logs, Result,
    logs::{Chunk, Query},
};

use self::window::{Line, Place, Window, nanoseconds};
use crate::{
    arm::{Class, is_low},
    identity::group_name,
    memory,
    pods::Pods,
    provider::Aci,
    target::Target,
};

/// How many lines who follows asks for first, at least.
const FEWEST_LINES: u32 = 100;
/// The factor of lines from one try to the next.
const GROWTH: u32 = 8;
/// From here on the whole log is asked for.
const MOST_LINES: u32 = 100_000;
/// The most bytes of a piece.
const PIECE: usize = 4 << 20;
/// Who follows asks again after this if there was something new, and if there has long been nothing: the longest wait
/// that the host keeps to.
const READ_AFTER: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(10));
/// After so many pieces in a row without anything the container's state is asked for, even if it seems not to have
/// changed.
const LOOK_EVERY: u32 = 6;
/// The first byte of a cursor: the form of what follows.
const VERSION: u8 = b'2';

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
    fn look(&self) -> Result<Look>;

    /// Changes when what [`look`](Self::look) says may have changed; 0 if that is not known.
    fn revision(&self) -> u64;

    /// Whether those who can should wait.
    fn is_busy(&self) -> bool;

    /// Its last lines, or all that there are, each with its time.
    fn lines(&self, tail: Option<u32>) -> Result<String>;
}

/// A container as it was seen.
#[derive(Debug, Clone, Copy)]
struct Look {
    phase: Phase,
    /// When the run began, in milliseconds since 1970; 0 if that is not known.
    run: u64,
}

struct InService<'a> {
    pods: &'a Pods,
    query: &'a Query,
}

impl Source for InService<'_> {
    fn look(&self) -> Result<Look> {
        let (target, container) = (Target::find(self.pods, &self.query.pod)?, &self.query.container);
        Ok(Look { phase: target.phase(container)?, run: target.run(container).unwrap_or_default() })
    }

    fn revision(&self) -> u64 {
        memory::of(&self.query.pod.uid).map_or(0, |kept| kept.memory.revision())
    }

    fn is_busy(&self) -> bool {
        is_low(Class::Read)
    }

    fn lines(&self, tail: Option<u32>) -> Result<String> {
        self.pods.arm.logs(&group_name(&self.pods.owner, &self.query.pod), &self.query.container, tail)
    }
}

/// Where a reader goes on, and how it has fared.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Position {
    /// Behind the last line of which something was handed out.
    place: Place,
    /// How many bytes of that line were, if not all; else 0.
    part: usize,
    /// How many lines the last piece had.
    lines: u32,
    /// How many pieces in a row had none.
    idle: u32,
    /// The run that was seen last, and when: see [`Look`] and [`Source::revision`].
    run: u64,
    revision: u64,
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
    let revision = source.revision();
    let Look { phase, run } = source.look()?;
    if phase == Phase::Waiting {
        return Err(Error::conflict(format!("container {container:?} in pod {pod:?} is waiting to start")));
    }
    let position = Position { run, revision, ..Position::default() };
    // One line more, to see whether the last ones share a time with others before them.
    let mut tail = query.tail_lines.map(|lines| lines.max(1).saturating_add(1));
    loop {
        let content = source.lines(tail)?;
        let window = Window::new(&content, tail);
        let lines = window.lines();
        let tail_lines = query.tail_lines.map_or(usize::MAX, |lines| lines.try_into().unwrap_or(usize::MAX));
        let since = query.since().map_or(0, nanoseconds);
        let by_time = lines.iter().take_while(|line| line.time < since).count();
        let first = by_time.max(lines.len().saturating_sub(tail_lines));
        let piece = Piece::new(lines.get(first..).unwrap_or_default(), 0, query.timestamps);
        match piece.end(&window, first, position) {
            Some(next) => return Ok(piece.chunk(next, phase == Phase::Ended, source)),
            None => tail = more(tail),
        }
    }
}

fn go_on(source: &dyn Source, query: &Query, position: Position) -> Result<Chunk> {
    let is_quiet = match piece_after(source, query, position, false) {
        Ok(chunk) if chunk.data.is_empty() => true,
        // Between two runs there may be no log.
        Err(error) if matches!(error.kind, ErrorKind::NotFound | ErrorKind::Conflict) => false,
        result => return result,
    };
    let idle = position.idle.saturating_add(1);
    let revision = source.revision();
    if is_quiet && revision != 0 && revision == position.revision && !idle.is_multiple_of(LOOK_EVERY) {
        return Ok(Position { idle, ..position }.so_far(Vec::new(), source));
    }
    // Nothing new: perhaps because the container has ended. What it wrote in the meantime is seen only by who reads after
    // that.
    let look = match source.look() {
        Err(error) if error.kind == ErrorKind::NotFound => return Ok(Chunk::last(Vec::new())),
        look => look?,
    };
    let is_another = look.run != 0 && position.run != 0 && look.run != position.run;
    let run = if look.run == 0 { position.run } else { look.run };
    let position = Position { idle, run, revision, ..position };
    let position = if is_another && is_quiet { anew(source, position)? } else { position };
    match look.phase {
        Phase::Ended => match piece_after(source, query, position, true) {
            Err(error) if error.kind == ErrorKind::NotFound => Ok(Chunk::last(Vec::new())),
            result => result,
        },
        _ if position.place == Place::default() && is_another => piece_after(source, query, position, false),
        _ if is_quiet => Ok(position.so_far(Vec::new(), source)),
        // Not before there is a log does the run that it is of count as seen.
        _ => Ok(Position { run: 0, ..position }.so_far(Vec::new(), source)),
    }
}

/// Where to go on after another run began. If its log is another, as on another machine, whose clock may be behind, that
/// is its beginning.
fn anew(source: &dyn Source, position: Position) -> Result<Position> {
    let content = source.lines(None)?;
    let is_same = Window::new(&content, None).has(position.place.time);
    Ok(if is_same { position } else { Position { place: Place::default(), part: 0, ..position } })
}

fn piece_after(source: &dyn Source, query: &Query, position: Position, is_finished: bool) -> Result<Chunk> {
    let mut tail = Some(position.lines.saturating_mul(2).clamp(FEWEST_LINES, MOST_LINES));
    loop {
        let content = source.lines(tail)?;
        let window = Window::new(&content, tail);
        let Some(before) = window.before(position.place) else {
            tail = more(tail);
            continue;
        };
        // The rest of a line that was begun, unless it has dropped out.
        let (first, part) = match before.checked_sub(1).filter(|_| position.part > 0) {
            Some(last) if window.lines().get(last).is_some_and(|line| line.time == position.place.time) => {
                (last, position.part)
            }
            _ => (before, 0),
        };
        let piece = Piece::new(window.lines().get(first..).unwrap_or_default(), part, query.timestamps);
        let end = if piece.data.is_empty() { Some(position) } else { piece.end(&window, first, position) };
        match end {
            Some(next) => return Ok(piece.chunk(next, is_finished, source)),
            None => tail = more(tail),
        }
    }
}

fn more(tail: Option<u32>) -> Option<u32> {
    tail.and_then(|tail| tail.checked_mul(GROWTH)).filter(|tail| *tail <= MOST_LINES)
}

impl Position {
    fn so_far(self, data: Vec<u8>, source: &dyn Source) -> Chunk {
        let (soonest, latest) = READ_AFTER;
        let wait = if source.is_busy() { latest } else { soonest + Duration::from_secs(self.idle.into()) };
        Chunk::so_far(data, self.write(), wait.min(latest))
    }

    fn write(self) -> Cursor {
        let Self { place: Place { time, count }, part, lines, idle, run, revision } = self;
        let text = format!("{time} {count} {part} {lines} {idle} {run} {revision}");
        std::iter::once(VERSION).chain(text.into_bytes()).collect()
    }

    fn read(cursor: &[u8]) -> Result<Self> {
        Self::parse(cursor).ok_or_else(|| Error::invalid("the log's cursor is none of this version of the provider"))
    }

    fn parse(cursor: &[u8]) -> Option<Self> {
        let mut parts = std::str::from_utf8(cursor.strip_prefix(&[VERSION])?).ok()?.split(' ');
        let place = Place { time: parts.next()?.parse().ok()?, count: parts.next()?.parse().ok()? };
        let position = Self {
            place,
            part: parts.next()?.parse().ok()?,
            lines: parts.next()?.parse().ok()?,
            idle: parts.next()?.parse().ok()?,
            run: parts.next()?.parse().ok()?,
            revision: parts.next()?.parse().ok()?,
        };
        parts.next().is_none().then_some(position)
    }
}

/// As much of some lines as a piece holds.
struct Piece {
    data: Vec<u8>,
    /// How many lines are in it, one that is not finished included.
    lines: usize,
    /// How many bytes of the last one were handed out by now, if there is or may come more of it; else 0.
    part: usize,
    /// Whether all of the lines are in it.
    is_all: bool,
}

impl Piece {
    /// `part` bytes of the first line were handed out before.
    fn new(lines: &[Line<'_>], part: usize, timestamps: bool) -> Self {
        let rest = |(index, line): (usize, &Line<'_>)| {
            let from = if index == 0 { part } else { 0 };
            line.bytes(timestamps).len().saturating_sub(from)
        };
        let size = lines.iter().enumerate().map(rest).sum::<usize>().min(PIECE);
        let mut piece = Self { data: Vec::with_capacity(size), lines: 0, part: 0, is_all: true };
        let mut from = part;
        for line in lines {
            let bytes = line.bytes(timestamps).get(from..).unwrap_or_default();
            if piece.lines > 0 && piece.data.len() + bytes.len() > PIECE {
                piece.is_all = false;
                break;
            }
            let taken = bytes.get(..PIECE).unwrap_or(bytes);
            piece.data.extend_from_slice(taken);
            piece.lines += 1;
            piece.is_all = taken.len() == bytes.len();
            piece.part = if piece.is_all && line.is_complete() { 0 } else { from + taken.len() };
            from = 0;
            if !piece.is_all {
                break;
            }
        }
        piece
    }

    /// The position behind it, if it begins with the line of this index; `None` if more lines must be seen to tell.
    fn end(&self, window: &Window<'_>, first: usize, position: Position) -> Option<Position> {
        let place = window.place(first + self.lines)?;
        let lines = self.lines.try_into().unwrap_or(u32::MAX);
        Some(Position { place, part: self.part, lines, idle: 0, ..position })
    }

    fn chunk(self, next: Position, is_finished: bool, source: &dyn Source) -> Chunk {
        match (self.is_all, is_finished) {
            (false, _) => Chunk::more(self.data, next.write()),
            (true, true) => Chunk::last(self.data),
            (true, false) => next.so_far(self.data, source),
        }
    }
}

#[cfg(test)]
mod tests;
