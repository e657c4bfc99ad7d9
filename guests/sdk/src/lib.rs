//! Write a provider for vk-host in Rust.
//!
//! A provider is a WebAssembly component that runs a node's pods on some other compute API. The host owns all talk with
//! Kubernetes; the provider sees pods as JSON and reaches its backend through the host.
//!
//! ```text
//!              configure, describe, create, update, delete, get, poll
//!   vk-host  ─────────────────────────────────────────────────────────>  export!  ──>  your impl Provider
//!      ^                                                                                     │
//!      └──────────────── http, cache, events, log (inside the operator's grants) <───────────┘
//! ```
//!
//! Implement [`Provider`] for a type, name it in [`export!`], and build for `wasm32-wasip2` with
//! `crate-type = ["cdylib"]`. The types are those of the WIT package `vk:provider@0.1.0`; [`manifest`] reads what pods
//! ask for, [`status`] writes what became of them, [`settings`] reads the operator's file.
//!
//! What [`Logs`], [`Sessions`] and [`Stats`] serve is optional: implement those that the backend has, and name them in
//! [`export!`]. Without one the host answers its requests with a line that says so.
//!
//! Instances come and go: the host runs up to sixteen side by side, one call at a time each, and ends any of them at
//! any time. So a provider keeps nothing in memory that it cannot learn again: what it must know is in the backend, in
//! a pod's handle, or, shared by all instances but never safe, in the [`cache`].
//!
//! Everything builds for any target, so a provider's own logic is tested with `cargo test`. There, each thread has a
//! cache of its own, events and log lines go to stderr, and no connection can be made unless the test answers in the
//! backend's place with the module `testing`, which is not in components.

#[doc(hidden)]
pub mod bindings;
pub mod cache;
#[doc(hidden)]
pub mod component;
mod error;
pub mod events;
mod host;
pub mod http;
#[doc(hidden)]
pub mod log;
pub mod logs;
pub mod manifest;
mod node;
mod pods;
mod provider;
pub mod sessions;
mod settings;
pub mod stats;
pub mod status;
#[cfg(not(target_family = "wasm"))]
pub mod testing;

pub use bindings::exports::vk::provider::{
    node::{Condition, ConditionStatus, Description, OperatingSystem, Startup, Taint},
    pods::{Aspects, Changes, Deletion, Extent, File, Login, Observation, Pod, Volume},
};
pub use bindings::vk::provider::types::{Cursor, Error, ErrorKind, PodId};
pub use logs::Logs;
pub use provider::Provider;
pub use sessions::Sessions;
pub use settings::settings;
pub use stats::Stats;

/// What a provider's call yields.
pub type Result<T> = std::result::Result<T, Error>;
