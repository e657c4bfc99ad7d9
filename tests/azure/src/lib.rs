//! Azure for tests: the directory, the instance metadata service, Azure Resource Manager and container groups.
//!
//! ```text
//!   aci.wasm ──https──> request log ─> faults ─> directory | metadata service | resource manager
//!                                                                  │ checks, state, life cycle (a clock tests can move)
//!            ──wss───> exec, attach ─────────────> containers: local processes, their logs and terminals
//!   a test ──/control/…, or in process
//! ```

pub mod containers;
