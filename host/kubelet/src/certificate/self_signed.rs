//! A certificate that nobody else vouches for.

use std::net::IpAddr;

use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose, SanType};
use rustls_pki_types::PrivateKeyDer;

use super::{CertificateError, ServingCertificate};

/// How many years it is valid: longer than a process lives, as it is made anew at each start.
const YEARS: i16 = 10;

/// Makes a certificate for a node. An API server takes it that is not told to check kubelets
/// (`--kubelet-certificate-authority`), and metrics-server with `--kubelet-insecure-tls`.
///
/// # Errors
///
/// If the node's name is none that a certificate can hold.
pub fn self_signed(node_name: &str, addresses: &[IpAddr]) -> Result<ServingCertificate, CertificateError> {
    let broken = |error: rcgen::Error| CertificateError::Broken(error.to_string());
    let key = KeyPair::generate().map_err(broken)?;
    let mut params = params(node_name, addresses).map_err(broken)?;
    let today = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).date();
    let day = |year| rcgen::date_time_ymd(i32::from(year), 1, 1);
    params.not_before = day(today.year());
    params.not_after = day(today.year() + YEARS);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let certificate = params.self_signed(&key).map_err(broken)?;
    let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
    ServingCertificate::new(vec![certificate.into()], key).map_err(|error| CertificateError::Broken(error.to_string()))
}

/// The subject and the names that both kinds of certificates have.
pub(super) fn params(node_name: &str, addresses: &[IpAddr]) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(vec![node_name.to_owned()])?;
    params.subject_alt_names.extend(addresses.iter().map(|address| SanType::IpAddress(*address)));
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, "system:nodes");
    params.distinguished_name.push(DnType::CommonName, format!("system:node:{node_name}"));
    Ok(params)
}
