//! What clients reach in a pod, as the host calls it.

use vk_sdk::{
    logs::Query,
    sessions::{Answer, Attach, Ending, Exec, TerminalSize, Transport, Upgrade, Websocket},
};

use super::*;
use crate::sessions::State;

fn attach(tty: bool) -> Request {
    let tty = tty.then_some(TerminalSize { columns: 80, rows: 24 });
    Request::Attach(Attach { container: "c".into(), stdin: true, tty })
}

fn exec(container: &str) -> Request {
    let command = vec!["echo".to_owned(), "a".to_owned()];
    Request::Exec(Exec { container: container.into(), command, stdin: true, tty: None })
}

fn opened() -> Event {
    Event::Opened(Answer { status: 101, headers: Vec::new(), body: Vec::new() })
}

fn disconnected(code: Option<u16>) -> Event {
    Event::Disconnected(Ending { code, reason: "why".into() })
}

/// The output in actions, the time until the next step, and the exit code.
fn sorted(actions: Vec<Action>) -> (String, Option<u32>, Option<i32>) {
    let (mut output, mut wake, mut exit) = (Vec::new(), None, None);
    for action in actions {
        match action {
            Action::Output(bytes) => output.extend(bytes),
            Action::WakeAfter(wait) => wake = Some(wait),
            Action::Exit(code) => exit = Some(code),
            other => panic!("{other:?}"),
        }
    }
    (String::from_utf8(output).unwrap(), wake, exit)
}

#[test]
fn who_attaches_with_a_terminal_sees_what_is_typed() {
    let mock = mock();
    let id = mock.create(pod("u", &[("log-every", "0s")])).unwrap().pod;
    let mut state = mock.open(id.clone(), attach(true)).unwrap().state;
    let events = vec![opened(), Event::Input(b"hi\r".to_vec())];
    assert_eq!(sorted(mock.step(&id, &mut state, events).unwrap()).0, "hi\r\nhi\r\n");
    assert_eq!(mock.delete(id.clone(), Duration::ZERO), Ok(Deletion::Gone));
    assert_eq!(sorted(mock.step(&id, &mut state, vec![Event::Woken]).unwrap()).2, Some(0));
}

#[test]
fn nobody_attaches_to_a_container_that_has_ended() {
    let mock = mock();
    let id = mock.create(pod("u", &[("run-for", "1ms"), ("exit-code", "3")])).unwrap().pod;
    sleep(Duration::from_millis(5));
    assert_eq!(mock.open(id, attach(false)).unwrap_err().kind, ErrorKind::Conflict);
}

#[test]
fn commands_run_in_containers_that_run() {
    let mock = mock();
    let id = mock.create(pod("u", &[])).unwrap().pod;
    let mut state = mock.open(id.clone(), exec("c")).unwrap().state;
    let done = sorted(mock.step(&id, &mut state, vec![opened()]).unwrap());
    assert_eq!(done, ("a\n".to_owned(), None, Some(0)));
    assert_eq!(mock.open(id, exec("x")).unwrap_err().kind, ErrorKind::NotFound);
    let late = mock.create(pod("late", &[("start-after", "1h")])).unwrap().pod;
    assert_eq!(mock.open(late, exec("c")).unwrap_err().kind, ErrorKind::Conflict);
}

#[test]
fn a_forwarded_port_echoes_or_leads_where_the_pod_says() {
    let mock = mock();
    let id = mock.create(pod("u", &[])).unwrap().pod;
    let Opened { mut state, transport } = mock.open(id.clone(), Request::PortForward(80)).unwrap();
    assert_eq!(transport, Transport::None);
    let events = vec![opened(), Event::Input(b"ab".to_vec()), Event::Input(b"c".to_vec()), Event::InputClosed];
    assert_eq!(sorted(mock.step(&id, &mut state, events).unwrap()), ("abc".to_owned(), None, Some(0)));

    let id = mock.create(pod("v", &[("port-forward", "[::1]:9000")])).unwrap().pod;
    let Opened { mut state, transport } = mock.open(id.clone(), Request::PortForward(80)).unwrap();
    assert_eq!(transport, Transport::tcp("[::1]", 9000));
    let early = vec![opened(), Event::Input(b"early".to_vec()), Event::InputClosed];
    let actions = mock.step(&id, &mut state, early).unwrap();
    assert_eq!(actions, [Action::SendBinary(b"early".to_vec()), Action::Relay]);
    assert_eq!(mock.step(&id, &mut state, vec![disconnected(None)]).unwrap(), []);
}

#[test]
fn a_command_is_connected_to_what_the_pod_says() {
    let mock = mock();
    let (websocket, upgrade) = ("ws://127.0.0.1:9/a", "http://127.0.0.1:9/b");
    for (number, (url, expected)) in [
        (websocket, Websocket::new(websocket).into()),
        (upgrade, Upgrade::post(upgrade, "tcp").into()),
        ("tcp://127.0.0.1:9", Transport::tcp("127.0.0.1", 9)),
    ]
    .into_iter()
    .enumerate()
    {
        let id = mock.create(pod(&number.to_string(), &[("exec-via", url)])).unwrap().pod;
        let Opened { mut state, transport } = mock.open(id.clone(), exec("c")).unwrap();
        assert_eq!(transport, expected);
        let mut step = |event| mock.step(&id, &mut state, vec![event]);
        assert_eq!(step(opened()).unwrap(), [Action::Relay]);
        assert_eq!(step(Event::InputClosed).unwrap(), [Action::CloseSend]);
        assert_eq!(step(disconnected(Some(1000))).unwrap(), [Action::Exit(0)]);
        let error = step(disconnected(Some(1011))).unwrap_err();
        assert_eq!(error.message, "the backend closed with code 1011: why");
        let refused = Event::Refused(Answer { status: 403, headers: Vec::new(), body: Vec::new() });
        assert_eq!(step(refused).unwrap_err().kind, ErrorKind::Unavailable);
        let early = vec![opened(), Event::Input(b"early".to_vec()), Event::InputClosed];
        let actions = mock.step(&id, &mut state, early).unwrap();
        assert_eq!(actions, [Action::SendBinary(b"early".to_vec()), Action::CloseSend, Action::Relay]);
    }
}

#[test]
fn the_state_of_a_relayed_command_is_what_the_host_keeps() {
    let state = State::RelayedCommand { stdin: false };
    let json = serde_json::to_string(&state).unwrap();
    let mut state: State = serde_json::from_str(&json).unwrap();
    let id = PodId { namespace: "d".into(), name: "p".into(), uid: "u".into(), handle: None };
    // Without input the end of it says nothing: the command's output is still to come.
    assert_eq!(mock().step(&id, &mut state, vec![Event::InputClosed]).unwrap(), []);
}

#[test]
fn usage_follows_the_curves_of_the_pod() {
    let mock = mock();
    let id = mock.create(pod("u", &[("cpu", "0s=250m"), ("memory", "64Mi")])).unwrap().pod;
    let late = mock.create(pod("late", &[("start-after", "1h")])).unwrap().pod;
    let absent = PodId { uid: "absent".into(), ..id.clone() };
    let read = || mock.read_usage(vec![absent.clone(), id.clone(), late.clone()]).unwrap();
    let first = read();
    sleep(Duration::from_millis(20));
    let second = read();
    let names: Vec<_> = first.iter().map(|usage| (usage.pod.uid.as_str(), usage.containers.len())).collect();
    assert_eq!(names, [("u", 1), ("late", 0)]);
    let (before, after) = (&first[0].containers[0], &second[0].containers[0]);
    assert_eq!((before.name.as_str(), before.started_at), ("c", after.started_at));
    assert_eq!(before.usage.cpu_nano_cores, Some(250_000_000));
    assert_eq!(before.usage.memory_working_set_bytes, Some(64 << 20));
    let passed = after.usage.at - before.usage.at;
    assert!(passed >= 20, "{passed} ms");
    let used = after.usage.cpu_core_nano_seconds.unwrap() - before.usage.cpu_core_nano_seconds.unwrap();
    assert_eq!(used, passed * 250_000);
}

#[test]
fn a_log_is_read_as_the_host_asks_for_it() {
    let mock = mock();
    let id = mock.create(pod("u", &[("log-lines", "2"), ("log-text", "request")])).unwrap().pod;
    let query = Query {
        pod: id,
        container: "c".into(),
        previous: false,
        timestamps: false,
        tail_lines: None,
        since: None,
        limit_bytes: None,
    };
    let chunk = mock.read_log(query.clone(), None).unwrap();
    assert_eq!(chunk.data, b"c: started, run 0\nc: request 1\nc: request 2\n");
    let absent = Query { pod: PodId { uid: "absent".into(), ..query.pod.clone() }, ..query };
    assert_eq!(mock.read_log(absent, chunk.next).unwrap_err().kind, ErrorKind::NotFound);
}
