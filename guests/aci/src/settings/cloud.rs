//! Where Azure is: the public one, or a nation's own.

use vk_sdk::{Error, Result};

use super::{Endpoints, credentials::Credentials, file::File, given, surroundings::Surroundings};

/// Name, directory, resource manager.
const CLOUDS: [(&str, &str, &str); 4] = [
    ("AzurePublicCloud", "https://login.microsoftonline.com", "https://management.azure.com"),
    ("AzureUSGovernmentCloud", "https://login.microsoftonline.us", "https://management.usgovcloudapi.net"),
    ("AzureChinaCloud", "https://login.chinacloudapi.cn", "https://management.chinacloudapi.cn"),
    ("AzureGermanCloud", "https://login.microsoftonline.de", "https://management.microsoftazure.de"),
];
/// The same address on every machine of Azure.
const METADATA: &str = "http://169.254.169.254";
/// Where the extension for realtime figures listens.
const REALTIME: &str = "http://{ip}:18899";

pub(super) fn endpoints(file: &File, credentials: &Credentials, surroundings: &dyn Surroundings) -> Result<Endpoints> {
    let named = credentials.cloud.as_deref().or(file.cloud.as_deref()).filter(|name| !name.is_empty());
    let name = named.unwrap_or("AzurePublicCloud");
    let Some((_, directory, resource_manager)) = CLOUDS.iter().find(|(known, ..)| known.eq_ignore_ascii_case(name))
    else {
        let known = CLOUDS.map(|(name, ..)| name).join(", ");
        let place = if credentials.cloud.is_some() { credentials.path.as_str() } else { "Cloud" };
        return Err(Error::invalid(format!("{place}: the cloud {name:?} is not known, only {known}")));
    };
    let choose = |key, of_file: &str, from_file: &Option<String>, from_key: &Option<String>, usual: &str| match (
        from_file, from_key,
    ) {
        (Some(url), _) => secure(of_file, url),
        (None, Some(url)) if !url.is_empty() => secure(key, url),
        _ => Ok(usual.to_owned()),
    };
    Ok(Endpoints {
        directory: choose(
            "DirectoryEndpoint",
            "activeDirectoryEndpointUrl",
            &credentials.directory,
            &file.directory_endpoint,
            directory,
        )?,
        resource_manager: choose(
            "ResourceManagerEndpoint",
            "resourceManagerEndpointUrl",
            &credentials.resource_manager,
            &file.resource_manager_endpoint,
            resource_manager,
        )?,
        metadata: match (surroundings.variable("AZURE_POD_IDENTITY_AUTHORITY_HOST"), given(&file.metadata_endpoint)) {
            (Some(host), _) => url("AZURE_POD_IDENTITY_AUTHORITY_HOST", &host)?,
            (None, Some(host)) => url("MetadataEndpoint", &host)?,
            (None, None) => METADATA.to_owned(),
        },
        realtime: match given(&file.realtime_endpoint) {
            Some(template) if !template.contains("{ip}") => {
                return Err(Error::invalid(format!(
                    "RealtimeEndpoint: {template:?} does not say where a pod's address goes; write one such as {REALTIME}"
                )));
            }
            Some(template) => url("RealtimeEndpoint", &template)?,
            None => REALTIME.to_owned(),
        },
    })
}

/// Secrets and tokens go there.
fn secure(place: &str, text: &str) -> Result<String> {
    let url = url(place, text)?;
    if url.starts_with("https://") {
        return Ok(url);
    }
    Err(Error::invalid(format!("{place}: {text:?} is not an https URL, and what is sent there is secret")))
}

/// An URL without the slash at its end.
fn url(place: &str, text: &str) -> Result<String> {
    let trimmed = text.trim_end_matches('/');
    let authority = trimmed.strip_prefix("https://").or_else(|| trimmed.strip_prefix("http://")).unwrap_or_default();
    if authority.is_empty() || authority.contains(['@', '?', '#', ' ']) {
        return Err(Error::invalid(format!("{place}: not an URL such as https://management.azure.com")));
    }
    Ok(trimmed.to_owned())
}
