//! The backend as the mock provider and tests use it, over real sockets.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::time::{Duration, Instant};

use mock_model::{
    Phase,
    wire::{Changes, Deleted, Details, File, Id, Listing, Login, Submission, View, Volume},
};
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json, value::to_raw_value};
use vk_backend::{Backend, Count, Effect, Fault, Operation};

/// The workspace builds reqwest with TLS and leaves the cryptography to whoever uses it, also where only HTTP is spoken.
fn client() -> Client {
    // It fails only where one is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::new()
}

struct Node<'a> {
    backend: &'a Backend,
    owner: &'a str,
    client: Client,
}

impl<'a> Node<'a> {
    fn new(backend: &'a Backend, owner: &'a str) -> Self {
        Self { backend, owner, client: client() }
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}/owners/{}{path}", self.backend.url(), self.owner))
    }

    async fn create(&self, uid: &str, annotations: Value) -> reqwest::Result<Response> {
        let request = self.request(Method::PUT, &format!("/pods/{uid}"));
        request.json(&submission(uid, annotations)).send().await
    }

    async fn get(&self, uid: &str) -> reqwest::Result<Response> {
        self.request(Method::GET, &format!("/pods/{uid}")).send().await
    }

    async fn delete(&self, uid: &str, grace: u64) -> Response {
        self.request(Method::DELETE, &format!("/pods/{uid}?grace={grace}")).send().await.unwrap()
    }

    async fn list(&self, limit: usize, after: &str) -> Listing {
        let path = format!("/pods?limit={limit}&after={after}");
        self.request(Method::GET, &path).send().await.unwrap().json().await.unwrap()
    }

    async fn uids(&self) -> Vec<String> {
        self.list(1000, "").await.pods.into_iter().map(|pod| pod.id.uid).collect()
    }

    async fn changes(&self, since: &str) -> Changes {
        let response = self.request(Method::GET, &format!("/changes?since={since}")).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        response.json().await.unwrap()
    }
}

fn submission(uid: &str, annotations: Value) -> Submission {
    let manifest = json!({
        "metadata": {"uid": uid, "annotations": annotations},
        "spec": {
            "restartPolicy": "Never",
            "containers": [{"name": "c", "image": "i", "env": [{"name": "COLOUR", "value": "teal"}]}],
        },
    });
    let file = File { path: "a/b".into(), mode: 0o644, data: vec![0, 159, 146, 150] };
    Submission {
        id: Id { namespace: "d".into(), name: format!("pod-{uid}"), uid: uid.into() },
        manifest: to_raw_value(&manifest).unwrap(),
        volumes: vec![Volume { name: "v".into(), files: vec![file] }],
        logins: vec![Login {
            server: "r.example".into(),
            username: "u".into(),
            password: "p".into(),
            identity_token: None,
        }],
        objects: vec![to_raw_value(&json!({"kind": "PersistentVolume"})).unwrap()],
    }
}

#[tokio::test]
async fn a_pod_is_made_once_however_often_it_is_asked_for() {
    let backend = Backend::start().await.unwrap();
    let node = Node::new(&backend, "a");
    assert_eq!(node.create("u", json!({})).await.unwrap().status(), StatusCode::CREATED);
    let again = node.create("u", json!({})).await.unwrap();
    assert_eq!(again.status(), StatusCode::OK);
    assert_eq!(again.json::<View>().await.unwrap().state.phase, Phase::Running);
    assert_eq!(backend.count("u"), Count { made: 1, creates: 2, ..Count::default() });
}

#[tokio::test]
async fn what_the_provider_was_given_can_be_looked_at() {
    let backend = Backend::start().await.unwrap();
    let node = Node::new(&backend, "a");
    node.create("u", json!({})).await.unwrap();
    let update = node.request(Method::PATCH, "/pods/u?changed=metadata,volumes");
    assert_eq!(update.json(&submission("u", json!({"k": "v"}))).send().await.unwrap().status(), StatusCode::OK);

    let pod = backend.pod("u").unwrap();
    assert_eq!((pod.owner.as_str(), pod.id.name.as_str()), ("a", "pod-u"));
    assert_eq!(pod.env("c", "COLOUR"), Some("teal"));
    assert_eq!(pod.env("c", "SHAPE"), None);
    assert_eq!(pod.file("v", "a/b"), Some(&[0, 159, 146, 150][..]));
    assert_eq!(pod.logins[0].password, "p");
    assert_eq!(pod.objects[0]["kind"], "PersistentVolume");
    assert_eq!(pod.manifest["metadata"]["annotations"]["k"], "v");
    assert_eq!(pod.changed, [["metadata", "volumes"]]);
    assert_eq!(backend.count("u").updates, 1);
}

#[tokio::test]
async fn a_pod_in_all_detail_says_what_its_containers_are_to_do() {
    let backend = Backend::start().await.unwrap();
    let node = Node::new(&backend, "a");
    node.create("u", json!({"mock.vk-host.dev/cpu": "250m"})).await.unwrap();
    let details = || node.request(Method::GET, "/pods/u/details").send();
    let Details { state, workload } = details().await.unwrap().json().await.unwrap();
    assert_eq!(state.phase, Phase::Running);
    assert_eq!(workload.env["c"], [("COLOUR".to_owned(), "teal".to_owned())]);
    assert_eq!(workload.cpu.amount(0), 250_000_000);
    node.delete("u", 0).await;
    assert_eq!(details().await.unwrap().status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn owners_do_not_see_each_others_pods() {
    let backend = Backend::start().await.unwrap();
    let (a, b) = (Node::new(&backend, "a"), Node::new(&backend, "b"));
    let before = b.list(10, "").await.cursor;
    a.create("u", json!({})).await.unwrap();
    assert_eq!(b.uids().await, Vec::<String>::new());
    assert_eq!(b.get("u").await.unwrap().status(), StatusCode::NOT_FOUND);
    assert_eq!(b.delete("u", 0).await.status(), StatusCode::NOT_FOUND);
    assert!(b.changes(&before).await.changed.is_empty());
    assert_eq!(a.uids().await, ["u"]);
}

#[tokio::test]
async fn what_changes_while_a_listing_is_read_in_parts_comes_after_it() {
    let backend = Backend::start().await.unwrap();
    let node = Node::new(&backend, "a");
    for uid in ["b", "d", "f"] {
        node.create(uid, json!({})).await.unwrap();
    }
    let first = node.list(2, "").await;
    assert_eq!(first.next.as_deref(), Some("d"));
    node.create("a", json!({})).await.unwrap();
    node.delete("f", 0).await;
    let second = node.list(2, "d").await;
    assert!(second.pods.is_empty() && second.next.is_none());

    let changes = node.changes(&first.cursor).await;
    assert_eq!(changes.changed.iter().map(|pod| pod.id.uid.as_str()).collect::<Vec<_>>(), ["a"]);
    assert_eq!(changes.removed.iter().map(|id| id.uid.as_str()).collect::<Vec<_>>(), ["f"]);
    let nothing_more = node.changes(&changes.cursor).await;
    assert!(nothing_more.changed.is_empty() && nothing_more.removed.is_empty());
}

#[tokio::test]
async fn a_pod_that_ends_by_itself_is_a_change_and_only_once() {
    let backend = Backend::start().await.unwrap();
    let node = Node::new(&backend, "a");
    let annotations = json!({"mock.vk-host.dev/run-for": "300ms", "mock.vk-host.dev/exit-code": "7"});
    node.create("u", annotations).await.unwrap();
    let begun = node.list(10, "").await;
    assert_eq!(begun.pods[0].state.phase, Phase::Running);

    let mut cursor = begun.cursor;
    let mut phases = Vec::new();
    let end = Instant::now() + Duration::from_secs(10);
    while phases.is_empty() && Instant::now() < end {
        let changes = node.changes(&cursor).await;
        phases.extend(changes.changed.iter().map(|pod| pod.state.phase));
        cursor = changes.cursor;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(phases, [Phase::Failed]);
    assert!(node.changes(&cursor).await.changed.is_empty());
}

#[tokio::test]
async fn a_deletion_takes_its_time_and_no_longer_than_its_grace() {
    let backend = Backend::start().await.unwrap();
    let node = Node::new(&backend, "a");
    node.create("u", json!({"mock.vk-host.dev/stop-after": "1h"})).await.unwrap();
    let cursor = node.list(10, "").await.cursor;
    let gone = |response: Response| async { response.json::<Deleted>().await.unwrap().gone };
    assert!(!gone(node.delete("u", 30_000).await).await);
    assert!(backend.pod("u").unwrap().stopping);
    assert!(gone(node.delete("u", 0).await).await);
    assert_eq!(node.delete("u", 0).await.status(), StatusCode::NOT_FOUND);
    assert_eq!(node.changes(&cursor).await.removed.len(), 1);
    assert_eq!(backend.count("u"), Count { made: 1, creates: 1, updates: 0, deletes: 3, gone: 1 });
}

#[tokio::test]
async fn a_stop_that_comes_to_its_end_removes_the_pod_by_itself() {
    let backend = Backend::start().await.unwrap();
    let node = Node::new(&backend, "a");
    node.create("u", json!({"mock.vk-host.dev/stop-after": "50ms"})).await.unwrap();
    node.delete("u", 30_000).await;
    let end = Instant::now() + Duration::from_secs(10);
    while backend.pod("u").is_some() && Instant::now() < end {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(backend.count("u").gone, 1);
}

#[tokio::test]
async fn a_refused_request_does_nothing_and_a_lost_answer_hides_what_was_done() {
    let backend = Backend::start().await.unwrap();
    let node = Node::new(&backend, "a");
    let busy = Effect::Status { code: 429, retry_after: Some("7".into()) };
    backend.fault(Fault::new(busy).on(Operation::Create).times(1));
    let response = node.create("u", json!({})).await.unwrap();
    assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(response.headers()["retry-after"], "7");
    backend.fault(Fault::new(Effect::Refused).on(Operation::Create).times(1));
    node.create("u", json!({})).await.unwrap_err();
    assert_eq!(backend.count("u"), Count::default());

    backend.fault(Fault::new(Effect::LostAnswer).on(Operation::Create).of("u").times(1));
    node.create("u", json!({})).await.unwrap_err();
    assert_eq!(backend.count("u").made, 1);
    assert_eq!(node.create("u", json!({})).await.unwrap().status(), StatusCode::OK);
    assert_eq!(backend.counts().requests[&Operation::Create], 4);
}

#[tokio::test]
async fn an_answer_can_be_slow_or_break_off() {
    let backend = Backend::start().await.unwrap();
    let node = Node::new(&backend, "a");
    node.create("u", json!({})).await.unwrap();
    backend.fault(Fault::new(Effect::Slow { milliseconds: 200 }).times(1));
    let begun = Instant::now();
    assert_eq!(node.get("u").await.unwrap().status(), StatusCode::OK);
    assert!(begun.elapsed() >= Duration::from_millis(200));

    backend.fault(Fault::new(Effect::Late { milliseconds: Some(200) }).times(1));
    let (begun, late) = (Instant::now(), node.create("late", json!({})));
    assert_eq!(late.await.unwrap().status(), StatusCode::CREATED);
    assert!(begun.elapsed() >= Duration::from_millis(200));

    backend.fault(Fault::new(Effect::Truncated { bytes: 10 }).times(1));
    let response = node.get("u").await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    response.bytes().await.unwrap_err();
    node.get("u").await.unwrap().json::<View>().await.unwrap();
}

#[tokio::test]
async fn an_answer_can_be_held_back_after_the_work_is_done() {
    let backend = Backend::start().await.unwrap();
    let node = Node::new(&backend, "a");
    let held = backend.fault(Fault::new(Effect::Late { milliseconds: None }).on(Operation::Create).times(1));
    let mut creation = std::pin::pin!(node.create("u", json!({})));
    let answered = tokio::time::timeout(Duration::from_millis(200), &mut creation).await;
    assert!(answered.is_err(), "{answered:?}");
    assert_eq!(backend.count("u").made, 1);
    assert_eq!(node.create("v", json!({})).await.unwrap().status(), StatusCode::CREATED);
    assert!(backend.clear_fault(held));
    assert_eq!(creation.await.unwrap().status(), StatusCode::CREATED);
}

#[tokio::test]
async fn a_stale_view_shows_what_was_there_and_loses_nothing_once_it_is_over() {
    let backend = Backend::start().await.unwrap();
    let node = Node::new(&backend, "a");
    node.create("old", json!({})).await.unwrap();
    tokio::time::sleep(Duration::from_millis(5)).await;
    let stale = backend.fault(Fault::new(Effect::Stale { milliseconds: None }));
    tokio::time::sleep(Duration::from_millis(5)).await;
    node.create("new", json!({})).await.unwrap();
    node.delete("old", 0).await;

    let listing = node.list(10, "").await;
    assert_eq!(listing.pods.iter().map(|pod| pod.id.uid.as_str()).collect::<Vec<_>>(), ["old"]);
    assert_eq!(node.get("new").await.unwrap().status(), StatusCode::NOT_FOUND);
    assert!(node.changes(&listing.cursor).await.changed.is_empty());
    assert!(backend.clear_fault(stale));
    let changes = node.changes(&listing.cursor).await;
    assert_eq!(changes.changed[0].id.uid, "new");
    assert_eq!(changes.removed[0].uid, "old");
}

#[tokio::test]
async fn an_empty_listing_hides_pods_that_are_there() {
    let backend = Backend::start().await.unwrap();
    let node = Node::new(&backend, "a");
    node.create("u", json!({})).await.unwrap();
    backend.fault(Fault::new(Effect::Empty));
    assert!(node.uids().await.is_empty());
    assert_eq!(node.get("u").await.unwrap().status(), StatusCode::OK);
    backend.clear_faults();
    assert_eq!(node.uids().await, ["u"]);
}

#[tokio::test]
async fn an_outage_refuses_connections_and_keeps_the_pods() {
    let mut backend = Backend::start().await.unwrap();
    let url = backend.url();
    Node::new(&backend, "a").create("u", json!({})).await.unwrap();
    backend.stop().await;
    assert!(Node::new(&backend, "a").get("u").await.unwrap_err().is_connect());
    backend.restart().await.unwrap();
    assert_eq!(backend.url(), url);
    assert_eq!(Node::new(&backend, "a").uids().await, ["u"]);
}

#[tokio::test]
async fn a_cursor_of_another_backend_is_refused() {
    let (one, other) = (Backend::start().await.unwrap(), Backend::start().await.unwrap());
    let cursor = Node::new(&one, "a").list(10, "").await.cursor;
    for since in [cursor.replace(|digit: char| digit.is_ascii_digit(), "9"), "nonsense".into(), format!("{cursor}0")] {
        let path = format!("/changes?since={since}");
        let response = Node::new(&other, "a").request(Method::GET, &path).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::GONE, "{since}");
    }
}

#[tokio::test]
async fn what_a_test_does_to_a_pod_is_a_change_for_its_provider() {
    let backend = Backend::start().await.unwrap();
    let node = Node::new(&backend, "a");
    node.create("u", json!({})).await.unwrap();
    let cursor = node.list(10, "").await.cursor;
    assert!(backend.finish("u", 137, Some("OOMKilled")));
    let changes = node.changes(&cursor).await;
    assert_eq!(changes.changed[0].state.phase, Phase::Failed);
    assert!(backend.set_status("u", Some(&json!({"phase": "Banana"}))));
    let changes = node.changes(&changes.cursor).await;
    assert_eq!(changes.changed[0].status.as_ref().unwrap().get(), r#"{"phase":"Banana"}"#);
    assert!(backend.remove("u"));
    assert_eq!(node.changes(&changes.cursor).await.removed[0].uid, "u");
    assert!(!backend.remove("u"));
    assert_eq!(backend.count("u").gone, 0);
}

#[tokio::test]
async fn a_malformed_pod_is_refused() {
    let backend = Backend::start().await.unwrap();
    let node = Node::new(&backend, "a");
    let response = node.create("u", json!({"mock.vk-host.dev/run-for": "soon"})).await.unwrap();
    assert_eq!(response.status(), StatusCode::UNPROCESSABLE_ENTITY);
    assert!(response.text().await.unwrap().contains("mock.vk-host.dev/run-for"));
    let other = node.request(Method::PUT, "/pods/v").json(&submission("u", json!({})));
    assert_eq!(other.send().await.unwrap().status(), StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn another_process_controls_the_backend_over_http() {
    let backend = Backend::start().await.unwrap();
    let node = Node::new(&backend, "a");
    let control = |path: &str| format!("{}/control/{path}", backend.url());
    let fault = json!({"operation": "create", "times": 1, "effect": {"status": {"code": 503}}});
    let armed = node.client.post(control("faults")).json(&fault).send().await.unwrap();
    assert_eq!(armed.status(), StatusCode::CREATED);
    assert_eq!(node.create("u", json!({})).await.unwrap().status(), StatusCode::SERVICE_UNAVAILABLE);
    node.create("u", json!({})).await.unwrap();

    let counts: Value = node.client.get(control("counts")).send().await.unwrap().json().await.unwrap();
    assert_eq!(counts["requests"]["create"], 2);
    assert_eq!(counts["pods"]["u"]["made"], 1);
    let finish = node.client.post(control("pods/u/finish")).json(&json!({"exit_code": 0}));
    assert_eq!(finish.send().await.unwrap().status(), StatusCode::NO_CONTENT);
    let pod: Value = node.client.get(control("pods/u")).send().await.unwrap().json().await.unwrap();
    assert_eq!(pod["state"]["phase"], "Succeeded");

    let outage = node.client.post(control("outage?milliseconds=300")).send().await.unwrap();
    assert_eq!(outage.status(), StatusCode::ACCEPTED);
    let end = Instant::now() + Duration::from_secs(10);
    let (mut refused, mut back) = (false, false);
    while !back && Instant::now() < end {
        match client().get(control("counts")).send().await {
            Ok(_) => back = refused,
            Err(_) => refused = true,
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(refused && back);
}
