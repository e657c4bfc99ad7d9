//! What every test has: the files under test, and a folder of its own.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;
use tokio::{process::Command, time};

use crate::programs::Programs;

/// No run that needs no cluster takes longer.
const LONGEST_RUN: Duration = Duration::from_secs(60);

/// The files under test, and a folder of the test's own.
#[derive(Debug)]
pub struct Bench {
    pub(crate) programs: Programs,
    folder: TempDir,
}

/// How a run of vk-host ended.
#[derive(Debug)]
pub struct Ended {
    /// Its exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    /// What it wrote to standard output.
    pub output: String,
    /// What it wrote to standard error.
    pub errors: String,
}

impl Bench {
    pub(crate) fn new(programs: Programs) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("vk-e2e-").tempdir().context("cannot make a folder")?;
        Ok(Self { programs, folder })
    }

    /// The test's folder, removed at its end.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The component under test.
    pub fn mock(&self) -> &Path {
        &self.programs.mock
    }

    /// The provider for Azure Container Instances.
    pub fn aci(&self) -> &Path {
        &self.programs.aci
    }

    /// A path in the test's folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file in the test's folder.
    ///
    /// # Errors
    ///
    /// If it cannot be written.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> Result<PathBuf> {
        let path = self.path(name);
        std::fs::write(&path, content).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }

    /// vk-host with nothing of this process's environment, and a home of its own.
    pub fn vk_host(&self) -> Command {
        let mut command = Command::new(&self.programs.vk_host);
        command
            .env_clear()
            .env("HOME", self.folder.path())
            .env("XDG_CACHE_HOME", &self.programs.cache)
            .env("RUST_BACKTRACE", "1")
            .kill_on_drop(true);
        command
    }

    /// Runs vk-host to its end.
    ///
    /// # Errors
    ///
    /// If it panics, or runs for longer than a minute.
    pub async fn run(&self, arguments: &[&str]) -> Result<Ended> {
        let mut command = self.vk_host();
        command.args(arguments);
        self.run_command(command).await.with_context(|| format!("vk-host {}", arguments.join(" ")))
    }

    /// Runs a prepared vk-host to its end.
    ///
    /// # Errors
    ///
    /// As [`run`](Self::run).
    pub async fn run_command(&self, mut command: Command) -> Result<Ended> {
        let output = command.stdin(Stdio::null()).output();
        let output =
            time::timeout(LONGEST_RUN, output).await.context("it does not end")?.context("it does not start")?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let ended = Ended { code: output.status.code(), output: text(&output.stdout), errors: text(&output.stderr) };
        ensure!(!ended.errors.contains("panicked"), "it panicked: {}", ended.errors);
        Ok(ended)
    }
}

impl Ended {
    /// The one line that tells why it failed: `vk-host: error: …`, and nothing after it.
    ///
    /// # Errors
    ///
    /// If there is no such line, or more than one, or it is not the last.
    pub fn error(&self) -> Result<&str> {
        const MARK: &str = "vk-host: error: ";
        let told: Vec<&str> = self.errors.lines().filter(|line| line.starts_with(MARK)).collect();
        ensure!(told.len() == 1, "expected one line `{MARK}…`, got: {:?} {:?}", self.errors, self.output);
        let last = self.errors.lines().next_back().unwrap_or_default();
        last.strip_prefix(MARK).with_context(|| format!("the error is not the last line: {}", self.errors))
    }
}
