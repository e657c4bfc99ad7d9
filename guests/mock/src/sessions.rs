//! Exec, attach and port-forward.
//!
//! Without more said, everything is emulated in steps, over no connection at all. A pod can ask for a real connection
//! instead, whose bytes the host then relays.

use serde::{Deserialize, Serialize};
use vk_sdk::{
    Error, PodId, Result,
    sessions::{Action, Event, Opened, Request, Transport, Upgrade, Websocket},
};

use crate::{
    attach::Attachment,
    shell::Shell,
    store::{Store, running},
};

/// What is known of a session.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum State {
    Shell(Shell),
    Attachment(Attachment),
    /// A forwarded port that sends back what it gets.
    Echo,
    /// A command at the other end of a connection.
    RelayedCommand,
    /// A forwarded port at the other end of a connection.
    RelayedPort,
}

pub(crate) fn open(store: &dyn Store, pod: &PodId, request: Request) -> Result<Opened<State>> {
    let details = store.look(pod)?;
    if let Some(container) = request.container() {
        running(&details, pod, container)?;
    }
    Ok(match (request, details.workload) {
        (Request::Exec(exec), workload) => match workload.exec_via {
            Some(url) => Opened::over(transport(&url)?, State::RelayedCommand),
            None => Opened::unconnected(State::Shell(Shell::new(exec))),
        },
        (Request::Attach(attach), workload) => {
            Opened::unconnected(State::Attachment(Attachment::new(attach, &details.state, &workload.log)))
        }
        (Request::PortForward(_), workload) => match workload.port_forward {
            Some((host, port)) => Opened::over(Transport::tcp(host, port), State::RelayedPort),
            None => Opened::unconnected(State::Echo),
        },
    })
}

fn transport(url: &str) -> Result<Transport> {
    let Some(endpoint) = url.strip_prefix("tcp://") else {
        return Ok(match url.starts_with("ws") {
            true => Websocket::new(url).into(),
            false => Upgrade::post(url, "tcp").into(),
        });
    };
    let endpoint = endpoint.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse().ok()?)));
    let (host, port) = endpoint.ok_or_else(|| Error::invalid(format!("{url} has no port")))?;
    Ok(Transport::tcp(host, port))
}

pub(crate) fn step(store: &dyn Store, pod: &PodId, state: &mut State, events: Vec<Event>) -> Result<Vec<Action>> {
    match state {
        State::Shell(shell) => shell.step(pod, store, events),
        State::Attachment(attachment) => attachment.step(pod, store, events),
        State::Echo => Ok(echo(events)),
        State::RelayedCommand => relay(events, true),
        State::RelayedPort => relay(events, false),
    }
}

fn echo(events: Vec<Event>) -> Vec<Action> {
    let mut actions = Vec::new();
    for event in events {
        match event {
            Event::Input(bytes) => actions.push(Action::Output(bytes)),
            Event::InputClosed => actions.push(Action::Exit(0)),
            _ => {}
        }
    }
    actions
}

fn relay(events: Vec<Event>, command: bool) -> Result<Vec<Action>> {
    let mut actions = Vec::new();
    let mut opened = false;
    for event in events {
        match event {
            Event::Opened(_) => opened = true,
            Event::Refused(answer) => {
                let status = answer.status;
                return Err(Error::unavailable(format!("what the pod names as its backend answered {status}")));
            }
            Event::Disconnected(ending) if command => match ending.code {
                None | Some(1000) => actions.push(Action::Exit(0)),
                Some(code) => {
                    let reason = ending.reason;
                    return Err(Error::unavailable(format!("the backend closed with code {code}: {reason}")));
                }
            },
            // What comes together with the opening, before the host relays.
            Event::Text(text) => actions.push(Action::output(text)),
            Event::Binary(bytes) => actions.push(Action::Output(bytes)),
            Event::Input(bytes) => actions.push(Action::SendBinary(bytes)),
            Event::InputClosed => actions.push(Action::CloseSend),
            Event::Disconnected(_) | Event::Resized(_) | Event::Woken | Event::Abandoned => {}
        }
    }
    if opened {
        actions.push(Action::Relay);
    }
    Ok(actions)
}
