//! Faults by script: what goes wrong, with which requests, how often.

use std::time::Duration;

use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde::{Deserialize, Serialize};

use crate::route::Route;

/// A fault to arm.
///
/// In JSON: `{"route": "put", "group": "…", "after": 2, "times": 3, "probability": 0.5, "effect": {"status": {"code": 503}}}`;
/// all but `effect` may be left out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// Which requests it strikes; `None`: all. Streams are struck by [`Effect::Status`], [`Effect::Refused`] and
    /// [`Effect::Slow`] alone.
    #[serde(default)]
    pub route: Option<Route>,
    /// Requests about the group of this name; `None`: any.
    #[serde(default)]
    pub group: Option<String>,
    /// How many of those it spares at first.
    #[serde(default)]
    pub after: u32,
    /// How many it strikes; `None`: until it is cleared.
    #[serde(default)]
    pub times: Option<u32>,
    /// How likely it strikes, from 0 to 1; `None`: always.
    #[serde(default)]
    pub probability: Option<f64>,
    /// What happens to them.
    pub effect: Effect,
}

impl Fault {
    /// Strikes every request until it is cleared.
    pub fn new(effect: Effect) -> Self {
        Self { route: None, group: None, after: 0, times: None, probability: None, effect }
    }

    /// Strikes only requests of a route.
    #[must_use]
    pub fn on(mut self, route: Route) -> Self {
        self.route = Some(route);
        self
    }

    /// Strikes only requests about a group.
    #[must_use]
    pub fn of(mut self, group: impl Into<String>) -> Self {
        self.group = Some(group.into());
        self
    }

    /// Spares so many requests at first.
    #[must_use]
    pub fn after(mut self, requests: u32) -> Self {
        self.after = requests;
        self
    }

    /// Strikes only so many requests.
    #[must_use]
    pub fn times(mut self, times: u32) -> Self {
        self.times = Some(times);
        self
    }

    /// Strikes requests by chance only, from 0 (never) to 1 (always).
    #[must_use]
    pub fn with_probability(mut self, probability: f64) -> Self {
        self.probability = Some(probability);
        self
    }

    fn is_about(&self, route: Route, group: Option<&str>) -> bool {
        let about = |wanted: &String| group.is_some_and(|group| group.eq_ignore_ascii_case(wanted));
        self.route.is_none_or(|wanted| wanted == route)
            && self.group.as_ref().is_none_or(about)
            && (route != Route::Stream || self.effect.strikes_streams())
    }

    /// Why the fault could never do anything, if so.
    pub(crate) fn nonsense(&self) -> Option<String> {
        let is_nonsense = self.route == Some(Route::Stream) && !self.effect.strikes_streams();
        is_nonsense.then(|| format!("{:?} cannot happen to a stream: it can be refused, cut or slow", self.effect))
    }
}

/// What happens to a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Effect {
    /// It is refused and not carried out.
    Status(Refusal),
    /// It is carried out, and refused nevertheless.
    StatusAfter(Refusal),
    /// The connection is cut before anything is done.
    Refused,
    /// It is carried out, but the connection is cut in place of an answer.
    LostAnswer,
    /// It is carried out after so many milliseconds.
    Slow(u64),
    /// It is carried out at once, but answered so many milliseconds late.
    Late(u64),
    /// It is carried out, but within the answer's body there is a pause of so many milliseconds.
    SlowBody(u64),
    /// It is carried out, but the answer breaks off after so many bytes of its body.
    Truncated(usize),
    /// It is carried out, and the answer is compressed whether the client asked for that or not.
    Gzip,
    /// The bearer token is taken for expired. It stays so.
    ExpireToken,
}

impl Effect {
    /// A stream has no answer to spoil.
    fn strikes_streams(&self) -> bool {
        matches!(self, Self::Status(_) | Self::Refused | Self::Slow(_))
    }
}

/// An answer that refuses.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Refusal {
    /// The status, such as 503.
    pub code: u16,
    /// The header `Retry-After`: seconds or a date.
    pub retry_after: Option<String>,
    /// Code of the error in the body.
    pub error: Option<String>,
    /// Message of the error in the body.
    pub message: Option<String>,
    /// The whole body, in place of an error's.
    pub body: Option<String>,
}

impl Refusal {
    /// A status with an empty body.
    pub fn empty(code: u16) -> Self {
        Self { code, body: Some(String::new()), ..Self::default() }
    }

    /// A status with a page in HTML, as proxies answer.
    pub fn html(code: u16) -> Self {
        let body = format!("<html><head><title>{code}</title></head><body><h1>{code}</h1></body></html>");
        Self { code, body: Some(body), ..Self::default() }
    }

    /// A status with an error as the resource manager has it.
    pub fn error(code: u16, error: impl Into<String>, message: impl Into<String>) -> Self {
        Self { code, error: Some(error.into()), message: Some(message.into()), ..Self::default() }
    }

    /// With the header `Retry-After`: seconds or a date.
    #[must_use]
    pub fn retry_after(mut self, retry_after: impl ToString) -> Self {
        self.retry_after = Some(retry_after.to_string());
        self
    }

    /// Too many requests.
    pub fn throttled() -> Self {
        Self::error(429, "ResourceRequestsThrottled", "Number of requests exceeded the limit. Please try again later.")
    }

    /// The group is between two states.
    pub fn transitioning(group: &str) -> Self {
        let message = format!("The container group '{group}' is still transitioning, please retry later.");
        Self::error(409, "ContainerGroupTransitioning", message)
    }

    /// The image registry has had enough.
    pub fn registry() -> Self {
        let message =
            "An error response is received from the docker registry 'index.docker.io'. Please retry later.".to_owned();
        Self::error(409, "RegistryErrorResponse", message)
    }

    /// The region has no room.
    pub fn capacity() -> Self {
        let message = "The requested resource is not available in the location at this moment. Please retry later.";
        Self::error(409, "ServiceUnavailable", message)
    }

    /// The service took too long. The request may have been carried out ([`Effect::StatusAfter`]).
    pub fn server_timeout() -> Self {
        Self::error(503, "ServerTimeout", "The request timed out. Diagnostic information: none.")
    }

    /// The principal may not do this.
    pub fn forbidden() -> Self {
        let message = "The client does not have authorization to perform this action over this scope.";
        Self::error(403, "AuthorizationFailed", message)
    }
}

/// A fault that is armed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Armed {
    /// Its number.
    pub number: u64,
    /// What it does.
    pub fault: Fault,
    /// How many requests it was about so far.
    pub seen: u32,
    /// How many of them it has struck.
    pub struck: u32,
}

/// All faults that are armed.
#[derive(Debug)]
pub(crate) struct Faults {
    armed: Vec<Armed>,
    last: u64,
    chance: StdRng,
}

impl Faults {
    pub(crate) fn new(seed: u64) -> Self {
        Self { armed: Vec::new(), last: 0, chance: StdRng::seed_from_u64(seed) }
    }

    pub(crate) fn arm(&mut self, fault: Fault) -> u64 {
        self.last += 1;
        self.armed.push(Armed { number: self.last, fault, seen: 0, struck: 0 });
        self.last
    }

    pub(crate) fn list(&self) -> &[Armed] {
        &self.armed
    }

    pub(crate) fn disarm(&mut self, number: u64) -> bool {
        let before = self.armed.len();
        self.armed.retain(|armed| armed.number != number);
        self.armed.len() < before
    }

    pub(crate) fn clear(&mut self) {
        self.armed.clear();
    }

    /// What happens to a request. All faults that strike it do so together.
    pub(crate) fn strike(&mut self, route: Route, group: Option<&str>) -> Fate {
        let mut fate = Fate::default();
        for armed in &mut self.armed {
            if !armed.fault.is_about(route, group) {
                continue;
            }
            armed.seen += 1;
            let chance = &mut self.chance;
            let is_spared = armed.seen <= armed.fault.after
                || armed.fault.times.is_some_and(|times| armed.struck >= times)
                || armed.fault.probability.is_some_and(|probability| chance.random::<f64>() >= probability);
            if is_spared {
                continue;
            }
            armed.struck += 1;
            match armed.fault.effect.clone() {
                Effect::Status(refusal) => fate.before = Some(refusal),
                Effect::StatusAfter(refusal) => fate.after = Some(refusal),
                Effect::Refused => fate.refused = true,
                Effect::LostAnswer => fate.lost_answer = true,
                Effect::Slow(milliseconds) => fate.delay += Duration::from_millis(milliseconds),
                Effect::Late(milliseconds) => fate.late += Duration::from_millis(milliseconds),
                Effect::SlowBody(milliseconds) => fate.slow_body += Duration::from_millis(milliseconds),
                Effect::Truncated(bytes) => fate.truncated = Some(bytes),
                Effect::Gzip => fate.gzip = true,
                Effect::ExpireToken => fate.expire_token = true,
            }
        }
        self.armed.retain(|armed| armed.fault.times.is_none_or(|times| armed.struck < times));
        fate
    }
}

/// What happens to one request.
#[derive(Debug, Default)]
pub(crate) struct Fate {
    /// How long until it is carried out.
    pub(crate) delay: Duration,
    /// How long from then until it is answered.
    pub(crate) late: Duration,
    /// How long the answer pauses within its body.
    pub(crate) slow_body: Duration,
    pub(crate) refused: bool,
    pub(crate) before: Option<Refusal>,
    pub(crate) after: Option<Refusal>,
    pub(crate) lost_answer: bool,
    pub(crate) truncated: Option<usize>,
    pub(crate) gzip: bool,
    pub(crate) expire_token: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_strikes_what_it_names_after_those_it_spares_and_as_often_as_it_says() {
        let mut faults = Faults::new(1);
        faults.arm(Fault::new(Effect::LostAnswer).on(Route::Put).of("Web").after(1).times(2));
        assert!(!faults.strike(Route::Put, Some("db")).lost_answer);
        assert!(!faults.strike(Route::Get, Some("web")).lost_answer);
        let struck: Vec<bool> = (0..4).map(|_| faults.strike(Route::Put, Some("web")).lost_answer).collect();
        assert_eq!(struck, [false, true, true, false]);
        assert_eq!(faults.list(), []);
    }

    #[test]
    fn chance_is_the_same_for_the_same_seed() {
        let struck = |seed| -> Vec<bool> {
            let mut faults = Faults::new(seed);
            faults.arm(Fault::new(Effect::Refused).with_probability(0.5));
            (0..64).map(|_| faults.strike(Route::List, None).refused).collect()
        };
        assert_eq!(struck(7), struck(7));
        assert_ne!(struck(7), struck(8));
        let strikes = struck(7).into_iter().filter(|struck| *struck).count();
        assert!((16..48).contains(&strikes), "{strikes}");
    }

    #[test]
    fn faults_add_up_until_they_are_cleared() {
        let mut faults = Faults::new(1);
        let slow = faults.arm(Fault::new(Effect::Slow(5)));
        faults.arm(Fault::new(Effect::Status(Refusal::throttled().retry_after(372))));
        let fate = faults.strike(Route::Get, Some("web"));
        assert_eq!(fate.delay, Duration::from_millis(5));
        assert_eq!(fate.before.unwrap().retry_after.as_deref(), Some("372"));
        assert!(faults.disarm(slow) && !faults.disarm(slow));
        assert!(faults.strike(Route::Get, None).delay.is_zero());
        faults.clear();
        assert!(faults.strike(Route::Get, None).before.is_none());
    }

    #[test]
    fn streams_are_struck_only_by_what_can_happen_to_them() {
        let mut faults = Faults::new(1);
        faults.arm(Fault::new(Effect::LostAnswer).times(1));
        assert!(!faults.strike(Route::Stream, Some("web")).lost_answer);
        assert_eq!(faults.list()[0].seen, 0);
        assert!(faults.strike(Route::Get, Some("web")).lost_answer);
        assert!(Fault::new(Effect::Gzip).on(Route::Stream).nonsense().is_some());
        assert!(Fault::new(Effect::Refused).on(Route::Stream).nonsense().is_none());
        assert!(Fault::new(Effect::Gzip).nonsense().is_none());
    }

    #[test]
    fn faults_are_read_from_json() {
        let fault: Fault =
            serde_json::from_str(r#"{"route": "put", "times": 1, "effect": {"status": {"code": 503}}}"#).unwrap();
        let refusal = Refusal { code: 503, ..Refusal::default() };
        assert_eq!(fault, Fault::new(Effect::Status(refusal)).on(Route::Put).times(1));
    }
}
