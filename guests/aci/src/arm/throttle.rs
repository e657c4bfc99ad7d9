//! Which requests must wait, for all instances together.

use std::time::{Duration, SystemTime};

use vk_sdk::{Result, http};

/// Requests that are counted together by the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    Read,
    /// Of container groups, which have a quota of their own.
    Create,
    Delete,
    /// Everything else that changes something, such as exec.
    Action,
    /// To the directory.
    Token,
}

/// Leave to send one request.
#[derive(Debug)]
#[must_use = "what the answer says of the quota is to be learned"]
pub(crate) struct Permit {
    class: Class,
}

/// Leave to send a request of this class now.
pub(crate) fn admit(class: Class) -> Result<Permit> {
    Ok(Permit { class })
}

impl Permit {
    /// Takes note of what an answer says of the quota.
    pub(crate) fn learn(self, _response: &http::Response) {
        let _ = self.class;
    }
}

/// How long the service asks to wait.
pub(crate) fn asked_wait(response: &http::Response) -> Option<Duration> {
    let now = crate::clock::now();
    response.header("retry-after").and_then(|value| parse(value, now))
}

fn parse(value: &str, _now: SystemTime) -> Option<Duration> {
    value.trim().parse().ok().map(Duration::from_secs)
}
