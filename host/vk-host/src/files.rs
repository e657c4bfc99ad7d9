//! Files that are read again when they change: how they were when they were read, and the wait for a change.

use std::{
    collections::{BTreeMap, BTreeSet},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::{sync::mpsc, time};

/// How long files must stay as they are before they count as written.
const SETTLE: Duration = Duration::from_millis(500);
/// How often files are looked at without notice: there is none on some network file systems, nor where a folder is
/// removed and made again, or swapped further up the path.
const LOOK: Duration = Duration::from_secs(10);

/// Files as they were before they were read, those that could not be read among them.
#[derive(Debug, Default)]
pub(crate) struct Seen(BTreeMap<PathBuf, Option<State>>);

impl Seen {
    /// To be called before the file is read, so that no change after it goes unseen.
    pub(crate) fn note(&mut self, file: &Path) {
        self.0.entry(file.to_path_buf()).or_insert_with(|| state(file));
    }

    #[cfg(test)]
    pub(crate) fn paths(&self) -> Vec<&Path> {
        self.0.keys().map(PathBuf::as_path).collect()
    }
}

/// Files whose changes are awaited.
pub(crate) struct Files {
    /// As they were when they were last loaded.
    loaded: Seen,
    /// Whether something may have happened that has not been looked at.
    stirred: bool,
    events: mpsc::Receiver<()>,
    /// `None` where the system offers no notice.
    watcher: Option<RecommendedWatcher>,
    folders: BTreeSet<PathBuf>,
    /// What was last said about folders that cannot be watched.
    said: String,
}

/// What tells one version of a file from another. The real path is part of it, because a mounted ConfigMap changes by
/// swapping a link above the file.
#[derive(Debug, Clone, PartialEq, Eq)]
struct State {
    path: PathBuf,
    inode: u64,
    size: u64,
    modified: Option<SystemTime>,
}

impl Files {
    /// Awaits changes from what has been seen.
    pub(crate) fn watch(seen: Seen) -> Self {
        let (sender, events) = mpsc::channel(1);
        let notice = move |event: notify::Result<notify::Event>| {
            // Reading is no change. An error may hide one.
            if !event.is_ok_and(|event| event.kind.is_access()) {
                // Full: the one that is waiting will do.
                let _ = sender.try_send(());
            }
        };
        let watcher = notify::recommended_watcher(notice)
            .inspect_err(|error| tracing::warn!(%error, "changes of files are noticed late"))
            .ok();
        let mut watched = Self {
            loaded: Seen::default(),
            stirred: false,
            events,
            watcher,
            folders: BTreeSet::new(),
            said: String::new(),
        };
        watched.follow(seen);
        watched
    }

    /// Awaits changes of the files that a load has read, and of no others.
    pub(crate) fn follow(&mut self, seen: Seen) {
        self.loaded = seen;
        self.watch_folders();
    }

    /// Awaits changes of the files that a failed load has read too: it may have ended before it came to the others.
    pub(crate) fn follow_too(&mut self, seen: Seen) {
        self.loaded.0.extend(seen.0);
        self.watch_folders();
    }

    /// Takes the files' present state for the one that is loaded.
    pub(crate) fn remember(&mut self) {
        self.loaded = self.states();
    }

    /// Until a file is another than the one that was loaded, and has stayed that way for a while. May be cancelled.
    pub(crate) async fn changed(&mut self) {
        loop {
            if !self.stirred {
                tokio::select! {
                    Some(()) = self.events.recv() => {}
                    () = time::sleep(LOOK) => {}
                }
                self.stirred = true;
            }
            let mut states = self.states();
            while states.0 != self.loaded.0 {
                time::sleep(SETTLE).await;
                let later = self.states();
                if later.0 == states.0 {
                    break;
                }
                states = later;
            }
            self.stirred = false;
            if states.0 != self.loaded.0 {
                return;
            }
        }
    }

    fn states(&self) -> Seen {
        Seen(self.loaded.0.keys().map(|file| (file.clone(), state(file))).collect())
    }

    fn watch_folders(&mut self) {
        // What happens between two watches is not noticed.
        self.stirred = true;
        let Some(watcher) = &mut self.watcher else { return };
        // All of them anew: a folder that was removed and made again has lost its watch.
        for folder in std::mem::take(&mut self.folders) {
            let _ = watcher.unwatch(&folder);
        }
        let files = self.loaded.0.keys();
        let real = files.clone().filter_map(|file| file.canonicalize().ok());
        let folders: BTreeSet<PathBuf> = files.cloned().chain(real).map(|file| folder(&file)).collect();
        let mut problems = Vec::new();
        for folder in folders {
            match watcher.watch(&folder, RecursiveMode::NonRecursive) {
                Ok(()) => {
                    self.folders.insert(folder);
                }
                Err(error) => problems.push(format!("{}: {error}", folder.display())),
            }
        }
        let problems = problems.join("; ");
        if !problems.is_empty() && problems != self.said {
            tracing::warn!("changes of files are noticed late: {problems}");
        }
        self.said = problems;
    }
}

fn state(file: &Path) -> Option<State> {
    let path = file.canonicalize().ok()?;
    let metadata = path.metadata().ok()?;
    Some(State { path, inode: metadata.ino(), size: metadata.len(), modified: metadata.modified().ok() })
}

fn folder(file: &Path) -> PathBuf {
    match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.into(),
        _ => ".".into(),
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::*;

    /// Longer than a change takes to be noticed and to settle.
    const SOON: Duration = Duration::from_secs(30);
    /// Long enough for a change to be noticed.
    const A_WHILE: Duration = Duration::from_millis(1_500);

    fn seen(file: &Path) -> Seen {
        let mut seen = Seen::default();
        seen.note(file);
        seen
    }

    async fn changes(files: &mut Files) -> bool {
        time::timeout(SOON, files.changed()).await.is_ok()
    }

    #[tokio::test]
    async fn a_file_that_is_written_or_renamed_into_place_has_changed() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("p.wasm");
        fs::write(&file, "one").unwrap();
        let mut files = Files::watch(seen(&file));

        fs::write(&file, "two").unwrap();
        assert!(changes(&mut files).await);
        files.remember();

        fs::write(root.path().join("incoming"), "six").unwrap();
        fs::rename(root.path().join("incoming"), &file).unwrap();
        assert!(changes(&mut files).await);
        files.remember();

        fs::remove_file(&file).unwrap();
        assert!(changes(&mut files).await);
    }

    #[tokio::test]
    async fn a_mounted_config_map_changes_by_a_swap_of_links() {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        for version in ["..1", "..2"] {
            fs::create_dir(at(version)).unwrap();
            fs::write(at(version).join("p.toml"), "same").unwrap();
        }
        symlink("..1", at("..data")).unwrap();
        symlink("..data/p.toml", at("p.toml")).unwrap();
        let mut files = Files::watch(seen(&at("p.toml")));

        symlink("..2", at("..data_tmp")).unwrap();
        fs::rename(at("..data_tmp"), at("..data")).unwrap();
        assert!(changes(&mut files).await);
    }

    #[tokio::test]
    async fn the_target_of_a_link_is_watched_too() {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        fs::create_dir(at("releases")).unwrap();
        fs::write(at("releases/p.wasm"), "one").unwrap();
        fs::create_dir(at("current")).unwrap();
        symlink(at("releases/p.wasm"), at("current/p.wasm")).unwrap();
        let mut files = Files::watch(seen(&at("current/p.wasm")));
        fs::write(at("releases/p.wasm"), "other").unwrap();
        assert!(changes(&mut files).await);
    }

    #[tokio::test]
    async fn other_files_of_the_folder_and_reading_are_no_change() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("p.wasm");
        fs::write(&file, "one").unwrap();
        let mut files = Files::watch(seen(&file));
        fs::write(root.path().join("other"), "x").unwrap();
        assert_eq!(fs::read(&file).unwrap(), b"one");
        assert!(time::timeout(A_WHILE, files.changed()).await.is_err());
    }

    #[tokio::test]
    async fn a_change_that_is_cancelled_while_it_settles_is_not_forgotten() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("p.wasm");
        fs::write(&file, "one").unwrap();
        let mut files = Files::watch(seen(&file));
        fs::write(&file, "other").unwrap();
        assert!(time::timeout(SETTLE / 2, files.changed()).await.is_err());
        assert!(changes(&mut files).await);
    }

    #[tokio::test]
    async fn a_change_between_the_load_and_the_watch_is_seen() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("p.wasm");
        fs::write(&file, "one").unwrap();
        let before = seen(&file);
        fs::write(&file, "other").unwrap();
        assert!(changes(&mut Files::watch(before)).await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_change_that_the_system_does_not_report_is_seen_after_a_while() {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        for version in ["1", "2"] {
            fs::create_dir_all(at(version).join("inner")).unwrap();
            fs::write(at(version).join("inner/p.wasm"), "same").unwrap();
        }
        symlink("1", at("current")).unwrap();
        let mut files = Files::watch(seen(&at("current/inner/p.wasm")));
        assert!(time::timeout(LOOK * 3, files.changed()).await.is_err());

        // Above the folders that are watched.
        fs::remove_file(at("current")).unwrap();
        symlink("2", at("current")).unwrap();
        assert!(time::timeout(LOOK + SETTLE * 2, files.changed()).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_file_that_a_failed_load_missed_is_awaited_in_a_folder_made_anew() {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        fs::write(at("p.toml"), "").unwrap();
        let mut files = Files::watch(seen(&at("p.toml")));
        files.follow_too(seen(&at("tls/ca.pem")));
        assert!(time::timeout(LOOK * 3, files.changed()).await.is_err());

        fs::create_dir(at("tls")).unwrap();
        fs::write(at("tls/ca.pem"), "x").unwrap();
        assert!(time::timeout(LOOK * 3, files.changed()).await.is_ok());
    }
}
