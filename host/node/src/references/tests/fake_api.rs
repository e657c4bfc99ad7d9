//! A small API server in the process: lists, gets, watches, and grants tokens, and counts what it is asked.

use std::{
    collections::{BTreeMap, HashMap},
    convert::Infallible,
    sync::{Arc, Mutex},
    task::{Context, Poll},
};

use bytes::Bytes;
use futures::{
    FutureExt, StreamExt,
    channel::mpsc::{UnboundedSender, unbounded},
    future::BoxFuture,
    stream::BoxStream,
};
use http::{Method, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use kube::{Client, client::Body};
use serde_json::{Value, json};

type Stream = StreamBody<BoxStream<'static, Result<Frame<Bytes>, Infallible>>>;

#[derive(Clone, Default)]
pub(super) struct FakeApi(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    /// By path, such as `namespaces/ns/secrets/x`.
    objects: BTreeMap<String, Value>,
    version: u64,
    log: Vec<(u64, String, Value)>,
    /// Watches from before it cannot be resumed.
    oldest: u64,
    watches: Vec<(String, UnboundedSender<Bytes>)>,
    requests: Vec<String>,
    tokens: u64,
    /// Requests whose path contains the key are answered with this status.
    refusals: HashMap<String, u16>,
    down: bool,
}

impl FakeApi {
    pub(super) fn client(&self) -> Client {
        Client::new(self.clone(), "default")
    }

    /// Creates or changes an object at a path such as `namespaces/ns/secrets/x`.
    pub(super) fn put(&self, path: &str, mut object: Value) {
        let mut inner = self.0.lock().unwrap();
        inner.version += 1;
        let name = path.rsplit('/').next().unwrap();
        let metadata = object.as_object_mut().unwrap().entry("metadata").or_insert(json!({})).as_object_mut().unwrap();
        metadata.insert("name".into(), json!(name));
        metadata.insert("uid".into(), json!(format!("uid of {name}")));
        metadata.insert("resourceVersion".into(), json!(inner.version.to_string()));
        if let Some(namespace) = path.strip_prefix("namespaces/").and_then(|rest| rest.split('/').next()) {
            metadata.insert("namespace".into(), json!(namespace));
        }
        let kind = if inner.objects.insert(path.to_owned(), object.clone()).is_some() { "MODIFIED" } else { "ADDED" };
        inner.publish(path, kind, object);
    }

    pub(super) fn remove(&self, path: &str) {
        let mut inner = self.0.lock().unwrap();
        inner.version += 1;
        let mut object = inner.objects.remove(path).unwrap();
        object["metadata"]["resourceVersion"] = json!(inner.version.to_string());
        inner.publish(path, "DELETED", object);
    }

    /// Answers requests whose path contains `part` with an error, or again normally.
    pub(super) fn refuse(&self, part: &str, status: Option<u16>) {
        let mut inner = self.0.lock().unwrap();
        match status {
            Some(status) => inner.refusals.insert(part.to_owned(), status),
            None => inner.refusals.remove(part),
        };
    }

    /// Takes no connections, or does again.
    pub(super) fn set_down(&self, down: bool) {
        self.0.lock().unwrap().down = down;
    }

    /// Closes all watches, as a restart does.
    pub(super) fn close_watches(&self) {
        self.0.lock().unwrap().watches.clear();
    }

    /// Forgets what was before, so that watches must begin again with a list.
    pub(super) fn compact(&self) {
        let mut inner = self.0.lock().unwrap();
        inner.version += 1;
        inner.oldest = inner.version;
    }

    pub(super) fn open_watches(&self) -> usize {
        self.0.lock().unwrap().watches.iter().filter(|(_, sender)| !sender.is_closed()).count()
    }

    /// The requests so far whose text contains all parts.
    pub(super) fn requests(&self, parts: &[&str]) -> Vec<String> {
        let inner = self.0.lock().unwrap();
        inner.requests.iter().filter(|request| parts.iter().all(|part| request.contains(part))).cloned().collect()
    }

    async fn answer(self, request: Request<Body>) -> Result<Response<Stream>, std::io::Error> {
        let (parts, body) = request.into_parts();
        let body = body.collect().await.map_err(std::io::Error::other)?.to_bytes();
        let path = parts.uri.path().strip_prefix("/api/v1/").unwrap().to_owned();
        let query: HashMap<String, String> = parts
            .uri
            .query()
            .unwrap_or_default()
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.replace("%3D", "=")))
            .collect();
        let mut inner = self.0.lock().unwrap();
        if inner.down {
            return Err(std::io::Error::from(std::io::ErrorKind::ConnectionRefused));
        }
        inner.requests.push(format!("{} {path} {}", parts.method, parts.uri.query().unwrap_or_default()));
        let refusal = inner.refusals.iter().find(|(part, _)| path.contains(*part)).map(|(_, status)| *status);
        if let Some(status) = refusal {
            return Ok(failure(status, &format!("refused {path}")));
        }
        if parts.method == Method::POST {
            let asked: Value = serde_json::from_slice(&body).unwrap();
            inner.tokens += 1;
            let mut granted = asked.clone();
            granted["status"] =
                json!({"token": format!("token {}", inner.tokens), "expirationTimestamp": "2030-01-01T00:00:00Z"});
            return Ok(success(granted));
        }
        if is_collection(&path) {
            let name = query.get("fieldSelector").and_then(|selector| selector.strip_prefix("metadata.name="));
            if query.contains_key("watch") {
                let from: u64 = query["resourceVersion"].parse().unwrap();
                if from < inner.oldest {
                    return Ok(failure(410, "too old resource version"));
                }
                let (sender, receiver) = unbounded();
                let prefix = name.map_or(path.clone(), |name| format!("{path}/{name}"));
                for (version, object, event) in &inner.log {
                    if *version > from && matches(&prefix, object) {
                        sender.unbounded_send(line(event)).unwrap();
                    }
                }
                inner.watches.push((prefix, sender));
                return Ok(Response::new(StreamBody::new(receiver.map(Frame::data).map(Ok).boxed())));
            }
            let items: Vec<_> = inner
                .objects
                .iter()
                .filter(|(object, _)| {
                    matches(&path, object) && name.is_none_or(|name| object.ends_with(&format!("/{name}")))
                })
                .map(|(_, object)| object)
                .collect();
            let kind = match path.rsplit('/').next().unwrap() {
                "secrets" => "SecretList",
                "configmaps" => "ConfigMapList",
                "services" => "ServiceList",
                other => panic!("nobody lists {other}"),
            };
            let metadata = json!({"resourceVersion": inner.version.to_string()});
            return Ok(success(json!({"apiVersion": "v1", "kind": kind, "metadata": metadata, "items": items})));
        }
        Ok(match inner.objects.get(&path) {
            Some(object) => success(object.clone()),
            None => failure(404, "not found"),
        })
    }
}

impl Inner {
    fn publish(&mut self, path: &str, kind: &str, object: Value) {
        let event = json!({"type": kind, "object": object});
        for (prefix, sender) in &self.watches {
            if matches(prefix, path) {
                let _ = sender.unbounded_send(line(&event));
            }
        }
        self.log.push((self.version, path.to_owned(), event));
    }
}

/// Whether a path is of an object, of its collection, or of the collection in all namespaces.
fn matches(prefix: &str, path: &str) -> bool {
    let collection = path.rsplit_once('/').unwrap().0;
    path == prefix || collection == prefix || (!prefix.contains('/') && collection.ends_with(&format!("/{prefix}")))
}

fn is_collection(path: &str) -> bool {
    ["secrets", "configmaps", "services"].iter().any(|kind| path.ends_with(kind))
}

fn line(event: &Value) -> Bytes {
    Bytes::from(format!("{event}\n"))
}

fn success(body: Value) -> Response<Stream> {
    let frame = Frame::data(Bytes::from(body.to_string()));
    Response::new(StreamBody::new(futures::stream::iter([Ok(frame)]).boxed()))
}

fn failure(code: u16, message: &str) -> Response<Stream> {
    let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message, "code": code, "reason": ""});
    let mut response = success(status);
    *response.status_mut() = code.try_into().unwrap();
    response
}

impl tower_service::Service<Request<Body>> for FakeApi {
    type Response = Response<Stream>;
    type Error = std::io::Error;
    type Future = BoxFuture<'static, Result<Response<Stream>, std::io::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), std::io::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        self.clone().answer(request).boxed()
    }
}
