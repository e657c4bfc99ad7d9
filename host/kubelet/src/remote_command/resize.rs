//! The sizes of a client's terminal: JSON documents one after another, cut into pieces anywhere.

use serde::Deserialize;
use vk_provider::TerminalSize;

/// The most bytes of one document.
const MAX_DOCUMENT: usize = 1 << 10;

/// Puts the documents together. What is no size ends it: no size is read any more.
#[derive(Debug)]
pub(super) enum Resizes {
    /// The beginning of a document.
    Reading(Vec<u8>),
    Broken,
}

/// A document as clients write it, or as Go would take it.
#[derive(Deserialize)]
struct Document {
    #[serde(rename = "Width", alias = "width", default)]
    width: u16,
    #[serde(rename = "Height", alias = "height", default)]
    height: u16,
}

impl Resizes {
    pub(super) fn new() -> Self {
        Self::Reading(Vec::new())
    }

    /// Takes the next piece, and yields the last size that it completes: those before it are over. A terminal without
    /// width or height has no size yet.
    pub(super) fn push(&mut self, piece: &[u8]) -> Option<TerminalSize> {
        let mut last = None;
        for piece in piece.chunks(MAX_DOCUMENT) {
            let Self::Reading(begun) = self else { break };
            begun.extend_from_slice(piece);
            let mut documents = serde_json::Deserializer::from_slice(begun).into_iter::<Document>();
            let is_sound = loop {
                match documents.next() {
                    Some(Ok(Document { width: 0, .. } | Document { height: 0, .. })) => {}
                    Some(Ok(Document { width, height })) => last = Some(TerminalSize { columns: width, rows: height }),
                    Some(Err(error)) => break error.is_eof(),
                    None => break true,
                }
            };
            let end = documents.byte_offset();
            begun.drain(..end);
            if !is_sound || begun.len() > MAX_DOCUMENT {
                *self = Self::Broken;
            }
        }
        last
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn size(columns: u16, rows: u16) -> Option<TerminalSize> {
        Some(TerminalSize { columns, rows })
    }

    #[test]
    fn clients_spell_sizes_in_their_ways() {
        for (text, expected) in [
            (r#"{"Width":80,"Height":24}"#, size(80, 24)),
            ("{\"Width\":80,\"Height\":24}\n", size(80, 24)),
            (r#"{"Height": 24, "Width": 80}"#, size(80, 24)),
            (r#"{"height":24,"width":80,"depth":{"a":[1]}}"#, size(80, 24)),
            (r#"{"Width":80,"Height":24}{"Width":81,"Height":25}"#, size(81, 25)),
            (r#"{"Width":65535,"Height":1}"#, size(65535, 1)),
            (r#"{"Width":0,"Height":24}"#, None),
            (r#"{"Width":80}"#, None),
            (r#"{"Width":80,"Height":24"#, None),
            ("", None),
        ] {
            assert_eq!(Resizes::new().push(text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_size_ends_it() {
        for text in [r#"{"Width":65536,"Height":1}"#, r#"{"Width":-1,"Height":1}"#, "nonsense", "[", "\u{0}", "}"] {
            let mut resizes = Resizes::new();
            assert_eq!(resizes.push(br#"{"Width":80,"Height":24}"#), size(80, 24));
            assert_eq!(resizes.push(text.as_bytes()), None, "{text}");
            assert_eq!(resizes.push(br#"{"Width":81,"Height":25}"#), None, "{text}");
        }
    }

    #[test]
    fn a_document_without_end_is_not_kept() {
        let mut resizes = Resizes::new();
        assert_eq!(resizes.push(&[b' '; 10 * MAX_DOCUMENT]), None);
        assert_eq!(resizes.push(br#"{"Width":80,"Height":24,"x":""#), None);
        for _ in 0..10 {
            resizes.push(&[b'x'; MAX_DOCUMENT / 2]);
            assert!(!matches!(&resizes, Resizes::Reading(begun) if begun.len() > MAX_DOCUMENT));
        }
        assert!(matches!(resizes, Resizes::Broken));
    }

    proptest! {
        #[test]
        fn where_pieces_are_cut_means_nothing(
            sizes in prop::collection::vec((1..=u16::MAX, 1..=u16::MAX), 1..8),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
            space in "[ \n\t]{0,3}",
        ) {
            let mut stream = String::new();
            for (width, height) in &sizes {
                stream += &format!("{{\"Width\":{width},\"Height\":{height}}}{space}");
            }
            let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
            cuts.extend([0, stream.len()]);
            cuts.sort_unstable();

            let mut resizes = Resizes::new();
            let mut seen = Vec::new();
            for cut in cuts.windows(2) {
                seen.extend(resizes.push(&stream.as_bytes()[cut[0]..cut[1]]));
            }

            let sent: Vec<_> = sizes.iter().map(|&(columns, rows)| TerminalSize { columns, rows }).collect();
            prop_assert_eq!(seen.last(), sent.last());
            let mut rest = sent.iter();
            prop_assert!(seen.iter().all(|size| rest.any(|sent| sent == size)), "{seen:?} of {sent:?}");
        }

        #[test]
        fn anything_may_come(pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..3000), 0..8)) {
            let mut resizes = Resizes::new();
            for piece in pieces {
                resizes.push(&piece);
                prop_assert!(!matches!(&resizes, Resizes::Reading(begun) if begun.len() > MAX_DOCUMENT));
            }
        }
    }
}
