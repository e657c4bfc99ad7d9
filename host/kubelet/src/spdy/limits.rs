//! What one connection may take.

use std::time::Duration;

/// What a peer may make this side hold, and for how long.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Streams at once. A stream counts until it has ended and its [`Reader`](super::Reader) and
    /// [`Writer`](super::Writer) are dropped. More are refused.
    pub streams: usize,
    /// Bytes received on one stream and not yet read, at which the socket is read no more.
    pub stream_buffer: usize,
    /// The same for all streams together.
    pub connection_buffer: usize,
    /// Ends a connection on which nothing was received, nor any data sent, for this long. The peer's pings count.
    pub idle_timeout: Duration,
    /// Ends a connection whose peer took not a byte of what waits to be sent for this long. A pager left open is such a
    /// peer, so this should not be short.
    pub write_timeout: Duration,
    /// Once the connection is closed from here, the peer has so long to take what waits to be sent and to close too.
    pub drain_timeout: Duration,
    /// Within that it may be silent for this long once all is sent: one that is slow to take it still pings. What carries
    /// the connection then has as long again to close.
    pub close_timeout: Duration,
}

impl Limits {
    /// For at most so many streams at once: 256 KiB for each, 4 MiB for all; 4 hours of silence or of a peer
    /// that reads nothing, 15 minutes to take what is left (about when TCP gives up one that is dead), 10 seconds to close.
    pub fn new(streams: usize) -> Self {
        Self {
            streams,
            stream_buffer: 256 * 1024,
            connection_buffer: 4 * 1024 * 1024,
            idle_timeout: Duration::from_secs(4 * 60 * 60),
            write_timeout: Duration::from_secs(4 * 60 * 60),
            drain_timeout: Duration::from_secs(15 * 60),
            close_timeout: Duration::from_secs(10),
        }
    }
}
