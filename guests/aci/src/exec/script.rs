//! What is typed into a shell to run a command in it.
//!
//! The service starts one word without arguments in a terminal. So `/bin/sh` is started, and the rest is typed:
//!
//! 1. One short line, which shells that edit lines take too. It replaces the shell by one that is not interactive, sets
//!    the terminal so that nothing is echoed or translated, says that it is ready, and runs what it reads line by line.
//! 2. Lines that build up the arguments, none longer than a terminal takes.
//! 3. The line that runs the command. Without a terminal it runs between pipes: what the terminal does to bytes, and
//!    that there is one, it does not see. Its two outputs share the pipe to the terminal. A loop puts standard error into
//!    it in marked pieces, each small enough to be written at once, so that nothing comes between a mark and its piece.
//!    The end mark goes the way of standard error, and so comes last. What the command left running is not waited for.
//!
//! All of it can be typed at once: none of its bytes means anything to a terminal, whatever its mode. So can input, while
//! it is written as [`spelled`]. Once the shell is ready, input is sent as it is, see [`quoted`].

use std::fmt::Write as _;

use vk_sdk::sessions::TerminalSize;

use super::marks::Marks;

/// The most bytes of a line: shells that edit lines take no more than 1,023, and terminals 4,095.
const LINE: usize = 900;
/// The most bytes of input that are spelled in one line, at five characters each.
const SPELLED: usize = LINE / 5;
/// The most bytes of input that are sent without an end of line: a quarter of what a terminal keeps.
const CHUNK: usize = 1024;
/// The bytes that are split off from a line of standard error that is at least twice as long: so no piece is larger than
/// the smallest buffer of a shell's `printf`, 1,024 bytes, and the end mark, which is shorter, stays whole.
const PIECE: usize = 200;
/// Ends a line of input without a line end. As the first byte of one it ends the input.
const END_OF_FILE: u8 = 0x04;
/// Takes its meaning from the next byte.
const LITERAL_NEXT: u8 = 0x16;

/// What the command reads.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Input {
    Nothing,
    /// What the client sends.
    Client,
    /// Keys, and it writes to a terminal of this size.
    Terminal(TerminalSize),
}

/// Everything that is typed before input, as lines.
pub(super) fn script(marks: &Marks, command: &[String], input: Input) -> String {
    let mut script = first_line(marks);
    script.push_str("__n=$(printf '\\nx');__n=${__n%x}\n");
    for argument in command {
        push_argument(&mut script, argument);
    }
    let (begin, end) = (marks.format("b"), marks.format("e%d"));
    if !matches!(input, Input::Terminal(_)) {
        let _ = writeln!(script, "__w={}", "?".repeat(PIECE));
    }
    let run = match input {
        Input::Nothing => format!("printf '{begin}';{}|cat;exit", apart(marks, "</dev/null")),
        Input::Client => format!(
            "printf '{begin}';\
             {{ while IFS= read -r __l;do case $__l in .)exec cat;;,)break;;esac;printf %b \"$__l\";done;}} 2>/dev/null\
             |{}|cat;exit",
            apart(marks, "")
        ),
        Input::Terminal(TerminalSize { columns, rows }) => {
            let mut run = "stty sane;{ stty iutf8;".to_owned();
            if columns > 0 && rows > 0 {
                let _ = write!(run, "stty rows {rows} cols {columns};");
            }
            // The command alone is to be ended by ^C. What ended it, the shell is not to say.
            let _ = write!(
                run,
                "}} 2>/dev/null;case $TERM in ''|dumb)TERM=xterm;;esac;export TERM;trap : INT QUIT;printf '{begin}';\
                 {{ (exec \"$@\" 2>&3 3>&-);printf '{end}' $?;}} 3>&2 2>/dev/null;exit"
            );
            run
        }
    };
    script.push_str(&run);
    script.push('\n');
    script
}

/// Runs the command with its standard error in marked pieces. Its lines are split by bytes, not characters.
fn apart(marks: &Marks, input: &str) -> String {
    let (end, error) = (marks.format("e%d"), marks.format("s"));
    let (output, line_end) = (marks.format("o"), marks.format("n"));
    format!(
        "{{ {{ (exec \"$@\" 2>&1 >&3 3>&- {input});printf '{end}\\n' $?;}} 2>/dev/null|\
         (LC_ALL=C;while IFS= read -r __l;do \
         while case $__l in $__w$__w*);;*)false;;esac;do printf '{error}%.{PIECE}s{output}' \"$__l\";__l=${{__l#$__w}};done;\
         printf '{error}%s{line_end}' \"$__l\";done) >&3 2>/dev/null;}} 3>&1"
    )
}

/// Without a blank before it, and with a file for it, an interactive shell would remember the line.
fn first_line(marks: &Marks) -> String {
    let ready = marks.format("r");
    format!(
        " unset HISTFILE;exec /bin/sh -c 'stty raw -echo icanon iexten eof ^D lnext ^V eol ^- eol2 ^- erase ^- kill ^- \
         werase ^- rprnt ^- &&printf \"{ready}\"&&while IFS= read -r __l;do eval \"$__l\";done'\n"
    )
}

/// Lines that add an argument to the shell's own.
fn push_argument(script: &mut String, argument: &str) {
    script.push_str("__a=");
    let mut length = 0;
    let mut rest = argument;
    while let Some(first) = rest.chars().next() {
        let is_plain = |char: char| !char.is_ascii_control() && char != '\'';
        let plain = rest.find(|char| !is_plain(char)).unwrap_or(rest.len());
        let word = if plain > 0 {
            // By bytes, so that the line's length is known; between characters, because a line is text.
            let end = rest.floor_char_boundary(plain.min(LINE / 2));
            let (text, after) = rest.split_at(end);
            rest = after;
            format!("'{text}'")
        } else {
            rest = rest.get(first.len_utf8()..).unwrap_or_default();
            match first {
                '\'' => "\"'\"".to_owned(),
                '\n' => "\"$__n\"".to_owned(),
                control => format!("\"$(printf '\\{:03o}')\"", u32::from(control)),
            }
        };
        if length > 0 && length + word.len() > LINE {
            script.push_str("\n__a=$__a");
            length = 0;
        }
        length += word.len();
        script.push_str(&word);
    }
    script.push_str(";set -- \"$@\" \"$__a\"\n");
}

/// Input in lines of plain characters, for the time in which the mode of the terminal is not known.
pub(super) fn spelled(input: &[u8]) -> Vec<u8> {
    let mut lines = String::with_capacity(input.len() * 2);
    for line in input.chunks(SPELLED) {
        for byte in line {
            if byte.is_ascii_alphanumeric() || *byte == b' ' {
                lines.push(char::from(*byte));
            } else {
                let _ = write!(lines, "\\0{byte:03o}");
            }
        }
        lines.push('\n');
    }
    lines.into_bytes()
}

/// Said between input that is spelled and input that is not.
pub(super) const SPELLED_NO_MORE: &[u8] = b".\n";
/// Ends input that is spelled.
pub(super) const SPELLED_END: &[u8] = b",\n";
/// Ends input that is quoted.
pub(super) const QUOTED_END: &[u8] = &[END_OF_FILE];

/// Input for a terminal that hands it on line by line: the two bytes that mean something are taken literally, and what
/// does not end a line is pushed on, before a terminal's place for one line is full.
pub(super) fn quoted(input: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(input.len() + input.len() / 64);
    for chunk in input.chunks(CHUNK) {
        for byte in chunk {
            if matches!(*byte, END_OF_FILE | LITERAL_NEXT) {
                bytes.push(LITERAL_NEXT);
            }
            bytes.push(*byte);
        }
        if chunk.last() != Some(&b'\n') {
            bytes.push(END_OF_FILE);
        }
    }
    bytes
}
