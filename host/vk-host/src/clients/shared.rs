//! kube's client over connections that requests share: what kube makes by itself speaks HTTP/1.1 only.

use anyhow::{Context as _, bail};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderValue, Uri};
use hyper::rt::{Read, Write};
use hyper_rustls::{FixedServerNameResolver, HttpsConnectorBuilder};
use hyper_timeout::TimeoutConnector;
use hyper_util::{
    client::legacy::{
        self,
        connect::{
            Connection, HttpConnector,
            proxy::{SocksV5, Tunnel},
        },
    },
    rt::TokioExecutor,
};
use kube::{
    Client, Config,
    client::{Body, ClientBuilder, ConfigExt as _, retry::RetryPolicy},
};
use percent_encoding::percent_decode_str;
use rustls::pki_types::ServerName;
use tower::{BoxError, Service, ServiceBuilder, retry::RetryLayer};

use super::{metrics::Metrics, pool::Pool};

/// A client whose requests share connections, as far as the server speaks HTTP/2.
///
/// # Errors
///
/// If the credentials cannot be used, or the proxy is of a kind that is not known.
pub(super) fn client(config: &Config, metrics: &Metrics) -> anyhow::Result<Client> {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(config.connect_timeout);
    let Some(proxy) = &config.proxy_url else { return over(config, metrics, tcp) };
    match proxy.scheme_str() {
        Some("http") => over(config, metrics, tunnel(proxy, tcp)?),
        Some("https") => over(config, metrics, tunnel(proxy, config.rustls_https_connector_with_connector(tcp)?)?),
        Some("socks5") => over(config, metrics, SocksV5::new(proxy.clone(), tcp)),
        _ => bail!("the proxy {} is not of a known kind: give http, https or socks5", without_login(proxy)),
    }
}

/// The client over connections that `connector` makes.
fn over<C>(config: &Config, metrics: &Metrics, connector: C) -> anyhow::Result<Client>
where
    C: Service<Uri> + Clone + Send + Sync + 'static,
    C::Response: Connection + Read + Write + Send + Unpin + 'static,
    C::Error: Into<BoxError>,
    C::Future: Send + 'static,
{
    let tls = config.rustls_client_config()?;
    let name = config.tls_server_name.clone().map(ServerName::try_from).transpose().context("tls-server-name")?;
    let https = || {
        let builder = HttpsConnectorBuilder::new().with_tls_config(tls.clone()).https_or_http();
        match &name {
            Some(name) => builder.with_server_name_resolver(FixedServerNameResolver::new(name.clone())),
            None => builder,
        }
    };
    let mut http1 = TimeoutConnector::new(https().enable_http1().wrap_connector(connector.clone()));
    http1.set_connect_timeout(config.connect_timeout);
    http1.set_read_timeout(config.read_timeout);
    http1.set_write_timeout(config.write_timeout);
    http1.set_reset_reader_on_write(config.reset_reader_on_write);
    let http1 = legacy::Client::builder(TokioExecutor::new()).build::<_, Body>(http1);
    let negotiated = https().enable_all_versions().wrap_connector(connector);
    let pool =
        Pool::new(negotiated, http1, config.cluster_url.clone(), config.connect_timeout, metrics.connections.clone());
    // In the order of kube's own client.
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(config.default_retry.then(|| RetryLayer::new(RetryPolicy::server_retry())))
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .layer(metrics.clone())
        .service(pool);
    Ok(ClientBuilder::new(service, config.default_namespace.clone()).build())
}

/// Through an HTTP proxy, with the login that its URL may have.
fn tunnel<C>(proxy: &Uri, connector: C) -> anyhow::Result<Tunnel<C>> {
    let tunnel = Tunnel::new(proxy.clone(), connector);
    let Some((login, _)) = proxy.authority().and_then(|authority| authority.as_str().split_once('@')) else {
        return Ok(tunnel);
    };
    let login: Vec<u8> = percent_decode_str(login).collect();
    let value = HeaderValue::try_from(format!("Basic {}", STANDARD.encode(login)))?;
    Ok(tunnel.with_auth(value))
}

/// A proxy's URL as it may be shown.
fn without_login(proxy: &Uri) -> String {
    let host = proxy.host().unwrap_or_default();
    proxy.scheme_str().map_or_else(|| host.to_owned(), |scheme| format!("{scheme}://{host}"))
}
