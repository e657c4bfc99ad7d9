//! Annotations of pods that only this provider knows.

use vk_sdk::{Error, Result, manifest::Manifest};

/// `true` or `false`: whether the pod's ports get a public address.
pub(super) const PUBLIC_IP: &str = "virtual-kubelet.io/public-ip";
/// The first label of the public address's name, below the region's domain.
const DNS_NAME_LABEL: &str = "virtual-kubelet.io/dnsnamelabel";
/// The same as the Go provider reads it.
const DNS_NAME_LABEL_CLASSIC: &str = "virtualkubelet.io/dnsnamelabel";
/// The SKU of the GPUs.
pub(super) const GPU_TYPE: &str = "virtual-kubelet.io/gpu-type";
/// The policy of a confidential group, in base64.
pub(super) const CCE_POLICY: &str = "virtual-kubelet.io/confidential-compute-cce-policy";
/// `confidential` for a confidential group without a policy of its own.
pub(super) const CONTAINER_SKU: &str = "virtual-kubelet.io/container-sku";
/// `Spot` or `Regular`: whether the service may take the group's machine away.
const PRIORITY: &str = "virtual-kubelet.io/priority";

pub(super) fn public_ip(manifest: &Manifest) -> Result<Option<bool>> {
    match manifest.annotation(PUBLIC_IP) {
        None => Ok(None),
        Some("true") => Ok(Some(true)),
        Some("false") => Ok(Some(false)),
        Some(other) => Err(wrong(PUBLIC_IP, other, r#""true" or "false""#)),
    }
}

/// The annotation's name and the label.
pub(super) fn dns_name_label(manifest: &Manifest) -> Result<Option<(&'static str, &str)>> {
    let names = [DNS_NAME_LABEL, DNS_NAME_LABEL_CLASSIC];
    let Some((name, label)) = names.into_iter().find_map(|name| Some((name, manifest.annotation(name)?))) else {
        return Ok(None);
    };
    let plain = label.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    let starts = label.starts_with(|char: char| char.is_ascii_lowercase());
    if !plain || !starts || label.ends_with('-') || !(5..=63).contains(&label.len()) {
        return Err(wrong(name, label, "5 to 63 of a-z, 0-9 and -, with a letter first and no - last"));
    }
    Ok(Some((name, label)))
}

pub(super) fn priority(manifest: &Manifest) -> Result<Option<String>> {
    let Some(asked) = manifest.annotation(PRIORITY) else { return Ok(None) };
    let known = ["Regular", "Spot"].into_iter().find(|known| known.eq_ignore_ascii_case(asked));
    known.map(|known| Some(known.to_owned())).ok_or_else(|| wrong(PRIORITY, asked, r#""Regular" or "Spot""#))
}

fn wrong(name: &str, value: &str, expected: &str) -> Error {
    Error::invalid(format!("annotation {name}: {value:?} is not {expected}"))
}
