//! How streams and connections end.

use std::{io, sync::Arc};

/// Why a connection ended.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Ended {
    /// [`Connection::close`](super::Connection::close) was called, or the connection dropped.
    #[error("the SPDY connection was closed")]
    Closed,
    /// The peer said that it goes away and all its streams ended, or it just closed.
    #[error("the peer closed the SPDY connection")]
    ByPeer,
    /// The transport failed.
    #[error("the SPDY connection broke: {0}")]
    Broken(#[source] Arc<io::Error>),
    /// The peer broke the protocol or a limit of it.
    #[error("the SPDY connection was given up: the peer sent {0}")]
    Protocol(#[from] ProtocolError),
    /// See [`Limits::idle_timeout`](super::Limits::idle_timeout).
    #[error("the SPDY connection was idle for too long")]
    Idle,
    /// See [`Limits::write_timeout`](super::Limits::write_timeout) and
    /// [`Limits::drain_timeout`](super::Limits::drain_timeout).
    #[error("the peer of the SPDY connection read nothing for too long")]
    Stalled,
}

impl From<io::Error> for Ended {
    fn from(error: io::Error) -> Self {
        Self::Broken(Arc::new(error))
    }
}

/// Why a stream takes or gives no more.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StreamError {
    /// The stream was reset, by the peer or from here.
    #[error("the stream was reset with status {}", .0.0)]
    Reset(Status),
    /// The stream was finished from here before.
    #[error("the stream is finished")]
    Finished,
    /// The whole connection ended.
    #[error(transparent)]
    Connection(#[from] Ended),
}

/// Why a stream is reset, as RST_STREAM says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status(
    /// Its number on the wire.
    pub u32,
);

impl Status {
    /// The peer did something that it must not.
    pub const PROTOCOL_ERROR: Self = Self(1);
    /// The stream was never accepted.
    pub const REFUSED_STREAM: Self = Self(3);
    /// Nobody needs the stream any more.
    pub const CANCEL: Self = Self(5);
    /// Something failed here.
    pub const INTERNAL_ERROR: Self = Self(6);
}

/// What a peer sent that it must not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// A control frame that is not of SPDY/3.
    #[error("a frame of SPDY version {0}, where only 3 is spoken")]
    Version(u16),
    /// A control frame longer than [`MAX_CONTROL_FRAME`](super::frame::MAX_CONTROL_FRAME).
    #[error("a control frame of {0} bytes, more than the {max} that are allowed", max = super::frame::MAX_CONTROL_FRAME)]
    FrameTooLarge(usize),
    /// A control frame of a length or with flags that its kind cannot have.
    #[error("a malformed frame of type {0}")]
    MalformedFrame(u16),
    /// A stream id that is zero, even, or not higher than all before.
    #[error("the invalid stream id {0}")]
    StreamId(u32),
    /// A header block that cannot be inflated.
    #[error("a header block that is no continuation of the connection's zlib stream")]
    Compression,
    /// A header block that does not hold the headers that it announces.
    #[error("a malformed header block")]
    MalformedHeaders,
    /// A header block larger than its limits.
    #[error("more headers than allowed: {max} bytes, {count} headers, {each} bytes for each", max = super::header_block::MAX_INFLATED, count = super::header_block::MAX_HEADERS, each = super::header_block::MAX_HEADER)]
    HeadersTooLarge,
}
