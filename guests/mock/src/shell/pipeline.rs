//! Commands that run side by side, each reading what the one before it writes.

use serde::{Deserialize, Serialize};
use vk_sdk::{Error, Result};

use super::{
    job::{Desk, Job, Print, Reads, Turn},
    syntax::{Redirect, To},
};
use crate::{
    files::{self, Files, Writer},
    store::now,
};

/// A command of a pipeline.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Stage {
    job: Job,
    output: Target,
    errors: Target,
    code: Option<i32>,
}

/// Where what a command writes goes.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Target {
    /// To the next command, or if there is none to the client.
    Output,
    Errors,
    Nowhere,
    File(Writer),
    /// Where the command's output goes.
    SameAsOutput,
}

/// What a pipeline writes to the client.
#[derive(Debug, Default)]
pub(crate) struct Sink {
    pub(crate) output: Vec<u8>,
    pub(crate) errors: Vec<u8>,
    /// How many bytes its commands read or wrote, whichever is more.
    pub(crate) moved: usize,
}

impl Stage {
    /// A command that writes to the client.
    pub(crate) fn plain(job: Job) -> Self {
        Self { job, output: Target::Output, errors: Target::Errors, code: None }
    }

    pub(crate) fn new(
        job: Job,
        redirects: &[Redirect],
        files: &Files,
        mut value: impl FnMut(&str) -> Result<String>,
    ) -> Result<Self> {
        let mut stage = Self::plain(job);
        for Redirect { descriptor, to } in redirects {
            let target = match (to, descriptor) {
                (To::File(word), _) => {
                    let path = word.expand(&mut value)?.unwrap_or_default();
                    match target(&path, files) {
                        Some(target) => target,
                        None => return Ok(Self::failed(&path)),
                    }
                }
                (To::Descriptor(2), 1) => match &stage.errors {
                    Target::Errors => Target::Errors,
                    Target::Nowhere => Target::Nowhere,
                    Target::Output | Target::SameAsOutput => Target::Output,
                    Target::File(_) => return Ok(Self::failed("1>&2 after 2>FILE")),
                },
                (To::Descriptor(1), 2) => Target::SameAsOutput,
                (To::Descriptor(_), _) => continue,
            };
            match descriptor {
                1 => stage.output = target,
                _ => stage.errors = target,
            }
        }
        Ok(stage)
    }

    fn failed(what: &str) -> Self {
        let errors = format!("sh: {what}: cannot be written to\n");
        Self::plain(Job::Print(Print { errors, code: 2, ..Print::default() }))
    }
}

fn target(path: &str, files: &Files) -> Option<Target> {
    if path == "/dev/null" {
        return Some(Target::Nowhere);
    }
    let path = files::absolute("/", path).filter(|path| !files.is_directory(path))?;
    Some(Target::File(files.write(&path, 0o644, now() / 1000)))
}

/// Lets each command do a part of its work.
pub(crate) fn turn(
    stages: &mut [Stage],
    files: &Files,
    input: &mut Vec<u8>,
    closed: bool,
    sink: &mut Sink,
) -> Result<Turn> {
    let count = stages.len();
    let runs = runs(stages);
    let mut between: Option<(Vec<u8>, bool)> = None;
    let mut whole = Turn::Hungry;
    for (index, (stage, runs)) in stages.iter_mut().zip(runs).enumerate() {
        let (input, closed) = match &mut between {
            None => (&mut *input, closed),
            Some((bytes, closed)) => (bytes, *closed),
        };
        let mut desk = Desk { files, input, closed, output: Vec::new(), errors: String::new(), read: 0 };
        // One that is over, or has to wait, does not keep the others going.
        let turn = if runs && stage.code.is_none() { stage.job.turn(&mut desk)? } else { Turn::Hungry };
        let Desk { output, errors, read, .. } = desk;
        sink.moved += read.max(output.len() + errors.len());
        let last = index + 1 == count;
        let carried = stage.route(output, errors.into_bytes(), files, last, sink)?;
        if let Turn::Done(code) = turn {
            stage.code = Some(code);
        }
        if last && let Turn::Done(_) = turn {
            return Ok(turn);
        }
        whole = sooner(whole, turn);
        between = Some((carried, stage.code.is_some()));
    }
    Ok(whole)
}

/// Which commands have a turn. Nothing is kept between them: what one writes, the next one reads in the same turn, or
/// never. So whoever writes to one that reads later waits, as with a pipe that is full.
fn runs(stages: &[Stage]) -> Vec<bool> {
    let mut runs = vec![true; stages.len()];
    let mut next_takes = true;
    for (stage, runs) in stages.iter().zip(&mut runs).rev() {
        *runs = next_takes;
        next_takes = match stage.reads() {
            Reads::Now => *runs,
            Reads::Later => false,
            // What is written to it is lost.
            Reads::Never => true,
        };
    }
    runs
}

/// Ends those that still run, and closes the files that were written.
pub(crate) fn finish(stages: Vec<Stage>, files: &Files) -> Result<()> {
    let mut is_room = true;
    for stage in stages {
        stage.job.give_up(files);
        for target in [stage.output, stage.errors] {
            if let Target::File(writer) = target {
                is_room &= writer.finish(files);
            }
        }
    }
    if is_room { Ok(()) } else { Err(no_room()) }
}

/// Ends them, and leaves the files that were being written as they were.
pub(crate) fn give_up(stages: Vec<Stage>, files: &Files) {
    for stage in stages {
        stage.job.give_up(files);
        for target in [stage.output, stage.errors] {
            if let Target::File(writer) = target {
                writer.give_up(files);
            }
        }
    }
}

fn no_room() -> Error {
    Error::exhausted("the mock has no room for the file that a command writes")
}

impl Stage {
    pub(crate) fn reads(&self) -> Reads {
        if self.code.is_some() { Reads::Never } else { self.job.reads() }
    }

    /// Sends what was written where it goes, and yields what is for the next command.
    fn route(
        &mut self,
        output: Vec<u8>,
        errors: Vec<u8>,
        files: &Files,
        last: bool,
        sink: &mut Sink,
    ) -> Result<Vec<u8>> {
        let mut next = Vec::new();
        for (descriptor, mut bytes) in [(2, errors), (1, output)] {
            let target = match (descriptor, &mut self.errors) {
                (2, Target::SameAsOutput) | (1, _) => &mut self.output,
                (_, errors) => errors,
            };
            match target {
                Target::Output if last => sink.output.append(&mut bytes),
                Target::Output => next.append(&mut bytes),
                Target::Errors => sink.errors.append(&mut bytes),
                Target::Nowhere | Target::SameAsOutput => {}
                Target::File(writer) => {
                    if !writer.append(files, &bytes) {
                        return Err(no_room());
                    }
                }
            }
        }
        Ok(next)
    }
}

/// Of how two commands go on, how the pipeline does.
fn sooner(one: Turn, other: Turn) -> Turn {
    match (one, other) {
        (Turn::More, _) | (_, Turn::More | Turn::Done(_)) => Turn::More,
        (Turn::Asleep(one), Turn::Asleep(other)) => Turn::Asleep(one.min(other)),
        (Turn::Asleep(until), _) | (_, Turn::Asleep(until)) => Turn::Asleep(until),
        _ => Turn::Hungry,
    }
}
