//! Certificate authorities.

use std::{fs, path::PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PublicKeyData, date_time_ymd,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tempfile::TempDir;

use crate::{
    ClientAuthorities,
    certificate::{self, ServingCertificate},
};

/// A CA.
pub(crate) struct Authority {
    pub(crate) certificate: CertificateDer<'static>,
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A chain and its key.
#[derive(Debug)]
pub(crate) struct Identity {
    pub(crate) chain: Vec<CertificateDer<'static>>,
    pub(crate) key: PrivateKeyDer<'static>,
    pub(crate) chain_pem: String,
    pub(crate) key_pem: String,
}

impl Clone for Identity {
    fn clone(&self) -> Self {
        let Self { chain, key, chain_pem, key_pem } = self;
        Self { chain: chain.clone(), key: key.clone_key(), chain_pem: chain_pem.clone(), key_pem: key_pem.clone() }
    }
}

/// What a certificate says that it is for, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    Client,
    ExpiredClient,
    FutureClient,
    Server,
    Unsaid,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        Self::between(name, 1975, 4096)
    }

    /// Valid from and to the beginning of these years.
    pub(crate) fn between(name: &str, from: i32, to: i32) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        params.distinguished_name.push(DnType::CommonName, name);
        params.not_before = date_time_ymd(from, 1, 1);
        params.not_after = date_time_ymd(to, 1, 1);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let pem = certificate.pem();
        Self { certificate: certificate.into(), pem, issuer: Issuer::new(params, key) }
    }

    pub(crate) fn client(&self, name: &str, groups: &[&str]) -> Identity {
        self.identity(Purpose::Client, name, groups)
    }

    pub(crate) fn identity(&self, purpose: Purpose, name: &str, groups: &[&str]) -> Identity {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        if !name.is_empty() {
            params.distinguished_name.push(DnType::CommonName, name);
        }
        for (index, group) in groups.iter().enumerate() {
            // The type holds one value of each kind.
            assert_eq!(index, 0, "one group is enough");
            params.distinguished_name.push(DnType::OrganizationName, *group);
        }
        params.extended_key_usages = match purpose {
            Purpose::Client | Purpose::ExpiredClient | Purpose::FutureClient => {
                vec![ExtendedKeyUsagePurpose::ClientAuth]
            }
            Purpose::Server => vec![ExtendedKeyUsagePurpose::ServerAuth],
            Purpose::Unsaid => Vec::new(),
        };
        match purpose {
            Purpose::ExpiredClient => params.not_after = date_time_ymd(2020, 1, 1),
            Purpose::FutureClient => params.not_before = date_time_ymd(4000, 1, 1),
            _ => {}
        }
        self.issue(params)
    }

    /// A certificate for a server on loopback.
    pub(crate) fn server(&self, name: &str) -> Identity {
        let mut params = CertificateParams::new(vec!["127.0.0.1".into(), name.into()]).unwrap();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.issue(params)
    }

    fn issue(&self, params: CertificateParams) -> Identity {
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Identity {
            chain_pem: certificate.pem(),
            key_pem: key.serialize_pem(),
            key: PrivateKeyDer::Pkcs8(key.serialize_der().into()),
            chain: vec![certificate.into()],
        }
    }

    /// Signs a key that is somebody else's.
    pub(crate) fn sign(&self, params: &CertificateParams, key: &impl PublicKeyData) -> String {
        params.signed_by(key, &self.issuer).unwrap().pem()
    }

    pub(crate) fn as_client_ca(&self) -> ClientAuthorities {
        Self::as_one_client_ca(&[self])
    }

    pub(crate) fn as_one_client_ca(authorities: &[&Self]) -> ClientAuthorities {
        let pem: String = authorities.iter().map(|authority| authority.pem.as_str()).collect();
        let (_folder, file) = written(&pem);
        ClientAuthorities::load(&file).unwrap()
    }
}

impl Identity {
    pub(crate) fn as_serving(&self) -> ServingCertificate {
        let (_folder, file) = written(&format!("{}{}", self.chain_pem, self.key_pem));
        certificate::load(&file, &file).unwrap()
    }
}

fn written(text: &str) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file.pem");
    fs::write(&file, text).unwrap();
    (folder, file)
}
