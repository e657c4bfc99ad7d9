//! A small API server in the process, for tests: it keeps objects, checks uids and resource versions, applies patches,
//! serves watches, grants tokens, notes what it is asked, and refuses or hangs where a test says so.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    io,
    sync::{Arc, Mutex},
    task::{Context, Poll},
};

use bytes::Bytes;
use futures::{
    FutureExt, StreamExt,
    channel::mpsc::{UnboundedSender, unbounded},
    future::{BoxFuture, pending},
    stream,
};
use http::{Method, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use kube::{Client, client::Body};
use serde_json::{Value, json};

/// A request as it arrived.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) method: Method,
    /// Without the group: `nodes/n/status`, `namespaces/ns/events`.
    pub(crate) path: String,
    pub(crate) query: BTreeMap<String, String>,
    pub(crate) body: Value,
}

/// What to do with a request instead of serving it.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Instead {
    Refuse(u16, &'static str, &'static str),
    Hang,
    /// As if there were no server.
    Disconnect,
}

type Answer = UnsyncBoxBody<Bytes, Infallible>;
type Rule = Box<dyn FnMut(&Call) -> Option<Instead> + Send>;

#[derive(Clone, Default)]
pub(crate) struct FakeApi(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    /// By path, such as `nodes/n`.
    objects: BTreeMap<String, Value>,
    version: u64,
    made: u64,
    tokens: u64,
    log: Vec<(u64, String, Value)>,
    /// Watches from before it cannot be resumed.
    oldest: u64,
    watches: Vec<(String, Option<String>, UnboundedSender<Bytes>)>,
    calls: Vec<Call>,
    rule: Option<Rule>,
    /// A field of every status that is not known here.
    unknown: Option<&'static str>,
}

impl FakeApi {
    pub(crate) fn client(&self) -> Client {
        Client::new(self.clone(), "default")
    }

    /// Decides on every request before it is served.
    pub(crate) fn rule(&self, rule: impl FnMut(&Call) -> Option<Instead> + Send + 'static) {
        self.0.lock().unwrap().rule = Some(Box::new(rule));
    }

    /// Drops a field of every status from here on, as a server does that does not know it.
    pub(crate) fn forget_status_field(&self, field: &'static str) {
        self.0.lock().unwrap().unknown = Some(field);
    }

    pub(crate) fn get(&self, path: &str) -> Option<Value> {
        self.0.lock().unwrap().objects.get(path).cloned()
    }

    /// Makes or changes an object from outside.
    pub(crate) fn put(&self, path: &str, object: Value) {
        self.0.lock().unwrap().store(path, object);
    }

    pub(crate) fn remove(&self, path: &str) {
        let mut inner = self.0.lock().unwrap();
        let object = inner.objects.remove(path).unwrap();
        inner.publish(path, "DELETED", object);
    }

    /// The requests of one method so far, without watches.
    pub(crate) fn calls(&self, method: &Method) -> Vec<Call> {
        let inner = self.0.lock().unwrap();
        inner.calls.iter().filter(|call| call.method == *method && !call.query.contains_key("watch")).cloned().collect()
    }

    /// The requests so far, as `METHOD path query`, whose text contains all parts.
    pub(crate) fn requests(&self, parts: &[&str]) -> Vec<String> {
        let inner = self.0.lock().unwrap();
        let requests = inner.calls.iter().map(|Call { method, path, query, .. }| {
            let query: Vec<String> = query.iter().map(|(name, value)| format!("{name}={value}")).collect();
            format!("{method} {path} {}", query.join("&"))
        });
        requests.filter(|request| parts.iter().all(|part| request.contains(part))).collect()
    }

    /// Closes all watches, as a restart does.
    pub(crate) fn close_watches(&self) {
        self.0.lock().unwrap().watches.clear();
    }

    pub(crate) fn open_watches(&self) -> usize {
        self.0.lock().unwrap().watches.iter().filter(|(_, _, watch)| !watch.is_closed()).count()
    }

    /// Forgets what was before, so that watches must begin again with a list.
    pub(crate) fn compact(&self) {
        let mut inner = self.0.lock().unwrap();
        inner.version += 1;
        inner.oldest = inner.version;
    }

    /// All objects below a collection.
    pub(crate) fn list(&self, collection: &str) -> Vec<Value> {
        let inner = self.0.lock().unwrap();
        inner.objects.iter().filter(|(path, _)| parent(path) == collection).map(|(_, object)| object.clone()).collect()
    }
}

fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(parent, _)| parent)
}

impl Inner {
    fn store(&mut self, path: &str, mut object: Value) -> Value {
        if let (Some(field), Some(status)) = (self.unknown, object.get_mut("status").and_then(Value::as_object_mut)) {
            status.remove(field);
        }
        let known = self.objects.get(path).cloned();
        let metadata = object.as_object_mut().unwrap().entry("metadata").or_insert(json!({}));
        metadata["name"] = json!(path.rsplit('/').next());
        metadata["uid"] = known.as_ref().map_or_else(
            || {
                self.made += 1;
                json!(format!("uid-{}", self.made))
            },
            |known| known["metadata"]["uid"].clone(),
        );
        if let Some(namespace) = path.strip_prefix("namespaces/").and_then(|rest| rest.split_once('/')) {
            metadata["namespace"] = json!(namespace.0);
        }
        let kind = if known.is_some() { "MODIFIED" } else { "ADDED" };
        self.publish(path, kind, object)
    }

    fn publish(&mut self, path: &str, kind: &str, mut object: Value) -> Value {
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        if kind != "DELETED" {
            self.objects.insert(path.to_owned(), object.clone());
        }
        let event = json!({ "type": kind, "object": object });
        self.log.push((self.version, path.to_owned(), event.clone()));
        self.watches.retain(|(collection, name, watch)| {
            !concerns(path, collection, name.as_deref()) || watch.unbounded_send(line(&event)).is_ok()
        });
        object
    }

    /// `None` never answers.
    fn answer(&mut self, call: &Call, patch_type: &str) -> Option<kube::Result<(u16, Answer)>> {
        self.calls.push(call.clone());
        let (code, body) = match self.rule.as_mut().and_then(|rule| rule(call)) {
            Some(Instead::Hang) => return None,
            Some(Instead::Disconnect) => {
                let error = io::Error::from(io::ErrorKind::ConnectionRefused);
                return Some(Err(kube::Error::Service(Box::new(error))));
            }
            Some(Instead::Refuse(code, reason, message)) => refusal(code, reason, message),
            None if call.query.contains_key("watch") => match self.watch(call) {
                Some(events) => return Some(Ok((200, events))),
                None => refusal(410, "Expired", "too old resource version"),
            },
            None => self.serve(call, patch_type),
        };
        Some(Ok((code, Full::new(body.to_string().into()).boxed_unsync())))
    }

    fn serve(&mut self, call: &Call, patch_type: &str) -> (u16, Value) {
        let path = call.path.trim_end_matches("/status");
        let known = self.objects.get(path).cloned();
        let not_found = refusal(404, "NotFound", "not found");
        match call.method {
            _ if path == "version" => (
                200,
                json!({
                    "major": "1", "minor": "35+", "gitVersion": "v1.35.2", "gitCommit": "", "gitTreeState": "",
                    "buildDate": "", "goVersion": "", "compiler": "", "platform": "",
                }),
            ),
            Method::GET if is_collection(path) => {
                let name = selected(call);
                let items: Vec<Value> = self
                    .objects
                    .iter()
                    .filter(|(object, _)| concerns(object, path, name.as_deref()))
                    .map(|(_, object)| object.clone())
                    .collect();
                let kind = match path.rsplit('/').next() {
                    Some("configmaps") => "ConfigMapList",
                    Some("secrets") => "SecretList",
                    _ => "List",
                };
                let metadata = json!({ "resourceVersion": self.version.to_string() });
                (200, json!({ "apiVersion": "v1", "kind": kind, "metadata": metadata, "items": items }))
            }
            Method::GET => known.map_or(not_found, |object| (200, object)),
            Method::POST if path.ends_with("/token") => {
                self.tokens += 1;
                let mut granted = call.body.clone();
                granted["status"] = json!({
                    "token": format!("token {}", self.tokens), "expirationTimestamp": "2030-01-01T00:00:00Z",
                });
                (201, granted)
            }
            Method::POST => {
                let path = format!("{path}/{}", call.body["metadata"]["name"].as_str().unwrap());
                if self.objects.contains_key(&path) {
                    return refusal(409, "AlreadyExists", "already exists");
                }
                (201, self.store(&path, call.body.clone()))
            }
            Method::PUT | Method::PATCH => {
                let Some(mut object) = known else { return not_found };
                let sent = &call.body["metadata"];
                let metadata = &object["metadata"];
                if !sent["uid"].is_null() && sent["uid"] != metadata["uid"] {
                    return refusal(422, "Invalid", "metadata.uid: field is immutable");
                }
                if !sent["resourceVersion"].is_null() && sent["resourceVersion"] != metadata["resourceVersion"] {
                    return refusal(409, "Conflict", "the object has been modified");
                }
                match patch_type {
                    "application/strategic-merge-patch+json" => strategic(&mut object, &call.body),
                    "application/merge-patch+json" => merge(&mut object, &call.body),
                    _ => object = call.body.clone(),
                }
                if self.objects.get(path) == Some(&object) {
                    return (200, object);
                }
                (200, self.store(path, object))
            }
            Method::DELETE => {
                let Some(object) = known else { return not_found };
                let wanted = &call.body["preconditions"];
                for field in ["uid", "resourceVersion"] {
                    if !wanted[field].is_null() && wanted[field] != object["metadata"][field] {
                        return refusal(409, "Conflict", "it is another object or version");
                    }
                }
                self.objects.remove(path);
                (200, self.publish(path, "DELETED", object))
            }
            _ => refusal(405, "MethodNotAllowed", "not served"),
        }
    }

    /// `None`: it is too old to be resumed.
    fn watch(&mut self, call: &Call) -> Option<Answer> {
        let since: u64 = call.query.get("resourceVersion").and_then(|version| version.parse().ok()).unwrap_or(0);
        if since < self.oldest {
            return None;
        }
        let name = selected(call);
        let missed: Vec<Bytes> = self
            .log
            .iter()
            .filter(|(version, path, _)| *version > since && concerns(path, &call.path, name.as_deref()))
            .map(|(_, _, event)| line(event))
            .collect();
        let (sender, live) = unbounded();
        self.watches.push((call.path.clone(), name, sender));
        Some(StreamBody::new(stream::iter(missed).chain(live).map(|line| Ok(Frame::data(line)))).boxed_unsync())
    }
}

/// Whether a path is that of a list.
fn is_collection(path: &str) -> bool {
    let depth = path.split('/').count();
    if path.starts_with("namespaces/") { depth == 3 } else { depth == 1 }
}

/// Whether an object is in a collection, which may be that of all namespaces.
fn concerns(path: &str, collection: &str, name: Option<&str>) -> bool {
    let own = parent(path);
    let is_in = own == collection || (!collection.contains('/') && own.ends_with(&format!("/{collection}")));
    is_in && name.is_none_or(|name| path.rsplit('/').next() == Some(name))
}

fn selected(call: &Call) -> Option<String> {
    Some(call.query.get("fieldSelector")?.strip_prefix("metadata.name=")?.to_owned())
}

fn line(event: &Value) -> Bytes {
    format!("{event}\n").into()
}

fn refusal(code: u16, reason: &str, message: &str) -> (u16, Value) {
    (code, json!({ "kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": message }))
}

impl tower_service::Service<Request<Body>> for FakeApi {
    type Response = Response<Answer>;
    type Error = kube::Error;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let api = self.clone();
        async move {
            let (parts, body) = request.into_parts();
            let bytes = body.collect_bytes().await?;
            let path = parts.uri.path().trim_start_matches('/');
            let path = ["api/v1/", "apis/coordination.k8s.io/v1/"]
                .into_iter()
                .find_map(|prefix| path.strip_prefix(prefix))
                .unwrap_or(path)
                .to_owned();
            let query = parts.uri.query().unwrap_or_default().split('&').filter_map(|pair| pair.split_once('='));
            let query = query.map(|(name, value)| (name.to_owned(), value.replace("%3D", "="))).collect();
            let body = serde_json::from_slice(&bytes).unwrap_or_default();
            let call = Call { method: parts.method, path, query, body };
            let kind = parts.headers.get("content-type").and_then(|kind| kind.to_str().ok()).unwrap_or_default();
            let answer = api.0.lock().unwrap().answer(&call, kind);
            let Some(answer) = answer else { return pending().await };
            let (status, body) = answer?;
            Ok(Response::builder().status(status).body(body).unwrap())
        }
        .boxed()
    }
}

/// A JSON merge patch.
pub(crate) fn merge(into: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *into = patch.clone();
        return;
    };
    if !into.is_object() {
        *into = json!({});
    }
    let object = into.as_object_mut().unwrap();
    for (name, value) in patch {
        match value {
            Value::Null => drop(object.remove(name)),
            value => merge(object.entry(name.clone()).or_insert(Value::Null), value),
        }
    }
}

/// A strategic-merge patch, as far as pods and nodes need it.
pub(crate) fn strategic(into: &mut Value, patch: &Value) {
    let object = into.as_object_mut().unwrap();
    for (name, value) in patch.as_object().unwrap() {
        let key = match name.as_str() {
            "conditions" | "addresses" => Some("type"),
            "podIPs" | "hostIPs" => Some("ip"),
            _ => None,
        };
        match (key, value) {
            (_, Value::Null) => drop(object.remove(name)),
            (Some(key), Value::Array(entries)) => {
                let list = object.entry(name.clone()).or_insert_with(|| json!([])).as_array_mut().unwrap();
                if entries.iter().any(|entry| entry["$patch"] == "replace") {
                    list.clear();
                    list.extend(entries.iter().filter(|entry| entry.get("$patch").is_none()).cloned());
                    continue;
                }
                for entry in entries {
                    if entry["$patch"] == "delete" {
                        list.retain(|known| known[key] != entry[key]);
                        continue;
                    }
                    match list.iter_mut().find(|known| known[key] == entry[key]) {
                        Some(known) => strategic(known, entry),
                        None => {
                            let mut added = json!({});
                            strategic(&mut added, entry);
                            list.push(added);
                        }
                    }
                }
            }
            (None, Value::Object(_)) => strategic(object.entry(name.clone()).or_insert_with(|| json!({})), value),
            _ => drop(object.insert(name.clone(), value.clone())),
        }
    }
}
