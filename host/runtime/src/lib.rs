//! Runs providers: WebAssembly components that satisfy the world `vk:provider/provider`.
//!
//! ```text
//!                 Engine                  Runtime (dyn Provider, Logs, Sessions, Stats)
//!  .wasm ──> check, compile, cache ──> generation N ──> pool ──> instance ──call──> guest
//!                 │ problems                │             │          │ memory, CPU,   │ imports
//!                 v                         v             │          │ time limits    v
//!            Inspection             generation N+1        │          v         http ──────> vk-egress
//!         (vk-host inspect)     compiled, configured and  │    answer checked, cache, log, WASI
//!                               described beside it, then │    error or fault  events ────> PodEvent channel
//!                                          takes over     └─ one call at a time on each instance
//! ```
//!
//! - A *generation* is a component with its configuration. Its instances share nothing but a small cache.
//! - A fault (trap, out of memory, out of time, malformed answer) costs the one instance that it happened on, and is an
//!   error of that one call.
//! - A guest sees what [`Sandbox`] grants: environment variables, directories to read, and the way out through
//!   [`vk_egress`]. [`Limits`] bounds what it uses.
//!
//! Where to look: `engine` compiles, `world` compares with the contract, `guest` knows what a component exports, `pool`,
//! `lanes` and `instance` run calls, `host`,
//! `http_hooks`, `lines`, `cache` and `events` are what a guest can call, `usage` and `meter` are its limits, `answers`
//! checks what it returns, `fault` explains how it failed.

mod answers;
mod bindings;
mod cache;
mod calls;
mod convert;
mod engine;
mod error;
mod events;
mod fault;
mod function;
mod generation;
mod guest;
mod host;
mod http_hooks;
mod inspect;
mod instance;
mod lanes;
mod limits;
mod lines;
mod meter;
mod metrics;
mod pool;
mod runtime;
mod shared;
mod text;
mod usage;
mod world;

pub use engine::{Engine, MAX_WASM_BYTES, inspect};
pub use error::{EngineError, InspectError, StartError};
pub use generation::{Generation, ReadGrant, Sandbox, Startup};
pub use inspect::{Import, Inspection};
pub use limits::{Limits, Timeouts};
pub use runtime::Runtime;
