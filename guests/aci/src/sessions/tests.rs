use serde_json::{Value, json};
use vk_sdk::{
    ErrorKind, Logs as _,
    logs::Query,
    sessions::{Answer, Attach, Ending, TerminalSize, Transport},
    testing::{self, Response},
};

use super::*;
use crate::{identity, pods::Pods, settings::testing::principal};

fn pod() -> PodId {
    PodId { namespace: "d".into(), name: "p".into(), uid: "u".into(), handle: None }
}

/// A service with one group.
fn serve(os: &'static str, state: &'static str) -> Aci {
    testing::serve(move |request| {
        let path = request.path();
        let answer = if path.ends_with("/token") {
            json!({"access_token": "t", "expires_in": 86400})
        } else if path.ends_with("/exec") || path.ends_with("/attach") {
            json!({"webSocketUri": "wss://h:19390/x?rows=1", "password": "secret"})
        } else if path.ends_with("/logs") {
            json!({"content": "2023-05-01T16:57:05Z hello\n"})
        } else {
            group(os, state)
        };
        Response::new(200).json(&answer)
    });
    let settings = principal();
    Aci { pods: Pods { arm: Arm::new(&settings), owner: settings.owner.clone() }, settings }
}

fn group(os: &str, state: &str) -> Value {
    let view = json!({"currentState": {"state": state}});
    json!({
        "tags": {identity::OWNER: "own", "UID": "u", "Namespace": "d", "PodName": "p"},
        "properties": {
            "osType": os,
            "containers": [{"name": "c", "properties": {"instanceView": view}}],
            "ipAddress": {"ip": "20.1.2.3", "ports": [{"port": 80}]},
        },
    })
}

fn exec(command: &[&str], tty: Option<(u16, u16)>) -> Request {
    let command = command.iter().map(|argument| (*argument).to_owned()).collect();
    let tty = tty.map(|(columns, rows)| TerminalSize { columns, rows });
    Request::Exec(sessions::Exec { container: "c".into(), command, stdin: true, tty })
}

fn url(transport: &Transport) -> &str {
    match transport {
        Transport::Websocket(websocket) => &websocket.url,
        other => panic!("{other:?}"),
    }
}

/// The body of the last exec that was asked for.
fn asked() -> Value {
    testing::requests().iter().rev().find(|request| request.path().ends_with("/exec")).unwrap().json().unwrap()
}

#[test]
fn a_command_is_run_by_a_shell_in_a_terminal_of_the_clients_size() {
    let aci = serve("Linux", "Running");
    let opened = aci.open(pod(), exec(&["ls", "-l"], Some((120, 40)))).unwrap();
    assert_eq!(url(&opened.transport), "wss://h:19390/x?rows=1");
    assert_eq!(asked(), json!({"command": "/bin/sh", "terminalSize": {"rows": 40, "cols": 120}}));
    aci.open(pod(), exec(&["ls", "-l"], Some((0, 0)))).unwrap();
    assert_eq!(asked()["terminalSize"], json!({"rows": 24, "cols": 80}));
}

#[test]
fn one_word_is_run_without_a_shell_once_there_was_none() {
    let aci = serve("Linux", "Running");
    let mut state = aci.open(pod(), exec(&["/app"], None)).unwrap().state;
    let answer = Answer { status: 101, headers: Vec::new(), body: Vec::new() };
    let ended = Event::Disconnected(Ending { code: Some(1000), reason: String::new() });
    let actions = aci.step(&pod(), &mut state, vec![Event::Opened(answer), ended]).unwrap();
    assert!(matches!(actions.last(), Some(Action::Fail(_))), "{actions:?}");
    aci.open(pod(), exec(&["/app"], None)).unwrap();
    assert_eq!(asked()["command"], "/app");
    let error = aci.open(pod(), exec(&["/app", "x"], None)).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unsupported);
}

#[test]
fn a_windows_container_runs_one_word() {
    let aci = serve("Windows", "Running");
    aci.open(pod(), exec(&["cmd"], Some((80, 24)))).unwrap();
    assert_eq!(asked()["command"], "cmd");
    assert_eq!(aci.open(pod(), exec(&["cmd", "/c", "dir"], None)).unwrap_err().kind, ErrorKind::Unsupported);
}

#[test]
fn only_what_runs_can_be_joined() {
    for (state, problem) in [("Waiting", "is waiting to start"), ("Terminated", "has ended")] {
        let aci = serve("Linux", state);
        let attach = || Request::Attach(Attach { container: "c".into(), stdin: false, tty: None });
        for request in [exec(&["ls"], None), attach()] {
            let error = aci.open(pod(), request).unwrap_err();
            assert_eq!(error.kind, ErrorKind::Conflict);
            assert!(error.message.ends_with(problem), "{}", error.message);
        }
    }
    let aci = serve("Linux", "Running");
    let other = Request::Attach(Attach { container: "x".into(), stdin: false, tty: None });
    assert_eq!(aci.open(pod(), other).unwrap_err().kind, ErrorKind::NotFound);
}

#[test]
fn groups_of_others_are_left_alone() {
    let aci = serve("Linux", "Running");
    let stranger = PodId { uid: "v".into(), ..pod() };
    assert_eq!(aci.open(stranger, exec(&["ls"], None)).unwrap_err().kind, ErrorKind::NotFound);
    assert!(testing::requests().iter().all(|request| !request.path().ends_with("/exec")));
}

#[test]
fn ports_are_not_forwarded_and_the_way_there_is_told() {
    let aci = serve("Linux", "Running");
    let message = |port| aci.open(pod(), Request::PortForward(port)).unwrap_err().message;
    assert_eq!(message(80), "Azure Container Instances forwards no ports: connect to 20.1.2.3:80 itself");
    assert_eq!(
        message(81),
        "Azure Container Instances forwards no ports, and the pod's address 20.1.2.3 has no port 81"
    );
}

#[test]
fn a_log_is_read_from_the_service() {
    let aci = serve("Linux", "Terminated");
    let query = Query {
        pod: pod(),
        container: "c".into(),
        previous: false,
        timestamps: false,
        tail_lines: Some(5),
        since: None,
        limit_bytes: None,
    };
    let chunk = aci.read_log(query, None).unwrap();
    assert_eq!((chunk.data.as_slice(), chunk.next), (&b"hello\n"[..], None));
    let request = testing::requests().pop().unwrap();
    assert_eq!((request.query("tail"), request.query("timestamps")), (Some("6"), Some("true")));
}
