//! The files of emulated containers, in the host's cache for an hour: there as long as nobody relies on them.
//!
//! ```text
//!   file/UID/CONTAINER/PATH                    what the file is
//!   data/UID/CONTAINER/PATH/AGE/NUMBER/SIZE    what is in it, in pieces as they were written
//! ```
//!
//! The sizes are in the keys, so that what all files hold together is counted without reading them. Pieces count from
//! when they are written, whether or not their file is ever finished.

use std::{
    cell::Cell,
    collections::BTreeSet,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};
use vk_sdk::cache;

const LIFETIME: Duration = Duration::from_secs(3600);
/// What all files may hold together: half of the host's usual cache, in which the pods are kept too.
const CAPACITY: u64 = 32 << 20;
/// What an entry of the cache counts for beside the bytes of a file, so that files take no more than half of the usual
/// number of entries either. There is room in it for a key, and for what is known of a file.
const ENTRY: u64 = 1 << 10;
/// The longest path; the cache's keys have room for it.
pub(crate) const MAX_PATH: usize = 512;

/// The files of one container, as one step uses them.
pub(crate) struct Files {
    scope: String,
    /// What all files hold, once it was counted: then only this step's own changes are followed, since to count at each
    /// of them takes long when there are many files.
    used: Cell<Option<u64>>,
}

/// What is known of a file or a directory.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Entry {
    pub(crate) directory: bool,
    pub(crate) mode: u32,
    /// Seconds since 1970.
    pub(crate) modified: u64,
    pub(crate) size: u64,
    pieces: u32,
    age: u64,
}

/// A file that is being written. It is seen by others once it is finished.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Writer {
    path: String,
    entry: Entry,
}

impl Files {
    pub(crate) fn new(uid: &str, container: &str) -> Self {
        Self { scope: format!("{uid}/{container}"), used: Cell::new(None) }
    }

    pub(crate) fn entry(&self, path: &str) -> Option<Entry> {
        cache::get_json(&self.key(path))
    }

    /// A piece of a file; `None` after the last, or if the cache has forgotten it.
    pub(crate) fn piece(&self, path: &str, entry: &Entry, number: u32) -> Option<Vec<u8>> {
        let key = cache::keys(&self.piece_key(path, entry.age, number)).pop()?;
        cache::get(&key)
    }

    pub(crate) fn is_directory(&self, path: &str) -> bool {
        matches!(path, "/" | "/tmp")
            || self.entry(path).is_some_and(|entry| entry.directory)
            || self.below(path).next().is_some()
    }

    /// The paths of what is in a directory, at any depth, in order.
    pub(crate) fn below(&self, directory: &str) -> impl Iterator<Item = String> {
        let root = self.key("");
        let paths: BTreeSet<_> = cache::keys(&self.key(&format!("{}/", directory.trim_end_matches('/'))))
            .into_iter()
            .filter_map(|key| Some(key.strip_prefix(&root)?.to_owned()))
            .collect();
        paths.into_iter()
    }

    /// Makes a directory; says whether there was room.
    pub(crate) fn make_directory(&self, path: &str, mode: u32, modified: u64) -> bool {
        let old = self.entry(path).filter(|old| !old.directory);
        let made = self.set_entry(path, &Entry { directory: true, mode, modified, size: 0, pieces: 0, age: 0 });
        if let Some(old) = old.filter(|_| made) {
            self.forget(path, &old);
        }
        made
    }

    pub(crate) fn write(&self, path: &str, mode: u32, modified: u64) -> Writer {
        let entry = Entry { directory: false, mode, modified, size: 0, pieces: 0, age: age() };
        Writer { path: path.to_owned(), entry }
    }

    fn set_entry(&self, path: &str, entry: &Entry) -> bool {
        let key = self.key(path);
        let is_new = cache::get(&key).is_none();
        (!is_new || self.take_room(ENTRY)) && cache::set_json(&key, entry, LIFETIME).is_ok()
    }

    /// Takes room for so many bytes, if there is.
    fn take_room(&self, bytes: u64) -> bool {
        let used = self.used.get().unwrap_or_else(count).saturating_add(bytes);
        let fits = used <= CAPACITY;
        self.used.set(Some(if fits { used } else { used - bytes }));
        fits
    }

    fn key(&self, path: &str) -> String {
        format!("file/{}{path}", self.scope)
    }

    fn age_key(&self, path: &str, age: u64) -> String {
        format!("data/{}{path}/{age}/", self.scope)
    }

    fn piece_key(&self, path: &str, age: u64, number: u32) -> String {
        format!("{}{number}/", self.age_key(path, age))
    }

    fn forget(&self, path: &str, entry: &Entry) {
        let pieces = cache::keys(&self.age_key(path, entry.age));
        pieces.iter().for_each(|key| cache::remove(key));
        self.used.set(self.used.get().map(|used| used.saturating_sub(taken(&pieces))));
    }
}

/// Tells files apart that have the same name one after the other: the time in nanoseconds.
fn age() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// What all files of all containers hold.
fn count() -> u64 {
    taken(&cache::keys("data/")) + ENTRY * cache::keys("file/").len() as u64
}

/// What these pieces take.
fn taken(pieces: &[String]) -> u64 {
    let size = |key: &String| key.rsplit('/').next().and_then(|size| size.parse::<u64>().ok()).unwrap_or(0);
    pieces.iter().map(|key| ENTRY + size(key)).sum()
}

impl Writer {
    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// Appends a piece; says whether there was room.
    pub(crate) fn append(&mut self, files: &Files, piece: &[u8]) -> bool {
        let size = piece.len() as u64;
        if size == 0 {
            return true;
        }
        if !files.take_room(ENTRY + size) {
            return false;
        }
        let key = files.piece_key(&self.path, self.entry.age, self.entry.pieces);
        cache::set(&format!("{key}{size}"), piece, LIFETIME);
        self.entry.size += size;
        self.entry.pieces += 1;
        true
    }

    /// Puts the file in the place of what had its name; says whether there was room, without which it is given up.
    pub(crate) fn finish(self, files: &Files) -> bool {
        let old = files.entry(&self.path);
        if !files.set_entry(&self.path, &self.entry) {
            self.give_up(files);
            return false;
        }
        if let Some(old) = old.filter(|old| old.age != self.entry.age) {
            files.forget(&self.path, &old);
        }
        true
    }

    /// Leaves what had its name as it was.
    pub(crate) fn give_up(self, files: &Files) {
        files.forget(&self.path, &self.entry);
    }
}

/// The absolute path without `.` and doubled slashes; `None` if it leads upwards or is too long.
pub(crate) fn absolute(directory: &str, path: &str) -> Option<String> {
    let base = if path.starts_with('/') { "" } else { directory };
    let mut whole = String::new();
    for part in base.split('/').chain(path.split('/')) {
        match part {
            "" | "." => {}
            ".." => return None,
            name => {
                whole.push('/');
                whole.push_str(name);
            }
        }
    }
    match whole.len() {
        0 => Some("/".to_owned()),
        1..=MAX_PATH => Some(whole),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(files: &Files, path: &str, pieces: &[&[u8]]) {
        let mut writer = files.write(path, 0o644, 7);
        assert!(pieces.iter().all(|piece| writer.append(files, piece)));
        assert!(writer.finish(files));
    }

    fn read(files: &Files, path: &str) -> Vec<u8> {
        let entry = files.entry(path).unwrap();
        (0..).map_while(|number| files.piece(path, &entry, number)).flatten().collect()
    }

    #[test]
    fn a_file_is_read_as_it_was_written_by_its_own_container_only() {
        let files = Files::new("u", "c");
        put(&files, "/tmp/a", &[b"one ", b"two"]);
        assert_eq!(read(&files, "/tmp/a"), b"one two");
        assert_eq!(Files::new("u", "d").entry("/tmp/a"), None);
        assert_eq!(Files::new("v", "c").entry("/tmp/a"), None);
        assert!(files.is_directory("/tmp") && !files.is_directory("/tmp/a") && !files.is_directory("/t"));
        put(&files, "/data/x/y", &[]);
        assert!(files.is_directory("/data") && files.is_directory("/data/x"));
        assert_eq!(files.below("/").collect::<Vec<_>>(), ["/data/x/y", "/tmp/a"]);
    }

    #[test]
    fn there_is_room_for_so_much_and_no_more() {
        let files = Files::new("u", "c");
        put(&files, "/a", &[&vec![0; 20 << 20]]);
        let mut writer = files.write("/b", 0o644, 7);
        // Beside its bytes counts what the entries take: the file and the piece of the one, the piece of the other.
        let rest = (12 << 20) - 3 * 1024;
        assert!(writer.append(&files, &vec![0; rest]));
        assert!(!writer.append(&files, &[0]));
        writer.give_up(&files);
        assert_eq!(files.entry("/b"), None);
        assert_eq!(cache::keys("data/u/c/b").len(), 0);
        put(&files, "/b", &[&vec![0; rest - 1024]]);
        assert!(!files.make_directory("/d", 0o755, 7) && !files.write("/e", 0o644, 7).finish(&files));
        // What is there may still become another, as long as both fit in.
        assert!(files.write("/a", 0o644, 7).finish(&files) && files.make_directory("/d", 0o755, 7));
        assert_eq!(read(&files, "/a"), b"");
    }

    #[test]
    fn who_writes_at_the_same_time_shares_the_room() {
        let step = |uid| Files::new(uid, "c");
        let mut writers = ["u", "v", "w"].map(|uid| (uid, step(uid).write("/a", 0o644, 7)));
        let mut rounds = 0_u64;
        while writers.iter_mut().all(|(uid, writer)| writer.append(&step(uid), &[0; 1 << 20])) {
            rounds += 1;
        }
        assert_eq!(rounds, 10);
        assert!(count() <= CAPACITY, "{}", count());
        let [first, ..] = writers;
        first.1.give_up(&step(first.0));
        assert!(step("x").write("/a", 0o644, 7).append(&step("x"), &[0; 1 << 20]));
    }

    #[test]
    fn files_without_contents_take_no_more_than_their_share_of_entries() {
        let files = Files::new("u", "c");
        let made = (0..100_000).take_while(|number| files.make_directory(&format!("/{number}"), 0o755, 7)).count();
        assert_eq!(made, 32 << 10);
    }

    #[test]
    fn paths_do_not_lead_out() {
        assert_eq!(absolute("/tmp", "./a//b/").as_deref(), Some("/tmp/a/b"));
        assert_eq!(absolute("/tmp", "/etc/x").as_deref(), Some("/etc/x"));
        assert_eq!(absolute("/", "").as_deref(), Some("/"));
        assert_eq!(absolute("/tmp", "../etc/x"), None);
        assert_eq!(absolute("/tmp", &"x".repeat(600)), None);
    }
}
