//! Containers: their commands as processes of this machine.
//!
//! ```text
//!   Spec ─> Container ─> setsid, unshare ─> a root of its own: the machine's programs, /tmp, the group's volumes
//!               │  └─> log, usage, probes
//!               └────> exec (a pseudo-terminal), attach ─> streams::Sessions ─> WebSocket
//! ```
//!
//! An image is no more than a name. A container sees the machine's `/usr` and `/etc` with a layer of its own above
//! them, and nothing of the rest of the machine but its network, which all containers share. It is gone with its whole
//! tree of processes when it is dropped, and when the simulator's process ends, however that comes about.
//!
//! It takes util-linux and the right to make namespaces ([`check`]): root's, or that of any user where user
//! namespaces are allowed. Who is not root cannot mount volumes deep within `/usr` and `/etc`, whose folders belong
//! to root.

mod container;
mod log;
mod probe;
mod sandbox;
mod spawn;
pub mod streams;
mod terminal;
mod usage;
pub mod volumes;

use std::{io, path::PathBuf, sync::Arc};

pub use container::Container;
pub use probe::{Action, Probe};
pub use sandbox::check;
pub use terminal::{Size, Terminal};
pub use usage::Usage;

/// What time it is.
pub type Clock = Arc<dyn Fn() -> jiff::Timestamp + Send + Sync>;

/// What a container is made of.
#[derive(Clone)]
pub struct Spec {
    /// A folder of this container alone, which must exist. What it shows within the container is not seen outside, and
    /// nothing stays in it.
    pub folder: PathBuf,
    /// The image's name.
    pub image: String,
    /// The program and its arguments; empty: the image's own, which prints the image and the names of the environment,
    /// and waits for SIGTERM.
    pub command: Vec<String>,
    /// Variables. `PATH` has a default.
    pub environment: Vec<(String, String)>,
    /// Volumes.
    pub mounts: Vec<Mount>,
    /// Gives the lines of the log their times.
    pub clock: Clock,
}

/// A folder of the machine that a container sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Where it is on the machine.
    pub source: PathBuf,
    /// Where the container sees it: an absolute path.
    pub path: String,
    /// Whether the container may not write to it.
    pub read_only: bool,
}

/// How a container ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exit {
    /// The exit code, or 128 and the number of the signal that ended it. 127: there is no such program.
    pub code: i32,
    /// When, by the container's clock.
    pub at: jiff::Timestamp,
}

/// Why a container was not started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The folder of a volume cannot be seen at this path.
    #[error("the mount path {0:?} is not an absolute path below / without .. in it")]
    MountPath(String),
    /// No shell can pass this on.
    #[error("the environment variable {0:?} has = or a zero byte in its name or a zero byte in its value")]
    Environment(String),
    /// A program and its arguments cannot hold a zero byte.
    #[error("the command has a zero byte in it")]
    Command,
    /// The processes could not be made.
    #[error("a container's process could not be started: {0}")]
    Process(#[from] io::Error),
    /// Namespaces, mounts: what the tools said.
    #[error("a container's root could not be made: {0}")]
    Root(String),
}
