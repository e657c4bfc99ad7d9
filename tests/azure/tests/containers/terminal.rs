//! What programs find on the terminal of an exec session.

use rand::{RngExt, SeedableRng, rngs::StdRng};
use vk_azure::containers::{Size, streams::Trouble};

use crate::{
    dialogue::{Ending, Server},
    fixture::{Fixture, mount},
};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

#[tokio::test]
async fn a_shell_finds_a_terminal_of_the_size_asked_for() {
    let (server, fixture) = (Server::start().await, Fixture::new(&["sleep", "1000"]).await);
    let size = Size { rows: 33, columns: 101 };
    let mut shell = server.exec_with(&fixture.container, "/bin/sh", size, Trouble::default()).await;
    shell.types("stty size; tty; test -t 0 && test -t 1 && test -t 2 && echo all$((1 + 2))\n").await;
    shell.expect("33 101\r\n/dev/pts/").await;
    shell.expect("\r\nall3\r\n").await;
    shell.types("exit 3\n").await;
    let (_, ending) = shell.rest().await;
    assert_eq!(ending, Ending::Closed(CloseCode::Normal), "no exit code is told");
}

#[tokio::test]
async fn a_program_sees_the_container_from_within() {
    let volume = tempfile::tempdir().unwrap();
    std::fs::write(volume.path().join("file"), "content").unwrap();
    let with = |spec: &mut vk_azure::containers::Spec| {
        spec.mounts = vec![mount(volume.path(), "/data", false)];
        spec.environment = vec![("GREETING".into(), "it's me".into())];
    };
    let (server, fixture) = (Server::start().await, Fixture::with(&["sleep", "1000"], with).await);
    let mut shell = server.exec(&fixture.container, "sh").await;
    shell.types("echo \"$GREETING $PWD $(cat /data/file)\"; echo error >&2; exit\n").await;
    shell.expect("it's me / content\r\nerror\r\n").await;
}

#[tokio::test]
async fn keys_interrupt_what_runs_and_job_control_works() {
    let (server, fixture) = (Server::start().await, Fixture::new(&["sleep", "1000"]).await);
    let mut shell = server.exec(&fixture.container, "/bin/bash").await;
    // Whoever writes this is in the foreground.
    shell.types("sh -c 'echo $((1 + 2)) runs; exec sleep 1000'\n").await;
    let before = shell.expect("3 runs\r\n").await;
    assert!(!before.contains("job control"), "{before}");
    shell.types(b"\x03").await;
    shell.types("echo next$((1 + 1))\n").await;
    shell.expect("next2\r\n").await;
    shell.types(b"\x04").await;
    assert_eq!(shell.rest().await.1, Ending::Closed(CloseCode::Normal));
}

#[tokio::test]
async fn a_command_is_one_word() {
    let (server, fixture) = (Server::start().await, Fixture::new(&["sleep", "1000"]).await);
    for command in ["ls -l", "/no/such", ""] {
        let (said, ending) = server.exec(&fixture.container, command).await.rest().await;
        let said = String::from_utf8(said).unwrap();
        assert!(said.contains(command) && said.contains("No such file"), "{said}");
        assert_eq!(ending, Ending::Closed(CloseCode::Normal));
    }
    let (said, _) = server.exec(&fixture.container, "pwd").await.rest().await;
    assert_eq!(said, b"/\r\n");
}

#[tokio::test]
async fn bytes_pass_unchanged_through_a_raw_terminal() {
    let (server, fixture) = (Server::start().await, Fixture::new(&["sleep", "1000"]).await);
    let mut shell = server.exec(&fixture.container, "sh").await;
    shell.types("stty raw -echo; echo rea''dy; head -c 65536 >/tmp/in; cat /tmp/in; exit\n").await;
    shell.expect("ready\n").await;
    let sent = random(65536);
    shell.types(&sent).await;
    let (heard, ending) = shell.rest().await;
    assert!(heard == sent, "{} bytes of {} are the same", same(&heard, &sent), sent.len());
    assert_eq!(ending, Ending::Closed(CloseCode::Normal));
}

/// How input with an end is sent to a program whose terminal stays open: lines of a terminal in canonical mode,
/// pushed by ^D.
#[tokio::test]
async fn input_and_its_end_pass_through_a_canonical_terminal() {
    let (server, fixture) = (Server::start().await, Fixture::new(&["sleep", "1000"]).await);
    let mut shell = server.exec(&fixture.container, "/bin/sh").await;
    let unset = ["eol", "eol2", "erase", "kill", "werase", "rprnt"].map(|key| format!("{key} ^-")).join(" ");
    shell
        .types(format!(
            "stty raw -echo icanon iexten eof ^D lnext ^V {unset}; echo rea''dy; cat >/tmp/in; cat /tmp/in; exit\n"
        ))
        .await;
    shell.expect("ready\n").await;
    let sent = random(20_000);
    for chunk in sent.chunks(1000) {
        let quoted = chunk.iter().flat_map(|byte| match byte {
            0x04 | 0x16 | b'\n' | 0 | 0xff => vec![0x16, *byte],
            byte => vec![*byte],
        });
        shell.types(quoted.chain([0x04]).collect::<Vec<u8>>()).await;
    }
    shell.types(b"\x04").await;
    let (heard, _) = shell.rest().await;
    assert!(heard == sent, "{} bytes of {} are the same", same(&heard, &sent), sent.len());
}

#[tokio::test]
async fn much_output_is_neither_lost_nor_held_in_memory() {
    let (server, fixture) = (Server::start().await, Fixture::new(&["sleep", "1000"]).await);
    let mut shell = server.exec(&fixture.container, "sh").await;
    shell.types("stty raw -echo; echo rea''dy; seq 1000000; exit\n").await;
    shell.expect("ready\n").await;
    let (heard, ending) = shell.rest().await;
    assert_eq!(heard.len(), 6_888_896);
    assert!(heard.ends_with(b"\n999999\n1000000\n"));
    assert_eq!(ending, Ending::Closed(CloseCode::Normal));
}

#[tokio::test]
async fn a_program_left_in_the_background_does_not_hold_the_session() {
    let (server, fixture) = (Server::start().await, Fixture::new(&["sleep", "1000"]).await);
    let mut shell = server.exec(&fixture.container, "sh").await;
    shell.types("trap '' HUP; sleep 1000 & echo le''ft; exit\n").await;
    shell.expect("left\r\n").await;
    assert_eq!(shell.rest().await.1, Ending::Closed(CloseCode::Normal));
}

fn random(count: usize) -> Vec<u8> {
    let mut random = StdRng::seed_from_u64(6);
    (0..count).map(|_| random.random()).collect()
}

fn same(one: &[u8], other: &[u8]) -> usize {
    one.iter().zip(other).take_while(|(one, other)| one == other).count()
}
