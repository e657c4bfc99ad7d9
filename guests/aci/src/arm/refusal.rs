//! What the service's refusals mean for the host.

use std::time::Duration;

use serde::Deserialize;
use vk_sdk::{Error, ErrorKind, http};

use super::throttle;
use crate::settings::Settings;

/// How long a pod waits for resources that the region or the subscription does not have.
const CAPACITY: Duration = Duration::from_secs(60);
/// How long a pod waits for a registry that refuses, as those with limits of pulls do.
const REGISTRY: Duration = Duration::from_secs(60);
/// How long a request waits for another on the same group.
const TRANSITION: Duration = Duration::from_secs(5);
/// How much of the service's text goes into a message, in characters.
const LONGEST: usize = 1_000;
/// How much of an answer in another form does.
const QUOTED: usize = 200;

/// An answer of another status than 2xx, or none.
#[derive(Debug)]
pub(super) struct Refusal {
    /// 0 if there was no answer.
    pub(super) status: u16,
    /// The service's word for it; empty if it gave none.
    pub(super) code: String,
    /// What it means for the host.
    pub(super) error: Error,
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self { status: 0, code: String::new(), error }
    }
}

/// `{"error": {…}}`, or the inner part alone.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Body {
    error: Option<Problem>,
    code: Option<String>,
    message: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Problem {
    code: Option<String>,
    message: Option<String>,
    details: Option<Vec<Problem>>,
}

impl Refusal {
    /// Reads an answer to what was `asked`, such as `GET https://…`.
    pub(super) fn read(response: &http::Response, asked: &str, settings: &Settings) -> Self {
        let status = response.status();
        let problem = problem(response.body());
        let code = problem.code.clone().unwrap_or_default();
        let message = match text(&problem) {
            Some(text) => shortened(&text, LONGEST),
            None => format!("{asked} answered {status}{}", quoted(response.body())),
        };
        let (kind, usual_wait, remedy) = meaning(status, &code, &message, settings);
        let mut error = Error::new(kind, format!("{message}{remedy}"));
        if let Some(wait) = throttle::asked_wait(response).or(usual_wait) {
            error = error.after(wait);
        }
        Self { status, code, error }
    }

    /// Whether it is the resource itself that is not there, and not what it is in.
    pub(super) fn is_missing_resource(&self) -> bool {
        self.status == 404 && matches!(self.code.as_str(), "ResourceNotFound" | "NotFound" | "ContainerGroupNotFound")
    }

    pub(super) fn is_missing_registration(&self) -> bool {
        self.status == 409 && self.code == "MissingSubscriptionRegistration"
    }
}

/// The kind of error, the wait where the service names none, and what to do about it.
fn meaning(status: u16, code: &str, message: &str, settings: &Settings) -> (ErrorKind, Option<Duration>, String) {
    let nothing = String::new();
    match (status, code) {
        (_, "ResourceGroupNotFound") => {
            let remedy =
                format!(" Create it, or correct ResourceGroup or ACI_RESOURCE_GROUP ({}).", settings.resource_group);
            (ErrorKind::Unavailable, None, remedy)
        }
        (_, "SubscriptionNotFound" | "InvalidSubscriptionId") => {
            (ErrorKind::Unavailable, None, " Correct the subscription or the credentials' rights in it.".to_owned())
        }
        (429, _) => (ErrorKind::Exhausted, None, nothing),
        (409, "RegistryErrorResponse") => (ErrorKind::Exhausted, Some(REGISTRY), nothing),
        (409, "ContainerGroupTransitioning") => (ErrorKind::Conflict, Some(TRANSITION), nothing),
        (400..=409, _) if is_capacity(status, code, message) => (ErrorKind::Exhausted, Some(CAPACITY), nothing),
        (401, _) => (ErrorKind::Unauthenticated, None, nothing),
        (403, _) => (ErrorKind::PermissionDenied, None, nothing),
        (404, "") => (ErrorKind::Unavailable, None, nothing),
        (404, _) => (ErrorKind::NotFound, None, nothing),
        (409 | 412 | 423, _) => (ErrorKind::Conflict, None, nothing),
        (408 | 425 | 500..=599, _) => (ErrorKind::Unavailable, None, nothing),
        (400..=499, _) => (ErrorKind::Invalid, None, nothing),
        _ => (ErrorKind::Internal, None, nothing),
    }
}

/// Whether the region or the subscription has no room, which later it may have. The service has had several words for it.
fn is_capacity(status: u16, code: &str, message: &str) -> bool {
    (status == 409 && code == "ServiceUnavailable")
        || code.ends_with("QuotaReached")
        || code.ends_with("QuotaExceeded")
        || (status == 409 && message.contains("quota") && message.contains("exceeded"))
}

fn problem(body: &[u8]) -> Problem {
    let body: Body = serde_json::from_slice(body).unwrap_or_default();
    body.error.unwrap_or(Problem { code: body.code, message: body.message, details: None })
}

/// `Code: message; detail; detail`, in one line. Details that say the same again are left out.
fn text(problem: &Problem) -> Option<String> {
    let own = match (problem.code.as_deref(), problem.message.as_deref()) {
        (None | Some(""), None | Some("")) => return None,
        (Some(code), None | Some("")) => code.to_owned(),
        (None | Some(""), Some(message)) => message.to_owned(),
        (Some(code), Some(message)) => format!("{code}: {message}"),
    };
    let mut text = own;
    for detail in problem.details.iter().flatten() {
        let Some(message) = detail.message.as_deref().or(detail.code.as_deref()) else { continue };
        if !text.contains(message) {
            text = format!("{text}; {message}");
        }
    }
    Some(text)
}

fn quoted(body: &[u8]) -> String {
    if body.starts_with(&[0x1f, 0x8b]) {
        return ": compressed data".to_owned();
    }
    let body = String::from_utf8_lossy(body);
    let body = body.trim();
    if body.is_empty() { " without saying why".to_owned() } else { format!(": {}", shortened(body, QUOTED)) }
}

fn shortened(text: &str, most: usize) -> String {
    let line = |char: char| if char.is_control() { ' ' } else { char };
    let mut short: String = text.chars().take(most).map(line).collect();
    if text.chars().nth(most).is_some() {
        short.push('…');
    }
    short
}
