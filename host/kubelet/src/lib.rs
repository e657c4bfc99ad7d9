//! The HTTPS API of a node: what is behind `kubectl logs`, `exec`, `attach`, `cp`, `port-forward` and `top`.
//!
//! ```text
//!  API server ──TLS──> server ──> authentication, authorization ──> route
//!                                                                    │
//!        logs <── dyn Logs ──────────────────────────────────────────┤
//!        stats <── dyn Stats ────────────────────────────────────────┤
//!        streams (SPDY, WebSocket) ──Client──> session <── dyn Sessions ──> backend
//! ```

mod body;
mod client;
mod events;
mod pods;
mod port_forward;
mod remote_command;
// Public for the fuzz targets.
#[doc(hidden)]
pub mod spdy;
mod streams;
mod supervision;
#[cfg(test)]
mod testing;
mod upgrade;
mod websocket;

pub use client::{Client, ClientEvent, ClientInput, ClientOutput, Outcome};
pub use pods::{NodePod, Pods};
pub use streams::StreamLimits;

/// What else the fuzz targets reach.
#[doc(hidden)]
pub mod fuzzing {
    pub use crate::{
        remote_command::Resizes,
        websocket::{Codec, Violation},
    };
}
