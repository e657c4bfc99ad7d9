//! How sessions end.

use tokio::time::Instant;

use super::*;

#[tokio::test(start_paused = true)]
async fn exit_ends_the_session_with_its_code_after_all_output() {
    for (code, told) in [(0, 0), (1, 1), (42, 42), (137, 137), (255, 255), (256, 255), (-1, 255), (i32::MIN, 255)] {
        let actions = [output(b"a"), Action::ErrorOutput(b"b".to_vec()), Action::Exit(code), output(b"too late")];
        let mut session = Session::connected(exec(), Connection::None, actions).await;
        assert_eq!(session.seen().await, seen_output(b"a"));
        assert_eq!(session.seen().await, Seen::ErrorOutput(Bytes::from_static(b"b")));
        assert_eq!(session.finished().await, Outcome::Exit(told), "for {code}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_sent_before_an_exit_reaches_the_backend_and_a_websocket_is_closed() {
    let (connection, mut peer) = websocket();
    let actions = [Action::SendText("bye".into()), Action::Exit(0)];
    let session = Session::connected(exec(), connection, actions).await;
    assert_eq!(peer.received().await, Some(Message::Text("bye".into())));
    assert!(matches!(peer.received().await, Some(Message::Close(_))));
    assert_eq!(peer.received().await, None);
    assert_eq!(session.finished().await, Outcome::Exit(0));
}

#[tokio::test(start_paused = true)]
async fn a_backend_that_takes_nothing_does_not_hold_up_the_end() {
    let (connection, backend) = bytes(1);
    let actions = [Action::SendBinary(vec![0; 100]), Action::Exit(0)];
    let began = Instant::now();
    let session = Session::connected(exec(), connection, actions).await;
    assert_eq!(session.finished().await, Outcome::Exit(0));
    assert!(began.elapsed() < Duration::from_secs(10));
    drop(backend);
}

#[tokio::test(start_paused = true)]
async fn fail_ends_the_session_with_the_providers_error() {
    let told = error(ErrorKind::NotFound);
    let mut session = Session::connected(exec(), Connection::None, [output(b"a"), Action::Fail(told.clone())]).await;
    assert_eq!(session.seen().await, seen_output(b"a"));
    assert_eq!(session.finished().await, Outcome::Failed(told));
}

#[tokio::test(start_paused = true)]
async fn a_session_that_cannot_be_opened_or_dialled_fails_with_that_error() {
    let told = error(ErrorKind::Unsupported);
    let session = Session::dialling(exec(), Err(told.clone()));
    assert_eq!(session.finished().await, Outcome::Failed(told));

    let told = error(ErrorKind::PermissionDenied);
    let mut session = Session::dialling(exec(), Ok(opened()));
    session.dialled(Err(told.clone()));
    assert_eq!(session.finished().await, Outcome::Failed(told));
}

#[tokio::test(start_paused = true)]
async fn a_step_that_fails_ends_its_session() {
    let mut session = Session::connected(exec(), Connection::None, []).await;
    session.input(b"a");
    let told = Error::fault(vk_provider::Fault::Trap, "step trapped: unreachable");
    session.step().await.fail(told.clone());
    assert_eq!(session.finished().await, Outcome::Failed(told));
}

#[tokio::test(start_paused = true)]
async fn a_disconnect_fails_an_exec_and_ends_the_others_well() {
    for (request, expected) in
        [(exec(), None), (attach(), Some(Outcome::Exit(0))), (SessionRequest::PortForward(80), Some(Outcome::Exit(0)))]
    {
        let (connection, peer) = websocket();
        let mut session = Session::connected(request, connection, []).await;
        peer.send(Message::Close(Ending { code: Some(1011), reason: "shell died".into() }));
        session.step().await.answer([output(b"last words")]);
        assert_eq!(session.seen().await, seen_output(b"last words"));
        let outcome = session.finished().await;
        match expected {
            Some(expected) => assert_eq!(outcome, expected),
            None => {
                let message = message_of(outcome);
                assert!(message.contains("code 1011") && message.contains("shell died"), "{message}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_breaks_is_a_disconnect_with_a_reason() {
    let (connection, peer) = websocket();
    let mut session = Session::connected(exec(), connection, []).await;
    peer.to.unbounded_send(Err(io::Error::other("reset by peer"))).unwrap();
    let ending = Ending { code: None, reason: "reset by peer".into() };
    session.step_for([SessionEvent::Disconnected(ending)]).await.answer([]);
    let message = message_of(session.finished().await);
    assert!(message.ends_with("reset by peer"), "{message}");
}

#[tokio::test(start_paused = true)]
async fn a_provider_may_go_on_after_a_disconnect_but_not_send() {
    let (connection, peer) = websocket();
    let mut session = Session::connected(exec(), connection, []).await;
    drop(peer);
    // It could not know before: that is no mistake.
    let actions = [Action::SendText("late".into()), Action::WakeAfter(Duration::from_secs(3))];
    session.step_for([disconnected()]).await.answer(actions);
    session.step_for([SessionEvent::Woken]).await.answer([Action::WakeAfter(Duration::ZERO)]);
    session.step_for([SessionEvent::Woken]).await.answer([Action::SendText("later".into())]);
    let message = message_of(session.finished().await);
    assert!(message.contains("send-text"), "{message}");
}

#[tokio::test(start_paused = true)]
async fn a_timer_set_earlier_does_not_keep_a_disconnected_session() {
    let (connection, peer) = websocket();
    let wake = Action::WakeAfter(Duration::from_secs(3600));
    let mut session = Session::connected(attach(), connection, [wake]).await;
    drop(peer);
    session.step_for([disconnected()]).await.answer([]);
    assert_eq!(session.finished().await, Outcome::Exit(0));
}

#[tokio::test(start_paused = true)]
async fn a_refused_connection_ends_the_session_unless_the_provider_goes_on() {
    let refused = || Answer { status: 403, headers: vec![], body: b"no".to_vec() };
    for (actions, expected) in
        [(vec![], "status 403"), (vec![Action::Fail(error(ErrorKind::PermissionDenied))], "told by the provider")]
    {
        let mut session = Session::dialling(SessionRequest::PortForward(80), Ok(opened()));
        session.dialled(Ok(Dialled::Refused(refused())));
        session.step_for([SessionEvent::Refused(refused())]).await.answer(actions);
        let message = message_of(session.finished().await);
        assert!(message.contains(expected), "{message}");
    }
    let mut session = Session::dialling(exec(), Ok(opened()));
    session.dialled(Ok(Dialled::Refused(refused())));
    session.step().await.answer([Action::WakeAfter(Duration::from_secs(1))]);
    session.step_for([SessionEvent::Woken]).await.answer([Action::Exit(126)]);
    assert_eq!(session.finished().await, Outcome::Exit(126));
}

#[tokio::test(start_paused = true)]
async fn the_provider_is_told_last_that_the_client_is_gone_and_may_only_send() {
    let (connection, mut peer) = websocket();
    let mut session = Session::connected(exec(), connection, []).await;
    session.input(b"a");
    let step = session.step_for([input(b"a")]).await;
    session.input(b"b");
    session.goes();
    tokio::time::sleep(Duration::from_secs(1)).await;
    step.progress(Some(b"newer".to_vec()), [Action::SendText("a".into())]);
    let step = session.step_for([input(b"b"), SessionEvent::Abandoned]).await;
    assert_eq!(step.state, b"newer");
    let actions = [output(b"x"), Action::SendText("kill".into()), Action::WakeAfter(Duration::ZERO), Action::Relay];
    step.answer(actions);
    assert_eq!(peer.received().await, Some(Message::Text("a".into())));
    assert_eq!(peer.received().await, Some(Message::Text("kill".into())));
    assert!(matches!(peer.received().await, Some(Message::Close(_))));
    assert_eq!(peer.received().await, None);
    assert_eq!(session.finished().await, Outcome::Abandoned);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_goes_while_the_backend_is_dialled_ends_the_dialling() {
    let mut session = Session::dialling(exec(), Ok(opened()));
    session.goes();
    session.step_for([SessionEvent::Abandoned]).await.answer([]);
    session.finished().await;
}

#[tokio::test(start_paused = true)]
async fn a_session_that_exits_is_not_abandoned_as_well() {
    let mut session = Session::connected(exec(), Connection::None, []).await;
    session.input(b"a");
    let step = session.step_for([input(b"a")]).await;
    session.goes();
    tokio::time::sleep(Duration::from_secs(1)).await;
    step.answer([Action::Exit(0)]);
    session.finished().await;

    // The client goes while its last output is on the way.
    let actions = [output(b"1"), output(b"2"), output(b"3"), Action::Exit(0)];
    let mut session = Session::connected(exec(), Connection::None, actions).await;
    assert_eq!(session.seen().await, seen_output(b"1"));
    session.goes();
    assert_eq!(soon("the end", &mut session.run).await.unwrap(), Outcome::Exit(0));
    assert!(session.steps.recv().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_does_not_take_leave_is_not_waited_for_long() {
    let mut session = Session::connected(exec(), Connection::None, []).await;
    session.goes();
    let began = Instant::now();
    let unanswered = session.step_for([SessionEvent::Abandoned]).await;
    soon("the end", session.run).await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(30));
    drop(unanswered);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_cannot_be_written_to_is_gone() {
    let mut session = Session::connected(exec(), Connection::None, []).await;
    session.input(b"a");
    let step = session.step().await;
    session.seen.close();
    step.answer([output(b"x")]);
    session.step_for([SessionEvent::Abandoned]).await.answer([]);
    assert_eq!(soon("the end", session.run).await.unwrap(), Outcome::Abandoned);
}

#[tokio::test(start_paused = true)]
async fn a_host_that_stops_tells_the_client_and_the_provider() {
    let mut session = Session::connected(exec(), Connection::None, []).await;
    session.stop.cancel();
    let Seen::Finished(outcome) = session.seen().await else { panic!("not the end") };
    assert!(message_of(outcome).contains("vk-host stops"));
    session.step_for([SessionEvent::Abandoned]).await.answer([]);
    soon("the end", session.run).await.unwrap();

    // While the backend is dialled, and while a client takes nothing.
    let mut session = Session::dialling(exec(), Ok(opened()));
    tokio::time::sleep(Duration::from_secs(1)).await;
    session.stop.cancel();
    session.step_for([SessionEvent::Abandoned]).await.answer([]);
    assert!(message_of(session.finished().await).contains("vk-host stops"));

    let actions = [output(b"1"), output(b"2"), output(b"3"), Action::Exit(0)];
    let session = Session::connected(exec(), Connection::None, actions).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    session.stop.cancel();
    assert!(message_of(soon("the end", session.run).await.unwrap()).contains("vk-host stops"));
}

#[tokio::test(start_paused = true)]
async fn a_session_that_is_dropped_closes_the_backends_connection() {
    let (connection, mut peer) = websocket();
    let session = Session::connected(exec(), connection, []).await;
    session.run.abort();
    assert_eq!(peer.received().await, None);
}
