//! The API that the provider uses: see [`mock_model::wire`].

use std::{io, time::Duration};

use axum::{
    Json, Router,
    body::Body,
    extract::{DefaultBodyLimit, Path, Query, State},
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use bytes::Bytes;
use futures::{StreamExt, stream};
use mock_model::wire::Submission;
use serde::{Deserialize, Serialize};

use crate::{
    Shared,
    fault::{Operation, Sight},
    server::Cut,
    store::{Refusal, Store, now},
};

pub(crate) fn routes() -> Router<Shared> {
    Router::new()
        .route("/owners/{owner}", get(check))
        .route("/owners/{owner}/pods", get(list))
        .route("/owners/{owner}/pods/{uid}", get(show).put(create).patch(update).delete(delete))
        .route("/owners/{owner}/pods/{uid}/details", get(details))
        .route("/owners/{owner}/changes", get(changes))
        .layer(DefaultBodyLimit::disable())
}

#[derive(Deserialize)]
struct ListQuery {
    limit: Option<usize>,
    after: Option<String>,
}

#[derive(Deserialize)]
struct ChangesQuery {
    since: String,
}

#[derive(Deserialize)]
struct UpdateQuery {
    #[serde(default)]
    changed: String,
}

#[derive(Deserialize)]
struct DeleteQuery {
    #[serde(default)]
    grace: u64,
}

#[derive(Serialize)]
struct Here {
    pods: usize,
}

async fn check(State(shared): State<Shared>, Path(owner): Path<String>) -> Response {
    answer(&shared, Operation::Check, None, |store, _, _| Ok((StatusCode::OK, Here { pods: store.number_of(&owner) })))
        .await
}

async fn create(
    State(shared): State<Shared>,
    Path((owner, uid)): Path<(String, String)>,
    Json(pod): Json<Submission>,
) -> Response {
    answer(&shared, Operation::Create, Some(&uid), |store, _, now| {
        let (made, view) = store.create(&owner, &uid, pod, now)?;
        Ok((if made { StatusCode::CREATED } else { StatusCode::OK }, view))
    })
    .await
}

async fn update(
    State(shared): State<Shared>,
    Path((owner, uid)): Path<(String, String)>,
    Query(query): Query<UpdateQuery>,
    Json(pod): Json<Submission>,
) -> Response {
    let changed = query.changed.split(',').filter(|aspect| !aspect.is_empty()).map(str::to_owned).collect();
    answer(&shared, Operation::Update, Some(&uid), |store, _, now| {
        store.update(&owner, &uid, pod, changed, now).map(|view| (StatusCode::OK, view))
    })
    .await
}

async fn show(State(shared): State<Shared>, Path((owner, uid)): Path<(String, String)>) -> Response {
    answer(&shared, Operation::Get, Some(&uid), |store, sight, now| {
        store.get(&owner, &uid, sight, now).map(|view| (StatusCode::OK, view))
    })
    .await
}

async fn details(State(shared): State<Shared>, Path((owner, uid)): Path<(String, String)>) -> Response {
    answer(&shared, Operation::Details, Some(&uid), |store, _, now| {
        store.details(&owner, &uid, now).map(|details| (StatusCode::OK, details))
    })
    .await
}

async fn delete(
    State(shared): State<Shared>,
    Path((owner, uid)): Path<(String, String)>,
    Query(query): Query<DeleteQuery>,
) -> Response {
    answer(&shared, Operation::Delete, Some(&uid), |store, _, now| {
        store.delete(&owner, &uid, query.grace, now).map(|deleted| (StatusCode::OK, deleted))
    })
    .await
}

async fn list(State(shared): State<Shared>, Path(owner): Path<String>, Query(query): Query<ListQuery>) -> Response {
    let after = query.after.unwrap_or_default();
    answer(&shared, Operation::List, None, |store, sight, now| {
        Ok((StatusCode::OK, store.list(&owner, &after, query.limit.unwrap_or(500), sight, now)))
    })
    .await
}

async fn changes(
    State(shared): State<Shared>,
    Path(owner): Path<String>,
    Query(query): Query<ChangesQuery>,
) -> Response {
    answer(&shared, Operation::Changes, None, |store, sight, now| {
        store.changes(&owner, &query.since, sight, now).map(|changes| (StatusCode::OK, changes))
    })
    .await
}

/// Carries out a request, or what the faults that strike it leave of it.
async fn answer<T: Serialize>(
    shared: &Shared,
    operation: Operation,
    uid: Option<&str>,
    work: impl FnOnce(&mut Store, Sight, u64) -> Result<(StatusCode, T), Refusal>,
) -> Response {
    let fate = {
        let mut store = shared.store();
        store.asked(operation);
        store.faults.strike(operation, uid)
    };
    if fate.refused {
        return cut();
    }
    tokio::time::sleep(fate.delay).await;
    if let Some((code, retry_after)) = fate.status {
        return fault_status(code, retry_after);
    }
    let done = work(&mut shared.store(), fate.sight, now());
    tokio::time::sleep(fate.late).await;
    if let Some(fault) = fate.held_by {
        cleared(shared, fault).await;
    }
    if fate.lost_answer {
        return cut();
    }
    match (done, fate.truncated) {
        (Ok((status, value)), None) => (status, Json(value)).into_response(),
        (Ok((status, value)), Some(bytes)) => truncated(status, &value, bytes),
        (Err(refusal), _) => refusal.into_response(),
    }
}

/// Returns once a fault has been cleared.
async fn cleared(shared: &Shared, fault: u64) {
    let told = shared.store().faults.cleared();
    loop {
        // Before it is looked at, or the news could come in between.
        let mut told = std::pin::pin!(told.notified());
        told.as_mut().enable();
        if !shared.store().faults.is_armed(fault) {
            return;
        }
        told.await;
    }
}

fn fault_status(code: u16, retry_after: Option<String>) -> Response {
    let status = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = (status, "the backend was told to fail").into_response();
    if let Some(value) = retry_after.and_then(|value| HeaderValue::from_str(&value).ok()) {
        response.headers_mut().insert(header::RETRY_AFTER, value);
    }
    response
}

fn cut() -> Response {
    let mut response = Response::default();
    response.extensions_mut().insert(Cut);
    response
}

/// Announces the whole body and sends the beginning of it.
fn truncated<T: Serialize>(status: StatusCode, value: &T, bytes: usize) -> Response {
    let body = match serde_json::to_vec(value) {
        Ok(body) => Bytes::from(body),
        Err(_) => return StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    };
    let part = body.slice(..bytes.min(body.len()));
    let cut = async {
        // The server sends what it has only while it waits for more.
        tokio::time::sleep(Duration::from_millis(20)).await;
        Err(io::Error::other("cut by a fault"))
    };
    let rest = stream::iter([Ok(part)]).chain(stream::once(cut));
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (header::CONTENT_LENGTH, HeaderValue::from(body.len())),
    ];
    (status, headers, Body::from_stream(rest)).into_response()
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = match self {
            Self::Absent => StatusCode::NOT_FOUND,
            Self::Forgotten => StatusCode::GONE,
            Self::Mismatch(_) => StatusCode::BAD_REQUEST,
            Self::Malformed(_) => StatusCode::UNPROCESSABLE_ENTITY,
        };
        (status, self.to_string()).into_response()
    }
}
