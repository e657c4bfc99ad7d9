//! What is asked of the API server, counted by outcome.

use std::{
    fmt::{self, Write as _},
    task::{Context, Poll},
};

use futures::{FutureExt as _, future::BoxFuture};
use http::{Method, Request, Response, StatusCode};
use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder},
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::{Registry, Unit},
};
use tokio::time::Instant;
use tower::{Layer, Service};

/// What the host reads or writes; anything else is counted as `other`, so that no path makes new series.
const RESOURCES: [&str; 15] = [
    "configmaps",
    "events",
    "leases",
    "namespaces",
    "nodes",
    "nodes/status",
    "persistentvolumeclaims",
    "persistentvolumes",
    "pods",
    "pods/status",
    "runtimeclasses",
    "secrets",
    "serviceaccounts/token",
    "services",
    "version",
];

/// What the host's writes are answered with, and what tells that the API server cannot be used.
const USUAL_CODES: [Option<StatusCode>; 9] = [
    Some(StatusCode::OK),
    Some(StatusCode::UNAUTHORIZED),
    Some(StatusCode::FORBIDDEN),
    Some(StatusCode::TOO_MANY_REQUESTS),
    Some(StatusCode::INTERNAL_SERVER_ERROR),
    Some(StatusCode::BAD_GATEWAY),
    Some(StatusCode::SERVICE_UNAVAILABLE),
    Some(StatusCode::GATEWAY_TIMEOUT),
    None,
];

/// Verb and resource.
type Kind = [(&'static str, &'static str); 2];

/// Families of requests and connections. Clones share their values.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    requests: Family<Outcome, Counter>,
    seconds: Family<Kind, Histogram, fn() -> Histogram>,
    pub(super) connections: Gauge,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    verb: &'static str,
    resource: &'static str,
    code: Code,
}

/// An answer's status; `none` where there was no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Code(Option<StatusCode>);

impl EncodeLabelValue for Code {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        encoder.write_str(self.0.as_ref().map_or("none", StatusCode::as_str))
    }
}

impl Metrics {
    /// Registers the families.
    pub(crate) fn new(registry: &mut Registry) -> Self {
        // 1 ms to 16 s: from a server on this machine to beyond what most requests may take.
        let latency = || Histogram::new(exponential_buckets(0.001, 2.0, 15));
        let metrics = Self {
            requests: Family::default(),
            seconds: Family::new_with_constructor(latency),
            connections: Gauge::default(),
        };
        registry.register("vk_api_requests", "Requests to the API server", metrics.requests.clone());
        registry.register_with_unit(
            "vk_api_request_duration",
            "Time from a request to the beginning of the API server's answer",
            Unit::Seconds,
            metrics.seconds.clone(),
        );
        registry.register(
            "vk_api_connections",
            "HTTP/2 connections to the API server that take new requests",
            metrics.connections.clone(),
        );
        // A series that is not there until something happens is one that no alert can be based on.
        for (verb, resource) in [("patch", "pods/status"), ("delete", "pods"), ("update", "leases")] {
            for code in USUAL_CODES {
                drop(metrics.requests.get_or_create(&Outcome { verb, resource, code: Code(code) }));
            }
            drop(metrics.seconds.get_or_create(&[("verb", verb), ("resource", resource)]));
        }
        metrics
    }
}

/// Counts what passes.
impl<S> Layer<S> for Metrics {
    type Service = Counted<S>;

    fn layer(&self, inner: S) -> Counted<S> {
        Counted { inner, metrics: self.clone() }
    }
}

/// A client whose requests are counted.
#[derive(Clone)]
pub(crate) struct Counted<S> {
    inner: S,
    metrics: Metrics,
}

impl<S, A, B> Service<Request<A>> for Counted<S>
where
    S: Service<Request<A>, Response = Response<B>>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<S::Response, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<A>) -> Self::Future {
        let record = Record::new(self.metrics.clone(), &request);
        let answer = self.inner.call(request);
        async move {
            let answer = answer.await;
            record.end(answer.as_ref().ok().map(Response::status));
            answer
        }
        .boxed()
    }
}

/// One attempt, counted when this is dropped: without an answer if it failed or its caller gave up.
struct Record {
    metrics: Metrics,
    began: Instant,
    verb: &'static str,
    resource: &'static str,
    status: Option<StatusCode>,
}

impl Record {
    fn new<B>(metrics: Metrics, request: &Request<B>) -> Self {
        let (resource, named) = target(request.uri().path());
        let verb = verb(request.method(), request.uri().query().unwrap_or_default(), named);
        Self { metrics, began: Instant::now(), verb, resource, status: None }
    }

    fn end(mut self, status: Option<StatusCode>) {
        self.status = status;
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let Self { verb, resource, status, .. } = *self;
        self.metrics.requests.get_or_create(&Outcome { verb, resource, code: Code(status) }).inc();
        let seconds = self.metrics.seconds.get_or_create(&[("verb", verb), ("resource", resource)]);
        seconds.observe(self.began.elapsed().as_secs_f64());
    }
}

fn verb(method: &Method, query: &str, named: bool) -> &'static str {
    match *method {
        Method::GET if query.split('&').any(|pair| pair == "watch=true") => "watch",
        Method::GET if named => "get",
        Method::GET => "list",
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        _ => "other",
    }
}

/// The resource of a path, with its subresource, and whether one object is named.
fn target(path: &str) -> (&'static str, bool) {
    let mut words = path.split('/').filter(|word| !word.is_empty()).peekable();
    // A server behind a proxy may have a path before its own.
    let group = words.find(|word| matches!(*word, "api" | "apis" | "version"));
    let before_resource = match group {
        Some("version") => return ("version", true),
        Some("api") => 1,
        _ => 2,
    };
    let mut words = words.skip(before_resource).peekable();
    if words.peek() == Some(&"namespaces") {
        let _ = (words.next(), words.next());
        if words.peek().is_none() {
            return ("namespaces", true);
        }
    }
    let (resource, name, subresource) = (words.next().unwrap_or_default(), words.next(), words.next());
    let known = RESOURCES.iter().find(|known| match known.split_once('/') {
        Some((of, below)) => of == resource && subresource == Some(below),
        None => **known == resource && subresource.is_none(),
    });
    (known.copied().unwrap_or("other"), name.is_some())
}

#[cfg(test)]
mod tests {
    use std::{convert::Infallible, future::pending};

    use prometheus_client::encoding::text::encode;
    use tower::{ServiceExt as _, service_fn};

    use super::*;

    #[test]
    fn a_path_tells_the_resource_and_the_method_the_verb() {
        for (method, uri, wanted) in [
            (Method::GET, "/api/v1/pods?fieldSelector=spec.nodeName%3Dn", ("list", "pods")),
            (Method::GET, "/api/v1/pods?watch=true&resourceVersion=1", ("watch", "pods")),
            (Method::GET, "/api/v1/namespaces/ns/secrets?fieldSelector=x&watch=true", ("watch", "secrets")),
            (Method::PATCH, "/api/v1/namespaces/ns/pods/p/status", ("patch", "pods/status")),
            (Method::DELETE, "/api/v1/namespaces/ns/pods/p", ("delete", "pods")),
            (Method::GET, "/api/v1/namespaces/kube-system", ("get", "namespaces")),
            (Method::POST, "/api/v1/namespaces/ns/serviceaccounts/robot/token", ("create", "serviceaccounts/token")),
            (Method::GET, "/apis/node.k8s.io/v1/runtimeclasses/r", ("get", "runtimeclasses")),
            (Method::PUT, "/apis/coordination.k8s.io/v1/namespaces/n/leases/l", ("update", "leases")),
            (Method::GET, "/k8s/clusters/c/api/v1/nodes/n", ("get", "nodes")),
            (Method::PATCH, "/api/v1/nodes/n/status", ("patch", "nodes/status")),
            (Method::GET, "/version", ("get", "version")),
            (Method::GET, "/api/v1/namespaces/ns/somethings/new", ("get", "other")),
            (Method::GET, "/", ("list", "other")),
        ] {
            let request = Request::builder().method(method).uri(uri).body(()).unwrap();
            let record = Record::new(Metrics::new(&mut Registry::default()), &request);
            assert_eq!((record.verb, record.resource), wanted, "{uri}");
        }
    }

    #[tokio::test]
    async fn every_attempt_is_counted_by_its_answer() {
        let mut registry = Registry::default();
        let metrics = Metrics::new(&mut registry);
        let server = service_fn(async |request: Request<u16>| {
            let Ok(status) = StatusCode::from_u16(*request.body()) else { return pending().await };
            Ok::<_, Infallible>(Response::builder().status(status).body(()).unwrap())
        });
        let client = metrics.layer(server);
        for status in [200, 201, 404, 410, 409, 422, 403, 400, 429, 503, 0] {
            let request = Request::patch("/api/v1/namespaces/ns/pods/p/status").body(status).unwrap();
            // The last one is given up.
            let _ = client.clone().oneshot(request).now_or_never();
        }
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        for code in ["200", "201", "404", "410", "409", "422", "403", "400", "429", "503", "none"] {
            let sample =
                format!("vk_api_requests_total{{verb=\"patch\",resource=\"pods/status\",code=\"{code}\"}} 1\n");
            assert!(text.contains(&sample), "{sample} is not in: {text}");
        }
        assert!(text.contains("vk_api_request_duration_seconds_count{verb=\"patch\",resource=\"pods/status\"} 11"));
    }
}
