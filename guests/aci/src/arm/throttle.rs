//! Which requests must wait, for all instances together.
//!
//! The service counts requests by class and names what is left of a quota in its answers; how large the quotas are differs
//! by subscription, so nothing is assumed of them. What is learned is in the cache:
//!
//! - After a refusal with a time to wait, no instance sends a request of that class before that time is over. The call
//!   fails here, as throttled, with the rest of the wait.
//! - While the service names what is left, each request takes one of it, and when nothing is left, or after a refusal, one
//!   request at a time tries.
//!
//! A service that names no quota and refuses nothing is sent everything at once. That a region has no room for a pod is no
//! matter of this: such a refusal holds up nobody but its pod.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use vk_sdk::{Error, Result, cache, http};

use crate::clock;

/// The longest wait that is believed; the service's longest quota is by the hour.
const LONGEST: Duration = Duration::from_secs(3_600);
/// The wait after the first refusal that names none; it doubles with each that follows.
const FIRST: Duration = Duration::from_secs(5);
const LONGEST_UNNAMED: Duration = Duration::from_secs(120);
/// How long the others wait for the one that tries.
const TURN: Duration = Duration::from_secs(1);
/// How long that one is believed to be under way, if nothing is heard of it: its instance may have ended.
const UNDER_WAY: Duration = Duration::from_secs(60);
/// How long what is known of a quota is of use.
const KNOWN_FOR: Duration = Duration::from_secs(300);
/// How often a change is tried again that another instance came before with.
const ATTEMPTS: usize = 100;

const REMAINING: &str = "x-ms-ratelimit-remaining-";
const RETRY_AFTER_MILLISECONDS: [&str; 2] = ["retry-after-ms", "x-ms-retry-after-ms"];

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

impl Class {
    fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Create => "create",
            Self::Delete => "delete",
            Self::Action => "action",
            Self::Token => "token",
        }
    }

    /// Classes that share this one's limit of the subscription, but not its limits of container groups.
    pub(crate) fn counted_with(self) -> &'static [Self] {
        match self {
            Self::Create => &[Self::Action],
            Self::Action => &[Self::Create],
            Self::Read | Self::Delete | Self::Token => &[],
        }
    }

    fn key(self) -> String {
        format!("throttle/{}", self.name())
    }
}

/// What is known of a class. Times are milliseconds since 1970.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct State {
    /// Nothing is sent before.
    until: u64,
    /// What is left, less what is under way.
    remaining: Option<u64>,
    /// Requests that were let out.
    sent: u64,
    /// Which of them was the last to say what is left.
    heard: u64,
    /// Refusals in a row, and how many requests had been let out at the last.
    refusals: u32,
    refused: u64,
    /// Until when the one that tries is waited for.
    trying: u64,
}

impl State {
    fn is_tight(&self) -> bool {
        self.refusals > 0 || self.remaining == Some(0)
    }
}

/// Leave to send one request. Dropped, it says that no answer came.
#[derive(Debug)]
#[must_use = "what the answer says of the quota is to be learned"]
pub(crate) struct Permit {
    class: Class,
    /// The number of the request.
    number: u64,
    tries: bool,
}

/// Leave to send a request of this class now.
pub(crate) fn admit(class: Class) -> Result<Permit> {
    change(class, |state, now| {
        if now < state.until {
            return Err(held(class, state.until - now));
        }
        let tries = state.is_tight();
        if tries {
            if now < state.trying {
                return Err(Error::exhausted(format!(
                    "the service's quota of {} requests is used up: another request is trying whether it is again",
                    class.name()
                ))
                .after(TURN));
            }
            state.trying = now + milliseconds(UNDER_WAY);
        }
        state.remaining = state.remaining.map(|left| left.saturating_sub(1));
        state.sent += 1;
        Ok(Permit { class, number: state.sent, tries })
    })
    .unwrap_or_else(|| {
        Err(Error::exhausted(format!("too many {} requests at the same time", class.name())).after(TURN))
    })
}

/// Holds up a class whose requests the service counts together with those of one that it has refused.
pub(crate) fn hold(class: Class, wait: Duration) {
    change(class, |state, now| state.until = state.until.max(now + milliseconds(wait.min(LONGEST))));
}

fn held(class: Class, rest: u64) -> Error {
    let rest = Duration::from_millis(rest);
    let seconds = rest.as_millis().div_ceil(1_000);
    Error::exhausted(format!(
        "throttled: the service asked to wait with {} requests, for another {seconds} s",
        class.name()
    ))
    .after(rest)
}

impl Permit {
    /// Takes note of what an answer says of the quota.
    pub(crate) fn learn(mut self, response: &http::Response) {
        let (number, tries) = (self.number, std::mem::take(&mut self.tries));
        let (status, asked, left) = (response.status(), asked_wait(response), remaining(response));
        let refused = status == 429 || (status == 503 && asked.is_some());
        change(self.class, |state, now| {
            if tries {
                state.trying = 0;
            }
            if refused {
                // Those that were under way when the first was refused say nothing new.
                if state.refusals == 0 || number > state.refused {
                    state.refusals = state.refusals.saturating_add(1);
                    state.refused = state.sent;
                }
                let wait = asked.unwrap_or_else(|| unnamed(state.refusals)).min(LONGEST);
                // The millisecond that has begun is not over.
                state.until = state.until.max(now + milliseconds(wait) + 1);
                state.remaining = None;
                return;
            }
            if status < 500 && number > state.refused {
                state.refusals = 0;
            }
            match left {
                // What was sent after it may not be counted yet.
                Some(left) if number >= state.heard => {
                    state.remaining = Some(left.saturating_sub(state.sent.saturating_sub(number)));
                    state.heard = number;
                }
                Some(left) => state.remaining = Some(state.remaining.map_or(left, |known| known.min(left))),
                None if (200..300).contains(&status) => state.remaining = None,
                None => {}
            }
        });
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if self.tries {
            change(self.class, |state, _| state.trying = 0);
        }
    }
}

/// Changes what is known of a class. `None` if other instances always came before.
fn change<R>(class: Class, change: impl Fn(&mut State, u64) -> R) -> Option<R> {
    let key = class.key();
    (0..ATTEMPTS).find_map(|_| {
        let now = clock::milliseconds(clock::now());
        let seen = cache::get(&key);
        let known: State = seen.as_deref().and_then(|state| serde_json::from_slice(state).ok()).unwrap_or_default();
        let mut state = known.clone();
        let result = change(&mut state, now);
        if state == known {
            return Some(result);
        }
        let lifetime = Duration::from_millis(state.until.saturating_sub(now)) + KNOWN_FOR;
        let value = serde_json::to_vec(&state).unwrap_or_default();
        cache::replace(&key, seen.as_deref(), &value, lifetime).then_some(result)
    })
}

/// How long the service asks to wait.
pub(crate) fn asked_wait(response: &http::Response) -> Option<Duration> {
    let exact = RETRY_AFTER_MILLISECONDS.iter().find_map(|name| response.header(name)?.trim().parse().ok());
    exact.map(Duration::from_millis).or_else(|| response.retry_after())
}

fn unnamed(refusals: u32) -> Duration {
    FIRST.saturating_mul(2_u32.saturating_pow(refusals.saturating_sub(1))).min(LONGEST_UNNAMED)
}

/// The least that is left of any quota.
fn remaining(response: &http::Response) -> Option<u64> {
    let quotas = response
        .headers()
        .filter(|(name, _)| name.get(..REMAINING.len()).is_some_and(|start| start.eq_ignore_ascii_case(REMAINING)));
    quotas.filter_map(|(_, value)| value.trim().parse().ok()).min()
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
