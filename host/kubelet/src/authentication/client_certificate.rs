//! Client certificates. Any is taken in the handshake, where its key is proved; whether it says who somebody is, is
//! decided for each request. So a bad one is an answer of 401, a token may come along with it, and the CA can be
//! replaced, or the certificate expire, while a connection stands.

use std::{
    path::Path,
    sync::{Arc, PoisonError, RwLock},
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
    certificate::{CertificateError, read_certificates},
    reviews::User,
};

/// The CAs that clients' certificates are checked against. They can be replaced at any time.
#[derive(Debug, Default)]
pub struct ClientCa(RwLock<Option<ClientAuthorities>>);

/// CAs, ready to check certificates.
#[derive(Debug, Clone)]
pub struct ClientAuthorities(Arc<dyn ClientCertVerifier>);

impl ClientAuthorities {
    /// Reads a PEM file of CA certificates.
    ///
    /// # Errors
    ///
    /// If it cannot be read, or holds none.
    pub fn load(file: &Path) -> Result<Self, CertificateError> {
        let mut roots = RootCertStore::empty();
        for certificate in read_certificates(file)? {
            roots.add(certificate).map_err(|source| CertificateError::Unusable { file: file.into(), source })?;
        }
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::new(ring::default_provider()))
            .build()
            .map_err(|error| CertificateError::Unusable {
                file: file.into(),
                source: Error::General(error.to_string()),
            })?;
        Ok(Self(verifier))
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
        authorities
            .0
            .verify_client_cert(leaf, intermediates, UnixTime::now())
            .inspect_err(|error| tracing::debug!(%error, "a client certificate is not valid"))
            .ok()?;
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
