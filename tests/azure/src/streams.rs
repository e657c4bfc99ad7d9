//! What containers write, and sessions in them.

use std::sync::Arc;

use axum::{extract::Request, http::StatusCode, response::Response};
use serde::Deserialize;
use serde_json::json;
use tower_service::Service as _;

use crate::{
    Shared,
    answer::Call,
    body::{self, invalid},
    containers::{Container, Size, streams::Ticket},
    error::{ArmError, json_response},
    groups::{named, not_found},
};

/// What `POST …/exec` is sent.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Exec {
    command: String,
    terminal_size: Option<Size>,
}

pub(crate) fn logs(shared: &Shared, call: &Call) -> Result<Response, ArmError> {
    let container = container(shared, call)?;
    let tail = match call.query.get("tail") {
        None => None,
        Some(tail) => {
            let tail = tail.parse().ok().filter(|tail: &u32| *tail > 0);
            Some(tail.ok_or_else(|| {
                ArmError::bad_request("InvalidTail", "The parameter 'tail' is not a positive number.")
            })?)
        }
    };
    let timestamps = call.query.get("timestamps").is_some_and(|value| value.eq_ignore_ascii_case("true"));
    Ok(json_response(StatusCode::OK, &json!({ "content": container.log(tail, timestamps) })))
}

pub(crate) fn exec(shared: &Shared, call: &Call) -> Result<Response, ArmError> {
    let sent = serde_json::from_slice(&call.body).map_err(invalid)?;
    let asked: Exec = body::read_as(&sent, shared.options.strict, "ContainerExecRequest")?;
    let container = running(shared, call)?;
    let trouble = shared.world().trouble;
    let size = asked.terminal_size.unwrap_or_default();
    Ok(endpoint(shared, call, shared.sessions.exec(&container, &asked.command, size, trouble)))
}

pub(crate) fn attach(shared: &Shared, call: &Call) -> Result<Response, ArmError> {
    let container = running(shared, call)?;
    let trouble = shared.world().trouble;
    Ok(endpoint(shared, call, shared.sessions.attach(&container, trouble)))
}

/// Opens a session's WebSocket.
pub(crate) async fn open(shared: &Arc<Shared>, request: Request) -> Response {
    let Ok(response) = shared.sessions.routes().call(request).await;
    response
}

fn endpoint(shared: &Shared, call: &Call, Ticket { path, password }: Ticket) -> Response {
    if let (Some(key), Ok(uri)) = (call.key(), path.parse()) {
        shared.sessions.belongs(&uri, key);
    }
    let base = shared.urls.tls.replacen("https", "wss", 1);
    json_response(StatusCode::OK, &json!({ "webSocketUri": format!("{base}{path}"), "password": password }))
}

fn running(shared: &Shared, call: &Call) -> Result<Container, ArmError> {
    let container = container(shared, call)?;
    match container.exit() {
        None => Ok(container),
        Some(_) => Err(not_running(call)),
    }
}

/// The container of a request, if it has started.
fn container(shared: &Shared, call: &Call) -> Result<Container, ArmError> {
    let (key, name) = named(call)?;
    let part = call.target.part.as_deref().unwrap_or_default();
    let world = shared.world();
    let held = world.groups.get(&key).ok_or_else(|| not_found(shared, &key, &name))?;
    let mut containers = held.life.containers.iter().chain(&held.life.init_containers);
    if !containers.any(|container| container.name == part) {
        let message = format!("The container '{part}' was not found in container group '{name}'.");
        return Err(ArmError::not_found("ContainerNotFound", message));
    }
    held.runs.get(part).cloned().ok_or_else(|| not_running(call))
}

fn not_running(call: &Call) -> ArmError {
    let part = call.target.part.as_deref().unwrap_or_default();
    ArmError::conflict("ContainerNotRunning", format!("The container '{part}' is not running."))
}
