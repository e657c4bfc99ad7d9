//! A vk-host process: started, signalled by process id, watched for its end, its output kept.

use std::{
    fs::OpenOptions,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow};
use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    process::Command,
    sync::{mpsc, watch},
    task::JoinHandle,
    time,
};

/// A running process. Dropping it kills it.
#[derive(Debug)]
pub struct VkHost {
    pid: Pid,
    log: PathBuf,
    ended: watch::Receiver<Option<ExitStatus>>,
    /// Whether the test has asked it to end.
    asked: Arc<AtomicBool>,
    minder: JoinHandle<()>,
}

impl VkHost {
    /// Starts `command` with its output appended to `log`. If it ends without being asked, `deaths` is told.
    pub(crate) fn start(mut command: Command, log: &Path, deaths: mpsc::UnboundedSender<String>) -> Result<Self> {
        let output = OpenOptions::new().create(true).append(true).open(log)?;
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output).kill_on_drop(true);
        let mut child = command.spawn().context("vk-host does not start")?;
        let number = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        let pid = number.context("vk-host ended at once")?;
        let (sender, ended) = watch::channel(None);
        let asked = Arc::new(AtomicBool::new(false));
        let was_asked = asked.clone();
        let minder = tokio::spawn(async move {
            if let Ok(status) = child.wait().await {
                if !was_asked.load(Ordering::SeqCst) {
                    // Nobody listens after the test.
                    let _ = deaths.send(format!("vk-host ended by itself with {status}"));
                }
                sender.send_replace(Some(status));
            }
        });
        Ok(Self { pid, log: log.to_path_buf(), ended, asked, minder })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// How many sockets it has open.
    ///
    /// # Errors
    ///
    /// If that cannot be read.
    pub fn sockets(&self) -> Result<usize> {
        let descriptors = std::fs::read_dir(format!("/proc/{}/fd", self.pid()))?;
        // One that was closed meanwhile cannot be read, and does not count.
        let targets = descriptors.flatten().filter_map(|descriptor| std::fs::read_link(descriptor.path()).ok());
        Ok(targets.filter(|target| target.to_string_lossy().starts_with("socket:")).count())
    }

    /// Asks for a clean stop.
    pub fn sigterm(&self) {
        self.signal(Signal::TERM);
    }

    /// Asks for a clean stop, as Ctrl-C does.
    pub fn sigint(&self) {
        self.signal(Signal::INT);
    }

    /// Kills it.
    pub fn kill9(&self) {
        self.signal(Signal::KILL);
    }

    /// Freezes it, as a debugger or a machine that is short of everything does.
    pub fn freeze(&self) {
        self.send(Signal::STOP);
    }

    /// Lets it go on.
    pub fn thaw(&self) {
        self.send(Signal::CONT);
    }

    /// Says that its end is no failure of the test.
    pub fn may_end(&self) {
        self.asked.store(true, Ordering::SeqCst);
    }

    /// Waits for its end.
    ///
    /// # Errors
    ///
    /// If it does not end `within` that time.
    pub async fn ended(&self, within: Duration) -> Result<ExitStatus> {
        let mut ended = self.ended.clone();
        let status = time::timeout(within, ended.wait_for(Option::is_some)).await;
        let status = status.map_err(|_| anyhow!("vk-host (process {}) did not end within {within:?}", self.pid()))?;
        status.ok().and_then(|status| *status).context("vk-host cannot be waited for")
    }

    /// All output so far, that of earlier processes with the same log included.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    fn signal(&self, signal: Signal) {
        self.may_end();
        self.send(signal);
    }

    fn send(&self, signal: Signal) {
        // Once it has been waited for, its number may be another's.
        if self.ended.borrow().is_none() {
            let _ = kill_process(self.pid, signal);
        }
    }
}

impl Drop for VkHost {
    fn drop(&mut self) {
        self.may_end();
        // With it goes the child, which is killed on drop.
        self.minder.abort();
    }
}
