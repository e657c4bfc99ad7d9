//! Header blocks: lists of names and values, deflated as one zlib stream per direction.

use std::fmt;

use bytes::{Buf, Bytes};
use flate2::{Decompress, FlushDecompress, Status};

use super::{
    ProtocolError,
    dictionary::{DICTIONARY, DICTIONARY_ID},
};

/// Bytes of one block after inflating, at most.
pub const MAX_INFLATED: usize = 16 * 1024;
/// Headers in one block, at most.
pub const MAX_HEADERS: usize = 64;
/// Bytes of one name and of one value, at most.
pub const MAX_HEADER: usize = 8 * 1024;

/// The headers of a stream.
#[derive(Clone, PartialEq, Eq)]
pub struct Headers(Vec<(Bytes, Bytes)>);

impl Headers {
    /// The value of the first header of this name, in whatever case; the first one of a list. None if there is no such
    /// header, or if it is not UTF-8.
    pub fn get(&self, name: &str) -> Option<&str> {
        let (_, value) = self.0.iter().find(|(key, _)| key.eq_ignore_ascii_case(name.as_bytes()))?;
        str::from_utf8(value.split(|byte| *byte == 0).next()?).ok()
    }

    /// Names and values as they came. The values of a list are separated by NUL.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.0.iter().map(|(name, value)| (name.as_ref(), value.as_ref()))
    }
}

impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.0.iter().map(|(name, value)| (name, value))).finish()
    }
}

/// Reads the header blocks of one direction of a connection, each after the other: also those that nobody needs, since
/// a block refers to what was in those before.
#[derive(Debug)]
pub struct Inflater(Decompress);

impl Default for Inflater {
    fn default() -> Self {
        Self(Decompress::new(true))
    }
}

impl Inflater {
    /// Reads the next block.
    ///
    /// # Errors
    ///
    /// If it cannot be inflated, is malformed or too large. There is no going on after that.
    pub fn headers(&mut self, block: &[u8]) -> Result<Headers, ProtocolError> {
        parse(self.inflate(block)?.into())
    }

    fn inflate(&mut self, mut block: &[u8]) -> Result<Vec<u8>, ProtocolError> {
        // Twice that of the largest that real peers send; grows for others.
        let mut inflated = Vec::with_capacity(256);
        loop {
            if inflated.len() > MAX_INFLATED {
                return Err(ProtocolError::HeadersTooLarge);
            }
            if inflated.len() == inflated.capacity() {
                inflated.reserve(inflated.capacity());
            }
            let before = self.0.total_in();
            let result = self.0.decompress_vec(block, &mut inflated, FlushDecompress::Sync);
            let consumed = usize::try_from(self.0.total_in() - before).map_err(|_| ProtocolError::Compression)?;
            block = block.get(consumed..).ok_or(ProtocolError::Compression)?;
            match result {
                // Room that is left says that nothing is left to be put there.
                Ok(Status::Ok | Status::BufError) if block.is_empty() && inflated.len() < inflated.capacity() => {
                    return Ok(inflated);
                }
                Ok(Status::Ok) => {}
                Ok(Status::BufError) if inflated.len() == inflated.capacity() => {}
                Ok(Status::BufError | Status::StreamEnd) => return Err(ProtocolError::Compression),
                Err(error) => {
                    if error.needs_dictionary() != Some(u32::from_be_bytes(DICTIONARY_ID)) {
                        return Err(ProtocolError::Compression);
                    }
                    self.0.set_dictionary(DICTIONARY).map_err(|_| ProtocolError::Compression)?;
                }
            }
        }
    }
}

fn parse(mut inflated: Bytes) -> Result<Headers, ProtocolError> {
    if inflated.len() > MAX_INFLATED {
        return Err(ProtocolError::HeadersTooLarge);
    }
    let count = take_length(&mut inflated, MAX_HEADERS)?;
    let mut headers = Vec::with_capacity(count);
    for _ in 0..count {
        headers.push((take_text(&mut inflated)?, take_text(&mut inflated)?));
    }
    if inflated.has_remaining() {
        return Err(ProtocolError::MalformedHeaders);
    }
    Ok(Headers(headers))
}

fn take_length(from: &mut Bytes, max: usize) -> Result<usize, ProtocolError> {
    let length = from.try_get_u32().map_err(|_| ProtocolError::MalformedHeaders)? as usize;
    if length > max { Err(ProtocolError::HeadersTooLarge) } else { Ok(length) }
}

fn take_text(from: &mut Bytes) -> Result<Bytes, ProtocolError> {
    let length = take_length(from, MAX_HEADER)?;
    if from.len() < length { Err(ProtocolError::MalformedHeaders) } else { Ok(from.split_to(length)) }
}

/// A block without headers, and before the first one what begins a zlib stream. Both are stored, not compressed, which
/// takes no state; the second is empty and makes the peer's inflater give out what it has.
#[rustfmt::skip]
const EMPTY_BLOCK: &[u8; 20] = &[
    0x78, 0xf9, DICTIONARY_ID[0], DICTIONARY_ID[1], DICTIONARY_ID[2], DICTIONARY_ID[3], // zlib, with the dictionary
    0, 4, 0, 0xfb, 0xff, 0, 0, 0, 0, // four bytes: no headers
    0, 0, 0, 0xff, 0xff, // none
];

/// Bytes of what begins a zlib stream.
const BEGIN: usize = 6;

/// Writes header blocks without headers.
#[derive(Debug, Default)]
pub(super) struct EmptyBlocks {
    begun: bool,
}

impl EmptyBlocks {
    /// The next block.
    pub(super) fn next(&mut self) -> &'static [u8] {
        let begun = std::mem::replace(&mut self.begun, true);
        if begun { EMPTY_BLOCK.split_at(BEGIN).1 } else { EMPTY_BLOCK }
    }
}
