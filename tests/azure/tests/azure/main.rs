//! The simulator as a client meets it: over real sockets.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test's helpers fail it by panicking"
)]

mod client;
mod faults;
mod identity;
mod life;
mod manager;
mod quirks;
mod rules;
mod validation;
