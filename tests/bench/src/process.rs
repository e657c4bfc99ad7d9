//! A contestant as a process: started with its output in a file, measured by what the kernel counts, ended.

use std::{fs, path::Path, process::Stdio, time::Duration};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    process::{Child, Command},
    time,
};

/// How long it may take to end on SIGTERM before it is killed.
const GRACE: Duration = Duration::from_secs(30);
/// USER_HZ, in which `/proc` tells time: 100 on all architectures that are still built for.
const TICKS_PER_SECOND: u64 = 100;
/// Lines of its log that an error shows.
const SHOWN_LINES: usize = 20;

/// A running process. Dropping it kills it.
pub(crate) struct Process {
    name: &'static str,
    child: Child,
    pid: i32,
    log: std::path::PathBuf,
}

impl Process {
    /// Starts `command` with nothing of this process's environment.
    pub(crate) fn start(name: &'static str, mut command: Command, folder: &Path) -> Result<Self> {
        let log = folder.join(format!("{name}.log"));
        let output = fs::File::create(&log).with_context(|| format!("cannot create {}", log.display()))?;
        command.env_clear().env("HOME", folder).kill_on_drop(true);
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        let child = command.spawn().with_context(|| format!("{name} does not start"))?;
        let pid = child.id().and_then(|pid| i32::try_from(pid).ok());
        Ok(Self { name, child, pid: pid.with_context(|| format!("{name} ended at once"))?, log })
    }

    /// Runs `work`, unless the process ends meanwhile.
    pub(crate) async fn during<T>(&mut self, work: impl Future<Output = Result<T>>) -> Result<T> {
        tokio::select! {
            outcome = work => outcome.with_context(|| format!("with {}; the end of its log:\n{}", self.name, tail(&self.log))),
            status = self.child.wait() => bail!("{} ended ({}):\n{}", self.name, status?, tail(&self.log)),
        }
    }

    /// The processor time that all its threads have used.
    pub(crate) fn cpu(&self) -> Result<Duration> {
        self.usage().cpu()
    }

    /// Its resident memory, in bytes.
    pub(crate) fn memory(&self) -> Result<u64> {
        self.usage().memory()
    }

    /// For those who look at what it uses while others wait for it.
    pub(crate) fn usage(&self) -> Usage {
        Usage { pid: self.pid }
    }

    /// Ends it.
    pub(crate) async fn stop(mut self) -> Result<()> {
        if let Some(pid) = Pid::from_raw(self.pid) {
            // An error means that it has just ended.
            let _ = kill_process(pid, Signal::TERM);
        }
        if time::timeout(GRACE, self.child.wait()).await.is_err() {
            self.child.kill().await.with_context(|| format!("cannot kill {}", self.name))?;
        }
        Ok(())
    }
}

/// What the kernel counts of a process.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Usage {
    pid: i32,
}

impl Usage {
    /// The processor time that all its threads have used.
    pub(crate) fn cpu(self) -> Result<Duration> {
        let stat = self.read("stat")?;
        cpu_ticks(&stat)
            .map(|ticks| Duration::from_millis(ticks * 1_000 / TICKS_PER_SECOND))
            .with_context(|| format!("cannot understand {stat:?}"))
    }

    /// Its resident memory, in bytes.
    pub(crate) fn memory(self) -> Result<u64> {
        let status = self.read("status")?;
        resident(&status).with_context(|| format!("cannot understand {status:?}"))
    }

    fn read(self, file: &str) -> Result<String> {
        let path = format!("/proc/{}/{file}", self.pid);
        fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))
    }
}

/// The sum of utime and stime in `/proc/PID/stat`. The name of the program, in parentheses, may contain anything.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut times = after_name.split_whitespace().skip(11).map(str::parse::<u64>);
    Some(times.next()?.ok()? + times.next()?.ok()?)
}

/// VmRSS in `/proc/PID/status`.
fn resident(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

fn tail(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines.get(lines.len().saturating_sub(SHOWN_LINES)..).unwrap_or_default().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_found_behind_any_name() {
        let stat = "42 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 150 25 0 0 20 0 8 0 100 0 0";
        assert_eq!(cpu_ticks(stat), Some(175));
        assert_eq!(cpu_ticks("42 (x) S 1"), None);
    }

    #[test]
    fn resident_memory_is_what_the_kernel_calls_so() {
        assert_eq!(resident("Name:\tx\nVmHWM:\t  99 kB\nVmRSS:\t   2048 kB\n"), Some(2 << 20));
        assert_eq!(resident("Name:\tx\n"), None);
    }

    #[tokio::test]
    async fn a_process_that_burns_processor_time_is_seen_to() {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "while :; do :; done"]);
        let process = Process::start("sh", command, folder.path()).unwrap();
        let used = async {
            while process.cpu().unwrap() < Duration::from_millis(50) {
                time::sleep(Duration::from_millis(10)).await;
            }
        };
        time::timeout(Duration::from_secs(30), used).await.unwrap();
        assert!(process.memory().unwrap() > 0);
        process.stop().await.unwrap();
    }

    #[tokio::test]
    async fn a_process_that_ends_is_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "echo no such cluster; exit 3"]);
        let mut process = Process::start("sh", command, folder.path()).unwrap();
        let error = process.during(std::future::pending::<Result<()>>()).await.unwrap_err().to_string();
        assert!(error.contains("exit status: 3") && error.contains("no such cluster"), "{error}");
    }
}
