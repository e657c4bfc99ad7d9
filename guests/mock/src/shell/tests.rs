//! Commands as a session runs them: through the state that the host keeps between steps.

use std::{cell::RefCell, collections::BTreeMap, time::Duration};

use mock_model::{Facts, Order, PREFIX, wire::Details};
use proptest::prelude::*;
use serde_json::json;
use sha2::{Digest, Sha256};
use vk_sdk::{
    Aspects, Changes, Deletion, ErrorKind, Pod, cache,
    sessions::{Answer, TerminalSize},
};

use super::*;
use crate::{cursor::Cursor, store::Created};

/// A store that knows one pod.
struct OnePod {
    details: Details,
    looks: RefCell<u32>,
}

impl OnePod {
    fn new() -> Self {
        let pod = json!({
            "metadata": {"uid": "u", "annotations": BTreeMap::from([(format!("{PREFIX}pod-ip"), "10.1.2.3")])},
            "spec": {"containers": [{"name": "c", "image": "i", "env": [
                {"name": "GREETING", "value": "hello  you"}, {"name": "EMPTY", "value": ""}, {"name": "IP"},
            ]}]},
        });
        let order = Order::parse(&pod.to_string()).unwrap();
        let state = order.plan.state(&Facts::default(), 1);
        Self { details: Details { state, workload: order.workload }, looks: RefCell::new(0) }
    }
}

impl Store for OnePod {
    fn check(&self) -> Result<()> {
        unreachable!()
    }
    fn create(&self, _: &Pod, _: &Order) -> Result<Created> {
        unreachable!()
    }
    fn update(&self, _: &Pod, _: &Order, _: Aspects) -> Result<String> {
        unreachable!()
    }
    fn delete(&self, _: &PodId, _: Duration) -> Result<Deletion> {
        unreachable!()
    }
    fn get(&self, _: &PodId) -> Result<String> {
        unreachable!()
    }
    fn look(&self, _: &PodId) -> Result<Details> {
        *self.looks.borrow_mut() += 1;
        Ok(self.details.clone())
    }
    fn poll(&self, _: Option<Cursor>) -> Result<Changes> {
        unreachable!()
    }
}

/// A session with a command, whose state goes through JSON between steps.
struct Session {
    store: OnePod,
    state: String,
    output: Vec<u8>,
    errors: Vec<u8>,
    code: Option<i32>,
    wake: Option<u32>,
    steps: u32,
}

impl Session {
    fn new(command: &[&str], stdin: bool, tty: bool) -> Self {
        let command = command.iter().map(|word| (*word).to_owned()).collect();
        let tty = tty.then_some(TerminalSize { columns: 80, rows: 24 });
        let shell = Shell::new(Exec { container: "c".into(), command, stdin, tty });
        let state = serde_json::to_string(&shell).unwrap();
        Self { store: OnePod::new(), state, output: vec![], errors: vec![], code: None, wake: None, steps: 0 }
    }

    fn step(&mut self, events: Vec<Event>) -> Result<()> {
        assert_eq!(self.code, None, "the session is over");
        let mut shell: Shell = serde_json::from_str(&self.state).unwrap();
        self.wake = None;
        self.steps += 1;
        let pod = PodId { namespace: "d".into(), name: "p".into(), uid: "u".into(), handle: None };
        for action in shell.step(&pod, &self.store, events) {
            match action {
                Action::Output(bytes) => self.output.extend(bytes),
                Action::ErrorOutput(bytes) => self.errors.extend(bytes),
                Action::Exit(code) => self.code = Some(code),
                Action::WakeAfter(wait) => self.wake = Some(wait),
                Action::Fail(error) => return Err(error),
                other => panic!("{other:?}"),
            }
        }
        self.state = serde_json::to_string(&shell).unwrap();
        assert!(self.state.len() < vk_sdk::sessions::MAX_STATE, "{} bytes of state", self.state.len());
        Ok(())
    }

    /// Goes on as long as the command asks to be woken at once.
    fn go_on(&mut self) {
        while self.code.is_none() && self.wake == Some(0) {
            self.step(vec![Event::Woken]).unwrap();
        }
    }

    fn event(&mut self, event: Event) {
        self.step(vec![event]).unwrap();
        self.go_on();
    }

    fn input(&mut self, bytes: &[u8]) {
        self.event(Event::Input(bytes.to_vec()));
    }

    fn output(&mut self) -> String {
        String::from_utf8(std::mem::take(&mut self.output)).unwrap()
    }
}

fn opened() -> Event {
    Event::Opened(Answer { status: 0, headers: Vec::new(), body: Vec::new() })
}

/// Output, errors and exit code of a command without input.
fn run(command: &[&str]) -> (String, String, i32) {
    let mut session = Session::new(command, false, false);
    session.event(opened());
    let errors = String::from_utf8(session.errors.clone()).unwrap();
    (session.output(), errors, session.code.expect("the command has not ended"))
}

fn sh(script: &str) -> (String, String, i32) {
    run(&["sh", "-c", script])
}

fn says(text: &str) -> (String, String, i32) {
    (text.to_owned(), String::new(), 0)
}

#[test]
fn commands_say_and_end_as_they_do_anywhere() {
    assert_eq!(run(&["echo", "a", "b  c"]), says("a b  c\n"));
    assert_eq!(run(&["/bin/echo", "-n", "a"]), says("a"));
    assert_eq!(run(&["hostname"]), says("p\n"));
    for (command, code) in [("true", 0), ("false", 1)] {
        assert_eq!(run(&[command]), (String::new(), String::new(), code));
    }
    for code in ["0", "1", "42", "137"] {
        assert_eq!(run(&["exit", code]).2.to_string(), code);
        assert_eq!(sh(&format!("exit {code}; echo not reached")).2.to_string(), code);
    }
    assert_eq!(sh("kill -9 $$; echo not reached"), (String::new(), String::new(), 137));
    assert_eq!(sh("kill $$").2, 143);
}

#[test]
fn what_is_not_there_is_not_found() {
    let (output, errors, code) = run(&["nginx", "-t"]);
    assert_eq!((output.as_str(), code), ("", 127));
    assert!(errors.starts_with("nginx: not found: the mock emulates only cat, echo, "), "{errors}");
    assert_eq!(sh("nginx; echo $?"), ("127\n".to_owned(), errors.replace(" -t", ""), 0));
}

#[test]
fn a_script_runs_as_its_words_have_it() {
    assert_eq!(sh("echo out; echo err >&2; exit 3"), ("out\n".into(), "err\n".into(), 3));
    assert_eq!(sh("false && echo a || echo b; true && echo c"), says("b\nc\n"));
    assert_eq!(sh("false; echo $? $?"), says("1 1\n"));
    assert_eq!(sh("sh -c 'exit 4'; echo $?; sh -c \"sh -c 'echo deep'\""), says("4\ndeep\n"));
    assert_eq!(sh("nothing 2>&1 | wc -l; echo a 2>&1 1>&2"), says("1\na\n"));
    assert_eq!(sh("nothing 2>/dev/null; echo a >/dev/null"), says(""));
    assert_eq!(sh("echo 'unterminated"), (String::new(), "sh: syntax error: unterminated quoted string\n".into(), 2));
    assert_eq!(sh("for i in 1 2; do echo $i; done").2, 2);
}

#[test]
fn variables_are_those_of_the_manifest() {
    assert_eq!(
        sh("echo $GREETING ${GREETING}s '$GREETING' $EMPTY$MISSING."),
        says("hello  you hello  yous $GREETING .\n")
    );
    let environment = "PATH=/usr/local/bin:/usr/bin:/bin\nHOSTNAME=p\nGREETING=hello  you\nEMPTY=\nIP=10.1.2.3\n";
    assert_eq!(run(&["env"]), says(environment));
    assert_eq!(run(&["printenv", "IP"]), says("10.1.2.3\n"));
}

#[test]
fn the_store_is_asked_only_for_what_a_command_needs() {
    let mut session = Session::new(&["sh", "-c", "echo a; exit 1"], false, false);
    session.event(opened());
    assert_eq!(*session.store.looks.borrow(), 0);
}

#[test]
fn cat_sends_back_what_comes_until_the_input_ends() {
    let mut session = Session::new(&["cat"], true, false);
    session.event(opened());
    assert_eq!((session.code, session.wake), (None, None));
    for piece in [&b"one"[..], b"\xff\x00two"] {
        session.input(piece);
        assert_eq!(std::mem::take(&mut session.output), piece);
    }
    session.event(Event::InputClosed);
    assert_eq!(session.code, Some(0));
    assert_eq!(run(&["cat"]), says(""));
}

#[test]
fn input_goes_to_whoever_reads_next() {
    let mut session = Session::new(&["sh", "-c", "head -c 3; echo; sleep 0.3; wc -c"], true, false);
    session.step(vec![opened(), Event::Input(b"abcdefg".to_vec()), Event::InputClosed]).unwrap();
    assert!(matches!(session.wake, Some(1..=300)), "{:?}", session.wake);
    #[expect(clippy::disallowed_methods, reason = "the mock's time is the real one")]
    std::thread::sleep(Duration::from_millis(310));
    session.event(Event::Woken);
    assert_eq!((session.output().as_str(), session.code), ("abc\n4\n", Some(0)));
}

#[test]
fn input_for_a_command_that_reads_later_is_bounded() {
    let mut session = Session::new(&["sh", "-c", "echo first; sleep 100; cat"], true, false);
    session.step(vec![opened(), Event::Input(vec![0; MAX_INPUT])]).unwrap();
    assert_eq!(session.step(vec![Event::Input(vec![0])]).unwrap_err().kind, ErrorKind::Exhausted);
}

#[test]
fn input_that_nobody_will_read_is_dropped() {
    let much = || Event::Input(vec![0; 8 * MAX_INPUT]);
    for script in ["sleep 100", "sleep 100; echo done", "head -c 3 > /dev/null; sleep 100", "head -c 3 | sleep 100"] {
        let mut session = Session::new(&["sh", "-c", script], true, false);
        session.step(vec![opened(), much()]).unwrap();
        session.event(much());
        assert!(session.code.is_none() && session.state.len() < 1024, "{script}");
    }
    for command in ["true", "hostname"] {
        let mut session = Session::new(&[command], true, false);
        session.step(vec![opened(), much()]).unwrap();
        assert_eq!(session.code, Some(0), "{command}");
    }
}

#[test]
fn a_command_that_is_over_does_not_keep_its_pipeline_awake() {
    let mut session = Session::new(&["sh", "-c", "echo a | sleep 100"], false, false);
    session.step(vec![opened()]).unwrap();
    assert!(session.wake.is_some_and(|wait| wait > 1000), "{:?}", session.wake);
}

#[test]
fn a_command_that_reads_its_input_after_a_file_gets_all_of_it() {
    assert_eq!(
        sh("head -c 600000 /dev/zero > /tmp/a; echo hello | cat | cat /tmp/a - | tail -c+600001"),
        says("hello\n")
    );
    assert_eq!(sh("head -c 300000 /dev/zero > /tmp/b; cat /tmp/a | cat /tmp/b - /tmp/b | wc -c"), says("1200000\n"));
    let mut session = Session::new(&["sh", "-c", "cat | cat /tmp/b - | tail -c+300001"], true, false);
    session.step(vec![opened(), Event::Input(b"one ".to_vec())]).unwrap();
    session.go_on();
    session.input(b"two");
    session.event(Event::InputClosed);
    assert_eq!((session.output().as_str(), session.code), ("one two", Some(0)));
}

#[test]
fn sleep_wakes_up_in_time_however_often_it_is_disturbed() {
    let mut session = Session::new(&["sleep", "100"], true, false);
    session.event(opened());
    let first = session.wake.unwrap();
    assert!((1..=100_000).contains(&first), "{first}");
    session.input(b"x");
    assert!(session.wake.unwrap() <= first);
    assert_eq!(session.code, None);
}

#[test]
fn a_hundred_megabytes_take_bounded_steps() {
    const SIZE: usize = 100 << 20;
    let mut session = Session::new(&["head", "-c", "100M", "/dev/zero"], false, false);
    session.event(opened());
    assert_eq!((session.output.len(), session.code), (SIZE, Some(0)));
    assert!(session.output.iter().all(|byte| *byte == 0));
    assert!((100..110).contains(&session.steps), "{} steps", session.steps);
}

#[test]
fn a_command_without_end_or_output_takes_bounded_steps_too() {
    for command in ["wc -c /dev/zero", "cat /dev/zero > /dev/null", "cat /dev/zero | sleep 100"] {
        let mut session = Session::new(&["sh", "-c", command], false, false);
        session.step(vec![opened()]).unwrap();
        assert_eq!((session.wake, session.output.len()), (Some(0), 0), "{command}");
    }
}

#[test]
fn sums_are_those_of_the_whole_input() {
    let bytes: Vec<u8> = (0..3_000_000_u32).map(|index| (index * 7 % 251) as u8).collect();
    let mut session = Session::new(&["sha256sum"], true, false);
    session.event(opened());
    for piece in bytes.chunks(65_537) {
        session.input(piece);
    }
    session.event(Event::InputClosed);
    let expected: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!((session.output(), session.code), (format!("{expected}  -\n"), Some(0)));
    assert_eq!(sh("head -c 1M /dev/zero | wc -c"), says("1048576\n"));
    let zeros = "30e14955ebf1352266dc2ff8067e68104607e750abb9d3b36582b8af909fcb58";
    assert_eq!(sh("cat /dev/zero | head -c 1048576 | sha256sum"), says(&format!("{zeros}  -\n")));
}

#[test]
fn files_are_written_and_read() {
    assert_eq!(sh("echo one > /tmp/a && cat /tmp/a /dev/null /tmp/a; wc -c /tmp/a"), says("one\none\n4 /tmp/a\n"));
    assert_eq!(sh("test -d /tmp/a; echo $?; [ -e /tmp/a ]; echo $?"), says("1\n0\n"));
    assert_eq!(run(&["cat", "/nope"]), (String::new(), "cat: /nope: No such file or directory\n".into(), 1));
    assert_eq!(sh("echo a > /tmp").2, 2);
}

#[test]
fn a_terminal_echoes_ends_lines_and_tells_its_size() {
    let mut session = Session::new(&["sh", "-c", "trap 'stty size' WINCH; stty size; echo err >&2; cat"], true, true);
    session.event(opened());
    assert_eq!(session.output(), "24 80\r\nerr\r\n");
    session.event(Event::Resized(TerminalSize { columns: 132, rows: 50 }));
    assert_eq!(session.output(), "50 132\r\n");
    session.input(b"hi");
    assert_eq!(session.output(), "hi");
    session.input(b"\r");
    assert_eq!(session.output(), "\r\nhi\r\n");
    session.input(b"\x04");
    assert_eq!((session.code, session.errors.len()), (Some(0), 0));
    assert_eq!(run(&["stty", "size"]).2, 1);
}

#[test]
fn an_interrupt_ends_the_command_and_not_the_prompt() {
    let mut session = Session::new(&["sleep", "100"], true, true);
    session.event(opened());
    session.input(b"\x03");
    assert_eq!((session.output().as_str(), session.code), ("^C\r\n", Some(130)));

    let mut session = Session::new(&["sh"], true, true);
    session.event(opened());
    session.input(b"sleep 100\r");
    assert_eq!(session.output(), "$ sleep 100\r\n");
    session.input(b"\x03echo $?\r");
    assert_eq!((session.output().as_str(), session.code), ("^C\r\necho $?\r\n$ 130\r\n$ ", None));
}

#[test]
fn a_prompt_runs_line_after_line() {
    let mut session = Session::new(&["sh"], true, true);
    session.event(opened());
    session.input(b"echo a; false\rnope(\r");
    let shown = session.output();
    assert!(shown.starts_with("$ echo a; false\r\nnope(\r\na\r\n$ sh: ( is not emulated\r\n$ "), "{shown:?}");
    session.input(b"exit 5\r");
    assert_eq!(session.code, Some(5));

    let mut session = Session::new(&["sh"], true, false);
    session.step(vec![opened(), Event::Input(b"echo one\nfalse".to_vec()), Event::InputClosed]).unwrap();
    assert_eq!((session.output().as_str(), session.code), ("one\n", Some(1)));
}

#[test]
fn scripts_do_not_run_each_other_without_end() {
    let mut session = Session::new(&["sh"], true, false);
    let input = "sh\n".repeat(10) + "echo deep\n";
    session.step(vec![opened(), Event::Input(input.into_bytes()), Event::InputClosed]).unwrap();
    session.go_on();
    let errors = String::from_utf8(session.errors.clone()).unwrap();
    assert!(errors.starts_with("sh: the mock runs no more than 8 scripts in each other\n"), "{errors}");
    assert_eq!((session.output().as_str(), session.code), ("deep\n", Some(0)));
}

#[test]
fn a_client_that_has_gone_is_told_nothing() {
    let mut session = Session::new(&["cat"], true, false);
    session.event(opened());
    session.step(vec![Event::Input(b"x".to_vec()), Event::Abandoned]).unwrap();
    assert_eq!((session.output.len(), session.code, session.wake), (0, None, None));
}

#[test]
fn what_ends_early_leaves_nothing_of_the_files_that_it_was_writing() {
    let archive = || {
        assert_eq!(sh("head -c 4000 /dev/zero > /tmp/big").2, 0);
        Event::Input(packed(&["tar", "cf", "-", "/tmp/big"])[..2000].to_vec())
    };
    let started = |command: &[&str], tty, input| {
        let mut session = Session::new(command, true, tty);
        session.step(vec![opened(), input]).unwrap();
        session
    };
    let unfinished = || cache::keys("data/u/c/out/").len();
    let into_file = ["sh", "-c", "cat > /out/a"];
    let unpacking = ["tar", "xf", "-", "-C", "/out"];

    for (command, input) in [(&into_file[..], Event::Input(b"x".to_vec())), (&unpacking, archive())] {
        let mut session = started(command, false, input);
        assert_eq!(unfinished(), 1);
        session.step(vec![Event::Abandoned]).unwrap();
        assert_eq!(unfinished(), 0);
    }

    let mut interrupted = started(&into_file, true, Event::Input(b"x\r".to_vec()));
    assert_eq!(unfinished(), 1);
    interrupted.input(b"\x03");
    assert_eq!((interrupted.code, unfinished()), (Some(130), 0));

    // Whoever reads what it writes has ended.
    let pipeline = started(&["sh", "-c", "tar xf - -C /out | true"], false, archive());
    assert_eq!((pipeline.code, unfinished()), (Some(0), 0));

    for path in ["/out/a", "/out/tmp/big"] {
        assert_eq!(run(&["cat", path]).2, 1);
    }
}

#[test]
fn a_file_that_there_is_no_room_for_ends_the_command_and_not_what_was_said_before() {
    let mut session = Session::new(&["sh", "-c", "echo before; cat /dev/zero > /out/a"], false, false);
    session.step(vec![opened()]).unwrap();
    let error = loop {
        if let Err(error) = session.step(vec![Event::Woken]) {
            break error;
        }
    };
    assert_eq!((error.kind, session.output().as_str()), (ErrorKind::Exhausted, "before\n"));
    assert_eq!(cache::keys("data/"), Vec::<String>::new());
    assert_eq!(sh("head -c 30M /dev/zero > /out/a; wc -c /out/a"), says("31457280 /out/a\n"));
}

/// An archive, as a command writes it.
fn packed(command: &[&str]) -> Vec<u8> {
    let mut session = Session::new(command, false, false);
    session.event(opened());
    assert_eq!(session.code, Some(0), "{}", String::from_utf8_lossy(&session.errors));
    session.output
}

fn unpack(command: &[&str], archive: &[u8], piece: usize) -> (String, Option<i32>) {
    let mut session = Session::new(command, true, false);
    session.event(opened());
    for piece in archive.chunks(piece) {
        session.input(piece);
    }
    session.event(Event::InputClosed);
    (String::from_utf8(session.errors).unwrap(), session.code)
}

#[test]
fn an_archive_comes_back_as_it_went_whatever_pieces_it_came_in() {
    let long = format!("/tmp/{}", "long/".repeat(40));
    for path in ["/tmp/in/a", "/tmp/in/b", &format!("{long}c")] {
        assert_eq!(sh(&format!("echo {path} > {path}")).2, 0);
    }
    let archive = packed(&["tar", "cf", "-", "/tmp"]);
    assert_eq!(archive.len() % 512, 0);
    for (target, piece) in [("/x", 1), ("/y", 511), ("/z", 1 << 20)] {
        let done =
            unpack(&["tar", "--no-same-permissions", "--no-same-owner", "-xmf", "-", "-C", target], &archive, piece);
        assert_eq!(done, (String::new(), Some(0)));
        assert_eq!(run(&["cat", &format!("{target}/tmp/in/b")]), says("/tmp/in/b\n"));
        assert_eq!(run(&["cat", &format!("{target}{long}c")]), says(&format!("{long}c\n")));
    }
}

#[test]
fn a_copy_can_be_resumed_and_what_is_missing_is_said() {
    assert_eq!(sh("echo hello > /tmp/a").2, 0);
    let whole = packed(&["tar", "cf", "-", "/tmp/a"]);
    assert_eq!(packed(&["sh", "-c", "tar cf - '/tmp/a' | tail -c+0"]), whole);
    assert_eq!(packed(&["sh", "-c", "tar cf - '/tmp/a' | tail -c+513"]), whole[512..]);
    let (_, errors, code) = run(&["tar", "cf", "-", "/nope"]);
    assert_eq!((errors.as_str(), code), ("tar: /nope: Cannot stat: No such file or directory\n", 2));
}

#[test]
fn archives_that_are_broken_or_lead_out_are_refused() {
    assert_eq!(sh("echo hello > /tmp/a").2, 0);
    let whole = packed(&["tar", "cf", "-", "/tmp/a"]);
    let command = ["tar", "-xmf", "-", "-C", "/out"];
    assert_eq!(unpack(&command, &whole[..515], 100), ("tar: Unexpected EOF in archive\n".into(), Some(2)));
    assert_eq!(unpack(&command, &[7; 1024], 100), ("tar: This does not look like a tar archive\n".into(), Some(2)));
    assert_eq!(run(&["cat", "/out/tmp/a"]).2, 1);
    let mut session = Session::new(&["tar", "xf", "archive.tar"], false, false);
    session.event(opened());
    assert_eq!(session.code, Some(2));
}

#[test]
fn an_archive_that_there_is_no_room_for_is_read_to_its_end() {
    assert_eq!(sh("echo hello > /tmp/a; echo -n > /tmp/b; echo bye > /tmp/c").2, 0);
    let archive = packed(&["tar", "cf", "-", "/tmp"]);
    let files = Files::new("another", "c");
    let mut filler = files.write("/a", 0o644, 7);
    for size in [64 << 10, 1] {
        while filler.append(&files, &vec![0; size]) {}
    }
    let (errors, code) = unpack(&["tar", "xf", "-", "-C", "/out"], &archive, 1000);
    let full = "No space left on device\n";
    let expected = format!(
        "tar: /out/tmp/a: Cannot write: {full}tar: /out/tmp/b: Cannot open: {full}tar: /out/tmp/c: Cannot write: {full}"
    );
    assert_eq!((errors, code), (expected, Some(2)));
    filler.give_up(&files);
    assert_eq!(unpack(&["tar", "xf", "-", "-C", "/out"], &archive, 1000), (String::new(), Some(0)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Whatever it says, a script ends with an exit code or waits for its time: nothing in it can break the component.
    #[test]
    fn any_script_is_run_or_refused(script in "[ a-z0-9'\"$?{}|&;>#\\n-]{0,40}|[^\\x00]{0,20}") {
        let mut session = Session::new(&["sh", "-c", &script], false, false);
        session.step(vec![opened()]).unwrap();
        prop_assert!(session.code.is_some() || session.wake.is_some(), "{script:?}");
    }

    /// An archive that was changed anywhere is read to its end.
    #[test]
    fn any_archive_is_unpacked_or_refused(
        changes in prop::collection::vec((0_usize..2048, any::<u8>()), 0..20),
        piece in 1_usize..700,
        summed in any::<bool>(),
    ) {
        prop_assert_eq!(sh("echo hello > /tmp/a").2, 0);
        let mut archive = packed(&["tar", "cf", "-", "/tmp/a"]);
        for (at, byte) in changes {
            let at = at % archive.len();
            archive[at] = byte;
        }
        if summed {
            mend(&mut archive);
        }
        let (errors, code) = unpack(&["tar", "xf", "-", "-C", "/out"], &archive, piece);
        prop_assert_eq!(code == Some(0), errors.is_empty(), "{:?}: {}", code, errors);
    }
}

/// Makes the sum of the first header right again, so that what was changed in it is looked at.
fn mend(archive: &mut [u8]) {
    archive[148..156].fill(b' ');
    let sum: u32 = archive[..512].iter().map(|byte| u32::from(*byte)).sum();
    archive[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}
