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
    run: Cell<u64>,
    revision: Cell<u64>,
    is_busy: Cell<bool>,
    looks: Cell<usize>,
    /// What is answered in place of a log.
    error: RefCell<Option<Error>>,
    /// The most lines that it keeps.
    kept: usize,
    asked: RefCell<Vec<Option<u32>>>,
}

impl Log {
    fn new(lines: &[(u64, &str)]) -> Self {
        let log = Self {
            content: RefCell::default(),
            phase: Cell::new(Phase::Running),
            run: Cell::new(1),
            revision: Cell::new(0),
            is_busy: Cell::new(false),
            looks: Cell::new(0),
            error: RefCell::new(None),
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
    fn look(&self) -> Result<Look> {
        self.looks.set(self.looks.get() + 1);
        Ok(Look { phase: self.phase.get(), run: self.run.get() })
    }

    fn revision(&self) -> u64 {
        self.revision.get()
    }

    fn is_busy(&self) -> bool {
        self.is_busy.get()
    }

    fn lines(&self, tail: Option<u32>) -> Result<String> {
        self.asked.borrow_mut().push(tail);
        if let Some(error) = self.error.borrow().as_ref() {
            return Err(error.clone());
        }
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
    for expected in [3000, 4000, 5000, 6000, 7000, 8000, 9000, 10_000, 10_000] {
        let (data, after, wait) = log.read(&query(), next.as_ref());
        assert_eq!((data.as_str(), wait), ("", expected));
        next = after;
    }
    log.write(2, "four\n");
    assert_eq!(log.read(&query(), next.as_ref()).0, "four\n");
}

#[test]
fn a_line_without_an_end_is_handed_out_and_gone_on_with() {
    for timestamps in [false, true] {
        let query = Query { timestamps, ..query() };
        let stamped = |time, text: &str| if timestamps { format!("{} {text}", stamp(time)) } else { text.to_owned() };
        let log = Log::new(&[]);
        log.write(2, "user");
        let (data, next, _) = log.read(&query, None);
        assert_eq!(data, stamped(2, "user"));
        log.content.borrow_mut().push_str("name: ");
        let (data, next, _) = log.read(&query, next.as_ref());
        assert_eq!(data, "name: ");
        let (data, next, wait) = log.read(&query, next.as_ref());
        assert_eq!((data.as_str(), wait), ("", 3000));
        log.content.borrow_mut().push('\n');
        log.write(3, "three");
        let (data, next, _) = log.read(&query, next.as_ref());
        assert_eq!(data, format!("\n{}", stamped(3, "three")));
        log.phase.set(Phase::Ended);
        assert_eq!(log.read(&query, next.as_ref()), (String::new(), None, 0));
        assert!(log.read(&query, None).0.ends_with("three"));
    }
}

#[test]
fn who_sees_nothing_new_looks_at_the_container_only_when_it_has_changed_or_after_long() {
    let log = Log::new(&[(1, "one")]);
    log.revision.set(5);
    let mut next = log.read(&query(), None).1;
    for looks in [1, 1, 1, 1, 1, 2, 2] {
        next = log.read(&query(), next.as_ref()).1;
        assert_eq!(log.looks.get(), looks);
    }
    log.revision.set(6);
    log.phase.set(Phase::Ended);
    assert_eq!(log.read(&query(), next.as_ref()).1, None);
}

#[test]
fn who_follows_waits_as_long_as_can_be_while_little_is_left_of_the_quota() {
    let log = Log::new(&[(1, "one")]);
    log.is_busy.set(true);
    assert_eq!(log.read(&query(), None).2, 10_000);
}

#[test]
fn who_follows_goes_on_with_the_next_run() {
    let log = Log::new(&[(100, "one")]);
    let next = log.read(&query(), None).1;
    for error in [Error::not_found("no log"), Error::conflict("in transition")] {
        log.error.replace(Some(error));
        for phase in [Phase::Running, Phase::Waiting] {
            log.phase.set(phase);
            assert!(log.read(&query(), next.as_ref()).1.is_some());
        }
    }
    log.phase.set(Phase::Ended);
    assert_eq!(super::read(&log, &query(), next.as_ref()).unwrap_err().message, "in transition");
    log.phase.set(Phase::Running);
    log.error.take();
    // On this machine the log goes on.
    log.run.set(2);
    let (data, next, _) = log.read(&query(), next.as_ref());
    assert_eq!(data, "");
    log.write(101, "two\n");
    let (data, next, _) = log.read(&query(), next.as_ref());
    assert_eq!(data, "two\n");
    // On another, whose clock is behind, it begins.
    log.run.set(3);
    log.content.take();
    log.write(90, "three\n");
    let (data, next, _) = log.read(&query(), next.as_ref());
    assert_eq!(data, "three\n");
    log.write(91, "four\n");
    assert_eq!(log.read(&query(), next.as_ref()).0, "four\n");
}

#[test]
fn a_line_longer_than_a_piece_comes_in_several() {
    let log = Log::new(&[(1, &"x".repeat(PIECE + 5))]);
    let (data, next, wait) = log.read(&query(), None);
    assert_eq!((data.len(), wait), (PIECE, 0));
    assert_eq!(log.read(&query(), next.as_ref()).0, "xxxxx\n");
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
    // While it runs, the service's own word counts.
    log.error.replace(Some(Error::conflict("in transition")));
    assert_eq!(fails(&query(), None).message, "in transition");
    log.phase.set(Phase::Waiting);
    let error = fails(&query(), None);
    assert_eq!(error.kind, ErrorKind::Conflict);
    assert_eq!(error.message, "container \"c\" in pod \"d/p\" is waiting to start");
    for cursor in [&b""[..], b"1", b"21 2 3 4 5 6", b"21 2 3 4 5 6 7 8", b"11 2 3 4 5 6 7", b"2a 2 3 4 5 6 7"] {
        assert_eq!(fails(&query(), Some(&cursor.to_vec())).kind, ErrorKind::Invalid, "{cursor:?}");
    }
}

proptest! {
    /// However lines come, share times, and drop out after they could be seen, each is handed out once.
    #[test]
    fn each_line_is_handed_out_once(
        bursts in prop::collection::vec(
            (prop::collection::vec((0_u64..2, any::<bool>()), 0..300), any::<bool>()), 1..8,
        ),
        tail_lines in prop::option::of(0_u32..20),
        timestamps in any::<bool>(),
    ) {
        let mut log = Log::new(&[]);
        // As many as any two bursts have, and one of another time before them.
        log.kept = 1000;
        let (mut time, mut number, mut after) = (1, 0, None);
        let (mut written, mut seen, mut first) = (String::new(), String::new(), None);
        let query = Query { tail_lines, timestamps, ..query() };
        let mut is_begun = false;
        for (burst, begins) in bursts {
            if std::mem::take(&mut is_begun) {
                log.content.borrow_mut().push_str("est\n");
                written.push_str("est\n");
            }
            for (step, is_stamped) in burst {
                time += step;
                number += 1;
                let text = format!("line {number}\n");
                let stamped = if is_stamped || number == 1 { format!("{} {text}", stamp(time)) } else { text.clone() };
                log.content.borrow_mut().push_str(&stamped);
                written.push_str(if timestamps { &stamped } else { &text });
            }
            time += 1;
            if begins {
                number += 1;
                is_begun = true;
                let stamped = format!("{} line {number} and the r", stamp(time));
                log.content.borrow_mut().push_str(&stamped);
                written.push_str(if timestamps { &stamped } else { stamped.split_once(' ').unwrap().1 });
            }
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
