//! What can keep a control plane from starting, each with what to do about it.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

/// A step of building, starting or stopping a control plane that failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or folder could not be read or written.
    #[error("cannot {doing} {}", path.display())]
    File {
        /// What was tried, as a verb.
        doing: &'static str,
        /// What it was tried on.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },

    /// `KUBEBUILDER_ASSETS` is set, but the folder lacks programs that are needed.
    #[error(
        "KUBEBUILDER_ASSETS={} lacks {missing} (envtest ships only etcd, kube-apiserver and kubectl): put them there, or \
         unset KUBEBUILDER_ASSETS to build all of them with Go",
        folder.display()
    )]
    MissingAssets {
        /// The folder that the variable names.
        folder: PathBuf,
        /// The missing programs, separated by commas.
        missing: String,
    },

    /// There is neither a cached build nor a Go toolchain.
    #[error("{what} must be built once and there is no Go: install Go {go} or later{instead}")]
    NoGo {
        /// What is to be built, with its version.
        what: String,
        /// The least Go version that the module accepts.
        go: String,
        /// What else can be done, with a comma before it; or nothing.
        instead: String,
    },

    /// A `go.mod` does not name the versions it is expected to.
    #[error("{} names no {what}", path.display())]
    GoMod {
        /// The file.
        path: PathBuf,
        /// The line that is missing.
        what: String,
    },

    /// `go build` failed.
    #[error("go build of {what} failed ({status}); the whole output is in {}:\n{tail}", log.display())]
    Build {
        /// What was to be built, with its version.
        what: String,
        /// How go ended.
        status: ExitStatus,
        /// Where its output is.
        log: PathBuf,
        /// The end of it.
        tail: String,
    },

    /// A program could not be executed.
    #[error("cannot run {program}")]
    Spawn {
        /// Its name or path.
        program: String,
        /// Why.
        source: io::Error,
    },

    /// A program could not be downloaded or unpacked.
    #[error("cannot get {what}: {why}; {remedy}")]
    Download {
        /// The program, with its version.
        what: String,
        /// What went wrong.
        why: String,
        /// What to do about it.
        remedy: String,
    },

    /// The folder asked for holds something else, which is not overwritten.
    #[error("{} is neither empty nor a control plane's folder: name another one", path.display())]
    ForeignDirectory {
        /// The folder.
        path: PathBuf,
    },

    /// Another control plane runs in the folder.
    #[error("a control plane runs in {} already (process {pid})", path.display())]
    AlreadyRunning {
        /// The folder.
        path: PathBuf,
        /// The process that started it.
        pid: u32,
    },

    /// A control plane that was killed has not been cleared away.
    #[error("{} is still being cleared of an earlier control plane: try again, or name another folder", path.display())]
    NotCleared {
        /// The folder.
        path: PathBuf,
    },

    /// A component ended while it was expected to run.
    #[error("{component} ended while starting ({status}); end of {}:\n{tail}", log.display())]
    Exited {
        /// Its name.
        component: &'static str,
        /// How it ended.
        status: ExitStatus,
        /// Its log, kept after the control plane's folder is removed.
        log: PathBuf,
        /// The end of the log.
        tail: String,
    },

    /// A component runs but did not become ready.
    #[error("{component} was not ready after {}s; end of {}:\n{tail}", within.as_secs(), log.display())]
    NotReady {
        /// Its name.
        component: &'static str,
        /// How long it was given.
        within: Duration,
        /// Its log, kept after the control plane's folder is removed.
        log: PathBuf,
        /// The end of the log.
        tail: String,
    },

    /// No free port could be found on loopback.
    #[error("cannot reserve a port on 127.0.0.1")]
    Port(#[source] io::Error),

    /// A key or certificate could not be made.
    #[error("cannot make a certificate for {subject}")]
    Certificate {
        /// Whom it is for.
        subject: String,
        /// Why.
        source: rcgen::Error,
    },

    /// The client that asks for readiness could not be made, or was refused something.
    #[error("cannot ask the control plane as its administrator")]
    Probe(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl Error {
    /// Wraps an I/O error with what was tried on which path.
    pub(crate) fn file(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
        let path = path.to_path_buf();
        move |source| Error::File { doing, path, source }
    }
}
