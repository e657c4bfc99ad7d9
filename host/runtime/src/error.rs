//! Why an engine or a generation does not start.

use std::path::PathBuf;

use crate::{engine::LOAD_TIME, text};

/// Why the engine cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The directory of the compile cache cannot be used.
    #[error("cannot keep compiled components in {}: {reason}", path.display())]
    Cache {
        /// The directory.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// This machine or build cannot run components.
    #[error("cannot set up the WebAssembly engine: {0}")]
    Engine(String),
    /// The thread that measures computing time cannot be started.
    #[error("cannot start the epoch thread")]
    Ticker(#[source] std::io::Error),
}

/// Why a file is not a component that can be looked into.
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    /// Larger than [`MAX_WASM_BYTES`](crate::MAX_WASM_BYTES).
    #[error(
        "has {bytes} bytes, more than the {} that are accepted; strip its debug information",
        crate::MAX_WASM_BYTES
    )]
    TooLarge {
        /// The file's size.
        bytes: usize,
    },
    /// No WebAssembly at all.
    #[error("is not WebAssembly: {0}")]
    NotWasm(&'static str),
    /// A core module.
    #[error(
        "is a WebAssembly module, not a component; build it for the target wasm32-wasip2, \
         or make a component of it with `wasm-tools component new`"
    )]
    Module,
    /// A part is missing at the end.
    #[error(
        "is truncated: a section of {expected} bytes begins at byte {offset}, but only {present} follow; copy it again"
    )]
    Truncated {
        /// Where the section's content begins.
        offset: usize,
        /// How long it says it is.
        expected: usize,
        /// How much of it there is.
        present: usize,
    },
    /// Malformed, or it uses a proposal that the engine does not have.
    #[error("does not compile: {0}")]
    Compile(String),
}

/// Why a generation does not start. The message begins with the component's label.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Not a component that can be used.
    #[error("{label} {source}")]
    Component {
        /// The component's label.
        label: String,
        /// What is wrong with it.
        source: InspectError,
    },
    /// The compiler has not come to its end.
    #[error(
        "{label} is not compiled after {}: the compiler is busy with it, or with a component before it; \
         make it smaller, or restart the host if that other one is gone",
        text::duration(LOAD_TIME)
    )]
    Slow {
        /// The component's label.
        label: String,
    },
    /// A component that does not satisfy the world.
    #[error("{label} does not satisfy the world vk:provider/provider@0.1.0: {problems}")]
    World {
        /// The component's label.
        label: String,
        /// What is wrong, with the remedy.
        problems: String,
    },
    /// A directory that is granted cannot be opened.
    #[error("{label}: sandbox.read grants {}, which cannot be opened: {reason}", path.display())]
    Read {
        /// The component's label.
        label: String,
        /// The directory.
        path: PathBuf,
        /// Why it cannot be opened.
        reason: String,
    },
    /// The way out cannot be set up.
    #[error("{label}: {source}")]
    Egress {
        /// The component's label.
        label: String,
        /// What is wrong with the policy.
        source: vk_egress::PolicyError,
    },
    /// The provider refuses its configuration, or failed on it.
    #[error("{label} does not accept its configuration: {source}")]
    Configure {
        /// The component's label.
        label: String,
        /// What it answered.
        source: vk_provider::Error,
    },
    /// The provider cannot describe the node; only a replacement asks for that before it takes over.
    #[error("{label} cannot describe the node: {source}")]
    Describe {
        /// The component's label.
        label: String,
        /// What it answered.
        source: vk_provider::Error,
    },
    /// [`Runtime::close`](crate::Runtime::close) was called.
    #[error("the host is stopping")]
    Closed,
}
