//! The marks that tell a command's output from everything else that a terminal shows.
//!
//! A mark is `RS nonce kind RS`, where RS is a byte that is typed as `\036`: the echo of what was typed never looks like
//! one. The nonce is of the session alone, so that no command's output does either. A command could read the arguments
//! with which its shell was started, so the mark that is among them has a nonce of its own.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::group::Secret;

/// The ASCII record separator.
const SEPARATOR: u8 = 0x1e;
/// The most bytes between nonce and the second separator: a letter and an exit code.
const LONGEST_KIND: usize = 4;
/// The kind of [`Mark::Ready`].
const READY: &str = "r";

/// What a shell says between the lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mark {
    /// It reads commands, and echoes nothing.
    Ready,
    /// The command begins.
    Begin,
    /// What follows is of the command's standard error.
    Error,
    /// What follows is of its standard output again.
    Output,
    /// The same, after the end of a line of standard error. A line end itself would make some shells write what is
    /// before and after it one by one.
    LineEnd,
    /// The command has ended, with this code.
    End(u8),
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece {
    Bytes(Vec<u8>),
    Mark(Mark),
}

/// A session's own marks.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Marks {
    /// Of [`Mark::Ready`], which counts only before any command runs.
    first_nonce: String,
    /// Of the others.
    nonce: String,
    /// The end of what was seen, where it may be the beginning of a mark.
    held: Vec<u8>,
}

impl Marks {
    /// Those of the session with this password, which is given to one session only.
    pub(super) fn new(password: &Secret) -> Self {
        let digest = Sha256::digest(&password.0);
        let nonce = |from| digest.iter().skip(from).take(8).map(|byte| format!("{byte:02x}")).collect();
        Self { first_nonce: nonce(8), nonce: nonce(0), held: Vec::new() }
    }

    /// The argument of `printf` that prints a mark; `kind` is `r`, `b`, `s`, `o`, `n` or, for the end, `e%d`.
    pub(super) fn format(&self, kind: &str) -> String {
        let nonce = if kind == READY { &self.first_nonce } else { &self.nonce };
        format!("\\036{nonce}{kind}\\036")
    }

    /// Splits what a terminal shows. What may yet become a mark is held back.
    pub(super) fn split(&mut self, bytes: &[u8]) -> Vec<Piece> {
        let mut rest = std::mem::take(&mut self.held);
        rest.extend_from_slice(bytes);
        let (mut pieces, mut plain, mut rest) = (Vec::new(), Vec::new(), rest.as_slice());
        while let Some(begin) = rest.iter().position(|byte| *byte == SEPARATOR) {
            let (before, candidate) = rest.split_at(begin);
            plain.extend_from_slice(before);
            match self.parse(candidate) {
                Parsed::Mark(mark, length) => {
                    if !plain.is_empty() {
                        pieces.push(Piece::Bytes(std::mem::take(&mut plain)));
                    }
                    pieces.push(Piece::Mark(mark));
                    rest = candidate.get(length..).unwrap_or_default();
                }
                Parsed::Unfinished => {
                    self.held = candidate.to_vec();
                    rest = &[];
                }
                Parsed::Other => {
                    plain.push(SEPARATOR);
                    rest = candidate.get(1..).unwrap_or_default();
                }
            }
        }
        plain.extend_from_slice(rest);
        if !plain.is_empty() {
            pieces.push(Piece::Bytes(plain));
        }
        pieces
    }

    /// What was held back, as no more comes.
    pub(super) fn rest(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.held)
    }

    fn parse(&self, candidate: &[u8]) -> Parsed {
        let parse = |nonce, is_first| match parse(candidate, nonce) {
            Parsed::Mark(mark, _) if (mark == Mark::Ready) != is_first => Parsed::Other,
            parsed => parsed,
        };
        match parse(&self.nonce, false) {
            Parsed::Other => parse(&self.first_nonce, true),
            parsed => parsed,
        }
    }
}

fn parse(candidate: &[u8], nonce: &str) -> Parsed {
    let nonce = nonce.as_bytes();
    let Some(after) = candidate.get(1..) else { return Parsed::Other };
    let Some(kind) = after.strip_prefix(nonce) else {
        return if nonce.starts_with(after) { Parsed::Unfinished } else { Parsed::Other };
    };
    match kind.iter().position(|byte| *byte == SEPARATOR) {
        Some(end) => match kind.get(..end).and_then(mark) {
            Some(mark) => Parsed::Mark(mark, 1 + nonce.len() + end + 1),
            None => Parsed::Other,
        },
        None if kind.len() <= LONGEST_KIND => Parsed::Unfinished,
        None => Parsed::Other,
    }
}

enum Parsed {
    /// And its length in bytes.
    Mark(Mark, usize),
    Unfinished,
    Other,
}

fn mark(kind: &[u8]) -> Option<Mark> {
    match kind {
        b"r" => Some(Mark::Ready),
        b"b" => Some(Mark::Begin),
        b"s" => Some(Mark::Error),
        b"o" => Some(Mark::Output),
        b"n" => Some(Mark::LineEnd),
        [b'e', code @ ..] => Some(Mark::End(std::str::from_utf8(code).ok()?.parse().ok()?)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn printed(marks: &Marks, kind: &str) -> Vec<u8> {
        marks.format(kind).replace("\\036", "\x1e").into_bytes()
    }

    fn split(pieces: &[&[u8]]) -> (Vec<u8>, Vec<Mark>) {
        let mut marks = Marks::new(&Secret("p".to_owned()));
        let (mut bytes, mut seen) = (Vec::new(), Vec::new());
        for piece in pieces {
            for piece in marks.split(piece) {
                match piece {
                    Piece::Bytes(piece) => bytes.extend(piece),
                    Piece::Mark(mark) => seen.push(mark),
                }
            }
        }
        bytes.extend(marks.rest());
        (bytes, seen)
    }

    #[test]
    fn only_whole_marks_of_this_session_count() {
        let marks = Marks::new(&Secret("p".to_owned()));
        let other = Marks::new(&Secret("q".to_owned()));
        for not in ["x", "e", "e256", "e-1", "e1234", "b1"] {
            let bytes = printed(&marks, not);
            assert_eq!(split(&[&bytes]), (bytes, Vec::new()), "{not}");
        }
        // What is known to a command does for no mark of the time in which it runs.
        let forged = format!("\x1e{}e0\x1e", marks.first_nonce).into_bytes();
        for bytes in [printed(&other, "b"), marks.format("b").into_bytes(), forged] {
            assert_eq!(split(&[&bytes]), (bytes, Vec::new()));
        }
    }

    #[test]
    fn output_is_not_held_back_for_long() {
        let mut marks = Marks::new(&Secret("p".to_owned()));
        assert_eq!(marks.split(b"prompt\x1e"), [Piece::Bytes(b"prompt".to_vec())]);
        assert_eq!(marks.split(b"x"), [Piece::Bytes(b"\x1ex".to_vec())]);
    }

    proptest! {
        #[test]
        fn marks_are_found_however_the_bytes_are_split(
            parts in prop::collection::vec(prop_oneof![
                prop::collection::vec(prop_oneof![Just(0x1e_u8), Just(b'e'), any::<u8>()], 0..20).prop_map(Err),
                Just(Ok(Mark::Ready)), Just(Ok(Mark::Begin)), Just(Ok(Mark::Error)), Just(Ok(Mark::Output)),
                Just(Ok(Mark::LineEnd)),
                any::<u8>().prop_map(|code| Ok(Mark::End(code))),
                // The beginning of a mark that never ends.
                (0..20_usize).prop_map(|length| {
                    let whole = printed(&Marks::new(&Secret("p".to_owned())), "e25");
                    Err(whole[..length.min(whole.len() - 1)].to_vec())
                }),
            ], 0..10),
            cuts in prop::collection::vec(1..30_usize, 0..100),
        ) {
            let marks = Marks::new(&Secret("p".to_owned()));
            let mut stream = Vec::new();
            for part in &parts {
                match part {
                    Ok(Mark::Ready) => stream.extend(printed(&marks, "r")),
                    Ok(Mark::Begin) => stream.extend(printed(&marks, "b")),
                    Ok(Mark::Error) => stream.extend(printed(&marks, "s")),
                    Ok(Mark::Output) => stream.extend(printed(&marks, "o")),
                    Ok(Mark::LineEnd) => stream.extend(printed(&marks, "n")),
                    Ok(Mark::End(code)) => stream.extend(printed(&marks, &format!("e{code}"))),
                    // A byte after it that belongs to no mark keeps the parts apart.
                    Err(bytes) => stream.extend(bytes.iter().chain(b"\n")),
                }
            }
            let (mut pieces, mut rest) = (Vec::new(), stream.as_slice());
            for cut in cuts {
                let (piece, after) = rest.split_at(cut.min(rest.len()));
                pieces.push(piece);
                rest = after;
            }
            pieces.push(rest);
            let (bytes, seen) = split(&pieces);
            let expected: Vec<_> = parts.iter().filter_map(|part| part.as_ref().ok().copied()).collect();
            prop_assert_eq!(&seen, &expected);
            let plain = |part: &Result<Mark, Vec<u8>>| part.as_ref().err().map(|bytes| [bytes, &b"\n"[..]].concat());
            prop_assert_eq!(bytes, parts.iter().filter_map(plain).collect::<Vec<_>>().concat());
            let whole = split(&[&stream]);
            prop_assert_eq!(&whole.1, &expected);
        }
    }
}
