//! How the mock misbehaves where a pod asks for it.

use std::{hint::black_box, time::Duration};

use mock_model::{Call, Conduct, Misdeed, Rejection};
use vk_sdk::{Error, ErrorKind, PodId, Result, cache, warn};

/// Does not return if one of the misdeeds strikes this call.
pub(crate) fn misbehave(misdeeds: impl IntoIterator<Item = (Call, Misdeed)>, call: Call, pod: &PodId) {
    if let Some((_, misdeed)) = misdeeds.into_iter().find(|(struck, _)| *struck == call) {
        commit(misdeed, call, pod);
    }
}

/// The pod's handle. In it travel the misdeeds that strike calls which carry no manifest: the host keeps it with the
/// pod, over restarts of everything. It is a `1` and then, each after a space, `CALL=MISDEED`.
pub(crate) fn handle(conduct: &Conduct, pod: &PodId) -> Option<String> {
    let later = conduct.misdeeds.iter().filter(|(call, _)| matches!(call, Call::Get | Call::Delete));
    let words: String = later.map(|(call, misdeed)| format!(" {}={}", call.as_str(), misdeed.as_str())).collect();
    // Without a handle the host keeps the earlier one, so taking a misdeed back takes an empty one.
    (!words.is_empty() || pod.handle.is_some()).then(|| format!("1{words}"))
}

/// The misdeeds in a handle. Those of a version that is not known are none.
pub(crate) fn read_handle(pod: &PodId) -> impl Iterator<Item = (Call, Misdeed)> {
    let words = pod.handle.as_deref().and_then(|handle| handle.strip_prefix("1 ")).unwrap_or_default();
    words.split(' ').filter_map(|word| {
        let (call, misdeed) = word.split_once('=')?;
        Some((Call::from_name(call)?, Misdeed::from_name(misdeed)?))
    })
}

fn commit(misdeed: Misdeed, call: Call, pod: &PodId) -> ! {
    warn!(uid = pod.uid, "{} in {} of pod {}, as it asks", misdeed.as_str(), call.as_str(), pod.full_name());
    match misdeed {
        Misdeed::Trap => std::process::abort(),
        Misdeed::Spin => loop {
            black_box(());
        },
        Misdeed::Hang => loop {
            wait(Duration::from_secs(1));
        },
        Misdeed::EatMemory => {
            let mut eaten = Vec::new();
            loop {
                eaten.push(black_box(vec![1_u8; 1 << 20]));
            }
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "there is no other work to do on an instance while it waits")]
fn wait(duration: Duration) {
    std::thread::sleep(duration);
}

/// Answers the error that the pod asks for, as often as it does.
pub(crate) fn refuse(rejection: Option<&Rejection>, call: Call, pod: &PodId) -> Result<()> {
    let Some(rejection) = rejection else { return Ok(()) };
    if let Some(times) = rejection.times {
        let key = format!("rejected/{}/{}", call.as_str(), pod.uid);
        let before: u32 = cache::get_json(&key).unwrap_or(0);
        if before >= times {
            return Ok(());
        }
        cache::set_json(&key, &(before + 1), cache::LONGEST)?;
    }
    Err(error(rejection))
}

fn error(rejection: &Rejection) -> Error {
    let error = Error::new(kind(&rejection.kind), &*rejection.message);
    match rejection.retry_after {
        Some(wait) => error.after(Duration::from_millis(wait)),
        None => error,
    }
}

fn kind(name: &str) -> ErrorKind {
    match name {
        "invalid" => ErrorKind::Invalid,
        "unsupported" => ErrorKind::Unsupported,
        "not-found" => ErrorKind::NotFound,
        "conflict" => ErrorKind::Conflict,
        "unauthenticated" => ErrorKind::Unauthenticated,
        "permission-denied" => ErrorKind::PermissionDenied,
        "exhausted" => ErrorKind::Exhausted,
        "unavailable" => ErrorKind::Unavailable,
        _ => ErrorKind::Internal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(handle: Option<&str>) -> PodId {
        PodId { namespace: "d".into(), name: "p".into(), uid: "u".into(), handle: handle.map(str::to_owned) }
    }

    #[test]
    fn misdeeds_that_need_no_manifest_are_read_back_from_the_handle() {
        let misdeeds =
            vec![(Call::Create, Misdeed::Trap), (Call::Get, Misdeed::Spin), (Call::Delete, Misdeed::EatMemory)];
        let handle = handle(&Conduct { misdeeds, ..Conduct::default() }, &pod(None));
        assert_eq!(handle.as_deref(), Some("1 get=spin delete=eat-memory"));
        let read: Vec<_> = read_handle(&pod(handle.as_deref())).collect();
        assert_eq!(read, [(Call::Get, Misdeed::Spin), (Call::Delete, Misdeed::EatMemory)]);
    }

    #[test]
    fn a_misdeed_that_is_taken_back_is_taken_out_of_the_handle() {
        let nothing = Conduct::default();
        assert_eq!(handle(&nothing, &pod(None)), None);
        assert_eq!(handle(&nothing, &pod(Some("1 get=spin"))).as_deref(), Some("1"));
        assert_eq!(read_handle(&pod(Some("1"))).count(), 0);
        assert_eq!(read_handle(&pod(Some("2 get=spin"))).count(), 0);
    }

    #[test]
    fn an_error_carries_what_the_pod_asks_for() {
        let rejection =
            Rejection { kind: "exhausted".into(), message: "no room".into(), retry_after: Some(5000), times: None };
        assert_eq!(error(&rejection), Error::exhausted("no room").after(Duration::from_secs(5)));
    }
}
