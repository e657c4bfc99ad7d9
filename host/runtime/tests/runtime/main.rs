//! The runtime against real guests, which are built from `guests/tests`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, and clippy knows only test functions themselves as tests"
)]

mod contract;
mod driver;
mod faults;
mod guests;
mod imports;
mod logs;
mod pool;
mod probe;
mod replacement;
mod sessions;
mod stats;
mod world;
