//! What the directory and the metadata service answer.

use std::time::Duration;

use serde::Deserialize;
use vk_sdk::{Error, Result, http};

use crate::{arm::asked_wait, group::Secret, settings::Identity};

/// The life of a token whose answer does not tell it.
const UNTOLD: Duration = Duration::from_secs(300);
/// How much of a description goes into a message, in characters.
const LONGEST: usize = 400;

#[derive(Deserialize)]
struct Granted {
    access_token: Secret,
    #[serde(default)]
    expires_in: Option<Number>,
    /// Seconds since 1970.
    #[serde(default)]
    expires_on: Option<Number>,
}

/// A number, or one in a string.
#[derive(Deserialize)]
#[serde(untagged)]
enum Number {
    Number(u64),
    Text(String),
}

impl Number {
    fn read(self) -> Option<u64> {
        match self {
            Self::Number(number) => Some(number),
            Self::Text(text) => text.trim().parse().ok(),
        }
    }
}

/// The token, and how long it is good from `now`, in milliseconds since 1970.
pub(super) fn granted(response: &http::Response, now: u64) -> Result<(Secret, Duration)> {
    // What the parser says of it may hold the token.
    let granted: Granted = serde_json::from_slice(response.body())
        .map_err(|_| Error::unavailable("asking for a token: the answer is not the JSON that it should be"))?;
    let until = |end: u64| Duration::from_millis(end.saturating_mul(1_000).saturating_sub(now));
    let life = granted
        .expires_in
        .and_then(Number::read)
        .map(Duration::from_secs)
        .or_else(|| granted.expires_on.and_then(Number::read).map(until))
        .unwrap_or(UNTOLD);
    if granted.access_token.0.is_empty() || !granted.access_token.0.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Error::unavailable("asking for a token: the answer holds none"));
    }
    Ok((granted.access_token, life))
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Refused {
    error: Option<String>,
    error_description: Option<String>,
}

/// Why there is no token, and what to do about it.
pub(super) fn refused(response: &http::Response, identity: &Identity) -> Error {
    let status = response.status();
    let managed = matches!(identity, Identity::Managed { .. });
    let refused: Refused = serde_json::from_slice(response.body()).unwrap_or_default();
    let description = refused.error_description.as_deref().map(first_line).filter(|text| !text.is_empty());
    let said = match (refused.error, description) {
        (_, Some(description)) => hidden(&description, identity),
        (Some(error), None) => hidden(&error, identity),
        (None, None) => "without saying why".to_owned(),
    };
    let whom = if managed { "the metadata service" } else { "the directory" };
    let message = format!("{whom} gives no token ({status}): {said}");
    let error = match status {
        429 => Error::exhausted(message),
        // The metadata service is being updated.
        404 | 410 if managed => Error::unavailable(message),
        400..=499 if status != 408 => Error::unauthenticated(format!("{message}{}", remedy(&said, managed))),
        _ => Error::unavailable(message),
    };
    match asked_wait(response) {
        Some(wait) => error.after(wait),
        None => error,
    }
}

fn remedy(said: &str, managed: bool) -> &'static str {
    if managed {
        return " Assign the identity to this machine, or correct VIRTUALNODE_USER_IDENTITY_CLIENTID or UserIdentityClientID.";
    }
    let remedies = [
        (
            "AADSTS7000215",
            " Correct AZURE_CLIENT_SECRET, or clientSecret in the credentials file: it is the secret's value, not its id.",
        ),
        ("AADSTS7000222", " The secret has expired: make a new one with az ad app credential reset."),
        ("AADSTS7000218", " Set AZURE_CLIENT_SECRET, or clientSecret in the credentials file."),
        (
            "AADSTS700016",
            " Correct AZURE_CLIENT_ID and AZURE_TENANT_ID, or clientId and tenantId in the credentials file.",
        ),
        ("AADSTS90002", " Correct AZURE_TENANT_ID, or tenantId in the credentials file, and the cloud."),
        (
            "AADSTS1002012",
            " Correct resourceManagerEndpointUrl, or set TokenVersion to the one that the directory knows.",
        ),
    ];
    let found = remedies.iter().find(|(code, _)| said.contains(code));
    found.map_or(" Check the credentials.", |(_, remedy)| remedy)
}

/// Without the ids and times that follow on lines of their own or at the end.
fn first_line(description: &str) -> String {
    let line = description.lines().next().unwrap_or_default();
    let line = line.split(" Trace ID:").next().unwrap_or_default();
    line.chars().filter(|char| !char.is_control()).take(LONGEST).collect::<String>().trim().to_owned()
}

/// A text without the secret.
fn hidden(text: &str, identity: &Identity) -> String {
    match identity {
        Identity::ServicePrincipal { secret, .. } if !secret.0.is_empty() => text.replace(&secret.0, "…"),
        _ => text.to_owned(),
    }
}
