//! Faults by script: what goes wrong, with which requests, how often.

use std::{sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

/// What the provider asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Operation {
    /// Whether the backend is there.
    Check,
    /// `PUT` of a pod.
    Create,
    /// `PATCH` of a pod.
    Update,
    /// `DELETE` of a pod.
    Delete,
    /// `GET` of a pod.
    Get,
    /// `GET` of a pod in all detail, for its log, its sessions and its usage.
    Details,
    /// A part of a listing.
    List,
    /// What changed since a cursor.
    Changes,
}

/// A fault to arm.
///
/// In JSON: `{"operation": "create", "uid": "…", "times": 3, "effect": {"status": {"code": 503}}}`; all but `effect` may be left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// Which requests it strikes; `None`: all.
    #[serde(default)]
    pub operation: Option<Operation>,
    /// Requests about which pod; `None`: any.
    #[serde(default)]
    pub uid: Option<String>,
    /// How many requests it strikes; `None`: until it is cleared.
    #[serde(default)]
    pub times: Option<u32>,
    /// What happens to them.
    pub effect: Effect,
}

impl Fault {
    /// Strikes every request until it is cleared.
    pub fn new(effect: Effect) -> Self {
        Self { operation: None, uid: None, times: None, effect }
    }

    /// Strikes only requests for an operation.
    #[must_use]
    pub fn on(mut self, operation: Operation) -> Self {
        self.operation = Some(operation);
        self
    }

    /// Strikes only requests about a pod.
    #[must_use]
    pub fn of(mut self, uid: impl Into<String>) -> Self {
        self.uid = Some(uid.into());
        self
    }

    /// Strikes only so many requests.
    #[must_use]
    pub fn times(mut self, times: u32) -> Self {
        self.times = Some(times);
        self
    }

    fn strikes(&self, operation: Operation, uid: Option<&str>) -> bool {
        let reads = matches!(operation, Operation::Get | Operation::List | Operation::Changes);
        let lists = matches!(operation, Operation::List | Operation::Changes);
        self.operation.is_none_or(|struck| struck == operation)
            && self.uid.as_deref().is_none_or(|struck| Some(struck) == uid)
            && match self.effect {
                Effect::Stale { .. } => reads,
                Effect::Empty => lists,
                _ => true,
            }
    }
}

/// What happens to a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Effect {
    /// It is carried out after a while.
    Slow {
        /// How long, in milliseconds.
        milliseconds: u64,
    },
    /// It is carried out at once, but answered late.
    Late {
        /// How long, in milliseconds; `None`: when the fault is cleared, and never before.
        #[serde(default)]
        milliseconds: Option<u64>,
    },
    /// It is refused with a status and not carried out.
    Status {
        /// The status.
        code: u16,
        /// The header `Retry-After`.
        #[serde(default)]
        retry_after: Option<String>,
    },
    /// It is carried out, but the connection is cut in place of an answer.
    LostAnswer,
    /// The connection is cut before anything is done. (For refused connections see [`Backend::stop`](crate::Backend::stop).)
    Refused,
    /// A get, a listing or a question for changes is answered as it was once.
    Stale {
        /// So many milliseconds ago; `None`: when the fault was armed.
        #[serde(default)]
        milliseconds: Option<u64>,
    },
    /// A listing or a question for changes names nothing.
    Empty,
    /// It is carried out, but the answer breaks off.
    Truncated {
        /// After so many bytes of the body.
        bytes: usize,
    },
}

/// A fault that is armed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Armed {
    /// Its number.
    pub number: u64,
    /// What it does.
    pub fault: Fault,
    /// How many requests it has struck.
    pub struck: u32,
    /// When it was armed, in milliseconds since 1970.
    pub since: u64,
}

impl Armed {
    fn is_used_up(&self) -> bool {
        self.fault.times.is_some_and(|times| self.struck >= times)
    }

    /// Whether answers wait for its end.
    fn holds_answers(&self) -> bool {
        matches!(self.fault.effect, Effect::Late { milliseconds: None })
    }
}

/// All faults that are armed.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    armed: Vec<Armed>,
    last: u64,
    /// Told whenever one is cleared.
    cleared: Arc<Notify>,
}

impl Faults {
    pub(crate) fn arm(&mut self, fault: Fault, now: u64) -> u64 {
        self.last += 1;
        self.armed.push(Armed { number: self.last, fault, struck: 0, since: now });
        self.last
    }

    pub(crate) fn list(&self) -> &[Armed] {
        &self.armed
    }

    pub(crate) fn disarm(&mut self, number: u64) -> bool {
        let before = self.armed.len();
        self.armed.retain(|armed| armed.number != number);
        self.cleared.notify_waiters();
        self.armed.len() < before
    }

    pub(crate) fn clear(&mut self) {
        self.armed.clear();
        self.cleared.notify_waiters();
    }

    /// For whoever waits until a fault [`is_armed`](Self::is_armed) no more.
    pub(crate) fn cleared(&self) -> Arc<Notify> {
        self.cleared.clone()
    }

    pub(crate) fn is_armed(&self, number: u64) -> bool {
        self.armed.iter().any(|armed| armed.number == number)
    }

    /// What happens to a request. All faults that strike it do so together.
    pub(crate) fn strike(&mut self, operation: Operation, uid: Option<&str>) -> Fate {
        let mut fate = Fate::default();
        let strikes = |armed: &&mut Armed| !armed.is_used_up() && armed.fault.strikes(operation, uid);
        for armed in self.armed.iter_mut().filter(strikes) {
            armed.struck += 1;
            match &armed.fault.effect {
                Effect::Slow { milliseconds } => fate.delay += Duration::from_millis(*milliseconds),
                Effect::Late { milliseconds: Some(late) } => fate.late += Duration::from_millis(*late),
                Effect::Late { milliseconds: None } => fate.held_by = Some(armed.number),
                Effect::Status { code, retry_after } => fate.status = Some((*code, retry_after.clone())),
                Effect::LostAnswer => fate.lost_answer = true,
                Effect::Refused => fate.refused = true,
                Effect::Stale { milliseconds: Some(ago) } => fate.sight = Sight::Ago(*ago),
                Effect::Stale { milliseconds: None } => fate.sight = Sight::At(armed.since),
                Effect::Empty => fate.sight = Sight::Nothing,
                Effect::Truncated { bytes } => fate.truncated = Some(*bytes),
            }
        }
        self.armed.retain(|armed| !armed.is_used_up() || armed.holds_answers());
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
    /// The fault until whose end it is not answered.
    pub(crate) held_by: Option<u64>,
    pub(crate) status: Option<(u16, Option<String>)>,
    pub(crate) lost_answer: bool,
    pub(crate) refused: bool,
    pub(crate) sight: Sight,
    pub(crate) truncated: Option<usize>,
}

/// What a request gets to see of the pods.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Sight {
    /// What is there.
    #[default]
    Present,
    /// What was there so many milliseconds ago.
    Ago(u64),
    /// What was there at a time.
    At(u64),
    /// Nothing.
    Nothing,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_strikes_as_often_as_it_says_and_only_what_it_names() {
        let mut faults = Faults::default();
        faults.arm(Fault::new(Effect::LostAnswer).on(Operation::Create).of("a").times(2), 0);
        assert!(!faults.strike(Operation::Create, Some("b")).lost_answer);
        assert!(!faults.strike(Operation::Delete, Some("a")).lost_answer);
        assert!(faults.strike(Operation::Create, Some("a")).lost_answer);
        assert!(faults.strike(Operation::Create, Some("a")).lost_answer);
        assert!(!faults.strike(Operation::Create, Some("a")).lost_answer);
        assert_eq!(faults.list(), []);
    }

    #[test]
    fn faults_add_up_and_stay_until_they_are_cleared() {
        let mut faults = Faults::default();
        let slow = faults.arm(Fault::new(Effect::Slow { milliseconds: 5 }), 0);
        faults.arm(Fault::new(Effect::Status { code: 503, retry_after: None }), 0);
        for _ in 0..3 {
            let fate = faults.strike(Operation::Check, None);
            assert_eq!((fate.delay, fate.status), (Duration::from_millis(5), Some((503, None))));
        }
        assert!(faults.disarm(slow));
        assert!(!faults.disarm(slow));
        assert_eq!(faults.strike(Operation::Check, None).delay, Duration::ZERO);
    }

    #[test]
    fn a_fault_that_holds_answers_stays_until_it_is_cleared_and_strikes_no_more() {
        let mut faults = Faults::default();
        let held = faults.arm(Fault::new(Effect::Late { milliseconds: None }).times(1), 0);
        assert_eq!(faults.strike(Operation::Create, None).held_by, Some(held));
        assert_eq!(faults.strike(Operation::Create, None).held_by, None);
        assert!(faults.is_armed(held));
        assert!(faults.disarm(held));
        assert!(!faults.is_armed(held));
    }

    #[test]
    fn a_stale_or_empty_view_strikes_only_what_can_be_viewed() {
        let mut faults = Faults::default();
        faults.arm(Fault::new(Effect::Stale { milliseconds: None }).times(1), 7);
        assert_eq!(faults.strike(Operation::Create, Some("a")).sight, Sight::Present);
        assert_eq!(faults.strike(Operation::Get, Some("a")).sight, Sight::At(7));
        faults.arm(Fault::new(Effect::Empty).times(1), 8);
        assert_eq!(faults.strike(Operation::Get, Some("a")).sight, Sight::Present);
        assert_eq!(faults.strike(Operation::List, None).sight, Sight::Nothing);
    }
}
