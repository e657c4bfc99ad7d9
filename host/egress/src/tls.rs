//! TLS settings, ready for use: read once, when a policy is taken.

use std::{collections::HashMap, sync::Arc};

use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject};

use crate::{Failure, PolicyError, TlsSettings, connect::Purpose, host::Host, origin::Origin};

/// What TLS to speak with whom.
#[derive(Debug)]
pub(crate) struct Tls {
    /// Of origins without settings of their own. Trusts the system's roots.
    default: Configs,
    origins: HashMap<Origin, Settings>,
}

#[derive(Debug)]
struct Settings {
    configs: Configs,
    server_name: Option<ServerName<'static>>,
}

/// One configuration for each purpose; they share certificates and tickets.
#[derive(Debug)]
struct Configs {
    request: Arc<ClientConfig>,
    session: Arc<ClientConfig>,
}

impl Configs {
    fn new(mut config: ClientConfig) -> Self {
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let session = Arc::new(config.clone());
        config.alpn_protocols.insert(0, b"h2".to_vec());
        Self { request: Arc::new(config), session }
    }

    fn of(&self, purpose: Purpose) -> Arc<ClientConfig> {
        match purpose {
            Purpose::Request => self.request.clone(),
            Purpose::Session => self.session.clone(),
        }
    }
}

impl Tls {
    pub(crate) fn new(system: &RootCertStore, origins: HashMap<Origin, TlsSettings>) -> Result<Self, PolicyError> {
        let default = Configs::new(config(system.clone(), None).map_err(PolicyError::Tls)?);
        let origins = origins
            .into_iter()
            .map(|(origin, settings)| {
                let read = Settings::new(system, &origin, settings)?;
                Ok((origin, read))
            })
            .collect::<Result<_, PolicyError>>()?;
        Ok(Self { default, origins })
    }

    /// The configuration for an origin, and the name that its certificate must have.
    pub(crate) fn towards(
        &self,
        origin: &Origin,
        purpose: Purpose,
    ) -> Result<(Arc<ClientConfig>, ServerName<'static>), Failure> {
        let settings = self.origins.get(origin);
        let configs = settings.map_or(&self.default, |settings| &settings.configs);
        let name = match settings.and_then(|settings| settings.server_name.clone()) {
            Some(name) => name,
            None => server_name(&origin.host).map_err(Failure::Invalid)?,
        };
        Ok((configs.of(purpose), name))
    }
}

impl Settings {
    fn new(system: &RootCertStore, origin: &Origin, settings: TlsSettings) -> Result<Self, PolicyError> {
        let text = || origin.to_string();
        let mut roots = system.clone();
        if let Some(pem) = &settings.ca {
            let failed = |reason: String| PolicyError::Ca { origin: text(), reason };
            let certificates = certificates(pem).map_err(failed)?;
            for certificate in certificates {
                roots.add(certificate).map_err(|error| failed(error.to_string()))?;
            }
        }
        let identity = match &settings.identity {
            Some((chain, key)) => {
                let failed = |reason: String| PolicyError::Identity { origin: text(), reason };
                let key = PrivateKeyDer::from_pem_slice(key)
                    .map_err(|error| failed(format!("the key is not a private key in PEM: {error}")))?;
                Some((certificates(chain).map_err(failed)?, key))
            }
            None => None,
        };
        let config = config(roots, identity)
            .map_err(|error| PolicyError::Identity { origin: text(), reason: error.to_string() })?;
        let server_name = match settings.server_name {
            Some(name) => {
                Some(ServerName::try_from(name.clone()).map_err(|_| PolicyError::ServerName { origin: text(), name })?)
            }
            None => None,
        };
        Ok(Self { configs: Configs::new(config), server_name })
    }
}

type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn config(roots: RootCertStore, identity: Option<Identity>) -> Result<ClientConfig, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots);
    match identity {
        Some((chain, key)) => builder.with_client_auth_cert(chain, key),
        None => Ok(builder.with_no_client_auth()),
    }
}

/// The certificates of a PEM file: at least one.
fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let certificates = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| format!("a certificate is not PEM: {error}"))?;
    if certificates.is_empty() { Err("there is no certificate in it".into()) } else { Ok(certificates) }
}

fn server_name(host: &Host) -> Result<ServerName<'static>, String> {
    match host {
        Host::Address(address) => Ok(ServerName::IpAddress((*address).into())),
        Host::Name(name) => ServerName::try_from(name.as_str().to_owned())
            .map_err(|_| format!("`{host}` cannot be the name in a certificate")),
    }
}

/// The certificates that the system trusts. Those that cannot be read are left out, with a warning.
pub(crate) fn system_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::warn!(%error, "some of the system's trusted certificates cannot be read");
    }
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        tracing::warn!("the system trusts no certificates; https needs a ca in sandbox.tls");
    }
    roots
}

/// A sentence for a failed handshake, with what the operator can do about it.
pub(crate) fn explain(error: &rustls::Error) -> String {
    use rustls::{AlertDescription, CertificateError, Error};
    let remedy = match error {
        Error::InvalidCertificate(CertificateError::UnknownIssuer) => "; set its ca in sandbox.tls if it is trusted",
        Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => "; set server-name in sandbox.tls if it has another name",
        Error::AlertReceived(AlertDescription::CertificateRequired | AlertDescription::BadCertificate) => {
            "; set cert and key in sandbox.tls"
        }
        _ => "",
    };
    format!("{error}{remedy}")
}
