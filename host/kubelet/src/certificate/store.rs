//! A certificate that outlives the process, with its key, in one file.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write as _},
    net::IpAddr,
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use x509_parser::{certificate::X509Certificate, extensions::GeneralName, prelude::FromDer as _};

use super::{CertificateError, ServingCertificate, load};

/// Reads what was written; `None` if it is for another name or other addresses.
pub(super) fn read(
    file: &Path,
    node_name: &str,
    addresses: &[IpAddr],
) -> Result<Option<ServingCertificate>, CertificateError> {
    let certificate = load(file, file)?;
    Ok(is_for(&certificate, node_name, addresses).then_some(certificate))
}

/// Replaces the file, which never is there in part.
pub(super) fn write(file: &Path, chain: &[u8], key: &[u8]) -> io::Result<()> {
    let incoming = file.with_extension("incoming");
    // What is left of an interrupted attempt may be readable for others.
    let _ = fs::remove_file(&incoming);
    let mut opened = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&incoming)?;
    opened.write_all(chain)?;
    opened.write_all(b"\n")?;
    opened.write_all(key)?;
    opened.sync_all()?;
    fs::rename(&incoming, file)
}

fn is_for(certificate: &ServingCertificate, node_name: &str, addresses: &[IpAddr]) -> bool {
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
    names.iter().any(|name| matches!(name, GeneralName::DNSName(known) if *known == node_name))
        && addresses.iter().all(has_address)
}
