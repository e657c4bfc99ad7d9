//! `channel.k8s.io`: several streams over one WebSocket. A message begins with the number of its channel.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::{Bytes, BytesMut};
use tokio_tungstenite::tungstenite::Message;

use super::Violation;

/// How a channel's number and its bytes become a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Codec {
    /// A binary message: the number as a byte, then the bytes.
    Binary,
    /// A text message: the number as an ASCII digit (the character that many after `0`), then the bytes in base64.
    Base64,
}

/// What is added to a number in base64 messages.
const DIGIT: u8 = b'0';

impl Codec {
    /// How many channels have a number. In base64 it must be a character of ASCII: it stands in a text.
    pub(crate) fn channels(self) -> usize {
        match self {
            Self::Binary => 256,
            Self::Base64 => usize::from(0x80 - DIGIT),
        }
    }

    /// The message that carries bytes on a channel.
    pub(crate) fn encode(self, channel: u8, bytes: &[u8]) -> Message {
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
    pub(crate) fn decode(self, mut message: Bytes) -> Result<Option<(u8, Bytes)>, Violation> {
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
