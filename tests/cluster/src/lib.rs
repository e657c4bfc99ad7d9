//! A real Kubernetes control plane on loopback, for tests: no containers, no root, several at once, nothing left behind.
//!
//! ```text
//!  KUBEBUILDER_ASSETS ──┐                    ┌─ etcd ◀── kube-apiserver ◀─┬─ kube-controller-manager
//!                       ├─▶ Binaries ─▶ Cluster                           ├─ kube-scheduler
//!  go build (cached) ───┘                │   └───── process group ─────┐  └─ kubectl, the program under test
//!                                        └─ stdin ─▶ reaper ── SIGKILL ┘
//! ```
//!
//! [`Binaries`] finds the five programs or builds them, as [`GoTools`], from the Go module in `control-plane/`. [`Cluster::start`] claims a
//! folder for all state, makes a certificate authority there, starts the programs on free ports and returns when the API
//! server answers and the namespace `default` is usable. A reaper process outlives whoever started the cluster by a
//! moment: it holds one end of a pipe, and when the other end closes, for whatever reason, it ends the components and
//! removes the folder.

mod arguments;
mod binaries;
mod cluster;
mod component;
mod directory;
mod error;
mod go_tools;
mod kubectl;
mod once;
mod pki;
mod ports;
mod probe;
mod progress;
mod reaper;

pub use binaries::{Binaries, Program};
pub use cluster::{Cluster, Options};
pub use directory::{Holder, holder};
pub use error::Error;
pub use go_tools::GoTools;
pub use kubectl::KubectlRelease;
pub use pki::CertificateFiles;
pub use progress::during;
