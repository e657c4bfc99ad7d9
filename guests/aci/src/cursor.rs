//! Where a poll goes on.

use vk_sdk::{Error, Result};

const VERSION: u8 = 1;

/// A place in a listing, or after one. A listing is named by the time at which it began, in milliseconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Cursor {
    /// The page after some of a listing.
    Page { listing: u64, next: String },
    /// What changed since a listing.
    Changes { listing: u64 },
}

impl Cursor {
    pub(crate) fn write(&self) -> Vec<u8> {
        let (listing, next) = match self {
            Self::Page { listing, next } => (listing, next.as_str()),
            Self::Changes { listing } => (listing, ""),
        };
        [&[VERSION], listing.to_be_bytes().as_slice(), next.as_bytes()].concat()
    }

    pub(crate) fn read(bytes: &[u8]) -> Result<Self> {
        let cursor = || {
            let (listing, next) = bytes.strip_prefix(&[VERSION])?.split_first_chunk()?;
            let (listing, next) = (u64::from_be_bytes(*listing), String::from_utf8(next.to_vec()).ok()?);
            Some(if next.is_empty() { Self::Changes { listing } } else { Self::Page { listing, next } })
        };
        cursor().ok_or_else(|| Error::invalid("a cursor of another version"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        for cursor in [Cursor::Page { listing: 7, next: "https://a/b?c".into() }, Cursor::Changes { listing: u64::MAX }]
        {
            assert_eq!(Cursor::read(&cursor.write()).unwrap(), cursor);
        }
        for bytes in [&[][..], &[1, 2], &[0; 9], &[1, 0, 0, 0, 0, 0, 0, 0, 0, 0xff]] {
            assert!(Cursor::read(bytes).is_err(), "{bytes:?}");
        }
    }
}
