//! What containers have written, for `kubectl logs`.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub use crate::bindings::logs::exports::vk::provider::logs::{Chunk, Query};
use crate::{Cursor, Provider, Result, component::milliseconds};

/// Reads logs. Implement it beside [`Provider`], and export it: `export!(MyProvider: Logs)`.
///
/// Following is the host's loop: a provider only reads, and waits for nothing.
pub trait Logs: Provider {
    /// A piece of a container's log, at most 4 MiB; `after` is where the piece before it ended. The query stays the
    /// same from the first piece to the last; its `tail_lines` and `since` shape only the first.
    ///
    /// # Errors
    ///
    /// [`Error::not_found`](crate::Error::not_found) if there is no such pod or container, or no such run of it.
    fn read_log(&self, query: Query, after: Option<Cursor>) -> Result<Chunk>;
}

impl Query {
    /// Only what was written at or after this time.
    pub fn since(&self) -> Option<SystemTime> {
        self.since.map(|since| UNIX_EPOCH + Duration::from_millis(since))
    }
}

/// A piece is one of three: [`more`](Self::more), [`so_far`](Self::so_far) and [`last`](Self::last).
impl Chunk {
    /// More is waiting: the host reads on at once.
    pub fn more(data: Vec<u8>, next: Cursor) -> Self {
        Self { data, next: Some(next), read_after: 0 }
    }

    /// That is all for now. Who follows the log reads on after a time, of at least a millisecond.
    pub fn so_far(data: Vec<u8>, next: Cursor, read_after: Duration) -> Self {
        Self { data, next: Some(next), read_after: milliseconds(read_after).max(1) }
    }

    /// That was the end of it: the container has ended and will not write to this log again.
    pub fn last(data: Vec<u8>) -> Self {
        Self { data, next: None, read_after: 0 }
    }
}
