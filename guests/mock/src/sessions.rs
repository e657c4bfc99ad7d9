//! Exec, attach and port-forward.
//!
//! Without more said, everything is emulated in steps, over no connection at all. A pod can ask for a real connection
//! instead, whose bytes the host then relays.

use serde::{Deserialize, Serialize};
use vk_sdk::{
    Error, PodId, Result,
    sessions::{Action, Answer, Event, Opened, Request, Transport, Upgrade, Websocket},
};

use crate::{
    attach::Attachment,
    shell::Shell,
    store::{Store, now, running},
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
    RelayedCommand {
        stdin: bool,
    },
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
            Some(url) => Opened::over(transport(&url)?, State::RelayedCommand { stdin: exec.stdin }),
            None => Opened::unconnected(State::Shell(Shell::new(exec))),
        },
        (Request::Attach(attach), workload) => {
            Opened::unconnected(State::Attachment(Attachment::new(attach, &details.state, &workload.log, now())))
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
        State::Shell(shell) => Ok(shell.step(pod, store, events)),
        State::Attachment(attachment) => attachment.step(pod, store, events),
        State::Echo => Ok(echo(events)),
        State::RelayedCommand { stdin } => relay_command(events, *stdin),
        State::RelayedPort => relay_port(events),
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

fn relay_port(events: Vec<Event>) -> Result<Vec<Action>> {
    relay(events, |event| match event {
        Event::Refused(answer) => Err(refused(&answer)),
        // The host copies the rest, and the end of it.
        _ => Ok(None),
    })
}

fn relay_command(events: Vec<Event>, stdin: bool) -> Result<Vec<Action>> {
    relay(events, |event| match event {
        Event::Refused(answer) => Err(refused(&answer)),
        // On a WebSocket the host leaves it to the provider. Without input the end of it means nothing.
        Event::InputClosed if stdin => Ok(Some(Action::CloseSend)),
        Event::Disconnected(ending) => match ending.code {
            None | Some(1000) => Ok(Some(Action::Exit(0))),
            Some(code) => {
                let reason = ending.reason;
                Err(Error::unavailable(format!("the backend closed with code {code}: {reason}")))
            }
        },
        _ => Ok(None),
    })
}

/// Has the host relay once the connection stands. What the client sent before is still the provider's to send, ahead of
/// what the host then copies.
fn relay(events: Vec<Event>, mut other: impl FnMut(Event) -> Result<Option<Action>>) -> Result<Vec<Action>> {
    let (mut actions, mut begins) = (Vec::new(), false);
    for event in events {
        match event {
            Event::Opened(_) => begins = true,
            Event::Input(bytes) => actions.push(Action::SendBinary(bytes)),
            event => actions.extend(other(event)?),
        }
    }
    if begins {
        actions.push(Action::Relay);
    }
    Ok(actions)
}

fn refused(answer: &Answer) -> Error {
    Error::unavailable(format!("what the pod names as its backend answered {}", answer.status))
}
