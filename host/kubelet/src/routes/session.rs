//! /exec, /attach and /portForward: what is asked for, of which pod. The streams are made elsewhere.

use std::{collections::BTreeSet, sync::Arc};

use http::Response;
use vk_provider::{Attach, Exec, SessionRequest, TerminalSize};

use super::{Call, Routes, has_container, query};
use crate::{
    NodePod,
    body::Body,
    metrics::StreamKind,
    path::PodPath,
    port_forward::{self, MAX_PORTS, Places},
    refusal::Refusal,
    remote_command::{self, Wanted},
    session, upgrade,
};

/// What programs take a terminal for whose size is not known yet.
const USUAL_TERMINAL: TerminalSize = TerminalSize { columns: 80, rows: 24 };

/// Connections to ports at once, for one user. They are not counted with sessions and logs: somebody's browser behind
/// one port-forward must not keep others from an exec.
pub(super) const FORWARDED_PER_USER: usize = 4_096;

impl Routes {
    pub(super) fn exec(&self, path: PodPath<'_>, container: &str, call: Call) -> Result<Response<Body>, Refusal> {
        let pod = self.with_container(path, container)?;
        let command: Vec<String> =
            query(&call.request).filter(|(name, _)| name == "command").map(|(_, value)| value).collect();
        if command.is_empty() {
            return Err(Refusal::bad_request("you must specify a command"));
        }
        let wanted = wanted(&call);
        let exec = Exec {
            container: container.into(),
            command,
            stdin: wanted.stdin,
            tty: wanted.tty.then_some(USUAL_TERMINAL),
        };
        self.remote_command(StreamKind::Exec, pod, SessionRequest::Exec(exec), wanted, call)
    }

    pub(super) fn attach(&self, path: PodPath<'_>, container: &str, call: Call) -> Result<Response<Body>, Refusal> {
        let pod = self.with_container(path, container)?;
        let wanted = wanted(&call);
        let tty = wanted.tty.then_some(USUAL_TERMINAL);
        let attach = Attach { container: container.into(), stdin: wanted.stdin, tty };
        self.remote_command(StreamKind::Attach, pod, SessionRequest::Attach(attach), wanted, call)
    }

    fn remote_command(
        &self,
        kind: StreamKind,
        pod: NodePod,
        request: SessionRequest,
        wanted: Wanted,
        call: Call,
    ) -> Result<Response<Body>, Refusal> {
        // Its session may outlive the connection for a little, and the connection its session for longer.
        let held = Arc::new(self.hold(kind, &call)?);
        let of_session = held.clone();
        let (sessions, end) = (self.parts.sessions.clone(), self.parts.end.clone());
        let session = move |client| async move {
            let _held = of_session;
            session::run(sessions, pod.id, request, client, end).await;
        };
        let response = remote_command::serve(call.request, wanted, &self.parts.streams, held, session)?;
        Ok(self.counted(kind, response))
    }

    pub(super) fn port_forward(&self, path: PodPath<'_>, call: Call) -> Result<Response<Body>, Refusal> {
        let pod = self.find(path).ok_or_else(pod_not_found)?;
        let ports = ports(query(&call.request))?;
        let held = Arc::new(self.hold(StreamKind::PortForward, &call)?);
        let of_sessions = held.clone();
        let places = Places { slots: self.forwarded.clone(), user: call.user.name.clone() };
        let (sessions, end, id) = (self.parts.sessions.clone(), self.parts.end.clone(), pod.id.clone());
        let session = move |port, client| {
            let (sessions, id, end, held) = (sessions.clone(), id.clone(), end.clone(), of_sessions.clone());
            async move {
                let _held = held;
                session::run(sessions, id, SessionRequest::PortForward(port), client, end).await;
            }
        };
        let streams = &self.parts.streams;
        let response = port_forward::serve(call.request, ports, &pod.id, streams, places, held, session)?;
        Ok(self.counted(StreamKind::PortForward, response))
    }

    fn counted(&self, kind: StreamKind, response: Response<Body>) -> Response<Body> {
        if let Some((carrier, protocol)) = upgrade::switched(&response) {
            self.parts.metrics.upgraded(kind, carrier, protocol);
        }
        response
    }

    fn with_container(&self, path: PodPath<'_>, container: &str) -> Result<NodePod, Refusal> {
        let pod = self.find(path).ok_or_else(pod_not_found)?;
        if has_container(&pod.object, container) {
            Ok(pod)
        } else {
            Err(Refusal::not_found(format!("container not found ({container:?})")))
        }
    }
}

fn pod_not_found() -> Refusal {
    Refusal::not_found("pod not found")
}

/// The streams that are asked for, as the API server writes it.
fn wanted(call: &Call) -> Wanted {
    let given: BTreeSet<String> =
        query(&call.request).filter(|(_, value)| value == "1" || value == "true").map(|(name, _)| name).collect();
    let is_given = |name: &str| given.contains(name);
    Wanted { stdin: is_given("input"), stdout: is_given("output"), stderr: is_given("error"), tty: is_given("tty") }
}

/// The ports in `port`, which may hold several and come several times.
fn ports(parameters: impl Iterator<Item = (String, String)>) -> Result<Vec<u16>, Refusal> {
    let mut ports = Vec::new();
    for (_, value) in parameters.filter(|(name, _)| name == "port") {
        for port in value.split(',') {
            match port.trim().parse() {
                Ok(port) if port > 0 => ports.push(port),
                _ => return Err(Refusal::bad_request(format!("{port:?} is not a port: it must be from 1 to 65535"))),
            }
        }
    }
    if ports.len() > MAX_PORTS {
        return Err(Refusal::bad_request(format!("at most {MAX_PORTS} ports can be forwarded at once")));
    }
    Ok(ports)
}
