//! `tar x`: an archive, as it comes.

use serde::{Deserialize, Serialize};

use super::header::{BLOCK, DIRECTORY, EXTENDED, FILE, GLOBAL, Header, LONG_NAME, extended, padding};
use crate::{
    files::{self, Files, Writer},
    shell::job::{Desk, Turn},
};

const NO_ROOM: &str = "No space left on device";
/// The longest extended header that is read.
const MAX_EXTENDED: u64 = 8 << 10;

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Unpacker {
    directory: String,
    phase: Phase,
    /// What came of a block, or of an extended header, that is not yet complete.
    #[serde(with = "mock_model::base64")]
    part: Vec<u8>,
    /// From an extended header, for the member after it.
    name: Option<String>,
    size: Option<u64>,
    code: i32,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Phase {
    Header,
    /// The contents of a file; `left` is what is still to come of it.
    File {
        writer: Writer,
        left: u64,
        padding: usize,
    },
    /// An extended header, with its padding.
    Extended {
        kind: u8,
        size: usize,
        left: usize,
    },
    /// What is of no use.
    Skip(u64),
    /// After the end of the archive.
    End,
}

impl Unpacker {
    pub(crate) fn new(directory: String) -> Self {
        Self { directory, phase: Phase::Header, part: Vec::new(), name: None, size: None, code: 0 }
    }

    pub(crate) fn turn(&mut self, desk: &mut Desk<'_>) -> Turn {
        let input = std::mem::take(desk.input);
        let mut rest = input.as_slice();
        while !rest.is_empty() {
            rest = self.take(rest, desk);
        }
        if !desk.closed {
            return Turn::Hungry;
        }
        if !matches!(self.phase, Phase::Header | Phase::End) || !self.part.is_empty() {
            self.fail("tar: Unexpected EOF in archive\n", desk);
        }
        self.give_up(desk.files);
        Turn::Done(self.code)
    }

    /// Leaves the file that is being unpacked as it was.
    pub(crate) fn give_up(&mut self, files: &Files) {
        if let Phase::File { writer, .. } = std::mem::replace(&mut self.phase, Phase::End) {
            writer.give_up(files);
        }
    }

    /// Takes a part of the input, and yields the rest.
    fn take<'a>(&mut self, input: &'a [u8], desk: &mut Desk<'_>) -> &'a [u8] {
        let (used, rest) = match &mut self.phase {
            Phase::End => (input, &[][..]),
            Phase::Skip(left) => {
                let (used, rest) = split(input, *left);
                *left -= used.len() as u64;
                if *left == 0 {
                    self.phase = Phase::Header;
                }
                return rest;
            }
            Phase::Header => split(input, (BLOCK - self.part.len()) as u64),
            Phase::Extended { left, .. } => {
                let (used, rest) = split(input, *left as u64);
                *left -= used.len();
                (used, rest)
            }
            Phase::File { left, .. } => {
                let (used, rest) = split(input, *left);
                *left -= used.len() as u64;
                (used, rest)
            }
        };
        match &mut self.phase {
            Phase::File { writer, left, padding } => {
                if !writer.append(desk.files, used) {
                    let rest_of_it = left.saturating_add(*padding as u64);
                    self.no_room(rest_of_it, desk);
                    return rest;
                }
                if *left == 0 {
                    let padding = *padding as u64;
                    self.finish_file(padding, desk);
                }
            }
            Phase::Header => {
                self.part.extend_from_slice(used);
                if self.part.len() == BLOCK {
                    self.header(desk);
                }
            }
            Phase::Extended { kind, size, left } => {
                self.part.extend_from_slice(used);
                if *left == 0 {
                    let (kind, size) = (*kind, *size);
                    self.extended(kind, size);
                }
            }
            Phase::End | Phase::Skip(_) => {}
        }
        rest
    }

    fn header(&mut self, desk: &mut Desk<'_>) {
        let part = std::mem::take(&mut self.part);
        let Ok(block) = <&[u8; BLOCK]>::try_from(part.as_slice()) else { return };
        if block.iter().all(|byte| *byte == 0) {
            self.phase = Phase::End;
            return;
        }
        let Some(header) = Header::read(block) else {
            self.fail("tar: This does not look like a tar archive\n", desk);
            self.phase = Phase::End;
            return;
        };
        if matches!(header.kind, EXTENDED | GLOBAL | LONG_NAME) {
            let whole = header.size.saturating_add(padding(header.size) as u64);
            if header.kind == GLOBAL || header.size > MAX_EXTENDED {
                self.skip(whole);
            } else {
                let (size, left) = (usize::try_from(header.size).unwrap_or(0), usize::try_from(whole).unwrap_or(0));
                self.phase = if left == 0 { Phase::Header } else { Phase::Extended { kind: header.kind, size, left } };
            }
            return;
        }
        let name = self.name.take().unwrap_or(header.name);
        let size = self.size.take().unwrap_or(header.size);
        let Some(path) = files::absolute(&self.directory, name.trim_start_matches('/')) else {
            self.skip(size.saturating_add(padding(size) as u64));
            self.fail(&format!("tar: {name}: the name leads upwards or is too long\n"), desk);
            return;
        };
        match header.kind {
            FILE => {
                let writer = desk.files.write(&path, header.mode, header.modified);
                self.phase = Phase::File { writer, left: size, padding: padding(size) };
                if size == 0 {
                    self.finish_file(0, desk);
                }
            }
            DIRECTORY if desk.files.make_directory(&path, header.mode, header.modified) => {}
            DIRECTORY => self.fail(&format!("tar: {path}: Cannot mkdir: {NO_ROOM}\n"), desk),
            _ => {
                self.skip(size.saturating_add(padding(size) as u64));
                self.fail(&format!("tar: {name}: the mock has files and directories only\n"), desk);
            }
        }
    }

    fn extended(&mut self, kind: u8, size: usize) {
        let mut part = std::mem::take(&mut self.part);
        part.truncate(size);
        self.phase = Phase::Header;
        if kind == LONG_NAME {
            let name = part.split(|byte| *byte == 0).next().unwrap_or_default();
            self.name = Some(String::from_utf8_lossy(name).into_owned());
            return;
        }
        self.name = extended(&part, "path").or(self.name.take());
        self.size = extended(&part, "size").and_then(|size| size.parse().ok());
    }

    fn finish_file(&mut self, padding: u64, desk: &mut Desk<'_>) {
        if let Phase::File { writer, .. } = std::mem::replace(&mut self.phase, Phase::Header) {
            let path = writer.path().to_owned();
            if !writer.finish(desk.files) {
                self.fail(&format!("tar: {path}: Cannot open: {NO_ROOM}\n"), desk);
            }
        }
        self.skip(padding);
    }

    fn no_room(&mut self, left: u64, desk: &mut Desk<'_>) {
        if let Phase::File { writer, .. } = std::mem::replace(&mut self.phase, Phase::Header) {
            self.fail(&format!("tar: {}: Cannot write: {NO_ROOM}\n", writer.path()), desk);
            writer.give_up(desk.files);
        }
        self.skip(left);
    }

    fn skip(&mut self, bytes: u64) {
        self.phase = if bytes == 0 { Phase::Header } else { Phase::Skip(bytes) };
    }

    fn fail(&mut self, message: &str, desk: &mut Desk<'_>) {
        desk.errors.push_str(message);
        self.code = 2;
    }
}

fn split(bytes: &[u8], at: u64) -> (&[u8], &[u8]) {
    let at = usize::try_from(at).unwrap_or(usize::MAX).min(bytes.len());
    bytes.split_at_checked(at).unwrap_or((bytes, &[]))
}
