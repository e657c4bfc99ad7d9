mod outages;

use std::{
    collections::BTreeMap,
    time::{Instant, SystemTime},
};

use serde_json::{Value, json};
use vk_sdk::{
    Extent,
    testing::{Failure, Response, advance, now},
};

use super::*;
use crate::{
    group::ContainerGroup,
    model::{self, Model, group, methods, name, pod, pods, refusal, requests},
};

/// The part of the host that polls.
#[derive(Default)]
struct Host {
    cursor: Option<Bytes>,
    /// What each pod was seen as first, and when.
    seen: BTreeMap<(String, String), SystemTime>,
    listed: Vec<String>,
    removed: Vec<String>,
}

impl Host {
    /// One poll. Answers with the pause after it.
    fn poll(&mut self) -> Result<Duration> {
        let changes = match pods().poll(self.cursor.clone()) {
            Ok(changes) => changes,
            Err(error) if self.cursor.is_some() && error.kind == ErrorKind::Invalid => {
                self.cursor = None;
                return Ok(Duration::ZERO);
            }
            Err(error) => return Err(error),
        };
        for observation in changes.observed {
            self.listed.push(observation.pod.uid.clone());
            let Some(status) = observation.status else { continue };
            let status: Value = serde_json::from_str(&status).unwrap();
            let phase = status["phase"].as_str().unwrap_or_default().to_owned();
            self.seen.entry((observation.pod.uid, phase)).or_insert_with(now);
        }
        self.removed.extend(changes.removed.into_iter().map(|pod| pod.uid));
        self.cursor = changes.next;
        Ok(match changes.extent {
            Extent::Page => Duration::ZERO,
            _ => Duration::from_millis(changes.poll_after.unwrap().clamp(100, 60_000).into()),
        })
    }

    /// Polls for a time.
    fn run(&mut self, time: Duration) {
        let until = now() + time;
        while now() < until {
            match self.poll() {
                Ok(pause) => advance(pause),
                Err(_) => advance(Duration::from_secs(1)),
            }
        }
    }

    fn seen(&self, pod: &PodId, phase: &str) -> Option<SystemTime> {
        self.seen.get(&(pod.uid.clone(), phase.to_owned())).copied()
    }
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn make(count: usize) {
    (0..count).for_each(make_one);
}

fn make_one(number: usize) {
    pods().create(pod(number), &group(&pod(number), model::OWNER)).unwrap();
}

#[test]
fn two_hundred_pods_that_start_together_are_seen_soon_after_they_run() {
    let model = Model::serve();
    model.edit(|state| (state.starts_after, state.latency) = (seconds(5), Duration::from_millis(8)));
    let mut host = Host::default();
    host.run(seconds(1));
    let (began, really) = (now(), Instant::now());
    // Twelve at once at 300 ms each, with polls in between.
    for number in 0..200 {
        make_one(number);
        advance(Duration::from_millis(10));
        if number % 40 == 39 {
            host.poll().unwrap();
        }
    }
    host.run(seconds(20));
    let slowest = (0..200).map(|number| host.seen(&pod(number), "Running").expect("it runs")).max().unwrap();
    // A machine that is busy takes time of its own.
    let took = slowest.duration_since(began).unwrap().saturating_sub(really.elapsed());
    assert!(took <= seconds(17), "{took:?}");
    let reads = methods().matches("GET").count() - 200;
    assert!(reads <= 200 + 200, "{reads} reads");
}

#[test]
fn a_single_pod_is_seen_within_three_seconds_of_its_start() {
    let model = Model::serve();
    model.edit(|state| state.starts_after = seconds(4));
    let mut host = Host::default();
    host.run(seconds(1));
    make_one(1);
    let started = now() + seconds(4);
    host.run(seconds(10));
    let late = host.seen(&pod(1), "Running").unwrap().duration_since(started).unwrap();
    assert!(late <= seconds(3), "{late:?}");
}

fn ends_are_seen_in_time(model: &Model, host: &mut Host, numbers: [usize; 3]) {
    for number in numbers {
        let ended = now();
        model.end(&name(&pod(number)), 3);
        host.run(seconds(32));
        let late = host.seen(&pod(number), "Failed").expect("it ended").duration_since(ended).unwrap();
        assert!(late <= seconds(30), "{late:?}");
    }
}

#[test]
fn a_hundred_running_pods_cost_few_requests_and_an_end_is_seen_in_time() {
    let model = Model::serve();
    make(100);
    let mut host = Host::default();
    host.run(seconds(30));
    let before = requests().len();
    host.run(seconds(120));
    let rate = (requests().len() - before) as f64 / 120.0;
    assert!((2.0..=5.0).contains(&rate), "{rate} a second");
    ends_are_seen_in_time(&model, &mut host, [3, 50, 99]);
}

#[test]
fn groups_that_start_again_and_again_do_not_hide_those_that_run() {
    let model = Model::serve();
    make(80);
    let mut host = Host::default();
    host.run(seconds(30));
    model.edit(|state| {
        state.latency = Duration::from_millis(200);
        for number in 20..80 {
            state.groups.get_mut(&name(&pod(number))).unwrap().crashes = true;
        }
    });
    host.run(seconds(60));
    ends_are_seen_in_time(&model, &mut host, [0, 7, 19]);
}

#[test]
fn a_host_that_starts_anew_knows_from_the_listing_what_is_not_starting() {
    let model = Model::serve();
    for number in 0..30 {
        let body = serde_json::to_value(group(&pod(number), model::OWNER)).unwrap();
        model.edit(|state| state.put(&name(&pod(number)), body));
    }
    let mut host = Host::default();
    host.run(seconds(10));
    assert_eq!(methods().matches("LIST").count(), 1);
}

#[test]
fn what_has_ended_and_what_is_not_there_costs_nothing() {
    let model = Model::serve();
    let mut host = Host::default();
    host.run(seconds(60));
    assert_eq!(methods(), "LIST");
    make(20);
    (0..20).for_each(|number| model.end(&name(&pod(number)), 0));
    host.run(seconds(20));
    assert!((0..20).all(|number| host.seen(&pod(number), "Succeeded").is_some()));
    let before = requests().len();
    host.run(seconds(120));
    assert_eq!(requests().len(), before);
}

#[test]
fn a_listing_has_pages_and_passes_over_what_is_not_this_nodes() {
    let model = Model::serve_with(|request, state| {
        // The last page fails, once.
        let fails = request.query("skip") == Some("6") && state.latency == Duration::from_millis(10);
        fails.then(|| {
            state.latency = Duration::from_millis(11);
            refusal(500, "InternalServerError")
        })
    });
    model.edit(|state| {
        state.page = 3;
        for number in 0..5 {
            state.put(&name(&pod(number)), serde_json::to_value(group(&pod(number), model::OWNER)).unwrap());
        }
        state.put("another", serde_json::to_value(group(&pod(10), "another")).unwrap());
        state.put("untagged", json!({"properties": {"containers": []}}));
        state.put("a-copy", serde_json::to_value(group(&pod(1), model::OWNER)).unwrap());
        state.put("odd", json!({"tags": {"CreationTimestamp": "not a time", "UID": "uid-1"}, "properties": {"containers": [], "subnetIds": null, "volumes": null}}));
    });
    let mut host = Host::default();
    host.poll().unwrap();
    host.poll().unwrap();
    assert_eq!(host.poll().unwrap_err().kind, ErrorKind::Unavailable);
    host.poll().unwrap();
    host.listed.sort();
    assert_eq!(host.listed, ["uid-0", "uid-1", "uid-2", "uid-3", "uid-4"]);
    assert_eq!(methods(), "LIST LIST LIST LIST");
    host.run(seconds(5));
    let read: Vec<String> = requests().into_iter().map(|(_, name)| name).collect();
    assert!(!read.contains(&"another".to_owned()) && !read.contains(&"untagged".to_owned()), "{read:?}");
}

#[test]
fn what_is_gone_between_listing_and_reading_is_removed() {
    let model = Model::serve();
    make(3);
    let mut host = Host::default();
    host.poll().unwrap();
    model.edit(|state| state.groups.remove(&name(&pod(1))));
    // It was made long ago.
    advance(seconds(60));
    host.run(seconds(2));
    assert_eq!(host.removed, ["uid-1"]);
    assert!(host.seen(&pod(0), "Running").is_some() && host.seen(&pod(2), "Running").is_some());
    host.run(seconds(60));
    assert_eq!(host.removed, ["uid-1"], "it is told once");
}

#[test]
fn a_group_that_a_listing_lacks_is_still_there() {
    let model = Model::serve();
    make(3);
    let mut host = Host::default();
    host.run(seconds(20));
    model.edit(|state| state.unlisted = vec![name(&pod(0)), name(&pod(1))]);
    model.edit(|state| state.groups.remove(&name(&pod(1))));
    host.cursor = None;
    host.listed.clear();
    host.poll().unwrap();
    host.listed.sort();
    assert_eq!(host.listed, ["uid-0", "uid-1", "uid-2"], "doubted, not gone");
    host.run(seconds(10));
    assert_eq!(host.removed, ["uid-1"]);
}

#[test]
fn a_listing_that_lags_behind_brings_nothing_back() {
    let model = Model::serve();
    make(2);
    let ghost =
        serde_json::to_value(ContainerGroup { name: Some(name(&pod(1))), ..group(&pod(1), model::OWNER) }).unwrap();
    model.edit(|state| state.ghosts = vec![ghost]);
    pods().delete(&pod(1)).unwrap();
    let mut host = Host::default();
    host.run(seconds(5));
    assert!(!host.listed.contains(&"uid-1".to_owned()), "{:?}", host.listed);
}

#[test]
fn a_group_that_is_made_anew_while_its_loss_is_noticed_is_not_lost() {
    let remade = std::cell::Cell::new(false);
    let model = Model::serve_with(move |request, state| {
        let gone = request.method == "GET" && request.path().ends_with(&name(&pod(1))) && state.groups.is_empty();
        // Between the reading and its answer another instance makes the group again.
        if gone && !remade.replace(true) {
            memory::keep("uid-1", &memory::Memory::made(&pod(1), now()));
            state.put(&name(&pod(1)), serde_json::to_value(group(&pod(1), model::OWNER)).unwrap());
            return Some(refusal(404, "ResourceNotFound"));
        }
        None
    });
    // So that it is there at first.
    model.edit(|state| state.put(&name(&pod(1)), serde_json::to_value(group(&pod(1), model::OWNER)).unwrap()));
    let mut host = Host::default();
    host.run(seconds(20));
    model.edit(|state| state.groups.clear());
    host.seen.clear();
    host.run(seconds(40));
    assert!(host.removed.is_empty());
    assert!(host.seen(&pod(1), "Running").is_some());
}

#[test]
fn a_group_that_another_instance_sees_gone_while_it_is_read_is_not_told_of() {
    let is_gone = std::rc::Rc::new(std::cell::Cell::new(false));
    let going = is_gone.clone();
    let _model = Model::serve_with(move |request, _| {
        if going.get() && request.method == "GET" && request.path().ends_with(&name(&pod(1))) {
            memory::bury(&pod(1), now());
        }
        None
    });
    make_one(1);
    let mut host = Host::default();
    host.poll().unwrap();
    is_gone.set(true);
    advance(seconds(5));
    host.run(seconds(5));
    assert!(host.seen(&pod(1), "Running").is_none() && host.removed.is_empty());
}

#[test]
fn a_new_group_that_does_not_show_yet_is_not_removed() {
    let model = Model::serve();
    let mut host = Host::default();
    host.run(seconds(1));
    make_one(1);
    model.edit(|state| state.groups.get_mut(&name(&pod(1))).unwrap().shows_from = now() + seconds(6));
    host.run(seconds(12));
    assert!(host.removed.is_empty());
    assert!(host.seen(&pod(1), "Running").is_some());
}

#[test]
fn a_job_that_ends_soon_after_its_start_is_seen_soon() {
    let model = Model::serve();
    make(20);
    let mut host = Host::default();
    host.run(seconds(60));
    make_one(20);
    host.run(seconds(4));
    let ended = now();
    model.end(&name(&pod(20)), 0);
    host.run(seconds(30));
    let late = host.seen(&pod(20), "Succeeded").unwrap().duration_since(ended).unwrap();
    assert!(late <= seconds(22), "{late:?}");
}

#[test]
fn a_cache_that_forgets_begins_a_listing() {
    let _model = Model::serve();
    make(3);
    let mut host = Host::default();
    host.run(seconds(10));
    for key in cache::keys("") {
        cache::remove(&key);
    }
    host.listed.clear();
    host.run(seconds(3));
    assert!(host.listed.len() >= 6, "listed and read: {:?}", host.listed);
    assert_eq!(pods().poll(Some(vec![9, 9])).unwrap_err().kind, ErrorKind::Invalid);
}

#[test]
fn the_service_is_not_asked_whether_it_answers_while_it_does() {
    let _model = Model::serve();
    pods().check().unwrap();
    pods().check().unwrap();
    assert_eq!(methods(), "LIST");
    advance(seconds(31));
    pods().check().unwrap();
    assert_eq!(methods(), "LIST LIST");
}
