//! What is at each path.

mod held;
mod log;
mod pods;
mod session;

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use k8s_openapi::api::core::v1::Pod;
use prometheus_client::{encoding::text::encode, registry::Registry};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use vk_provider::{Logs, Sessions};

use crate::{
    Metrics, NodePod, Pods,
    body::{Body, full, text},
    metrics::StreamKind,
    path::{PodPath, Route},
    refusal::Refusal,
    reviews::User,
    server::{Peer, Slots},
    stats,
    streams::Streams,
};

use held::Held;
pub(crate) use held::{PodName, StreamPlaces};

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";
const JSON: &str = "application/json";

/// What the routes serve.
pub(crate) struct Parts {
    pub(crate) logs: Arc<dyn Logs>,
    pub(crate) sessions: Arc<dyn Sessions>,
    pub(crate) collector: stats::Collector,
    pub(crate) pods: Arc<dyn Pods>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) ready: watch::Receiver<bool>,
    pub(crate) streams: Streams,
    pub(crate) end: CancellationToken,
    pub(crate) places: StreamPlaces,
    pub(crate) metrics: Metrics,
}

/// Answers requests that are let through.
pub(crate) struct Routes {
    parts: Parts,
    /// Places for connections to ports.
    forwarded: Slots<String>,
}

/// A request, and whose it is.
pub(crate) struct Call {
    pub(crate) request: Request<Incoming>,
    pub(crate) user: User,
    pub(crate) peer: Arc<Peer>,
    /// The pod that its path names, if it does.
    pub(crate) pod: Option<PodName>,
}

impl Routes {
    pub(crate) fn new(parts: Parts) -> Self {
        Self { parts, forwarded: Slots::new(session::FORWARDED_PER_USER, usize::MAX) }
    }

    pub(crate) async fn answer(&self, route: Route<'_>, call: Call) -> Result<Response<Body>, Refusal> {
        match route {
            Route::Healthz => Ok(text(StatusCode::OK, "ok")),
            Route::Readyz => self.readiness(),
            Route::Pods => Ok(pods::all(self.parts.pods.all())),
            Route::RunningPods => Ok(pods::running(self.parts.pods.all())),
            Route::Summary => {
                let only_cpu_and_memory = query(&call.request).any(|(name, value)| {
                    name == "only_cpu_and_memory"
                        && matches!(value.as_str(), "1" | "t" | "T" | "true" | "True" | "TRUE")
                });
                Ok(content(JSON, self.parts.collector.summary(only_cpu_and_memory).await?))
            }
            Route::ResourceMetrics => Ok(content(PROMETHEUS, self.parts.collector.resource_metrics().await?)),
            Route::ContainerMetrics => Ok(content(PROMETHEUS, self.parts.collector.cadvisor_metrics().await?)),
            Route::Metrics => self.own_metrics(),
            // Probes are the provider's: there are none to tell of, but who scrapes this takes 404 for a node that is down.
            Route::ProbeMetrics => Ok(content(PROMETHEUS, Bytes::new())),
            Route::ContainerLogs(pod, container) => self.logs(pod, container, call).await,
            Route::Exec(pod, container) => self.exec(pod, container, call),
            Route::Attach(pod, container) => self.attach(pod, container, call),
            Route::PortForward(pod) => self.port_forward(pod, call),
        }
    }

    fn readiness(&self) -> Result<Response<Body>, Refusal> {
        let not_ready = |why: &'static str| Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, why));
        if self.parts.streams.stop.is_cancelled() {
            not_ready("the node is stopping")
        } else if *self.parts.ready.borrow() {
            Ok(text(StatusCode::OK, "ok"))
        } else {
            not_ready("the node is not registered")
        }
    }

    fn own_metrics(&self) -> Result<Response<Body>, Refusal> {
        let mut text = String::new();
        encode(&mut text, &self.parts.registry)
            .map_err(|error| Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
        Ok(content(OPENMETRICS, text))
    }

    /// A pod of the node, and the one that is meant: a pod that was made anew has another uid.
    fn find(&self, path: PodPath<'_>) -> Option<NodePod> {
        let pod = self.parts.pods.find(path.namespace, path.name)?;
        path.uid.is_none_or(|uid| uid == pod.id.uid).then_some(pod)
    }

    /// Place for one more stream of a user and a pod.
    fn hold(&self, kind: StreamKind, call: &Call) -> Result<Held, Refusal> {
        let places = self.parts.places.take(&call.user.name, call.pod.as_ref())?;
        Ok(Held::new(places, self.parts.metrics.stream(kind), call.peer.clone()))
    }
}

fn content(kind: &'static str, body: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(full(body));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

/// The parameters of a request.
fn query<B>(request: &Request<B>) -> impl Iterator<Item = (String, String)> + '_ {
    form_urlencoded::parse(request.uri().query().unwrap_or_default().as_bytes()).into_owned()
}

/// Whether a pod has this container, of whatever sort.
fn has_container(pod: &Pod, name: &str) -> bool {
    let Some(spec) = &pod.spec else { return false };
    let init = spec.init_containers.iter().flatten();
    let ephemeral = spec.ephemeral_containers.iter().flatten();
    spec.containers.iter().chain(init).any(|container| container.name == name)
        || ephemeral.into_iter().any(|container| container.name == name)
}
