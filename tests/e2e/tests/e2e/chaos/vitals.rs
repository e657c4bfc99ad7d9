//! What a process takes of the system.

use std::{fmt, fs, path::Path};

use anyhow::{Context as _, Result, ensure};

/// How much more a process may have at a quiet point than at the one before: what is kept for a while, such as idle
/// connections, threads and instances of the component.
const MORE_DESCRIPTORS: usize = 64;
const MORE_THREADS: usize = 16;
const MORE_MEMORY: usize = 96 << 10;

/// What a process has just now.
#[derive(Clone, Copy)]
pub(super) struct Vitals {
    pid: u32,
    descriptors: usize,
    threads: usize,
    /// Resident, in KiB.
    memory: usize,
}

impl fmt::Display for Vitals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { pid, descriptors, threads, memory } = self;
        write!(f, "process {pid}: {descriptors} descriptors, {threads} threads, {} MiB", memory >> 10)
    }
}

impl Vitals {
    /// Of a process.
    ///
    /// # Errors
    ///
    /// If it is not there.
    pub(super) fn of(pid: u32) -> Result<Self> {
        let process = Path::new("/proc").join(pid.to_string());
        let status = fs::read_to_string(process.join("status"))?;
        let number = |name: &str| -> Result<usize> {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).context("the status lacks a line")?;
            Ok(line.split_whitespace().nth(1).context("the line lacks a number")?.parse()?)
        };
        let (memory, threads) = (number("VmRSS")?, number("Threads")?);
        Ok(Self { pid, descriptors: fs::read_dir(process.join("fd"))?.count(), threads, memory })
    }

    /// Checks that the process has not grown since an earlier point of its life.
    ///
    /// # Errors
    ///
    /// If it has.
    pub(super) fn have_not_grown_since(&self, earlier: &Self) -> Result<()> {
        let grown = self.descriptors > earlier.descriptors + MORE_DESCRIPTORS
            || self.threads > earlier.threads + MORE_THREADS
            || self.memory > earlier.memory + MORE_MEMORY;
        ensure!(self.pid != earlier.pid || !grown, "vk-host has grown: {self}, before {earlier}");
        Ok(())
    }
}
