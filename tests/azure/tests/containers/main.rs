//! Containers as real processes: needs util-linux, and the right to make namespaces.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking, and clippy knows only test functions themselves as tests"
)]

mod dialogue;
mod files;
mod fixture;
mod processes;
mod streams;
mod terminal;
