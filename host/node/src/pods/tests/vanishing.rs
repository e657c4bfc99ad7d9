//! Many pods are missing at once.

use super::*;
use crate::pods::vanishing::PATIENCE;

/// No listing comes later after the one before.
const POLL: Duration = Duration::from_secs(5);

fn all_run(world: &World, count: usize) -> bool {
    (0..count).all(|number| world.phase(&format!("p{number}")) == "Running")
}

#[tokio::test(start_paused = true)]
async fn half_of_twenty_that_vanish_at_once_are_waited_for_five_minutes() {
    for lost in [10, 20] {
        let world = World::with_running(20, json!({ "spec": { "restartPolicy": "Never" } })).await;
        world.cloud.lose(&world.cloud.uids()[..lost]);
        world.until(|world| world.node.vanished().is_some()).await;
        let told = world.node.vanished().unwrap();
        assert!(told.starts_with(&format!("{lost} of 20 pods have vanished together")), "{told}");
        // What is new waits as well: nothing can be told of this provider.
        world.make("new", json!({}));
        time::sleep(PATIENCE - POLL).await;
        assert_eq!(world.cloud.creates(), 20, "nothing is created");
        assert!(all_run(&world, 20), "nothing is failed");
        assert!(!world.has_event("NotFound"), "{:?}", world.events());
        assert!(world.node.vanished().is_some());

        time::sleep(4 * POLL).await;
        assert_eq!(world.node.vanished(), None);
        let failed = (0..20).filter(|number| world.status(&format!("p{number}"), "reason") == "NotFound").count();
        assert_eq!(failed, lost, "it is over, and what is gone is gone");
        assert_eq!(world.phase("new"), "Running");
        time::sleep(PATIENCE).await;
        assert_eq!(world.node.vanished(), None, "those that were given up do not count again");
    }
}

#[tokio::test(start_paused = true)]
async fn pods_that_come_back_end_it_and_none_was_touched() {
    let world = World::with_running(20, json!({})).await;
    // Between two listings it tells only what has changed, and would not say that they are back.
    world.cloud.has_cursors();
    world.cloud.lose(&world.cloud.uids()[..15]);
    world.until(|world| world.node.vanished().is_some()).await;
    world.make("new", json!({}));
    time::sleep(Duration::from_secs(60)).await;
    assert_eq!(world.cloud.creates(), 20);
    world.cloud.find_again();
    let found = time::Instant::now();
    world.until(|world| world.node.vanished().is_none()).await;
    assert!(found.elapsed() < Duration::from_secs(15), "{:?}", found.elapsed());
    world.until(|world| world.phase("new") == "Running").await;
    time::sleep(4 * POLL).await;
    assert!(all_run(&world, 20));
    assert_eq!(world.cloud.creates(), 21, "only the new one");
    assert!(!world.has_event("NotFound"));
}

#[tokio::test(start_paused = true)]
async fn a_restarted_host_waits_as_well_for_pods_that_its_provider_does_not_have() {
    let world = World::with_running(12, json!({})).await;
    let (api, cloud) = (world.api.clone(), world.cloud.clone());
    drop(world);
    // Such as when it was given another account.
    cloud.lose(&cloud.uids());
    let world = World::start(&api, &cloud);
    world.until(|world| world.node.vanished().is_some()).await;
    time::sleep(Duration::from_secs(200)).await;
    assert_eq!(cloud.creates(), 12);
    assert!(all_run(&world, 12));
}

#[tokio::test(start_paused = true)]
async fn fewer_are_lost_one_by_one_and_those_on_their_way_out_do_not_count() {
    let world = World::with_running(30, json!({})).await;
    world.cloud.stops_after(usize::MAX);
    for number in 0..15 {
        world.delete(&format!("p{number}"));
    }
    let leaving: Vec<String> = (0..15).map(|number| uid(&world, number)).collect();
    world.until(|world| leaving.iter().all(|uid| !world.cloud.deletes_of(uid).is_empty())).await;
    let lost: Vec<String> = (15..20).map(|number| uid(&world, number)).collect();
    world.cloud.lose(leaving.iter().chain(&lost));
    world.until(|world| lost.iter().all(|uid| world.cloud.creates_of(uid) == 2)).await;
    assert_eq!(world.node.vanished(), None);
    assert!(leaving.iter().all(|uid| world.cloud.creates_of(uid) == 1));
}

#[tokio::test(start_paused = true)]
async fn updates_that_find_no_pod_leave_the_verdict_to_the_listings() {
    let world = World::with_running(20, json!({})).await;
    world.cloud.has_cursors();
    time::sleep(2 * POLL).await;
    world.cloud.lose(&world.cloud.uids());
    for number in 0..20 {
        let name = path(&format!("p{number}"));
        let mut pod = world.api.get(&name).unwrap();
        pod["metadata"]["labels"] = json!({ "tier": "front" });
        world.api.put(&name, pod);
    }
    world.until(|world| world.node.vanished().is_some()).await;
    time::sleep(PATIENCE - 4 * POLL).await;
    assert_eq!(world.cloud.creates(), 20);
    assert!(all_run(&world, 20));
}

#[tokio::test(start_paused = true)]
async fn a_deletion_is_not_believed_of_a_pod_that_has_vanished_with_others() {
    let world = World::with_running(20, json!({})).await;
    let uid = uid(&world, 0);
    world.cloud.lose(&world.cloud.uids());
    world.until(|world| world.node.vanished().is_some()).await;
    world.delete("p0");
    world.until(|world| !world.cloud.deletes_of(&uid).is_empty()).await;
    time::sleep(Duration::from_secs(60)).await;
    assert!(world.api.get(&path("p0")).is_some(), "it may still run");
    world.cloud.find_again();
    world.until(|world| world.api.get(&path("p0")).is_none()).await;
    assert!(!world.cloud.has(&uid));
}

fn uid(world: &World, number: usize) -> String {
    world.api.get(&path(&format!("p{number}"))).unwrap()["metadata"]["uid"].as_str().unwrap().to_owned()
}
