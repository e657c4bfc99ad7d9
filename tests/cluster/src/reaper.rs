//! Ends the components and removes their folder when whoever started them is gone, even by SIGKILL.
//!
//! Two small shells stand beside each control plane, and both live as long as the starter holds the other end of their
//! standard input. The *anchor* leads the process group that the components join, which keeps the group's number from
//! being reused. The *reaper* is in a group of its own, so that neither Ctrl-C nor the end of the other group reaches it.
//! Shells rather than a mode of our own binary: a test of another crate has only the library.

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::Error;

const ANCHOR: &str = "while read -r _; do :; done";

/// Arguments: the process group, the folder. The folder is renamed first, so that whoever wants it next finds all of it
/// or nothing; a component that is just dying may still write, hence the repetition.
const REAPER: &str = r#"
trap '' HUP INT TERM
while read -r _; do :; done
kill -s KILL -- "-$1"
mv -- "$2" "$2.removed-$1"
tries=0
while rm -rf -- "$2.removed-$1"; [ -e "$2.removed-$1" ] && [ "$tries" -lt 100 ]; do
    tries=$((tries + 1))
    sleep 0.1
done
"#;

/// The two shells. Dropping it kills all processes of the group, removes the folder, and waits until that is done.
#[derive(Debug)]
pub(crate) struct Reaper {
    anchor: Child,
    reaper: Child,
}

impl Reaper {
    /// Stands by for `folder`, holding `lock` open for as long as it lives.
    pub(crate) fn start(folder: &Path, lock: &File) -> Result<Reaper, Error> {
        let lock = lock.try_clone().map_err(Error::file("duplicate the lock of", folder))?;
        let mut anchor = shell(ANCHOR, "vk-cluster-anchor");
        anchor.arg(folder).stdout(Stdio::null());
        let anchor = anchor.spawn().map_err(spawn)?;
        let mut reaper = shell(REAPER, "vk-cluster-reaper");
        reaper.arg(anchor.id().to_string()).arg(folder).stdout(lock);
        Ok(Reaper { anchor, reaper: reaper.spawn().map_err(spawn)? })
    }

    /// The process group that components must be started in.
    pub(crate) fn group(&self) -> u32 {
        self.anchor.id()
    }
}

impl Drop for Reaper {
    fn drop(&mut self) {
        drop(self.reaper.stdin.take());
        let _ = self.reaper.wait();
        let _ = self.anchor.wait();
    }
}

fn shell(script: &str, name: &str) -> Command {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", script, name]).stdin(Stdio::piped()).stderr(Stdio::null()).process_group(0);
    command
}

fn spawn(source: std::io::Error) -> Error {
    Error::Spawn { program: "/bin/sh".into(), source }
}
