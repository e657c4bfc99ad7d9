//! The mock provider's pods, without the provider: what their annotations ask for, how they live, how they travel.
//!
//! ```text
//!   manifest ──parse──> Order ─┬─ Plan ──state(facts, now)──> PodState      a pure function of time
//!                              ├─ Workload: what containers write and use, a pure function of time too
//!                              └─ Conduct: how the provider itself is to behave
//! ```
//!
//! The component computes a pod's state by itself while it keeps its pods in the host's cache. With a backend, the
//! backend computes it, and what travels between the two is in [`wire`]. Both use this crate, so a pod lives the same
//! life in either place. All times are milliseconds since 1970; a pod's life counts from its creation.

pub mod base64;
mod life;
mod log;
mod order;
mod usage;
pub mod wire;
mod workload;

pub use life::{ContainerState, Exit, Facts, Finish, Kind, Phase, Plan, PodState, Run};
pub use log::{Episode, Log};
pub use order::{Call, Conduct, Misdeed, Order, PREFIX, Problem, Rejection, Report};
pub use usage::Curve;
pub use workload::Workload;
