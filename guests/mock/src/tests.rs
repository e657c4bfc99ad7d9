//! The provider as the host calls it, with pods in the cache.

use std::{collections::BTreeMap, thread::sleep, time::Duration};

use mock_model::{Facts, Order, wire::Details};
use serde_json::{Value, json};
use vk_sdk::{Aspects, Changes, ErrorKind, Extent, cache};

use super::*;

mod reach;

/// Annotations of the mock's.
pub(crate) fn annotated<'a>(annotations: &[(&str, &'a str)]) -> BTreeMap<String, &'a str> {
    annotations.iter().map(|(name, value)| (format!("{}{name}", mock_model::PREFIX), *value)).collect()
}

/// When a [`Container`] was created: a time that is easily read.
pub(crate) const CREATED: u64 = 1_700_000_000_000;

/// A pod with one container, whose time is the test's.
pub(crate) struct Container(Order);

impl Container {
    pub(crate) fn new(annotations: &[(&str, &str)]) -> Self {
        let pod = json!({
            "metadata": {"uid": "u", "annotations": annotated(annotations)},
            "spec": {"containers": [{"name": "c"}]},
        });
        Self(Order::parse(&pod.to_string()).unwrap())
    }

    /// The time so many milliseconds after its creation, and what is known of it then.
    pub(crate) fn at(&self, milliseconds: u64) -> (u64, Details) {
        let (now, facts) = (CREATED + milliseconds, Facts { created: CREATED, ..Facts::default() });
        (now, Details { state: self.0.plan.state(&facts, now), workload: self.0.workload.clone() })
    }
}

fn mock() -> Mock {
    let (owner, node_name) = ("o".to_owned(), "n".to_owned());
    Mock::configure(Startup { owner, node_name, operating_system: None, settings: "{}".to_owned() }).unwrap()
}

fn pod(uid: &str, annotations: &[(&str, &str)]) -> Pod {
    let manifest = json!({
        "metadata": {"uid": uid, "annotations": annotated(annotations)},
        "spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]},
    });
    let id = PodId { namespace: "d".into(), name: "p".into(), uid: uid.into(), handle: None };
    Pod { id, manifest: manifest.to_string(), volumes: Vec::new(), logins: Vec::new(), objects: Vec::new() }
}

fn status(observation: &Observation) -> Value {
    serde_json::from_str(observation.status.as_deref().unwrap()).unwrap()
}

fn uids(changes: &Changes) -> Vec<&str> {
    changes.observed.iter().map(|observation| observation.pod.uid.as_str()).collect()
}

#[test]
fn a_pod_that_is_created_again_is_the_one_that_was_there() {
    let mock = mock();
    let first = mock.create(pod("u", &[])).unwrap();
    sleep(Duration::from_millis(1100));
    let again = mock.create(pod("u", &[])).unwrap();
    assert_eq!(again, first);
    assert_eq!(mock.get(first.pod.clone()).unwrap(), first);
    assert_eq!(status(&first)["phase"], "Running");
}

#[test]
fn a_listing_comes_in_parts_and_then_nothing_comes_again() {
    let mock = mock();
    let numbers = 0..store::PAGE + 2;
    for number in numbers.clone() {
        mock.create(pod(&format!("u{number:04}"), &[])).unwrap();
    }
    let first = mock.poll(None).unwrap();
    assert_eq!((first.extent, first.observed.len()), (Extent::Page, store::PAGE));
    let last = mock.poll(first.next.clone()).unwrap();
    assert_eq!(last.extent, Extent::Last);
    let seen: Vec<_> = uids(&first).into_iter().chain(uids(&last)).map(str::to_owned).collect();
    assert_eq!(seen, numbers.map(|number| format!("u{number:04}")).collect::<Vec<_>>());
    let changes = mock.poll(last.next).unwrap();
    assert_eq!((changes.extent, uids(&changes)), (Extent::Changes, Vec::new()));
    assert_eq!(changes.poll_after, Some(1000));
}

#[test]
fn a_pod_that_ends_by_itself_is_reported_even_if_the_answer_is_lost() {
    let mock = mock();
    let cursor = mock.poll(None).unwrap().next;
    mock.create(pod("steady", &[])).unwrap();
    mock.create(pod("u", &[("run-for", "150ms"), ("exit-code", "3")])).unwrap();
    assert_eq!(uids(&mock.poll(cursor.clone()).unwrap()), Vec::<&str>::new());
    sleep(Duration::from_millis(160));
    for _ in 0..2 {
        let changes = mock.poll(cursor.clone()).unwrap();
        assert_eq!(uids(&changes), ["u"]);
        assert_eq!(status(&changes.observed[0])["phase"], "Failed");
    }
}

#[test]
fn what_is_reported_once_is_not_looked_at_for_ever() {
    let mock = mock();
    mock.create(pod("u", &[("start-after", "1ms")])).unwrap();
    let mut cursor = mock.poll(None).unwrap().next;
    sleep(Duration::from_millis(120));
    for _ in 0..2 {
        cursor = mock.poll(cursor).unwrap().next;
        sleep(Duration::from_millis(120));
    }
    assert_eq!(cache::keys("due/"), Vec::<String>::new());
    assert_eq!(cache::keys("pod/"), ["pod/u"]);
}

#[test]
fn a_deletion_takes_the_time_that_the_pod_asks_for() {
    let mock = mock();
    let cursor = mock.poll(None).unwrap().next;
    let id = mock.create(pod("u", &[("stop-after", "100ms")])).unwrap().pod;
    assert_eq!(mock.delete(id.clone(), Duration::from_secs(30)), Ok(Deletion::Stopping));
    assert_eq!(status(&mock.get(id.clone()).unwrap())["phase"], "Running");
    sleep(Duration::from_millis(110));
    assert_eq!(mock.get(id.clone()).unwrap_err().kind, ErrorKind::NotFound);
    let changes = mock.poll(cursor).unwrap();
    assert_eq!(changes.removed.iter().map(|pod| pod.uid.as_str()).collect::<Vec<_>>(), ["u"]);
    assert_eq!(mock.delete(id, Duration::ZERO), Ok(Deletion::Gone));
}

#[test]
fn a_deletion_without_grace_ends_the_pod_at_once() {
    let mock = mock();
    let id = mock.create(pod("u", &[("stop-after", "1h")])).unwrap().pod;
    assert_eq!(mock.delete(id.clone(), Duration::ZERO), Ok(Deletion::Gone));
    assert_eq!(mock.get(id).unwrap_err().kind, ErrorKind::NotFound);
    assert_eq!(cache::keys("due/"), Vec::<String>::new());
}

#[test]
fn a_cursor_from_before_the_cache_was_emptied_begins_anew() {
    let mock = mock();
    let cursor = mock.poll(None).unwrap().next;
    cache::remove("store");
    sleep(Duration::from_millis(2));
    assert_eq!(mock.poll(cursor).unwrap_err().kind, ErrorKind::Invalid);
}

#[test]
fn a_rejection_ends_after_the_times_that_were_asked_for() {
    let mock = mock();
    let asked = [("reject", "exhausted"), ("reject-times", "2"), ("retry-after", "3s")];
    for _ in 0..2 {
        let error = mock.create(pod("u", &asked)).unwrap_err();
        assert_eq!((error.kind, error.retry_after), (ErrorKind::Exhausted, Some(3000)));
    }
    assert_eq!(status(&mock.create(pod("u", &asked)).unwrap())["phase"], "Running");
}

#[test]
fn a_change_takes_effect_or_is_refused_and_leaves_the_pod_as_it_was() {
    let mock = mock();
    let id = mock.create(pod("u", &[("pod-ip", "10.0.0.1")])).unwrap().pod;
    let changed = mock.update(pod("u", &[("pod-ip", "10.0.0.2")]), Aspects::METADATA).unwrap();
    assert_eq!(status(&changed)["podIPs"][0]["ip"], "10.0.0.2");
    let refused = [("pod-ip", "10.0.0.3"), ("reject-update", "unsupported")];
    assert_eq!(mock.update(pod("u", &refused), Aspects::METADATA).unwrap_err().kind, ErrorKind::Unsupported);
    assert_eq!(status(&mock.get(id).unwrap())["podIPs"][0]["ip"], "10.0.0.2");
    assert_eq!(mock.update(pod("absent", &[]), Aspects::SPEC).unwrap_err().kind, ErrorKind::NotFound);
}
