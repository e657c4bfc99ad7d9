//! Where a poll goes on.

use vk_sdk::{Error, Result};

/// The first byte: the form of what follows.
const VERSION: u8 = b'1';

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Cursor {
    /// In the midst of a listing, after the pod with this uid. What changes meanwhile comes after `from`.
    Page { from: String, after: String },
    /// After a listing.
    Changes { from: String },
}

impl Cursor {
    pub(crate) fn write(&self) -> Vec<u8> {
        let text = match self {
            Self::Page { from, after } => format!("p{from}\n{after}"),
            Self::Changes { from } => format!("c{from}"),
        };
        std::iter::once(VERSION).chain(text.into_bytes()).collect()
    }

    pub(crate) fn read(bytes: &[u8]) -> Result<Self> {
        Self::parse(bytes).ok_or_else(|| Error::invalid("the cursor is none of this version of the mock"))
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes.strip_prefix(&[VERSION])?).ok()?;
        if let Some(from) = text.strip_prefix('c') {
            return Some(Self::Changes { from: from.to_owned() });
        }
        let (from, after) = text.strip_prefix('p')?.split_once('\n')?;
        Some(Self::Page { from: from.to_owned(), after: after.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use vk_sdk::ErrorKind;

    use super::*;

    #[test]
    fn a_cursor_is_read_back_the_same() {
        for cursor in [
            Cursor::Page { from: "17-42".to_owned(), after: "u-1".to_owned() },
            Cursor::Changes { from: "17-42".to_owned() },
        ] {
            assert_eq!(Cursor::read(&cursor.write()).unwrap(), cursor);
        }
    }

    #[test]
    fn a_cursor_of_another_version_is_invalid() {
        for bytes in [&b""[..], b"1", b"1x", b"1pno-end", b"2c17-42", b"1c\xff"] {
            assert_eq!(Cursor::read(bytes).unwrap_err().kind, ErrorKind::Invalid, "{bytes:?}");
        }
    }
}
