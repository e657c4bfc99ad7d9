//! A provider with a backend in memory, whose listings can be late, old or wrong.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Mutex,
    time::Duration,
};

use async_trait::async_trait;
use serde_json::json;
use tokio::time;
use vk_provider::{
    Aspects, Changes, Cursor, Deletion, Description, Error, ErrorKind, Extent, Info, Observation, Pod, PodId, Provider,
    Result,
};

#[derive(Default)]
pub(super) struct Cloud(Mutex<State>);

#[derive(Default)]
struct State {
    pods: BTreeMap<String, PodId>,
    /// Out of sight: neither listed nor found.
    lost: BTreeSet<String>,
    /// They have come to their end.
    finished: BTreeSet<String>,
    /// Found, but not listed.
    unlisted: BTreeSet<String>,
    lists_nothing: bool,
    listing_takes: Duration,
    /// Polls after a listing ask for changes, of which there never are any.
    has_cursors: bool,
    stops_after: Option<usize>,
    creates: Vec<String>,
    deletes: Vec<(String, Duration)>,
    /// Every call fails so.
    away: Option<Error>,
    gets: usize,
    listings: usize,
}

impl Cloud {
    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.0.lock().unwrap())
    }

    /// A pod that nobody here asked for.
    pub(super) fn put(&self, name: &str, uid: &str) {
        let pod = PodId { namespace: "ns".into(), name: name.into(), uid: uid.into(), handle: None };
        self.with(|state| state.pods.insert(uid.to_owned(), pod));
    }

    pub(super) fn has(&self, uid: &str) -> bool {
        self.with(|state| state.pods.contains_key(uid))
    }

    pub(super) fn uids(&self) -> Vec<String> {
        self.with(|state| state.pods.keys().cloned().collect())
    }

    /// Takes pods out of sight.
    pub(super) fn lose<'a>(&self, uids: impl IntoIterator<Item = &'a String>) {
        self.with(|state| state.lost.extend(uids.into_iter().cloned()));
    }

    /// A pod comes to its end.
    pub(super) fn finish(&self, uid: &str) {
        self.with(|state| state.finished.insert(uid.to_owned()));
    }

    pub(super) fn find_again(&self) {
        self.with(|state| state.lost.clear());
    }

    /// Every call fails from now on, or none any more.
    pub(super) fn fail(&self, error: Option<Error>) {
        self.with(|state| state.away = error);
    }

    fn check(&self) -> Result<()> {
        self.with(|state| state.away.clone()).map_or(Ok(()), Err)
    }

    /// New pods and old ones are missing in listings from now on.
    pub(super) fn list_nothing(&self, nothing: bool) {
        self.with(|state| state.lists_nothing = nothing);
    }

    pub(super) fn unlist(&self, uid: &str) {
        self.with(|state| state.unlisted.insert(uid.to_owned()));
    }

    /// A listing shows what there was when it began.
    pub(super) fn listings_take(&self, time: Duration) {
        self.with(|state| state.listing_takes = time);
    }

    pub(super) fn has_cursors(&self) {
        self.with(|state| state.has_cursors = true);
    }

    /// A deletion is on its way until it has been asked for so many times.
    pub(super) fn stops_after(&self, asked: usize) {
        self.with(|state| state.stops_after = Some(asked));
    }

    pub(super) fn creates(&self) -> usize {
        self.with(|state| state.creates.len())
    }

    pub(super) fn creates_of(&self, uid: &str) -> usize {
        self.with(|state| state.creates.iter().filter(|created| *created == uid).count())
    }

    pub(super) fn deletes_of(&self, uid: &str) -> Vec<Duration> {
        let of = |(deleted, grace): &(String, Duration)| (deleted == uid).then_some(*grace);
        self.with(|state| state.deletes.iter().filter_map(of).collect())
    }

    pub(super) fn gets(&self) -> usize {
        self.with(|state| state.gets)
    }

    pub(super) fn listings(&self) -> usize {
        self.with(|state| state.listings)
    }
}

impl State {
    fn observe(&self, pod: &PodId) -> Observation {
        if !self.finished.contains(&pod.uid) {
            return running(pod.clone());
        }
        let main = json!({ "name": "main", "state": { "terminated": { "exitCode": 0 } } });
        Observation { pod: pod.clone(), status: Some(json!({ "containerStatuses": [main] }).to_string()) }
    }
}

fn running(pod: PodId) -> Observation {
    let main = json!({ "name": "main", "state": { "running": {} } });
    let status = json!({ "podIP": "10.0.0.1", "containerStatuses": [main] });
    Observation { pod, status: Some(status.to_string()) }
}

#[async_trait]
impl Provider for Cloud {
    fn info(&self) -> Info {
        Info::default()
    }

    async fn describe(&self) -> Result<Description> {
        unreachable!("the pods do not ask for it")
    }

    async fn create(&self, pod: Pod) -> Result<Observation> {
        self.check()?;
        self.with(|state| {
            state.creates.push(pod.id.uid.clone());
            state.lost.remove(&pod.id.uid);
            state.pods.insert(pod.id.uid.clone(), pod.id.clone());
        });
        Ok(running(pod.id))
    }

    async fn update(&self, pod: Pod, _: Aspects) -> Result<Observation> {
        self.check()?;
        self.get(&pod.id).await
    }

    async fn delete(&self, pod: &PodId, grace: Duration) -> Result<Deletion> {
        self.check()?;
        Ok(self.with(|state| {
            state.deletes.push((pod.uid.clone(), grace));
            let asked = state.deletes.iter().filter(|(uid, _)| *uid == pod.uid).count();
            if state.lost.contains(&pod.uid) {
                return Deletion::Gone;
            }
            if state.pods.contains_key(&pod.uid) && state.stops_after.is_some_and(|enough| asked < enough) {
                return Deletion::Stopping;
            }
            state.pods.remove(&pod.uid);
            Deletion::Gone
        }))
    }

    async fn get(&self, pod: &PodId) -> Result<Observation> {
        self.with(|state| {
            state.gets += 1;
            match state.pods.get(&pod.uid).filter(|pod| !state.lost.contains(&pod.uid)) {
                Some(pod) => Ok(state.observe(pod)),
                None => Err(Error::new(ErrorKind::NotFound, "no such pod")),
            }
        })
    }

    async fn poll(&self, since: Option<Cursor>) -> Result<Changes> {
        self.check()?;
        let next = self.with(|state| state.has_cursors).then(|| b"1".to_vec());
        if since.is_some() {
            return Ok(answer(Vec::new(), Extent::Changes, next));
        }
        let (observed, takes) = self.with(|state| {
            state.listings += 1;
            let is_listed =
                |uid: &String| !(state.lists_nothing || state.lost.contains(uid) || state.unlisted.contains(uid));
            let listed = state.pods.iter().filter(|(uid, _)| is_listed(uid));
            (listed.map(|(_, pod)| state.observe(pod)).collect(), state.listing_takes)
        });
        time::sleep(takes).await;
        Ok(answer(observed, Extent::Last, next))
    }
}

fn answer(observed: Vec<Observation>, extent: Extent, next: Option<Cursor>) -> Changes {
    Changes { observed, removed: Vec::new(), extent, next, poll_after: None }
}
