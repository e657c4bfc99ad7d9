//! From a request to its answer: the log, the rules, faults, and whoever knows the answer.

use std::{collections::HashMap, io::Write as _, sync::Arc, time::Duration};

use axum::{
    body::{Body, to_bytes},
    extract::Request as HttpRequest,
    http::{HeaderMap, HeaderValue, Method, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use futures::{StreamExt as _, stream};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::{
    Shared, arm,
    body::without_secrets,
    clock::after,
    control, directory,
    error::{ArmError, json_response},
    fault::{Fate, Refusal},
    log::{Entry, Request},
    metadata, realtime,
    route::{Route, Target},
    rules::Ask,
    server::{Cut, Listener},
    streams,
    world::Key,
};

/// The longest body that is read, in bytes.
const LONGEST_BODY: usize = 4 << 20;

/// A request whose body has been read.
pub(crate) struct Call {
    pub(crate) target: Target,
    pub(crate) query: HashMap<String, String>,
    pub(crate) is_post: bool,
    pub(crate) headers: HeaderMap,
    pub(crate) path: String,
    pub(crate) body: Bytes,
}

impl Call {
    /// The group that it is about.
    pub(crate) fn key(&self) -> Option<Key> {
        let is_about_one = !matches!(self.target.route, Route::GetSubnet | Route::PutSubnet);
        let (group, name) = (self.target.resource_group.as_deref()?, self.target.name.as_deref()?);
        is_about_one.then(|| Key::new(group, name))
    }

    pub(crate) fn bearer(&self) -> Option<&str> {
        self.headers.get(header::AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer ")
    }

    fn form(&self) -> HashMap<String, String> {
        form_urlencoded::parse(&self.body).into_owned().collect()
    }

    /// The body without what is secret.
    fn loggable(&self) -> Value {
        if self.target.route == Route::Token {
            let mut form = self.form();
            form.remove("client_secret");
            form.remove("client_assertion");
            return json!(form);
        }
        serde_json::from_slice(&self.body).map_or(Value::Null, without_secrets)
    }
}

pub(crate) async fn answer(shared: Arc<Shared>, listener: Listener, request: HttpRequest) -> Response {
    if listener == Listener::Plain && request.uri().path().starts_with("/control/") {
        return control::answer(shared, request).await;
    }
    let mut target = Target::of(request.method(), request.uri().path());
    let is_plain = matches!(target.route, Route::Metadata | Route::Realtime);
    if is_plain != (listener == Listener::Plain) {
        target.route = Route::Unknown;
    }
    if target.route == Route::Stream {
        return stream(&shared, target, request).await;
    }
    let (parts, body) = request.into_parts();
    let Ok(body) = to_bytes(body, LONGEST_BODY).await else {
        return ArmError::new(StatusCode::PAYLOAD_TOO_LARGE, "RequestContentTooLarge", "The request is too large.")
            .into_response();
    };
    let call = call(target, &parts, body);
    let entry = begin(&shared, &parts, &call);
    // A client that goes away does not keep the service from carrying out what it was asked.
    let carried_out = tokio::spawn(async move { fated(&shared, call, entry).await });
    carried_out.await.unwrap_or_else(|_panicked| StatusCode::INTERNAL_SERVER_ERROR.into_response())
}

fn call(target: Target, parts: &Parts, body: Bytes) -> Call {
    let query = parts.uri.query().unwrap_or_default();
    Call {
        target,
        query: form_urlencoded::parse(query.as_bytes()).into_owned().collect(),
        is_post: parts.method == Method::POST,
        headers: parts.headers.clone(),
        path: parts.uri.path().to_owned(),
        body,
    }
}

fn begin(shared: &Shared, parts: &Parts, call: &Call) -> Entry {
    let at = shared.clock.now();
    let key = call.key();
    let body = serde_json::from_slice(&call.body).unwrap_or(Value::Null);
    let mut world = shared.world();
    world.rules.asked(&Ask { at, route: call.target.route, key: key.as_ref(), body: &body, token: call.bearer() });
    world.log.begin(Request {
        at,
        route: call.target.route,
        method: parts.method.to_string(),
        path: call.path.clone(),
        query: parts.uri.query().unwrap_or_default().to_owned(),
        group: key.and(call.target.name.clone()),
        body: call.loggable(),
        status: None,
    })
}

/// Answers a request as the faults that strike it want.
async fn fated(shared: &Arc<Shared>, call: Call, entry: Entry) -> Response {
    let route = call.target.route;
    let key = call.key();
    let fate = shared.world().faults.strike(route, key.as_ref().map(|key| key.name.as_str()));
    tokio::time::sleep(fate.delay).await;
    if fate.refused {
        return cut();
    }
    if fate.expire_token
        && let Some(token) = call.bearer()
    {
        let now = shared.clock.now();
        if let Some(until) = shared.world().tokens.get_mut(token) {
            *until = now;
        }
    }
    let response = match &fate.before {
        Some(refusal) => refuse(refusal),
        None => {
            let response = dispatch(shared, &call).await;
            fate.after.as_ref().map_or(response, refuse)
        }
    };
    let now = shared.clock.now();
    {
        let mut world = shared.world();
        if response.status() == StatusCode::TOO_MANY_REQUESTS
            && let Some(until) = wait_until(response.headers(), now)
        {
            world.rules.throttled(now, route.class(), until);
        }
        // What the client does not get to see it has not learned.
        if !fate.lost_answer && fate.truncated.is_none() {
            learn(&mut world.rules, &call, key.as_ref(), response.status());
        }
        if !fate.lost_answer {
            world.log.answered(entry, response.status().as_u16());
        }
    }
    tokio::time::sleep(fate.late).await;
    if fate.lost_answer { cut() } else { spoil(response, &fate).await }
}

fn learn(rules: &mut crate::rules::Rules, call: &Call, key: Option<&Key>, status: StatusCode) {
    let Some(key) = key else { return };
    match (call.target.route, status) {
        (Route::Get, StatusCode::OK) => rules.looked(key, true),
        (Route::Get, StatusCode::NOT_FOUND) => rules.looked(key, false),
        (Route::Put, StatusCode::OK | StatusCode::CREATED) => rules.made(key),
        (Route::Put, StatusCode::UNAUTHORIZED) => rules.not_let_in(key),
        _ => {}
    }
}

/// What the header `Retry-After` asks for: seconds, or a date.
fn wait_until(headers: &HeaderMap, now: Timestamp) -> Option<Timestamp> {
    let asked = headers.get(header::RETRY_AFTER)?.to_str().ok()?;
    match asked.parse() {
        Ok(seconds) => Some(after(now, Duration::from_secs(seconds))),
        Err(_) => jiff::fmt::rfc2822::parse(asked).ok().map(|date| date.timestamp()),
    }
}

async fn dispatch(shared: &Arc<Shared>, call: &Call) -> Response {
    let tenant = call.target.name.as_deref().unwrap_or_default();
    match call.target.route {
        Route::Token => {
            let v2 = call.path.to_ascii_lowercase().ends_with("/v2.0/token");
            directory::token(shared, tenant, v2, &call.form())
        }
        Route::Discovery => directory::discovery(shared, &call.path),
        Route::Metadata => metadata::token(shared, &call.headers, &call.query),
        Route::Realtime => realtime::stats(shared, tenant),
        _ => arm::answer(shared, call).await,
    }
}

/// Hands a stream to the containers.
async fn stream(shared: &Arc<Shared>, target: Target, request: HttpRequest) -> Response {
    let (parts, body) = request.into_parts();
    let call = call(target, &parts, Bytes::new());
    let entry = begin(shared, &parts, &call);
    let fate = shared.world().faults.strike(Route::Stream, None);
    tokio::time::sleep(fate.delay).await;
    if fate.refused {
        return cut();
    }
    let response = match &fate.before {
        Some(refusal) => refuse(refusal),
        None => streams::open(shared, HttpRequest::from_parts(parts, body)).await,
    };
    shared.world().log.answered(entry, response.status().as_u16());
    response
}

fn cut() -> Response {
    let mut response = Response::default();
    response.extensions_mut().insert(Cut);
    response
}

fn refuse(refusal: &Refusal) -> Response {
    let status = StatusCode::from_u16(refusal.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = match &refusal.body {
        Some(body) => {
            let mut response = Response::new(Body::from(body.clone()));
            *response.status_mut() = status;
            if body.starts_with('<') {
                let html = HeaderValue::from_static("text/html; charset=utf-8");
                response.headers_mut().insert(header::CONTENT_TYPE, html);
            }
            response
        }
        None => {
            let code = refusal.error.as_deref().unwrap_or("InternalServerError");
            let message = refusal.message.as_deref().unwrap_or("Encountered internal server error.");
            json_response(status, &json!({ "error": { "code": code, "message": message } }))
        }
    };
    if let Some(Ok(retry_after)) = refusal.retry_after.as_deref().map(HeaderValue::from_str) {
        response.headers_mut().insert(header::RETRY_AFTER, retry_after);
    }
    response
}

/// Does to an answer what faults do to answers.
async fn spoil(response: Response, fate: &Fate) -> Response {
    if fate.truncated.is_none() && !fate.gzip && fate.slow_body.is_zero() {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let Ok(mut body) = to_bytes(body, usize::MAX).await else { return cut() };
    if fate.gzip {
        let mut packed = GzEncoder::new(Vec::new(), Compression::default());
        match packed.write_all(&body).and_then(|()| packed.finish()) {
            Ok(packed) => body = packed.into(),
            Err(_) => return cut(),
        }
        parts.headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    parts.headers.insert(header::CONTENT_LENGTH, body.len().into());
    let pause = fate.slow_body;
    let whole = body.clone();
    let first = whole.slice(..fate.truncated.unwrap_or(body.len() / 2).min(body.len()));
    let rest = whole.slice(first.len()..);
    let is_truncated = fate.truncated.is_some();
    let pieces = stream::iter([first]).map(Ok).chain(stream::once(async move {
        tokio::time::sleep(pause).await;
        if is_truncated { Err(std::io::Error::other("cut by a fault")) } else { Ok(rest) }
    }));
    Response::from_parts(parts, Body::from_stream(pieces))
}
