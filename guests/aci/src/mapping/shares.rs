//! Azure's file shares, by either kind of volume.

use std::collections::BTreeMap;

use serde::Deserialize;
use vk_sdk::{Error, File, Result};

use super::{Context, Notes, files};
use crate::group::{AzureFileVolume, Secret};

/// The driver of the shares.
pub(super) const DRIVER: &str = "file.csi.azure.com";

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct AzureFile {
    share_name: String,
    read_only: Option<bool>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Csi {
    pub(super) driver: String,
    read_only: Option<bool>,
    volume_attributes: Option<BTreeMap<String, String>>,
    node_publish_secret_ref: Option<SecretRef>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct SecretRef {
    name: String,
}

/// The share of an azureFile volume.
pub(super) fn of_file(context: &Context<'_>, volume: &str, asked: AzureFile) -> Result<AzureFileVolume> {
    share(files::of(context, volume)?, volume, asked.share_name, asked.read_only)
}

/// The share of an inline volume of the driver, whose attributes say the same.
pub(super) fn of_csi(
    context: &Context<'_>,
    volume: &str,
    csi: Csi,
    field: &str,
    notes: &mut Notes,
) -> Result<AzureFileVolume> {
    let attributes = csi.volume_attributes.filter(|attributes| !attributes.is_empty()).ok_or_else(|| {
        Error::invalid(format!("secret volume attribute for AzureFile CSI driver {volume} cannot be empty or nil"))
    })?;
    let attribute = |name: &str| {
        let found = attributes.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    };
    let missing =
        |what: &str| Error::invalid(format!("{what} for AzureFile CSI driver {volume} cannot be empty or nil"));
    let share_name = attribute("shareName").ok_or_else(|| missing("share name"))?.to_owned();
    let published = csi.node_publish_secret_ref.map(|secret| secret.name).filter(|name| !name.is_empty());
    let secret = published.as_deref().or_else(|| attribute("secretName")).ok_or_else(|| missing("secret name"))?;
    for (name, accepted) in [("folderName", ""), ("protocol", "smb")] {
        if attribute(name).is_some_and(|value| value != accepted) {
            notes.refuse(format!("{field}.csi.volumeAttributes[{name}]"), "ACI mounts whole shares, by SMB");
        }
    }
    let found = context.pod.volumes.iter().find(|resolved| resolved.name == volume);
    let missing = || Error::invalid(format!("the secret {secret} for AzureFile CSI driver {volume} is not found"));
    share(&found.ok_or_else(missing)?.files, volume, share_name, csi.read_only)
}

/// A share, with the account that the volume's secret names.
fn share(files: &[File], volume: &str, share_name: String, read_only: Option<bool>) -> Result<AzureFileVolume> {
    if files.is_empty() {
        return Err(Error::invalid("getting secret for AzureFile volume returned an empty secret"));
    }
    let value = |key: &str| {
        let file = files.iter().find(|file| file.path.eq_ignore_ascii_case(key));
        let text = file.and_then(|file| std::str::from_utf8(&file.data).ok()).map(str::trim);
        text.filter(|text| !text.is_empty())
            .map(str::to_owned)
            .ok_or_else(|| Error::invalid(format!("volume {volume:?}: its secret has no text under the key {key}")))
    };
    Ok(AzureFileVolume {
        share_name,
        read_only,
        storage_account_name: value("azurestorageaccountname")?,
        storage_account_key: Some(Secret(value("azurestorageaccountkey")?)),
    })
}
