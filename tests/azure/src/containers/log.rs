//! What a container has written, in lines with their times.

use std::collections::VecDeque;

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

    fn trim(&mut self, bytes: usize, lines: usize) {
        if self.bytes <= bytes && lines == usize::MAX {
            return;
        }
        let mut left = self.lines();
        while self.bytes > bytes || left > lines {
            let Some(first) = self.pieces.pop_front() else { return };
            self.bytes -= first.text.len();
            left -= usize::from(first.begins);
            if let Some(next) = self.pieces.front_mut().filter(|next| !next.begins) {
                // The rest of a line is a line. It does not begin within a character.
                let within = next.text.iter().take(3).take_while(|byte| **byte & 0xc0 == 0x80).count();
                next.text.drain(..within);
                self.bytes -= within;
                next.begins = true;
                left += 1;
            }
        }
    }

    fn lines(&self) -> usize {
        self.pieces.iter().filter(|piece| piece.begins).count()
    }

    /// The last `tail` lines, or all that are there. With `timestamps`, each begins with its time (RFC 3339,
    /// nanoseconds) and a blank.
    pub(crate) fn read(&self, tail: Option<u32>, timestamps: bool) -> String {
        let skipped = tail.map_or(0, |tail| self.lines().saturating_sub(usize::try_from(tail).unwrap_or(usize::MAX)));
        let mut line = 0;
        let mut text = Vec::new();
        for piece in &self.pieces {
            line += usize::from(piece.begins);
            if line <= skipped {
                continue;
            }
            if timestamps && piece.begins {
                text.extend_from_slice(format!("{:.9} ", piece.at).as_bytes());
            }
            text.extend_from_slice(&piece.text);
        }
        // Not piece by piece: a character may be in two.
        String::from_utf8_lossy(&text).into_owned()
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
    fn a_character_on_the_border_of_two_pieces_stays_whole() {
        let mut log = Log::default();
        let line = format!("{}\u{20ac}end", "x".repeat(PIECE - 1));
        log.write(at(0), line.as_bytes());
        assert_eq!(log.read(None, false), line);
        log.end();
        assert_eq!(log.read(None, false), "end");
    }

    #[test]
    fn the_lines_of_one_that_has_ended_are_counted_and_not_their_pieces() {
        let mut log = Log::default();
        for line in 0..=LEFT_LINES {
            log.write(at(0), format!("{line}").as_bytes());
            log.write(at(1), b"\n");
        }
        log.end();
        let left = log.read(None, false);
        assert_eq!((left.lines().count(), left.lines().next()), (LEFT_LINES, Some("1")));
    }

    #[test]
    fn what_is_not_text_is_shown_all_the_same() {
        let mut log = Log::default();
        log.write(at(0), b"a\xffb\n");
        assert_eq!(log.read(None, false), "a\u{fffd}b\n");
    }
}
