//! Certificates, keys and kubeconfig files of one control plane.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use serde_json::json;

use crate::Error;

/// Names and addresses under which the servers are reached: from outside, and as the Service `default/kubernetes`.
const SERVER_NAMES: [&str; 6] =
    ["127.0.0.1", "localhost", "10.0.0.1", "kubernetes", "kubernetes.default", "kubernetes.default.svc"];

/// Addresses of kubelets, which have no names here.
pub(crate) const LOOPBACK: [&str; 1] = ["127.0.0.1"];

/// Who the API server is for kubelets.
pub(crate) const KUBELET_CLIENT: &str = "kube-apiserver-kubelet-client";

/// The files of the serving certificate that is there for kubelets.
pub(crate) const KUBELET: &str = "kubelet-serving";

/// Where a certificate and its private key are, in PEM.
#[derive(Debug, Clone)]
pub struct CertificateFiles {
    /// The certificate.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

impl CertificateFiles {
    /// `path` is that of both, without the extensions.
    pub(crate) fn at(path: &Path) -> CertificateFiles {
        CertificateFiles { certificate: path.with_added_extension("crt"), key: path.with_added_extension("key") }
    }
}

/// The authority that everyone in the cluster trusts, and the folder its files are in.
pub(crate) struct Pki {
    folder: PathBuf,
    authority: Authority,
    server: String,
}

struct Authority {
    certificate: Certificate,
    issuer: Issuer<'static, KeyPair>,
}

// Without the keys.
impl std::fmt::Debug for Pki {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pki").field("folder", &self.folder).finish_non_exhaustive()
    }
}

/// A certificate with its private key.
pub(crate) struct Identity {
    pub(crate) certificate: Certificate,
    pub(crate) key: KeyPair,
}

impl Pki {
    /// Makes the authority and everything the components of the control plane need, in `folder`.
    ///
    /// `server` is the API server's URL, for the kubeconfig files.
    pub(crate) fn create(folder: PathBuf, server: String) -> Result<Pki, Error> {
        std::fs::create_dir_all(&folder).map_err(Error::file("create", &folder))?;
        let authority = Authority::create("vk-cluster-ca")?;
        authority.write(&folder, "ca")?;

        authority.serving("kube-apiserver", &SERVER_NAMES)?.write(&folder, "serving")?;
        authority.serving(KUBELET, &LOOPBACK)?.write(&folder, KUBELET)?;
        authority.client(KUBELET_CLIENT, None)?.write(&folder, "kubelet-client")?;

        // Aggregated API servers recognise the API server by a certificate of an authority that signs nothing else.
        let front_proxy = Authority::create("vk-cluster-front-proxy-ca")?;
        front_proxy.write(&folder, "front-proxy-ca")?;
        front_proxy.client("front-proxy-client", None)?.write(&folder, "front-proxy-client")?;

        let accounts = KeyPair::generate().map_err(certificate("service accounts"))?;
        write(&folder.join("sa.key"), &accounts.serialize_pem())?;
        write(&folder.join("sa.pub"), &accounts.public_key_pem())?;

        Ok(Pki { folder, authority, server })
    }

    /// Path of one of the files that [`Pki::create`] wrote.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Signs a client certificate for `user`, in `group` if one is given.
    pub(crate) fn client(&self, user: &str, group: Option<&str>) -> Result<Identity, Error> {
        self.authority.client(user, group)
    }

    /// Signs a serving certificate for these addresses and names, and writes it into files called `name`.
    pub(crate) fn sign_serving(&self, name: &str, addresses: &[&str]) -> Result<(), Error> {
        self.authority.serving(name, addresses)?.write(&self.folder, name)
    }

    /// The certificate of the authority.
    pub(crate) fn authority(&self) -> &Certificate {
        &self.authority.certificate
    }

    /// Writes a kubeconfig file, readable by its owner only, that contains all it needs.
    pub(crate) fn write_kubeconfig(&self, file: &Path, user: &str, identity: &Identity) -> Result<(), Error> {
        // JSON is YAML, so nothing but a JSON writer is needed.
        let config = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "vk-cluster",
            "clusters": [{"name": "vk-cluster", "cluster": {
                "server": self.server,
                "certificate-authority-data": STANDARD.encode(self.authority.certificate.pem()),
            }}],
            "users": [{"name": user, "user": {
                "client-certificate-data": STANDARD.encode(identity.certificate.pem()),
                "client-key-data": STANDARD.encode(identity.key.serialize_pem()),
            }}],
            "contexts": [{"name": "vk-cluster", "context": {"cluster": "vk-cluster", "user": user}}],
        });
        write(file, &format!("{config:#}\n"))
    }
}

impl Authority {
    fn create(name: &str) -> Result<Authority, Error> {
        let mut params = params(name)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().map_err(certificate(name))?;
        let signed = params.self_signed(&key).map_err(certificate(name))?;
        Ok(Authority { certificate: signed, issuer: Issuer::new(params, key) })
    }

    fn sign(&self, name: &str, mut params: CertificateParams) -> Result<Identity, Error> {
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        let key = KeyPair::generate().map_err(certificate(name))?;
        let signed = params.signed_by(&key, &self.issuer).map_err(certificate(name))?;
        Ok(Identity { certificate: signed, key })
    }

    fn client(&self, user: &str, group: Option<&str>) -> Result<Identity, Error> {
        let mut params = params(user)?;
        if let Some(group) = group {
            params.distinguished_name.push(DnType::OrganizationName, group);
        }
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(user, params)
    }

    fn serving(&self, name: &str, addresses: &[&str]) -> Result<Identity, Error> {
        let addresses = addresses.iter().map(|&address| address.to_owned()).collect::<Vec<_>>();
        let mut params = params(name)?;
        params.subject_alt_names = CertificateParams::new(addresses).map_err(certificate(name))?.subject_alt_names;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.sign(name, params)
    }

    fn write(&self, folder: &Path, name: &str) -> Result<(), Error> {
        write(&folder.join(format!("{name}.crt")), &self.certificate.pem())?;
        write(&folder.join(format!("{name}.key")), &self.issuer.key().serialize_pem())
    }
}

impl Identity {
    fn write(&self, folder: &Path, name: &str) -> Result<(), Error> {
        write(&folder.join(format!("{name}.crt")), &self.certificate.pem())?;
        write(&folder.join(format!("{name}.key")), &self.key.serialize_pem())
    }
}

fn params(name: &str) -> Result<CertificateParams, Error> {
    let mut params = CertificateParams::new(Vec::new()).map_err(certificate(name))?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

fn certificate(subject: &str) -> impl FnOnce(rcgen::Error) -> Error {
    let subject = subject.to_owned();
    move |source| Error::Certificate { subject, source }
}

fn write(path: &Path, text: &str) -> Result<(), Error> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(Error::file("write", path))
}
