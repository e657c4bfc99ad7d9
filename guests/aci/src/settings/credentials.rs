//! The two files of credentials: the one that `az ad sp create-for-rbac --sdk-auth` writes, and the one of AKS's nodes.

use serde::{Deserialize, de::DeserializeOwned};
use vk_sdk::{Error, Result};

use super::{file::File, given, surroundings::Surroundings};
use crate::group::Secret;

/// What the file says, whichever it is. What is empty there is absent here.
#[derive(Debug, Default)]
pub(super) struct Credentials {
    /// To name the file in errors.
    pub(super) path: String,
    pub(super) tenant: Option<String>,
    pub(super) subscription: Option<String>,
    pub(super) client_id: Option<String>,
    pub(super) secret: Option<Secret>,
    pub(super) user_identity: Option<String>,
    /// The file asks for the identity of the machine.
    pub(super) managed: bool,
    pub(super) directory: Option<String>,
    pub(super) resource_manager: Option<String>,
    pub(super) cloud: Option<String>,
    pub(super) resource_group: Option<String>,
    pub(super) region: Option<String>,
    pub(super) vnet: Option<String>,
    pub(super) vnet_resource_group: Option<String>,
}

#[derive(Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[derive(Default)]
struct Principal {
    client_id: Option<String>,
    client_secret: Option<Secret>,
    subscription_id: Option<String>,
    tenant_id: Option<String>,
    user_identity_client_id: Option<String>,
    active_directory_endpoint_url: Option<String>,
    resource_manager_endpoint_url: Option<String>,
}

#[derive(Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[derive(Default)]
struct Aks {
    cloud: Option<String>,
    tenant_id: Option<String>,
    subscription_id: Option<String>,
    aad_client_id: Option<String>,
    aad_client_secret: Option<Secret>,
    resource_group: Option<String>,
    location: Option<String>,
    vnet_name: Option<String>,
    vnet_resource_group: Option<String>,
    #[serde(rename = "userAssignedIdentityID")]
    user_assigned_identity_id: Option<String>,
}

impl Credentials {
    pub(super) fn read(file: &File, surroundings: &dyn Surroundings) -> Result<Self> {
        let place = |variables: &[&'static str], key: &'static str, set: &Option<String>| {
            let variable = variables.iter().find_map(|name| Some((*name, surroundings.variable(name)?)));
            variable.or_else(|| Some((key, given(set)?)))
        };
        let aks = place(
            &["AKS_CREDENTIAL_LOCATION", "ACS_CREDENTIAL_LOCATION"],
            "AKSCredentialLocation",
            &file.aks_credential_location,
        );
        if let Some((name, path)) = aks {
            return Ok(Self::from_aks(read_json(surroundings, name, &path)?, path));
        }
        match place(&["AZURE_AUTH_LOCATION"], "AuthLocation", &file.auth_location) {
            Some((name, path)) => Ok(Self::from_principal(read_json(surroundings, name, &path)?, path)),
            None => Ok(Self::default()),
        }
    }

    fn from_principal(file: Principal, path: String) -> Self {
        Self {
            path,
            tenant: given(&file.tenant_id),
            subscription: given(&file.subscription_id),
            client_id: given(&file.client_id),
            secret: file.client_secret.filter(|secret| !secret.0.is_empty()),
            user_identity: given(&file.user_identity_client_id),
            directory: given(&file.active_directory_endpoint_url),
            resource_manager: given(&file.resource_manager_endpoint_url),
            ..Self::default()
        }
    }

    fn from_aks(file: Aks, path: String) -> Self {
        let managed = file.aad_client_id.as_deref().is_some_and(|id| id.eq_ignore_ascii_case("msi"));
        Self {
            path,
            tenant: given(&file.tenant_id),
            subscription: given(&file.subscription_id),
            client_id: given(&file.aad_client_id).filter(|_| !managed),
            secret: file.aad_client_secret.filter(|secret| !secret.0.is_empty()),
            user_identity: given(&file.user_assigned_identity_id),
            managed,
            cloud: given(&file.cloud),
            resource_group: given(&file.resource_group),
            region: given(&file.location),
            vnet: given(&file.vnet_name),
            vnet_resource_group: given(&file.vnet_resource_group),
            ..Self::default()
        }
    }
}

fn read_json<T: DeserializeOwned>(surroundings: &dyn Surroundings, name: &str, path: &str) -> Result<T> {
    let text = decode(&surroundings.file(path, name)?);
    let refused = |place: String| {
        Error::invalid(format!(
            "{name}: {path:?} is not the JSON object of a credentials file{place}: write it anew, for example with az ad \
             sp create-for-rbac --sdk-auth"
        ))
    };
    // Serde would take a list's elements for the members in their order.
    if !text.trim_start().starts_with('{') {
        return Err(refused(String::new()));
    }
    // What serde says of a value may repeat it, and it may be a secret.
    serde_json::from_str(&text)
        .map_err(|error| refused(format!(", at line {}, column {}", error.line(), error.column())))
}

/// PowerShell's redirection writes UTF-16 with a byte order mark. What is left over at the end is cut.
pub(super) fn decode(bytes: &[u8]) -> String {
    let wide = |bytes: &[u8], unit: fn([u8; 2]) -> u16| {
        let (units, _) = bytes.as_chunks::<2>();
        String::from_utf16_lossy(&units.iter().copied().map(unit).collect::<Vec<_>>())
    };
    match bytes {
        [0xef, 0xbb, 0xbf, rest @ ..] => String::from_utf8_lossy(rest).into_owned(),
        [0xff, 0xfe, rest @ ..] => wide(rest, u16::from_le_bytes),
        [0xfe, 0xff, rest @ ..] => wide(rest, u16::from_be_bytes),
        _ => String::from_utf8_lossy(bytes).into_owned(),
    }
}
