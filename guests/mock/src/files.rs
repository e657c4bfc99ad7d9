//! The files of emulated containers, in the host's cache for an hour: there as long as nobody relies on them.
//!
//! ```text
//!   file/UID/CONTAINER/PATH               what the file is
//!   data/UID/CONTAINER/PATH/AGE/NUMBER    what is in it, in pieces as they were written
//! ```

use std::{collections::BTreeSet, time::Duration};

use serde::{Deserialize, Serialize};
use vk_sdk::{Result, cache};

use crate::store::now;

const LIFETIME: Duration = Duration::from_secs(3600);
/// What all files may hold together: half of the smallest sensible cache, which the pods are kept in too.
const CAPACITY: u64 = 32 << 20;
/// The longest path; the cache's keys have room for it.
pub(crate) const MAX_PATH: usize = 512;

/// The files of one container.
pub(crate) struct Files {
    scope: String,
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
    /// What there is room for.
    room: u64,
}

impl Files {
    pub(crate) fn new(uid: &str, container: &str) -> Self {
        Self { scope: format!("{uid}/{container}") }
    }

    pub(crate) fn entry(&self, path: &str) -> Option<Entry> {
        cache::get_json(&self.key(path))
    }

    /// A piece of a file; `None` after the last, or if the cache has forgotten it.
    pub(crate) fn piece(&self, path: &str, entry: &Entry, number: u32) -> Option<Vec<u8>> {
        if number < entry.pieces { cache::get(&self.data_key(path, entry.age, number)) } else { None }
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

    pub(crate) fn make_directory(&self, path: &str, mode: u32, modified: u64) -> Result<()> {
        let entry = Entry { directory: true, mode, modified, size: 0, pieces: 0, age: 0 };
        cache::set_json(&self.key(path), &entry, LIFETIME)
    }

    pub(crate) fn write(&self, path: &str, mode: u32, modified: u64) -> Writer {
        let sizes = cache::keys("file/").into_iter().filter_map(|key| cache::get_json::<Entry>(&key));
        let used = sizes.map(|entry| entry.size).sum();
        let entry = Entry { directory: false, mode, modified, size: 0, pieces: 0, age: now() };
        Writer { path: path.to_owned(), entry, room: CAPACITY.saturating_sub(used) }
    }

    fn key(&self, path: &str) -> String {
        format!("file/{}{path}", self.scope)
    }

    fn data_key(&self, path: &str, age: u64, number: u32) -> String {
        format!("data/{}{path}/{age}/{number}", self.scope)
    }

    fn forget(&self, path: &str, entry: &Entry) {
        for number in 0..entry.pieces {
            cache::remove(&self.data_key(path, entry.age, number));
        }
    }
}

impl Writer {
    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// Appends a piece; says whether there was room.
    pub(crate) fn append(&mut self, files: &Files, piece: &[u8]) -> bool {
        let size = self.entry.size + piece.len() as u64;
        if size > self.room {
            return false;
        }
        if !piece.is_empty() {
            cache::set(&files.data_key(&self.path, self.entry.age, self.entry.pieces), piece, LIFETIME);
            self.entry.size = size;
            self.entry.pieces += 1;
        }
        true
    }

    /// Puts the file in the place of what had its name.
    pub(crate) fn finish(self, files: &Files) -> Result<()> {
        if let Some(old) = files.entry(&self.path).filter(|old| old.age != self.entry.age) {
            files.forget(&self.path, &old);
        }
        cache::set_json(&files.key(&self.path), &self.entry, LIFETIME)
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
        writer.finish(files).unwrap();
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
        assert!(writer.append(&files, &vec![0; 12 << 20]));
        assert!(!writer.append(&files, &[0]));
        writer.give_up(&files);
        assert_eq!(files.entry("/b"), None);
        assert_eq!(cache::keys("data/u/c/b").len(), 0);
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
