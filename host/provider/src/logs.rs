//! Reading a container's log.

use std::time::{Duration, SystemTime};

use async_trait::async_trait;

use crate::{Cursor, PodId, Result};

/// Reads what containers have written. Following is the caller's loop.
///
/// # Errors
///
/// A provider that does not export the interface fails with [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported).
#[async_trait]
pub trait Logs: Send + Sync {
    /// A piece of the log; `after` is the [`LogChunk::next`] of the piece before it. The query stays the same from the
    /// first piece to the last.
    async fn read(&self, query: &LogQuery, after: Option<Cursor>) -> Result<LogChunk>;
}

/// Which log, and how much of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogQuery {
    /// Whose.
    pub pod: PodId,
    /// Of which of its containers.
    pub container: String,
    /// That of the container's previous run.
    pub previous: bool,
    /// Begin each line with its time, RFC 3339 with nanoseconds, and a space.
    pub timestamps: bool,
    /// Only so many lines from the end; zero is none of those that are there.
    pub tail_lines: Option<u32>,
    /// Only what was written at or after this time.
    pub since: Option<SystemTime>,
    /// At most so many bytes are wanted; the caller cuts what exceeds them.
    pub limit_bytes: Option<u64>,
}

/// A piece of a log.
#[derive(Clone, PartialEq, Eq)]
pub struct LogChunk {
    /// The bytes as they were written.
    pub data: Vec<u8>,
    /// Where the next piece begins; `None`: the log is complete.
    pub next: Option<Cursor>,
    /// Zero: more is waiting. Otherwise that is all for now, and it makes sense to ask again after this.
    pub read_after: Duration,
}

/// What containers write is nobody's business: only its size is shown.
impl std::fmt::Debug for LogChunk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LogChunk")
            .field("bytes", &self.data.len())
            .field("next", &self.next)
            .field("read_after", &self.read_after)
            .finish()
    }
}
