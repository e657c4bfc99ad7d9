//! From a request to its answer: the log, the rules, faults, and whoever knows the answer.

use std::{any::Any, collections::HashMap, io::Write as _, sync::Arc, time::Duration};

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
    group::Detail,
    groups::Listed,
    log::{Entry, Request},
    metadata, realtime,
    route::{Route, Target},
    rules::{Ask, Rules},
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
        let (parts, body) = request.into_parts();
        if let Some(key) = shared.sessions.group(&parts.uri) {
            target = Target { resource_group: Some(key.resource_group), name: Some(key.name), ..target };
        }
        let call = call(target, &parts, Bytes::new());
        let entry = begin(&shared, &parts, &call);
        let request = HttpRequest::from_parts(parts, body);
        return recorded(&shared, call.key(), stream(shared.clone(), call, entry, request)).await;
    }
    let (parts, body) = request.into_parts();
    let Ok(body) = to_bytes(body, LONGEST_BODY).await else {
        return ArmError::new(StatusCode::PAYLOAD_TOO_LARGE, "RequestContentTooLarge", "The request is too large.")
            .into_response();
    };
    let call = call(target, &parts, body);
    let entry = begin(&shared, &parts, &call);
    let (key, service) = (call.key(), shared.clone());
    recorded(&shared, key, async move { fated(&service, call, entry).await }).await
}

/// Carries out a request, and keeps it if that panics.
async fn recorded(
    shared: &Shared,
    key: Option<Key>,
    answer: impl Future<Output = Response> + Send + 'static,
) -> Response {
    // A client that goes away does not keep the service from carrying out what it was asked.
    match tokio::spawn(answer).await {
        Ok(response) => response,
        Err(failed) => {
            let said = failed.try_into_panic().map_or_else(|_| "cancelled".to_owned(), |panic| told(panic.as_ref()));
            let now = shared.clock.now();
            shared.world().rules.panicked(now, key.map(|key| key.name), said);
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// What a panic says.
fn told(panic: &(dyn Any + Send)) -> String {
    let said = panic.downcast_ref::<&str>().map(|said| (*said).to_owned());
    said.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "it does not say why".to_owned())
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
    let route = call.target.route;
    let mut world = shared.world();
    let held = key.as_ref().filter(|_| matches!(route, Route::Put | Route::Delete));
    let held = held.and_then(|key| world.groups.get(key));
    let tags = held.map(|held| match held.shown(Detail::Listed, &world.quirks, at).get_mut("tags") {
        Some(tags) => tags.take(),
        None => Value::Null,
    });
    let (key, token) = (key.as_ref(), call.bearer());
    world.rules.asked(&Ask { at, route, key, body: &body, tags: tags.as_ref(), token });
    world.log.begin(Request {
        at,
        route,
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
    let mut response = match &fate.before {
        Some(refusal) => refuse(shared, route, refusal),
        None => {
            let response = dispatch(shared, &call).await;
            fate.after.as_ref().map_or(response, |refusal| refuse(shared, route, refusal))
        }
    };
    let listed = response.extensions_mut().remove::<Listed>();
    let now = shared.clock.now();
    {
        let mut world = shared.world();
        if response.status() == StatusCode::TOO_MANY_REQUESTS
            && let (Some(class), Some(until)) = (route.class(), wait_until(response.headers(), now))
        {
            world.rules.throttled(now, class, until);
        }
        // What the client does not get to see it has not learned.
        if !fate.lost_answer && fate.truncated.is_none() {
            learn(&mut world.rules, route, key.as_ref(), response.status());
            for key in listed.iter().flat_map(|Listed(keys)| keys) {
                world.rules.looked(key, true);
            }
        }
        if !fate.lost_answer {
            world.log.answered(entry, response.status().as_u16());
        }
    }
    tokio::time::sleep(fate.late).await;
    if fate.lost_answer { cut() } else { spoil(response, &fate).await }
}

fn learn(rules: &mut Rules, route: Route, key: Option<&Key>, status: StatusCode) {
    let Some(key) = key else { return };
    match (route, status) {
        (Route::Get, StatusCode::OK) => rules.looked(key, true),
        (Route::Get, StatusCode::NOT_FOUND) => rules.looked(key, false),
        (Route::Put, StatusCode::OK | StatusCode::CREATED) => rules.made(key),
        (Route::Put | Route::Delete, status) if status.is_client_error() => rules.refused(key),
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
async fn stream(shared: Arc<Shared>, call: Call, entry: Entry, request: HttpRequest) -> Response {
    let fate = shared.world().faults.strike(Route::Stream, call.target.name.as_deref());
    tokio::time::sleep(fate.delay).await;
    if fate.refused {
        return cut();
    }
    let response = match &fate.before {
        Some(refusal) => refuse(&shared, Route::Stream, refusal),
        None => streams::open(&shared, request).await,
    };
    shared.world().log.answered(entry, response.status().as_u16());
    response
}

fn cut() -> Response {
    let mut response = Response::default();
    response.extensions_mut().insert(Cut);
    response
}

fn refuse(shared: &Shared, route: Route, refusal: &Refusal) -> Response {
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
            let mut response = json_response(status, &json!({ "error": { "code": code, "message": message } }));
            // A body of its own is that of a proxy, which does not know these headers.
            if route.is_arm() {
                arm::describe(shared, route, response.headers_mut());
            }
            response
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Options, Rule, Simulator};

    #[tokio::test]
    async fn a_handler_that_panics_is_kept_as_a_violation() {
        let simulator = Simulator::start(Options::default()).await.unwrap();
        let key = Some(Key::new("rg", "web"));
        let response = recorded(&simulator.shared, key, async { panic!("there is no {}", "bread") }).await;
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
        let kept = simulator.violations();
        assert_eq!((kept[0].rule, kept[0].detail.as_str()), (Rule::SimulatorPanicked, "there is no bread"));
        assert_eq!(kept[0].group.as_deref(), Some("web"));
    }
}
