//! The HTTPS API of a node: what is behind `kubectl logs`, `exec`, `attach`, `cp`, `port-forward` and `top`.
//!
//! ```text
//!  API server ──TLS──> server ──> authentication, authorization ──> route
//!                                                                    │
//!        logs <── dyn Logs ──────────────────────────────────────────┤
//!        stats <── dyn Stats ────────────────────────────────────────┤
//!        streams (SPDY, WebSocket) ──Client──> session <── dyn Sessions ──> backend
//! ```

mod client;
pub mod logs;
mod pods;
pub mod session;
pub mod stats;

pub use client::{Client, ClientEvent, ClientInput, ClientOutput, Outcome};
pub use pods::{NodePod, Pods};
