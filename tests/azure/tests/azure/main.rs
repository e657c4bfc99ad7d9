//! The simulator as a client meets it: over real sockets.

mod client;
mod faults;
mod identity;
mod life;
mod manager;
mod quirks;
mod rules;
mod validation;
