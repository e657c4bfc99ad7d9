//! Bytes received, in the pieces that they came in.

use std::{collections::VecDeque, mem};

use bytes::{Bytes, BytesMut};

/// A piece from here on is kept as it is, with the read buffer that it is a part of; smaller ones are copied together.
/// So what is held is never much more than what was received, and thousands of tiny frames are one piece.
const SHARED: usize = 4096;

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

    pub(super) fn pop(&mut self) -> Option<Bytes> {
        let piece = match self.pieces.pop_front() {
            Some(piece) => piece,
            None if self.tail.is_empty() => return None,
            None => mem::take(&mut self.tail).freeze(),
        };
        self.length -= piece.len();
        Some(piece)
    }
}
