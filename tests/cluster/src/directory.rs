//! The folder that holds all state of one control plane, and the lock that says whether one runs there.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{Pid, test_kill_process};
use tokio::time::{Instant, sleep};

use crate::Error;

const LOCK: &str = "vk-cluster.lock";

/// How long the reaper of a control plane that was killed may take to clear the folder.
const CLEARED_WITHIN: Duration = Duration::from_secs(15);

/// A claimed, empty folder. The lock is released when this and the reaper that shares it are gone.
#[derive(Debug)]
pub(crate) struct Directory {
    path: PathBuf,
    lock: File,
}

/// The process that runs a control plane in a folder.
#[derive(Debug)]
pub struct Holder {
    /// Its process id.
    pub pid: u32,
    /// Whether all of the control plane has been ready.
    pub ready: bool,
    lock: File,
}

impl Holder {
    /// Whether the process, all components and the folder are gone by now.
    pub fn is_gone(&self) -> bool {
        self.lock.try_lock().is_ok()
    }
}

/// Who runs a control plane in `folder`, if one does.
///
/// # Errors
///
/// When the folder's lock file exists and cannot be opened.
pub fn holder(folder: &Path) -> Result<Option<Holder>, Error> {
    let path = folder.join(LOCK);
    let mut lock = match OpenOptions::new().read(true).write(true).open(&path) {
        Ok(lock) => lock,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::file("open", &path)(error)),
    };
    match lock.try_lock() {
        Ok(()) => Ok(None),
        Err(TryLockError::Error(error)) => Err(Error::file("lock", &path)(error)),
        Err(TryLockError::WouldBlock) => {
            let mut text = String::new();
            lock.read_to_string(&mut text).map_err(Error::file("read", &path))?;
            let found = parse(&text).filter(|(pid, _)| is_alive(*pid));
            Ok(found.map(|(pid, ready)| Holder { pid, ready, lock }))
        }
    }
}

impl Directory {
    /// Claims `path`, or a fresh folder among the temporary files.
    ///
    /// A folder that a control plane left behind is cleared; one that holds anything else is refused.
    pub(crate) async fn claim(path: Option<&Path>) -> Result<Directory, Error> {
        let path = match path {
            Some(path) => {
                std::fs::create_dir_all(path).map_err(Error::file("create", path))?;
                path.canonicalize().map_err(Error::file("resolve", path))?
            }
            None => {
                let parent = std::env::temp_dir();
                tempfile::Builder::new()
                    .prefix("vk-cluster-")
                    .tempdir_in(&parent)
                    .map_err(Error::file("create a folder in", &parent))?
                    .keep()
            }
        };
        let lock = lock(&path).await?;
        let directory = Directory { path, lock };
        directory.clear()?;
        directory.say(false)?;
        Ok(directory)
    }

    /// Where it is, absolute.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The lock, to be shared with the reaper.
    pub(crate) fn lock(&self) -> &File {
        &self.lock
    }

    /// Notes in the lock file that the control plane is ready.
    pub(crate) fn say_ready(&self) -> Result<(), Error> {
        self.say(true)
    }

    fn say(&self, ready: bool) -> Result<(), Error> {
        let text = format!("{}{}\n", std::process::id(), if ready { " ready" } else { "" });
        let mut lock = &self.lock;
        lock.seek(SeekFrom::Start(0))
            .and_then(|_| lock.write_all(text.as_bytes()))
            .map_err(Error::file("write the lock of", &self.path))
    }

    fn clear(&self) -> Result<(), Error> {
        for entry in self.path.read_dir().map_err(Error::file("list", &self.path))? {
            let entry = entry.map_err(Error::file("list", &self.path))?;
            let path = entry.path();
            if entry.file_name() == LOCK {
                continue;
            }
            let is_folder = entry.file_type().map_err(Error::file("inspect", &path))?.is_dir();
            let removed = if is_folder { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) };
            removed.map_err(Error::file("remove", &path))?;
        }
        Ok(())
    }
}

async fn lock(folder: &Path) -> Result<File, Error> {
    let path = folder.join(LOCK);
    let deadline = Instant::now() + CLEARED_WITHIN;
    loop {
        if !path.exists() && folder.read_dir().is_ok_and(|mut entries| entries.next().is_some()) {
            return Err(Error::ForeignDirectory { path: folder.to_path_buf() });
        }
        std::fs::create_dir_all(folder).map_err(Error::file("create", folder))?;
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(Error::file("open", &path))?;
        match file.try_lock() {
            // The reaper of an earlier control plane may have removed the file between open and lock.
            Ok(()) if is_at(&file, &path) => return Ok(file),
            Ok(()) => {}
            Err(TryLockError::Error(error)) => return Err(Error::file("lock", &path)(error)),
            Err(TryLockError::WouldBlock) => {
                // Locked by a process that is gone means that its reaper is at work.
                let found = holder(folder)?;
                if let Some(Holder { pid, .. }) = found {
                    return Err(Error::AlreadyRunning { path: folder.to_path_buf(), pid });
                }
                if Instant::now() > deadline {
                    return Err(Error::NotCleared { path: folder.to_path_buf() });
                }
                sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

fn is_at(file: &File, path: &Path) -> bool {
    match (file.metadata(), path.metadata()) {
        (Ok(open), Ok(named)) => open.ino() == named.ino() && open.dev() == named.dev(),
        _ => false,
    }
}

fn parse(text: &str) -> Option<(u32, bool)> {
    let mut words = text.split_whitespace();
    let pid = words.next()?.parse().ok()?;
    Some((pid, words.next() == Some("ready")))
}

fn is_alive(pid: u32) -> bool {
    i32::try_from(pid).ok().and_then(Pid::from_raw).is_some_and(|pid| test_kill_process(pid).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_folder_with_other_files_is_refused_and_untouched() {
        let folder = tempfile::tempdir().expect("a folder");
        let precious = folder.path().join("thesis.txt");
        std::fs::write(&precious, "chapter one").expect("a file");
        let refused = Directory::claim(Some(folder.path())).await.expect_err("must be refused");
        assert!(matches!(refused, Error::ForeignDirectory { .. }), "{refused}");
        assert!(precious.exists());
    }

    #[tokio::test]
    async fn a_claimed_folder_names_its_holder_and_cannot_be_claimed_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("cluster");
        assert!(holder(&path).expect("readable").is_none());
        let claimed = Directory::claim(Some(&path)).await.expect("claimed");
        let pid = std::process::id();
        let found = holder(&path).expect("readable").expect("held");
        assert_eq!((found.pid, found.ready, found.is_gone()), (pid, false, false));
        claimed.say_ready().expect("written");
        assert!(holder(&path).expect("readable").is_some_and(|found| found.ready));
        let refused = Directory::claim(Some(&path)).await.expect_err("must be refused");
        assert!(matches!(refused, Error::AlreadyRunning { pid: found, .. } if found == pid), "{refused}");
        drop(claimed);
        assert!(found.is_gone());
    }

    #[tokio::test]
    async fn what_an_earlier_control_plane_left_is_cleared() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("cluster");
        drop(Directory::claim(Some(&path)).await.expect("claimed"));
        std::fs::create_dir(path.join("etcd")).expect("a folder");
        let again = Directory::claim(Some(&path)).await.expect("claimed again");
        assert!(!again.path().join("etcd").exists());
    }
}
