use std::{
    cell::{Cell, RefCell},
    time::UNIX_EPOCH,
};

use proptest::prelude::*;
use vk_sdk::PodId;

use super::*;

/// A container's log, as the service hands it out.
struct Log {
    content: RefCell<String>,
    phase: Cell<Phase>,
    /// The most lines that it keeps.
    kept: usize,
    asked: RefCell<Vec<Option<u32>>>,
}

impl Log {
    fn new(lines: &[(u64, &str)]) -> Self {
        let log = Self {
            content: RefCell::default(),
            phase: Cell::new(Phase::Running),
            kept: usize::MAX,
            asked: RefCell::default(),
        };
        lines.iter().for_each(|(time, text)| log.write(*time, &format!("{text}\n")));
        log
    }

    fn write(&self, time: u64, text: &str) {
        self.content.borrow_mut().push_str(&format!("{} {text}", stamp(time)));
    }

    fn read(&self, query: &Query, after: Option<&Cursor>) -> (String, Option<Cursor>, u32) {
        let chunk = super::read(self, query, after).unwrap();
        (String::from_utf8(chunk.data).unwrap(), chunk.next, chunk.read_after)
    }
}

impl Source for Log {
    fn phase(&self) -> Result<Phase> {
        Ok(self.phase.get())
    }

    fn lines(&self, tail: Option<u32>) -> Result<String> {
        self.asked.borrow_mut().push(tail);
        let content = self.content.borrow();
        let lines: Vec<_> = content.split_inclusive('\n').collect();
        let count = tail.map_or(self.kept, |tail| self.kept.min(tail as usize));
        Ok(lines[lines.len().saturating_sub(count)..].concat())
    }
}

fn stamp(seconds: u64) -> String {
    humantime::format_rfc3339_nanos(UNIX_EPOCH + Duration::from_secs(seconds)).to_string()
}

fn query() -> Query {
    let pod = PodId { namespace: "d".into(), name: "p".into(), uid: "u".into(), handle: None };
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

#[test]
fn the_first_read_begins_where_the_query_says() {
    let log = Log::new(&[(1, "one"), (2, "two"), (3, "three"), (4, "four")]);
    let read = |query: Query| log.read(&query, None).0;
    assert_eq!(read(query()), "one\ntwo\nthree\nfour\n");
    assert_eq!(read(Query { tail_lines: Some(2), ..query() }), "three\nfour\n");
    assert_eq!(read(Query { tail_lines: Some(0), ..query() }), "");
    assert_eq!(read(Query { tail_lines: Some(9), ..query() }), "one\ntwo\nthree\nfour\n");
    assert_eq!(read(Query { since: Some(2500), ..query() }), "three\nfour\n");
    assert_eq!(read(Query { since: Some(2000), tail_lines: Some(1), ..query() }), "four\n");
    let stamped = format!("{} four\n", stamp(4));
    assert_eq!(read(Query { tail_lines: Some(1), timestamps: true, ..query() }), stamped);
}

#[test]
fn who_follows_sees_each_line_once_and_waits_longer_when_nothing_comes() {
    let log = Log::new(&[(1, "one"), (1, "two")]);
    let (data, next, wait) = log.read(&query(), None);
    assert_eq!((data.as_str(), wait), ("one\ntwo\n", 2000));
    log.write(1, "three\n");
    let (data, mut next, wait) = log.read(&query(), next.as_ref());
    assert_eq!((data.as_str(), wait), ("three\n", 2000));
    for expected in [3000, 4000, 5000, 5000] {
        let (data, after, wait) = log.read(&query(), next.as_ref());
        assert_eq!((data.as_str(), wait), ("", expected));
        next = after;
    }
    log.write(2, "four\n");
    assert_eq!(log.read(&query(), next.as_ref()).0, "four\n");
}

#[test]
fn a_line_without_an_end_is_handed_out_when_it_has_one_or_the_container_has_ended() {
    let log = Log::new(&[(1, "one")]);
    log.write(2, "tw");
    let (data, next, _) = log.read(&query(), None);
    assert_eq!(data, "one\n");
    log.content.borrow_mut().push_str("o\n");
    let (data, next, _) = log.read(&query(), next.as_ref());
    assert_eq!(data, "two\n");
    log.write(3, "three");
    let (data, next, _) = log.read(&query(), next.as_ref());
    assert_eq!(data, "");
    log.phase.set(Phase::Ended);
    let (data, next, _) = log.read(&query(), next.as_ref());
    assert_eq!((data.as_str(), next), ("three", None));
}

#[test]
fn a_container_that_has_ended_has_a_last_piece() {
    let log = Log::new(&[(1, "one")]);
    let next = log.read(&query(), None).1;
    log.phase.set(Phase::Ended);
    assert_eq!(log.read(&query(), None), ("one\n".to_owned(), None, 0));
    assert_eq!(log.read(&query(), next.as_ref()), (String::new(), None, 0));
}

#[test]
fn lines_without_a_time_stay_with_the_line_before() {
    let log = Log::new(&[(1, "one")]);
    log.content.borrow_mut().push_str("  at main\n");
    let (data, next, _) = log.read(&query(), None);
    assert_eq!(data, "one\n  at main\n");
    log.content.borrow_mut().push_str("  at exit\n");
    log.write(2, "two\n");
    assert_eq!(log.read(&query(), next.as_ref()).0, "  at exit\ntwo\n");
}

#[test]
fn who_follows_a_long_log_asks_for_few_lines_of_it() {
    let log = Log::new(&[]);
    (1..=20_000).for_each(|time| log.write(time, "line\n"));
    let next = log.read(&Query { tail_lines: Some(5), ..query() }, None).1;
    assert_eq!(log.asked.take(), [Some(6)]);
    (20_001..=20_500).for_each(|time| log.write(time, "line\n"));
    let (data, next, _) = log.read(&query(), next.as_ref());
    assert_eq!(data.lines().count(), 500);
    assert_eq!(log.asked.take(), [Some(100), Some(800)]);
    // What came last is what to expect.
    log.write(20_501, "line\n");
    log.read(&query(), next.as_ref());
    assert_eq!(log.asked.take(), [Some(1000)]);
}

#[test]
fn much_comes_in_pieces() {
    let log = Log::new(&[]);
    let line = "x".repeat(1 << 20) + "\n";
    (1..=9).for_each(|time| log.write(time, &line));
    let (mut after, mut pieces) = (None, Vec::new());
    loop {
        let (data, next, wait) = log.read(&query(), after.as_ref());
        assert!(data.len() <= PIECE);
        pieces.push(data.lines().count());
        after = next;
        if wait > 0 {
            break;
        }
    }
    assert_eq!(pieces, [3, 3, 3]);
}

#[test]
fn what_cannot_be_read_is_said() {
    let log = Log::new(&[(1, "one")]);
    let fails = |query: &Query, after: Option<&Cursor>| super::read(&log, query, after).unwrap_err();
    let error = fails(&Query { previous: true, ..query() }, None);
    assert_eq!(error.kind, ErrorKind::NotFound);
    log.phase.set(Phase::Waiting);
    let error = fails(&query(), None);
    assert_eq!(error.kind, ErrorKind::Conflict);
    assert_eq!(error.message, "container \"c\" in pod \"d/p\" is waiting to start");
    for cursor in [&b""[..], b"1", b"11 2 3", b"11 2 3 4 5", b"21 2 3 4", b"1a 2 3 4"] {
        assert_eq!(fails(&query(), Some(&cursor.to_vec())).kind, ErrorKind::Invalid, "{cursor:?}");
    }
}

proptest! {
    /// However lines come, share times, and drop out after they could be seen, each is handed out once.
    #[test]
    fn each_line_is_handed_out_once(
        bursts in prop::collection::vec(prop::collection::vec((0_u64..2, any::<bool>()), 0..300), 1..8),
        tail_lines in prop::option::of(0_u32..20),
        timestamps in any::<bool>(),
    ) {
        let mut log = Log::new(&[]);
        // As many as any two bursts have, and one of another time before them.
        log.kept = 1000;
        let (mut time, mut number, mut after) = (1, 0, None);
        let (mut written, mut seen, mut first) = (String::new(), String::new(), None);
        let query = Query { tail_lines, timestamps, ..query() };
        for burst in bursts {
            for (step, is_stamped) in burst {
                time += step;
                number += 1;
                let text = format!("line {number}\n");
                let stamped = if is_stamped || number == 1 { format!("{} {text}", stamp(time)) } else { text.clone() };
                log.content.borrow_mut().push_str(&stamped);
                written.push_str(if timestamps { &stamped } else { &text });
            }
            time += 1;
            let (data, next, _) = log.read(&query, after.as_ref());
            let all = written.lines().count();
            first.get_or_insert(all.saturating_sub(tail_lines.map_or(usize::MAX, |lines| lines as usize)));
            seen.push_str(&data);
            after = next;
            prop_assert!(after.is_some());
        }
        let expected: String = written.split_inclusive('\n').skip(first.unwrap()).collect();
        prop_assert_eq!(seen, expected);
    }
}
