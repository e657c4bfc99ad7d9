//! Logs of a provider that the tests play.

use std::{
    collections::VecDeque,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use futures::{FutureExt, StreamExt};
use proptest::prelude::*;
use tokio::time::Instant;
use vk_provider::{Cursor, ErrorKind, LogChunk, PodId};

use super::*;

/// Answers from a script; what comes after it is that there is nothing.
#[derive(Default)]
struct Script {
    answers: Mutex<VecDeque<Result<LogChunk, Error>>>,
    calls: Mutex<Vec<Call>>,
}

#[derive(Debug, Clone)]
struct Call {
    query: LogQuery,
    after: Option<Cursor>,
    at: Instant,
}

impl Script {
    fn new(answers: impl IntoIterator<Item = Result<LogChunk, Error>>) -> Arc<Self> {
        Arc::new(Self { answers: Mutex::new(answers.into_iter().collect()), calls: Mutex::default() })
    }

    fn calls(&self) -> Vec<Call> {
        self.calls.lock().unwrap().clone()
    }

    /// The pauses between the calls, in milliseconds.
    fn pauses(&self) -> Vec<u128> {
        self.calls().windows(2).map(|calls| (calls[1].at - calls[0].at).as_millis()).collect()
    }
}

#[async_trait]
impl Logs for Script {
    async fn read(&self, query: &LogQuery, after: Option<Cursor>) -> Result<LogChunk, Error> {
        self.calls.lock().unwrap().push(Call { query: query.clone(), after, at: Instant::now() });
        self.answers.lock().unwrap().pop_front().unwrap_or_else(|| all_for_now("", "end", 1000))
    }
}

/// More is waiting.
fn piece(data: &str, next: &str) -> Result<LogChunk, Error> {
    all_for_now(data, next, 0)
}

fn all_for_now(data: &str, next: &str, read_after: u64) -> Result<LogChunk, Error> {
    let next = Some(next.as_bytes().to_vec());
    Ok(LogChunk { data: data.into(), next, read_after: Duration::from_millis(read_after) })
}

fn complete(data: &str) -> Result<LogChunk, Error> {
    Ok(LogChunk { data: data.into(), next: None, read_after: Duration::from_secs(1) })
}

fn failed(kind: ErrorKind) -> Result<LogChunk, Error> {
    Err(Error::new(kind, "told by the provider"))
}

fn query() -> LogQuery {
    LogQuery {
        pod: PodId { namespace: "default".into(), name: "web".into(), uid: "1".into(), handle: None },
        container: "app".into(),
        previous: false,
        timestamps: true,
        tail_lines: Some(7),
        since: None,
        limit_bytes: None,
    }
}

/// A run that goes on until the switch is thrown.
fn run() -> (Arc<AtomicBool>, Option<Running>) {
    let runs = Arc::new(AtomicBool::new(true));
    let seen = Arc::clone(&runs);
    (runs, Some(Box::new(move || seen.load(Ordering::Relaxed))))
}

/// All bytes, and whether an error came after them.
async fn all(stream: LogStream) -> (String, bool) {
    let items: Vec<_> = stream.collect().await;
    let fails = items.iter().filter(|item| item.is_err()).count();
    assert!(fails == 0 || (fails == 1 && items.last().unwrap().is_err()), "an error is the last item");
    let bytes: Vec<u8> = items.into_iter().flatten().flatten().collect();
    (String::from_utf8(bytes).unwrap(), fails == 1)
}

async fn read(logs: &Arc<Script>, query: LogQuery, follow: Option<Running>) -> (String, bool) {
    all(open(Arc::clone(logs) as Arc<dyn Logs>, query, follow).await.unwrap()).await
}

#[tokio::test(start_paused = true)]
async fn a_log_is_read_piece_by_piece_with_one_query_to_what_is_all_for_now() {
    let logs = Script::new([piece("a\n", "1"), piece("b\n", "2"), all_for_now("c\n", "3", 50), piece("later", "4")]);
    assert_eq!(read(&logs, query(), None).await, ("a\nb\nc\n".into(), false));
    let calls = logs.calls();
    assert!(calls.iter().all(|call| call.query == query()));
    let cursors: Vec<_> = calls.into_iter().map(|call| call.after).collect();
    assert_eq!(cursors, [None, Some(b"1".to_vec()), Some(b"2".to_vec())]);
    assert_eq!(logs.pauses(), [0, 0]);
}

#[tokio::test(start_paused = true)]
async fn an_empty_log_is_an_empty_stream() {
    for answer in [complete(""), all_for_now("", "1", 1)] {
        assert_eq!(read(&Script::new([answer]), query(), None).await, (String::new(), false));
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_error_is_the_requests() {
    for kind in [ErrorKind::NotFound, ErrorKind::Unsupported, ErrorKind::Unavailable, ErrorKind::Invalid] {
        for follow in [None, run().1] {
            let logs = Script::new([failed(kind)]);
            let error = open(logs.clone(), query(), follow).await.err().unwrap();
            assert_eq!(error.kind, kind);
            assert_eq!(logs.calls().len(), 1);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_follower_waits_as_long_as_it_is_told_within_bounds() {
    let answers = [
        all_for_now("a", "1", 1),
        all_for_now("b", "2", 2500),
        piece("c", "3"),
        all_for_now("", "4", 3_600_000),
        piece("", "5"),
        complete("d"),
    ];
    let logs = Script::new(answers);
    assert_eq!(read(&logs, query(), run().1).await, ("abcd".into(), false));
    assert_eq!(logs.pauses(), [100, 2500, 0, 10_000, 10]);
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_has_ever_more_and_never_anything_is_not_asked_without_end() {
    let empty = || (0..10_000).map(|_| piece("", "1"));
    let logs = Script::new([piece("a", "1")].into_iter().chain(empty()));
    assert_eq!(read(&logs, query(), None).await, ("a".into(), false));
    assert_eq!(logs.calls().len(), 101);

    let (runs, follow) = run();
    let logs = Script::new(empty().take(150).chain([piece("b", "2"), piece("", "3")]).chain(empty()));
    let stream = open(Arc::clone(&logs) as Arc<dyn Logs>, query(), follow).await.unwrap();
    let read = tokio::spawn(all(stream));
    tokio::time::sleep(Duration::from_secs(30)).await;
    let pauses = logs.pauses();
    assert_eq!((pauses[98], pauses[99], pauses[150], pauses[151]), (10, 100, 0, 10));
    runs.store(false, Ordering::Relaxed);
    assert_eq!(read.await.unwrap(), ("b".into(), false));
}

#[tokio::test(start_paused = true)]
async fn a_follower_has_the_first_piece_at_once_and_each_later_one_when_it_is_there() {
    let logs = Script::new([all_for_now("", "1", 1000), all_for_now("b", "2", 1000), complete("c")]);
    let mut stream = open(logs, query(), run().1).await.unwrap();
    let began = Instant::now();
    assert_eq!(stream.next().await.unwrap().unwrap(), "b");
    assert_eq!(began.elapsed().as_millis(), 1000);
    assert!(stream.next().now_or_never().is_none());
    assert_eq!(stream.next().await.unwrap().unwrap(), "c");
    assert!(stream.next().await.is_none());
    assert!(stream.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_follower_ends_with_everything_soon_after_the_container() {
    let (runs, follow) = run();
    let logs = Script::new([all_for_now("a", "1", 10_000)]);
    let stream = open(Arc::clone(&logs) as Arc<dyn Logs>, query(), follow).await.unwrap();
    let rest = tokio::spawn(all(stream));
    tokio::time::sleep(Duration::from_millis(60_500)).await;
    // What it wrote last is there only a moment after its end.
    logs.answers.lock().unwrap().extend([all_for_now("", "2", 10_000), all_for_now("last", "3", 10_000)]);
    runs.store(false, Ordering::Relaxed);
    let ended = Instant::now();
    assert_eq!(rest.await.unwrap(), ("alast".into(), false));
    assert!(ended.elapsed() < Duration::from_secs(4), "{:?}", ended.elapsed());
}

#[tokio::test(start_paused = true)]
async fn following_a_previous_run_ends_with_it() {
    let logs = Script::new([piece("a", "1"), all_for_now("b", "2", 1000)]);
    let previous = LogQuery { previous: true, ..query() };
    assert_eq!(read(&logs, previous, run().1).await, ("ab".into(), false));
    assert_eq!(logs.calls().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_limit_is_kept_to_the_byte() {
    for (limit, expected, reads) in
        [(0, "", 1), (1, "a", 1), (3, "abc", 1), (4, "abcd", 2), (6, "abcdef", 2), (9, "abcdef", 3)]
    {
        let logs = Script::new([piece("abc", "1"), piece("def", "2"), complete("")]);
        let limited = LogQuery { limit_bytes: Some(limit), ..query() };
        assert_eq!(read(&logs, limited, run().1).await, (expected.into(), false), "limit {limit}");
        assert_eq!(logs.calls().len(), reads, "limit {limit}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_follower_outlives_a_backend_that_is_away() {
    let mut answers = vec![all_for_now("a", "1", 1000)];
    answers.extend((0..8).map(|n| failed(if n % 2 == 0 { ErrorKind::Unavailable } else { ErrorKind::Exhausted })));
    answers.push(complete("b"));
    let logs = Script::new(answers);
    assert_eq!(read(&logs, query(), run().1).await, ("ab".into(), false));
    let pauses = logs.pauses();
    assert!(pauses[1] >= 500 && pauses[1] <= 1000, "{pauses:?}");
    assert!(pauses[8] >= 15_000 && pauses.iter().all(|pause| *pause <= 30_000), "{pauses:?}");
    assert!(logs.calls().iter().skip(1).all(|call| call.after == Some(b"1".to_vec())));
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_says_when_to_come_back_is_not_asked_before() {
    let told = Error { retry_after: Some(Duration::from_secs(20)), ..Error::new(ErrorKind::Exhausted, "quota") };
    let logs = Script::new([all_for_now("a", "1", 100), Err(told), complete("b")]);
    assert_eq!(read(&logs, query(), run().1).await.0, "ab");
    assert!(logs.pauses()[1] >= 20_000, "{:?}", logs.pauses());
}

#[tokio::test(start_paused = true)]
async fn a_backend_that_stays_away_ends_the_log_of_a_container_that_has_ended() {
    let (runs, follow) = run();
    let answers = [all_for_now("a\n", "1", 1000)].into_iter().chain((0..100).map(|_| failed(ErrorKind::Unavailable)));
    let logs = Script::new(answers);
    let stream = open(Arc::clone(&logs) as Arc<dyn Logs>, query(), follow).await.unwrap();
    runs.store(false, Ordering::Relaxed);
    assert_eq!(all(stream).await, ("a\nvk-host: the log ends here: told by the provider\n".into(), true));
    assert_eq!(logs.calls().len(), 5);
}

#[tokio::test(start_paused = true)]
async fn other_errors_end_the_log_with_a_line_and_an_error() {
    for (follow, kind) in
        [(run().1, ErrorKind::Internal), (run().1, ErrorKind::NotFound), (None, ErrorKind::Unavailable)]
    {
        let logs = Script::new([piece("a", "1"), failed(kind), piece("b", "2")]);
        let expected = "a\nvk-host: the log ends here: told by the provider\n";
        assert_eq!(read(&logs, query(), follow).await, (expected.into(), true), "{kind:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_line_that_tells_an_error_counts_towards_the_limit() {
    let logs = Script::new([piece("a", "1"), failed(ErrorKind::Internal)]);
    let limited = LogQuery { limit_bytes: Some(9), ..query() };
    assert_eq!(read(&logs, limited, None).await, ("a\nvk-host".into(), true));
}

#[tokio::test(start_paused = true)]
async fn a_follower_goes_on_from_the_time_of_the_last_read_when_its_cursor_is_not_understood() {
    let logs = Script::new([all_for_now("a", "1", 1000), failed(ErrorKind::Invalid), complete("b")]);
    let before = SystemTime::now();
    assert_eq!(read(&logs, query(), run().1).await, ("ab".into(), false));
    let again = &logs.calls()[2];
    assert_eq!((again.after.as_ref(), again.query.tail_lines), (None, None));
    let since = again.query.since.unwrap();
    assert!(since >= before && since <= SystemTime::now());
    // The rest of the query is as it was.
    assert_eq!(LogQuery { since: None, tail_lines: Some(7), ..again.query.clone() }, query());

    // A query that it does not understand either is the end.
    let logs = Script::new([piece("a", "1"), failed(ErrorKind::Invalid), failed(ErrorKind::Invalid)]);
    assert!(read(&logs, query(), run().1).await.1);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_read_ahead_of_the_client_or_after_it_has_gone() {
    let logs = Script::new([piece("a", "1"), piece("b", "2"), piece("c", "3")]);
    let mut stream = open(Arc::clone(&logs) as Arc<dyn Logs>, query(), run().1).await.unwrap();
    stream.next().await.unwrap().unwrap();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(logs.calls().len(), 1);
    drop(stream);
    assert_eq!(Arc::strong_count(&logs), 1);
}

#[test]
fn the_stream_can_be_the_body_of_an_answer() {
    fn check<T: Send + Sync + Unpin>() {}
    check::<LogStream>();
}

proptest! {
    #[test]
    fn the_stream_is_the_pieces_up_to_the_limit(
        pieces in prop::collection::vec("[a-c\n]{0,9}", 1..20),
        limit in prop::option::of(0_u64..100),
        follows in any::<bool>(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let answers = pieces.iter().map(|data| piece(data, "x")).chain([complete("")]);
        let query = LogQuery { limit_bytes: limit, ..query() };
        let follow = follows.then(|| run().1.unwrap());
        let (seen, fails) = runtime.block_on(read(&Script::new(answers), query, follow));
        let mut expected = pieces.concat();
        expected.truncate(limit.map_or(usize::MAX, |limit| limit as usize));
        prop_assert_eq!((seen, fails), (expected, false));
    }
}
