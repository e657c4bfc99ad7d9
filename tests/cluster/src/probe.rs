//! Asks etcd and the API server over HTTP whether they are ready, and has the API server make the first object.

use std::sync::Arc;
use std::time::Duration;

use reqwest::{Client, StatusCode};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;

use crate::Error;
use crate::pki::{Identity, Pki};

/// An HTTP client that trusts the control plane's authority and is an administrator there.
#[derive(Debug)]
pub(crate) struct Probe {
    client: Client,
}

impl Probe {
    pub(crate) fn new(pki: &Pki, administrator: &Identity) -> Result<Probe, Error> {
        let mut roots = RootCertStore::empty();
        roots.add(pki.authority().der().clone()).map_err(probe)?;
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(administrator.key.serialize_der()));
        // The provider is named here because a library must not choose one for the whole process.
        let tls = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(probe)?
            .with_root_certificates(roots)
            .with_client_auth_cert(vec![administrator.certificate.der().clone()], key)
            .map_err(probe)?;
        let client = Client::builder()
            .tls_backend_preconfigured(tls)
            .no_proxy()
            .timeout(Duration::from_secs(5))
            .build()
            .map_err(probe)?;
        Ok(Probe { client })
    }

    /// Whether a GET of `url` answers 200.
    pub(crate) async fn is_ok(&self, url: &str) -> bool {
        matches!(self.client.get(url).send().await, Ok(answer) if answer.status() == StatusCode::OK)
    }

    /// Creates an object by POST to `url`, unless it is there.
    pub(crate) async fn create(&self, url: &str, object: &Value) -> Result<(), Error> {
        let answer = self.client.post(url).json(object).send().await.map_err(probe)?;
        match answer.error_for_status_ref() {
            Err(error) if answer.status() != StatusCode::CONFLICT => Err(probe(error)),
            _ => Ok(()),
        }
    }
}

fn probe(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::Probe(Box::new(error))
}
