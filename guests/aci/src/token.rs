//! Tokens for Azure Resource Manager, from the directory or the machine's metadata service.

use std::time::Duration;

use serde::{Deserialize, Deserializer, de::Error as _};
use vk_sdk::{Result, cache, http};

use crate::{
    arm::segment,
    group::Secret,
    settings::{Identity, Settings, TokenVersion},
};

const KEY: &str = "token";

#[derive(Deserialize)]
struct Answer {
    access_token: String,
    #[serde(deserialize_with = "seconds")]
    expires_in: u64,
}

/// A token that is still good for a while.
pub(crate) fn token(settings: &Settings) -> Result<Secret> {
    if let Some(token) = cache::get(KEY).and_then(|token| String::from_utf8(token).ok()) {
        return Ok(Secret(token));
    }
    let answer: Answer = request(settings).call()?.json()?;
    let life = Duration::from_secs(answer.expires_in);
    cache::set(KEY, answer.access_token.as_bytes(), life - Duration::from_secs(300).min(life / 10));
    Ok(Secret(answer.access_token))
}

/// Forgets a token that was refused.
pub(crate) fn forget(_settings: &Settings) {
    cache::remove(KEY);
}

fn request(settings: &Settings) -> http::Request {
    let endpoints = &settings.endpoints;
    let resource = format!("{}/", endpoints.resource_manager);
    match &settings.identity {
        Identity::Managed { client_id } => {
            let id = client_id.as_ref().map(|id| format!("&client_id={}", segment(id))).unwrap_or_default();
            http::get(format!(
                "{}/metadata/identity/oauth2/token?api-version=2018-02-01&resource={}{id}",
                endpoints.metadata,
                segment(&resource)
            ))
            .header("metadata", "true")
        }
        Identity::ServicePrincipal { tenant, client_id, secret, version } => {
            let (path, audience) = match version {
                TokenVersion::V1 => ("oauth2/token?api-version=1.0", format!("resource={}", segment(&resource))),
                TokenVersion::V2 => ("oauth2/v2.0/token", format!("scope={}", segment(&format!("{resource}.default")))),
            };
            http::post(format!("{}/{}/{path}", endpoints.directory, segment(tenant)))
                .header("content-type", "application/x-www-form-urlencoded")
                .body(format!(
                    "grant_type=client_credentials&client_id={}&client_secret={}&{audience}",
                    segment(client_id),
                    segment(&secret.0)
                ))
        }
    }
}

/// A number, or one in a string.
fn seconds<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<u64, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Number {
        Number(u64),
        Text(String),
    }
    match Number::deserialize(deserializer)? {
        Number::Number(number) => Ok(number),
        Number::Text(text) => text.parse().map_err(|_| D::Error::custom("not a number of seconds")),
    }
}
