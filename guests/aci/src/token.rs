//! Tokens for Azure Resource Manager, from the directory or the machine's metadata service.
//!
//! All instances share one, in the cache. It is renewed a while before its end by one instance, and the others go on with the
//! old one; should that one end or fail, the next takes its place. Credentials that were refused are not tried again for a
//! short time: wrong secrets lock accounts, and do not get right by themselves.

mod answer;

use std::time::Duration;

use serde::{Deserialize, Serialize};
use vk_sdk::{Error, ErrorKind, Result, cache, http, warn};

use crate::{
    arm::{Class, admit, segment},
    clock,
    group::Secret,
    settings::{Identity, Settings, TokenVersion},
};

const KEY: &str = "token";
/// There while an instance renews the token.
const RENEWING: &str = "token/renewing";
/// There while credentials that were refused are not tried again.
const REFUSED: &str = "token/refused";

/// How long before its end a token is renewed, at most; and which part of its life, if that is less.
const EARLY: Duration = Duration::from_secs(300);
const EARLY_PART: u32 = 10;
/// How long one instance is left to renew it, also after it has failed.
const RENEWAL: Duration = Duration::from_secs(20);
/// How long refused credentials are not tried again.
const REFUSAL: Duration = Duration::from_secs(20);
/// The metadata service is on the same machine, but may itself ask the directory.
const TIMEOUT: Duration = Duration::from_secs(20);

/// Times are milliseconds since 1970.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Known {
    token: Secret,
    renew: u64,
    ends: u64,
}

/// A token that is good now.
pub(crate) fn token(settings: &Settings) -> Result<Secret> {
    let now = clock::milliseconds(clock::now());
    let known = cache::get_json::<Known>(KEY).filter(|known| now < known.ends);
    match known {
        Some(known) if now < known.renew => Ok(known.token),
        Some(known) => {
            if !cache::replace(RENEWING, None, b"1", RENEWAL) {
                return Ok(known.token);
            }
            match fetch(settings) {
                Ok(token) => {
                    cache::remove(RENEWING);
                    Ok(token)
                }
                Err(error) => {
                    warn!("the token could not be renewed, its end is near: {}", error.message);
                    Ok(known.token)
                }
            }
        }
        None => match cache::get_json::<Error>(REFUSED) {
            Some(error) => Err(error),
            None => fetch(settings),
        },
    }
}

/// Forgets a token that was refused, unless another instance has a newer one.
pub(crate) fn forget(refused: &Secret) {
    if cache::get_json::<Known>(KEY).is_some_and(|known| known.token == *refused) {
        cache::remove(KEY);
    }
}

/// No new token is asked for in the next while: even new ones are refused.
pub(crate) fn refuse(error: &Error) {
    if cache::set_json(REFUSED, error, REFUSAL).is_err() {
        warn!("the refusal of the credentials could not be kept");
    }
}

fn fetch(settings: &Settings) -> Result<Secret> {
    let permit = admit(Class::Token)?;
    let response = request(settings).timeout(TIMEOUT).send()?;
    permit.learn(&response);
    if response.status() != 200 {
        let error = answer::refused(&response, &settings.identity);
        if error.kind == ErrorKind::Unauthenticated {
            refuse(&error);
        }
        return Err(error);
    }
    let now = clock::milliseconds(clock::now());
    let (token, life) = answer::granted(&response, now)?;
    let early = EARLY.min(life / EARLY_PART);
    let after = |time: Duration| now.saturating_add(u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
    let known = Known { token, renew: after(life.saturating_sub(early)), ends: after(life.saturating_sub(early / 10)) };
    cache::set_json(KEY, &known, life)?;
    Ok(known.token)
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
                .header("accept", "application/json")
                .body(format!(
                    "grant_type=client_credentials&client_id={}&client_secret={}&{audience}",
                    segment(client_id),
                    segment(&secret.0)
                ))
        }
    }
}

#[cfg(test)]
mod tests;
