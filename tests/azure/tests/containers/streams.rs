//! Sessions: who may open them, how they end, and what goes wrong with them.

use std::time::Duration;

use tokio_tungstenite::tungstenite::{Message, protocol::frame::coding::CloseCode};
use vk_azure::containers::{
    Size,
    streams::{Ticket, Trouble},
};

use crate::{
    dialogue::{Ending, Server},
    fixture::{Fixture, until},
    processes::inside,
};

#[tokio::test]
async fn a_wrong_password_closes_the_session_for_good() {
    let (server, fixture) = (Server::start().await, Fixture::new(&["sleep", "1000"]).await);
    let ticket = || server.sessions.exec(&fixture.container, "pwd", Size::default(), Trouble::default());
    let Ticket { path, password } = ticket();
    assert_eq!(password.len(), 32);
    assert_ne!(password, ticket().password);
    let mut dialogue = server.open(&path, None).await.unwrap();
    dialogue.send(Message::text(format!("{password} "))).await;
    assert_eq!(dialogue.rest().await, (Vec::new(), Ending::Closed(CloseCode::Policy)));
    assert_eq!(server.open(&path, None).await.err(), Some(404));

    let Ticket { path, password } = ticket();
    let mut dialogue = server.open(&path, None).await.unwrap();
    dialogue.send(Message::binary(password.into_bytes())).await;
    assert_eq!(dialogue.rest().await, (Vec::new(), Ending::Closed(CloseCode::Policy)));
}

#[tokio::test]
async fn a_session_is_opened_once_and_by_its_own_route() {
    let (server, fixture) = (Server::start().await, Fixture::new(&["sleep", "1000"]).await);
    let Ticket { path, password } =
        server.sessions.exec(&fixture.container, "pwd", Size { rows: 1, columns: 2 }, Trouble::default());
    assert!(path.ends_with("?api-version=1.0&rows=1&cols=2"), "{path}");
    let attach = path.replace("execstream", "attachstream");
    assert_eq!(server.open(&attach, Some(&password)).await.err(), Some(404));
    let mut dialogue = server.open(&path, None).await.unwrap();
    assert_eq!(server.open(&path, None).await.err(), Some(404));
    dialogue.send(Message::text(password)).await;
    assert_eq!(dialogue.rest().await, (b"/\r\n".to_vec(), Ending::Closed(CloseCode::Normal)));
    assert_eq!(server.open("/execstream/sessionId/0?api-version=1.0", None).await.err(), Some(404));
}

#[tokio::test]
async fn attach_shows_what_is_written_from_then_on() {
    let server = Server::start().await;
    let fixture = Fixture::shell("mkfifo /fifo; echo before; read -r line </fifo; echo after; exit 4").await;
    fixture.has_written("before").await;
    let Ticket { path, password } = server.sessions.attach(&fixture.container, Trouble::default());
    assert_eq!(server.open(&path, None).await.err(), Some(401));
    assert_eq!(server.open(&path, Some("other")).await.err(), Some(401));
    let mut attached = server.open(&path, Some(&password)).await.unwrap();
    // The answer to the upgrade comes before the session listens; its first ping comes after.
    attached.pinged(1).await;
    let mut shell = server.exec(&fixture.container, "sh").await;
    shell.types("echo go >/fifo\n").await;
    assert_eq!(attached.rest().await, (b"after\n".to_vec(), Ending::Closed(CloseCode::Normal)));
    assert_eq!(fixture.ended().await, (4, "before\nafter\n".into()));
    assert_eq!(shell.rest().await.1, Ending::Closed(CloseCode::Normal), "it ends with its container");
}

#[tokio::test]
async fn a_program_ends_with_its_client() {
    let (server, fixture) = (Server::start().await, Fixture::new(&["sleep", "1000"]).await);
    let mut shell = server.exec(&fixture.container, "sh").await;
    shell.types("trap '' HUP TERM; echo rea''dy; sleep 1000\n").await;
    shell.expect("ready\r\n").await;
    let processes = || inside(fixture.folder()).iter().filter(|pid| leads_a_shell(**pid)).count();
    assert!(processes() >= 1);
    drop(shell);
    until("the end of the shell", || processes() == 0).await;
}

#[tokio::test]
async fn a_session_keeps_no_container() {
    let (server, fixture) = (Server::start().await, Fixture::new(&["sleep", "1000"]).await);
    let ticket = server.sessions.exec(&fixture.container, "pwd", Size::default(), Trouble::default());
    let attach = server.sessions.attach(&fixture.container, Trouble::default());
    drop(fixture);
    let mut dialogue = server.open(&ticket.path, None).await.unwrap();
    dialogue.send(Message::text(ticket.password)).await;
    assert_eq!(dialogue.rest().await, (b"the container has ended\r\n".to_vec(), Ending::Closed(CloseCode::Normal)));
    let mut attached = server.open(&attach.path, Some(&attach.password)).await.unwrap();
    assert_eq!(attached.rest().await, (Vec::new(), Ending::Closed(CloseCode::Normal)));
}

#[tokio::test]
async fn output_comes_in_fragments_and_as_text_if_asked_for() {
    let (server, fixture) = (Server::start().await, Fixture::new(&["sleep", "1000"]).await);
    let trouble = Trouble { fragment: Some(3), text: true, ..Trouble::default() };
    let mut shell = server.exec_with(&fixture.container, "sh", Size::default(), trouble).await;
    shell.types("stty raw -echo; echo rea''dy; printf 'übung %0999d\\n' 7; printf '\\377\\376'; exit\n").await;
    shell.expect("ready\n").await;
    shell.expect(&format!("übung {:0999}\n", 7)).await;
    let (rest, _) = shell.rest().await;
    assert!(rest.ends_with(b"\xff\xfe"), "{rest:?}");
    assert!(
        shell.messages.iter().any(|(text, length)| *text && *length > 3),
        "messages are longer than their fragments"
    );
    assert!(shell.messages.iter().any(|(text, _)| !text), "what is not text comes as bytes");
}

#[tokio::test]
async fn the_server_can_close_and_cut_in_the_middle() {
    let (server, fixture) = (Server::start().await, Fixture::new(&["sleep", "1000"]).await);
    let close = Trouble { close_after: Some(1000), ..Trouble::default() };
    let mut dialogue = server.exec_with(&fixture.container, "yes", Size::default(), close).await;
    let (heard, ending) = dialogue.rest().await;
    assert_eq!((heard.len(), ending), (1000, Ending::Closed(CloseCode::Normal)));

    let cut = Trouble { cut_after: Some(1001), ..Trouble::default() };
    let mut dialogue = server.exec_with(&fixture.container, "yes", Size::default(), cut).await;
    let (heard, ending) = dialogue.rest().await;
    assert_eq!((heard.len(), ending), (1001, Ending::Cut));
}

#[tokio::test]
async fn a_session_may_never_open_and_may_be_pinged_often() {
    let (server, fixture) = (Server::start().await, Fixture::new(&["sleep", "1000"]).await);
    let never = Trouble { never_opens: true, ..Trouble::default() };
    let ticket = server.sessions.exec(&fixture.container, "pwd", Size::default(), never);
    let opening = server.open(&ticket.path, None);
    assert!(tokio::time::timeout(Duration::from_millis(300), opening).await.is_err());

    let pinged = Trouble { ping_milliseconds: Some(5), ..Trouble::default() };
    let mut dialogue = server.exec_with(&fixture.container, "cat", Size::default(), pinged).await;
    dialogue.pinged(5).await;
    dialogue.types("still\n").await;
    dialogue.expect("still\r\nstill\r\n").await;
}

fn leads_a_shell(pid: rustix::process::Pid) -> bool {
    std::fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero())).is_ok_and(|line| line == b"sh\0")
}
