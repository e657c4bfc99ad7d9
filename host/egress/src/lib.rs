//! The only way out of a provider.
//!
//! ```text
//!  Request ──> head ──────> gate ──────> connect ──────────────────────────────────────> client ──> body
//!              URL,         granted?     resolve ──> gate: these addresses? ──> dial, TLS  HTTP       bounds
//!              headers      │                        │
//!                           Denied: names            Denied: names the address
//!                           the missing grant        and what to grant
//! ```
//!
//! An operator's [`Policy`] holds [`NetGrant`]s; [`Egress`] is the policy at work. It takes buffered requests
//! ([`Egress::send`], the `http` interface) and streamed ones ([`Egress::forward`], wasi:http), and connects sessions
//! ([`Egress::dial`]). All pass the same gate twice: with the URL before anything is done, with the addresses after the one resolution whose result is dialled.
//!
//! An exact name may lead to private addresses, a wildcard to public ones only. Loopback, link-local, cloud metadata
//! and the other special networks want a grant of the address, or of a range inside that network. IPv4 spelled as IPv6
//! is judged as IPv4. [`Policy::denied`] is never reached.
//!
//! | file | idea |
//! |---|---|
//! | `grant`, `host`, `origin` | the grammar of grants and URLs, read into types that cannot be wrong |
//! | `address`, `gate` | what is allowed: pure decisions |
//! | `resolve`, `tls`, `connect` | one vetted connection |
//! | `head`, `client`, `body` | one HTTP exchange, bounded in time and size |
//! | `dial`, `upgrade`, `websocket` | one connection of a session: its handshake, then messages or bytes |

mod address;
mod body;
mod client;
mod connect;
mod dial;
mod failure;
mod gate;
mod grant;
mod head;
mod host;
mod message;
mod metrics;
mod origin;
mod policy;
mod resolve;
mod tls;
mod upgrade;
mod websocket;

pub use body::ResponseBody;
pub use client::Egress;
pub use failure::Failure;
pub use grant::{GrantError, NetGrant};
pub use message::{Request, Response, Timeouts};
pub use metrics::Metrics;
pub use policy::{Limits, Policy, PolicyError, TlsSettings};
