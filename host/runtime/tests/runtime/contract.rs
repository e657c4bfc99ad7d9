//! Every call reaches the guest with all of its arguments, and its answer comes back checked.

use std::time::Duration;

use serde_json::json;
use vk_provider::{
    Aspects, Deletion, ErrorKind, Extent, Fault, File, Login, OperatingSystem, Pod, Provider as _, Volume,
};
use vk_runtime::Limits;

use crate::probe::{Probe, generation, id, pod, with_limits, with_settings};

#[tokio::test]
async fn a_pod_reaches_the_guest_whole() {
    let probe = Probe::start(generation()).await;
    let mut sent = pod("echo");
    sent.id.handle = Some("handle".into());
    let volume = |name: &str, files: &[(&str, u32, &[u8])]| Volume {
        name: name.into(),
        files: files.iter().map(|&(path, mode, data)| File { path: path.into(), mode, data: data.into() }).collect(),
    };
    let login = |identity_token: Option<&str>| Login {
        server: "registry".into(),
        username: "user".into(),
        password: "secret".into(),
        identity_token: identity_token.map(Into::into),
    };
    sent = Pod {
        volumes: [volume("empty", &[]), volume("keys", &[("a", 0o600, &[0, 255]), ("b/c", 0o644, b"")])].into(),
        logins: [login(None), login(Some("token"))].into(),
        objects: ["{\"kind\":\"PersistentVolume\"}".to_owned()].into(),
        ..sent
    };
    let observation = probe.runtime.create(sent).await.unwrap();
    assert_eq!(observation.pod, id("uid", None));
    let status: serde_json::Value = serde_json::from_str(&observation.status.unwrap()).unwrap();
    assert_eq!(
        status["result"],
        json!({
            "id": ["default", "web", "uid", "handle"],
            "volumes": [["empty", []], ["keys", [["a", 0o600, [0, 255]], ["b/c", 0o644, []]]]],
            "logins": [["registry", "user", "secret", null], ["registry", "user", "secret", "token"]],
            "objects": ["{\"kind\":\"PersistentVolume\"}"],
        })
    );
}

#[tokio::test]
async fn update_says_what_changed() {
    let probe = Probe::start(generation()).await;
    let changed = Aspects { metadata: true, volumes: true, ..Aspects::default() };
    let observation = probe.runtime.update(pod("ok"), changed).await.unwrap();
    assert_eq!(observation.status.unwrap(), r#"{"result":["METADATA","VOLUMES"]}"#);
}

#[tokio::test]
async fn deletion_goes_from_stopping_to_gone() {
    let probe = Probe::start(generation()).await;
    let grace = Duration::from_secs(30);
    assert_eq!(probe.runtime.delete(&id("uid", None), grace).await.unwrap(), Deletion::Stopping);
    assert_eq!(probe.runtime.delete(&id("uid", None), Duration::ZERO).await.unwrap(), Deletion::Gone);
}

#[tokio::test]
async fn poll_lists_and_goes_on_from_its_cursor() {
    let probe = Probe::start(generation()).await;
    let listing = probe.runtime.poll(None).await.unwrap();
    assert_eq!((listing.extent, listing.poll_after), (Extent::Last, Some(Duration::from_secs(1))));
    assert_eq!(listing.observed[0].pod.handle.as_deref(), Some("h"));
    let changes = probe.runtime.poll(listing.next).await.unwrap();
    assert_eq!((changes.extent, changes.next), (Extent::Changes, None));
    let error = probe.runtime.poll(Some(vec![0xff])).await.unwrap_err();
    assert_eq!((error.kind, error.message.as_str()), (ErrorKind::Invalid, "cursor"));
}

#[tokio::test]
async fn the_node_is_described() {
    let probe = Probe::start(with_settings(r#"{"name": "aci", "version": "2.1"}"#)).await;
    let info = probe.runtime.info();
    assert_eq!((info.name.as_str(), info.version.as_str()), ("aci", "2.1"));
    let description = probe.runtime.describe().await.unwrap();
    assert_eq!(description.operating_system, OperatingSystem::Linux);
    assert_eq!(description.capacity, [("cpu".to_owned(), "20".to_owned())]);
    assert_eq!(description.allocatable, [("cpu".to_owned(), "19".to_owned())]);
    assert_eq!(description.labels, [("a".to_owned(), "b".to_owned())]);
}

#[tokio::test]
async fn every_kind_of_error_keeps_its_kind() {
    let probe = Probe::start(generation()).await;
    for kind in ErrorKind::ALL {
        let error = probe.runtime.create(pod(&format!("error {} as told", kind.as_str()))).await.unwrap_err();
        assert_eq!((error.kind, error.message.as_str(), error.fault), (kind, "as told", None));
        let retry_after = (kind == ErrorKind::Exhausted).then_some(Duration::from_millis(1_500));
        assert_eq!(error.retry_after, retry_after);
        let sample = format!("vk_provider_calls_total{{function=\"create\",outcome=\"{}\"}}", kind.as_str());
        assert_eq!(probe.metric(&sample), 1.0, "{sample}");
    }
    assert_eq!(probe.instances("idle"), 1.0, "an error that the provider answers is no reason to retire its instance");
}

#[tokio::test]
async fn a_malformed_answer_is_a_fault_that_says_what_is_wrong() {
    let probe = Probe::start(generation()).await;
    for (command, reason) in [
        ("other-pod", "it is about uid \"somebody else\", asked was \"uid\""),
        ("status", "the status is not JSON"),
        ("status []", "the status is not a JSON object"),
        ("large-status 600000", "the status has 600013 bytes, more than 524288"),
        ("large-handle 5000", "the handle has 5000 bytes, more than 4096"),
        ("not-utf8", "utf-8"),
    ] {
        let error = probe.runtime.create(pod(command)).await.unwrap_err();
        assert_eq!((error.kind, error.fault), (ErrorKind::Internal, Some(Fault::Answer)), "{command}: {error}");
        assert!(error.message.starts_with("the provider gave a malformed answer to create: "), "{error}");
        assert!(error.message.contains(reason), "{command}: {error}");
    }
    assert_eq!(probe.retired("answer"), 6.0);
}

#[tokio::test]
async fn what_crosses_the_boundary_at_once_is_bounded() {
    let probe = Probe::start(with_limits(Limits { message_bytes: 1 << 20, ..Limits::default() })).await;
    let error = probe.ask("large-status 2000000").await.unwrap_err();
    assert_eq!(error.fault, Some(Fault::Answer));
    assert_eq!(error.message, "the provider handed over more than 1 MiB at once in get (sandbox.message-bytes)");
}
