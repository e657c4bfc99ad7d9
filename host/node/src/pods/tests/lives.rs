//! Single pods: listings that are old or wrong, losses, deadlines, orphans.

use vk_provider::{Error, ErrorKind};

use super::*;

#[tokio::test(start_paused = true)]
async fn a_listing_that_began_before_a_creation_returned_proves_nothing() {
    let (api, cloud) = (FakeApi::default(), Arc::<Cloud>::default());
    cloud.listings_take(Duration::from_secs(20));
    let world = World::start(&api, &cloud);
    // The first listing is through; the pods are made while the next ones are on their way.
    world.make("first", json!({}));
    world.until(|world| world.phase("first") == "Running").await;
    for number in 0..30 {
        let name = format!("p{number}");
        world.make(&name, json!({}));
        world.until(|world| world.phase(&name) == "Running").await;
        time::sleep(Duration::from_secs(3)).await;
    }
    time::sleep(Duration::from_secs(120)).await;
    assert_eq!(cloud.creates(), 31);
    assert_eq!(cloud.gets(), 0, "there was nothing to ask for");
    assert!(!world.has_event("NotFound"));
}

#[tokio::test(start_paused = true)]
async fn listings_that_lag_behind_or_are_empty_double_and_fail_nothing() {
    let world = World::with_running(5, json!({ "spec": { "restartPolicy": "Never" } })).await;
    world.cloud.list_nothing(true);
    world.make("new", json!({}));
    time::sleep(Duration::from_secs(600)).await;
    assert!(world.cloud.gets() > 0, "each was asked for by itself");
    assert_eq!(world.cloud.creates(), 6);
    for name in ["p0", "p1", "p2", "p3", "p4", "new"] {
        assert_eq!(world.phase(name), "Running", "{name}");
    }
    world.cloud.list_nothing(false);
    time::sleep(Duration::from_secs(60)).await;
    assert_eq!(world.cloud.creates(), 6);
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_no_listing_ever_shows_does_not_cause_listing_after_listing() {
    let (api, cloud) = (FakeApi::default(), Arc::<Cloud>::default());
    cloud.has_cursors();
    let world = World::start(&api, &cloud);
    let uid = world.make("hidden", json!({}));
    cloud.unlist(&uid);
    world.until(|world| world.phase("hidden") == "Running").await;
    time::sleep(Duration::from_secs(3600)).await;
    // One each five minutes, and one more that the first doubt asked for.
    assert!(cloud.listings() <= 14, "{} listings in an hour", cloud.listings());
    assert!((1..=7).contains(&cloud.gets()), "asked for {} times", cloud.gets());
    assert_eq!(cloud.creates(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_lost_pod_is_made_again_or_failed_as_its_restart_policy_says() {
    let world = World::with_running(0, json!({})).await;
    let always = world.make("always", json!({}));
    let never = world.make("never", json!({ "spec": { "restartPolicy": "Never" } }));
    world.until(|world| world.phase("always") == "Running" && world.phase("never") == "Running").await;
    world.cloud.lose([&always, &never]);
    world.until(|world| world.cloud.creates_of(&always) == 2).await;
    world.until(|world| world.status("never", "reason") == "NotFound").await;
    world.until(|world| world.phase("always") == "Running").await;
    assert_eq!(world.phase("never"), "Failed");
    assert_eq!(world.cloud.creates_of(&never), 1);
}

#[tokio::test(start_paused = true)]
async fn a_pod_whose_time_is_over_is_stopped_with_its_grace_and_then_failed() {
    let world = World::with_running(0, json!({})).await;
    world.cloud.stops_after(2);
    let spec = json!({ "terminationGracePeriodSeconds": 7, "activeDeadlineSeconds": 3600 });
    let uid = world.make("long", json!({ "spec": spec }));
    world.until(|world| world.phase("long") == "Running").await;
    let mut pod = world.api.get(&path("long")).unwrap();
    // Somebody shortens it, to less than it has had.
    pod["spec"]["activeDeadlineSeconds"] = json!(1);
    pod["status"]["startTime"] = json!("2026-01-01T00:00:00Z");
    world.api.put(&path("long"), pod);
    world.until(|world| !world.cloud.deletes_of(&uid).is_empty()).await;
    let grace = world.cloud.deletes_of(&uid)[0];
    assert!(grace > Duration::from_secs(5) && grace <= Duration::from_secs(7), "{grace:?}");
    assert_eq!(world.phase("long"), "Running", "something of it may still run");
    world.until(|world| world.phase("long") == "Failed").await;
    assert!(!world.cloud.has(&uid));
    assert_eq!(world.status("long", "reason"), "DeadlineExceeded");
    assert_eq!(world.status("long", "message"), "Pod was active on the node longer than the specified deadline");
    world.until(|world| world.has_event("DeadlineExceeded")).await;
    time::sleep(Duration::from_secs(600)).await;
    assert_eq!(world.cloud.creates_of(&uid), 1, "it is over for good");
    assert_eq!(world.deletions(), 0, "its object is left to whoever made it");
}

#[tokio::test(start_paused = true)]
async fn a_pod_whose_time_ended_while_the_host_was_away_is_ended_and_not_made_again() {
    let world = World::with_running(0, json!({})).await;
    let uid = world.make("long", json!({ "spec": { "activeDeadlineSeconds": 3600 } }));
    world.until(|world| world.phase("long") == "Running").await;
    let (api, cloud) = (world.api.clone(), world.cloud.clone());
    drop(world);
    // The provider has ended it already; only the status was not written.
    cloud.lose([&uid]);
    let mut pod = api.get(&path("long")).unwrap();
    pod["status"]["startTime"] = json!("2026-01-01T00:00:00Z");
    api.put(&path("long"), pod);
    let world = World::start(&api, &cloud);
    world.until(|world| world.phase("long") == "Failed").await;
    assert_eq!(world.status("long", "reason"), "DeadlineExceeded");
    assert_eq!(cloud.creates_of(&uid), 1);
}

#[tokio::test(start_paused = true)]
async fn an_orphan_is_removed_after_two_rounds_unless_orphans_are_kept() {
    for keep in [false, true] {
        let (api, cloud) = (FakeApi::default(), Arc::<Cloud>::default());
        cloud.put("ghost", "ghost-uid");
        let world = World::start_with(&api, &cloud, keep);
        let known = world.make("known", json!({}));
        world.until(|world| world.phase("known") == "Running").await;
        time::sleep(Duration::from_secs(60)).await;
        assert_eq!(cloud.has("ghost-uid"), keep);
        assert!(cloud.has(&known));
        assert!(cloud.deletes_of(&known).is_empty());
        assert!(cloud.deletes_of("ghost-uid").iter().all(Duration::is_zero), "at once");
    }
}

#[tokio::test(start_paused = true)]
async fn a_pod_is_found_by_its_name_while_an_orphan_of_that_name_is_removed_and_afterwards() {
    let (api, cloud) = (FakeApi::default(), Arc::<Cloud>::default());
    cloud.put("web-0", "old");
    let world = World::start(&api, &cloud);
    let uid = world.make("web-0", json!({}));
    world.until(|world| world.phase("web-0") == "Running").await;
    let found = || world.directory.find("ns", "web-0").map(|pod| pod.id.uid);
    while cloud.has("old") {
        assert_eq!(found().as_deref(), Some(uid.as_str()));
        time::sleep(Duration::from_secs(1)).await;
    }
    time::sleep(Duration::from_secs(10)).await;
    assert_eq!(found().as_deref(), Some(uid.as_str()));
}

#[tokio::test(start_paused = true)]
async fn no_orphan_is_judged_while_the_api_server_cannot_say_what_it_has() {
    let (api, cloud) = (FakeApi::default(), Arc::<Cloud>::default());
    cloud.put("ghost", "ghost-uid");
    let world = World::start(&api, &cloud);
    world.make("known", json!({}));
    // The watch has begun, so that the listings to come are those that orphans are judged by.
    world.until(|world| world.phase("known") == "Running").await;
    api.rule(|call| {
        let refuse = crate::fake_api::Instead::Refuse(503, "ServiceUnavailable", "not now");
        let lists = call.method == Method::GET && !call.query.contains_key("watch");
        (lists && call.path.ends_with("/pods")).then_some(refuse)
    });
    time::sleep(Duration::from_secs(600)).await;
    assert!(cloud.has("ghost-uid"));
    api.rule(|_| None);
    time::sleep(Duration::from_secs(60)).await;
    assert!(!cloud.has("ghost-uid"));
}

#[tokio::test(start_paused = true)]
async fn what_failed_in_an_outage_is_tried_again_as_soon_as_it_is_over() {
    let world = World::with_running(0, json!({})).await;
    let leaving = world.make("leaving", json!({}));
    world.until(|world| world.phase("leaving") == "Running").await;
    // A backend that asks for patience is left alone for as long as without a recovery.
    for (kind, retry_after) in
        [(ErrorKind::Unavailable, None), (ErrorKind::Exhausted, Some(300)), (ErrorKind::Unavailable, Some(300))]
    {
        let retry_after = retry_after.map(Duration::from_secs);
        let is_outage = retry_after.is_none();
        world.cloud.fail(Some(Error { retry_after, ..Error::new(kind, "the cloud is away") }));
        let name = format!("made-while-{}-{is_outage}", kind.as_str());
        world.make(&name, json!({}));
        if is_outage {
            let mut pod = world.api.get(&path("leaving")).unwrap();
            pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
            world.api.put(&path("leaving"), pod);
        }
        // By now the waits are of two and a half minutes and more; those that were asked for go on for more than three.
        time::sleep(Duration::from_secs(3_100)).await;
        world.cloud.fail(None);
        let over = time::Instant::now();
        world.node.recovered();
        world.until(|world| world.phase(&name) == "Running" && !world.cloud.has(&leaving)).await;
        assert_eq!(over.elapsed() < Duration::from_secs(5), is_outage, "{name}: {:?}", over.elapsed());
    }
}

/// Makes a pod's time end.
fn expire(api: &FakeApi, name: &str) {
    let mut pod = api.get(&path(name)).unwrap();
    pod["spec"]["activeDeadlineSeconds"] = json!(1);
    pod["status"]["startTime"] = json!("2026-01-01T00:00:00Z");
    api.put(&path(name), pod);
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_ended_by_itself_does_not_fail_for_its_deadline() {
    let world = World::with_running(0, json!({})).await;
    let uid = world.make("task", json!({ "spec": { "restartPolicy": "Never" } }));
    world.until(|world| world.phase("task") == "Running").await;
    world.api.rule(|call| {
        let refuse = crate::fake_api::Instead::Refuse(503, "ServiceUnavailable", "not now");
        (call.method == Method::PATCH).then_some(refuse)
    });
    world.cloud.finish(&uid);
    time::sleep(Duration::from_secs(20)).await;
    expire(&world.api, "task");
    time::sleep(Duration::from_secs(60)).await;
    world.api.rule(|_| None);
    world.until(|world| world.phase("task") == "Succeeded").await;
    assert!(world.cloud.deletes_of(&uid).is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_restarted_host_asks_how_a_pod_ended_before_it_fails_it_for_its_deadline() {
    let world = World::with_running(0, json!({})).await;
    let uid = world.make("task", json!({ "spec": { "restartPolicy": "Never" } }));
    world.until(|world| world.phase("task") == "Running").await;
    let (api, cloud) = (world.api.clone(), world.cloud.clone());
    drop(world);
    cloud.finish(&uid);
    // The pod is looked at before there is any listing.
    cloud.listings_take(Duration::from_secs(20));
    expire(&api, "task");
    let world = World::start(&api, &cloud);
    world.until(|world| world.phase("task") != "Running").await;
    assert_eq!(world.phase("task"), "Succeeded");
}
