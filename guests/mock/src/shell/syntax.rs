//! As much of the shell's language as scripts in tests need: words with quotes and variables, pipelines, redirections of
//! output, and `;`, `&&`, `||`. What is left out is refused, not misread.

use std::{iter::Peekable, str::Chars};

/// Commands whose output is the next one's input.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Pipeline {
    pub(crate) condition: Condition,
    pub(crate) commands: Vec<Command>,
}

/// When a pipeline runs, after the one before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Condition {
    Always,
    Success,
    Failure,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Command {
    pub(crate) words: Vec<Word>,
    pub(crate) redirects: Vec<Redirect>,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Redirect {
    /// 1 or 2.
    pub(crate) descriptor: u8,
    pub(crate) to: To,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum To {
    Descriptor(u8),
    File(Word),
}

/// A word before its variables are known. What they hold is not split into words.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Word {
    pieces: Vec<Piece>,
    quoted: bool,
}

#[derive(Debug, Clone, PartialEq)]
enum Piece {
    Text(String),
    Variable(String),
}

impl Word {
    /// The word, or `None` if it vanishes because it is nothing but empty variables.
    pub(crate) fn expand<E>(&self, mut value: impl FnMut(&str) -> Result<String, E>) -> Result<Option<String>, E> {
        let mut text = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Text(piece) => text.push_str(piece),
                Piece::Variable(name) => text.push_str(&value(name)?),
            }
        }
        Ok((self.quoted || !text.is_empty()).then_some(text))
    }

    fn push(&mut self, next: char) {
        match self.pieces.last_mut() {
            Some(Piece::Text(text)) => text.push(next),
            _ => self.pieces.push(Piece::Text(next.into())),
        }
    }
}

/// Reads a script.
///
/// # Errors
///
/// A line for people about what cannot be read.
pub(crate) fn parse(source: &str) -> Result<Vec<Pipeline>, String> {
    let mut parser = Parser { rest: source.chars().peekable() };
    let mut script = Vec::new();
    let mut condition = Condition::Always;
    loop {
        let (commands, end) = parser.pipeline()?;
        match (commands.is_empty(), condition, end) {
            (false, ..) => script.push(Pipeline { condition, commands }),
            (true, Condition::Always, End::Script | End::Line) => {}
            // A line may end after && and ||.
            (true, _, End::Line) => continue,
            (true, ..) => return Err("syntax error: a command is missing".to_owned()),
        }
        condition = match end {
            End::Script => return Ok(script),
            End::Line | End::Semicolon => Condition::Always,
            End::And => Condition::Success,
            End::Or => Condition::Failure,
        };
    }
}

/// What ends a pipeline.
#[derive(Clone, Copy)]
enum End {
    Script,
    Line,
    Semicolon,
    And,
    Or,
}

struct Parser<'a> {
    rest: Peekable<Chars<'a>>,
}

impl Parser<'_> {
    fn pipeline(&mut self) -> Result<(Vec<Command>, End), String> {
        let mut commands = Vec::new();
        let mut command = Command::default();
        let end = loop {
            let Some(next) = self.rest.peek().copied() else { break End::Script };
            match next {
                ' ' | '\t' => self.skip(),
                '#' => while self.rest.next_if(|next| *next != '\n').is_some() {},
                '\n' => {
                    self.skip();
                    break End::Line;
                }
                ';' => {
                    self.skip();
                    break End::Semicolon;
                }
                '&' => {
                    self.skip();
                    self.rest.next_if_eq(&'&').ok_or("commands in the background are not emulated")?;
                    break End::And;
                }
                '|' => {
                    self.skip();
                    if self.rest.next_if_eq(&'|').is_some() {
                        break End::Or;
                    }
                    if command.words.is_empty() {
                        return Err("syntax error: nothing before |".to_owned());
                    }
                    commands.push(std::mem::take(&mut command));
                }
                '>' => command.redirects.push(self.redirect(1)?),
                '1' | '2' if self.follows('>') => {
                    self.skip();
                    command.redirects.push(self.redirect(if next == '1' { 1 } else { 2 })?);
                }
                '<' | '(' | ')' => return Err(format!("{next} is not emulated")),
                _ => {
                    let word = self.word()?;
                    if command.words.is_empty() {
                        check_first(&word)?;
                    }
                    command.words.push(word);
                }
            }
        };
        if command.words.is_empty() && (!commands.is_empty() || !command.redirects.is_empty()) {
            return Err("syntax error: a command is missing".to_owned());
        }
        if !command.words.is_empty() {
            commands.push(command);
        }
        Ok((commands, end))
    }

    fn redirect(&mut self, descriptor: u8) -> Result<Redirect, String> {
        self.skip();
        if self.rest.next_if_eq(&'>').is_some() {
            return Err(">> is not emulated".to_owned());
        }
        if self.rest.next_if_eq(&'&').is_some() {
            let to = match self.rest.next() {
                Some('1') => 1,
                Some('2') => 2,
                _ => return Err("syntax error: only 1 and 2 can follow >&".to_owned()),
            };
            return Ok(Redirect { descriptor, to: To::Descriptor(to) });
        }
        while self.rest.next_if(|next| matches!(next, ' ' | '\t')).is_some() {}
        let word = self.word()?;
        if word.pieces.is_empty() {
            return Err("syntax error: a file name is missing after >".to_owned());
        }
        Ok(Redirect { descriptor, to: To::File(word) })
    }

    fn word(&mut self) -> Result<Word, String> {
        let mut word = Word::default();
        while let Some(next) = self.rest.next_if(|next| !" \t\n;&|<>()".contains(*next)) {
            match next {
                '\'' => {
                    word.quoted = true;
                    loop {
                        match self.rest.next().ok_or("syntax error: unterminated quoted string")? {
                            '\'' => break,
                            quoted => word.push(quoted),
                        }
                    }
                }
                '"' => {
                    word.quoted = true;
                    self.double_quoted(&mut word)?;
                }
                '\\' => word.push(self.rest.next().unwrap_or('\\')),
                '$' => self.variable(&mut word)?,
                '`' => return Err("` is not emulated".to_owned()),
                plain => word.push(plain),
            }
        }
        Ok(word)
    }

    fn double_quoted(&mut self, word: &mut Word) -> Result<(), String> {
        loop {
            match self.rest.next().ok_or("syntax error: unterminated quoted string")? {
                '"' => return Ok(()),
                '\\' => match self.rest.next_if(|next| "\\\"$`".contains(*next)) {
                    Some(escaped) => word.push(escaped),
                    None => word.push('\\'),
                },
                '$' => self.variable(word)?,
                '`' => return Err("` is not emulated".to_owned()),
                plain => word.push(plain),
            }
        }
    }

    fn variable(&mut self, word: &mut Word) -> Result<(), String> {
        let mut name = String::new();
        if let Some(special) = self.rest.next_if(|next| matches!(next, '?' | '$')) {
            name.push(special);
        } else if self.rest.next_if_eq(&'{').is_some() {
            loop {
                match self.rest.next().ok_or("syntax error: unterminated ${")? {
                    '}' => break,
                    letter if letter.is_ascii_alphanumeric() || letter == '_' => name.push(letter),
                    other => return Err(format!("{other} inside ${{}} is not emulated")),
                }
            }
        } else if self.rest.peek() == Some(&'(') {
            return Err("$( is not emulated".to_owned());
        } else {
            while let Some(letter) = self.rest.next_if(|next| next.is_ascii_alphanumeric() || *next == '_') {
                name.push(letter);
            }
        }
        match name.is_empty() {
            true => word.push('$'),
            false => word.pieces.push(Piece::Variable(name)),
        }
        Ok(())
    }

    fn follows(&self, expected: char) -> bool {
        self.rest.clone().nth(1) == Some(expected)
    }

    fn skip(&mut self) {
        self.rest.next();
    }
}

fn check_first(word: &Word) -> Result<(), String> {
    const RESERVED: [&str; 10] = ["if", "while", "until", "for", "case", "{", "!", "function", "select", "time"];
    match word.pieces.as_slice() {
        [Piece::Text(text)] if !word.quoted && RESERVED.contains(&text.as_str()) => {
            Err(format!("{text} is not emulated"))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The words of each command, with variables as `<NAME>`.
    fn words(source: &str) -> Vec<(Condition, Vec<Vec<String>>)> {
        let expand = |word: &Word| word.expand(|name| Ok::<_, ()>(format!("<{name}>"))).unwrap().unwrap();
        let command = |command: &Command| command.words.iter().map(expand).collect();
        let pipelines = parse(source).unwrap();
        pipelines.iter().map(|each| (each.condition, each.commands.iter().map(command).collect())).collect()
    }

    #[test]
    fn quotes_keep_words_together_and_variables_stay_for_later() {
        let expected = ["echo", "a b", "it's <HOME>s", "<?>", "$x", "", "a<B>c", "$"];
        let source = r#"echo 'a b' "it's ${HOME}s" $? '$x' "" a"$B"c $"#;
        assert_eq!(words(source), [(Condition::Always, vec![expected.map(str::to_owned).to_vec()])]);
    }

    #[test]
    fn commands_are_joined_as_in_a_shell() {
        let command = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(
            words("a 1 && b; c|d 2 || e\n\n# nothing\nf &&\ng"),
            [
                (Condition::Always, vec![command("a 1")]),
                (Condition::Success, vec![command("b")]),
                (Condition::Always, vec![command("c"), command("d 2")]),
                (Condition::Failure, vec![command("e")]),
                (Condition::Always, vec![command("f")]),
                (Condition::Success, vec![command("g")]),
            ]
        );
    }

    #[test]
    fn output_is_redirected_to_descriptors_and_files() {
        let script = parse("echo a1 1>&2 2>/dev/null >& 2x > '/tmp/a b'").unwrap_err();
        assert_eq!(script, "syntax error: only 1 and 2 can follow >&");
        let script = parse("echo a1 1>&2 2>/dev/null > '/tmp/a b'").unwrap();
        let redirects = &script[0].commands[0].redirects;
        assert_eq!(redirects[0], Redirect { descriptor: 1, to: To::Descriptor(2) });
        assert_eq!((redirects[1].descriptor, redirects[2].descriptor), (2, 1));
        assert_eq!(script[0].commands[0].words.len(), 2);
    }

    #[test]
    fn what_is_left_out_is_refused() {
        for (source, problem) in [
            ("sleep 1 &", "commands in the background are not emulated"),
            ("while true; do echo; done", "while is not emulated"),
            ("(echo)", "( is not emulated"),
            ("echo $(date)", "$( is not emulated"),
            ("cat < /etc/passwd", "< is not emulated"),
            ("echo 'a", "syntax error: unterminated quoted string"),
            ("echo a >> b", ">> is not emulated"),
            ("| a", "syntax error: nothing before |"),
            ("a |", "syntax error: a command is missing"),
            ("a && ; b", "syntax error: a command is missing"),
            ("a &&", "syntax error: a command is missing"),
        ] {
            assert_eq!(parse(source).unwrap_err(), problem, "{source}");
        }
        assert_eq!(parse(" \n # only a remark").unwrap(), []);
    }
}
