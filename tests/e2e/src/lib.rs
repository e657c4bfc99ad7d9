//! What the end-to-end tests stand on: the real vk-host binary and the real mock component against a real control plane.
//!
//! ```text
//!  Suite ── one Cluster per run ──> kube-apiserver, scheduler, controller-manager
//!    │                                 ^ kubectl, kube client      ^ watch, patch
//!    └─ per test: Env ─────────────────┘                           │
//!                  ├─ vk-host, a process of its own ───────────────┘
//!                  │     └─ mock.wasm ── HTTP ──┐
//!                  └─ Backend (in this process) <┘   counts, faults
//! ```
//!
//! Tests of the provider for Azure have its simulator in the backend's place: [`Azure`].
//!
//! A test gets an [`Env`]: a namespace, a node name, a backend and a folder that are its own, so that tests run side by
//! side on one control plane. Tests that need no cluster get a [`Bench`]. Nothing waits for a fixed time: [`until`]
//! watches the API server and [`eventually`] looks again and again, and both say what they had waited for and what they
//! saw last. Whatever a test does, its vk-host is killed at its end, by process id; if this process is killed itself,
//! the control plane's reaper ends vk-host with the rest.

mod azure;
mod bench;
mod env;
mod kubectl;
mod metrics_server;
mod noise;
mod objects;
mod programs;
mod sample;
mod setup;
mod suite;
mod vk_host;
mod waiting;

pub use azure::{Azure, AzureSetup, hidden};
pub use bench::{Bench, Ended};
pub use env::{Env, StreamKind, Upgrade, upgrade};
pub use kubectl::{Dialect, Finished, Kubectl, Running};
pub use metrics_server::MetricsServer;
pub use noise::noise;
pub use objects::{PodBuilder, condition, is_ready, names, phase, reason, uid};
pub use sample::sample;
pub use setup::{Certificate, Setup};
pub use suite::{BenchTest, EnvTest, Fetch, Suite};
pub use vk_host::VkHost;
pub use waiting::{PATIENCE, Seen, eventually, throughout, until};
