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
use prometheus_client::{encoding::text::encode, metrics::info::Info, registry::Registry};
use tokio::{net::TcpListener, sync::watch};
use tokio_util::sync::CancellationToken;

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

#[derive(Clone)]
struct Admin {
    registry: Arc<Registry>,
    ready: watch::Receiver<bool>,
}

/// A registry that says which version runs.
pub(crate) fn registry() -> Registry {
    let mut registry = Registry::default();
    let version = Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]);
    registry.register("vk_host_build", "The program that runs", version);
    registry
}

/// Takes the address; a port without host is that port of every address.
///
/// # Errors
///
/// If it cannot be had.
pub(crate) async fn listen(address: &str) -> anyhow::Result<TcpListener> {
    let bound = match address.strip_prefix(':') {
        // Where there is no IPv6, the second.
        Some(port) => match TcpListener::bind(format!("[::]:{port}")).await {
            Err(_) => TcpListener::bind(format!("0.0.0.0:{port}")).await,
            bound => bound,
        },
        None => TcpListener::bind(address).await,
    };
    bound.with_context(|| format!("--metrics-addr {address} cannot be listened on"))
}

/// Serves until `stop`. `ready` tells whether the node is registered.
pub(crate) async fn serve(
    listener: TcpListener,
    registry: Arc<Registry>,
    ready: watch::Receiver<bool>,
    stop: CancellationToken,
) {
    let routes = Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(readiness))
        .with_state(Admin { registry, ready });
    // Scrapes in flight are not worth waiting for.
    tokio::select! {
        ended = axum::serve(listener, routes) => tracing::error!(?ended, "the server of metrics ended"),
        () = stop.cancelled() => {}
    }
}

async fn metrics(State(admin): State<Admin>) -> axum::response::Response {
    let mut text = String::new();
    match encode(&mut text, &admin.registry) {
        Ok(()) => ([(CONTENT_TYPE, OPENMETRICS)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

async fn readiness(State(admin): State<Admin>) -> (StatusCode, &'static str) {
    if *admin.ready.borrow() {
        (StatusCode::OK, "ok\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "the node is not registered\n")
    }
}

#[cfg(test)]
mod tests {
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
        let (ready, watched) = watch::channel(false);
        let stop = CancellationToken::new();
        let server = tokio::spawn(serve(listener, Arc::new(registry()), watched, stop.clone()));

        assert!(get(address, "/healthz").await.starts_with("HTTP/1.1 200"));
        assert!(get(address, "/readyz").await.starts_with("HTTP/1.1 503"));
        ready.send(true).unwrap();
        assert!(get(address, "/readyz").await.starts_with("HTTP/1.1 200"));
        let metrics = get(address, "/metrics").await;
        assert!(metrics.to_lowercase().contains(&format!("content-type: {OPENMETRICS}")), "{metrics}");
        assert!(metrics.contains("vk_host_build_info{version=\"") && metrics.contains("# EOF"), "{metrics}");
        assert!(get(address, "/").await.starts_with("HTTP/1.1 404"));

        stop.cancel();
        server.await.unwrap();
    }

    #[tokio::test]
    async fn an_address_in_use_is_named() {
        let taken = listen("127.0.0.1:0").await.unwrap();
        let address = taken.local_addr().unwrap().to_string();
        let refusal = listen(&address).await.unwrap_err().to_string();
        assert!(refusal.contains(&address) && refusal.contains("--metrics-addr"), "{refusal}");
    }
}
