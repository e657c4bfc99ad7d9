//! WebSockets, as clients of exec, attach and port-forward use them.
//!
//! ```text
//!  handshake ──> connection ── messages ──> channel: several streams, numbered
//!           └──> pipe: one stream of bytes, in which SPDY is spoken
//! ```
//!
//! A connection that this side ends is closed by the protocol: a close frame, the peer's close frame, and only then TLS
//! and TCP. kubectl takes anything else for a failure, whatever came before.

mod channel;
mod connection;
mod handshake;
mod pipe;

use tokio_tungstenite::tungstenite::{
    Message,
    protocol::{CloseFrame, WebSocketConfig, frame::coding::CloseCode},
};

pub(crate) use channel::Codec;
pub(crate) use connection::{Receiver, Sender, outgoing, run};
pub(crate) use handshake::negotiate;
pub(crate) use pipe::Pipe;

/// The most bytes of a message that is sent: one TLS record.
pub(crate) const CHUNK: usize = 16 << 10;
/// The most bytes of a message that is taken. There are clients that send a file as one message.
const MAX_MESSAGE: usize = 4 << 20;
/// A message that breaks the rules, and why. Ends the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Violation {
    /// Its payload is not what it should be.
    Payload(&'static str),
    /// It should not be.
    Protocol(&'static str),
}

impl From<Violation> for CloseFrame {
    fn from(violation: Violation) -> Self {
        match violation {
            Violation::Payload(reason) => close(CloseCode::Invalid, reason),
            Violation::Protocol(reason) => close(CloseCode::Protocol, reason),
        }
    }
}

fn close(code: CloseCode, reason: &'static str) -> CloseFrame {
    CloseFrame { code, reason: reason.into() }
}

fn normal() -> Message {
    Message::Close(Some(close(CloseCode::Normal, "")))
}

/// Small buffers: most connections are idle most of the time.
fn config() -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(4 << 10)
        .write_buffer_size(0)
        .max_write_buffer_size(4 * CHUNK)
        .max_message_size(Some(MAX_MESSAGE))
        .max_frame_size(Some(MAX_MESSAGE))
}
