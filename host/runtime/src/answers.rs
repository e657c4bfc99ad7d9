//! Checks what a provider answers, and turns it into plain types.

mod logs;
mod sessions;
mod stats;

use std::{fmt, time::Duration};

use serde::de::IgnoredAny;
use vk_provider::{
    Changes, Condition, ConditionStatus, Cursor, Deletion, Description, Error, ErrorKind, Extent, Info, Observation,
    OperatingSystem, PodId, Resources, Taint,
};

use crate::{
    bindings::{
        exports::vk::provider::{node, pods},
        vk::provider::types::{self, PodIdResult},
    },
    text,
};

pub(crate) use logs::log_chunk;
pub(crate) use sessions::{opened, progress};
pub(crate) use stats::stats;

/// Bounds of the contract.
const HANDLE_BYTES: usize = 4 << 10;
const CURSOR_BYTES: usize = 64 << 10;
/// A PodStatus beyond this has no room in an API object, of which etcd takes 1.5 MiB.
const STATUS_BYTES: usize = 512 << 10;
/// The longest name that Kubernetes allows.
const NAME_BYTES: usize = 253;
const UID_BYTES: usize = 128;
/// A provider's name becomes the value of a taint, and part of names and metrics: a DNS label.
const PROVIDER_NAME_BYTES: usize = 63;
const VERSION_BYTES: usize = 128;
/// Strings and lists of a node's description.
const DESCRIPTION_STRING_BYTES: usize = 32 << 10;
const DESCRIPTION_ENTRIES: usize = 1_000;
/// What is shown of an error to people.
const MESSAGE_BYTES: usize = 4 << 10;

/// Why an answer is not acceptable: the end of the sentence "the answer is malformed: ...".
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Malformed(String);

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

type Checked<T> = Result<T, Malformed>;

fn malformed<T>(reason: impl Into<String>) -> Checked<T> {
    Err(Malformed(reason.into()))
}

fn bounded(what: &str, bytes: usize, limit: usize) -> Checked<()> {
    if bytes > limit { malformed(format!("{what} has {bytes} bytes, more than {limit}")) } else { Ok(()) }
}

/// An error that the provider answered by itself.
pub(crate) fn error(error: types::Error) -> Error {
    let kind = match error.kind {
        types::ErrorKind::Invalid => ErrorKind::Invalid,
        types::ErrorKind::Unsupported => ErrorKind::Unsupported,
        types::ErrorKind::NotFound => ErrorKind::NotFound,
        types::ErrorKind::Conflict => ErrorKind::Conflict,
        types::ErrorKind::Unauthenticated => ErrorKind::Unauthenticated,
        types::ErrorKind::PermissionDenied => ErrorKind::PermissionDenied,
        types::ErrorKind::Exhausted => ErrorKind::Exhausted,
        types::ErrorKind::Unavailable => ErrorKind::Unavailable,
        types::ErrorKind::Internal => ErrorKind::Internal,
    };
    let mut plain = Error::new(kind, text::clean(&error.message, MESSAGE_BYTES));
    plain.retry_after = error.retry_after.map(milliseconds);
    plain
}

pub(crate) fn info(info: node::Info) -> Checked<Info> {
    let word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    if info.name.is_empty()
        || info.name.len() > PROVIDER_NAME_BYTES
        || !info.name.starts_with(word)
        || !info.name.ends_with(word)
        || !info.name.chars().all(|c| word(c) || c == '-')
    {
        return malformed(format!(
            "the name {:?} is not 1 to {PROVIDER_NAME_BYTES} of a-z, 0-9 and `-`, with no `-` at an end",
            text::cut(&info.name, 2 * PROVIDER_NAME_BYTES)
        ));
    }
    bounded("the version", info.version.len(), VERSION_BYTES)?;
    if info.version.contains(char::is_control) {
        return malformed("the version has control characters");
    }
    Ok(Info { name: info.name, version: info.version })
}

pub(crate) fn description(description: node::Description) -> Checked<Description> {
    let strings = |what: &str, list: &[(String, String)]| {
        bounded_list(what, list.len())?;
        list.iter().try_for_each(|(key, value)| bounded(what, key.len() + value.len(), DESCRIPTION_STRING_BYTES))
    };
    strings("an entry of capacity", &description.capacity)?;
    strings("an entry of allocatable", &description.allocatable)?;
    strings("a label", &description.labels)?;
    strings("an annotation", &description.annotations)?;
    bounded("the architecture", description.architecture.len(), NAME_BYTES)?;
    bounded_list("a condition", description.conditions.len())?;
    for condition in &description.conditions {
        let bytes = condition.kind.len() + condition.reason.len() + condition.message.len();
        bounded("a condition", bytes, DESCRIPTION_STRING_BYTES)?;
    }
    bounded_list("a taint", description.taints.len())?;
    for taint in &description.taints {
        bounded("a taint", taint.key.len() + taint.value.len() + taint.effect.len(), DESCRIPTION_STRING_BYTES)?;
    }
    let capacity: Resources = description.capacity;
    Ok(Description {
        operating_system: match description.operating_system {
            node::OperatingSystem::Linux => OperatingSystem::Linux,
            node::OperatingSystem::Windows => OperatingSystem::Windows,
        },
        architecture: description.architecture,
        capacity,
        allocatable: description.allocatable,
        conditions: description.conditions.into_iter().map(condition).collect(),
        labels: description.labels,
        annotations: description.annotations,
        taints: description.taints.into_iter().map(taint).collect(),
    })
}

fn bounded_list(what: &str, entries: usize) -> Checked<()> {
    if entries > DESCRIPTION_ENTRIES {
        return malformed(format!("there are {entries} where {DESCRIPTION_ENTRIES} are the most: {what}"));
    }
    Ok(())
}

fn condition(condition: node::Condition) -> Condition {
    Condition {
        kind: condition.kind,
        status: match condition.status {
            node::ConditionStatus::Affirmed => ConditionStatus::Affirmed,
            node::ConditionStatus::Denied => ConditionStatus::Denied,
            node::ConditionStatus::Unknown => ConditionStatus::Unknown,
        },
        reason: condition.reason,
        message: condition.message,
    }
}

fn taint(taint: node::Taint) -> Taint {
    Taint { key: taint.key, value: taint.value, effect: taint.effect }
}

/// The observation of one pod that was asked for. Only the handle is taken over from the id in the answer.
pub(crate) fn observation(answer: pods::Observation, asked: &PodId) -> Checked<Observation> {
    if answer.pod.uid != asked.uid {
        return malformed(format!(
            "it is about uid {:?}, asked was {:?}",
            text::cut(&answer.pod.uid, UID_BYTES),
            asked.uid
        ));
    }
    Ok(Observation {
        pod: PodId {
            namespace: asked.namespace.clone(),
            name: asked.name.clone(),
            uid: answer.pod.uid,
            handle: handle(answer.pod.handle)?,
        },
        status: status(answer.status)?,
    })
}

pub(crate) fn deletion(deletion: pods::Deletion) -> Deletion {
    match deletion {
        pods::Deletion::Gone => Deletion::Gone,
        pods::Deletion::Stopping => Deletion::Stopping,
    }
}

pub(crate) fn changes(changes: pods::Changes) -> Checked<Changes> {
    let observed = changes
        .observed
        .into_iter()
        .map(|observation| Ok(Observation { pod: pod_id(observation.pod)?, status: status(observation.status)? }));
    Ok(Changes {
        observed: observed.collect::<Checked<_>>()?,
        removed: changes.removed.into_iter().map(pod_id).collect::<Checked<_>>()?,
        extent: match changes.extent {
            pods::Extent::Changes => Extent::Changes,
            pods::Extent::Page => Extent::Page,
            pods::Extent::Last => Extent::Last,
        },
        next: changes.next.map(cursor).transpose()?,
        poll_after: changes.poll_after.map(milliseconds),
    })
}

fn pod_id(id: PodIdResult) -> Checked<PodId> {
    bounded("the namespace of a pod", id.namespace.len(), NAME_BYTES)?;
    bounded("the name of a pod", id.name.len(), NAME_BYTES)?;
    bounded("the uid of a pod", id.uid.len(), UID_BYTES)?;
    if id.uid.is_empty() {
        return malformed("a pod has no uid");
    }
    Ok(PodId { namespace: id.namespace, name: id.name, uid: id.uid, handle: handle(id.handle)? })
}

fn handle(handle: Option<String>) -> Checked<Option<String>> {
    bounded("the handle", handle.as_ref().map_or(0, String::len), HANDLE_BYTES)?;
    Ok(handle)
}

fn cursor(cursor: Cursor) -> Checked<Cursor> {
    bounded("the cursor", cursor.len(), CURSOR_BYTES)?;
    Ok(cursor)
}

fn status(status: Option<String>) -> Checked<Option<String>> {
    let Some(json) = &status else { return Ok(None) };
    bounded("the status", json.len(), STATUS_BYTES)?;
    if let Err(error) = serde_json::from_str::<IgnoredAny>(json) {
        return malformed(format!("the status is not JSON: {error}"));
    }
    if !json.trim_start().starts_with('{') {
        return malformed("the status is not a JSON object");
    }
    Ok(status)
}

fn milliseconds(count: u32) -> Duration {
    Duration::from_millis(count.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(uid: &str) -> PodIdResult {
        PodIdResult { namespace: "n".into(), name: "p".into(), uid: uid.into(), handle: None }
    }

    fn asked(uid: &str) -> PodId {
        PodId { namespace: "n".into(), name: "p".into(), uid: uid.into(), handle: None }
    }

    fn observed(status: &str) -> pods::Observation {
        pods::Observation { pod: id("u"), status: Some(status.into()) }
    }

    #[test]
    fn a_status_is_a_json_object_of_bounded_size() {
        for good in ["{}", " {\"phase\": \"Running\"}\n", r#"{"a":{"b":[1,2,{}]}}"#] {
            assert!(observation(observed(good), &asked("u")).is_ok(), "{good}");
        }
        let deep = "[".repeat(100_000);
        let large = format!("{{\"a\":\"{}\"}}", "x".repeat(STATUS_BYTES));
        for bad in ["", "null", "[]", "\"{}\"", "{", "{}{}", "{} x", &deep, &large] {
            let error = observation(observed(bad), &asked("u")).unwrap_err();
            assert!(error.to_string().starts_with("the status "), "{bad:.20}: {error}");
        }
    }

    #[test]
    fn an_observation_of_another_pod_is_refused() {
        let error = observation(observed("{}"), &asked("other")).unwrap_err();
        assert_eq!(error.to_string(), "it is about uid \"u\", asked was \"other\"");
    }

    #[test]
    fn handles_and_cursors_are_bounded() {
        let mut answer = observed("{}");
        answer.pod.handle = Some("x".repeat(HANDLE_BYTES));
        assert!(observation(answer, &asked("u")).is_ok());
        let mut answer = observed("{}");
        answer.pod.handle = Some("x".repeat(HANDLE_BYTES + 1));
        assert_eq!(
            observation(answer, &asked("u")).unwrap_err().to_string(),
            "the handle has 4097 bytes, more than 4096"
        );
        assert!(cursor(vec![0; CURSOR_BYTES]).is_ok());
        assert!(cursor(vec![0; CURSOR_BYTES + 1]).is_err());
    }

    #[test]
    fn a_listed_pod_has_a_uid() {
        let changes = |uid: &str| pods::Changes {
            observed: vec![],
            removed: vec![id(uid)],
            extent: pods::Extent::Last,
            next: None,
            poll_after: Some(5_000),
        };
        assert_eq!(super::changes(changes("u")).unwrap().poll_after, Some(Duration::from_secs(5)));
        assert_eq!(super::changes(changes("")).unwrap_err().to_string(), "a pod has no uid");
    }

    #[test]
    fn a_providers_name_is_a_dns_label() {
        let info = |name: &str| super::info(node::Info { name: name.into(), version: "1".into() });
        for good in ["aci", "my-provider-2", "a", "0", &"x".repeat(63)] {
            assert!(info(good).is_ok(), "{good}");
        }
        for bad in ["", "-aci", "aci-", "Aci", "a.b", "a_b", "a b", "a/b", "ä", &"x".repeat(64)] {
            assert!(info(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_error_keeps_its_kind_and_gets_a_message_for_one_line() {
        let error = super::error(types::Error {
            kind: types::ErrorKind::Exhausted,
            message: format!("quota\nof\u{1b}[31m {}", "x".repeat(10_000)),
            retry_after: Some(1_500),
        });
        assert_eq!(error.kind, ErrorKind::Exhausted);
        assert_eq!(error.retry_after, Some(Duration::from_millis(1_500)));
        assert!(error.message.starts_with("quota of [31m xxx") && error.message.len() < 5_000);
        assert_eq!(error.fault, None);
    }
}
