//! HTTP through the host, inside what the operator granted.
//!
//! ```no_run
//! # use vk_sdk::{Result, http};
//! # fn group() -> Result<serde_json::Value> {
//! http::get("https://api.example.com/v1/groups/a").bearer("token").call()?.json()
//! # }
//! ```
//!
//! Requests and answers are buffered whole. Redirects are returned, not followed; bodies are not decompressed; the host
//! cuts every timeout to what is left of the call.

use std::{
    fmt,
    time::{Duration, SystemTime},
};

use serde::{Serialize, de::DeserializeOwned};

use crate::{
    Error, ErrorKind, Result,
    bindings::vk::provider::http::{Failure, Request as RawRequest, Response as RawResponse},
    component::milliseconds,
    host,
};

/// How much of an answer's body an error's message quotes, in characters.
const QUOTED: usize = 300;

/// Begins a GET.
pub fn get(url: impl Into<String>) -> Request {
    Request::new("GET", url)
}

/// Begins a PUT.
pub fn put(url: impl Into<String>) -> Request {
    Request::new("PUT", url)
}

/// Begins a POST.
pub fn post(url: impl Into<String>) -> Request {
    Request::new("POST", url)
}

/// Begins a PATCH.
pub fn patch(url: impl Into<String>) -> Request {
    Request::new("PATCH", url)
}

/// Begins a DELETE.
pub fn delete(url: impl Into<String>) -> Request {
    Request::new("DELETE", url)
}

/// A request that is being put together.
#[must_use = "a request does nothing until it is sent"]
pub struct Request {
    raw: RawRequest,
    problem: Option<Error>,
}

/// Header values, queries and bodies hold secrets, so they are left out.
impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("asked", &asked(&self.raw.method, &self.raw.url))
            .field("headers", &names(&self.raw.headers))
            .field("body", &self.raw.body.len())
            .field("timeout", &self.raw.timeout)
            .field("problem", &self.problem)
            .finish()
    }
}

impl Request {
    /// Begins a request with any method.
    pub fn new(method: impl Into<String>, url: impl Into<String>) -> Self {
        let raw =
            RawRequest { method: method.into(), url: url.into(), headers: Vec::new(), body: Vec::new(), timeout: None };
        Self { raw, problem: None }
    }

    /// Adds a header. The host sets Host and Content-Length itself.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.raw.headers.push((name.into(), value.into()));
        self
    }

    /// Adds `Authorization: Bearer …`.
    pub fn bearer(self, token: &str) -> Self {
        self.header("authorization", format!("Bearer {token}"))
    }

    /// Sets the body.
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.raw.body = body.into();
        self
    }

    /// Sets the body to a value as JSON, and Content-Type.
    pub fn with_json(mut self, value: &impl Serialize) -> Self {
        match serde_json::to_vec(value) {
            Ok(body) => self.header("content-type", "application/json").body(body),
            Err(error) => {
                self.problem = Some(Error::internal(format!("writing the request's body: {error}")));
                self
            }
        }
    }

    /// Bounds the request in time.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.raw.timeout = Some(milliseconds(timeout));
        self
    }

    /// Sends it, whatever the status of the answer.
    ///
    /// # Errors
    ///
    /// [`permission_denied`](Error::permission_denied) if the operator has not granted it, saying which grant is missing;
    /// [`unavailable`](Error::unavailable) if the connection failed or took too long; [`internal`](Error::internal) if the request is not one.
    pub fn send(self) -> Result<Response> {
        if let Some(problem) = self.problem {
            return Err(problem);
        }
        match host::send(&self.raw) {
            Ok(raw) => Ok(Response { raw, asked: asked(&self.raw.method, &self.raw.url) }),
            Err(failure) => Err(failed(&asked(&self.raw.method, &self.raw.url), failure)),
        }
    }

    /// Sends it and takes every status but 2xx for an error: [`send`](Self::send), then [`success`](Response::success).
    ///
    /// # Errors
    ///
    /// Those of the two.
    pub fn call(self) -> Result<Response> {
        self.send()?.success()
    }
}

/// An answer, read whole.
pub struct Response {
    raw: RawResponse,
    asked: String,
}

/// Header values and bodies hold secrets, so they are left out.
impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Response")
            .field("asked", &self.asked)
            .field("status", &self.raw.status)
            .field("headers", &names(&self.raw.headers))
            .field("body", &self.raw.body.len())
            .finish()
    }
}

impl Response {
    /// The status.
    pub fn status(&self) -> u16 {
        self.raw.status
    }

    /// The first header of this name, in any case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.raw.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// All headers, in the order in which they came.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        self.raw.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// How long `Retry-After` asks to wait, if it is a number of seconds or a date.
    pub fn retry_after(&self) -> Option<Duration> {
        self.header("retry-after").and_then(|value| retry_after(value, SystemTime::now()))
    }

    /// The body.
    pub fn body(&self) -> &[u8] {
        &self.raw.body
    }

    /// The body, read as JSON.
    ///
    /// # Errors
    ///
    /// [`internal`](Error::internal) if it is not JSON of that type. Not an `unavailable`: a backend that speaks otherwise than expected
    /// does not get better by waiting.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_slice(&self.raw.body)
            .map_err(|error| Error::internal(format!("{}: the answer is not as expected: {error}", self.asked)))
    }

    /// The answer, if its status is 2xx.
    ///
    /// # Errors
    ///
    /// | status | error |
    /// |---|---|
    /// | 401 | unauthenticated |
    /// | 403 | permission-denied |
    /// | 404, 410 | not-found |
    /// | 409, 412, 423 | conflict |
    /// | 429 | exhausted, after what `Retry-After` says |
    /// | 408, 425, 5xx | unavailable |
    /// | other 4xx | invalid |
    /// | 1xx, 3xx | internal |
    pub fn success(self) -> Result<Self> {
        if (200..300).contains(&self.raw.status) {
            return Ok(self);
        }
        let mut error = Error::new(kind_of(self.raw.status), self.problem());
        if let Some(wait) = self.retry_after() {
            error = error.after(wait);
        }
        Err(error)
    }

    fn problem(&self) -> String {
        let body = String::from_utf8_lossy(&self.raw.body);
        let body = body.trim();
        let mut message = format!("{} answered {}", self.asked, self.raw.status);
        if !body.is_empty() {
            message.push_str(": ");
            message.extend(body.chars().take(QUOTED).map(|char| if char.is_control() { ' ' } else { char }));
            if body.chars().nth(QUOTED).is_some() {
                message.push('…');
            }
        }
        message
    }
}

fn names(headers: &[(String, String)]) -> Vec<&str> {
    headers.iter().map(|(name, _)| name.as_str()).collect()
}

/// What was asked, without the query and the user: those may hold secrets, and messages go into events.
fn asked(method: &str, url: &str) -> String {
    let url = url.split(['?', '#']).next().unwrap_or_default();
    match url.split_once("://") {
        Some((scheme, rest)) => {
            let (authority, path) = rest.find('/').map_or((rest, ""), |slash| rest.split_at(slash));
            let host = authority.rsplit('@').next().unwrap_or_default();
            format!("{method} {scheme}://{host}{path}")
        }
        None => format!("{method} {url}"),
    }
}

fn kind_of(status: u16) -> ErrorKind {
    match status {
        401 => ErrorKind::Unauthenticated,
        403 => ErrorKind::PermissionDenied,
        404 | 410 => ErrorKind::NotFound,
        409 | 412 | 423 => ErrorKind::Conflict,
        429 => ErrorKind::Exhausted,
        408 | 425 | 500..=599 => ErrorKind::Unavailable,
        400..=499 => ErrorKind::Invalid,
        _ => ErrorKind::Internal,
    }
}

fn failed(asked: &str, failure: Failure) -> Error {
    match failure {
        Failure::Denied(missing) => Error::permission_denied(missing),
        Failure::Invalid(problem) => Error::internal(format!("{asked}: not a request: {problem}")),
        Failure::Connect(problem) => Error::unavailable(format!("{asked}: cannot connect: {problem}")),
        Failure::Tls(problem) => Error::unavailable(format!("{asked}: TLS: {problem}")),
        Failure::Timeout => Error::unavailable(format!(
            "{asked}: no answer in time (the least of the request's own, sandbox.timeouts.request and what was left of the \
             call)"
        )),
        Failure::TooLarge(limit) => {
            Error::internal(format!("{asked}: the answer is larger than {limit} bytes (sandbox.response-bytes)"))
        }
        Failure::Protocol(problem) => Error::unavailable(format!("{asked}: the answer broke off: {problem}")),
    }
}

/// `Retry-After` is a number of seconds or a date; one in the past means at once.
fn retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at = httpdate::parse_http_date(value).ok()?;
    Some(at.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, headers: &[(&str, &str)], body: &str) -> Response {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let raw = RawResponse { status, headers, body: body.as_bytes().to_vec() };
        Response { raw, asked: "GET https://a.example/x".to_owned() }
    }

    #[test]
    fn each_status_becomes_the_kind_that_the_host_acts_upon() {
        for (status, kind) in [
            (302, ErrorKind::Internal),
            (400, ErrorKind::Invalid),
            (401, ErrorKind::Unauthenticated),
            (403, ErrorKind::PermissionDenied),
            (404, ErrorKind::NotFound),
            (408, ErrorKind::Unavailable),
            (409, ErrorKind::Conflict),
            (410, ErrorKind::NotFound),
            (412, ErrorKind::Conflict),
            (422, ErrorKind::Invalid),
            (423, ErrorKind::Conflict),
            (425, ErrorKind::Unavailable),
            (429, ErrorKind::Exhausted),
            (500, ErrorKind::Unavailable),
            (503, ErrorKind::Unavailable),
        ] {
            assert_eq!(answer(status, &[], "").success().unwrap_err().kind, kind, "{status}");
        }
        assert_eq!(answer(204, &[], "").success().unwrap().status(), 204);
    }

    #[test]
    fn retry_after_is_read_as_seconds_or_as_a_date() {
        let now = httpdate::parse_http_date("Wed, 21 Oct 2026 07:28:00 GMT").unwrap();
        for (value, wait) in [
            ("7", Some(7)),
            (" 0 ", Some(0)),
            ("Wed, 21 Oct 2026 07:29:30 GMT", Some(90)),
            ("Wed, 21 Oct 2026 07:00:00 GMT", Some(0)),
            ("-1", None),
            ("soon", None),
        ] {
            assert_eq!(retry_after(value, now), wait.map(Duration::from_secs), "{value}");
        }
        let error = answer(429, &[("Retry-After", "12")], "slow down").success().unwrap_err();
        assert_eq!(error.retry_after, Some(12_000));
    }

    #[test]
    fn a_message_names_the_request_without_query_or_password_and_quotes_a_part_of_the_body() {
        assert_eq!(
            asked("PUT", "https://user:secret@a.example:8443/x/y?key=secret#z"),
            "PUT https://a.example:8443/x/y"
        );
        assert_eq!(asked("GET", "https://a.example?token=secret"), "GET https://a.example");
        assert_eq!(asked("GET", "/relative?token=secret"), "GET /relative");
        let message = answer(500, &[], &format!("\n{}\n", "é".repeat(400))).success().unwrap_err().message;
        assert_eq!(message, format!("GET https://a.example/x answered 500: {}…", "é".repeat(300)));
        let message = answer(500, &[], "two\nlines").success().unwrap_err().message;
        assert_eq!(message, "GET https://a.example/x answered 500: two lines");
    }

    #[test]
    fn a_failed_connection_is_unavailable_and_a_missing_grant_is_not() {
        assert_eq!(failed("GET x", Failure::Connect("refused".into())).kind, ErrorKind::Unavailable);
        assert_eq!(failed("GET x", Failure::Timeout).kind, ErrorKind::Unavailable);
        let denied = failed("GET x", Failure::Denied("sandbox.net does not grant https://a.example".into()));
        assert_eq!(denied, Error::permission_denied("sandbox.net does not grant https://a.example"));
    }

    #[test]
    fn a_limit_that_is_hit_is_named_as_the_operator_writes_it() {
        assert!(failed("GET x", Failure::TooLarge(7)).message.contains("7 bytes (sandbox.response-bytes)"));
        assert!(failed("GET x", Failure::Timeout).message.contains("sandbox.timeouts.request"));
    }

    #[test]
    fn what_is_printed_for_debugging_holds_no_header_value_query_or_body() {
        let request = post("https://user:secret@a.example/x?key=secret").bearer("secret").body("secret");
        let response = answer(200, &[("Set-Cookie", "secret")], "secret");
        let printed = format!("{request:?} {response:?}");
        assert!(!printed.contains("secret") && printed.contains("authorization"), "{printed}");
    }

    #[test]
    fn an_answer_that_is_not_the_expected_json_names_the_request() {
        let error = answer(200, &[], "<html>").json::<u32>().unwrap_err();
        assert_eq!(error.kind, ErrorKind::Internal);
        assert!(
            error.message.starts_with("GET https://a.example/x: the answer is not as expected"),
            "{}",
            error.message
        );
    }
}
