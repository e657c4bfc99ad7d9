//! What a container has written, in lines with their times.

use std::{collections::VecDeque, fmt::Write};

use jiff::Timestamp;

/// How much of a running container's output is kept, in bytes.
const KEPT: usize = 4 << 20;
/// How much of it is left once the container has ended, in bytes and in lines.
const LEFT: usize = 16 << 10;
const LEFT_LINES: usize = 1000;
/// Longer lines are kept in pieces.
const PIECE: usize = 16 << 10;

/// Output: whole lines, and the beginning of one.
#[derive(Debug, Default)]
pub(crate) struct Log {
    pieces: VecDeque<Piece>,
    bytes: usize,
    /// Whether the last piece may still grow.
    open: bool,
}

/// A line, with its end; or a part of one, without.
#[derive(Debug)]
struct Piece {
    at: Timestamp,
    text: Vec<u8>,
    /// Whether a line begins here.
    begins: bool,
}

impl Log {
    /// Takes what was written just now.
    pub(crate) fn write(&mut self, at: Timestamp, output: &[u8]) {
        for line in output.split_inclusive(|byte| *byte == b'\n') {
            for part in line.chunks(PIECE) {
                self.piece(at, part);
            }
        }
        self.trim(KEPT, usize::MAX);
    }

    fn piece(&mut self, at: Timestamp, part: &[u8]) {
        self.bytes += part.len();
        let ends = part.ends_with(b"\n");
        match self.pieces.back_mut() {
            Some(last) if self.open && last.text.len() + part.len() <= PIECE => last.text.extend_from_slice(part),
            _ => self.pieces.push_back(Piece { at, text: part.to_vec(), begins: !self.open }),
        }
        self.open = !ends;
    }

    /// The container has ended: only the end of its output is left.
    pub(crate) fn end(&mut self) {
        self.trim(LEFT, LEFT_LINES);
    }

    fn trim(&mut self, bytes: usize, pieces: usize) {
        while self.bytes > bytes || self.pieces.len() > pieces {
            let Some(first) = self.pieces.pop_front() else { return };
            self.bytes -= first.text.len();
        }
        if let Some(first) = self.pieces.front_mut() {
            first.begins = true;
        }
    }

    /// The last `tail` lines, or all that are there. With `timestamps`, each begins with its time (RFC 3339,
    /// nanoseconds) and a blank.
    pub(crate) fn read(&self, tail: Option<u32>, timestamps: bool) -> String {
        let lines = self.pieces.iter().filter(|piece| piece.begins).count();
        let skipped = tail.map_or(0, |tail| lines.saturating_sub(usize::try_from(tail).unwrap_or(usize::MAX)));
        let mut line = 0;
        let mut text = String::new();
        for piece in &self.pieces {
            line += usize::from(piece.begins);
            if line <= skipped {
                continue;
            }
            if timestamps && piece.begins {
                // Writing to a String cannot fail.
                let _written = write!(text, "{:.9} ", piece.at);
            }
            text.push_str(&String::from_utf8_lossy(&piece.text));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_line_has_the_time_of_its_beginning_however_it_is_written() {
        let mut log = Log::default();
        log.write(at(0), b"o");
        log.write(at(1), b"ne");
        log.write(at(2), b"\ntwo\n\nthr");
        let text =
            "1970-01-01T00:00:00.000000000Z one\n1970-01-01T00:00:02.000000000Z two\n1970-01-01T00:00:02.000000000Z \n";
        assert_eq!(log.read(None, true), format!("{text}1970-01-01T00:00:02.000000000Z thr"));
        assert_eq!(log.read(Some(2), false), "\nthr");
    }

    #[test]
    fn long_lines_are_one_line_and_bounded() {
        let mut log = Log::default();
        log.write(at(0), b"short\n");
        log.write(at(0), &vec![b'x'; 3 * PIECE + 1]);
        log.write(at(1), b"\nlast");
        assert_eq!(log.read(Some(2), false).len(), 3 * PIECE + 2 + 4);
        assert_eq!(log.read(None, true).matches(" ").count(), 3);
        log.write(at(2), &vec![b'y'; 2 * KEPT]);
        assert!(log.read(None, false).len() <= KEPT);
        assert_eq!(log.read(Some(1), true).matches(" ").count(), 1, "what is left is a line");
        log.end();
        assert!(log.read(None, false).len() <= LEFT && log.read(None, false).ends_with("yy"));
    }

    #[test]
    fn what_is_not_text_is_shown_all_the_same() {
        let mut log = Log::default();
        log.write(at(0), b"a\xffb\n");
        assert_eq!(log.read(None, false), "a\u{fffd}b\n");
    }
}
