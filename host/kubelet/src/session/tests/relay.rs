//! Bytes that are copied.

use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use vk_provider::TerminalSize;

use super::*;

#[tokio::test(start_paused = true)]
async fn bytes_go_both_ways_and_a_half_close_goes_with_them() {
    let (connection, mut backend) = bytes(1024);
    let mut session = Session::connected(SessionRequest::PortForward(80), connection, [Action::Relay]).await;
    session.input(b"question");
    session.does(ClientEvent::InputClosed);
    let mut asked = Vec::new();
    backend.read_to_end(&mut asked).await.unwrap();
    assert_eq!(asked, b"question");
    // The provider sees the other events, and may well ask for what was done.
    session.step_for([SessionEvent::InputClosed]).await.answer([Action::CloseSend]);
    backend.write_all(b"answer").await.unwrap();
    assert_eq!(session.seen().await, seen_output(b"answer"));
    drop(backend);
    session.step_for([disconnected()]).await.answer([]);
    assert_eq!(session.finished().await, Outcome::Exit(0));
}

#[tokio::test(start_paused = true)]
async fn what_waited_for_a_step_is_copied_first() {
    let (connection, mut peer) = websocket();
    let mut session = Session::dialling(exec(), Ok(opened()));
    session.dialled(Ok(Dialled::Opened(Answer::default(), connection)));
    let step = session.step().await;
    session.input(b"early");
    peer.send(Message::Text("text ".into()));
    peer.send(Message::Binary(Bytes::from_static(b"binary")));
    session.does(ClientEvent::Resized(TerminalSize { columns: 1, rows: 2 }));
    tokio::time::sleep(Duration::from_secs(1)).await;
    step.answer([Action::SendText("head".into()), output(b"head "), Action::Relay]);
    session.input(b"late");
    assert_eq!(peer.received().await, Some(Message::Text("head".into())));
    assert_eq!(peer.received().await, Some(Message::Binary(Bytes::from_static(b"early"))));
    assert_eq!(peer.received().await, Some(Message::Binary(Bytes::from_static(b"late"))));
    for expected in [b"head ".as_slice(), b"text ", b"binary"] {
        assert_eq!(session.seen().await, seen_output(expected));
    }
    session.step_for([SessionEvent::Resized(TerminalSize { columns: 1, rows: 2 })]).await.answer([]);
}

#[tokio::test(start_paused = true)]
async fn what_came_before_the_connection_is_copied_by_a_relay_in_answer_to_it() {
    let (connection, mut backend) = bytes(1024);
    let mut session = Session::dialling(SessionRequest::PortForward(80), Ok(opened()));
    session.input(b"early");
    session.does(ClientEvent::InputClosed);
    tokio::task::yield_now().await;
    session.dialled(Ok(Dialled::Opened(Answer::default(), connection)));
    session.step_for([SessionEvent::Opened(Answer::default())]).await.answer([Action::Relay]);
    let mut sent = Vec::new();
    soon("the half close", backend.read_to_end(&mut sent)).await.unwrap();
    assert_eq!(sent, b"early");
}

#[tokio::test(start_paused = true)]
async fn bytes_are_copied_while_a_step_runs() {
    let (connection, mut backend) = bytes(1024);
    let mut session = Session::connected(exec(), connection, [Action::Relay]).await;
    session.does(ClientEvent::Resized(TerminalSize { columns: 1, rows: 2 }));
    let step = session.step().await;
    session.input(b"in");
    let mut seen = [0; 2];
    soon("input at the backend", backend.read_exact(&mut seen)).await.unwrap();
    backend.write_all(b"out").await.unwrap();
    assert_eq!(session.seen().await, seen_output(b"out"));
    step.answer([Action::Exit(0)]);
    session.finished().await;
}

#[tokio::test(start_paused = true)]
async fn a_websocket_is_closed_only_when_the_provider_says_so() {
    let (connection, mut peer) = websocket();
    let mut session = Session::connected(exec(), connection, [Action::Relay]).await;
    session.does(ClientEvent::InputClosed);
    let step = session.step_for([SessionEvent::InputClosed]).await;
    assert!(timeout(Duration::from_secs(60), peer.from.next()).await.is_err(), "a close that nobody asked for");
    step.answer([Action::CloseSend]);
    assert!(matches!(peer.received().await, Some(Message::Close(_))));
    peer.send(Message::Binary(Bytes::from_static(b"result")));
    assert_eq!(session.seen().await, seen_output(b"result"));
}

#[tokio::test(start_paused = true)]
async fn input_that_ended_before_the_relay_is_half_closed_at_once() {
    let (connection, mut backend) = bytes(1024);
    let mut session = Session::connected(exec(), connection, []).await;
    session.does(ClientEvent::InputClosed);
    session.step_for([SessionEvent::InputClosed]).await.answer([Action::SendBinary(b"all".to_vec()), Action::Relay]);
    let mut sent = Vec::new();
    soon("the half close", backend.read_to_end(&mut sent)).await.unwrap();
    assert_eq!(sent, b"all");
}

#[tokio::test(start_paused = true)]
async fn a_backend_that_takes_nothing_more_is_still_read() {
    // Two pipes, of which one breaks.
    let (input, broken) = tokio::io::duplex(16);
    let (output_of, mut backend) = tokio::io::duplex(1024);
    drop(broken);
    let connection = Connection::Bytes(Box::new(tokio::io::join(output_of, input)));
    let mut session = Session::connected(exec(), connection, [Action::Relay]).await;
    session.input(&[0; 1000]);
    tokio::time::sleep(Duration::from_secs(1)).await;
    session.input(&[0; 1000]);
    backend.write_all(b"still here").await.unwrap();
    assert_eq!(session.seen().await, seen_output(b"still here"));
    drop(backend);
    session.step_for([disconnected()]).await.answer([Action::Exit(0)]);
    assert_eq!(session.finished().await, Outcome::Exit(0));
}

/// Sends all pieces through a session whose backend is an echo, and yields what came back.
async fn echo(pieces: Vec<Vec<u8>>, buffer: usize, relays: bool) -> Vec<u8> {
    let (connection, backend) = bytes(buffer);
    let actions = if relays { vec![Action::Relay] } else { vec![] };
    let mut session = Session::connected(attach(), connection, actions).await;
    tokio::spawn(async move {
        let (mut from, mut to) = tokio::io::split(backend);
        tokio::io::copy(&mut from, &mut to).await.unwrap();
        to.shutdown().await.unwrap();
    });
    let client = session.client.clone();
    tokio::spawn(async move {
        for piece in pieces {
            client.send(ClientEvent::Input(piece.into())).unwrap();
            tokio::task::yield_now().await;
        }
        client.send(ClientEvent::InputClosed).unwrap();
    });
    let mut returned = Vec::new();
    loop {
        tokio::select! {
            Some(step) = session.steps.recv() => {
                let actions: Vec<_> = step.events.iter().filter_map(|event| match event {
                    SessionEvent::Input(bytes) => Some(Action::SendBinary(bytes.clone())),
                    SessionEvent::Binary(bytes) => Some(Action::Output(bytes.clone())),
                    SessionEvent::InputClosed => Some(Action::CloseSend),
                    _ => None,
                }).collect();
                step.answer(actions);
            }
            seen = session.seen.recv() => match seen {
                Some(Seen::Output(bytes)) => returned.extend_from_slice(&bytes),
                Some(Seen::Finished(outcome)) => {
                    assert_eq!(outcome, Outcome::Exit(0));
                    return returned;
                }
                other => panic!("{other:?}"),
            },
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_comes_back_from_an_echo_is_what_was_sent(
        pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..3000), 0..40),
        buffer in 1_usize..5000,
        relays in any::<bool>(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let returned = runtime.block_on(soon("the end of an echo", echo(pieces.clone(), buffer, relays)));
        prop_assert_eq!(returned, pieces.concat());
    }
}
