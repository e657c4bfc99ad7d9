//! The two outputs of a command, kept apart.

use std::time::Instant;

use super::*;

fn clients() -> [Client<'static>; 2] {
    [Client::default(), Client { input: Some(b""), ..Client::default() }]
}

#[test]
fn outputs_arrive_whole_and_apart_however_they_come() {
    let noise = noise(3_000);
    let script = "cat >$0; i=0; while [ $i -lt 100 ]; do cat $0; echo \"line $i \\\\ %s äö\" >&2; i=$((i + 1)); done; \
                  printf '\\036' ; printf '\\036 partial' >&2; rm $0; exit 7";
    let file = std::env::temp_dir().join(format!("vk-exec-{}", std::process::id()));
    let client = Client { input: Some(&noise), ..Client::default() };
    let outcome = run(&["sh", "-c", script, file.to_str().unwrap()], &client);
    assert!(outcome.output == [noise.repeat(100), vec![0x1e]].concat(), "{} bytes", outcome.output.len());
    let lines: String = (0..100).map(|line| format!("line {line} \\ %s äö\n")).collect();
    assert_eq!(outcome.error_text(), lines + "\x1e partial");
    assert_eq!(outcome.end, Action::Exit(7));
}

#[test]
fn outputs_written_at_the_same_time_are_apart() {
    let script = "head -c 3000000 /dev/zero & while kill -0 $! 2>/dev/null; do echo error >&2; done; wait";
    for shell in shells() {
        let outcome = run_in(&shell, &["sh", "-c", script], &Client::default());
        assert!(outcome.output == vec![0; 3_000_000], "{} bytes", outcome.output.len());
        assert!(outcome.error_text().lines().all(|line| line == "error"));
        assert!(!outcome.errors.is_empty());
    }
}

#[test]
fn error_output_alone_arrives_with_lines_of_any_length() {
    for length in [0, 1, 180, 199, 200, 201, 370, 377, 385, 399, 400, 401, 599, 600, 601, 4096, 100_000] {
        for (end, client) in ["", "\n"].into_iter().zip(clients()) {
            let script = "head -c $0 /dev/zero | tr '\\0' x >&2; printf \"$1\" >&2; exit 3";
            let outcome = run(&["sh", "-c", script, &length.to_string(), &format!("€{end}")], &client);
            assert_eq!(outcome.error_text(), format!("{}€{end}", "x".repeat(length)));
            assert_eq!((outcome.text(), &outcome.end), ("", &Action::Exit(3)));
        }
    }
}

#[test]
fn what_a_command_leaves_running_is_not_waited_for() {
    for client in clients() {
        let begun = Instant::now();
        let outcome = run(&["sh", "-c", "sleep 50 & echo up; echo error >&2"], &client);
        assert_eq!((outcome.text(), outcome.error_text()), ("up\n", "error\n"));
        assert!(begun.elapsed() < Duration::from_secs(40));
    }
}

#[test]
fn with_a_terminal_outputs_are_mixed() {
    let client = Client { tty: Some(TerminalSize { columns: 80, rows: 24 }), ..Client::default() };
    let outcome = run(&["sh", "-c", "echo error >&2"], &client);
    assert_eq!((outcome.text(), outcome.error_text()), ("error\r\n", ""));
}
