//! A folder of programs that is made once and then kept, whoever asks for it and however many do.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::sleep;

use crate::{Error, progress};

/// How often a lock is tried that another process holds.
const TRY_EVERY: Duration = Duration::from_millis(200);

const PARTIAL: &str = "partial-";

/// The folder `bin` in `folder`, which `make` fills if it is not there. `what` is said meanwhile, as in "building x".
///
/// Concurrent callers, in this process or in others, wait for one of them. It is filled beside its place and renamed, so
/// that an interrupted attempt leaves nothing that looks whole.
pub(crate) async fn once(
    folder: &Path,
    what: &str,
    make: impl AsyncFnOnce(&Path) -> Result<(), Error>,
) -> Result<PathBuf, Error> {
    let bin = folder.join("bin");
    if bin.is_dir() {
        return Ok(bin);
    }
    std::fs::create_dir_all(folder).map_err(Error::file("create", folder))?;
    let _lock = lock(folder, what).await?;
    if !bin.is_dir() {
        sweep(folder)?;
        let partial = tempfile::Builder::new()
            .prefix(PARTIAL)
            .tempdir_in(folder)
            .map_err(Error::file("create a folder in", folder))?;
        progress::during(what, make(partial.path())).await?;
        std::fs::rename(partial.path(), &bin).map_err(Error::file("create", &bin))?;
    }
    Ok(bin)
}

async fn lock(folder: &Path, what: &str) -> Result<File, Error> {
    let path = folder.join("lock");
    let file = File::create(&path).map_err(Error::file("open", &path))?;
    match file.try_lock() {
        Ok(()) => return Ok(file),
        Err(TryLockError::Error(error)) => return Err(Error::file("lock", &path)(error)),
        Err(TryLockError::WouldBlock) => {}
    }
    let waiting = async {
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(()),
                Err(TryLockError::WouldBlock) => sleep(TRY_EVERY).await,
                Err(TryLockError::Error(error)) => return Err(Error::file("lock", &path)(error)),
            }
        }
    };
    progress::during(&format!("waiting for another process that is {what}"), waiting).await?;
    Ok(file)
}

/// Removes what interrupted attempts left. The lock is held, so nobody writes there.
fn sweep(folder: &Path) -> Result<(), Error> {
    for entry in folder.read_dir().map_err(Error::file("list", folder))?.flatten() {
        if entry.file_name().to_string_lossy().starts_with(PARTIAL) {
            std::fs::remove_dir_all(entry.path()).map_err(Error::file("remove", &entry.path()))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test]
    async fn of_many_callers_one_makes_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let made = AtomicUsize::new(0);
        let call = || {
            once(folder.path(), "making a program", async |bin: &Path| {
                made.fetch_add(1, Ordering::Relaxed);
                tokio::task::yield_now().await;
                std::fs::write(bin.join("program"), "").map_err(Error::file("write", bin))
            })
        };
        let (first, second, third) = tokio::join!(call(), call(), call());
        for bin in [first, second, third] {
            assert!(bin.expect("made").join("program").is_file());
        }
        assert_eq!(made.into_inner(), 1);
    }

    #[tokio::test]
    async fn what_a_failed_attempt_left_is_gone_and_the_next_one_succeeds() {
        let folder = tempfile::tempdir().expect("a folder");
        // As a killed process leaves it.
        std::fs::create_dir(folder.path().join("partial-killed")).expect("a folder");
        let refused = || Error::GoMod { path: PathBuf::new(), what: "thing".into() };
        once(folder.path(), "making a program", async |_: &Path| Err(refused())).await.expect_err("it fails");
        once(folder.path(), "making a program", async |_: &Path| Ok(())).await.expect("made");
        let mut left: Vec<_> = folder.path().read_dir().expect("a folder").flatten().map(|e| e.file_name()).collect();
        left.sort();
        assert_eq!(left, ["bin", "lock"]);
    }
}
