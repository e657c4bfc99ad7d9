//! Commands typed into this machine's shells, in terminals as the service gives them.

use std::{
    io::{Read as _, Write as _},
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use pty_process::blocking::{Command, Pty, open};
use vk_sdk::sessions::Answer;

use super::*;

/// How a command ended, and what the client saw of it.
#[derive(Debug, PartialEq)]
struct Outcome {
    output: Vec<u8>,
    errors: Vec<u8>,
    end: Action,
}

impl Outcome {
    fn text(&self) -> &str {
        std::str::from_utf8(&self.output).unwrap()
    }

    fn error_text(&self) -> &str {
        std::str::from_utf8(&self.errors).unwrap()
    }
}

/// A client that does all at once, or waits until it sees something.
#[derive(Clone, Copy, Default)]
struct Client<'a> {
    input: Option<&'a [u8]>,
    sees: &'a str,
    tty: Option<TerminalSize>,
}

fn opened() -> Event {
    Event::Opened(Answer { status: 101, headers: Vec::new(), body: Vec::new() })
}

fn exec(command: &[&str], client: &Client<'_>) -> Exec {
    let command = command.iter().map(|argument| (*argument).to_owned()).collect();
    let request = sessions::Exec { container: "c".into(), command, stdin: client.input.is_some(), tty: client.tty };
    Exec::in_shell(Secret("password".to_owned()), request).unwrap()
}

/// Shells that are `/bin/sh` somewhere, as far as this machine has them.
fn shells() -> Vec<Vec<String>> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let find = |name: &str| std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.exists());
    let of_others = ["bash", "dash", "mksh", "busybox"].into_iter().filter_map(|name| {
        let file = find(name)?.to_str()?.to_owned();
        Some(if name == "busybox" { vec![file, "sh".to_owned()] } else { vec![file] })
    });
    std::iter::once(vec!["/bin/sh".to_owned()]).chain(of_others).collect()
}

fn run(command: &[&str], client: &Client<'_>) -> Outcome {
    let outcomes: Vec<_> = shells().iter().map(|shell| run_in(shell, command, client)).collect();
    assert!(outcomes.iter().all(|outcome| *outcome == outcomes[0]), "{:?}: {outcomes:?}", shells());
    outcomes.into_iter().next().unwrap()
}

fn run_in(shell: &[String], command: &[&str], client: &Client<'_>) -> Outcome {
    let (pty, pts) = open().unwrap();
    let size = client.tty.filter(|size| size.rows > 0).unwrap_or(TerminalSize { columns: 80, rows: 24 });
    pty.resize(pty_process::Size::new(size.rows, size.columns)).unwrap();
    let command_line =
        Command::new(&shell[0]).args(&shell[1..]).env("PS1", "> ").env_remove("ENV").env("TERM", "xterm");
    let mut child = command_line.spawn(pts).unwrap();
    let pty = Arc::new(pty);
    let (events, seen) = mpsc::channel();
    let (typed, types) = mpsc::channel::<Vec<u8>>();
    let (reader, writer) = (Arc::clone(&pty), Arc::clone(&pty));
    thread::spawn(move || show(&reader, &events));
    thread::spawn(move || types.iter().all(|bytes| (&*writer).write_all(&bytes).is_ok()));

    let mut exec = exec(command, client);
    let mut waiting = vec![opened()];
    waiting.extend(client.tty.map(Event::Resized));
    let mut input = client.input;
    let (mut output, mut errors) = (Vec::new(), Vec::new());
    let end = 'session: loop {
        for event in waiting.drain(..) {
            // Any instance may take the next step.
            exec = serde_json::from_slice(&serde_json::to_vec(&exec).unwrap()).unwrap();
            for action in exec.step(vec![event]).0 {
                match action {
                    Action::SendText(text) => assert_eq!(text, "password"),
                    Action::SendBinary(bytes) => typed.send(with_shell(shell, bytes)).unwrap(),
                    Action::Output(bytes) => output.extend(bytes),
                    Action::ErrorOutput(bytes) => errors.extend(bytes),
                    Action::WakeAfter(_) => {}
                    end => break 'session end,
                }
            }
        }
        if let Some(input) = input.take_if(|_| output.starts_with(client.sees.as_bytes())) {
            waiting.extend(input.chunks(100_000).map(|bytes| Event::Input(bytes.to_vec())));
            waiting.push(Event::InputClosed);
            continue;
        }
        waiting.push(seen.recv_timeout(Duration::from_secs(60)).unwrap_or(Event::Woken));
    };
    child.kill().unwrap();
    child.wait().unwrap();
    Outcome { output, errors, end }
}

/// In an image, the shell that was started is `/bin/sh` for what it starts too.
fn with_shell(shell: &[String], typed: Vec<u8>) -> Vec<u8> {
    match typed.strip_prefix(b" unset HISTFILE;exec /bin/sh ") {
        Some(rest) => [format!(" unset HISTFILE;exec {} ", shell.join(" ")).as_bytes(), rest].concat(),
        None => typed,
    }
}

fn show(pty: &Pty, events: &mpsc::Sender<Event>) {
    let mut buffer = [0; 4096];
    loop {
        match (&*pty).read(&mut buffer) {
            Ok(count) if count > 0 => {
                if events.send(Event::Binary(buffer[..count].to_vec())).is_err() {
                    return;
                }
            }
            _ => {
                let _ = events.send(Event::Disconnected(Ending { code: Some(1000), reason: String::new() }));
                return;
            }
        }
    }
}

fn noise(length: usize) -> Vec<u8> {
    let mut state = 1_u32;
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    std::iter::repeat_with(next).take(length).collect()
}

#[test]
fn arguments_arrive_as_they_are() {
    let odd = "a'b\"c\\d\te\n\nf\x01\x03\x04\x11\x13\x16\x1a\x7f $HOME `x` *~ ä€😀!\r\n";
    let long = format!("{}'{}", "ä".repeat(3000), "x".repeat(6000));
    let arguments = ["", " ", "-n", ".", ",", "~", "\n", odd, &long];
    let command: Vec<_> = ["printf", "%s|"].into_iter().chain(arguments).collect();
    let outcome = run(&command, &Client::default());
    assert_eq!(outcome.text(), arguments.map(|argument| format!("{argument}|")).concat());
    assert_eq!(outcome.end, Action::Exit(0));
}

#[test]
fn programs_are_run_and_not_what_the_shell_has_of_the_same_name() {
    let outcome = run(&["echo", "a\\nb"], &Client::default());
    assert_eq!(outcome.text(), "a\\nb\n");
}

#[test]
fn exit_codes_arrive() {
    let code = |command: &[&str]| run(command, &Client::default()).end;
    for expected in ["0", "255"] {
        assert_eq!(code(&["sh", "-c", &format!("exit {expected}")]), Action::Exit(expected.parse().unwrap()));
    }
    assert_eq!(
        run(&["sh", "-c", "kill -9 $$"], &Client::default()),
        Outcome { output: Vec::new(), errors: Vec::new(), end: Action::Exit(137) }
    );
    for shell in shells() {
        let outcome = run_in(&shell, &["no-such-program", "x"], &Client::default());
        assert_eq!(outcome.end, Action::Exit(127));
        assert_eq!(run_in(&shell, &["/"], &Client::default()).end, Action::Exit(126));
        assert!(
            outcome.error_text().contains("no-such-program: not found")
                || outcome.error_text().contains("No such file"),
            "{outcome:?}"
        );
    }
}

#[test]
fn without_a_terminal_there_is_none_and_output_is_not_changed() {
    let script = "test -t 0 || test -t 1 || test -t 2 || echo none; echo error >&2; cat";
    let outcome = run(&["sh", "-c", script], &Client::default());
    assert_eq!((outcome.text(), outcome.error_text()), ("none\n", "error\n"));
}

#[test]
fn input_and_its_end_arrive_also_with_bytes_that_mean_something_to_terminals() {
    let lines = "line\n".repeat(10_000);
    let special: Vec<u8> = (0..=255).chain([0x04, 0x04, b'\n', 0x04, 0x16, 0x16]).cycle().take(20_000).collect();
    let (line, noise) = ("x".repeat(50_000), noise(100_000));
    let small = [&b""[..], b"x", b"\n", b".\n,\n\x04"];
    for input in small.into_iter().chain([lines.as_bytes(), &special, &noise, line.as_bytes()]) {
        // Before the shell is ready, and while the command runs.
        let whole = Client { input: Some(input), ..Client::default() };
        for (command, begun, client) in
            [("cat", "", &whole), ("echo up; cat", "up\n", &Client { sees: "up\n", ..whole })]
        {
            let outcome = run(&["sh", "-c", command], client);
            let expected = [begun.as_bytes(), input].concat();
            assert!(outcome.output == expected, "{} bytes became {}", expected.len(), outcome.output.len());
            assert_eq!(outcome.end, Action::Exit(0));
        }
    }
}

#[test]
fn a_command_may_end_before_its_input() {
    let input = noise(200_000);
    let outcome = run(&["head", "-c", "3"], &Client { input: Some(&input), ..Client::default() });
    assert_eq!(outcome, Outcome { output: input[..3].to_vec(), errors: Vec::new(), end: Action::Exit(0) });
}

#[test]
fn with_a_terminal_there_is_one_of_the_clients_size() {
    let client = Client { tty: Some(TerminalSize { columns: 133, rows: 47 }), ..Client::default() };
    let script = "test -t 0 && test -t 1 && stty size; case $(stty -a) in *' echo '*) echo echoes;; esac; exit 7";
    let outcome = run(&["sh", "-c", script], &client);
    assert_eq!((outcome.text(), &outcome.end), ("47 133\r\nechoes\r\n", &Action::Exit(7)));
    let client = Client { tty: Some(TerminalSize { columns: 0, rows: 0 }), ..Client::default() };
    assert_eq!(run(&["stty", "size"], &client).text(), "24 80\r\n");
}

#[test]
fn keys_reach_the_command_and_are_echoed() {
    let tty = Some(TerminalSize { columns: 80, rows: 24 });
    let client = Client { input: Some(b"hello\n"), tty, ..Client::default() };
    let outcome = run(&["sh", "-c", "read line; echo \"got $line\""], &client);
    assert_eq!((outcome.text(), &outcome.end), ("hello\r\ngot hello\r\n", &Action::Exit(0)));
    let client = Client { input: Some(b"\x03"), sees: "up\r\n", tty };
    let outcome = run(&["sh", "-c", "echo up; exec sleep 50"], &client);
    assert_eq!((outcome.text(), &outcome.end), ("up\r\n^C", &Action::Exit(130)));
}

#[test]
fn a_terminal_whose_size_nobody_tells_has_the_usual_one() {
    let tty = Some(TerminalSize { columns: 80, rows: 24 });
    let mut exec = exec(&["sh"], &Client { tty, ..Client::default() });
    let wait = Action::wake_after(SIZE_WITHIN);
    assert_eq!(step(&mut exec, opened()).0, [Action::SendText("password".to_owned()), wait]);
    let (actions, _) = step(&mut exec, Event::Woken);
    assert!(actions.iter().any(|action| matches!(action, Action::SendBinary(_))), "{actions:?}");
    assert_eq!(actions.first(), Some(&Action::wake_after(PATIENCE)));
}

fn step(exec: &mut Exec, event: Event) -> (Vec<Action>, Finding) {
    exec.step(vec![event])
}

fn ends(code: u16) -> Event {
    Event::Disconnected(Ending { code: Some(code), reason: String::new() })
}

fn failure(actions: &[Action]) -> &str {
    match actions.last() {
        Some(Action::Fail(error)) => &error.message,
        other => panic!("{other:?}"),
    }
}

impl Exec {
    /// What a terminal shows when the shell is ready.
    pub(crate) fn ready_mark(&self) -> String {
        let Mode::Shell(shell) = &self.mode else { unreachable!() };
        shell.marks.format("r").replace("\\036", "\x1e")
    }
}

#[test]
fn what_an_image_without_a_shell_shows_is_told_and_remembered() {
    let mut exec = exec(&["login", "hunter2"], &Client::default());
    let (actions, _) = step(&mut exec, opened());
    let echo: String = actions
        .iter()
        .filter_map(|action| match action {
            Action::SendBinary(bytes) => Some(String::from_utf8_lossy(bytes).replace('\n', "\r\n")),
            _ => None,
        })
        .collect();
    assert!(echo.contains("hunter2"));
    let message = "exec: \"/bin/sh\": stat /bin/sh: no such file or directory\r\n";
    assert_eq!(step(&mut exec, Event::Text(echo + message)), (Vec::new(), Finding::Nothing));
    let (actions, finding) = step(&mut exec, ends(1000));
    assert_eq!(finding, Finding::NoShell);
    assert_eq!(
        failure(&actions),
        "the terminal ended before the command began with code 1000: exec needs /bin/sh, stty and cat in the \
         container's image; it showed: exec: \"/bin/sh\": stat /bin/sh: no such file or directory"
    );
}

#[test]
fn an_end_before_the_command_began_does_not_blame_the_image_or_quote_what_was_typed() {
    for ending in [
        Ending { code: Some(1000), reason: String::new() },
        Ending { code: None, reason: "connection reset".to_owned() },
    ] {
        let mut exec = exec(&["login", "/bin/sh not found: hunter2"], &Client::default());
        step(&mut exec, opened());
        let echo = "# __a='/bin/sh not found: hunter2';set -- \"$@\" \"$__a\"\r\n";
        step(&mut exec, Event::Text(echo.to_owned()));
        let (actions, finding) = step(&mut exec, Event::Disconnected(ending.clone()));
        assert_eq!(finding, Finding::Nothing);
        let message = format!("the connection ended before the command began{}", told(&ending));
        assert_eq!(failure(&actions), message);
    }
}

#[test]
fn a_command_cannot_know_the_marks_of_its_end() {
    let script = "p=$$; while [ \"$p\" -gt 1 ]; do tr '\\0' '\\n' <\"/proc/$p/cmdline\"; tr '\\0' '\\n' <\"/proc/$p/environ\"; \
                  p=$(sed -n 's/^PPid:[[:space:]]*//p' \"/proc/$p/status\"); done 2>/dev/null; env";
    let nonce = Marks::new(&Secret("password".to_owned())).format("").replace("\\036", "");
    let tty = Some(TerminalSize { columns: 80, rows: 24 });
    for client in
        [Client::default(), Client { input: Some(b""), ..Client::default() }, Client { tty, ..Client::default() }]
    {
        for shell in shells() {
            let outcome = run_in(&shell, &["sh", "-c", script], &client);
            assert!(outcome.text().contains("stty raw"), "the shell's own arguments are not among those");
            assert!(!outcome.text().contains(&nonce), "{shell:?}");
        }
    }
}

#[test]
fn a_shell_that_does_not_begin_and_a_connection_that_breaks_are_failures() {
    let mut silent = exec(&["ls"], &Client::default());
    let (actions, _) = step(&mut silent, opened());
    assert!(actions.contains(&Action::wake_after(PATIENCE)));
    assert_eq!(failure(&step(&mut silent, Event::Woken).0), "the container's /bin/sh did not begin within 30 s");
    let mut broken = exec(&["ls"], &Client::default());
    step(&mut broken, opened());
    let (actions, finding) = step(&mut broken, ends(1006));
    assert!(failure(&actions).contains("with code 1006"));
    assert_eq!(finding, Finding::Nothing);
    let refused = Event::Refused(Answer { status: 503, headers: Vec::new(), body: Vec::new() });
    assert!(failure(&step(&mut exec(&["ls"], &Client::default()), refused).0).contains("with status 503"));
}

#[test]
fn what_a_command_wrote_before_its_connection_broke_arrives() {
    let mut exec = exec(&["ls"], &Client::default());
    step(&mut exec, opened());
    let Mode::Shell(shell) = &exec.mode else { unreachable!() };
    let printed = |kind| shell.marks.format(kind).replace("\\036", "\x1e");
    let shown = format!("ignored{}ignored{}some", printed("r"), printed("b"));
    assert_eq!(step(&mut exec, Event::Text(shown + "\x1e")).0, [Action::output("some")]);
    assert_eq!(step(&mut exec, Event::Woken).0, []);
    let (actions, finding) = step(&mut exec, ends(1006));
    assert_eq!(actions.first(), Some(&Action::output("\x1e")));
    assert_eq!(failure(&actions), "the service ended the terminal before the command ended with code 1006");
    assert_eq!(finding, Finding::Nothing);
}

#[test]
fn a_step_has_no_more_actions_than_the_host_takes_however_many_events_it_has() {
    let mut exec = exec(&["cat"], &Client { input: Some(b""), ..Client::default() });
    let worst = vec![0xff; 256 << 10];
    assert!(exec.step(vec![opened(), Event::Input(worst.clone())]).0.len() < 1000);
    let Mode::Shell(shell) = &exec.mode else { unreachable!() };
    let begun = ["r", "b"].map(|kind| shell.marks.format(kind).replace("\\036", "\x1e")).concat();
    let many = (0..4096).map(|_| Event::Text("x".to_owned()));
    let (actions, _) = exec.step(std::iter::once(Event::Text(begun)).chain(many).collect());
    assert_eq!(actions.last(), Some(&Action::Output(vec![b'x'; 4096])));
    let specials = vec![0x04; 256 << 10];
    assert!(exec.step(vec![Event::Input(specials)]).0.len() < 1000);
}

#[test]
fn a_state_fits_into_what_the_host_keeps() {
    let longest = "\x01".repeat(MAX_COMMAND / 6 - 2);
    let terminal = Client { input: Some(b""), tty: Some(TerminalSize { columns: 1, rows: 1 }), ..Client::default() };
    let mut whole = exec(&[&longest], &terminal);
    step(&mut whole, Event::Input(vec![0xff; MAX_HELD]));
    step(&mut whole, Event::Text("\u{ff}".repeat(1000)));
    let size = serde_json::to_vec(&whole).unwrap().len();
    assert!(size < sessions::MAX_STATE, "{size}");
    let more = failure(&step(&mut whole, Event::Input(vec![0])).0).to_owned();
    assert_eq!(more, "more than 4096 bytes were typed before the command began");
    for command in [vec![], vec![String::new()], vec!["a\0".to_owned()], vec![longest.clone() + &longest]] {
        assert_eq!(check(&command).unwrap_err().kind, vk_sdk::ErrorKind::Invalid);
    }
}

#[test]
fn a_command_that_the_service_starts_itself_is_relayed() {
    let mut exec = Exec::direct(Secret("password".to_owned()));
    assert_eq!(step(&mut exec, opened()).0, [Action::SendText("password".to_owned()), Action::Relay]);
    assert_eq!(step(&mut exec, Event::InputClosed).0, []);
    assert_eq!(step(&mut exec, ends(1000)).0, [Action::Exit(0)]);
    assert_eq!(failure(&step(&mut exec, ends(1011)).0), "the service ended the command with code 1011");
    let reset = Event::Disconnected(Ending { code: None, reason: "connection reset".to_owned() });
    assert_eq!(failure(&step(&mut exec, reset).0), "the service ended the command: connection reset");
    let closed = Event::Disconnected(Ending { code: None, reason: String::new() });
    assert_eq!(step(&mut exec, closed).0, [Action::Exit(0)]);
}

mod outputs;
