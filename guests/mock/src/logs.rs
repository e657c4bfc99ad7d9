//! The logs of containers: pieces of what [`mock_model::Log`] makes of time.

use std::time::Duration;

use mock_model::{ContainerState, Episode, Log, wire::Details};
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
    read_at(now(), &store.look(&query.pod)?, query, after)
}

fn read_at(now: u64, details: &Details, query: &Query, after: Option<&Cursor>) -> Result<Chunk> {
    let container = container(details, &query.pod, &query.container)?;
    let log = &details.workload.log;
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

#[cfg(test)]
mod tests {
    use vk_sdk::ErrorKind;

    use super::*;
    use crate::tests::{CREATED, Container};

    impl Container {
        fn read(&self, query: &Query, after: Option<&Cursor>, at: u64) -> Result<Chunk> {
            let (now, details) = self.at(at);
            read_at(now, &details, query, after)
        }
    }

    fn query() -> Query {
        let pod = vk_sdk::PodId { namespace: "d".into(), name: "p".into(), uid: "u".into(), handle: None };
        Query {
            pod,
            container: "c".into(),
            previous: false,
            timestamps: false,
            tail_lines: None,
            since: None,
            limit_bytes: None,
        }
    }

    fn text(chunk: &Chunk) -> &str {
        std::str::from_utf8(&chunk.data).unwrap()
    }

    #[test]
    fn who_follows_sees_each_line_once_and_soon() {
        let container = Container::new(&[]);
        let begin = container.read(&query(), None, 1400).unwrap();
        assert_eq!(text(&begin), "c: started, run 0\nc: line 1\n");
        assert_eq!(begin.read_after, 600);
        let later = container.read(&query(), begin.next.as_ref(), 2100).unwrap();
        assert_eq!((text(&later), later.read_after), ("c: line 2\n", 900));
        let nothing = container.read(&query(), later.next.as_ref(), 2950).unwrap();
        assert_eq!((text(&nothing), nothing.read_after), ("", 200));
        assert_eq!(nothing.next, later.next);
    }

    #[test]
    fn the_first_read_begins_where_the_query_says() {
        let container = Container::new(&[]);
        let read = |query: Query| text(&container.read(&query, None, 3000).unwrap()).to_owned();
        assert_eq!(read(Query { tail_lines: Some(0), ..query() }), "");
        assert_eq!(read(Query { tail_lines: Some(2), ..query() }), "c: line 2\nc: line 3\n");
        assert_eq!(read(Query { tail_lines: Some(99), ..query() }).lines().count(), 4);
        assert_eq!(read(Query { since: Some(CREATED + 2500), ..query() }), "c: line 3\n");
        assert_eq!(read(Query { since: Some(CREATED + 1), tail_lines: Some(1), ..query() }), "c: line 3\n");
        let stamped = "2023-11-14T22:13:23.000000000Z c: line 3\n";
        assert_eq!(read(Query { timestamps: true, tail_lines: Some(1), ..query() }), stamped);
        // They shape the first read only.
        let none = Query { tail_lines: Some(0), ..query() };
        let begin = container.read(&none, None, 3000).unwrap();
        assert_eq!(text(&container.read(&none, begin.next.as_ref(), 4000).unwrap()), "c: line 4\n");
    }

    #[test]
    fn a_run_that_has_ended_is_complete_also_when_the_container_was_started_again() {
        let container = Container::new(&[("run-for", "1500ms"), ("exit-code", "3"), ("restart-after", "1s")]);
        let begin = container.read(&query(), None, 500).unwrap();
        let rest = "c: line 1\nc: exited with code 3\n";
        for at in [1600, 2600] {
            let end = container.read(&query(), begin.next.as_ref(), at).unwrap();
            assert_eq!((text(&end), &end.next), (rest, &None), "{at}");
        }
        // Two runs later nothing is known of it any more.
        let end = container.read(&query(), begin.next.as_ref(), 7000).unwrap();
        assert_eq!((text(&end), &end.next), ("", &None));
    }

    #[test]
    fn the_previous_run_has_a_log_of_its_own() {
        let container = Container::new(&[("run-for", "1500ms"), ("exit-code", "3"), ("restart-after", "1s")]);
        let previous = Query { previous: true, ..query() };
        let whole = "c: started, run 0\nc: line 1\nc: exited with code 3\n";
        assert_eq!(container.read(&previous, None, 500).unwrap_err().kind, ErrorKind::NotFound);
        // While it waits to be started again, the last run is both.
        for query in [&previous, &query()] {
            assert_eq!(text(&container.read(query, None, 2000).unwrap()), whole);
        }
        let chunk = container.read(&previous, None, 2600).unwrap();
        assert_eq!((text(&chunk), &chunk.next), (whole, &None));
        assert_eq!(text(&container.read(&query(), None, 2600).unwrap()), "c: started, run 1\n");
    }

    #[test]
    fn much_comes_in_pieces_without_a_wait() {
        let container = Container::new(&[("log-lines", "100000"), ("log-bytes", "100")]);
        let (mut after, mut bytes, mut lines) = (None, 0, 0);
        loop {
            let chunk = container.read(&query(), after.as_ref(), 10).unwrap();
            assert!(chunk.data.len() < PIECE + 100, "{} bytes", chunk.data.len());
            bytes += chunk.data.len();
            lines += text(&chunk).lines().count();
            after = chunk.next;
            if chunk.read_after > 0 {
                break;
            }
        }
        assert_eq!((lines, bytes), (100_001, 10_000_100));
    }

    #[test]
    fn what_cannot_be_read_is_said() {
        let waiting = Container::new(&[("start-after", "1s")]);
        assert_eq!(waiting.read(&query(), None, 500).unwrap_err().kind, ErrorKind::Conflict);
        let running = Container::new(&[]);
        let other = Query { container: "x".into(), ..query() };
        assert_eq!(running.read(&other, None, 500).unwrap_err().kind, ErrorKind::NotFound);
        for cursor in [&b""[..], b"1", b"10", b"2 0 0", b"10 x"] {
            let error = running.read(&query(), Some(&cursor.to_vec()), 500).unwrap_err();
            assert_eq!(error.kind, ErrorKind::Invalid, "{cursor:?}");
        }
    }
}
