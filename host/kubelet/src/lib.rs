//! The HTTPS API of a node: what is behind `kubectl logs`, `exec`, `attach`, `cp`, `port-forward` and `top`.
//!
//! ```text
//!  API server ──TLS──> server ──> authentication, authorization ──> route
//!                                                                    │
//!        logs <── dyn Logs ──────────────────────────────────────────┤
//!        stats <── dyn Stats ────────────────────────────────────────┤
//!        streams (SPDY, WebSocket) ──Client──> session <── dyn Sessions ──> backend
//! ```
//!
//! - `server`: TLS, connections, limits, the stop. `certificate`: what it serves with, and how that is had and renewed.
//! - `authentication`: who asks. `authorization`: whether they may. `reviews`: how the API server is asked for both;
//!   `cache`: for how long its answers hold.
//! - `upgrade`: from a request to a stream. `spdy`, `websocket`: what carries streams. `remote_command`, `port_forward`:
//!   the dialects that clients speak over either, each a [`Client`] to `session`; `input` is its way in, `supervision`
//!   sees that it learns the end, `streams` has the times that all of them may take.
//! - `path`: a path in segments, by which both rights and routes are decided. `routes`: what is answered; `refusal`: what
//!   is not.

mod authentication;
mod authorization;
mod body;
mod cache;
pub mod certificate;
mod client;
#[cfg(test)]
mod fakes;
mod input;
pub mod logs;
mod metrics;
mod path;
mod pods;
mod port_forward;
mod refusal;
mod remote_command;
mod reviews;
mod routes;
mod seldom;
mod server;
pub mod session;
// Public for the fuzz targets.
#[doc(hidden)]
pub mod spdy;
pub mod stats;
mod streams;
mod supervision;
#[cfg(test)]
mod testing;
mod upgrade;
mod websocket;

pub use authentication::{ClientAuthorities, ClientCa};
pub use client::{Client, ClientEvent, ClientInput, ClientOutput, Outcome};
pub use metrics::Metrics;
pub use pods::{NodePod, Pods};
pub use reviews::{Access, ApiServer, ReviewError, Reviews, User};
pub use server::{Config, Limits, Parts, Server};
pub use streams::StreamLimits;

/// What else the fuzz targets reach.
#[doc(hidden)]
pub mod fuzzing {
    pub use crate::{
        remote_command::Resizes,
        websocket::{Codec, Violation},
    };
}
