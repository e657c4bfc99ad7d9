//! `tar c`: an archive of a file, or of a directory.

use serde::{Deserialize, Serialize};

use super::header::{BLOCK, DIRECTORY, FILE, Header, pad};
use crate::{
    files::{Entry, Files},
    shell::job::{Desk, Turn},
};

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Packer {
    /// Where it is packed from, and what of that path is left out in names.
    root: String,
    cut: usize,
    /// The path that was packed last; none: the root is next.
    last: Option<String>,
    current: Option<Member>,
    code: i32,
    message: String,
}

/// The file that is being packed.
#[derive(Debug, Serialize, Deserialize)]
struct Member {
    path: String,
    entry: Entry,
    piece: u32,
    left: u64,
}

impl Packer {
    /// Packs a path, `root` in absolute terms.
    pub(crate) fn new(path: &str, root: String, files: &Files) -> Self {
        let mut packer = Self { root, cut: 0, last: None, current: None, code: 0, message: String::new() };
        if files.entry(&packer.root).is_none() && !files.is_directory(&packer.root) {
            packer.message = format!("tar: {path}: Cannot stat: No such file or directory\n");
            packer.code = 2;
            // Nothing is below it either: the archive is empty.
            packer.last = Some(packer.root.clone());
        } else if path.starts_with('/') {
            packer.message = "tar: Removing leading `/' from member names\n".to_owned();
        }
        // Names are as they were asked for, and relative.
        let asked = path.trim_start_matches("./").trim_matches('/').len();
        packer.cut = if asked == 0 { 1 } else { packer.root.len().saturating_sub(asked) };
        packer
    }

    pub(crate) fn turn(&mut self, desk: &mut Desk<'_>) -> Turn {
        desk.errors.push_str(&std::mem::take(&mut self.message));
        if let Some(member) = &mut self.current {
            match desk.files.piece(&member.path, &member.entry, member.piece) {
                Some(piece) => {
                    member.piece += 1;
                    member.left = member.left.saturating_sub(piece.len() as u64);
                    desk.output.extend(piece);
                }
                None => {
                    if member.left > 0 {
                        // The header has promised more.
                        desk.errors.push_str(&format!("tar: {}: File shrank, the mock forgot it\n", member.path));
                        desk.output.extend(std::iter::repeat_n(0, usize::try_from(member.left).unwrap_or(0)));
                        self.code = 1;
                    }
                    pad(member.entry.size, &mut desk.output);
                    self.current = None;
                }
            }
            return Turn::More;
        }
        let Some((path, entry)) = self.next(desk.files) else {
            desk.output.extend([0; 2 * BLOCK]);
            return Turn::Done(self.code);
        };
        let name = path.get(self.cut..).unwrap_or_default().trim_start_matches('/');
        if entry.directory {
            if !name.is_empty() {
                header(format!("{name}/"), &entry, DIRECTORY).write(&mut desk.output);
            }
        } else {
            header(name.to_owned(), &entry, FILE).write(&mut desk.output);
            self.current = Some(Member { path: path.clone(), left: entry.size, entry, piece: 0 });
        }
        self.last = Some(path);
        Turn::More
    }

    fn next(&self, files: &Files) -> Option<(String, Entry)> {
        let below = || files.below(&self.root);
        let path = match &self.last {
            None if files.entry(&self.root).is_some() => self.root.clone(),
            None => below().next()?,
            Some(last) => below().find(|path| path > last)?,
        };
        let entry = files.entry(&path)?;
        Some((path, entry))
    }
}

fn header(name: String, entry: &Entry, kind: u8) -> Header {
    Header { name, mode: entry.mode, size: entry.size, modified: entry.modified, kind }
}
