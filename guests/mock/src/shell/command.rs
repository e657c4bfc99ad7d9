//! The commands that there are: from their words to what they do.

use std::collections::VecDeque;

use vk_sdk::Result;

use super::{
    job::{Filter, Job, Print, Read, Source, Unit},
    syntax::Command,
    tar,
};
use crate::{
    files::{self, Files},
    store::now,
};

/// What people see who ask for another one.
const KNOWN: &str = "cat, echo, env, exit, false, head -c, hostname, kill $$, printenv, sh, sha256sum, sleep, stty size, \
                     tail -c, tar, test, trap 'stty size' WINCH, true, wc";

/// Those that may read their input.
const READERS: &[&str] = &["ash", "bash", "cat", "head", "sh", "sha256sum", "tail", "tar", "wc"];

/// What a command needs to know of the world.
pub(crate) struct World<'a> {
    pub(crate) files: &'a Files,
    pub(crate) pod_name: &'a str,
    /// Rows and columns, with a terminal.
    pub(crate) size: Option<(u16, u16)>,
    pub(crate) variables: &'a dyn Fn() -> Result<Vec<(String, String)>>,
}

/// What starting a command leads to.
pub(crate) enum Started {
    Job(Job),
    /// `exit`: of the script with this code.
    Exit(i32),
    /// `kill`: of everything.
    Killed(i32),
    /// `sh -c SCRIPT`.
    Script(String),
    /// `sh`, which reads commands.
    Prompt,
    /// `trap 'stty size' WINCH`.
    WatchSize,
}

impl From<Print> for Started {
    fn from(print: Print) -> Self {
        Self::Job(Job::Print(print))
    }
}

/// Starts a command. `status` is the code of the one before it.
pub(crate) fn start(words: &[String], status: i32, world: &World<'_>) -> Result<Started> {
    let Some((name, arguments)) = words.split_first() else { return Ok(done(0)) };
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let name = program(name);
    Ok(match (name, arguments.as_slice()) {
        ("true" | ":", _) => done(0),
        ("false", _) => done(1),
        ("echo", ["-n", words @ ..]) => say(words.join(" ")),
        ("echo", words) => say(words.join(" ") + "\n"),
        ("hostname", []) => say(format!("{}\n", world.pod_name)),
        ("env" | "printenv", []) => {
            say((world.variables)()?.iter().map(|(name, value)| format!("{name}={value}\n")).collect())
        }
        ("printenv", [wanted]) => match (world.variables)()?.into_iter().find(|(name, _)| name == wanted) {
            Some((_, value)) => say(value + "\n"),
            None => done(1),
        },
        ("exit", []) => Started::Exit(status),
        ("exit", [code]) => match code.parse::<u8>() {
            Ok(code) => Started::Exit(code.into()),
            Err(_) => fail(2, format!("sh: exit: {code}: not a number from 0 to 255")),
        },
        ("sleep", [time]) => match time.trim_end_matches('s').parse::<f64>() {
            Ok(seconds) if (0.0..1e9).contains(&seconds) => Started::Job(Job::Sleep(after(seconds))),
            _ => fail(1, format!("sleep: invalid number '{time}'")),
        },
        ("kill", [process]) if *process == SHELL => Started::Killed(128 + 15),
        ("kill", [signal, process]) if *process == SHELL => match number_of(signal) {
            Some(number) => Started::Killed(128 + number),
            None => fail(1, format!("kill: bad signal name '{signal}'")),
        },
        ("sh" | "bash" | "ash", [flags, script, ..]) if flags.starts_with('-') && flags.ends_with('c') => {
            Started::Script((*script).to_owned())
        }
        ("sh" | "bash" | "ash", [] | ["-i" | "-l" | "-il"]) => Started::Prompt,
        ("stty", ["size"]) => match world.size {
            Some((rows, columns)) => say(format!("{rows} {columns}\n")),
            None => fail(1, "stty: standard input: Not a tty".to_owned()),
        },
        ("trap", ["stty size", "WINCH" | "SIGWINCH"]) => Started::WatchSize,
        ("test", arguments) => test(arguments, world.files),
        ("[", [arguments @ .., "]"]) => test(arguments, world.files),
        ("cat", paths) => read("cat", paths, Filter::Copy, world.files),
        ("head", ["-c", count, paths @ ..]) => match size(count) {
            Some(count) => read("head", paths, Filter::Head(count), world.files),
            None => fail(1, format!("head: invalid number of bytes: '{count}'")),
        },
        ("tail", ["-c", from, paths @ ..]) => tail(from, paths, world.files),
        ("tail", [from, paths @ ..]) if from.starts_with("-c") => {
            tail(from.trim_start_matches("-c"), paths, world.files)
        }
        ("wc", ["-c", paths @ ..]) => read("wc", paths, count(Unit::Bytes, paths), world.files),
        ("wc", ["-l", paths @ ..]) => read("wc", paths, count(Unit::Lines, paths), world.files),
        ("sha256sum", paths) => {
            let name = paths.first().copied().unwrap_or("-");
            read("sha256sum", paths, Filter::sum(name), world.files)
        }
        ("tar", arguments) => tar::start(arguments, world.files),
        _ if KNOWN.split(", ").any(|known| known.split(' ').next() == Some(name)) => {
            fail(2, format!("{name}: the mock does not emulate these arguments, only: {KNOWN}"))
        }
        _ => fail(127, format!("{name}: not found: the mock emulates only {KNOWN}")),
    })
}

/// Programs may be named by their path.
fn program(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or_default()
}

/// Whether a command of a script may come to read its input.
pub(crate) fn may_read(command: &Command) -> bool {
    let name = command.words.first().map(|word| word.expand(|_| Err(())));
    match name {
        Some(Ok(Some(name))) => READERS.contains(&program(&name)),
        // Only variables tell.
        _ => true,
    }
}

/// The number that `$$` stands for.
pub(crate) const SHELL: &str = "7";

pub(crate) fn done(code: i32) -> Started {
    Print { code, ..Print::default() }.into()
}

pub(crate) fn fail(code: i32, message: String) -> Started {
    Print { errors: message + "\n", code, ..Print::default() }.into()
}

fn say(text: String) -> Started {
    Print { output: text.into_bytes(), ..Print::default() }.into()
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to be in range")]
fn after(seconds: f64) -> u64 {
    now() + (seconds * 1000.0) as u64
}

fn number_of(signal: &str) -> Option<i32> {
    match signal.strip_prefix('-')?.trim_start_matches("SIG") {
        "HUP" => Some(1),
        "INT" => Some(2),
        "KILL" => Some(9),
        "TERM" => Some(15),
        number => number.parse().ok().filter(|number| (1..=64).contains(number)),
    }
}

fn test(arguments: &[&str], files: &Files) -> Started {
    let holds = match arguments {
        [flag @ ("-d" | "-f" | "-e"), path] => files::absolute("/", path).is_some_and(|path| {
            let directory = files.is_directory(&path);
            let file = !directory && files.entry(&path).is_some();
            match *flag {
                "-d" => directory,
                "-f" => file,
                _ => directory || file,
            }
        }),
        ["-n", text] => !text.is_empty(),
        ["-z", text] => text.is_empty(),
        [left, "=" | "==", right] => left == right,
        [left, "!=", right] => left != right,
        _ => return fail(2, "test: the mock knows -d, -f, -e, -n, -z, = and != only".to_owned()),
    };
    done(i32::from(!holds))
}

fn tail(from: &str, paths: &[&str], files: &Files) -> Started {
    match from.strip_prefix('+').and_then(size) {
        Some(first) => read("tail", paths, Filter::Skip(first.saturating_sub(1)), files),
        None => fail(1, format!("tail: the mock knows -c +N only, not '{from}'")),
    }
}

fn count(unit: Unit, paths: &[&str]) -> Filter {
    Filter::Count { unit, count: 0, suffix: paths.first().map(|path| format!(" {path}")).unwrap_or_default() }
}

/// A command that reads files, or without any its input. Only `cat` takes several.
fn read(name: &str, paths: &[&str], filter: Filter, files: &Files) -> Started {
    if paths.len() > 1 && name != "cat" {
        return fail(1, format!("{name}: the mock takes one file at most"));
    }
    let mut sources = VecDeque::new();
    for path in if paths.is_empty() { &["-"] } else { paths } {
        match *path {
            "-" | "/dev/stdin" => sources.push_back(Source::Input),
            "/dev/zero" => sources.push_back(Source::Zeros),
            "/dev/null" => {}
            flag if flag.starts_with('-') => return fail(1, format!("{name}: unrecognized option '{flag}'")),
            path => match open(path, files) {
                Ok(source) => sources.push_back(source),
                Err(problem) => return fail(1, format!("{name}: {path}: {problem}")),
            },
        }
    }
    Started::Job(Job::Read(Read { sources, filter, code: 0 }))
}

fn open(path: &str, files: &Files) -> std::result::Result<Source, &'static str> {
    let path = files::absolute("/", path).ok_or("No such file or directory")?;
    match files.entry(&path) {
        Some(entry) if !entry.directory => Ok(Source::File { path, entry, piece: 0 }),
        _ if files.is_directory(&path) => Err("Is a directory"),
        _ => Err("No such file or directory"),
    }
}

/// A number of bytes, as `head` takes it.
fn size(text: &str) -> Option<u64> {
    let (digits, shift) = match text.char_indices().last()? {
        (at, 'k' | 'K') => (text.get(..at)?, 10),
        (at, 'm' | 'M') => (text.get(..at)?, 20),
        (at, 'G') => (text.get(..at)?, 30),
        _ => (text, 0),
    };
    digits.parse::<u64>().ok()?.checked_mul(1 << shift)
}
