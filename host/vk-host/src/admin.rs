//! The server behind `--metrics-addr`: /metrics, /healthz and /readyz.

use std::sync::Arc;

use anyhow::Context as _;
use axum::{
    Router,
    extract::State,
    http::{StatusCode, header::CONTENT_TYPE},
    response::IntoResponse,
    routing::get,
};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric as _, text::encode},
    metrics::{gauge::ConstGauge, info::Info},
    registry::Registry,
};
use tokio::{net::TcpListener, runtime::Handle, sync::watch};
use tokio_util::sync::CancellationToken;

use crate::address;

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

#[derive(Clone)]
struct Admin {
    registry: Arc<Registry>,
    readiness: Readiness,
}

/// Whether the node is registered and not on its way out.
#[derive(Clone)]
pub(crate) struct Readiness {
    pub(crate) registered: watch::Receiver<bool>,
    pub(crate) stop: CancellationToken,
}

/// A registry that says which version runs.
pub(crate) fn registry() -> Registry {
    let mut registry = Registry::default();
    let version = Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]);
    registry.register("vk_host_build", "The program that runs", version);
    registry.register_collector(Box::new(Tasks));
    registry
}

/// How many tasks run, as tokio has it at the moment.
#[derive(Debug)]
struct Tasks;

impl Collector for Tasks {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let tasks = Handle::try_current().map_or(0, |threads| threads.metrics().num_alive_tasks());
        let gauge = ConstGauge::new(i64::try_from(tasks).unwrap_or(i64::MAX));
        let encoder = encoder.encode_descriptor("vk_host_tasks", "Tasks of the process", None, gauge.metric_type())?;
        gauge.encode(encoder)
    }
}

/// Takes the address.
///
/// # Errors
///
/// If it cannot be had.
pub(crate) async fn listen(address: &str) -> anyhow::Result<TcpListener> {
    let bound = address::listen(address).await;
    bound.with_context(|| format!("--metrics-addr {address} cannot be listened on"))
}

/// Serves as long as the process lives: a stop takes a while, and is worth watching.
pub(crate) async fn serve(listener: TcpListener, registry: Arc<Registry>, readiness: Readiness) {
    let routes = Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .with_state(Admin { registry, readiness });
    let ended = axum::serve(listener, routes).await;
    tracing::error!(?ended, "the server of metrics ended");
}

async fn metrics(State(admin): State<Admin>) -> axum::response::Response {
    let mut text = String::new();
    match encode(&mut text, &admin.registry) {
        Ok(()) => ([(CONTENT_TYPE, OPENMETRICS)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

async fn readyz(State(Admin { readiness, .. }): State<Admin>) -> (StatusCode, &'static str) {
    if readiness.stop.is_cancelled() {
        (StatusCode::SERVICE_UNAVAILABLE, "the node is stopping\n")
    } else if *readiness.registered.borrow() {
        (StatusCode::OK, "ok\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "the node is not registered\n")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpStream,
    };

    use super::*;

    async fn get(address: std::net::SocketAddr, path: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: vk-host\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn readiness_follows_the_node_and_metrics_are_openmetrics() {
        let listener = listen("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (ready, registered) = watch::channel(false);
        let stop = CancellationToken::new();
        tokio::spawn(serve(listener, Arc::new(registry()), Readiness { registered, stop: stop.clone() }));

        assert!(get(address, "/healthz").await.starts_with("HTTP/1.1 200"));
        assert!(get(address, "/readyz").await.starts_with("HTTP/1.1 503"));
        ready.send(true).unwrap();
        assert!(get(address, "/readyz").await.starts_with("HTTP/1.1 200"));
        let metrics = get(address, "/metrics").await;
        assert!(metrics.to_lowercase().contains(&format!("content-type: {OPENMETRICS}")), "{metrics}");
        assert!(metrics.contains("vk_host_build_info{version=\"") && metrics.contains("# EOF"), "{metrics}");
        assert!(get(address, "/").await.starts_with("HTTP/1.1 404"));

        stop.cancel();
        assert!(get(address, "/readyz").await.starts_with("HTTP/1.1 503"));
        assert!(get(address, "/healthz").await.starts_with("HTTP/1.1 200"));
    }

    #[tokio::test]
    async fn an_address_in_use_is_named() {
        let taken = listen("127.0.0.1:0").await.unwrap();
        let address = taken.local_addr().unwrap().to_string();
        let refusal = listen(&address).await.unwrap_err().to_string();
        assert!(refusal.contains(&address) && refusal.contains("--metrics-addr"), "{refusal}");
    }

    /// Name, type and labels of every family, of the text format.
    fn exported(text: &str) -> BTreeSet<[String; 3]> {
        let words = |line: &str, keyword| {
            line.strip_prefix(keyword)?.split_once(' ').map(|(a, b)| (a.to_owned(), b.to_owned()))
        };
        let types = text.lines().filter_map(|line| words(line, "# TYPE "));
        types
            .map(|(family, kind)| {
                let suffix = match kind.as_str() {
                    "counter" => "_total",
                    "histogram" => "_bucket",
                    "info" => "_info",
                    _ => "",
                };
                let name = format!("{family}{suffix}");
                let sample = text.lines().find(|line| line.split([' ', '{']).next() == Some(&name)).unwrap_or_default();
                let labels = sample.split_once('{').and_then(|(_, rest)| rest.rsplit_once('}')).unwrap_or_default().0;
                let labels = labels.split(',').filter_map(|label| label.split_once('=').map(|(label, _)| label));
                let labels = labels.filter(|label| *label != "le").collect::<Vec<_>>().join(", ");
                let name = if kind == "histogram" { family } else { name };
                [name, kind, labels]
            })
            .collect()
    }

    /// The same, of the rows of a table in Markdown, whose names and labels are in backquotes.
    fn documented(text: &str) -> BTreeSet<[String; 3]> {
        let rows = text.lines().filter_map(|line| line.strip_prefix("| `vk_"));
        rows.map(|row| {
            let mut cells = row.split('|').map(|cell| cell.replace(['`', ' '], "").replace(',', ", "));
            let name = format!("vk_{}", cells.next().unwrap_or_default());
            [name, cells.next().unwrap_or_default(), cells.next().unwrap_or_default()]
        })
        .collect()
    }

    #[tokio::test]
    async fn the_documented_metrics_are_those_that_are_exported() {
        let mut registry = registry();
        crate::clients::Metrics::new(&mut registry);
        crate::run::engine(&crate::flags::CacheDir::Nowhere, &mut registry).unwrap();
        vk_node::Metrics::new(&mut registry);
        vk_kubelet::Metrics::new(&mut registry);
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();

        let documents = include_str!("../../../docs/metrics.md");
        assert_eq!(exported(&text), documented(documents));
    }
}
