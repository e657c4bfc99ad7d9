//! Client certificates. Any is taken in the handshake, where its key is proved; whether it says who somebody is, is
//! decided for each request. So a bad one is an answer of 401, a token may come along with it, and the CA can be
//! replaced, or the certificate expire, while a connection stands.

use std::{
    path::Path,
    sync::{Arc, PoisonError, RwLock},
    time::SystemTime,
};

use rustls::{
    DigitallySignedStruct, DistinguishedName, Error, RootCertStore, SignatureScheme,
    client::danger::HandshakeSignatureValid,
    crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
    server::{
        WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};
use rustls_pki_types::{CertificateDer, UnixTime};
use x509_parser::{
    certificate::X509Certificate,
    oid_registry::{OID_X509_COMMON_NAME, OID_X509_ORGANIZATION_NAME},
    prelude::FromDer as _,
    x509::{AttributeTypeAndValue, X509Name},
};

use super::with_authenticated;
use crate::{
    certificate::{CertificateError, read_certificates, validity},
    reviews::User,
};

/// The CAs that clients' certificates are checked against. They can be replaced at any time.
#[derive(Debug, Default)]
pub struct ClientCa(RwLock<Option<ClientAuthorities>>);

/// CAs, ready to check certificates.
#[derive(Debug, Clone)]
pub struct ClientAuthorities(Arc<[ClientAuthority]>);

/// One CA. Its own validity is ours to check: the verifier takes a trust anchor to be one for ever.
#[derive(Debug)]
struct ClientAuthority {
    not_before: SystemTime,
    not_after: SystemTime,
    verifier: Arc<dyn ClientCertVerifier>,
}

impl ClientAuthority {
    fn new(certificate: CertificateDer<'static>) -> Result<Self, Error> {
        let bad = || Error::InvalidCertificate(rustls::CertificateError::BadEncoding);
        let (not_before, not_after) = validity(std::slice::from_ref(&certificate)).ok_or_else(bad)?;
        let mut roots = RootCertStore::empty();
        roots.add(certificate)?;
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::new(ring::default_provider()))
            .build()
            .map_err(|error| Error::General(error.to_string()))?;
        Ok(Self { not_before, not_after, verifier })
    }

    fn is_valid(&self, now: SystemTime) -> bool {
        self.not_before <= now && now <= self.not_after
    }
}

impl ClientAuthorities {
    /// Reads a PEM file of CA certificates.
    ///
    /// # Errors
    ///
    /// If it cannot be read, or holds none.
    pub fn load(file: &Path) -> Result<Self, CertificateError> {
        let authorities = read_certificates(file)?.into_iter().map(ClientAuthority::new);
        let authorities: Result<Arc<[_]>, _> = authorities.collect();
        let authorities = authorities.map_err(|source| CertificateError::Unusable { file: file.into(), source })?;
        let now = SystemTime::now();
        let invalid = authorities.iter().filter(|authority| !authority.is_valid(now)).count();
        if invalid > 0 {
            tracing::warn!(file = %file.display(), "{invalid} of {} CAs have expired or are not valid yet, and are not believed", authorities.len());
        }
        Ok(Self(authorities))
    }

    /// Whether one of them that is valid now has signed a chain, the leaf first, that is.
    fn verify(&self, leaf: &CertificateDer<'_>, intermediates: &[CertificateDer<'_>]) -> bool {
        let now = SystemTime::now();
        self.0.iter().filter(|authority| authority.is_valid(now)).any(|authority| {
            let verified = authority.verifier.verify_client_cert(leaf, intermediates, UnixTime::now());
            verified.inspect_err(|error| tracing::debug!(%error, "a client certificate is not valid")).is_ok()
        })
    }
}

impl ClientCa {
    /// From now on, these and no others are believed.
    pub fn replace(&self, authorities: ClientAuthorities) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Some(authorities);
    }

    /// Whom a chain, the leaf first, proves: the common name is the user, each organization a group. The leaf must say
    /// that it is meant for clients.
    pub(crate) fn user(&self, chain: &[CertificateDer<'static>]) -> Option<User> {
        let (leaf, intermediates) = chain.split_first()?;
        let authorities = self.0.read().unwrap_or_else(PoisonError::into_inner).clone()?;
        if !authorities.verify(leaf, intermediates) {
            return None;
        }
        let (_, certificate) = X509Certificate::from_der(leaf).ok()?;
        // The check above takes a certificate that does not say what it is for.
        if !certificate.extended_key_usage().ok()??.value.client_auth {
            return None;
        }
        let subject = certificate.subject();
        let name = texts(subject, &OID_X509_COMMON_NAME).pop().filter(|name| !name.is_empty())?;
        let groups = texts(subject, &OID_X509_ORGANIZATION_NAME);
        Some(with_authenticated(User { name, groups, ..User::default() }))
    }
}

fn texts(name: &X509Name<'_>, oid: &x509_parser::der_parser::Oid<'_>) -> Vec<String> {
    let text = |attribute: &AttributeTypeAndValue<'_>| attribute.as_str().ok().map(str::to_owned);
    name.iter_by_oid(oid).filter_map(text).collect()
}

/// Asks for a certificate, and takes any whose key the client has.
#[derive(Debug)]
pub(crate) struct AnyCertificate(pub(crate) Arc<CryptoProvider>);

impl ClientCertVerifier for AnyCertificate {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fakes::Authority;

    #[test]
    fn an_authority_is_believed_only_while_it_is_valid() {
        let (valid, expired, future) = (
            Authority::new("valid"),
            Authority::between("expired", 2000, 2020),
            Authority::between("future", 4000, 4001),
        );
        let ca = ClientCa::default();
        ca.replace(Authority::as_one_client_ca(&[&expired, &valid, &future]));
        let is_known = |authority: &Authority| ca.user(&authority.client("alice", &[]).chain).is_some();
        assert!(is_known(&valid));
        assert!(!is_known(&expired) && !is_known(&future));
    }
}
