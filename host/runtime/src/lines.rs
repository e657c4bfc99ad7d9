//! Log lines of a provider: from its `log` import, and from its standard output and error.

use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::{io::AsyncWrite, time::Instant};
use tracing::Level;
use wasmtime_wasi::{
    cli::{IsTerminal, StdoutStream},
    p2::{OutputStream, Pollable, StreamResult},
};

use crate::{shared::Shared, text};

/// The longest line; what follows is dropped up to the next line break.
const LINE_BYTES: usize = 8 << 10;
/// The longest text of a line's fields.
const FIELDS_BYTES: usize = 4 << 10;
/// What a guest may write to a stream at once.
const WRITE_BYTES: usize = 64 << 10;
/// What may be logged at once, as a multiple of what may be logged per second.
const BURST: u32 = 4;
/// The target of the events, to filter by.
const TARGET: &str = "provider";

/// A token bucket over the lines of all instances of a generation.
#[derive(Debug)]
pub(crate) struct LineRate {
    per_second: u32,
    state: Mutex<RateState>,
}

#[derive(Debug)]
struct RateState {
    tokens: f64,
    at: Instant,
    dropped: u64,
}

impl LineRate {
    pub(crate) fn new(per_second: u32) -> Self {
        let tokens = f64::from(per_second.saturating_mul(BURST));
        Self { per_second, state: Mutex::new(RateState { tokens, at: Instant::now(), dropped: 0 }) }
    }

    /// Whether one more line may be logged, and how many were dropped before it.
    fn admit(&self) -> Option<u64> {
        let mut state = lock(&self.state);
        let now = Instant::now();
        let per_second = f64::from(self.per_second);
        let gained = now.duration_since(state.at).as_secs_f64() * per_second;
        state.tokens = (state.tokens + gained).min(per_second * f64::from(BURST));
        state.at = now;
        if state.tokens < 1.0 {
            state.dropped += 1;
            return None;
        }
        state.tokens -= 1.0;
        Some(std::mem::take(&mut state.dropped))
    }
}

/// Writes the lines of one instance. Clones belong to the same instance.
#[derive(Clone)]
pub(crate) struct Lines {
    shared: Arc<Shared>,
    /// The pod of the present call, as `namespace/name`.
    pod: Arc<Mutex<Option<Arc<str>>>>,
}

impl Lines {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, pod: Arc::default() }
    }

    pub(crate) fn set_pod(&self, pod: Option<Arc<str>>) {
        *lock(&self.pod) = pod;
    }

    pub(crate) fn pod(&self) -> Option<Arc<str>> {
        lock(&self.pod).clone()
    }

    /// Logs a message with fields, unless its level is off or there are too many lines. `stream` says where it comes
    /// from if not from the `log` import.
    pub(crate) fn log(&self, level: Level, stream: Option<&str>, message: &str, fields: &[(String, String)]) {
        // The macros want constant levels: a callsite of its own for each.
        macro_rules! log {
            ($level:ident) => {
                if tracing::enabled!(target: TARGET, Level::$level)
                    && let Some(dropped) = self.shared.line_rate.admit()
                {
                    if dropped > 0 {
                        self.say_dropped(dropped);
                    }
                    let fields = (!fields.is_empty()).then(|| text::fields(fields, FIELDS_BYTES));
                    tracing::event!(
                        target: TARGET,
                        Level::$level,
                        provider = self.shared.name(),
                        generation = self.shared.generation,
                        pod = self.pod().as_deref(),
                        stream,
                        fields,
                        "{}",
                        text::clean(message, LINE_BYTES)
                    )
                }
            };
        }
        match level {
            Level::TRACE => log!(TRACE),
            Level::DEBUG => log!(DEBUG),
            Level::INFO => log!(INFO),
            Level::WARN => log!(WARN),
            _ => log!(ERROR),
        }
    }

    fn say_dropped(&self, dropped: u64) {
        tracing::warn!(
            target: TARGET,
            provider = self.shared.name(),
            generation = self.shared.generation,
            dropped,
            "the provider logged more than {} lines per second (sandbox.log-lines)",
            self.shared.limits.log_lines
        );
    }
}

/// Standard output or error of an instance, in lines. Clones write to the same line.
#[derive(Clone)]
pub(crate) struct LineStream {
    lines: Lines,
    level: Level,
    name: &'static str,
    line: Arc<Mutex<Line>>,
}

#[derive(Default)]
struct Line {
    begun: Vec<u8>,
    /// Bytes of this line that found no room.
    dropped: usize,
}

impl LineStream {
    pub(crate) fn stdout(lines: Lines) -> Self {
        Self { lines, level: Level::INFO, name: "stdout", line: Arc::default() }
    }

    pub(crate) fn stderr(lines: Lines) -> Self {
        Self { lines, level: Level::WARN, name: "stderr", line: Arc::default() }
    }

    /// Ends a line that was begun.
    pub(crate) fn finish(&self) {
        let mut line = lock(&self.line);
        if !line.begun.is_empty() {
            self.end(&mut line);
        }
    }

    fn push(&self, bytes: &[u8]) {
        let mut line = lock(&self.line);
        let mut rest = bytes;
        while let Some(at) = rest.iter().position(|&byte| byte == b'\n') {
            let (head, tail) = rest.split_at(at);
            line.push(head);
            self.end(&mut line);
            rest = tail.get(1..).unwrap_or_default();
        }
        line.push(rest);
    }

    fn end(&self, line: &mut Line) {
        let text = String::from_utf8_lossy(&line.begun);
        let text = text.trim_end_matches('\r');
        if line.dropped > 0 {
            let text = format!("{text}… ({} bytes more)", line.dropped);
            self.lines.log(self.level, Some(self.name), &text, &[]);
        } else if !text.is_empty() {
            self.lines.log(self.level, Some(self.name), text, &[]);
        }
        line.begun.clear();
        line.dropped = 0;
    }
}

impl Line {
    fn push(&mut self, bytes: &[u8]) {
        let room = (LINE_BYTES - 64).saturating_sub(self.begun.len()).min(bytes.len());
        let (kept, dropped) = bytes.split_at(room);
        self.begun.extend_from_slice(kept);
        self.dropped += dropped.len();
    }
}

impl IsTerminal for LineStream {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for LineStream {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

impl OutputStream for LineStream {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.push(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(WRITE_BYTES)
    }
}

#[async_trait]
impl Pollable for LineStream {
    async fn ready(&mut self) {}
}

impl AsyncWrite for LineStream {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.push(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// What these locks guard is whole between any two statements, so a panic elsewhere does not spoil it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn lines_beyond_the_rate_are_dropped_and_counted() {
        let rate = LineRate::new(10);
        for line in 0..40 {
            assert_eq!(rate.admit(), Some(0), "line {line} of the burst");
        }
        assert_eq!((rate.admit(), rate.admit()), (None, None));
        tokio::time::advance(Duration::from_millis(150)).await;
        assert_eq!(rate.admit(), Some(2));
        assert_eq!(rate.admit(), None, "150 ms give one line");
    }

    #[test]
    fn a_line_keeps_its_beginning_and_counts_the_rest() {
        let mut line = Line::default();
        line.push(&[b'a'; 10_000]);
        line.push(&[b'b'; 10_000]);
        assert!(line.begun.len() < LINE_BYTES);
        assert_eq!(line.begun.len() + line.dropped, 20_000);
    }
}
