//! Sessions: what is asked for and what happens goes in, what is to be done comes out.

use std::time::Duration;

use tokio::{task::JoinSet, time::Instant};
use vk_provider::{
    Action, Answer, Attach, Connection, Dialled, Ending, Error, ErrorKind, Exec, Fault, LogQuery, Logs as _, PodId,
    Provider as _, SessionEvent as Event, SessionRequest as Request, SessionState, Sessions as _, TerminalSize,
    Transport,
};
use vk_runtime::{Generation, Limits, Timeouts};

use crate::{
    guests::guest,
    probe::{Logs, Probe, id},
};

/// The provider of sessions with nothing granted.
pub(crate) fn generation() -> Generation {
    Generation { wasm: guest("sessions"), label: "sessions.wasm".into(), ..crate::probe::generation() }
}

pub(crate) fn named(name: &str) -> Generation {
    let mut generation = generation();
    generation.startup.settings = format!(r#"{{"name": "{name}"}}"#).into();
    generation
}

fn with_limits(limits: Limits) -> Generation {
    let mut generation = generation();
    generation.sandbox.limits = limits;
    generation
}

pub(crate) fn exec(line: &str) -> Request {
    let command = line.split(' ').map(ToOwned::to_owned).collect();
    Request::Exec(Exec { container: "app".into(), command, stdin: true, tty: None })
}

/// A session without a connection, whose steps are made by hand.
struct Session<'a> {
    probe: &'a Probe,
    pod: PodId,
    state: SessionState,
}

impl<'a> Session<'a> {
    async fn open(probe: &'a Probe, request: Request) -> (Self, Transport) {
        let pod = id("uid", None);
        let opened = probe.runtime.open(&pod, &request).await.unwrap();
        (Self { probe, pod, state: opened.state }, opened.transport)
    }

    async fn step(&mut self, events: Vec<Event>) -> Result<Vec<Action>, Error> {
        let progress = self.probe.runtime.step(&self.pod, &self.state, events).await?;
        self.state = progress.state.unwrap_or_else(|| self.state.clone());
        Ok(progress.actions)
    }

    async fn command(&mut self, command: &str) -> Result<Vec<Action>, Error> {
        self.step(vec![Event::Input(format!("{command}\n").into())]).await
    }

    /// What a command has the session say.
    async fn says(&mut self, command: &str) -> String {
        spoken(&self.command(command).await.unwrap())
    }
}

/// All output, which is all that is to be done.
fn spoken(actions: &[Action]) -> String {
    let bytes = |action: &Action| match action {
        Action::Output(bytes) => bytes.clone(),
        other => panic!("{other:?}"),
    };
    String::from_utf8(actions.iter().flat_map(bytes).collect()).unwrap()
}

#[tokio::test]
async fn a_request_arrives_as_it_was_asked_and_says_how_the_backend_is_reached() {
    let probe = Probe::start(generation()).await;
    let size = Some(TerminalSize { columns: 80, rows: 24 });
    let headers = vec![("x-session".to_owned(), "1".to_owned())];
    let word = |text: &str| text.to_owned();
    let attach = |container: &str| Request::Attach(Attach { container: container.into(), stdin: false, tty: size });
    for (request, transport, told) in [
        (
            exec("websocket ws://backend.test/x?y v5 v4"),
            Transport::WebSocket {
                url: word("ws://backend.test/x?y"),
                headers: headers.clone(),
                protocols: vec![word("v5"), word("v4")],
            },
            "exec in app stdin=true tty=none of default/web\n",
        ),
        (
            attach("upgrade http+unix://%2Frun%2Fa.sock/attach tcp {}"),
            Transport::Upgrade {
                method: word("POST"),
                url: word("http+unix://%2Frun%2Fa.sock/attach"),
                headers,
                body: b"{}".to_vec(),
                protocol: word("tcp"),
            },
            "attach stdin=false tty=80x24 of default/web\n",
        ),
        (
            Request::PortForward(5432),
            Transport::Tcp { host: word("127.0.0.1"), port: 5432 },
            "port-forward to 5432 of default/web\n",
        ),
        (exec("none"), Transport::None, "exec in app stdin=true tty=none of default/web\n"),
    ] {
        let (mut session, found) = Session::open(&probe, request).await;
        assert_eq!(found, transport);
        assert_eq!(session.says("request").await, told);
    }
}

#[tokio::test]
async fn every_event_arrives_in_order() {
    let probe = Probe::start(generation()).await;
    let (mut session, _) = Session::open(&probe, exec("none")).await;
    let answer = |status, body: &str| Answer {
        status,
        headers: vec![("x-other".into(), "-".into()), ("x-backend".into(), "b".into())],
        body: body.into(),
    };
    let ending = |code, reason: &str| Ending { code, reason: reason.into() };
    let actions = session.step(vec![
        Event::Opened(answer(101, "")),
        Event::Refused(answer(403, "not me")),
        Event::Text("grüße".into()),
        Event::Binary(b"bytes".to_vec()),
        Event::Disconnected(ending(Some(4000), "enough")),
        Event::Disconnected(ending(None, "")),
        Event::Input(b"output typed".to_vec()),
        Event::InputClosed,
        Event::Resized(TerminalSize { columns: 132, rows: 50 }),
        Event::Woken,
    ]);
    let expected = "opened 101 [b] \nrefused 403 [b] not me\ntext grüße\nbinary bytes\ndisconnected Some(4000) enough\n\
                    disconnected None \ntypedinput-closed\nresized 132x50\nwoken\n";
    assert_eq!(spoken(&actions.await.unwrap()), expected);

    let logs = Logs::collect();
    assert_eq!(session.step(vec![Event::Abandoned]).await.unwrap(), []);
    let line = logs.line_with("abandoned by the client of web");
    assert!(line.contains("pod=\"default/web\""), "{line}");
}

#[tokio::test]
async fn every_action_arrives_in_order() {
    let probe = Probe::start(generation()).await;
    let (mut session, _) = Session::open(&probe, exec("none")).await;
    let commands = [
        "send-text grüße",
        "send-binary bytes",
        "close-send",
        "output out",
        "error-output err",
        "relay",
        "wake-after 1500",
        "exit -1",
        "fail no \u{1b}[31mluck",
    ];
    let events = commands.iter().map(|command| Event::Input((*command).into())).collect();
    let actions = session.step(events).await.unwrap();
    let expected = [
        Action::SendText("grüße".into()),
        Action::SendBinary(b"bytes".to_vec()),
        Action::CloseSend,
        Action::Output(b"out".to_vec()),
        Action::ErrorOutput(b"err".to_vec()),
        Action::Relay,
        Action::WakeAfter(Duration::from_millis(1_500)),
        Action::Exit(-1),
        Action::Fail(Error::new(ErrorKind::Unavailable, "no  [31mluck")),
    ];
    assert_eq!(actions, expected);
}

#[tokio::test]
async fn the_state_is_the_callers_and_outlives_instances_and_generations() {
    let mut limited = named("first");
    limited.sandbox.limits.calls = 1;
    let probe = Probe::start(limited).await;
    let (mut session, _) = Session::open(&probe, exec("none")).await;
    assert_eq!(session.says("steps").await, "1\n");
    assert_eq!(session.says("keep-state").await, "kept\n");
    assert_eq!(session.says("steps").await, "2\n", "a step that yields no state leaves it as it was");
    assert_eq!(probe.retired("calls"), 4.0, "each call had an instance of its own");
    assert_eq!(session.says("name").await, "first\n");
    probe.runtime.replace(named("second")).await.unwrap();
    assert_eq!(session.says("name").await, "second\n");
    assert_eq!(session.says("steps").await, "5\n");
}

#[tokio::test]
async fn a_step_that_waits_while_the_component_is_replaced_goes_to_the_new_one() {
    let limits = Limits { instances: 1, ..Limits::default() };
    let probe = Probe::start(with_limits(limits)).await;
    let (runtime, pod) = (probe.runtime.clone(), id("uid", None));
    let state = runtime.open(&pod, &exec("none")).await.unwrap().state;
    let step = |command: &'static str| {
        let (runtime, pod, state) = (runtime.clone(), pod.clone(), state.clone());
        tokio::spawn(async move { runtime.step(&pod, &state, vec![Event::Input(command.into())]).await })
    };
    let occupying = step("sleep 4000");
    probe.until(|probe| probe.instances("busy") == 1.0).await;
    let waiting = step("name");
    probe.until(|probe| probe.metric("vk_provider_calls_waiting") == 1.0).await;
    probe.runtime.replace(named("second")).await.unwrap();
    assert_eq!(spoken(&waiting.await.unwrap().unwrap().actions), "second\n");
    assert!(!occupying.is_finished());
    occupying.abort();
}

#[tokio::test(start_paused = true)]
async fn a_fault_ends_one_step_and_nothing_else() {
    let probe = Probe::start(generation()).await;
    let (mut other, _) = Session::open(&probe, exec("none")).await;
    let (mut session, _) = Session::open(&probe, exec("none")).await;
    for (command, fault, message) in [
        ("trap", Fault::Trap, "the provider trapped in step-session"),
        ("sleep 60000", Fault::Timeout, "did not answer step-session within 5 s (sandbox.timeouts.step-session)"),
        ("large-state 65537", Fault::Answer, "malformed answer to step-session: the state has 65537 bytes, more than"),
        ("large-output 4194305", Fault::Answer, "an action has 4194305 bytes, more than 4194304"),
        ("many-actions 1001", Fault::Answer, "there are 1001 actions, more than 1000"),
    ] {
        let error = session.command(command).await.unwrap_err();
        assert_eq!(error.fault, Some(fault), "{error:?}");
        assert!(error.message.contains(message), "{error:?}");
        assert_eq!(other.says("output ok").await, "ok");
    }
    assert_eq!(other.says("steps").await, "6\n");
    assert_eq!(session.says("steps").await, "1\n", "what failed left no trace");
    assert_eq!(probe.metric("vk_provider_calls_total{function=\"step-session\",outcome=\"trap\"}"), 1.0);
    assert_eq!(probe.metric("vk_provider_calls_total{function=\"step-session\",outcome=\"ok\"}"), 7.0);
    assert_eq!(probe.metric("vk_provider_calls_total{function=\"open-session\",outcome=\"ok\"}"), 2.0);
}

#[tokio::test]
async fn a_step_that_computes_without_end_is_ended() {
    let limits = Limits { cpu: Duration::from_millis(50), ..Limits::default() };
    let probe = Probe::start(with_limits(limits)).await;
    let (mut session, _) = Session::open(&probe, exec("none")).await;
    let error = session.command("spin").await.unwrap_err();
    assert_eq!(error.fault, Some(Fault::Cpu), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn a_session_that_does_not_begin_says_how() {
    let timeouts = Timeouts { open_session: Duration::from_secs(7), ..Timeouts::default() };
    let probe = Probe::start(with_limits(Limits { timeouts, ..Limits::default() })).await;
    for (line, kind, fault, message) in [
        ("bash", ErrorKind::NotFound, None, "no such bash"),
        ("trap", ErrorKind::Internal, Some(Fault::Trap), "the provider trapped in open-session"),
        ("sleep 60000", ErrorKind::Unavailable, Some(Fault::Timeout), "within 7 s (sandbox.timeouts.open-session)"),
        ("large-state 65537", ErrorKind::Internal, Some(Fault::Answer), "the state has 65537 bytes, more than 65536"),
    ] {
        let error = probe.runtime.open(&id("uid", None), &exec(line)).await.unwrap_err();
        assert_eq!((error.kind, error.fault), (kind, fault), "{error:?}");
        assert!(error.message.contains(message), "{error:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn steps_at_their_bound_do_not_delay_calls_on_pods() {
    let probe = Probe::start(generation()).await;
    let pod = id("uid", None);
    let state = probe.runtime.open(&pod, &exec("none")).await.unwrap().state;
    let mut steps = JoinSet::new();
    for _ in 0..100 {
        let (runtime, pod, state) = (probe.runtime.clone(), pod.clone(), state.clone());
        steps.spawn(async move { runtime.step(&pod, &state, vec![Event::Input(b"sleep 4000".to_vec())]).await });
    }
    probe.until(|probe| probe.instances("busy") == 8.0).await;
    let begin = Instant::now();
    probe.runtime.get(&pod).await.unwrap();
    probe.runtime.poll(None).await.unwrap();
    assert!(begin.elapsed() < Duration::from_secs(1), "waited {:?}", begin.elapsed());
}

#[tokio::test]
async fn logs_that_are_not_exported_are_unsupported() {
    let probe = Probe::start(generation()).await;
    let query = LogQuery {
        pod: id("uid", None),
        container: "app".into(),
        previous: false,
        timestamps: false,
        tail_lines: None,
        since: None,
        limit_bytes: None,
    };
    let error = probe.runtime.read(&query, None).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unsupported);
    assert_eq!(error.message, "the provider sessions 1.0 does not implement vk:provider/logs@0.1.0");
}

#[tokio::test]
async fn what_is_dialled_is_what_the_generation_that_serves_may_reach() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let transport = Transport::Tcp { host: "127.0.0.1".into(), port };
    let probe = Probe::start(generation()).await;
    let logs = Logs::collect();
    let error = probe.runtime.dial(&transport).await.err().unwrap();
    assert_eq!(error.kind, ErrorKind::PermissionDenied);
    let message = format!("sandbox.net does not grant tcp://127.0.0.1:{port} (asked for by sessions 1.0)");
    assert_eq!(error.message, message);
    assert!(logs.line_with(&message).contains("WARN"));

    let mut granted = generation();
    granted.sandbox.egress.grants = vec![format!("tcp://127.0.0.1:{port}").parse().unwrap()];
    probe.runtime.replace(granted).await.unwrap();
    let dialled = probe.runtime.dial(&transport).await.unwrap();
    assert!(matches!(dialled, Dialled::Opened(_, Connection::Bytes(_))));
    listener.accept().await.unwrap();
    assert_eq!(probe.metric("vk_egress_requests_total{decision=\"denied\"}"), 1.0);
    assert_eq!(probe.metric("vk_egress_requests_total{decision=\"allowed\"}"), 1.0);

    let unused = Transport::Tcp { host: String::new(), port };
    assert_eq!(probe.runtime.dial(&unused).await.err().unwrap().kind, ErrorKind::Invalid);
    drop(listener);
    assert_eq!(probe.runtime.dial(&transport).await.err().unwrap().kind, ErrorKind::Unavailable);
    probe.runtime.close(Duration::ZERO).await;
    let stopping = probe.runtime.dial(&Transport::None).await.err().unwrap();
    assert_eq!(stopping.message, "the host is stopping");
}
