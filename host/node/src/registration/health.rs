//! The node's conditions: what the provider's answers say of its health. Pure; times are arguments.

use std::time::Duration;

use k8s_openapi::{api::core::v1::NodeCondition, apimachinery::pkg::apis::meta::v1::Time, jiff::Timestamp};
use tokio::time::Instant;
use vk_provider::{Condition, ConditionStatus, Description, Error, ErrorKind};

use crate::status::is_qualified_name;

/// The longest message of a condition, in bytes.
const MAX_MESSAGE: usize = 1024;
/// The most conditions of the provider's own.
const MAX_CONDITIONS: usize = 32;

/// A condition with the text that a healthy node shows.
const HEALTHY: [(&str, &str, &str); 4] = [
    ("MemoryPressure", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
    ("DiskPressure", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
    ("PIDPressure", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
    ("NetworkUnavailable", "RouteCreated", "the provider connects its pods"),
];

/// Those that a provider has no say in.
const OWN: [&str; 4] = ["Ready", "ProviderReachable", "ProviderAuthorized", "ProviderPodsVanished"];

/// What is known of the provider's health.
#[derive(Debug, Clone, Default)]
pub(super) struct Health {
    /// Since when every describe has failed, and how the last one did.
    failing: Option<(Instant, Error)>,
    /// Why pod calls are not authorized.
    denied: Option<String>,
    /// Why nothing is concluded from pods that have vanished.
    vanished: Option<String>,
    stopping: bool,
}

impl Health {
    /// Takes in how a describe ended.
    pub(super) fn described(&mut self, outcome: Result<(), Error>, now: Instant) {
        self.failing = outcome.err().map(|error| (self.failing.as_ref().map_or(now, |(since, _)| *since), error));
    }

    /// Whether the last describe failed.
    pub(super) fn is_failing(&self) -> bool {
        self.failing.is_some()
    }

    /// Takes in why pod calls are not authorized, and that many pods have vanished together.
    pub(super) fn told(&mut self, denied: Option<String>, vanished: Option<String>) {
        self.denied = denied;
        self.vanished = vanished;
    }

    pub(super) fn stopping(&mut self) {
        self.stopping = true;
    }

    /// When the node stops being ready if nothing changes.
    pub(super) fn not_ready_at(&self, not_ready_after: Duration, now: Instant) -> Option<Instant> {
        let (since, _) = self.failing.as_ref()?;
        Some(*since + not_ready_after).filter(|at| *at > now)
    }

    /// The node's conditions, without times.
    pub(super) fn conditions(
        &self,
        description: &Description,
        not_ready_after: Duration,
        now: Instant,
    ) -> Vec<Condition> {
        let mut conditions = vec![self.ready(description, not_ready_after, now)];
        for (kind, reason, message) in HEALTHY {
            conditions.push(condition(kind, false, reason, message));
        }
        let mut own = 0;
        for given in &description.conditions {
            let Condition { kind, status, reason, message } = given;
            if !is_qualified_name(kind) || OWN.contains(&kind.as_str()) {
                continue;
            }
            let given = Condition {
                kind: kind.clone(),
                status: *status,
                reason: word(reason),
                message: message.chars().take(MAX_MESSAGE / 4).collect(),
            };
            match conditions.iter_mut().find(|condition| condition.kind == *kind) {
                Some(known) => *known = given,
                None if own < MAX_CONDITIONS => {
                    own += 1;
                    conditions.push(given);
                }
                None => {}
            }
        }
        conditions.push(match &self.failing {
            Some((_, error)) if !is_denial(error.kind) => {
                condition("ProviderReachable", false, kind_reason(error.kind), &error.message)
            }
            _ => condition("ProviderReachable", true, "ProviderAnswers", "the provider answers"),
        });
        conditions.push(match (&self.failing, &self.denied) {
            (Some((_, error)), _) if is_denial(error.kind) => {
                condition("ProviderAuthorized", false, kind_reason(error.kind), &error.message)
            }
            (_, Some(denied)) => condition("ProviderAuthorized", false, "PermissionDenied", denied),
            _ => condition("ProviderAuthorized", true, "ProviderAnswers", "the provider's credentials are accepted"),
        });
        conditions.push(match &self.vanished {
            Some(message) => condition("ProviderPodsVanished", true, "PodsVanishedTogether", message),
            None => condition("ProviderPodsVanished", false, "NoneVanished", "no large part of the pods has vanished"),
        });
        conditions
    }

    fn ready(&self, description: &Description, not_ready_after: Duration, now: Instant) -> Condition {
        if self.stopping {
            return condition("Ready", false, "KubeletNotReady", "vk-host is stopping");
        }
        if let Some((since, error)) = &self.failing
            && now.duration_since(*since) >= not_ready_after
        {
            let message = format!("the provider has failed for {} s: {}", not_ready_after.as_secs(), error.message);
            return condition("Ready", false, "ProviderUnreachable", &message);
        }
        let said = description.conditions.iter().find(|condition| condition.kind == "Ready");
        match said {
            Some(said) if said.status != ConditionStatus::Affirmed => {
                condition("Ready", false, &word(&said.reason), &said.message)
            }
            _ => condition("Ready", true, "KubeletReady", "Kubelet is ready"),
        }
    }
}

/// Whether an error says that the backend refuses the provider's credentials.
pub(super) fn is_denial(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::Unauthenticated | ErrorKind::PermissionDenied)
}

fn condition(kind: &str, holds: bool, reason: &str, message: &str) -> Condition {
    Condition {
        kind: kind.to_owned(),
        status: if holds { ConditionStatus::Affirmed } else { ConditionStatus::Denied },
        reason: reason.to_owned(),
        message: message.get(..message.floor_char_boundary(MAX_MESSAGE)).unwrap_or_default().to_owned(),
    }
}

/// A reason as conditions have them; one that is none becomes a general word.
fn word(reason: &str) -> String {
    let good = !reason.is_empty() && reason.len() <= 128 && reason.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if good { reason.to_owned() } else { "ReportedByProvider".to_owned() }
}

fn kind_reason(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::Invalid => "Invalid",
        ErrorKind::Unsupported => "Unsupported",
        ErrorKind::NotFound => "NotFound",
        ErrorKind::Conflict => "Conflict",
        ErrorKind::Unauthenticated => "Unauthenticated",
        ErrorKind::PermissionDenied => "PermissionDenied",
        ErrorKind::Exhausted => "Exhausted",
        ErrorKind::Unavailable => "Unavailable",
        ErrorKind::Internal => "Internal",
    }
}

/// Dates conditions: a transition is a change of the status alone, a heartbeat is every report.
pub(super) fn date(conditions: &[Condition], known: &[NodeCondition], now: Timestamp) -> Vec<NodeCondition> {
    conditions
        .iter()
        .map(|condition| {
            let status = condition.status.as_str();
            let known = known.iter().find(|known| known.type_ == condition.kind && known.status == status);
            let since = known.and_then(|known| known.last_transition_time.clone());
            NodeCondition {
                type_: condition.kind.clone(),
                status: status.to_owned(),
                reason: Some(condition.reason.clone()),
                message: Some(condition.message.clone()),
                last_heartbeat_time: Some(Time(now)),
                last_transition_time: Some(since.unwrap_or(Time(now))),
            }
        })
        .collect()
}
