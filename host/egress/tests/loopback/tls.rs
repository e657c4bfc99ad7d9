//! TLS: trust, identities, names, HTTP/2, and handshakes that stall.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::{RootCertStore, ServerConfig, server::WebPkiClientVerifier};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use vk_egress::{Egress, Failure, Limits, Metrics, Policy, PolicyError, Timeouts, TlsSettings};

use crate::server::{OK, Server, egress, get};

pub(crate) struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        Self { pem, issuer: Issuer::new(params, key) }
    }

    /// Certificate and key in PEM.
    fn issue(&self, name: &str) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, &self.issuer).unwrap();
        (certificate.pem(), key.serialize_pem())
    }

    pub(crate) fn acceptor(&self, name: &str, clients: Option<&Self>, protocol: &[u8]) -> TlsAcceptor {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder =
            ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions().unwrap();
        let builder = match clients {
            Some(authority) => {
                let mut roots = RootCertStore::empty();
                roots.add(CertificateDer::from_pem_slice(authority.pem.as_bytes()).unwrap()).unwrap();
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                builder.with_client_cert_verifier(verifier.build().unwrap())
            }
            None => builder.with_no_client_auth(),
        };
        let (certificate, key) = self.issue(name);
        let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
        let mut config =
            builder.with_single_cert(chain, PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap()).unwrap();
        config.alpn_protocols = vec![protocol.to_vec()];
        TlsAcceptor::from(Arc::new(config))
    }

    pub(crate) fn settings(&self) -> TlsSettings {
        TlsSettings { ca: Some(self.pem.clone().into_bytes()), ..TlsSettings::default() }
    }
}

fn url(server: &Server) -> String {
    format!("https://{}", server.address)
}

fn policy(url: &str, settings: Option<TlsSettings>) -> Policy {
    let tls: BTreeMap<_, _> = settings.map(|settings| (url.to_owned(), settings)).into_iter().collect();
    let limits = Limits { connect_timeout: Duration::from_millis(500), ..Limits::default() };
    Policy { grants: vec![url.parse().unwrap()], tls, limits, ..Policy::default() }
}

async fn ask(url: &str, settings: Option<TlsSettings>) -> Result<u16, Failure> {
    egress(policy(url, settings)).send(get(url)).await.map(|response| response.status)
}

#[tokio::test]
async fn a_configured_authority_is_trusted_by_its_origin_only() {
    let authority = Authority::new();
    let server = Server::start_tls(OK, Some(authority.acceptor("127.0.0.1", None, b"http/1.1"))).await;
    let other = Server::start_tls(OK, Some(authority.acceptor("127.0.0.1", None, b"http/1.1"))).await;
    let mut policy = policy(&url(&server), Some(authority.settings()));
    policy.grants.push(url(&other).parse().unwrap());
    let egress = egress(policy);
    assert_eq!(egress.send(get(url(&server))).await.unwrap().status, 200);
    let failure = egress.send(get(url(&other))).await.unwrap_err();
    assert!(matches!(&failure, Failure::Tls(text) if text.contains("ca in sandbox.tls")), "{failure:?}");
    assert!(other.requests().is_empty());
}

#[tokio::test]
async fn the_name_in_the_certificate_is_the_urls_or_the_configured_one() {
    let authority = Authority::new();
    let server = Server::start_tls(OK, Some(authority.acceptor("backend.internal", None, b"http/1.1"))).await;
    let failure = ask(&url(&server), Some(authority.settings())).await.unwrap_err();
    assert!(matches!(&failure, Failure::Tls(text) if text.contains("server-name in sandbox.tls")), "{failure:?}");
    let renamed = TlsSettings { server_name: Some("backend.internal".into()), ..authority.settings() };
    assert_eq!(ask(&url(&server), Some(renamed)).await, Ok(200));
}

#[tokio::test]
async fn a_server_that_asks_for_a_certificate_gets_the_configured_one() {
    let (authority, clients) = (Authority::new(), Authority::new());
    let acceptor = authority.acceptor("127.0.0.1", Some(&clients), b"http/1.1");
    let server = Server::start_tls(OK, Some(acceptor)).await;
    let identity = |(certificate, key): (String, String)| TlsSettings {
        identity: Some((certificate.into_bytes(), key.into_bytes())),
        ..authority.settings()
    };
    assert_eq!(ask(&url(&server), Some(identity(clients.issue("node-1")))).await, Ok(200));
    for settings in [authority.settings(), identity(authority.issue("node-1"))] {
        let failure = ask(&url(&server), Some(settings)).await.unwrap_err();
        assert!(matches!(failure, Failure::Tls(_)), "{failure:?}");
    }
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn a_handshake_that_stalls_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let failure = ask(&url, None).await.unwrap_err();
    assert_eq!(failure, Failure::Connect(format!("no connection to {url} within 500ms (sandbox.timeouts.connect)")));
    let request = http::Request::get(&url).body(Full::new(Bytes::new())).unwrap();
    let timeouts = Timeouts { connect: Some(Duration::from_millis(50)), ..Timeouts::default() };
    let failure = egress(policy(&url, None)).forward(request, timeouts).await.unwrap_err();
    assert_eq!(failure, Failure::Connect(format!("no connection to {url} within 50ms")));
}

#[tokio::test]
async fn a_server_that_does_not_speak_tls_is_a_failure_of_tls() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let plain = format!("https://{}", listener.local_addr().unwrap());
    let answer = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        tokio::io::AsyncWriteExt::write_all(&mut stream, b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
    });
    let failure = ask(&plain, None).await.unwrap_err();
    assert!(matches!(failure, Failure::Tls(_)), "{failure:?}");
    answer.await.unwrap();
}

#[tokio::test]
async fn http2_carries_requests_at_one_time_on_one_connection() {
    let authority = Authority::new();
    let acceptor = authority.acceptor("127.0.0.1", None, b"h2");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let connections = Arc::new(AtomicUsize::new(0));
    let seen = Arc::new(Mutex::new(Vec::new()));
    let barrier = Arc::new(tokio::sync::Barrier::new(8));
    let server = tokio::spawn({
        let (connections, seen) = (connections.clone(), seen.clone());
        async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                connections.fetch_add(1, Ordering::SeqCst);
                let (acceptor, seen, barrier) = (acceptor.clone(), seen.clone(), barrier.clone());
                tokio::spawn(async move {
                    let stream = acceptor.accept(stream).await.unwrap();
                    let service = service_fn(move |request: http::Request<hyper::body::Incoming>| {
                        let (seen, barrier) = (seen.clone(), barrier.clone());
                        async move {
                            seen.lock().unwrap().push(format!("{:?} {}", request.version(), request.uri()));
                            if request.uri().path() == "/together" {
                                barrier.wait().await;
                            }
                            Ok::<_, std::convert::Infallible>(http::Response::new(Full::new(Bytes::from("ok"))))
                        }
                    });
                    let _ =
                        http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
                });
            }
        }
    });
    let egress = egress(policy(&url, Some(authority.settings())));
    let first = egress.send(get(format!("{url}/a/../b?x=%20"))).await.unwrap();
    assert_eq!(first.body.as_ref(), b"ok");
    assert_eq!(*seen.lock().unwrap(), [format!("HTTP/2.0 {url}/a/../b?x=%20")]);
    // Each is answered only when all eight have come.
    let together = (0..8).map(|_| egress.send(get(format!("{url}/together"))));
    for response in futures::future::join_all(together).await {
        assert_eq!(response.unwrap().status, 200);
    }
    assert_eq!(connections.load(Ordering::SeqCst), 1);
    server.abort();
}

#[test]
fn settings_that_cannot_work_are_refused_when_the_policy_is_taken() {
    let refused = |origin: &str, settings: TlsSettings| {
        let policy = Policy {
            grants: vec!["https://a.test".parse().unwrap(), "http://a.test".parse().unwrap()],
            tls: [(origin.to_owned(), settings)].into(),
            ..Policy::default()
        };
        Egress::new(policy, Metrics::new(&mut prometheus_client::registry::Registry::default())).unwrap_err()
    };
    let authority = Authority::new();
    let (certificate, key) = authority.issue("a.test");
    let (_, other_key) = authority.issue("a.test");
    let identity = |certificate: &str, key: &str| TlsSettings {
        identity: Some((certificate.as_bytes().to_vec(), key.as_bytes().to_vec())),
        ..TlsSettings::default()
    };
    for origin in ["a.test", "https://a.test/x", "http://a.test", "https://*.a.test", "https://a.test?x"] {
        assert!(matches!(refused(origin, authority.settings()), PolicyError::Origin { .. }), "{origin}");
    }
    for origin in ["https://b.test", "https://a.test:8443", "wss://a.test"] {
        assert!(matches!(refused(origin, authority.settings()), PolicyError::NotGranted(_)), "{origin}");
    }
    for ca in ["", "no pem", &key] {
        let settings = TlsSettings { ca: Some(ca.as_bytes().to_vec()), ..TlsSettings::default() };
        assert!(matches!(refused("https://a.test", settings), PolicyError::Ca { .. }), "{ca}");
    }
    for settings in [
        identity("", &key),
        identity(&certificate, ""),
        identity(&certificate, &certificate),
        identity(&certificate, &other_key),
    ] {
        assert!(matches!(refused("https://a.test", settings), PolicyError::Identity { .. }));
    }
    let settings = TlsSettings { server_name: Some("not a name".into()), ..TlsSettings::default() };
    assert!(matches!(refused("https://a.test", settings), PolicyError::ServerName { .. }));
}

#[test]
fn a_policy_that_lets_nothing_through_by_mistake_is_refused() {
    let metrics = || Metrics::new(&mut prometheus_client::registry::Registry::default());
    let limits = Limits { requests_in_flight: 0, ..Limits::default() };
    assert!(matches!(Egress::new(Policy { limits, ..Policy::default() }, metrics()), Err(PolicyError::Zero(_))));
    assert!(Egress::new(Policy::default(), metrics()).is_ok());
    let denied = vec![("not a host".to_owned(), 443)];
    assert!(matches!(Egress::new(Policy { denied, ..Policy::default() }, metrics()), Err(PolicyError::Denied { .. })));
}
