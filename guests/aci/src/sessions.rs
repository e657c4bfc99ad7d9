//! Exec, attach and port-forward: how each is reached, and who translates it.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use vk_sdk::{
    Error, PodId, Result, Sessions, cache,
    sessions::{self, Action, Event, Opened, Request, Websocket},
};

use crate::{
    arm::Arm,
    attach,
    exec::{self, Exec, Finding},
    provider::Aci,
    target::Target,
};

const SHELL: &str = "/bin/sh";
/// How long it is remembered that a container's image has no shell.
const REMEMBERED: Duration = Duration::from_secs(60 * 60);

/// What is known of a session.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum State {
    Exec {
        container: String,
        exec: Exec,
    },
    /// The host copies what comes: there is nothing to remember.
    Attach,
}

impl Sessions for Aci {
    type State = State;

    fn open(&self, pod: PodId, request: Request) -> Result<Opened<State>> {
        match &request {
            Request::Exec(request) => exec::check(&request.command)?,
            Request::Attach(request) => attach::check(request)?,
            Request::PortForward(_) => {}
        }
        let target = Target::find(&self.pods, &pod)?;
        if let Some(container) = request.container() {
            target.running(container)?;
        }
        match request {
            Request::Exec(request) => open_exec(&self.pods.arm, &pod, &target, request),
            Request::Attach(request) => {
                let endpoint = self.pods.arm.attach(&target.name, &request.container)?;
                Ok(Opened::over(attach::transport(endpoint), State::Attach))
            }
            Request::PortForward(port) => Err(no_port_forward(&target, port)),
        }
    }

    fn step(&self, pod: &PodId, state: &mut State, events: Vec<Event>) -> Result<Vec<Action>> {
        Ok(match state {
            State::Exec { container, exec } => {
                let (actions, finding) = exec.step(events);
                if finding == Finding::NoShell {
                    cache::set(&no_shell(pod, container), b"", REMEMBERED);
                }
                actions
            }
            State::Attach => attach::step(events),
        })
    }
}

/// A container without a shell can still run what is one word. That it has none is learned from the first attempt, which
/// fails.
fn open_exec(arm: &Arm, pod: &PodId, target: &Target, request: sessions::Exec) -> Result<Opened<State>> {
    let container = request.container.clone();
    let is_direct = target.is_windows() || cache::get(&no_shell(pod, &container)).is_some();
    let size = request.tty.filter(|size| size.columns > 0 && size.rows > 0);
    let word = match (is_direct, request.command.as_slice()) {
        (false, _) => SHELL,
        (true, [word]) => word,
        (true, _) => {
            return Err(Error::unsupported(format!(
                "Azure Container Instances starts one word without arguments, and container {container:?} has no {SHELL} to \
                 pass more to: exec a program of its own, such as cmd, with -it and type the rest into it"
            )));
        }
    };
    let endpoint = arm.exec(&target.name, &container, word, size)?;
    let websocket = Websocket::new(endpoint.uri);
    let exec = match is_direct {
        true => Exec::direct(endpoint.password, request.stdin),
        false => Exec::in_shell(endpoint.password, request)?,
    };
    Ok(Opened::over(websocket, State::Exec { container, exec }))
}

fn no_shell(pod: &PodId, container: &str) -> String {
    format!("no-shell/{}/{container}", pod.uid)
}

fn no_port_forward(target: &Target, port: u16) -> Error {
    let mut message = "Azure Container Instances forwards no ports".to_owned();
    if let Some((host, ports)) = target.address() {
        match ports.contains(&port) {
            true => message.push_str(&format!(": connect to {host}:{port} itself")),
            false => message.push_str(&format!(", and the pod's address {host} has no port {port}")),
        }
    }
    Error::unsupported(message)
}

#[cfg(test)]
mod tests;
