//! A certificate that outlives the process, with its key, in one file.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write as _},
    net::IpAddr,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use x509_parser::{certificate::X509Certificate, extensions::GeneralName, prelude::FromDer as _};

use super::{CertificateError, ServingCertificate, load};

/// Where a certificate and its key are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Store {
    file: PathBuf,
}

impl Store {
    /// A store in a file that nobody else may read. Makes its folder, if it is not there, for the host alone.
    ///
    /// # Errors
    ///
    /// If the folder cannot be made or written to.
    pub fn open(file: impl Into<PathBuf>) -> Result<Self, CertificateError> {
        let store = Self { file: file.into() };
        store.prepare().map_err(|source| CertificateError::Store { file: store.file.clone(), source })?;
        Ok(store)
    }

    fn prepare(&self) -> io::Result<()> {
        if let Some(folder) = self.file.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        }
        drop(self.incoming()?);
        fs::remove_file(self.incoming_file())
    }

    pub(super) fn file(&self) -> &Path {
        &self.file
    }

    /// Reads what was written; `None` if it is for another name or other addresses.
    pub(super) fn read(
        &self,
        node_name: &str,
        addresses: &[IpAddr],
    ) -> Result<Option<ServingCertificate>, CertificateError> {
        let certificate = load(&self.file, &self.file)?;
        Ok(is_for(&certificate, node_name, addresses).then_some(certificate))
    }

    /// Replaces the file, which never is there in part.
    pub(super) fn write(&self, chain: &[u8], key: &[u8]) -> io::Result<()> {
        let mut incoming = self.incoming()?;
        incoming.write_all(chain)?;
        incoming.write_all(b"\n")?;
        incoming.write_all(key)?;
        incoming.sync_all()?;
        fs::rename(self.incoming_file(), &self.file)
    }

    fn incoming_file(&self) -> PathBuf {
        self.file.with_extension("incoming")
    }

    fn incoming(&self) -> io::Result<File> {
        let file = self.incoming_file();
        // What is left of an interrupted attempt may be readable for others.
        let _ = fs::remove_file(&file);
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(file)
    }
}

pub(super) fn is_for(certificate: &ServingCertificate, node_name: &str, addresses: &[IpAddr]) -> bool {
    let Some((_, leaf)) = certificate.key.cert.first().and_then(|leaf| X509Certificate::from_der(leaf).ok()) else {
        return false;
    };
    let Ok(Some(names)) = leaf.subject_alternative_name() else { return false };
    let names = &names.value.general_names;
    let has_address = |address: &IpAddr| {
        let bytes = match address {
            IpAddr::V4(address) => address.octets().to_vec(),
            IpAddr::V6(address) => address.octets().to_vec(),
        };
        names.iter().any(|name| matches!(name, GeneralName::IPAddress(known) if *known == bytes))
    };
    let has_name = match node_name.parse() {
        Ok(address) => has_address(&address),
        Err(_) => names.iter().any(|name| matches!(name, GeneralName::DNSName(known) if *known == node_name)),
    };
    has_name && addresses.iter().all(has_address)
}
