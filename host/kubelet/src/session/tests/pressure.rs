//! Sides that do not keep up.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::Instant,
};

use super::{super::waiting::STEP_BYTES, *};

/// Far more than all buffers together.
const FLOOD: usize = 16 << 20;

/// How much a backend could write before nobody took any more.
async fn flood(backend: &mut DuplexStream) -> usize {
    let mut written = 0;
    while written < FLOOD {
        match timeout(Duration::from_secs(60), backend.write(&[7; 16 << 10])).await {
            Ok(length) => written += length.unwrap(),
            Err(_) => break,
        }
    }
    written
}

#[tokio::test(start_paused = true)]
async fn a_backend_is_not_read_while_the_client_takes_nothing() {
    let (connection, mut backend) = bytes(1024);
    let session = Session::connected(SessionRequest::PortForward(80), connection, [Action::Relay]).await;
    let written = flood(&mut backend).await;
    assert!((64 << 10..1 << 20).contains(&written), "{written} bytes were taken from the backend");
    drop(session);
}

#[tokio::test(start_paused = true)]
async fn neither_side_is_read_while_a_step_takes_its_time() {
    let (connection, mut backend) = bytes(1024);
    let mut session = Session::connected(exec(), connection, []).await;
    session.input(b"a");
    let step = session.step().await;
    for _ in 0..FLOOD / STEP_BYTES {
        session.does(ClientEvent::Input(Bytes::from(vec![0; STEP_BYTES])));
    }
    let written = flood(&mut backend).await;
    assert!(written < 1 << 20, "{written} bytes were taken from the backend");
    step.answer([]);
    let size: usize = session.step().await.events.iter().map(bytes_of).sum();
    assert!(size > 0 && size <= STEP_BYTES, "{size} bytes in one step");
    assert!(session.taken.load(Ordering::Relaxed) <= 3, "the client was read from");
}

fn bytes_of(event: &SessionEvent) -> usize {
    match event {
        SessionEvent::Input(bytes) | SessionEvent::Binary(bytes) => bytes.len(),
        _ => 0,
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_is_not_read_while_the_backend_takes_nothing() {
    let (connection, backend) = bytes(1024);
    let session = Session::connected(SessionRequest::PortForward(80), connection, [Action::Relay]).await;
    for _ in 0..FLOOD / (16 << 10) {
        session.does(ClientEvent::Input(Bytes::from(vec![0; 16 << 10])));
    }
    tokio::time::sleep(Duration::from_secs(60)).await;
    let taken = session.taken.load(Ordering::Relaxed);
    assert!((4..64).contains(&taken), "{taken} pieces were taken from the client");
    drop(backend);
}

#[tokio::test(start_paused = true)]
async fn a_backend_that_stops_taking_input_until_its_output_is_read_goes_on() {
    // A pipe as narrow as `cat`'s: it takes input only while its output is taken.
    let (connection, backend) = bytes(1024);
    let mut session = Session::connected(exec(), connection, []).await;
    let (mut from, mut to) = tokio::io::split(backend);
    tokio::spawn(async move { tokio::io::copy(&mut from, &mut to).await.unwrap() });
    for _ in 0..8 {
        session.does(ClientEvent::Input(Bytes::from(vec![0; STEP_BYTES])));
    }
    session.does(ClientEvent::InputClosed);
    let mut returned = 0;
    loop {
        tokio::select! {
            Some(step) = session.steps.recv() => {
                let actions: Vec<_> = step.events.iter().map(|event| match event {
                    SessionEvent::Input(bytes) => Action::SendBinary(bytes.clone()),
                    SessionEvent::InputClosed => Action::CloseSend,
                    SessionEvent::Binary(bytes) => Action::Output(bytes.clone()),
                    SessionEvent::Disconnected(_) => Action::Exit(0),
                    event => panic!("{event:?}"),
                }).collect();
                step.answer(actions);
            }
            Some(seen) = session.seen.recv() => match seen {
                Seen::Output(bytes) => returned += bytes.len(),
                Seen::Finished(Outcome::Exit(0)) => break,
                other => panic!("{other:?}"),
            },
            () = tokio::time::sleep(Duration::from_secs(60)) => panic!("stuck after {returned} bytes"),
        }
    }
    assert_eq!(returned, 8 * STEP_BYTES);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_goes_ends_a_session_whose_output_nobody_takes() {
    let (connection, mut backend) = bytes(1024);
    let mut session = Session::connected(exec(), connection, [Action::Relay]).await;
    flood(&mut backend).await;
    session.goes();
    session.step_for([SessionEvent::Abandoned]).await.answer([]);
    soon("the end", session.run).await.unwrap();
    let mut rest = Vec::new();
    soon("the close of the backend's connection", backend.read_to_end(&mut rest)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_client_that_goes_ends_a_session_whose_backend_takes_nothing() {
    let (connection, backend) = bytes(1024);
    let mut session = Session::connected(exec(), connection, [Action::Relay]).await;
    for _ in 0..FLOOD / (16 << 10) {
        session.does(ClientEvent::Input(Bytes::from(vec![0; 16 << 10])));
    }
    tokio::time::sleep(Duration::from_secs(60)).await;
    let began = Instant::now();
    session.goes();
    session.step_for([SessionEvent::Abandoned]).await.answer([]);
    assert_eq!(soon("the end", session.run).await.unwrap(), Outcome::Abandoned);
    assert!(began.elapsed() < Duration::from_secs(60));
    drop(backend);
}

#[tokio::test(start_paused = true)]
async fn a_backend_is_not_read_without_end_while_it_sends_nothing_in_many_messages() {
    const MESSAGES: usize = 100_000;
    let (connection, peer) = websocket();
    let mut session = Session::connected(exec(), connection, [output(b"1"), output(b"2"), Action::Relay]).await;
    for _ in 0..MESSAGES {
        peer.send(Message::Binary(Bytes::new()));
    }
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(peer.to.len() > MESSAGES * 9 / 10, "{} messages are left", peer.to.len());
    // It goes on when the client does.
    assert_eq!(session.seen().await, seen_output(b"1"));
    assert_eq!(session.seen().await, seen_output(b"2"));
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(peer.to.len(), 0);
}

#[tokio::test(start_paused = true)]
async fn no_step_is_taken_while_very_many_pieces_of_nothing_wait_for_the_client() {
    let wake = Action::WakeAfter(Duration::ZERO);
    let first = [output(b"1"), output(b"2"), wake.clone()];
    let mut session = Session::connected(exec(), Connection::None, first).await;
    let mut made = 0;
    while let Ok(Some(step)) = timeout(Duration::from_secs(60), session.steps.recv()).await {
        step.answer((0..1000).map(|_| output(b"")).chain([wake.clone()]));
        made += 1;
        assert!(made < 1000, "a million pieces wait for the client");
    }
    assert_eq!(session.seen().await, seen_output(b"1"));
    assert_eq!(session.seen().await, seen_output(b"2"));
    session.step_for([SessionEvent::Woken]).await.answer([Action::Exit(0)]);
    assert_eq!(session.finished().await, Outcome::Exit(0));
}

#[tokio::test(start_paused = true)]
async fn a_backend_that_closes_is_noticed_while_the_client_takes_nothing() {
    let (connection, mut backend) = bytes(1024);
    let actions = [output(b"1"), output(b"2"), output(b"3"), Action::Relay];
    let mut session = Session::connected(exec(), connection, actions).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    backend.shutdown().await.unwrap();
    session.step_for([disconnected()]).await.answer([Action::Exit(5)]);
    for expected in [b"1", b"2", b"3"] {
        assert_eq!(session.seen().await, seen_output(expected));
    }
    assert_eq!(session.finished().await, Outcome::Exit(5));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_takes_nothing_for_hours_is_given_up() {
    let actions = [output(b"1"), output(b"2"), output(b"3")];
    let began = Instant::now();
    let mut session = Session::connected(exec(), Connection::None, actions).await;
    session.step_for([SessionEvent::Abandoned]).await.answer([]);
    assert!(began.elapsed() >= Duration::from_secs(4 * 60 * 60));
    soon("the end", session.run).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn no_step_is_taken_while_megabytes_wait_for_the_client() {
    let wake = Action::WakeAfter(Duration::ZERO);
    let mut session = Session::connected(exec(), Connection::None, [wake.clone()]).await;
    let mut made = 0;
    while let Ok(Some(step)) = timeout(Duration::from_secs(60), session.steps.recv()).await {
        step.answer([Action::Output(vec![0; 1 << 20]), wake.clone()]);
        made += 1;
        assert!(made < 10, "{made} MiB wait for the client");
    }
    // It goes on when they are taken.
    let mut taken = 0;
    while session.steps.is_empty() {
        let Seen::Output(bytes) = session.seen().await else { panic!("no output") };
        taken += bytes.len();
        tokio::task::yield_now().await;
    }
    assert!(taken <= made << 20);
}

#[tokio::test(start_paused = true)]
async fn much_input_comes_in_few_large_steps() {
    let mut session = Session::connected(exec(), Connection::None, []).await;
    for _ in 0..FLOOD / (16 << 10) {
        session.does(ClientEvent::Input(Bytes::from(vec![0; 16 << 10])));
    }
    let (mut steps, mut bytes) = (0, 0);
    while bytes < FLOOD {
        let step = session.step().await;
        // As long as a step may take.
        tokio::time::sleep(Duration::from_millis(1)).await;
        steps += 1;
        bytes += step.events.iter().map(bytes_of).sum::<usize>();
        step.answer([]);
    }
    assert!(steps <= FLOOD / STEP_BYTES * 5 / 4, "{steps} steps");
}
