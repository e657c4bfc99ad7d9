//! What a test in another process does: the same as the methods of [`Backend`](crate::Backend).

use axum::{
    Json, Router,
    extract::{Path, Query, State},
    http::StatusCode,
    routing::{delete, get, post, put},
};
use mock_model::Finish;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{
    Shared,
    fault::{Armed, Fault},
    store::{Counts, Stored, now},
};

pub(crate) fn routes() -> Router<Shared> {
    Router::new()
        .route("/control/counts", get(counts))
        .route("/control/pods", get(pods))
        .route("/control/pods/{uid}", get(pod).delete(remove))
        .route("/control/pods/{uid}/finish", post(finish))
        .route("/control/pods/{uid}/status", put(set_status).delete(clear_status))
        .route("/control/faults", get(faults).post(arm).delete(disarm_all))
        .route("/control/faults/{number}", delete(disarm))
        .route("/control/outage", post(outage))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FinishBody {
    exit_code: i32,
    reason: Option<String>,
}

#[derive(Deserialize)]
struct OutageQuery {
    milliseconds: u64,
}

async fn counts(State(shared): State<Shared>) -> Json<Counts> {
    Json(shared.store().counts().clone())
}

async fn pods(State(shared): State<Shared>) -> Json<Vec<Stored>> {
    Json(shared.store().stored(now()))
}

async fn pod(State(shared): State<Shared>, Path(uid): Path<String>) -> Result<Json<Stored>, StatusCode> {
    let pods = shared.store().stored(now());
    pods.into_iter().find(|pod| pod.id.uid == uid).map(Json).ok_or(StatusCode::NOT_FOUND)
}

async fn remove(State(shared): State<Shared>, Path(uid): Path<String>) -> StatusCode {
    found(shared.store().vanish(&uid, now()))
}

async fn finish(State(shared): State<Shared>, Path(uid): Path<String>, Json(body): Json<FinishBody>) -> StatusCode {
    let now = now();
    let finish = Finish { at: now, exit_code: body.exit_code, reason: body.reason };
    found(shared.store().finish(&uid, finish, now))
}

async fn set_status(
    State(shared): State<Shared>,
    Path(uid): Path<String>,
    Json(status): Json<Box<RawValue>>,
) -> StatusCode {
    found(shared.store().set_status(&uid, Some(status), now()))
}

async fn clear_status(State(shared): State<Shared>, Path(uid): Path<String>) -> StatusCode {
    found(shared.store().set_status(&uid, None, now()))
}

async fn faults(State(shared): State<Shared>) -> Json<Vec<Armed>> {
    Json(shared.store().faults.list().to_vec())
}

async fn arm(State(shared): State<Shared>, Json(fault): Json<Fault>) -> (StatusCode, Json<u64>) {
    (StatusCode::CREATED, Json(shared.store().faults.arm(fault, now())))
}

async fn disarm(State(shared): State<Shared>, Path(number): Path<u64>) -> StatusCode {
    found(shared.store().faults.disarm(number))
}

async fn disarm_all(State(shared): State<Shared>) -> StatusCode {
    shared.store().faults.clear();
    StatusCode::NO_CONTENT
}

async fn outage(State(shared): State<Shared>, Query(query): Query<OutageQuery>) -> StatusCode {
    match shared.outages.send(query.milliseconds) {
        Ok(()) => StatusCode::ACCEPTED,
        Err(_) => StatusCode::SERVICE_UNAVAILABLE,
    }
}

fn found(found: bool) -> StatusCode {
    if found { StatusCode::NO_CONTENT } else { StatusCode::NOT_FOUND }
}
