//! What goes to the terminal: results to standard output, errors to standard error as one line.

use std::{fmt::Display, io::Write as _, process::ExitCode};

/// Writes to standard output. A reader that has gone is not an error: it has what it wanted.
pub(crate) fn print(text: &impl Display) {
    let mut out = std::io::stdout().lock();
    let _ = write!(out, "{text}").and_then(|()| out.flush());
}

/// Writes the one line that an unsuccessful end is told by.
pub(crate) fn print_error(line: &str) {
    // Nobody is left to be told if this fails.
    let _ = writeln!(std::io::stderr(), "vk-host: error: {line}");
}

/// Ends a run whose command line asked for help, or could not be read (exit code 2).
pub(crate) fn answer(error: &clap::Error) -> ExitCode {
    if error.use_stderr() {
        print_error(&one_line(error));
        ExitCode::from(2)
    } else {
        let _ = error.print();
        ExitCode::SUCCESS
    }
}

/// A usage error in one line: what clap says before it comes to the usage.
pub(crate) fn one_line(error: &clap::Error) -> String {
    let rendered = error.render().to_string();
    let said = rendered
        .lines()
        .map(str::trim)
        .take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more information"))
        .filter(|line| !line.is_empty())
        .map(|line| line.trim_start_matches("error: ").trim_start_matches("tip: "));
    let mut line = String::new();
    for part in said {
        match line.chars().last() {
            None => {}
            Some(':') => line.push(' '),
            Some(_) if part.starts_with('[') => line.push(' '),
            Some(_) => line.push_str("; "),
        }
        line.push_str(part);
    }
    without_controls(&line) + " (see vk-host --help)"
}

/// An error and its causes in one line. A cause that the message above it already ends with is not repeated.
pub(crate) fn causes(error: &anyhow::Error) -> String {
    let mut line = error.to_string();
    for cause in error.chain().skip(1) {
        let cause = cause.to_string();
        if !line.ends_with(&cause) {
            line.push_str(": ");
            line.push_str(&cause);
        }
    }
    without_controls(&line)
}

/// A text on one line, without what steers a terminal.
pub(crate) fn without_controls(text: &str) -> String {
    let words = text.split(|character: char| character.is_control()).map(str::trim);
    words.filter(|words| !words.is_empty()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use anyhow::{Context as _, anyhow};

    use super::*;

    #[test]
    fn causes_are_joined_once_and_on_one_line() {
        let error = Err::<(), _>(anyhow!("no route\nto host"))
            .context("connect: no route\nto host")
            .context("cannot reach the API server")
            .unwrap_err();
        assert_eq!(causes(&error), "cannot reach the API server: connect: no route to host");
    }
}
