//! Commands in containers that do not exist: an emulated shell, driven by a session's events.
//!
//! ```text
//!   frames: the command, scripts, prompts ──> a pipeline of stages, each a Job ──> output, errors
//!              input ──[terminal]──────────────────^
//! ```
//!
//! Each step does a bounded part of the work and asks to be woken for the rest. All that is known is in [`Shell`]: it
//! travels through the host between steps.

mod command;
mod job;
mod pipeline;
mod syntax;
mod tar;
pub(crate) mod terminal;
#[cfg(test)]
mod tests;

use std::{cell::OnceCell, time::Duration};

use serde::{Deserialize, Serialize};
use vk_sdk::{
    Error, PodId, Result,
    sessions::{Action, Event, Exec},
};

use self::{
    command::{SHELL, Started, World, fail},
    job::{Reads, Turn},
    pipeline::{Sink, Stage},
    syntax::{Command, Condition},
    terminal::{Terminal, shown},
};
use crate::{
    files::Files,
    store::{Store, now},
};

/// How many bytes a step moves.
const BUDGET: usize = 1 << 20;
/// Less output than this is sent together.
const SMALL: usize = 64 << 10;
/// How much a turn counts for, whatever it moves.
const TURN: usize = 4 << 10;
/// How much input is kept for commands that are still to read it: the session's state has room for it.
const MAX_INPUT: usize = 32 << 10;
/// How many scripts may run each other.
const MAX_DEPTH: usize = 8;

/// A command that a client runs, with everything that it runs in turn.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Shell {
    container: String,
    terminal: Option<Terminal>,
    /// Whether the terminal's size is printed whenever it changes.
    watches_size: bool,
    frames: Vec<Frame>,
    /// The pipeline that runs.
    stages: Vec<Stage>,
    /// The exit code of the last command.
    status: i32,
    #[serde(with = "mock_model::base64")]
    input: Vec<u8>,
    closed: bool,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Frame {
    Command(Vec<String>),
    Script {
        source: String,
        next: usize,
        /// Whether it came from a prompt: `exit` ends that too.
        typed: bool,
    },
    Prompt {
        shown: bool,
    },
}

/// What comes of looking for the next command.
enum Next {
    Started,
    /// There will be one with more input.
    Hungry,
    Over(i32),
}

impl Shell {
    pub(crate) fn new(exec: Exec) -> Self {
        Self {
            container: exec.container,
            terminal: exec.tty.map(Terminal::new),
            watches_size: false,
            frames: vec![Frame::Command(exec.command)],
            stages: Vec::new(),
            status: 0,
            input: Vec::new(),
            closed: !exec.stdin,
        }
    }

    pub(crate) fn step(&mut self, pod: &PodId, store: &dyn Store, events: Vec<Event>) -> Vec<Action> {
        let files = Files::new(&pod.uid, &self.container);
        let mut actions = Vec::new();
        if events.contains(&Event::Abandoned) {
            self.give_up(&files);
        } else if let Err(error) = self.advance(pod, store, &files, events, &mut actions) {
            self.give_up(&files);
            // Behind what was written before.
            actions.push(Action::Fail(error));
        }
        actions
    }

    fn advance(
        &mut self,
        pod: &PodId,
        store: &dyn Store,
        files: &Files,
        events: Vec<Event>,
        actions: &mut Vec<Action>,
    ) -> Result<()> {
        for event in events {
            if self.take(event, files, actions) {
                actions.push(Action::Exit(128 + 2));
                return Ok(());
            }
        }
        if let Some(code) = self.run(pod, store, files, actions)? {
            self.give_up(files);
            actions.push(Action::Exit(code));
            return Ok(());
        }
        if !self.may_read() {
            self.input.clear();
        }
        if self.input.len() > MAX_INPUT {
            return Err(Error::exhausted(
                "the mock keeps no more than 32 KiB of input that its commands do not yet read",
            ));
        }
        Ok(())
    }

    /// Whether anything that runs, or is still to run, may come to read the input.
    fn may_read(&self) -> bool {
        self.stages.first().is_some_and(|stage| stage.reads() != Reads::Never)
            || self.frames.iter().any(|frame| match frame {
                Frame::Command(_) | Frame::Prompt { .. } => true,
                Frame::Script { source, next, .. } => {
                    let mut rest = syntax::parse(source).unwrap_or_default().into_iter().skip(*next);
                    rest.any(|pipeline| pipeline.commands.first().is_some_and(command::may_read))
                }
            })
    }

    /// Ends what runs, leaves the files that it was writing as they were, and drops the input.
    fn give_up(&mut self, files: &Files) {
        self.input.clear();
        pipeline::give_up(std::mem::take(&mut self.stages), files);
    }

    /// Takes an event; says whether it ended everything.
    fn take(&mut self, event: Event, files: &Files, actions: &mut Vec<Action>) -> bool {
        match (event, &mut self.terminal) {
            (Event::Input(mut bytes), None) => self.input.append(&mut bytes),
            (Event::Input(bytes), Some(terminal)) => {
                let mut typed = terminal.typed(&bytes);
                if !typed.echo.is_empty() {
                    actions.push(Action::Output(typed.echo));
                }
                self.closed |= typed.closed;
                if typed.interrupted && self.interrupt(files) {
                    return true;
                }
                self.input.append(&mut typed.input);
            }
            (Event::InputClosed, _) => self.closed = true,
            (Event::Resized(size), Some(terminal)) => {
                terminal.resize(size);
                if self.watches_size {
                    actions.push(Action::output(format!("{} {}\r\n", size.rows, size.columns)));
                }
            }
            _ => {}
        }
        false
    }

    /// Ends what runs; says whether nothing is left.
    fn interrupt(&mut self, files: &Files) -> bool {
        self.give_up(files);
        let prompt = self.frames.iter().rposition(|frame| matches!(frame, Frame::Prompt { .. }));
        self.frames.truncate(prompt.map_or(0, |prompt| prompt + 1));
        if let Some(Frame::Prompt { shown }) = self.frames.last_mut() {
            *shown = false;
        }
        self.status = 128 + 2;
        self.frames.is_empty()
    }

    /// Goes on for a step; yields the exit code, if everything is over.
    fn run(&mut self, pod: &PodId, store: &dyn Store, files: &Files, actions: &mut Vec<Action>) -> Result<Option<i32>> {
        let known = OnceCell::new();
        let container = self.container.clone();
        let variables = || match known.get() {
            Some(variables) => Ok(Vec::clone(variables)),
            None => read_variables(pod, &container, store).map(|read| known.get_or_init(|| read).clone()),
        };
        let mut work = 0;
        while work < BUDGET {
            if self.stages.is_empty() {
                let size = self.terminal.as_ref().map(|terminal| (terminal.rows, terminal.columns));
                let world = World { files, pod_name: &pod.name, size, variables: &variables };
                work += TURN;
                match self.next(&world, actions)? {
                    Next::Started => {}
                    Next::Hungry => return Ok(None),
                    Next::Over(code) => return Ok(Some(code)),
                }
            }
            let mut sink = Sink::default();
            let turn = pipeline::turn(&mut self.stages, files, &mut self.input, self.closed, &mut sink)?;
            work += sink.moved + TURN;
            self.emit(sink, actions);
            match turn {
                Turn::Done(code) => {
                    self.status = code;
                    pipeline::finish(std::mem::take(&mut self.stages), files)?;
                }
                Turn::More => {}
                Turn::Hungry => return Ok(None),
                Turn::Asleep(until) => {
                    let wait = Duration::from_millis(until.saturating_sub(now()).max(1));
                    actions.push(Action::wake_after(wait));
                    return Ok(None);
                }
            }
        }
        actions.push(Action::wake_after(Duration::ZERO));
        Ok(None)
    }

    fn emit(&self, sink: Sink, actions: &mut Vec<Action>) {
        let Sink { output, errors, .. } = sink;
        match self.terminal {
            // A terminal has one stream.
            Some(_) => {
                say(shown(&output), actions);
                say(shown(&errors), actions);
            }
            None => {
                say(output, actions);
                if !errors.is_empty() {
                    actions.push(Action::ErrorOutput(errors));
                }
            }
        }
    }

    fn next(&mut self, world: &World<'_>, actions: &mut Vec<Action>) -> Result<Next> {
        loop {
            match self.frames.last_mut() {
                None => return Ok(Next::Over(self.status)),
                Some(Frame::Command(words)) => {
                    let words = std::mem::take(words);
                    self.frames.pop();
                    let started = command::start(&words, self.status, world)?;
                    if let Some(over) = self.begin(started) {
                        return Ok(over);
                    }
                }
                Some(Frame::Script { source, next, .. }) => {
                    // It was read before, so it can be read.
                    let script = syntax::parse(source).unwrap_or_default();
                    let Some(pipeline) = script.into_iter().nth(*next) else {
                        self.frames.pop();
                        continue;
                    };
                    *next += 1;
                    let wanted = match pipeline.condition {
                        Condition::Always => true,
                        Condition::Success => self.status == 0,
                        Condition::Failure => self.status != 0,
                    };
                    if wanted && let Some(over) = self.pipeline(pipeline.commands, world)? {
                        return Ok(over);
                    }
                }
                Some(Frame::Prompt { shown }) => {
                    if self.terminal.is_some() && !*shown {
                        actions.push(Action::output("$ "));
                        *shown = true;
                    }
                    let end = match self.input.iter().position(|byte| *byte == b'\n') {
                        Some(end) => end + 1,
                        None if !self.closed => return Ok(Next::Hungry),
                        None if self.input.is_empty() => {
                            self.frames.pop();
                            continue;
                        }
                        None => self.input.len(),
                    };
                    *shown = false;
                    let line: Vec<u8> = self.input.drain(..end).collect();
                    let line = String::from_utf8_lossy(&line).into_owned();
                    if let Some(over) = self.script(line, true) {
                        return Ok(over);
                    }
                }
            }
        }
    }

    fn pipeline(&mut self, commands: Vec<Command>, world: &World<'_>) -> Result<Option<Next>> {
        let alone = commands.len() == 1;
        let status = self.status;
        let value = |name: &str| match name {
            "?" => Ok(status.to_string()),
            "$" => Ok(SHELL.to_owned()),
            _ => {
                let mut variables = (world.variables)()?.into_iter();
                Ok::<_, Error>(variables.find(|(known, _)| known == name).map(|(_, value)| value).unwrap_or_default())
            }
        };
        let mut stages = Vec::new();
        for Command { words, redirects } in commands {
            let mut expanded = Vec::new();
            for word in &words {
                expanded.extend(word.expand(value)?);
            }
            let started = command::start(&expanded, status, world)?;
            let job = match started {
                Started::Job(job) => job,
                started if alone && redirects.is_empty() => return Ok(self.begin(started)),
                _ => match fail(2, format!("sh: {} is not emulated here", expanded.join(" "))) {
                    Started::Job(job) => job,
                    _ => continue,
                },
            };
            stages.push(Stage::new(job, &redirects, world.files, value)?);
        }
        self.stages = stages;
        Ok(Some(Next::Started))
    }

    /// Begins what a command alone leads to; `None`: look for the next one.
    fn begin(&mut self, started: Started) -> Option<Next> {
        match started {
            Started::Job(job) => {
                self.stages = vec![Stage::plain(job)];
                Some(Next::Started)
            }
            Started::Exit(code) => {
                self.status = code;
                if let Some(Frame::Script { typed: true, .. }) = self.frames.pop() {
                    self.frames.pop();
                }
                None
            }
            Started::Killed(code) => Some(Next::Over(code)),
            Started::WatchSize => {
                self.watches_size = true;
                self.status = 0;
                None
            }
            Started::Prompt if self.frames.len() < MAX_DEPTH => {
                self.frames.push(Frame::Prompt { shown: false });
                None
            }
            Started::Script(source) if self.frames.len() < MAX_DEPTH => self.script(source, false),
            Started::Prompt | Started::Script(_) => {
                self.begin(fail(2, format!("sh: the mock runs no more than {MAX_DEPTH} scripts in each other")))
            }
        }
    }

    fn script(&mut self, source: String, typed: bool) -> Option<Next> {
        match syntax::parse(&source) {
            Ok(_) => {
                self.frames.push(Frame::Script { source, next: 0, typed });
                None
            }
            Err(problem) => self.begin(fail(2, format!("sh: {problem}"))),
        }
    }
}

/// Sends output, together with that before it while both are small.
fn say(mut output: Vec<u8>, actions: &mut Vec<Action>) {
    match actions.last_mut() {
        _ if output.is_empty() => {}
        Some(Action::Output(before)) if before.len() + output.len() <= SMALL => before.append(&mut output),
        _ => actions.push(Action::Output(output)),
    }
}

/// What the container's environment holds: what its manifest says, and what every container has.
fn read_variables(pod: &PodId, container: &str, store: &dyn Store) -> Result<Vec<(String, String)>> {
    let mut workload = store.look(pod)?.workload;
    let own = workload.env.remove(container).unwrap_or_default();
    let usual = [("PATH", "/usr/local/bin:/usr/bin:/bin"), ("HOSTNAME", &*pod.name)];
    let usual = usual.into_iter().filter(|(name, _)| !own.iter().any(|(own, _)| own == name));
    let usual: Vec<_> = usual.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    Ok(usual.into_iter().chain(own).collect())
}
