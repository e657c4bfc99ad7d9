//! Commands in containers.
//!
//! The service's exec starts one word without arguments, gives it a terminal that mixes its two outputs, and tells no exit
//! code. So a command is run by a shell into which it is typed (see [`script`]), and what the shell says about it is cut
//! out of what the terminal shows (see [`marks`]). Without a terminal of the client's own, the shell also marks what is of
//! standard error.
//!
//! ```text
//!   Opened ──> password, script ──> Ready ──> Begin ──> output ... ──> End(code) ──> exit
//!              input spelled         │ input quoted (with a terminal: held until Begin, then as it is)
//! ```
//!
//! Where there is no shell, the word itself is started, see [`Exec::direct`].

mod marks;
mod script;

use std::time::Duration;

use serde::{Deserialize, Serialize};
use vk_sdk::{
    Error, Result,
    sessions::{self, Action, Ending, Event, TerminalSize},
};

use crate::group::Secret;
use marks::{Mark, Marks, Piece};
use script::Input;

/// The most bytes of a command as JSON: what a session's state holds beside the rest.
const MAX_COMMAND: usize = 40 << 10;
/// The most keys that are held until the command begins.
const MAX_HELD: usize = 4 << 10;
/// The most bytes that are kept of what was shown, for an error to quote from.
const QUOTED: usize = 300;
/// How it is told that something is missing, in lower case.
const MISSING: [&str; 2] = ["no such file", "not found"];
/// Begins the names of the script's own variables.
const OWN: &str = "__";
/// The most bytes of a message. Below what terminals and services take at once, and large enough for a step's input to
/// fit into the actions of one step.
const MESSAGE: usize = 2048;
/// How long a client with a terminal may take to say how large that is. The service takes no size later.
const SIZE_WITHIN: Duration = Duration::from_secs(1);
/// How long a shell may take to begin.
const PATIENCE: Duration = Duration::from_secs(30);

/// One command.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Exec {
    password: Secret,
    mode: Mode,
}

#[derive(Debug, Serialize, Deserialize)]
enum Mode {
    /// The service started the command itself. All that it shows is copied.
    Direct,
    Shell(Shell),
}

#[derive(Debug, Serialize, Deserialize)]
struct Shell {
    marks: Marks,
    stdin: bool,
    /// Until it has been typed.
    command: Vec<String>,
    terminal: Option<(u16, u16)>,
    phase: Phase,
    /// What is shown is of standard error.
    is_error: bool,
    /// The last of what was shown before the command began.
    shown: Vec<u8>,
    /// Keys that came before the command began.
    held: Vec<u8>,
    input_closed: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
enum Phase {
    /// Nothing is typed before the size of the terminal is known.
    Sizing,
    Starting,
    Ready,
    Running,
}

/// What a session brought to light about its container.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Finding {
    #[default]
    Nothing,
    /// Its image has no shell that a command can be typed into.
    NoShell,
    /// It has one.
    Shell,
}

impl Exec {
    /// A command that the service starts itself. Its exit code remains unknown: it counts as 0.
    pub(crate) fn direct(password: Secret) -> Self {
        Self { password, mode: Mode::Direct }
    }

    /// A command that is typed into a shell.
    ///
    /// # Errors
    ///
    /// [`Error::invalid`] for a command that cannot be typed.
    pub(crate) fn in_shell(password: Secret, request: sessions::Exec) -> Result<Self> {
        check(&request.command)?;
        let shell = Shell {
            marks: Marks::new(&password),
            stdin: request.stdin,
            command: request.command,
            terminal: request.tty.map(|size| (size.columns, size.rows)),
            phase: if request.tty.is_some() { Phase::Sizing } else { Phase::Starting },
            is_error: false,
            shown: Vec::new(),
            held: Vec::new(),
            input_closed: false,
        };
        Ok(Self { password, mode: Mode::Shell(shell) })
    }

    pub(crate) fn step(&mut self, events: Vec<Event>) -> (Vec<Action>, Finding) {
        let mut turn = Turn::default();
        for event in events {
            match event {
                Event::Opened(_) => {
                    turn.actions.push(Action::SendText(std::mem::take(&mut self.password.0)));
                    match &mut self.mode {
                        Mode::Direct => turn.actions.push(Action::Relay),
                        Mode::Shell(shell) if shell.phase == Phase::Sizing => {
                            turn.actions.push(Action::wake_after(SIZE_WITHIN));
                        }
                        Mode::Shell(shell) => shell.begin(&mut turn),
                    }
                }
                Event::Refused(answer) => {
                    let status = answer.status;
                    turn.fail(format!("the service refused the connection of the command with status {status}"));
                }
                Event::Abandoned => return (Vec::new(), Finding::Nothing),
                event => match &mut self.mode {
                    Mode::Direct => relayed(&event, &mut turn),
                    Mode::Shell(shell) => shell.step(event, &mut turn),
                },
            }
            if turn.end.is_some() {
                break;
            }
        }
        turn.finish()
    }
}

/// What one step does. Bytes are gathered, so that many small events do not become more actions than a step may have.
#[derive(Default)]
struct Turn {
    actions: Vec<Action>,
    send: Vec<u8>,
    output: Vec<u8>,
    error_output: Vec<u8>,
    end: Option<Action>,
    finding: Finding,
}

impl Turn {
    fn fail(&mut self, message: String) {
        self.end = Some(Action::Fail(Error::unavailable(message)));
    }

    fn finish(self) -> (Vec<Action>, Finding) {
        let Self { mut actions, send, output, error_output, end, finding } = self;
        actions.extend(send.chunks(MESSAGE).map(|message| Action::SendBinary(message.to_vec())));
        if !output.is_empty() {
            actions.push(Action::Output(output));
        }
        if !error_output.is_empty() {
            actions.push(Action::error_output(error_output));
        }
        actions.extend(end);
        (actions, finding)
    }
}

/// What can be typed.
///
/// # Errors
///
/// [`Error::invalid`] for a command that cannot.
pub(crate) fn check(command: &[String]) -> Result<()> {
    if command.first().is_none_or(String::is_empty) {
        return Err(Error::invalid("there is no command to run"));
    }
    if command.iter().any(|argument| argument.contains('\0')) {
        return Err(Error::invalid("a command has no bytes of zero"));
    }
    let length = serde_json::to_string(command).map_or(usize::MAX, |json| json.len());
    if length > MAX_COMMAND {
        let message = format!(
            "the command has {length} bytes as JSON, of which {MAX_COMMAND} can be sent: pass the rest as input"
        );
        return Err(Error::invalid(message));
    }
    Ok(())
}

/// The host copies the rest. Nothing tells the service that input has ended, or that the terminal has another size.
fn relayed(event: &Event, turn: &mut Turn) {
    match event {
        Event::Disconnected(ending) if is_normal(ending) => turn.end = Some(Action::Exit(0)),
        Event::Disconnected(ending) => turn.fail(format!("the service ended the command{}", told(ending))),
        _ => {}
    }
}

/// Whether the service closed the connection as one does that is no longer needed. 1005 stands for a close without a
/// code. A connection that broke has no code either, but a reason.
pub(crate) fn is_normal(ending: &Ending) -> bool {
    match ending.code {
        Some(code) => matches!(code, 1000 | 1005),
        None => ending.reason.is_empty(),
    }
}

/// As much as is known of how a connection ended.
pub(crate) fn told(ending: &Ending) -> String {
    let code = ending.code.map(|code| format!(" with code {code}")).unwrap_or_default();
    let reason = if ending.reason.is_empty() { String::new() } else { format!(": {}", ending.reason) };
    format!("{code}{reason}")
}

impl Shell {
    fn begin(&mut self, turn: &mut Turn) {
        let input = match self.terminal {
            Some((columns, rows)) => Input::Terminal(TerminalSize { columns, rows }),
            None if self.stdin => Input::Client,
            None => Input::Nothing,
        };
        self.phase = Phase::Starting;
        let command = std::mem::take(&mut self.command);
        turn.send.extend(script::script(&self.marks, &command, input).into_bytes());
        turn.actions.push(Action::wake_after(PATIENCE));
    }

    fn step(&mut self, event: Event, turn: &mut Turn) {
        match event {
            Event::Text(text) => self.show(text.as_bytes(), turn),
            Event::Binary(bytes) => self.show(&bytes, turn),
            Event::Input(bytes) if self.stdin && !self.input_closed => self.type_in(&bytes, turn),
            Event::InputClosed if self.stdin && self.terminal.is_none() && !self.input_closed => {
                self.input_closed = true;
                let is_spelled = self.phase == Phase::Starting;
                turn.send.extend(if is_spelled { script::SPELLED_END } else { script::QUOTED_END });
            }
            Event::Resized(size) if self.phase == Phase::Sizing => {
                self.terminal = Some((size.columns, size.rows));
                self.begin(turn);
            }
            Event::Woken if self.phase == Phase::Sizing => self.begin(turn),
            Event::Woken if self.phase < Phase::Running => {
                let patience = PATIENCE.as_secs();
                turn.fail(format!("the container's /bin/sh did not begin within {patience} s"));
            }
            Event::Disconnected(ending) => self.end(&ending, turn),
            // Nothing tells the service that the terminal has another size.
            _ => {}
        }
    }

    /// What the terminal shows.
    fn show(&mut self, bytes: &[u8], turn: &mut Turn) {
        for piece in self.marks.split(bytes) {
            match piece {
                Piece::Bytes(bytes) if self.phase == Phase::Running => self.hand_out(bytes, turn),
                Piece::Bytes(bytes) => {
                    self.shown.extend(bytes);
                    self.shown.drain(..self.shown.len().saturating_sub(QUOTED));
                }
                Piece::Mark(Mark::Ready) if self.phase == Phase::Starting => {
                    self.phase = Phase::Ready;
                    turn.finding = Finding::Shell;
                    if self.stdin && self.terminal.is_none() && !self.input_closed {
                        turn.send.extend(script::SPELLED_NO_MORE);
                    }
                }
                Piece::Mark(Mark::Begin) if self.phase == Phase::Ready => {
                    self.phase = Phase::Running;
                    self.shown = Vec::new();
                    turn.send.append(&mut self.held);
                }
                Piece::Mark(Mark::Error) => self.is_error = true,
                Piece::Mark(Mark::Output) => self.is_error = false,
                Piece::Mark(Mark::LineEnd) if self.phase == Phase::Running => {
                    turn.error_output.push(b'\n');
                    self.is_error = false;
                }
                Piece::Mark(Mark::End(code)) if self.phase == Phase::Running => {
                    turn.end = Some(Action::Exit(code.into()));
                    return;
                }
                Piece::Mark(_) => {}
            }
        }
    }

    fn hand_out(&self, bytes: Vec<u8>, turn: &mut Turn) {
        if self.is_error { turn.error_output.extend(bytes) } else { turn.output.extend(bytes) }
    }

    fn type_in(&mut self, bytes: &[u8], turn: &mut Turn) {
        match (self.terminal, self.phase) {
            (None, Phase::Starting) => turn.send.extend(script::spelled(bytes)),
            (None, _) => turn.send.extend(script::quoted(bytes)),
            (Some(_), Phase::Running) => turn.send.extend(bytes),
            (Some(_), _) if self.held.len() + bytes.len() <= MAX_HELD => self.held.extend(bytes),
            (Some(_), _) => turn.fail(format!("more than {MAX_HELD} bytes were typed before the command began")),
        }
    }

    fn end(&mut self, ending: &Ending, turn: &mut Turn) {
        let rest = self.marks.rest();
        if self.phase == Phase::Running {
            self.hand_out(rest, turn);
            turn.fail(format!("the service ended the terminal before the command ended{}", told(ending)));
            return;
        }
        self.shown.extend(rest);
        let (ended, shown) = (told(ending), String::from_utf8_lossy(&self.shown));
        let message = match missing(&shown).or_else(|| missing(&ending.reason)) {
            Some(line) => {
                turn.finding = Finding::NoShell;
                format!(
                    "the terminal ended before the command began{ended}: exec needs /bin/sh, stty and cat in the \
                     container's image; it showed: {line}"
                )
            }
            None => format!("the connection ended before the command began{ended}"),
        };
        turn.fail(message);
    }
}

/// The line that says that the image lacks what the shell needs to begin. Nothing else of what was shown is quoted: it
/// may be the echo of what was typed, whose arguments may be secrets.
fn missing(shown: &str) -> Option<&str> {
    shown.split(|char: char| char.is_control()).map(str::trim).find(|line| {
        let lower = line.to_lowercase();
        let is_own = line.contains(OWN) || line.contains("HISTFILE");
        !is_own
            && ["/bin/sh", "stty"].iter().any(|name| line.contains(name))
            && MISSING.iter().any(|missing| lower.contains(missing))
    })
}

#[cfg(test)]
mod tests;
