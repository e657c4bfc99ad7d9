//! The pods, what happened to them, and what was asked.
//!
//! Every change gets the next revision; the journal has each pod's newest. A cursor is a revision of this store, so a
//! question for changes costs what changed. Removed pods are kept for a while, so that a stale view can be had.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fmt,
    hash::{BuildHasher, Hasher, RandomState},
    ops::Bound,
    time::{SystemTime, UNIX_EPOCH},
};

use mock_model::{
    Facts, Finish, Order, Plan, PodState,
    wire::{Changes, Deleted, Details, Id, Listing, Login, Submission, View, Volume},
};
use serde::Serialize;
use serde_json::{Value, value::RawValue};

use crate::fault::{Faults, Operation, Sight};

/// How many changes and removed pods are remembered.
const REMEMBERED: usize = 100_000;

/// Milliseconds since 1970.
pub(crate) fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

/// What was asked so far.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Counts {
    /// Requests that arrived, whatever became of them, by operation.
    pub requests: BTreeMap<Operation, u64>,
    /// What was carried out, by uid.
    pub pods: BTreeMap<String, Count>,
}

/// What was carried out about one pod.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Count {
    /// Creations that made something: 1 in the life of a pod.
    pub made: u64,
    /// Creations in all, those included that found it there.
    pub creates: u64,
    /// Changes.
    pub updates: u64,
    /// Deletions in all, those included that found nothing.
    pub deletes: u64,
    /// How often it went: by deletion, or because its stop came to its end.
    pub gone: u64,
}

/// A pod with all that its provider was given.
#[derive(Debug, Clone, Serialize)]
pub struct Stored {
    /// Whose it is.
    pub owner: String,
    /// Which pod.
    pub id: Id,
    /// When it was made, in milliseconds since 1970.
    pub created: u64,
    /// The resolved manifest, as last given.
    pub manifest: Value,
    /// The contents of its volumes, as last given.
    pub volumes: Vec<Volume>,
    /// How to pull its images, as last given.
    pub logins: Vec<Login>,
    /// What else it refers to, as last given.
    pub objects: Vec<Value>,
    /// For each change in turn, the aspects that were said to have changed.
    pub changed: Vec<Vec<String>>,
    /// How it is.
    pub state: PodState,
    /// Whether its deletion was asked for.
    pub stopping: bool,
}

impl Stored {
    /// The value of a container's environment variable.
    pub fn env(&self, container: &str, name: &str) -> Option<&str> {
        let container = ["containers", "initContainers"]
            .into_iter()
            .filter_map(|list| self.manifest.pointer(&format!("/spec/{list}"))?.as_array())
            .flatten()
            .find(|each| each.get("name").and_then(Value::as_str) == Some(container))?;
        let env = container.get("env")?.as_array()?;
        env.iter().find(|each| each.get("name").and_then(Value::as_str) == Some(name))?.get("value")?.as_str()
    }

    /// The content of a file of a volume.
    pub fn file(&self, volume: &str, path: &str) -> Option<&[u8]> {
        let volume = self.volumes.iter().find(|each| each.name == volume)?;
        volume.files.iter().find(|file| file.path == path).map(|file| file.data.as_slice())
    }
}

/// Why a request is not carried out.
#[derive(Debug)]
pub(crate) enum Refusal {
    Absent,
    Forgotten,
    Mismatch(String),
    Malformed(String),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent => f.write_str("no such pod"),
            Self::Forgotten => f.write_str("the cursor is too old, or of another backend"),
            Self::Mismatch(problem) | Self::Malformed(problem) => f.write_str(problem),
        }
    }
}

/// A pod's key: its owner and its uid.
type Key = (String, String);

#[derive(Debug)]
struct Pod {
    submission: Submission,
    plan: Plan,
    facts: Facts,
    status: Option<Box<RawValue>>,
    changed: Vec<Vec<String>>,
    revision: u64,
    due: Option<u64>,
}

impl Pod {
    fn view(&self, now: u64) -> View {
        let state = self.plan.state(&self.facts, now);
        View { id: self.submission.id.clone(), state, status: self.status.clone() }
    }
}

/// An entry of the journal.
#[derive(Debug)]
struct Note {
    at: u64,
    key: Key,
    removed: Option<Id>,
}

#[derive(Debug)]
struct Removed {
    at: u64,
    key: Key,
    pod: Pod,
}

/// Everything that the backend has.
#[derive(Debug)]
pub(crate) struct Store {
    /// A random number that tells the cursors of this store from another's.
    identity: u64,
    pods: BTreeMap<Key, Pod>,
    removed: VecDeque<Removed>,
    /// When pods change by themselves.
    due: BTreeSet<(u64, Key)>,
    journal: BTreeMap<u64, Note>,
    revision: u64,
    /// The newest revision that was forgotten.
    forgotten: u64,
    counts: Counts,
    pub(crate) faults: Faults,
}

impl Store {
    pub(crate) fn new() -> Self {
        Self {
            identity: RandomState::new().build_hasher().finish(),
            pods: BTreeMap::new(),
            removed: VecDeque::new(),
            due: BTreeSet::new(),
            journal: BTreeMap::new(),
            revision: 0,
            forgotten: 0,
            counts: Counts::default(),
            faults: Faults::default(),
        }
    }

    pub(crate) fn asked(&mut self, operation: Operation) {
        *self.counts.requests.entry(operation).or_default() += 1;
    }

    pub(crate) fn counts(&self) -> &Counts {
        &self.counts
    }

    pub(crate) fn number_of(&self, owner: &str) -> usize {
        self.pods.keys().filter(|(whose, _)| whose == owner).count()
    }

    pub(crate) fn create(
        &mut self,
        owner: &str,
        uid: &str,
        given: Submission,
        now: u64,
    ) -> Result<(bool, View), Refusal> {
        let plan = order(uid, &given)?.plan;
        self.advance(now);
        let key = (owner.to_owned(), uid.to_owned());
        let made = !self.pods.contains_key(&key);
        if made {
            let facts = Facts { created: now, ..Facts::default() };
            let pod = Pod { submission: given, plan, facts, status: None, changed: Vec::new(), revision: 0, due: None };
            self.pods.insert(key.clone(), pod);
            self.touch(&key, now);
        }
        let count = self.count(uid);
        count.creates += 1;
        count.made += u64::from(made);
        self.pods.get(&key).map(|pod| (made, pod.view(now))).ok_or(Refusal::Absent)
    }

    pub(crate) fn update(
        &mut self,
        owner: &str,
        uid: &str,
        given: Submission,
        changed: Vec<String>,
        now: u64,
    ) -> Result<View, Refusal> {
        let plan = order(uid, &given)?.plan;
        self.advance(now);
        let key = (owner.to_owned(), uid.to_owned());
        let pod = self.pods.get_mut(&key).ok_or(Refusal::Absent)?;
        pod.submission = given;
        pod.plan = plan;
        pod.changed.push(changed);
        let view = pod.view(now);
        self.touch(&key, now);
        self.count(uid).updates += 1;
        Ok(view)
    }

    pub(crate) fn delete(&mut self, owner: &str, uid: &str, grace: u64, now: u64) -> Result<Deleted, Refusal> {
        self.advance(now);
        self.count(uid).deletes += 1;
        let key = (owner.to_owned(), uid.to_owned());
        let pod = self.pods.get_mut(&key).ok_or(Refusal::Absent)?;
        let stops = pod.plan.stop(&pod.facts, grace, now);
        pod.facts.stops = Some(stops);
        if stops > now {
            self.touch(&key, now);
            return Ok(Deleted { gone: false });
        }
        self.discard(&key, now);
        Ok(Deleted { gone: true })
    }

    pub(crate) fn get(&mut self, owner: &str, uid: &str, sight: Sight, now: u64) -> Result<View, Refusal> {
        self.advance(now);
        if sight == Sight::Present {
            let key = (owner.to_owned(), uid.to_owned());
            return self.pods.get(&key).map(|pod| pod.view(now)).ok_or(Refusal::Absent);
        }
        let mut seen = self.seen(owner, "", sight, now);
        seen.find(|(each, _)| each == uid).map(|(_, view)| view).ok_or(Refusal::Absent)
    }

    pub(crate) fn details(&mut self, owner: &str, uid: &str, now: u64) -> Result<Details, Refusal> {
        self.advance(now);
        let pod = self.pods.get(&(owner.to_owned(), uid.to_owned())).ok_or(Refusal::Absent)?;
        Ok(Details { state: pod.plan.state(&pod.facts, now), workload: order(uid, &pod.submission)?.workload })
    }

    pub(crate) fn list(&mut self, owner: &str, after: &str, limit: usize, sight: Sight, now: u64) -> Listing {
        self.advance(now);
        let cursor = self.cursor(self.revision_of(sight, now));
        let limit = limit.max(1);
        let mut pods: Vec<_> = self.seen(owner, after, sight, now).take(limit + 1).collect();
        let more = pods.len() > limit;
        pods.truncate(limit);
        let next = if more { pods.last().map(|(uid, _)| uid.clone()) } else { None };
        Listing { pods: pods.into_iter().map(|(_, view)| view).collect(), next, cursor }
    }

    pub(crate) fn changes(&mut self, owner: &str, since: &str, sight: Sight, now: u64) -> Result<Changes, Refusal> {
        self.advance(now);
        let since = self.read_cursor(since).ok_or(Refusal::Forgotten)?;
        // Whoever sees nothing goes on from where he was.
        let until = if sight == Sight::Nothing { since } else { self.revision_of(sight, now).max(since) };
        let (mut changed, mut removed) = (Vec::new(), Vec::new());
        let notes = self.journal.range(since + 1..).take_while(|(revision, _)| **revision <= until);
        for (_, note) in notes.filter(|(_, note)| note.key.0 == owner) {
            match &note.removed {
                Some(id) => removed.push(id.clone()),
                None => changed.extend(self.pods.get(&note.key).map(|pod| pod.view(now))),
            }
        }
        Ok(Changes { changed, removed, cursor: self.cursor(until) })
    }

    pub(crate) fn finish(&mut self, uid: &str, finish: Finish, now: u64) -> bool {
        self.change(uid, now, |pod| pod.facts.finished = Some(finish))
    }

    pub(crate) fn set_status(&mut self, uid: &str, status: Option<Box<RawValue>>, now: u64) -> bool {
        self.change(uid, now, |pod| pod.status = status)
    }

    pub(crate) fn vanish(&mut self, uid: &str, now: u64) -> bool {
        self.advance(now);
        match self.key(uid) {
            Some(key) => {
                self.remove(&key, now);
                true
            }
            None => false,
        }
    }

    pub(crate) fn stored(&mut self, now: u64) -> Vec<Stored> {
        self.advance(now);
        let value = |raw: &RawValue| serde_json::from_str(raw.get()).unwrap_or_default();
        let stored = self.pods.iter().map(|((owner, _), pod)| Stored {
            owner: owner.clone(),
            id: pod.submission.id.clone(),
            created: pod.facts.created,
            manifest: value(&pod.submission.manifest),
            volumes: pod.submission.volumes.clone(),
            logins: pod.submission.logins.clone(),
            objects: pod.submission.objects.iter().map(|object| value(object)).collect(),
            changed: pod.changed.clone(),
            state: pod.plan.state(&pod.facts, now),
            stopping: pod.facts.stops.is_some(),
        });
        stored.collect()
    }

    /// Notes what has happened by itself until a time.
    fn advance(&mut self, now: u64) {
        while let Some((_, key)) = self.due.first().filter(|(at, _)| *at <= now).cloned() {
            self.due.pop_first();
            let Some(pod) = self.pods.get_mut(&key) else { continue };
            pod.due = None;
            if pod.facts.stops.is_some_and(|at| at <= now) {
                self.discard(&key, now);
            } else {
                self.touch(&key, now);
            }
        }
    }

    fn change(&mut self, uid: &str, now: u64, change: impl FnOnce(&mut Pod)) -> bool {
        self.advance(now);
        let Some(key) = self.key(uid) else { return false };
        if let Some(pod) = self.pods.get_mut(&key) {
            change(pod);
        }
        self.touch(&key, now);
        true
    }

    /// Gives a pod that changed the next revision, and finds out when it changes next.
    fn touch(&mut self, key: &Key, now: u64) {
        let revision = self.note(key, None, now);
        let Some(pod) = self.pods.get_mut(key) else { return };
        self.journal.remove(&pod.revision);
        pod.revision = revision;
        let due = pod.plan.next_change(&pod.facts, now);
        if let Some(at) = std::mem::replace(&mut pod.due, due) {
            self.due.remove(&(at, key.clone()));
        }
        if let Some(at) = due {
            self.due.insert((at, key.clone()));
        }
    }

    /// Removes a pod at its provider's wish.
    fn discard(&mut self, key: &Key, now: u64) {
        self.remove(key, now);
        self.count(&key.1).gone += 1;
    }

    fn remove(&mut self, key: &Key, now: u64) {
        let Some(pod) = self.pods.remove(key) else { return };
        self.journal.remove(&pod.revision);
        if let Some(at) = pod.due {
            self.due.remove(&(at, key.clone()));
        }
        self.note(key, Some(pod.submission.id.clone()), now);
        self.removed.push_back(Removed { at: now, key: key.clone(), pod });
        if self.removed.len() > REMEMBERED {
            self.removed.pop_front();
        }
    }

    fn note(&mut self, key: &Key, removed: Option<Id>, now: u64) -> u64 {
        self.revision += 1;
        self.journal.insert(self.revision, Note { at: now, key: key.clone(), removed });
        if self.journal.len() > REMEMBERED
            && let Some((revision, _)) = self.journal.pop_first()
        {
            self.forgotten = revision;
        }
        self.revision
    }

    fn count(&mut self, uid: &str) -> &mut Count {
        self.counts.pods.entry(uid.to_owned()).or_default()
    }

    fn key(&self, uid: &str) -> Option<Key> {
        self.pods.keys().find(|(_, each)| each == uid).cloned()
    }

    /// What a request gets to see of an owner's pods after a uid, in the order of their uids.
    fn seen<'a>(
        &'a self,
        owner: &'a str,
        after: &str,
        sight: Sight,
        now: u64,
    ) -> Box<dyn Iterator<Item = (String, View)> + 'a> {
        let after = (owner.to_owned(), after.to_owned());
        let here =
            self.pods.range((Bound::Excluded(&after), Bound::Unbounded)).take_while(move |(key, _)| key.0 == owner);
        let at = match sight {
            Sight::Present => return Box::new(here.map(move |((_, uid), pod)| (uid.clone(), pod.view(now)))),
            Sight::Nothing => return Box::new(std::iter::empty()),
            Sight::Ago(ago) => now.saturating_sub(ago),
            Sight::At(at) => at,
        };
        let gone =
            self.removed.iter().filter(|removed| removed.at > at && removed.key.0 == owner && removed.key > after);
        let gone = gone.map(|removed| (&removed.key, &removed.pod));
        let then: BTreeMap<_, _> = here
            .chain(gone)
            .filter(|(_, pod)| pod.facts.created <= at)
            .map(|((_, uid), pod)| (uid.clone(), pod.view(at)))
            .collect();
        Box::new(then.into_iter())
    }

    /// The newest revision that a request gets to see.
    fn revision_of(&self, sight: Sight, now: u64) -> u64 {
        let at = match sight {
            Sight::Present | Sight::Nothing => return self.revision,
            Sight::Ago(ago) => now.saturating_sub(ago),
            Sight::At(at) => at,
        };
        let seen = self.journal.iter().rev().find(|(_, note)| note.at <= at);
        seen.map_or(self.forgotten, |(revision, _)| *revision)
    }

    fn cursor(&self, revision: u64) -> String {
        format!("{}-{revision}", self.identity)
    }

    fn read_cursor(&self, cursor: &str) -> Option<u64> {
        let (identity, revision) = cursor.split_once('-')?;
        let (identity, revision): (u64, u64) = (identity.parse().ok()?, revision.parse().ok()?);
        (identity == self.identity && (self.forgotten..=self.revision).contains(&revision)).then_some(revision)
    }
}

fn order(uid: &str, given: &Submission) -> Result<Order, Refusal> {
    if given.id.uid != uid {
        return Err(Refusal::Mismatch(format!("the body is of pod {}, not {uid}", given.id.uid)));
    }
    Order::parse(given.manifest.get()).map_err(|problem| Refusal::Malformed(problem.to_string()))
}
