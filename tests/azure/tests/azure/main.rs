//! The simulator as a client meets it: over real sockets.

mod client;
mod life;
