//! Events, actions and the state.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::Instant,
};
use vk_provider::{MAX_SESSION_STATE, TerminalSize};

use super::*;

#[tokio::test(start_paused = true)]
async fn the_first_event_is_the_backends_answer_whatever_the_client_did_before() {
    let mut session = Session::dialling(exec(), Ok(opened()));
    session.input(b"early");
    tokio::task::yield_now().await;
    let answer = Answer { status: 101, headers: vec![("upgrade".into(), "tcp".into())], body: vec![] };
    session.dialled(Ok(Dialled::Opened(answer.clone(), Connection::None)));
    let step = session.step_for([SessionEvent::Opened(answer)]).await;
    assert_eq!(step.state, b"begun");
    step.answer([]);
    session.step_for([input(b"early")]).await.answer([Action::Exit(0)]);
    assert_eq!(session.finished().await, Outcome::Exit(0));
}

#[tokio::test(start_paused = true)]
async fn what_the_client_does_comes_in_order_and_bytes_are_joined_while_a_step_runs() {
    let mut session = Session::connected(exec(), Connection::None, []).await;
    session.input(b"a");
    let first = session.step_for([input(b"a")]).await;
    let size = TerminalSize { columns: 80, rows: 24 };
    session.input(b"b");
    session.input(b"c");
    session.does(ClientEvent::Resized(size));
    session.input(b"d");
    session.does(ClientEvent::InputClosed);
    tokio::time::sleep(Duration::from_secs(1)).await;
    first.answer([]);
    let events = [input(b"bc"), SessionEvent::Resized(size), input(b"d"), SessionEvent::InputClosed];
    session.step_for(events).await.answer([Action::Exit(0)]);
    session.finished().await;
}

#[tokio::test(start_paused = true)]
async fn what_a_websocket_says_comes_message_by_message() {
    let (connection, peer) = websocket();
    let mut session = Session::connected(exec(), connection, []).await;
    session.input(b"x");
    let first = session.step_for([input(b"x")]).await;
    peer.send(Message::Text("a".into()));
    peer.send(Message::Binary(Bytes::from_static(b"b")));
    peer.send(Message::Binary(Bytes::from_static(b"c")));
    peer.send(Message::Close(Ending { code: Some(4000), reason: "done".into() }));
    tokio::time::sleep(Duration::from_secs(1)).await;
    first.answer([]);
    let ending = Ending { code: Some(4000), reason: "done".into() };
    let events = [
        SessionEvent::Text("a".into()),
        SessionEvent::Binary(b"b".to_vec()),
        SessionEvent::Binary(b"c".to_vec()),
        SessionEvent::Disconnected(ending),
    ];
    session.step_for(events).await.answer([Action::Exit(3)]);
    assert_eq!(session.finished().await, Outcome::Exit(3));
}

#[tokio::test(start_paused = true)]
async fn bytes_of_a_connection_come_as_binary_events() {
    let (connection, mut backend) = bytes(1024);
    let mut session = Session::connected(exec(), connection, []).await;
    backend.write_all(b"abc").await.unwrap();
    session.step_for([SessionEvent::Binary(b"abc".to_vec())]).await.answer([]);
    drop(backend);
    session.step_for([disconnected()]).await.answer([Action::Exit(0)]);
    session.finished().await;
}

#[tokio::test(start_paused = true)]
async fn a_websocket_is_sent_text_binary_and_a_close() {
    let (connection, mut peer) = websocket();
    let actions = [Action::SendText("t".into()), Action::SendBinary(b"b".to_vec()), Action::CloseSend];
    let session = Session::connected(attach(), connection, actions).await;
    assert_eq!(peer.received().await, Some(Message::Text("t".into())));
    assert_eq!(peer.received().await, Some(Message::Binary(Bytes::from_static(b"b"))));
    let close = Message::Close(Ending { code: Some(1000), reason: String::new() });
    assert_eq!(peer.received().await, Some(close));
    drop(session);
}

#[tokio::test(start_paused = true)]
async fn a_byte_connection_is_sent_bytes_and_a_half_close() {
    let (connection, mut backend) = bytes(1024);
    let actions = [Action::SendBinary(b"ab".to_vec()), Action::SendBinary(b"c".to_vec()), Action::CloseSend];
    let mut session = Session::connected(exec(), connection, actions).await;
    let mut sent = Vec::new();
    backend.read_to_end(&mut sent).await.unwrap();
    assert_eq!(sent, b"abc");
    // The other half is still open.
    backend.write_all(b"x").await.unwrap();
    session.step_for([SessionEvent::Binary(b"x".to_vec())]).await.answer([Action::CloseSend, Action::Exit(0)]);
    session.finished().await;
}

#[tokio::test(start_paused = true)]
async fn output_and_error_output_reach_the_client_in_order() {
    let actions = [output(b"1"), Action::ErrorOutput(b"2".to_vec()), output(b"3")];
    let mut session = Session::connected(exec(), Connection::None, actions).await;
    assert_eq!(session.seen().await, seen_output(b"1"));
    assert_eq!(session.seen().await, Seen::ErrorOutput(Bytes::from_static(b"2")));
    assert_eq!(session.seen().await, seen_output(b"3"));
}

#[tokio::test(start_paused = true)]
async fn a_timer_wakes_once_and_is_replaced_by_the_next() {
    let wake = |seconds| Action::WakeAfter(Duration::from_secs(seconds));
    let mut session = Session::connected(exec(), Connection::None, [wake(10), wake(20)]).await;
    let began = Instant::now();
    session.step_for([SessionEvent::Woken]).await.answer([]);
    assert_eq!(began.elapsed().as_secs(), 20);
    assert!(timeout(Duration::from_secs(3600), session.steps.recv()).await.is_err(), "woken twice");
    session.input(b"a");
    session.step_for([input(b"a")]).await.answer([wake(0)]);
    let began = Instant::now();
    session.step_for([SessionEvent::Woken]).await.answer([Action::Exit(0)]);
    assert!(began.elapsed() < Duration::from_millis(10));
    session.finished().await;
}

#[tokio::test(start_paused = true)]
async fn a_timer_that_runs_out_while_a_step_replaces_it_does_not_wake() {
    let wake = |seconds| Action::WakeAfter(Duration::from_secs(seconds));
    let mut session = Session::connected(exec(), Connection::None, [wake(1)]).await;
    session.input(b"a");
    let step = session.step_for([input(b"a")]).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    step.answer([wake(100)]);
    let began = Instant::now();
    session.step_for([SessionEvent::Woken]).await.answer([Action::Exit(0)]);
    assert_eq!(began.elapsed().as_secs(), 100);
    session.finished().await;
}

#[tokio::test(start_paused = true)]
async fn a_timer_goes_on_when_a_step_says_nothing_of_it() {
    let wake = Action::WakeAfter(Duration::from_secs(10));
    let mut session = Session::connected(exec(), Connection::None, [wake]).await;
    let began = Instant::now();
    tokio::time::sleep(Duration::from_secs(5)).await;
    session.input(b"a");
    session.step_for([input(b"a")]).await.answer([]);
    session.step_for([SessionEvent::Woken]).await.answer([Action::Exit(0)]);
    assert_eq!(began.elapsed().as_secs(), 10);
    session.finished().await;
}

#[tokio::test(start_paused = true)]
async fn the_state_is_handed_back_until_there_is_a_new_one() {
    let mut session = Session::connected(exec(), Connection::None, []).await;
    for (state, new) in [("begun", None), ("begun", Some("second")), ("second", None), ("second", Some(""))] {
        session.input(b"a");
        let step = session.step().await;
        assert_eq!(step.state, state.as_bytes());
        step.progress(new.map(Into::into), []);
    }
    session.input(b"a");
    let step = session.step().await;
    assert_eq!(step.state, b"");
    step.progress(Some(vec![0; MAX_SESSION_STATE]), []);
    session.input(b"a");
    session.step().await.progress(Some(vec![0; MAX_SESSION_STATE + 1]), [Action::Exit(0)]);
    let message = message_of(session.finished().await);
    assert!(message.contains("65537 bytes; at most 65536"), "{message}");
}

#[tokio::test(start_paused = true)]
async fn a_state_that_is_too_large_from_the_beginning_fails_the_session() {
    let opened = Opened { state: vec![0; MAX_SESSION_STATE + 1], transport: Transport::None };
    let session = Session::dialling(exec(), Ok(opened));
    let message = message_of(session.finished().await);
    assert!(message.contains("65537 bytes"), "{message}");
}

#[tokio::test(start_paused = true)]
async fn an_action_that_is_impossible_fails_the_session_and_is_named() {
    let none = || Connection::None;
    let stream = || bytes(16).0;
    let text = || Action::SendText("t".into());
    let binary = || Action::SendBinary(b"b".to_vec());
    for (connection, actions, named) in [
        (none(), vec![text()], "send-text, but there is no connection"),
        (none(), vec![binary()], "send-binary, but there is no connection"),
        (none(), vec![Action::Relay], "relay, but there is no connection"),
        (stream(), vec![text()], "send-text, but the connection to the backend carries bytes"),
        (stream(), vec![Action::CloseSend, binary()], "send-binary, but it had asked for close-send"),
    ] {
        // What came before it is still delivered.
        let actions = [output(b"before")].into_iter().chain(actions);
        let mut session = Session::connected(exec(), connection, actions).await;
        assert_eq!(session.seen().await, seen_output(b"before"));
        let message = message_of(session.finished().await);
        assert!(message.contains(named), "{message}");
    }
}

#[tokio::test(start_paused = true)]
async fn closing_what_cannot_be_sent_to_changes_nothing() {
    let mut session = Session::connected(exec(), Connection::None, [Action::CloseSend, output(b"a")]).await;
    assert_eq!(session.seen().await, seen_output(b"a"));
}

/// What it holds on the heap is small too, but no part of this.
#[test]
fn the_future_of_a_session_is_small() {
    let input = Input { events: mpsc::unbounded_channel().1, taken: Arc::default(), gone: CancellationToken::new() };
    let client = Client { input: Box::new(input), output: Box::new(Output(mpsc::channel(1).0)) };
    let provider = Provider { opened: Mutex::new(None), dialled: Mutex::new(None), steps: mpsc::unbounded_channel().0 };
    let run = super::super::run(Arc::new(provider), pod(), exec(), client, CancellationToken::new());
    assert!(size_of_val(&run) < 4096, "{} bytes", size_of_val(&run));
}
