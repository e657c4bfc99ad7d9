//! The serving certificate: from files, self-signed, or signed by the cluster.
//!
//! ```text
//!  load(files) ────────┐
//!  self_signed(names) ─┼─> ServingCertificate ─> Certificates::replace ─> every handshake from then on
//!  Requester::run ─────┘
//!   └─> Store, which outlives the process
//! ```

mod request;
mod self_signed;
mod store;
#[cfg(test)]
mod tests;

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, SystemTime},
};

use rustls::{
    crypto::ring,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use x509_parser::{certificate::X509Certificate, prelude::FromDer as _};

pub use request::{Requester, RequesterConfig};
pub use self_signed::self_signed;
pub use store::Store;

use crate::metrics::Metrics;

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// The file cannot be read.
    #[error("cannot read {}: {source}", file.display())]
    Read {
        /// Which.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file has no certificate in it.
    #[error("{} holds no certificate: it must be PEM, with BEGIN CERTIFICATE", file.display())]
    NoCertificate {
        /// Which.
        file: PathBuf,
    },
    /// The file has no private key in it.
    #[error("{} holds no private key: it must be PEM, with BEGIN PRIVATE KEY or one that names the algorithm", file.display())]
    NoKey {
        /// Which.
        file: PathBuf,
    },
    /// What the file holds is broken, of a kind that is not supported, or does not fit the key.
    #[error("cannot use {}: {source}", file.display())]
    Unusable {
        /// Which.
        file: PathBuf,
        /// Why.
        source: rustls::Error,
    },
    /// The certificate cannot be kept there.
    #[error("cannot keep the serving certificate in {}: {source}; its folder must be one that the host may write to", file.display())]
    Store {
        /// Where.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A certificate that was made or signed for the node is none.
    #[error("cannot use the certificate: {0}")]
    Broken(String),
}

/// A chain and its key.
#[derive(Debug, Clone)]
pub struct ServingCertificate {
    key: Arc<CertifiedKey>,
    not_before: SystemTime,
    not_after: SystemTime,
}

impl ServingCertificate {
    fn new(chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> Result<Self, rustls::Error> {
        let (not_before, not_after) =
            validity(&chain).ok_or(rustls::Error::InvalidCertificate(rustls::CertificateError::BadEncoding))?;
        let key = Arc::new(CertifiedKey::from_der(chain, key, &ring::default_provider())?);
        Ok(Self { key, not_before, not_after })
    }

    /// When it expires.
    pub fn not_after(&self) -> SystemTime {
        self.not_after
    }
}

/// From when to when the first of these is valid.
pub(crate) fn validity(chain: &[CertificateDer<'static>]) -> Option<(SystemTime, SystemTime)> {
    let (_, leaf) = X509Certificate::from_der(chain.first()?).ok()?;
    let time = |at: x509_parser::time::ASN1Time| {
        let seconds = u64::try_from(at.timestamp()).unwrap_or(0);
        SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
    };
    Some((time(leaf.validity().not_before)?, time(leaf.validity().not_after)?))
}

/// Reads a chain, the serving certificate first, and its key: PEM files, which may be the same.
///
/// # Errors
///
/// If one cannot be read or used, or they do not belong together.
pub fn load(certificates: &Path, key: &Path) -> Result<ServingCertificate, CertificateError> {
    let chain = read_certificates(certificates)?;
    let text = read(key)?;
    let private = PrivateKeyDer::from_pem_slice(&text).map_err(|_| CertificateError::NoKey { file: key.into() })?;
    ServingCertificate::new(chain, private)
        .map_err(|source| CertificateError::Unusable { file: certificates.into(), source })
}

pub(crate) fn read_certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    let text = read(file)?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    certificates
        .ok()
        .filter(|certificates| !certificates.is_empty())
        .ok_or_else(|| CertificateError::NoCertificate { file: file.into() })
}

fn read(file: &Path) -> Result<Vec<u8>, CertificateError> {
    fs::read(file).map_err(|source| CertificateError::Read { file: file.into(), source })
}

/// The certificate that handshakes use. It can be replaced at any time; connections that stand are left alone. Without
/// one, handshakes fail.
#[derive(Debug)]
pub struct Certificates {
    current: RwLock<Option<Arc<CertifiedKey>>>,
    metrics: Metrics,
}

impl Certificates {
    /// None yet.
    pub fn new(metrics: Metrics) -> Self {
        Self { current: RwLock::default(), metrics }
    }

    /// Serves with this one from now on.
    pub fn replace(&self, certificate: ServingCertificate) {
        self.metrics.certificate_expires(certificate.not_after);
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Some(certificate.key);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.current.read().unwrap_or_else(PoisonError::into_inner).is_none()
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
