//! Egress against real servers on loopback, which see and answer raw bytes.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test's helpers fail the test")]

mod dial;
mod plain;
mod server;
mod stream;
mod tls;
