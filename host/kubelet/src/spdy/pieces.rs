//! Bytes that wait, in the pieces that they came in.

use std::{collections::VecDeque, mem};

use bytes::{Bytes, BytesMut};

use super::driver::READ;

/// A piece from here on is kept as it is, with the buffer that it is a part of; smaller ones are copied together. So what
/// is held is never much more than the bytes that are in it, and thousands of tiny pieces are one.
const SHARED: usize = READ / 2;

/// A queue of bytes.
#[derive(Debug, Default)]
pub(super) struct Pieces {
    pieces: VecDeque<Bytes>,
    /// Small pieces, after all the others.
    tail: BytesMut,
    length: usize,
}

impl Pieces {
    /// Bytes that are in it.
    pub(super) fn len(&self) -> usize {
        self.length
    }

    pub(super) fn is_empty(&self) -> bool {
        self.length == 0
    }

    pub(super) fn push(&mut self, piece: Bytes) {
        self.length += piece.len();
        if piece.len() < SHARED {
            self.tail.extend_from_slice(&piece);
            return;
        }
        if !self.tail.is_empty() {
            self.pieces.push_back(mem::take(&mut self.tail).freeze());
        }
        self.pieces.push_back(piece);
    }

    /// The first bytes, at most so many.
    pub(super) fn pop(&mut self, max: usize) -> Option<Bytes> {
        let mut piece = match self.pieces.pop_front() {
            Some(piece) => piece,
            None if self.tail.is_empty() => return None,
            None => mem::take(&mut self.tail).freeze(),
        };
        if piece.len() > max {
            self.pieces.push_front(piece.split_off(max));
        }
        self.length -= piece.len();
        Some(piece)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_holds_on_to_no_buffer_that_is_much_larger() {
        let mut pieces = Pieces::default();
        for length in [1, 4096, SHARED - 1] {
            let buffer = Bytes::from(vec![7; READ]);
            pieces.push(buffer.slice(..length));
            assert!(buffer.is_unique(), "{length} bytes hold {READ}");
        }
        let buffer = Bytes::from(vec![7; READ]);
        pieces.push(buffer.slice(..SHARED));
        assert!(!buffer.is_unique(), "half a buffer is not worth a copy");
        assert_eq!(pieces.len(), 1 + 4096 + SHARED - 1 + SHARED);
    }
}
