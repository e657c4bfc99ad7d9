//! Pods in the host's cache, one entry each, so that a creation costs the same however many there are.
//!
//! ```text
//!   pod/UID    what the pod is to do, and what happened to it
//!   work/UID   what its containers are seen to do
//!   due/UID    there while the pod will change by itself: a poll looks at no others
//!   store      when this cache was first used: cursors of another life of it are of no use
//! ```

use std::time::Duration;

use mock_model::{Facts, Order, Plan, wire::Details};
use serde::{Deserialize, Serialize};
use vk_sdk::{Aspects, Changes, Deletion, Error, Observation, Pod, PodId, Result, cache};

use crate::{
    cursor::Cursor,
    status::status,
    store::{Created, PAGE, Store, absent, now},
};

/// How far a poll looks back beyond its cursor, in milliseconds: a pod that another instance is just creating may be
/// seen only after its first change.
const OVERLAP: u64 = 100;

pub(crate) struct Local;

#[derive(Serialize, Deserialize)]
struct Record {
    pod: PodId,
    plan: Plan,
    facts: Facts,
}

impl Record {
    fn status(&self, now: u64) -> String {
        status(&self.pod.uid, self.plan.state(&self.facts, now))
    }

    fn observation(&self, now: u64) -> Observation {
        Observation { pod: self.pod.clone(), status: Some(self.status(now)) }
    }

    fn has_stopped(&self, now: u64) -> bool {
        self.facts.stops.is_some_and(|at| at <= now)
    }

    fn save(&self, now: u64) -> Result<()> {
        self.announce(now);
        cache::set_json(&pod_key(&self.pod.uid), self, cache::LONGEST)
    }

    fn announce(&self, now: u64) {
        if self.plan.next_change(&self.facts, now).is_some() {
            cache::set(&due_key(&self.pod.uid), &[], cache::LONGEST);
        }
    }
}

impl Store for Local {
    fn check(&self) -> Result<()> {
        Ok(())
    }

    fn create(&self, pod: &Pod, order: &Order) -> Result<Created> {
        let now = now();
        let facts = Facts { created: now, ..Facts::default() };
        let record = Record { pod: PodId { handle: None, ..pod.id.clone() }, plan: order.plan.clone(), facts };
        let json = serde_json::to_vec(&record).map_err(|error| Error::internal(error.to_string()))?;
        record.announce(now);
        cache::set_json(&work_key(&pod.id.uid), &order.workload, cache::LONGEST)?;
        if cache::replace(&pod_key(&pod.id.uid), None, &json, cache::LONGEST) {
            return Ok(Created { made: true, status: record.status(now) });
        }
        let existing = load(&pod.id.uid).ok_or_else(|| Error::conflict("the pod went away while it was created"))?;
        Ok(Created { made: false, status: existing.status(now) })
    }

    fn update(&self, pod: &Pod, order: &Order, _changed: Aspects) -> Result<String> {
        let now = now();
        let mut record = load(&pod.id.uid).ok_or_else(|| absent(&pod.id))?;
        record.plan = order.plan.clone();
        cache::set_json(&work_key(&pod.id.uid), &order.workload, cache::LONGEST)?;
        record.save(now)?;
        Ok(record.status(now))
    }

    fn delete(&self, pod: &PodId, grace: Duration) -> Result<Deletion> {
        let Some(mut record) = load(&pod.uid) else { return Ok(Deletion::Gone) };
        let now = now();
        let grace = u64::try_from(grace.as_millis()).unwrap_or(u64::MAX);
        record.facts.stops = Some(record.plan.stop(&record.facts, grace, now));
        if record.has_stopped(now) {
            forget(&pod.uid);
            return Ok(Deletion::Gone);
        }
        record.save(now)?;
        Ok(Deletion::Stopping)
    }

    fn get(&self, pod: &PodId) -> Result<String> {
        let now = now();
        load(&pod.uid)
            .filter(|record| !record.has_stopped(now))
            .map(|record| record.status(now))
            .ok_or_else(|| absent(pod))
    }

    fn look(&self, pod: &PodId) -> Result<Details> {
        let now = now();
        let record = load(&pod.uid).filter(|record| !record.has_stopped(now)).ok_or_else(|| absent(pod))?;
        // The cache may forget one without the other.
        let workload = cache::get_json(&work_key(&pod.uid)).unwrap_or_default();
        Ok(Details { state: record.plan.state(&record.facts, now), workload })
    }

    fn poll(&self, since: Option<Cursor>) -> Result<Changes> {
        let (store, now) = (store(), now());
        match since {
            None => Ok(page(Position { store, at: now }, "", now)),
            Some(Cursor::Page { from, after }) => Ok(page(Position::read(&from, store)?, &after, now)),
            Some(Cursor::Changes { from }) => Ok(changes(Position::read(&from, store)?, now)),
        }
    }
}

/// A time in a life of the cache.
#[derive(Clone, Copy)]
struct Position {
    store: u64,
    at: u64,
}

impl Position {
    fn write(self) -> String {
        format!("{}-{}", self.store, self.at)
    }

    fn read(text: &str, store: u64) -> Result<Self> {
        let position = text
            .split_once('-')
            .and_then(|(store, at)| Some(Self { store: store.parse().ok()?, at: at.parse().ok()? }));
        position
            .filter(|position| position.store == store)
            .ok_or_else(|| Error::invalid("the host's cache was emptied since the cursor was made"))
    }
}

fn page(from: Position, after: &str, now: u64) -> Changes {
    let mut keys = cache::keys("pod/");
    keys.sort_unstable();
    let uids = keys.iter().filter_map(|key| key.strip_prefix("pod/")).filter(|uid| *uid > after);
    let mut uids: Vec<_> = uids.take(PAGE + 1).collect();
    let more = uids.len() > PAGE;
    uids.truncate(PAGE);
    let records = uids.iter().filter_map(|uid| load(uid)).filter(|record| !record.has_stopped(now));
    let observed = records.map(|record| record.observation(now)).collect();
    match uids.last() {
        Some(last) if more => {
            Changes::page(observed, Cursor::Page { from: from.write(), after: (*last).to_owned() }.write())
        }
        _ => Changes::last(observed, Some(Cursor::Changes { from: from.write() }.write())),
    }
}

fn changes(from: Position, now: u64) -> Changes {
    let since = from.at.saturating_sub(OVERLAP);
    let (mut observed, mut removed) = (Vec::new(), Vec::new());
    for key in cache::keys("due/") {
        let Some(record) = key.strip_prefix("due/").and_then(load) else { continue };
        if record.has_stopped(now) {
            forget(&record.pod.uid);
            removed.push(record.pod);
            continue;
        }
        // The creation itself was answered to whoever asked for it.
        match record.plan.next_change(&record.facts, since.max(record.facts.created)) {
            Some(at) if at <= now => observed.push(record.observation(now)),
            Some(_) => {}
            // What happened before the cursor was reported, so the entry has served.
            None => cache::remove(&key),
        }
    }
    let next = Position { at: now, ..from };
    Changes::since(observed, removed, Cursor::Changes { from: next.write() }.write())
}

/// When the cache was first used, as whoever came first has it.
fn store() -> u64 {
    let read = || cache::get_json("store");
    read().unwrap_or_else(|| {
        let now = now();
        cache::replace("store", None, now.to_string().as_bytes(), cache::LONGEST);
        read().unwrap_or(now)
    })
}

fn load(uid: &str) -> Option<Record> {
    cache::get_json(&pod_key(uid))
}

fn forget(uid: &str) {
    cache::remove(&pod_key(uid));
    cache::remove(&work_key(uid));
    cache::remove(&due_key(uid));
}

fn pod_key(uid: &str) -> String {
    format!("pod/{uid}")
}

fn work_key(uid: &str) -> String {
    format!("work/{uid}")
}

fn due_key(uid: &str) -> String {
    format!("due/{uid}")
}
