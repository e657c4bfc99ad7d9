//! The loop: when to read again, and when to stop.

use std::{
    io,
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use rand::RngExt;
use tokio::time::{Instant, sleep_until};
use vk_provider::{Cursor, Error, ErrorKind, LogChunk, LogQuery, Logs};

use super::Running;

/// Bounds on what a provider says. The lower one keeps a careless provider from spinning the host.
const SHORTEST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// Before the next read when one brought nothing although more was waiting, as with a backend that hands out empty
/// pages.
const AFTER_EMPTY_PIECE: Duration = Duration::from_millis(10);
/// Of so many in a row, nothing more is believed to be waiting.
const EMPTY_PIECES: u32 = 100;
/// How often to see whether the container still runs.
const CHECK: Duration = Duration::from_secs(1);
/// Backends take in what a container wrote last only after it has ended.
const SETTLE: Duration = Duration::from_secs(1);
/// Bounds on the wait after an error.
const SHORTEST_BACKOFF: Duration = Duration::from_secs(1);
const LONGEST_BACKOFF: Duration = Duration::from_secs(30);
/// How often to try again, one time after the other, when the container has ended.
const LAST_TRIES: u32 = 3;

pub(super) struct Reader {
    logs: Arc<dyn Logs>,
    query: LogQuery,
    follow: Option<Running>,
    after: Option<Cursor>,
    /// How much of the limit is left.
    left: Option<u64>,
    next_read: Instant,
    /// When the last read began that succeeded, by the clock that logs go by.
    read_at: SystemTime,
    /// When the container was first seen not to run.
    ended_at: Option<Instant>,
    /// Since the last piece with something in it.
    empty_pieces: u32,
    failures: u32,
    failures_after_end: u32,
    is_line_begun: bool,
    is_complete: bool,
    /// To be told after the line that tells it.
    error: Option<io::Error>,
}

impl Reader {
    pub(super) fn new(logs: Arc<dyn Logs>, query: LogQuery, follow: Option<Running>) -> Self {
        Self {
            follow: follow.filter(|_| !query.previous),
            left: query.limit_bytes,
            logs,
            query,
            after: None,
            next_read: Instant::now(),
            read_at: SystemTime::now(),
            ended_at: None,
            empty_pieces: 0,
            failures: 0,
            failures_after_end: 0,
            is_line_begun: false,
            is_complete: false,
            error: None,
        }
    }

    /// The next bytes that there are.
    pub(super) async fn next(&mut self) -> Option<io::Result<Bytes>> {
        while !self.is_complete {
            self.pause().await;
            match self.read().await {
                Ok(bytes) if bytes.is_empty() => {}
                Ok(bytes) => return Some(Ok(bytes)),
                Err(error) => {
                    if let Err(error) = self.recover(error) {
                        return Some(Ok(self.fail(&error)));
                    }
                }
            }
        }
        self.error.take().map(Err)
    }

    /// One read, whatever it brings.
    pub(super) async fn read(&mut self) -> Result<Bytes, Error> {
        let (began, at) = (Instant::now(), SystemTime::now());
        let LogChunk { data, next, mut read_after } = self.logs.read(&self.query, self.after.clone()).await?;
        let mut bytes = Bytes::from(data);
        let is_empty = bytes.is_empty();
        self.empty_pieces = if is_empty { self.empty_pieces.saturating_add(1) } else { 0 };
        if self.empty_pieces >= EMPTY_PIECES {
            read_after = read_after.max(SHORTEST_WAIT);
        }
        if let Some(left) = &mut self.left {
            bytes.truncate(usize::try_from(*left).unwrap_or(usize::MAX));
            *left -= bytes.len() as u64;
        }
        if let Some(last) = bytes.last() {
            self.is_line_begun = *last != b'\n';
        }
        let is_over = is_empty && self.ended_at.is_some_and(|ended| began >= ended + SETTLE);
        let is_all = !read_after.is_zero() && (self.follow.is_none() || is_over);
        self.is_complete = next.is_none() || is_all || self.left == Some(0);
        self.next_read = Instant::now()
            + match (read_after, is_empty) {
                (Duration::ZERO, false) => Duration::ZERO,
                (Duration::ZERO, true) => AFTER_EMPTY_PIECE,
                _ if self.ended_at.is_some() => read_after.clamp(SHORTEST_WAIT, SETTLE),
                _ => read_after.clamp(SHORTEST_WAIT, LONGEST_WAIT),
            };
        (self.after, self.read_at, self.failures, self.failures_after_end) = (next, at, 0, 0);
        Ok(bytes)
    }

    /// Waits for the time of the next read. A container that ends brings it forward.
    async fn pause(&mut self) {
        loop {
            if self.ended_at.is_none() && self.follow.as_ref().is_some_and(|is_running| !is_running()) {
                self.ended_at = Some(Instant::now());
                return;
            }
            let now = Instant::now();
            if now >= self.next_read {
                return;
            }
            sleep_until(self.next_read.min(now + CHECK)).await;
        }
    }

    /// Sees to it that reading goes on after an error, if it can.
    fn recover(&mut self, error: Error) -> Result<(), Error> {
        if self.follow.is_none() {
            return Err(error);
        }
        match error.kind {
            ErrorKind::Unavailable | ErrorKind::Exhausted => {
                if self.ended_at.is_some() {
                    self.failures_after_end += 1;
                    if self.failures_after_end > LAST_TRIES {
                        return Err(error);
                    }
                }
                let wait = self.backoff(error.retry_after);
                tracing::debug!(pod = %self.query.pod.name, %error, retry_in = ?wait, "a log cannot be read");
                self.next_read = Instant::now() + wait;
                Ok(())
            }
            ErrorKind::Invalid if self.after.is_some() => {
                tracing::info!(pod = %self.query.pod.name, %error, "a log is read from the time of the last read");
                self.after = None;
                self.query.since = Some(self.read_at);
                self.query.tail_lines = None;
                self.next_read = Instant::now() + SHORTEST_WAIT;
                Ok(())
            }
            _ => Err(error),
        }
    }

    /// Doubles with each failure. Followers that failed together do not come back together.
    fn backoff(&mut self, wanted: Option<Duration>) -> Duration {
        let step = SHORTEST_BACKOFF.saturating_mul(1 << self.failures.min(10)).min(LONGEST_BACKOFF);
        self.failures += 1;
        match wanted {
            Some(wanted) => {
                wanted.clamp(SHORTEST_BACKOFF, LONGEST_BACKOFF).mul_f64(rand::rng().random_range(1.0..=1.25))
            }
            None => step.mul_f64(rand::rng().random_range(0.5..=1.0)),
        }
    }

    /// Ends the log with an error; yields the line that tells it, as far as the limit allows.
    fn fail(&mut self, error: &Error) -> Bytes {
        let pod = &self.query.pod;
        tracing::warn!(
            namespace = %pod.namespace, pod = %pod.name, container = %self.query.container, kind = error.kind.as_str(), %error,
            "a log ends early"
        );
        self.is_complete = true;
        self.error = Some(io::Error::other(error.to_string()));
        let mut line = format!("vk-host: the log ends here: {error}\n");
        if self.is_line_begun {
            line.insert(0, '\n');
        }
        let mut line = Bytes::from(line);
        if let Some(left) = self.left {
            line.truncate(usize::try_from(left).unwrap_or(usize::MAX));
        }
        line
    }
}
