//! What a test in another process does: the same as the methods of [`Simulator`](crate::Simulator).

use std::{sync::Arc, time::Duration};

use axum::{
    Json, Router,
    extract::{Path, Query, Request, State},
    http::StatusCode,
    response::Response,
    routing::{delete, get, post, put},
};
use serde::Deserialize;
use serde_json::Value;
use tower_service::Service as _;

use crate::{
    Shared,
    containers::streams::Trouble,
    fault::{Armed, Fault},
    log,
    options::Quirks,
    rules::Violation,
    view::Group,
};

type Simulated = State<Arc<Shared>>;

fn routes() -> Router<Arc<Shared>> {
    Router::new()
        .route("/control/groups", get(groups))
        .route("/control/groups/{name}", get(group).delete(remove))
        .route("/control/groups/{name}/edit", put(edit))
        .route("/control/groups/{name}/move", post(relocate))
        .route("/control/requests", get(requests))
        .route("/control/violations", get(violations))
        .route("/control/faults", get(faults).post(arm).delete(disarm_all))
        .route("/control/faults/{number}", delete(disarm))
        .route("/control/quirks", get(quirks).put(set_quirks))
        .route("/control/trouble", put(set_trouble))
        .route("/control/resource-groups/{name}", put(add_resource_group).delete(remove_resource_group))
        .route("/control/clock", post(advance))
}

pub(crate) async fn answer(shared: Arc<Shared>, request: Request) -> Response {
    let Ok(response) = routes().with_state(shared).call(request).await;
    response
}

async fn groups(State(shared): Simulated) -> Json<Vec<Group>> {
    Json(shared.groups())
}

async fn group(State(shared): Simulated, Path(name): Path<String>) -> Result<Json<Group>, StatusCode> {
    shared.group(&name).map(Json).ok_or(StatusCode::NOT_FOUND)
}

async fn remove(State(shared): Simulated, Path(name): Path<String>) -> StatusCode {
    found(shared.remove_group(&name))
}

async fn edit(State(shared): Simulated, Path(name): Path<String>, Json(change): Json<Value>) -> StatusCode {
    found(shared.edit_group(&name, change))
}

async fn relocate(State(shared): Simulated, Path(name): Path<String>) -> StatusCode {
    found(shared.move_group(&name))
}

async fn requests(State(shared): Simulated) -> Json<Vec<log::Request>> {
    Json(shared.world().log.requests())
}

async fn violations(State(shared): Simulated) -> Json<Vec<Violation>> {
    Json(shared.world().rules.violations().to_vec())
}

async fn faults(State(shared): Simulated) -> Json<Vec<Armed>> {
    Json(shared.world().faults.list().to_vec())
}

async fn arm(
    State(shared): Simulated,
    Json(fault): Json<Fault>,
) -> Result<(StatusCode, Json<u64>), (StatusCode, String)> {
    match fault.nonsense() {
        Some(nonsense) => Err((StatusCode::BAD_REQUEST, nonsense)),
        None => Ok((StatusCode::CREATED, Json(shared.world().faults.arm(fault)))),
    }
}

async fn disarm(State(shared): Simulated, Path(number): Path<u64>) -> StatusCode {
    found(shared.world().faults.disarm(number))
}

async fn disarm_all(State(shared): Simulated) -> StatusCode {
    shared.world().faults.clear();
    StatusCode::NO_CONTENT
}

async fn quirks(State(shared): Simulated) -> Json<Quirks> {
    Json(shared.world().quirks.clone())
}

async fn set_quirks(State(shared): Simulated, Json(quirks): Json<Quirks>) -> StatusCode {
    shared.world().quirks = quirks;
    StatusCode::NO_CONTENT
}

async fn set_trouble(State(shared): Simulated, Json(trouble): Json<Trouble>) -> StatusCode {
    shared.world().trouble = trouble;
    StatusCode::NO_CONTENT
}

async fn add_resource_group(State(shared): Simulated, Path(name): Path<String>) -> StatusCode {
    shared.world().add_resource_group(&name);
    StatusCode::NO_CONTENT
}

async fn remove_resource_group(State(shared): Simulated, Path(name): Path<String>) -> StatusCode {
    found(shared.remove_resource_group(&name))
}

#[derive(Deserialize)]
struct AdvanceQuery {
    milliseconds: u64,
}

async fn advance(State(shared): Simulated, Query(query): Query<AdvanceQuery>) -> StatusCode {
    shared.clock.advance(Duration::from_millis(query.milliseconds));
    StatusCode::NO_CONTENT
}

fn found(found: bool) -> StatusCode {
    if found { StatusCode::NO_CONTENT } else { StatusCode::NOT_FOUND }
}
