//! The interface between the Kubernetes side of vk-host and what runs pods.
//!
//! ```text
//!  vk-node  ──calls──>  dyn Provider  <──implements──  vk-runtime ──> component.wasm
//!     ^                                                    │  │
//!     └───────────────── PodEvent (channel) ───────────────┘  │
//!  vk-kubelet  ──calls──>  dyn Logs, Sessions, Stats  <───────┘
//! ```
//!
//! [`Provider`] is what every component must be; [`Logs`], [`Sessions`] and [`Stats`] are what it may be as well.
//!
//! The types mirror the WIT package `vk:provider@0.1.0` (see `wit/provider.wit`, whose comments say what each call
//! means), in plain Rust: Kubernetes objects are JSON text, durations are [`std::time::Duration`]. This crate knows
//! neither Kubernetes nor WebAssembly, so that the pod controller is tested with a fake and the runtime without a
//! cluster.

mod error;
mod logs;
mod node;
mod pods;
mod sessions;
mod stats;

pub use error::{Error, ErrorKind, Fault};
pub use logs::{LogChunk, LogQuery, Logs};
pub use node::{Condition, ConditionStatus, Description, Info, OperatingSystem, Resources, Taint};
pub use pods::{
    Aspects, Changes, Cursor, Deletion, Extent, File, Json, Login, Observation, Pod, PodEvent, PodId, Volume,
};
pub use sessions::{
    Action, Answer, Attach, ByteChannel, Connection, Dialled, Ending, Exec, MAX_SESSION_STATE, Message, MessageChannel,
    Opened, Progress, SessionEvent, SessionRequest, SessionState, Sessions, TerminalSize, Transport,
};
pub use stats::{ContainerUsage, NetworkUsage, PodUsage, STATS_BATCH, Stats, Usage};

use std::time::Duration;

use async_trait::async_trait;

/// What a provider's call yields.
pub type Result<T> = std::result::Result<T, Error>;

/// Runs pods somewhere. Object-safe: the node holds an `Arc<dyn Provider>`.
///
/// Every call is bounded in time by the implementation, may be repeated, and is idempotent on the pod's uid. The caller
/// sees to it that calls on one pod never overlap each other, and that [`poll`](Provider::poll) and
/// [`describe`](Provider::describe) each run once at a time. Dropping a call's future abandons the call: its effect on
/// the backend is then unknown.
///
/// # Errors
///
/// Each call fails with an [`Error`] whose [`ErrorKind`] alone decides what the caller does next.
#[async_trait]
pub trait Provider: Send + Sync {
    /// What runs at present; a replaced component changes it.
    fn info(&self) -> Info;

    /// What the node offers. Called before any pod call and then periodically. Pod calls may follow one that failed, if
    /// the node was there before.
    async fn describe(&self) -> Result<Description>;

    /// Starts a pod and returns without waiting for it to run.
    async fn create(&self, pod: Pod) -> Result<Observation>;

    /// Changes a running pod; after an error it runs on as it was.
    async fn update(&self, pod: Pod, changed: Aspects) -> Result<Observation>;

    /// Stops and removes a pod. `grace` is what is left of its grace period; zero ends it at once. A pod that is not
    /// there is [`Deletion::Gone`].
    async fn delete(&self, pod: &PodId, grace: Duration) -> Result<Deletion>;

    /// The state of one pod; [`ErrorKind::NotFound`] if the backend does not have it.
    async fn get(&self, pod: &PodId) -> Result<Observation>;

    /// What changed since the cursor; `None` begins a complete listing.
    async fn poll(&self, since: Option<Cursor>) -> Result<Changes>;
}
