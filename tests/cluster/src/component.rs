//! One program of the control plane as a process: started in the reaper's group, with a log file, and stopped in bounds.

use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

use crate::binaries::{Binaries, Program};
use crate::{Error, binaries};

/// How long a component may take to become ready.
const READY_WITHIN: Duration = Duration::from_secs(120);

/// How often it is asked.
const ASK_EVERY: Duration = Duration::from_millis(50);

/// A running program.
#[derive(Debug)]
pub(crate) struct Component {
    program: Program,
    child: Child,
    log: PathBuf,
}

impl Component {
    /// Starts `program` in process group `group`; what it prints is appended to `log`.
    pub(crate) fn start(
        binaries: &Binaries,
        program: Program,
        arguments: &[String],
        log: PathBuf,
        group: u32,
    ) -> Result<Component, Error> {
        let output =
            std::fs::OpenOptions::new().create(true).append(true).open(&log).map_err(Error::file("open", &log))?;
        let errors = output.try_clone().map_err(Error::file("duplicate", &log))?;
        let path = binaries.path(program);
        let child = Command::new(&path)
            .args(arguments)
            // Neither a proxy nor a Kubernetes variable of the caller may lead a component elsewhere.
            .env_clear()
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .process_group(group.cast_signed())
            .spawn()
            .map_err(|source| Error::Spawn { program: path.display().to_string(), source })?;
        Ok(Component { program, child, log })
    }

    pub(crate) fn program(&self) -> Program {
        self.program
    }

    pub(crate) fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Waits until `ready` says yes, the process ends, or two minutes have passed.
    pub(crate) async fn until_ready(&mut self, ready: impl AsyncFn() -> bool) -> Result<(), Error> {
        let component = self.program.name();
        let deadline = Instant::now() + READY_WITHIN;
        loop {
            let ready = ready().await;
            // Asked after readiness: a foreign process on the same port must not pass for one that has ended.
            if let Some(status) = self.ended()? {
                let (log, tail) = self.keep_log();
                return Err(Error::Exited { component, status, log, tail });
            }
            if ready {
                return Ok(());
            }
            if Instant::now() > deadline {
                let (log, tail) = self.keep_log();
                return Err(Error::NotReady { component, within: READY_WITHIN, log, tail });
            }
            sleep(ASK_EVERY).await;
        }
    }

    /// SIGTERM, and SIGKILL if it still runs after `grace`.
    pub(crate) async fn stop(mut self, grace: Duration) {
        if let Some(pid) = self.pid().and_then(|pid| Pid::from_raw(pid.cast_signed())) {
            // An error means that it has just ended.
            let _ = kill_process(pid, Signal::TERM);
        }
        if timeout(grace, self.child.wait()).await.is_err() {
            let _ = self.child.kill().await;
        }
    }

    fn ended(&mut self) -> Result<Option<ExitStatus>, Error> {
        self.child.try_wait().map_err(|source| Error::Spawn { program: self.program.name().into(), source })
    }

    /// Copies the log to where it survives the control plane, and returns that path and the log's end.
    fn keep_log(&self) -> (PathBuf, String) {
        let kept = binaries::cache().join(format!("failed-{}.log", self.program.name()));
        let log = match std::fs::create_dir_all(binaries::cache()).and_then(|()| std::fs::copy(&self.log, &kept)) {
            Ok(_) => kept,
            Err(_) => self.log.clone(),
        };
        (log, tail(&self.log))
    }
}

/// The last lines of a log, at most 4 KiB, for an error message.
pub(crate) fn tail(log: &Path) -> String {
    const SHOWN: u64 = 4096;
    let read = || -> std::io::Result<String> {
        let mut file = std::fs::File::open(log)?;
        let start = file.metadata()?.len().saturating_sub(SHOWN);
        file.seek(SeekFrom::Start(start))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let text = String::from_utf8_lossy(&bytes);
        // The first line is cut off unless the whole file is shown.
        let whole = if start == 0 { text.as_ref() } else { text.split_once('\n').map_or("", |(_, rest)| rest) };
        Ok(whole.trim_end().to_owned())
    };
    read().unwrap_or_else(|error| format!("(unreadable: {error})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tail_of_a_long_log_begins_with_a_whole_line() {
        let folder = tempfile::tempdir().expect("a folder");
        let log = folder.path().join("log");
        let lines: Vec<String> = (0..1000).map(|n| format!("line {n}")).collect();
        std::fs::write(&log, lines.join("\n")).expect("a file");
        let shown = tail(&log);
        assert!(shown.len() <= 4096 && shown.starts_with("line ") && shown.ends_with("line 999"), "{shown}");
        std::fs::write(&log, "only\n").expect("a file");
        assert_eq!(tail(&log), "only");
    }
}
