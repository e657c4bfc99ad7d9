//! The lease against a small API server, in paused time.

use http::Method;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::*;
use crate::fake_api::{FakeApi, Instead};

const PATH: &str = "namespaces/kube-node-lease/leases/vk";
const OTHER: &str = "0123456789abcdef0123456789abcdef";

type Node = watch::Sender<Option<Arc<NodeFacts>>>;

fn facts(uid: &str) -> Option<Arc<NodeFacts>> {
    Some(Arc::new(NodeFacts { uid: uid.into(), ..NodeFacts::default() }))
}

/// A host as far as its lease goes.
struct Host {
    instance: String,
    fence: Fence,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<Result<(), LeaseTaken>>,
}

impl Host {
    fn start(api: &FakeApi, node: &Node) -> Self {
        let (mut keeper, fence) = Keeper::new(api.client(), "vk", node.subscribe(), Metrics::default());
        let (instance, stop) = (keeper.instance.clone(), CancellationToken::new());
        let stopped = stop.clone();
        let task = tokio::spawn(async move {
            if stopped.run_until_cancelled(keeper.acquire()).await.is_none() {
                keeper.release().await;
                return Ok(());
            }
            keeper.hold(stopped).await
        });
        Self { instance, fence, stop, task }
    }

    async fn stop(self) -> Result<(), LeaseTaken> {
        self.stop.cancel();
        self.task.await.unwrap()
    }

    fn holds(&self, api: &FakeApi) -> bool {
        holder(api) == self.instance
    }
}

async fn seconds(seconds: u64) {
    sleep(Duration::from_secs(seconds)).await;
}

fn writes(api: &FakeApi) -> usize {
    api.calls(&Method::PUT).len()
}

fn owner(api: &FakeApi) -> Value {
    api.get(PATH).unwrap()["metadata"]["ownerReferences"][0]["uid"].clone()
}

fn holder(api: &FakeApi) -> Value {
    api.get(PATH).unwrap()["metadata"]["annotations"][object::INSTANCE].clone()
}

/// Another process's lease, renewed just now.
fn others() -> Value {
    json!({
        "metadata": { "annotations": { object::INSTANCE: OTHER }, "ownerReferences": [
            { "apiVersion": "v1", "kind": "Node", "name": "vk", "uid": "u-1" }
        ] },
        "spec": { "holderIdentity": "vk", "leaseDurationSeconds": 40, "renewTime": Timestamp::now().to_string() },
    })
}

/// Another process that renews its lease every ten seconds, until it is dropped.
fn keep_alive(api: &FakeApi) -> tokio_util::task::AbortOnDropHandle<()> {
    let api = api.clone();
    tokio_util::task::AbortOnDropHandle::new(tokio::spawn(async move {
        loop {
            seconds(10).await;
            let mut lease = api.get(PATH).unwrap();
            lease["spec"]["renewTime"] = json!(Timestamp::now().to_string());
            api.put(PATH, lease);
        }
    }))
}

#[tokio::test(start_paused = true)]
async fn a_lease_is_held_before_there_is_a_node_and_owned_by_it_afterwards() {
    let api = FakeApi::default();
    let node = Node::new(None);
    let host = Host::start(&api, &node);
    seconds(3).await;
    let lease = api.get(PATH).unwrap();
    assert_eq!(lease["spec"]["holderIdentity"], "vk");
    assert_eq!(lease["spec"]["leaseDurationSeconds"], 40);
    assert_eq!(lease["metadata"]["annotations"], json!({ "vk-host.dev/instance": host.instance }));
    assert!(lease["metadata"]["ownerReferences"].is_null());
    node.send_replace(facts("u-1"));
    seconds(1).await;
    assert_eq!(
        api.get(PATH).unwrap()["metadata"]["ownerReferences"],
        json!([{ "apiVersion": "v1", "kind": "Node", "name": "vk", "uid": "u-1" }])
    );
}

#[tokio::test(start_paused = true)]
async fn it_is_renewed_every_ten_seconds_without_reading_it() {
    let api = FakeApi::default();
    let node = Node::new(facts("u-1"));
    let _host = Host::start(&api, &node);
    seconds(1).await;
    let before = writes(&api);
    // Nothing of the node but its uid concerns the lease.
    node.send_replace(Some(Arc::new(NodeFacts { uid: "u-1".into(), ready: true, ..NodeFacts::default() })));
    seconds(60).await;
    assert_eq!(writes(&api) - before, 6);
    assert_eq!(api.calls(&Method::GET).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_node_made_again_owns_the_lease_at_once() {
    let api = FakeApi::default();
    let node = Node::new(facts("u-1"));
    let _host = Host::start(&api, &node);
    seconds(3).await;
    assert_eq!(owner(&api), "u-1");
    node.send_replace(facts("u-2"));
    seconds(1).await;
    assert_eq!(owner(&api), "u-2");
}

#[tokio::test(start_paused = true)]
async fn what_others_write_into_the_lease_is_kept_and_the_annotation_comes_back() {
    let api = FakeApi::default();
    let node = Node::new(facts("u-1"));
    let host = Host::start(&api, &node);
    seconds(3).await;
    let mut lease = api.get(PATH).unwrap();
    lease["metadata"]["annotations"] = json!({ "example.com/note": "kept" });
    lease["spec"]["renewTime"] = json!("2020-01-01T00:00:00.000000Z");
    api.put(PATH, lease);
    seconds(9).await;
    let lease = api.get(PATH).unwrap();
    assert_eq!(lease["metadata"]["annotations"]["example.com/note"], "kept");
    assert!(!lease["spec"]["renewTime"].as_str().unwrap().starts_with("2020"));
    assert!(host.holds(&api));
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_somebody_deletes_is_made_again() {
    let api = FakeApi::default();
    let node = Node::new(facts("u-1"));
    let host = Host::start(&api, &node);
    seconds(3).await;
    api.remove(PATH);
    seconds(10).await;
    assert_eq!(owner(&api), "u-1");
    assert!(host.holds(&api));
}

#[tokio::test(start_paused = true)]
async fn requests_that_hang_are_given_up_in_time_for_the_next_renewal() {
    let api = FakeApi::default();
    let node = Node::new(facts("u-1"));
    let _host = Host::start(&api, &node);
    seconds(3).await;
    let mut hanging = 2;
    api.rule(move |_| {
        hanging -= 1;
        (hanging >= 0).then_some(Instead::Hang)
    });
    let before = api.get(PATH).unwrap()["metadata"]["resourceVersion"].clone();
    let started = Instant::now();
    while api.get(PATH).unwrap()["metadata"]["resourceVersion"] == before {
        sleep(Duration::from_millis(100)).await;
        assert!(started.elapsed() < Duration::from_secs(30), "well before the lease lapses");
    }
}

#[tokio::test(start_paused = true)]
async fn an_api_server_that_refuses_is_asked_with_growing_pauses() {
    let api = FakeApi::default();
    api.rule(|_| Some(Instead::Refuse(503, "ServiceUnavailable", "starting")));
    let node = Node::new(facts("u-1"));
    let host = Host::start(&api, &node);
    seconds(60).await;
    let asked = api.calls(&Method::GET).len();
    assert!((8..=16).contains(&asked), "{asked}");
    api.rule(|_| None);
    seconds(8).await;
    assert!(host.holds(&api));
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_another_renews_is_waited_for_and_taken_when_it_is_still() {
    let api = FakeApi::default();
    api.put(PATH, others());
    let alive = keep_alive(&api);
    let node = Node::new(facts("u-1"));
    let host = Host::start(&api, &node);
    seconds(91).await;
    assert_eq!(holder(&api), OTHER);
    assert_eq!(writes(&api), 0);
    drop(alive);
    let died = Instant::now();
    while !host.holds(&api) {
        sleep(Duration::from_millis(100)).await;
    }
    // It had moved just before.
    assert!((14..=17).contains(&died.elapsed().as_secs()), "{:?}", died.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_lapsed_or_names_nobody_is_taken_at_once() {
    let lapsed = |seconds: i64| json!((Timestamp::now() - SignedDuration::from_secs(seconds)).to_string());
    let mut old = others();
    old["spec"]["renewTime"] = lapsed(41);
    let mut short = others();
    short["spec"]["renewTime"] = lapsed(11);
    short["spec"]["leaseDurationSeconds"] = json!(10);
    let mut nobodys = others();
    nobodys["metadata"]["annotations"] = json!({ object::INSTANCE: "" });
    let mut empty = others();
    empty["spec"] = json!({});
    for lease in [old, short, nobodys, empty] {
        let api = FakeApi::default();
        api.put(PATH, lease.clone());
        let node = Node::new(facts("u-1"));
        let host = Host::start(&api, &node);
        sleep(Duration::from_millis(100)).await;
        assert!(host.holds(&api), "{lease}");
    }
}

#[tokio::test(start_paused = true)]
async fn time_in_which_the_api_server_is_away_does_not_count() {
    let api = FakeApi::default();
    api.put(PATH, others());
    let node = Node::new(facts("u-1"));
    let host = Host::start(&api, &node);
    seconds(5).await;
    api.rule(|_| Some(Instead::Refuse(503, "ServiceUnavailable", "away")));
    seconds(60).await;
    api.rule(|_| None);
    // A pause of the one that waits may still be under way.
    seconds(14).await;
    assert!(!host.holds(&api));
    seconds(10).await;
    assert!(host.holds(&api));
}

#[tokio::test(start_paused = true)]
async fn of_two_that_wait_one_takes_it_and_the_other_waits_on() {
    let api = FakeApi::default();
    api.put(PATH, others());
    let node = Node::new(facts("u-1"));
    let (one, two) = (Host::start(&api, &node), Host::start(&api, &node));
    seconds(20).await;
    let (winner, loser) = if one.holds(&api) { (one, two) } else { (two, one) };
    assert!(winner.holds(&api));
    seconds(60).await;
    assert!(winner.holds(&api) && !winner.task.is_finished() && !loser.task.is_finished());
    winner.stop().await.unwrap();
    seconds(2).await;
    assert!(loser.holds(&api), "at once, because the other gave it up");
}

#[tokio::test(start_paused = true)]
async fn a_holder_that_finds_another_ends_and_leaves_the_lease_alone() {
    let api = FakeApi::default();
    let node = Node::new(facts("u-1"));
    let host = Host::start(&api, &node);
    seconds(3).await;
    api.put(PATH, others());
    let before = api.get(PATH);
    let taken = timeout(Duration::from_secs(11), host.task).await.expect("with the next renewal").unwrap().unwrap_err();
    assert_eq!(taken, LeaseTaken { node_name: "vk".into(), instance: OTHER.into() });
    assert_eq!(api.get(PATH), before);
}

#[tokio::test(start_paused = true)]
async fn a_stop_clears_the_annotation_alone() {
    let api = FakeApi::default();
    let node = Node::new(facts("u-1"));
    let host = Host::start(&api, &node);
    seconds(3).await;
    // Somebody was there since the last renewal.
    let mut lease = api.get(PATH).unwrap();
    lease["metadata"]["annotations"]["example.com/note"] = json!("kept");
    api.put(PATH, lease);
    host.stop().await.unwrap();
    let lease = api.get(PATH).unwrap();
    assert_eq!(lease["metadata"]["annotations"], json!({ "example.com/note": "kept" }));
    assert!(!lease["spec"]["renewTime"].is_null());
    assert_eq!(owner(&api), "u-1");
}

#[tokio::test(start_paused = true)]
async fn a_stop_before_there_was_a_node_leaves_no_lease() {
    let api = FakeApi::default();
    let host = Host::start(&api, &Node::new(None));
    seconds(3).await;
    assert!(host.holds(&api));
    host.stop().await.unwrap();
    assert_eq!(api.get(PATH), None);
}

#[tokio::test(start_paused = true)]
async fn a_stop_while_another_is_waited_for_touches_nothing() {
    let api = FakeApi::default();
    api.put(PATH, others());
    let before = api.get(PATH);
    let host = Host::start(&api, &Node::new(None));
    seconds(3).await;
    host.stop().await.unwrap();
    assert_eq!(api.get(PATH), before);
}

#[tokio::test(start_paused = true)]
async fn a_stop_does_not_wait_for_an_api_server_that_hangs() {
    let api = FakeApi::default();
    let node = Node::new(facts("u-1"));
    let host = Host::start(&api, &node);
    seconds(3).await;
    api.rule(|_| Some(Instead::Hang));
    let stopped = Instant::now();
    host.stop().await.unwrap();
    assert!(stopped.elapsed() <= RELEASE_WITHIN + Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn the_fence_is_open_for_fifteen_seconds_after_a_renewal() {
    let api = FakeApi::default();
    api.put(PATH, others());
    let node = Node::new(facts("u-1"));
    let host = Host::start(&api, &node);
    let is_open = async || timeout(Duration::from_millis(1), host.fence.open()).await.is_ok();
    seconds(3).await;
    assert!(!is_open().await, "another holds the lease");
    api.remove(PATH);
    seconds(3).await;
    assert!(is_open().await);
    api.rule(|_| Some(Instead::Refuse(503, "ServiceUnavailable", "away")));
    seconds(11).await;
    assert!(is_open().await, "one renewal that failed changes nothing");
    seconds(5).await;
    assert!(!is_open().await);
    let opened = tokio::spawn({
        let fence = host.fence.clone();
        async move { fence.open().await }
    });
    seconds(60).await;
    assert!(!opened.is_finished());
    api.rule(|_| None);
    seconds(8).await;
    assert!(opened.is_finished());
    api.put(PATH, others());
    host.task.await.unwrap().unwrap_err();
    seconds(1).await;
    let lost = timeout(Duration::from_secs(3600), host.fence.open()).await;
    assert!(lost.is_err(), "a lease that is lost never opens it again");
}
