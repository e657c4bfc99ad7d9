//! Who the provider is for Azure.

use vk_sdk::{Error, Result};

use super::{Identity, TokenVersion, credentials::Credentials, file::File, given, missing, surroundings::Surroundings};
use crate::group::Secret;

pub(super) fn read(file: &File, credentials: &Credentials, surroundings: &dyn Surroundings) -> Result<Identity> {
    let variable = |name| surroundings.variable(name);
    let client = variable("AZURE_CLIENT_ID").or(credentials.client_id.clone()).or_else(|| given(&file.client_id));
    if let Some(client_id) = client {
        return Ok(Identity::ServicePrincipal {
            tenant: variable("AZURE_TENANT_ID")
                .or(credentials.tenant.clone())
                .or_else(|| given(&file.tenant_id))
                .ok_or_else(|| missing("tenant", "AZURE_TENANT_ID", "TenantID"))?,
            secret: variable("AZURE_CLIENT_SECRET").map(Secret).or(credentials.secret.clone()).ok_or_else(|| {
                let place =
                    if credentials.path.is_empty() { "a file for AZURE_AUTH_LOCATION" } else { &credentials.path };
                Error::invalid(format!(
                    "the client {client_id} has no secret: set AZURE_CLIENT_SECRET, or write it into {place}"
                ))
            })?,
            version: version(file.token_version.as_deref())?,
            client_id,
        });
    }
    let user = variable("VIRTUALNODE_USER_IDENTITY_CLIENTID")
        .or(credentials.user_identity.clone())
        .or_else(|| given(&file.user_identity_client_id));
    if user.is_some() || credentials.managed || file.managed_identity == Some(true) {
        return Ok(Identity::Managed { client_id: user });
    }
    Err(Error::invalid(
        "no credentials: set AZURE_AUTH_LOCATION to a credentials file, or AZURE_CLIENT_ID, AZURE_CLIENT_SECRET and \
         AZURE_TENANT_ID, or VIRTUALNODE_USER_IDENTITY_CLIENTID for a managed identity (and let sandbox.env grant what \
         is set), or ManagedIdentity = true for the machine's own",
    ))
}

fn version(key: Option<&str>) -> Result<TokenVersion> {
    match key.map(str::to_ascii_lowercase).as_deref() {
        None | Some("" | "v2") => Ok(TokenVersion::V2),
        Some("v1") => Ok(TokenVersion::V1),
        Some(other) => Err(Error::invalid(format!("TokenVersion: {other:?} is neither \"v1\" nor \"v2\""))),
    }
}
