//! Who gets a place on the node, and when.

use vk_provider::{Error, ErrorKind};

use super::*;

/// Requests all that the node has.
fn whole_node() -> Value {
    json!({ "containers": [{ "name": "main", "image": "main:1", "resources": { "requests": { "cpu": "4" } } }] })
}

/// One of a controller that would replace it at once.
fn controlled(spec: Value) -> Value {
    let owner = json!({ "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": "r", "controller": true });
    json!({ "metadata": { "ownerReferences": [owner] }, "spec": spec })
}

#[tokio::test(start_paused = true)]
async fn a_pod_without_a_place_fails_with_the_kubelets_reason_and_is_never_created() {
    let world = World::with_running(0, json!({})).await;
    world.make("first", json!({ "spec": whole_node() }));
    world.until(|world| world.phase("first") == "Running").await;
    let second = world.make("second", json!({ "spec": whole_node() }));
    world.until(|world| world.phase("second") == "Failed").await;
    assert_eq!(world.status("second", "reason"), "OutOfcpu");
    let message =
        "Pod was rejected: Node didn't have enough resource: cpu, requested: 4000, used: 4000, capacity: 4000";
    assert_eq!(world.status("second", "message"), message);
    world.until(|world| world.events().contains(&("OutOfcpu".into(), "second".into()))).await;
    world.delete("first");
    world.until(|world| world.api.get(&path("first")).is_none()).await;
    time::sleep(Duration::from_secs(60)).await;
    assert_eq!(world.phase("second"), "Failed", "it stays so");
    assert_eq!(world.cloud.creates_of(&second), 0);
}

#[tokio::test(start_paused = true)]
async fn a_pod_whose_controller_would_replace_it_at_once_waits_for_its_place() {
    let world = World::with_running(0, json!({})).await;
    world.make("first", json!({ "spec": whole_node() }));
    world.until(|world| world.phase("first") == "Running").await;
    for name in ["second", "third"] {
        world.make(name, controlled(whole_node()));
    }
    world.until(|world| ["second", "third"].iter().all(|name| world.status(name, "reason") == "OutOfcpu")).await;
    assert_eq!((world.phase("second"), world.phase("third")), ("Pending".into(), "Pending".into()));
    time::sleep(Duration::from_secs(60)).await;
    assert_eq!(world.cloud.creates(), 1);
    let told = world.events().iter().filter(|(reason, _)| reason == "OutOfcpu").count();
    assert_eq!(told, 2, "once for each");

    world.delete("first");
    world.until(|world| world.cloud.creates() == 2).await;
    time::sleep(Duration::from_secs(60)).await;
    assert_eq!(world.cloud.creates(), 2, "there is a place for one");
    // The node grows.
    let mut node = room_for("100");
    node.allocatable.insert("cpu".into(), k8s_openapi::apimachinery::pkg::api::resource::Quantity("8".into()));
    world.facts.send_replace(Some(Arc::new(node)));
    world.until(|world| world.phase("second") == "Running" && world.phase("third") == "Running").await;
    assert_eq!(world.status("second", "reason"), "");
}

#[tokio::test(start_paused = true)]
async fn a_waiting_pod_can_be_deleted_and_its_time_can_end() {
    let world = World::with_running(0, json!({})).await;
    world.make("first", json!({ "spec": whole_node() }));
    world.until(|world| world.phase("first") == "Running").await;
    for name in ["deleted", "overdue"] {
        world.make(name, controlled(whole_node()));
    }
    world.until(|world| ["deleted", "overdue"].iter().all(|name| world.status(name, "reason") == "OutOfcpu")).await;
    world.delete("deleted");
    world.until(|world| world.api.get(&path("deleted")).is_none()).await;
    let mut pod = world.api.get(&path("overdue")).unwrap();
    pod["spec"]["activeDeadlineSeconds"] = json!(1);
    pod["status"]["startTime"] = json!("2026-01-01T00:00:00Z");
    world.api.put(&path("overdue"), pod);
    world.until(|world| world.status("overdue", "reason") == "DeadlineExceeded").await;
    assert_eq!(world.cloud.creates(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_restarted_host_counts_what_runs_before_it_admits_more() {
    let world = World::with_running(3, json!({})).await;
    let (api, cloud) = (world.api.clone(), world.cloud.clone());
    drop(world);
    // First in every listing.
    let late = make(&api, "a-late-one", json!({}));
    let world = World::start(&api, &cloud);
    world.facts.send_replace(Some(Arc::new(room_for("3"))));
    world.until(|world| world.phase("a-late-one") == "Failed").await;
    assert_eq!(world.status("a-late-one", "reason"), "OutOfpods");
    for name in ["p0", "p1", "p2"] {
        assert_eq!(world.phase(name), "Running");
    }
    assert_eq!((cloud.creates(), cloud.creates_of(&late)), (3, 0));
}

#[tokio::test(start_paused = true)]
async fn what_runs_stays_when_the_node_has_less_room() {
    let world = World::with_running(5, json!({})).await;
    world.facts.send_replace(Some(Arc::new(room_for("2"))));
    time::sleep(Duration::from_secs(600)).await;
    assert!((0..5).all(|number| world.phase(&format!("p{number}")) == "Running"));
    // One that is lost is made again where it was.
    let uid = world.cloud.uids()[0].clone();
    world.cloud.lose([&uid]);
    world.until(|world| world.cloud.creates_of(&uid) == 2).await;
    world.make("more", json!({}));
    world.until(|world| world.status("more", "reason") == "OutOfpods").await;
}

#[tokio::test(start_paused = true)]
async fn a_label_that_the_watch_has_not_brought_yet_is_looked_up() {
    let world = World::with_running(0, json!({})).await;
    let labelled = |zone: &str| {
        let status = json!({ "nodeInfo": { "operatingSystem": "linux" }, "allocatable": { "pods": "100" } });
        json!({ "metadata": { "labels": { "zone": zone } }, "status": status })
    };
    let selects = json!({ "spec": { "nodeSelector": { "zone": "a" } } });
    world.api.put("nodes/vk", labelled("b"));
    world.make("early", selects.clone());
    world.until(|world| world.phase("early") == "Failed").await;
    assert_eq!(world.status("early", "reason"), "NodeAffinity");
    world.api.put("nodes/vk", labelled("a"));
    world.make("late", selects);
    world.until(|world| world.phase("late") == "Running").await;
}

#[tokio::test(start_paused = true)]
async fn a_forced_deletion_frees_the_place_before_the_provider_says_gone() {
    let world = World::with_running(0, json!({})).await;
    let first = world.make("first", json!({ "spec": whole_node() }));
    world.until(|world| world.phase("first") == "Running").await;
    world.cloud.fail(Some(Error::new(ErrorKind::Unavailable, "the cloud is away")));
    world.api.remove(&path("first"));
    world.make("second", json!({ "spec": whole_node() }));
    world.until(|world| !world.status("second", "reason").is_empty()).await;
    assert_eq!(world.status("second", "reason"), "ProviderFailed", "it is admitted");
    assert!(world.cloud.has(&first));
    world.cloud.fail(None);
    world.until(|world| world.phase("second") == "Running").await;
    world.until(|world| !world.cloud.has(&first)).await;
}
