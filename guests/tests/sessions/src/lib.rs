//! A provider whose sessions do what their clients tell them, and tell their clients what they see.
//!
//! A session begins with a line that says how the backend is reached: the words of an exec's command, the container of an
//! attach; a port-forward goes to that port of this machine. From then on each piece of input is a command, a verb with an
//! argument, and each other event a line of output. `stats` reads a command in each pod's handle.

mod commands;
mod stats;

use std::sync::OnceLock;

use exports::vk::provider::{
    node::{self, Description, Info, OperatingSystem, Startup},
    pods::{self, Aspects, Changes, Deletion, Extent, Observation, Pod},
    sessions::{self, Action, Event, Opened, Progress, Request, Transport, Upgrade, Websocket},
};
use serde::{Deserialize, Serialize};
use vk::provider::{
    log,
    types::{Error, ErrorKind, PodId},
};

wit_bindgen::generate!({
    path: "../../../wit",
    inline: "
        package test:sessions;
        world sessions {
            include vk:provider/provider@0.1.0;
            export vk:provider/sessions@0.1.0;
            export vk:provider/stats@0.1.0;
        }
    ",
    world: "test:sessions/sessions",
    generate_all,
});

struct Component;

export!(Component);

/// The name in the settings, by which generations are told apart.
static NAME: OnceLock<String> = OnceLock::new();

/// What a session keeps between its steps.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct State {
    /// What was asked for.
    pub(crate) request: String,
    /// How many steps there were.
    pub(crate) steps: u32,
    /// What to exit with when the backend is done.
    pub(crate) exit: Option<i32>,
}

impl node::Guest for Component {
    fn configure(startup: Startup) -> Result<Info, Error> {
        let settings: serde_json::Value = serde_json::from_str(&startup.settings).unwrap_or_default();
        let name = settings["name"].as_str().unwrap_or("sessions").to_owned();
        NAME.set(name.clone()).expect("configured twice");
        Ok(Info { name, version: "1.0".into() })
    }

    fn describe() -> Result<Description, Error> {
        Ok(Description {
            operating_system: OperatingSystem::Linux,
            architecture: "amd64".into(),
            capacity: vec![],
            allocatable: vec![],
            conditions: vec![],
            labels: vec![],
            annotations: vec![],
            taints: vec![],
        })
    }
}

impl pods::Guest for Component {
    fn create(pod: Pod) -> Result<Observation, Error> {
        Ok(Observation { pod: pod.id, status: None })
    }

    fn update(pod: Pod, _: Aspects) -> Result<Observation, Error> {
        Ok(Observation { pod: pod.id, status: None })
    }

    fn delete(_: PodId, _: u32) -> Result<Deletion, Error> {
        Ok(Deletion::Gone)
    }

    fn get(pod: PodId) -> Result<Observation, Error> {
        Ok(Observation { pod, status: None })
    }

    fn poll(_: Option<Vec<u8>>) -> Result<Changes, Error> {
        Ok(Changes { observed: vec![], removed: vec![], extent: Extent::Last, next: None, poll_after: None })
    }
}

impl sessions::Guest for Component {
    fn open(pod: PodId, request: Request) -> Result<Opened, Error> {
        let (line, what) = match request {
            Request::Exec(exec) => {
                let what = format!("exec in {} stdin={} tty={}", exec.container, exec.stdin, size(exec.tty));
                (exec.command.join(" "), what)
            }
            Request::Attach(attach) => {
                let what = format!("attach stdin={} tty={}", attach.stdin, size(attach.tty));
                (attach.container, what)
            }
            Request::PortForward(port) => (format!("tcp 127.0.0.1 {port}"), format!("port-forward to {port}")),
        };
        let state = State { request: format!("{what} of {}/{}", pod.namespace, pod.name), ..State::default() };
        let (verb, rest) = line.split_once(' ').unwrap_or((&line, ""));
        let mut words = rest.split(' ').map(ToOwned::to_owned);
        let mut word = || words.next().unwrap_or_default();
        let headers = vec![("x-session".to_owned(), "1".to_owned())];
        let transport = match verb {
            "websocket" => Transport::Websocket(Websocket {
                url: word(),
                headers,
                protocols: words.filter(|name| !name.is_empty()).collect(),
            }),
            "upgrade" => Transport::Upgrade(Upgrade {
                method: "POST".into(),
                url: word(),
                headers,
                protocol: word(),
                body: word().into_bytes(),
            }),
            "tcp" => Transport::Tcp((word(), word().parse().expect("a port"))),
            "none" => Transport::None,
            "large-state" => return Ok(Opened { state: vec![0; commands::number(rest)], transport: Transport::None }),
            _ => {
                commands::misbehave(verb, rest);
                return Err(Error {
                    kind: ErrorKind::NotFound,
                    message: format!("no such\n{line}"),
                    retry_after: None,
                });
            }
        };
        Ok(Opened { state: state.to_bytes(), transport })
    }

    fn step(pod: PodId, state: Vec<u8>, events: Vec<Event>) -> Progress {
        let mut state: State = serde_json::from_slice(&state).expect("the state");
        state.steps += 1;
        let mut actions = Vec::new();
        for event in events {
            let mut end = None;
            let line = match event {
                Event::Input(input) => {
                    let command = String::from_utf8(input).expect("text");
                    if let Some(progress) = commands::run(command.trim_end(), &mut state, &mut actions) {
                        return progress;
                    }
                    continue;
                }
                Event::Opened(answer) => format!("opened {}", commands::show(&answer)),
                Event::Refused(answer) => format!("refused {}", commands::show(&answer)),
                Event::Text(text) => format!("text {text}"),
                Event::Binary(bytes) => format!("binary {}", String::from_utf8_lossy(&bytes)),
                Event::Disconnected(ending) => {
                    end = state.exit.map(Action::Exit);
                    format!("disconnected {:?} {}", ending.code, ending.reason)
                }
                Event::InputClosed => "input-closed".into(),
                Event::Resized(to) => format!("resized {}", size(Some(to))),
                Event::Woken => "woken".into(),
                Event::Abandoned => {
                    // Nobody is there who could read an output.
                    log::write(log::Level::Info, &format!("abandoned by the client of {}", pod.name), &[]);
                    continue;
                }
            };
            actions.push(Action::Output(format!("{line}\n").into_bytes()));
            actions.extend(end);
        }
        Progress { state: Some(state.to_bytes()), actions }
    }
}

impl State {
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("JSON")
    }
}

fn size(size: Option<sessions::TerminalSize>) -> String {
    size.map_or("none".into(), |size| format!("{}x{}", size.columns, size.rows))
}
