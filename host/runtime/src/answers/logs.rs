//! What `logs` answers.

use vk_provider::LogChunk;

use super::{Checked, bounded, cursor, milliseconds};
use crate::bindings::exports::vk::provider::logs;

/// One client's share of the host's memory.
const CHUNK_BYTES: usize = 4 << 20;

pub(crate) fn log_chunk(chunk: logs::Chunk) -> Checked<LogChunk> {
    bounded("the piece of a log", chunk.data.len(), CHUNK_BYTES)?;
    Ok(LogChunk {
        data: chunk.data,
        next: chunk.next.map(cursor).transpose()?,
        read_after: milliseconds(chunk.read_after),
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_piece_of_a_log_is_bounded_and_so_is_its_cursor() {
        let chunk = |data, next| log_chunk(logs::Chunk { data: vec![b'x'; data], next, read_after: 1_500 });
        let good = chunk(CHUNK_BYTES, Some(vec![0; 64 << 10])).unwrap();
        assert_eq!(good.read_after, Duration::from_millis(1_500));
        let error = chunk(CHUNK_BYTES + 1, None).unwrap_err();
        assert_eq!(error.to_string(), "the piece of a log has 4194305 bytes, more than 4194304");
        let error = chunk(0, Some(vec![0; (64 << 10) + 1])).unwrap_err();
        assert_eq!(error.to_string(), "the cursor has 65537 bytes, more than 65536");
    }
}
