//! A terminal between the client and the commands: it echoes what is typed, hands it on by the line, and ends lines as
//! terminals do.

use serde::{Deserialize, Serialize};
use vk_sdk::sessions::TerminalSize;

/// As in Linux.
const LONGEST_LINE: usize = 4096;

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Terminal {
    pub(crate) rows: u16,
    pub(crate) columns: u16,
    #[serde(with = "mock_model::base64")]
    line: Vec<u8>,
}

/// What came of typing.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Typed {
    pub(crate) echo: Vec<u8>,
    /// What the commands get to read.
    pub(crate) input: Vec<u8>,
    /// Control-D at the beginning of a line.
    pub(crate) closed: bool,
    /// Control-C. What was typed before it is lost.
    pub(crate) interrupted: bool,
}

impl Terminal {
    pub(crate) fn new(size: TerminalSize) -> Self {
        Self { rows: size.rows, columns: size.columns, line: Vec::new() }
    }

    pub(crate) fn resize(&mut self, size: TerminalSize) {
        (self.rows, self.columns) = (size.rows, size.columns);
    }

    pub(crate) fn typed(&mut self, bytes: &[u8]) -> Typed {
        let mut typed = Typed::default();
        for byte in bytes {
            match byte {
                b'\r' | b'\n' => {
                    typed.echo.extend(b"\r\n");
                    typed.input.append(&mut self.line);
                    typed.input.push(b'\n');
                }
                // Control-C.
                3 => {
                    typed.echo.extend(b"^C\r\n");
                    typed.input.clear();
                    self.line.clear();
                    typed.interrupted = true;
                }
                // Control-D.
                4 if self.line.is_empty() => typed.closed = true,
                4 => typed.input.append(&mut self.line),
                // Backspace.
                8 | 127 => {
                    let erased = self.line.pop().map(|_| b"\x08 \x08");
                    typed.echo.extend(erased.into_iter().flatten());
                }
                _ if self.line.len() < LONGEST_LINE => {
                    typed.echo.push(*byte);
                    self.line.push(*byte);
                }
                _ => {}
            }
        }
        typed
    }
}

/// Output as a terminal shows it.
pub(crate) fn shown(bytes: &[u8]) -> Vec<u8> {
    let mut shown = Vec::with_capacity(bytes.len());
    for byte in bytes {
        if *byte == b'\n' {
            shown.push(b'\r');
        }
        shown.push(*byte);
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terminal() -> Terminal {
        Terminal::new(TerminalSize { columns: 80, rows: 24 })
    }

    #[test]
    fn input_is_echoed_at_once_and_handed_on_by_the_line() {
        let mut terminal = terminal();
        let typed = terminal.typed(b"lx");
        assert_eq!((typed.echo.as_slice(), typed.input.as_slice()), (&b"lx"[..], &b""[..]));
        let typed = terminal.typed(b"\x7fs\rnext");
        assert_eq!((typed.echo.as_slice(), typed.input.as_slice()), (&b"\x08 \x08s\r\nnext"[..], &b"ls\n"[..]));
        let typed = terminal.typed(b"\x04");
        assert_eq!((typed.input.as_slice(), typed.closed), (&b"next"[..], false));
        assert!(terminal.typed(b"\x04").closed);
    }

    #[test]
    fn an_interrupt_drops_what_was_typed() {
        let typed = terminal().typed(b"a\rb\x03c\r");
        assert!(typed.interrupted);
        assert_eq!(typed.input, b"c\n");
    }

    #[test]
    fn lines_end_as_terminals_end_them() {
        assert_eq!(shown(b"a\n\nb"), b"a\r\n\r\nb");
    }
}
