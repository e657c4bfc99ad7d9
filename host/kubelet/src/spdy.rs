//! The server's side of SPDY/3.1, as the clients of Kubernetes speak it. Knows streams and headers, nothing of what they
//! are for.
//!
//! ```text
//!           ┌ driver (a task) ───────────────────────────────────────────────────────┐
//!  socket ──┤ read buffer ─> frames ─> header blocks ─> Streams: bytes received ─────┼─> Accept, Reader
//!         <─┤ one frame at a time <── answers, then streams in turn: bytes to send <─┼── Writer
//!           └────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! Every stream is replied to at once: its peer waits for that, and drops what comes before it. Nobody here speaks
//! SPDY's flow control: peers send no WINDOW_UPDATE and want none. What is left is that of the transport. **The socket
//! is not read while the bytes of any stream, or of all together, that nobody has read reach their limit
//! ([`Limits`]).** So one stream that is not read holds up the others, as it does in every peer, and nothing is ever
//! lost or cut. Since a socket that is not read does not tell that its peer is gone, the peer is pinged meanwhile.
//!
//! What a peer can make this side hold is bounded: bytes received by [`Limits`], headers by the inflated size of their
//! block and the number of streams that wait to be accepted, streams by count (one counts until its handles are dropped
//! too, so that opening and resetting is no way around), answers by not reading on while many are unsent.
//!
//! Header blocks of this side are empty and written by hand, so there is no compressor; the state that it takes to read
//! those of the peer, some 45 kB, exists from the first stream until [`Accept`] is dropped. An idle connection without
//! it holds no buffers.

mod connection;
mod dictionary;
mod driver;
mod error;
pub mod frame;
mod handles;
pub mod header_block;
mod limits;
mod pieces;
mod streams;

pub use connection::Connection;
pub use error::{Ended, ProtocolError, Status, StreamError};
pub use handles::{Accept, Incoming, Reader, Writer};
pub use header_block::Headers;
pub use limits::Limits;

#[cfg(test)]
mod tests;
