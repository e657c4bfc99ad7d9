//! `channel.k8s.io`: several streams over one WebSocket. A message begins with the number of its channel.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::{Bytes, BytesMut};
use tokio_tungstenite::tungstenite::Message;

use super::Violation;

/// How a channel's number and its bytes become a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Codec {
    /// A binary message: the number as a byte, then the bytes.
    Binary,
    /// A text message: the number as an ASCII digit (the character that many after `0`), then the bytes in base64.
    Base64,
}

/// What is added to a number in base64 messages.
const DIGIT: u8 = b'0';

impl Codec {
    /// How many channels have a number. In base64 it must be a character of ASCII: it stands in a text.
    pub const fn channels(self) -> usize {
        match self {
            Self::Binary => 256,
            Self::Base64 => (0x80 - DIGIT) as usize,
        }
    }

    /// The message that carries bytes on a channel.
    pub fn encode(self, channel: u8, bytes: &[u8]) -> Message {
        match self {
            Self::Binary => {
                let mut message = BytesMut::with_capacity(1 + bytes.len());
                message.extend_from_slice(&[channel]);
                message.extend_from_slice(bytes);
                Message::Binary(message.freeze())
            }
            Self::Base64 => {
                let mut message = String::with_capacity(1 + bytes.len().div_ceil(3) * 4);
                message.push(char::from(DIGIT.wrapping_add(channel)));
                BASE64_STANDARD.encode_string(bytes, &mut message);
                Message::text(message)
            }
        }
    }

    /// The channel and the bytes of a message, text or binary; `None` for an empty message, which says nothing.
    pub fn decode(self, mut message: Bytes) -> Result<Option<(u8, Bytes)>, Violation> {
        let Some(&first) = message.first() else { return Ok(None) };
        let payload = message.split_off(1);
        match self {
            Self::Binary => Ok(Some((first, payload))),
            Self::Base64 => {
                let bytes = BASE64_STANDARD.decode(&payload).map_err(|_| Violation::Payload("malformed base64"))?;
                // What is no digit is no channel that anybody listens to.
                Ok(Some((first.wrapping_sub(DIGIT), bytes.into())))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CODECS: [Codec; 2] = [Codec::Binary, Codec::Base64];

    #[test]
    fn messages_are_as_clients_expect_them() {
        assert_eq!(Codec::Binary.encode(1, b"hi"), Message::binary(&b"\x01hi"[..]));
        assert_eq!(Codec::Binary.encode(1, b""), Message::binary(&b"\x01"[..]));
        assert_eq!(Codec::Base64.encode(1, b"hi"), Message::text("1aGk="));
        assert_eq!(Codec::Base64.encode(12, b""), Message::text("<"));
    }

    #[test]
    fn an_empty_message_says_nothing_and_malformed_base64_is_a_violation() {
        for codec in CODECS {
            assert_eq!(codec.decode(Bytes::new()), Ok(None));
        }
        for message in ["0a", "0aGk", "0aGk=x", "0 aGk=", "0aG-_"] {
            assert!(matches!(Codec::Base64.decode(message.into()), Err(Violation::Payload(_))), "{message}");
        }
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(
            codec in prop::sample::select(&CODECS),
            channel in any::<prop::sample::Index>(),
            bytes in prop::collection::vec(any::<u8>(), 0..300),
        ) {
            let channel = u8::try_from(channel.index(codec.channels())).unwrap();
            let message = codec.encode(channel, &bytes);
            prop_assert_eq!(message.is_text(), codec == Codec::Base64);
            prop_assert_eq!(codec.decode(message.into_data()), Ok(Some((channel, bytes.into()))));
        }

        #[test]
        fn anything_may_come(
            codec in prop::sample::select(&CODECS),
            message in prop::collection::vec(any::<u8>(), 0..300),
        ) {
            let length = message.len();
            if let Ok(Some((_, bytes))) = codec.decode(message.into()) {
                prop_assert!(bytes.len() < length);
            }
        }
    }
}
