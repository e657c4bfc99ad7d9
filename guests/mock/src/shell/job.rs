//! What a running command does, a bit at a time. Everything about it is in its state, because any instance of the
//! component may go on with it.

use std::{collections::VecDeque, fmt::Write as _};

use serde::{Deserialize, Serialize};
use sha2::{
    Digest, Sha256,
    digest::common::hazmat::{SerializableState, SerializedState},
};
use vk_sdk::{Error, Result};

use super::tar::{Packer, Unpacker};
use crate::{
    files::{Entry, Files},
    store::now,
};

/// How much a command produces at a time.
const PIECE: usize = 256 << 10;

/// A running command.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Job {
    Print(Print),
    /// Until this time.
    Sleep(u64),
    Read(Read),
    Pack(Packer),
    Unpack(Unpacker),
}

/// Everything that a command has to say, at once.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Print {
    #[serde(with = "mock_model::base64")]
    pub(crate) output: Vec<u8>,
    pub(crate) errors: String,
    pub(crate) code: i32,
}

/// A command that reads its input, or files, and makes something of it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Read {
    pub(crate) sources: VecDeque<Source>,
    pub(crate) filter: Filter,
    pub(crate) code: i32,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Source {
    Input,
    /// `/dev/zero`.
    Zeros,
    File {
        path: String,
        entry: Entry,
        piece: u32,
    },
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Filter {
    Copy,
    /// So many bytes from the beginning.
    Head(u64),
    /// All but so many bytes from the beginning.
    Skip(u64),
    Count {
        unit: Unit,
        count: u64,
        suffix: String,
    },
    /// The hash so far.
    Sum {
        #[serde(with = "mock_model::base64")]
        state: Vec<u8>,
        name: String,
    },
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Unit {
    Bytes,
    Lines,
}

/// What a command can use for a while.
pub(crate) struct Desk<'a> {
    pub(crate) files: &'a Files,
    pub(crate) input: &'a mut Vec<u8>,
    /// Whether no more input will come.
    pub(crate) closed: bool,
    pub(crate) output: Vec<u8>,
    pub(crate) errors: String,
    /// How many bytes the command has read.
    pub(crate) read: usize,
}

/// How a command goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    Done(i32),
    More,
    /// Only with more input.
    Hungry,
    /// Not before this time.
    Asleep(u64),
}

/// Whether a command reads its input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reads {
    /// In its next turn, all that is there or all that it ever wants.
    Now,
    /// Once it is done with something else.
    Later,
    Never,
}

impl Job {
    pub(crate) fn reads(&self) -> Reads {
        match self {
            Self::Print(_) | Self::Sleep(_) | Self::Pack(_) => Reads::Never,
            Self::Read(read) => read.reads(),
            Self::Unpack(_) => Reads::Now,
        }
    }

    /// Ends it where it is.
    pub(crate) fn give_up(self, files: &Files) {
        if let Self::Unpack(mut unpacker) = self {
            unpacker.give_up(files);
        }
    }

    pub(crate) fn turn(&mut self, desk: &mut Desk<'_>) -> Result<Turn> {
        match self {
            Self::Print(print) => {
                desk.output.append(&mut print.output);
                desk.errors.push_str(&std::mem::take(&mut print.errors));
                Ok(Turn::Done(print.code))
            }
            Self::Sleep(until) if now() < *until => Ok(Turn::Asleep(*until)),
            Self::Sleep(_) => Ok(Turn::Done(0)),
            Self::Read(read) => read.turn(desk),
            Self::Pack(packer) => Ok(packer.turn(desk)),
            Self::Unpack(unpacker) => Ok(unpacker.turn(desk)),
        }
    }
}

impl Read {
    fn reads(&self) -> Reads {
        let is_input = |source: &Source| matches!(source, Source::Input);
        match self.sources.front() {
            _ if matches!(self.filter, Filter::Head(0)) => Reads::Never,
            Some(Source::Input) => Reads::Now,
            _ if self.sources.iter().any(is_input) => Reads::Later,
            _ => Reads::Never,
        }
    }

    fn turn(&mut self, desk: &mut Desk<'_>) -> Result<Turn> {
        let wanted = match &self.filter {
            Filter::Head(0) => return self.finish(desk),
            Filter::Head(left) => usize::try_from(*left).unwrap_or(usize::MAX),
            _ => usize::MAX,
        };
        let piece = match self.sources.front_mut() {
            None => return self.finish(desk),
            Some(Source::Zeros) => vec![0; PIECE.min(wanted)],
            Some(Source::Input) if !desk.input.is_empty() => take(desk.input, wanted),
            Some(Source::Input) if !desk.closed => return Ok(Turn::Hungry),
            Some(Source::Input) => Vec::new(),
            Some(Source::File { path, entry, piece }) => match desk.files.piece(path, entry, *piece) {
                Some(mut bytes) => {
                    *piece += 1;
                    bytes.truncate(wanted);
                    bytes
                }
                None => Vec::new(),
            },
        };
        desk.read += piece.len();
        if piece.is_empty() {
            self.sources.pop_front();
        } else {
            self.filter.pass(piece, &mut desk.output)?;
        }
        Ok(Turn::More)
    }

    fn finish(&mut self, desk: &mut Desk<'_>) -> Result<Turn> {
        match &self.filter {
            Filter::Copy | Filter::Head(_) | Filter::Skip(_) => {}
            Filter::Count { count, suffix, .. } => desk.output.extend(format!("{count}{suffix}\n").bytes()),
            Filter::Sum { state, name } => {
                let mut hex = String::new();
                for byte in load(state)?.finalize() {
                    // Writing to a string does not fail.
                    let _infallible = write!(hex, "{byte:02x}");
                }
                desk.output.extend(format!("{hex}  {name}\n").bytes());
            }
        }
        Ok(Turn::Done(self.code))
    }
}

impl Filter {
    pub(crate) fn sum(name: &str) -> Self {
        Self::Sum { state: Sha256::new().serialize().to_vec(), name: name.to_owned() }
    }

    fn pass(&mut self, mut piece: Vec<u8>, output: &mut Vec<u8>) -> Result<()> {
        match self {
            Self::Copy => output.append(&mut piece),
            Self::Head(left) => {
                *left = left.saturating_sub(piece.len() as u64);
                output.append(&mut piece);
            }
            Self::Skip(left) => {
                let skipped = usize::try_from(*left).unwrap_or(usize::MAX).min(piece.len());
                *left -= skipped as u64;
                output.extend(piece.into_iter().skip(skipped));
            }
            Self::Count { unit: Unit::Bytes, count, .. } => *count += piece.len() as u64,
            Self::Count { unit: Unit::Lines, count, .. } => {
                *count += piece.iter().filter(|byte| **byte == b'\n').count() as u64;
            }
            Self::Sum { state, .. } => {
                let mut hash = load(state)?;
                hash.update(&piece);
                *state = hash.serialize().to_vec();
            }
        }
        Ok(())
    }
}

fn load(state: &[u8]) -> Result<Sha256> {
    let state = SerializedState::<Sha256>::try_from(state).ok();
    state
        .and_then(|state| Sha256::deserialize(&state).ok())
        .ok_or_else(|| Error::internal("the state of sha256sum cannot be read"))
}

fn take(bytes: &mut Vec<u8>, wanted: usize) -> Vec<u8> {
    if wanted >= bytes.len() {
        return std::mem::take(bytes);
    }
    let rest = bytes.split_off(wanted);
    std::mem::replace(bytes, rest)
}
