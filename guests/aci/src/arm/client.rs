//! Requests to Azure Resource Manager.

use std::{fmt::Write as _, time::Duration};

use serde::{Serialize, de::DeserializeOwned};
use serde_json::error::Category;
use vk_sdk::{Error, Result, debug, http};

use super::{
    Arm,
    refusal::Refusal,
    throttle::{self, Class},
};
use crate::{group::Secret, token};

/// A read that hangs leaves time for others within one call of the host.
const LONGEST_READ: Duration = Duration::from_secs(8);

/// A request that is being put together.
#[derive(Debug)]
pub(crate) struct Call {
    method: &'static str,
    class: Class,
    target: Target,
    query: String,
    /// In place of that of container groups.
    api_version: Option<String>,
    body: Option<Result<Vec<u8>>>,
}

#[derive(Debug)]
enum Target {
    /// A path, escaped.
    Path(String),
    /// A whole URL that the service gave.
    Link(String),
}

impl Call {
    fn new(method: &'static str, class: Class, target: Target) -> Self {
        Self { method, class, target, query: String::new(), api_version: None, body: None }
    }

    /// A GET of an escaped path.
    pub(crate) fn get(class: Class, path: String) -> Self {
        Self::new("GET", class, Target::Path(path))
    }

    /// A GET of what the service said to ask for next.
    pub(crate) fn link(class: Class, url: &str) -> Self {
        Self::new("GET", class, Target::Link(url.to_owned()))
    }

    pub(crate) fn put(class: Class, path: String, body: &impl Serialize) -> Self {
        Self::new("PUT", class, Target::Path(path)).json(body)
    }

    pub(crate) fn post(class: Class, path: String) -> Self {
        Self::new("POST", class, Target::Path(path))
    }

    pub(crate) fn delete(class: Class, path: String) -> Self {
        Self::new("DELETE", class, Target::Path(path))
    }

    /// Adds a parameter to the query.
    pub(crate) fn query(mut self, name: &str, value: &str) -> Self {
        let _ = write!(self.query, "&{name}={}", segment(value));
        self
    }

    /// Asks another API than that of container groups.
    pub(crate) fn api_version(mut self, version: &str) -> Self {
        self.api_version = Some(version.to_owned());
        self
    }

    pub(crate) fn json(mut self, body: &impl Serialize) -> Self {
        let body = serde_json::to_vec(body);
        self.body = Some(body.map_err(|error| Error::internal(format!("writing the request's body: {error}"))));
        self
    }
}

/// An answer of 2xx.
#[derive(Debug)]
pub(crate) struct Answer {
    response: http::Response,
    asked: String,
}

impl Answer {
    pub(crate) fn status(&self) -> u16 {
        self.response.status()
    }

    /// The body. One that is not whole is `unavailable`: the same request may well be answered better.
    pub(crate) fn json<T: DeserializeOwned>(&self) -> Result<T> {
        let body = self.response.body();
        if body.starts_with(&[0x1f, 0x8b]) || self.response.header("content-encoding").is_some() {
            return Err(Error::unavailable(format!(
                "{}: the answer is compressed, which was not asked for: something between vk-host and Azure changes answers",
                self.asked
            )));
        }
        // What serde says of a value may repeat it, and it may be a password.
        serde_json::from_slice(body).map_err(|error| {
            let problem = match error.classify() {
                Category::Eof => "breaks off",
                Category::Data => "has not the members that it should have",
                Category::Syntax | Category::Io => "is not JSON",
            };
            let (line, column) = (error.line(), error.column());
            Error::unavailable(format!("{}: the answer {problem}, at line {line}, column {column}", self.asked))
        })
    }
}

impl Arm {
    /// Sends a request; an answer of another status than 2xx is an error.
    pub(crate) fn request(&self, call: &Call) -> Result<Answer> {
        self.send(call).map_err(|refusal| refusal.error)
    }

    pub(super) fn send(&self, call: &Call) -> std::result::Result<Answer, Refusal> {
        let token = token::token(&self.settings)?;
        let refusal = match self.send_with(call, &token) {
            Err(refusal) if refusal.status == 401 => refusal,
            other => return other,
        };
        token::forget(&token);
        debug!("a token was refused: {}", refusal.error.message);
        let token = token::token(&self.settings)?;
        let answer = self.send_with(call, &token);
        if let Err(refusal) = &answer
            && refusal.status == 401
        {
            token::forget(&token);
            token::refuse(&refusal.error);
        }
        answer
    }

    fn send_with(&self, call: &Call, token: &Secret) -> std::result::Result<Answer, Refusal> {
        let url = self.url(call)?;
        let asked = format!("{} {}", call.method, url.split('?').next().unwrap_or_default());
        let mut request = http::Request::new(call.method, url)
            .bearer(&token.0)
            .header("user-agent", &self.settings.user_agent)
            .header("accept", "application/json");
        if let Some(body) = &call.body {
            request = request.header("content-type", "application/json").body(body.clone()?);
        }
        if call.class == Class::Read {
            request = request.timeout(LONGEST_READ);
        }
        let permit = throttle::admit(call.class)?;
        let response = request.send()?;
        permit.learn(&response);
        if (200..300).contains(&response.status()) {
            return Ok(Answer { response, asked });
        }
        let refusal = Refusal::read(&response, &asked, &self.settings);
        if refusal.status == 429 && refusal.code == "SubscriptionRequestsThrottled" {
            let wait = throttle::asked_wait(&response).unwrap_or_default();
            call.class.counted_with().iter().for_each(|class| throttle::hold(*class, wait));
        }
        Err(refusal)
    }

    fn url(&self, call: &Call) -> Result<String> {
        let base = self.settings.endpoints.resource_manager.as_str();
        match &call.target {
            Target::Path(path) => {
                let version = call.api_version.as_ref().unwrap_or(&self.settings.api_version);
                Ok(format!("{base}{path}?api-version={}{}", segment(version), call.query))
            }
            Target::Link(url) => {
                let inside = url
                    .get(..base.len())
                    .filter(|origin| origin.eq_ignore_ascii_case(base))
                    .and_then(|_| url.get(base.len()..))
                    .filter(|rest| rest.starts_with('/'));
                match inside {
                    Some(rest) => Ok(format!("{base}{rest}")),
                    // The token goes to nobody else.
                    None => Err(Error::internal(format!(
                        "the resource manager's listing goes on at another place than {base}: not followed"
                    ))),
                }
            }
        }
    }
}

/// A segment of a path or a value of a query: all but what RFC 3986 calls unreserved is escaped.
pub(crate) fn segment(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            let _ = write!(escaped, "%{byte:02X}");
        }
    }
    escaped
}
