//! The objects that pods use, each read once and watched while at least one pod uses it.
//!
//! ```text
//!  Links of pod a ──share──> Entry (secret x) <── Follower: list, then watch one name
//!  Links of pod b ──share──>   │ state, who is told of changes
//! ```
//!
//! An entry is owned by its task, which publishes the state and ends a while after the last share.

use std::{
    collections::{HashMap, hash_map},
    marker::PhantomData,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::TryStreamExt;
use k8s_openapi::{
    ListableResource,
    api::core::v1::{ConfigMap, Secret},
};
use kube::{
    Client, Resource,
    api::{ListParams, WatchEvent, WatchParams},
};
use serde::de::DeserializeOwned;
use tokio::{
    sync::{Notify, watch},
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::metrics::{Metrics, Watched};

use super::{
    api::{self, Delays, REFUSAL_DOUBT},
    objects::{Key, Kind, Object, State},
};

/// How long an object without users stays watched, so that the pods of a rolling update share one watch.
const LINGER: Duration = Duration::from_secs(30);
/// How long the API server keeps a watch open; it is then resumed.
const WATCH_TIME: Duration = Duration::from_secs(290);
/// How long a connection may be silent beyond that before it counts as dead.
const SILENCE: Duration = Duration::from_secs(15);
/// A watch that ends sooner is resumed with a delay.
const SHORT_WATCH: Duration = Duration::from_secs(5);
const LIST_TIME: Duration = Duration::from_secs(30);

/// All objects in use.
pub(super) struct Cache {
    client: Client,
    metrics: Metrics,
    shutdown: CancellationToken,
    entries: Mutex<HashMap<Key, Arc<Entry>>>,
}

struct Entry {
    key: Key,
    state: watch::Sender<State>,
    users: Mutex<Users>,
    /// The last user left.
    idle: Notify,
}

/// Whom to tell of changes.
#[derive(Default)]
struct Users {
    next: u64,
    told: HashMap<u64, Arc<Notify>>,
}

/// One user's claim that an object be watched. Dropping it ends the claim.
pub(super) struct Share {
    entry: Arc<Entry>,
    user: u64,
}

impl Cache {
    pub(super) fn new(client: Client, metrics: Metrics, shutdown: CancellationToken) -> Arc<Cache> {
        Arc::new(Cache { client, metrics, shutdown, entries: Mutex::default() })
    }

    /// Watches an object, and tells of its changes from here on.
    pub(super) fn share(self: &Arc<Cache>, key: &Key, told: Arc<Notify>) -> Share {
        // The user is added under the lock of the map, so that no entry is removed between the two.
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = match entries.entry(key.clone()) {
            hash_map::Entry::Occupied(entry) => entry.get().clone(),
            hash_map::Entry::Vacant(vacant) => {
                let entry = Arc::new(Entry {
                    key: key.clone(),
                    state: watch::Sender::new(State::Unread(None)),
                    users: Mutex::default(),
                    idle: Notify::new(),
                });
                vacant.insert(entry.clone());
                tokio::spawn(self.clone().keep(entry.clone()));
                entry
            }
        };
        let mut users = entry.users.lock().unwrap_or_else(PoisonError::into_inner);
        let user = users.next;
        users.next += 1;
        users.told.insert(user, told);
        drop(users);
        Share { entry, user }
    }

    /// Follows an object until nobody has used it for a while.
    async fn keep(self: Arc<Cache>, entry: Arc<Entry>) {
        let follow = async {
            match entry.key.kind {
                Kind::ConfigMap => Follower::<ConfigMap>::new(&self, &entry, Watched::ConfigMaps).follow().await,
                Kind::Secret => Follower::<Secret>::new(&self, &entry, Watched::Secrets).follow().await,
            }
        };
        let unused = async {
            loop {
                entry.idle.notified().await;
                // Every time that it is used and left again counts from the beginning.
                while timeout(LINGER, entry.idle.notified()).await.is_ok() {}
                if self.remove_unused(&entry) {
                    return;
                }
            }
        };
        tokio::select! {
            () = follow => {}
            () = unused => {}
            () = self.shutdown.cancelled() => {}
        }
    }

    fn remove_unused(&self, entry: &Entry) -> bool {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let unused = entry.users.lock().unwrap_or_else(PoisonError::into_inner).told.is_empty();
        if unused {
            entries.remove(&entry.key);
        }
        unused
    }
}

impl Share {
    /// What is known at present.
    pub(super) fn state(&self) -> State {
        self.entry.state.borrow().clone()
    }

    /// Completes when the API server has said whether the object exists.
    pub(super) async fn known(&self) {
        let mut state = self.entry.state.subscribe();
        // The sender is in the entry, so this ends only with the answer.
        let _ = state.wait_for(|state| !matches!(state, State::Unread(_))).await;
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut users = self.entry.users.lock().unwrap_or_else(PoisonError::into_inner);
        users.told.remove(&self.user);
        if users.told.is_empty() {
            self.entry.idle.notify_one();
        }
    }
}

impl Entry {
    /// Publishes what the API server said.
    fn publish(&self, object: Option<Object>) {
        let next = object.map_or(State::Missing, |object| State::Found(Arc::new(object)));
        let differs = match (&*self.state.borrow(), &next) {
            (State::Found(before), State::Found(after)) => !before.same_contents(after),
            (State::Missing, State::Missing) => false,
            _ => true,
        };
        self.state.send_replace(next);
        if differs {
            self.tell();
        }
    }

    /// Publishes that it could not be asked. What was known stays.
    fn publish_failure(&self, error: &kube::Error, since: Instant) {
        let denied = api::code(error) == Some(403) && since.elapsed() >= REFUSAL_DOUBT;
        let differs = self.state.send_if_modified(|state| match state {
            State::Unread(_) if denied => {
                *state = State::Denied;
                true
            }
            State::Unread(words) => {
                *words = Some(api::request_error(error));
                false
            }
            State::Found(_) | State::Missing | State::Denied => false,
        });
        if differs {
            self.tell();
        }
    }

    fn tell(&self) {
        for user in self.users.lock().unwrap_or_else(PoisonError::into_inner).told.values() {
            user.notify_one();
        }
    }
}

/// Keeps an entry in step with the cluster.
struct Follower<'a, K> {
    client: &'a Client,
    metrics: &'a Metrics,
    watched: Watched,
    entry: &'a Entry,
    path: kube::core::Request,
    fields: String,
    kind: PhantomData<K>,
}

impl<'a, K> Follower<'a, K>
where
    K: Resource<DynamicType = ()> + ListableResource + Clone + DeserializeOwned + Into<Object>,
{
    fn new(cache: &'a Cache, entry: &'a Entry, watched: Watched) -> Self {
        let Key { namespace, name, .. } = &entry.key;
        Follower {
            client: &cache.client,
            metrics: &cache.metrics,
            watched,
            entry,
            path: kube::core::Request::new(K::url_path(&(), Some(namespace))),
            fields: format!("metadata.name={name}"),
            kind: PhantomData,
        }
    }

    /// Never ends.
    async fn follow(&self) {
        let began = Instant::now();
        let mut delays = Delays::default();
        loop {
            let (object, version) = match timeout(LIST_TIME, self.list()).await {
                Ok(Ok(listed)) => listed,
                failed => {
                    self.metrics.watch_failed(self.watched);
                    if let Ok(Err(error)) = failed {
                        self.entry.publish_failure(&error, began);
                    }
                    sleep(delays.next_delay()).await;
                    continue;
                }
            };
            self.metrics.listed(self.watched);
            delays = Delays::default();
            let immutable = object.as_ref().is_some_and(|object| object.immutable);
            self.entry.publish(object);
            if immutable || self.watch_from(version).await {
                // It cannot change, so there is nothing to watch.
                return std::future::pending().await;
            }
            sleep(delays.next_delay()).await;
        }
    }

    async fn list(&self) -> kube::Result<(Option<Object>, String)> {
        let request = self.path.list(&ListParams::default().fields(&self.fields)).map_err(kube::Error::BuildRequest)?;
        let text = self.client.request_text(request).await?;
        let list: k8s_openapi::List<K> = serde_json::from_str(&text).map_err(kube::Error::SerdeError)?;
        Ok((list.items.into_iter().next().map(Into::into), list.metadata.resource_version.unwrap_or_default()))
    }

    /// Watches from a version on, until the object is immutable (`true`) or must be listed again (`false`).
    async fn watch_from(&self, mut version: String) -> bool {
        let mut delays = Delays::default();
        loop {
            let began = Instant::now();
            match self.watch_once(&mut version).await {
                Ok(true) => return true,
                Ok(false) => {}
                Err(error) => {
                    self.metrics.watch_failed(self.watched);
                    if api::code(&error).is_some() {
                        // Above all 410: the version is too old to go on from.
                        let Key { kind, namespace, name } = &self.entry.key;
                        tracing::debug!(%kind, namespace, name, error = api::request_error(&error), "watch ended");
                        return false;
                    }
                }
            }
            if began.elapsed() >= SHORT_WATCH {
                delays = Delays::default();
            } else {
                sleep(delays.next_delay()).await;
            }
        }
    }

    /// One watch. Answers whether the object is immutable, and leaves in `version` from where to go on.
    async fn watch_once(&self, version: &mut String) -> kube::Result<bool> {
        let seconds = u32::try_from(WATCH_TIME.as_secs()).unwrap_or(290);
        let params = WatchParams::default().fields(&self.fields).timeout(seconds);
        let request = self.path.watch(&params, version).map_err(kube::Error::BuildRequest)?;
        let mut events = std::pin::pin!(self.client.request_events::<K>(request).await?);
        let _watched = self.metrics.reference(self.watched);
        while let Ok(event) = timeout(WATCH_TIME + SILENCE, events.try_next()).await {
            match event? {
                Some(WatchEvent::Added(object) | WatchEvent::Modified(object)) => {
                    self.metrics.changed(self.watched);
                    let object: Object = object.into();
                    version.clone_from(&object.resource_version);
                    let immutable = object.immutable;
                    self.entry.publish(Some(object));
                    if immutable {
                        return Ok(true);
                    }
                }
                Some(WatchEvent::Deleted(object)) => {
                    self.metrics.changed(self.watched);
                    *version = object.into().resource_version;
                    self.entry.publish(None);
                }
                Some(WatchEvent::Bookmark(bookmark)) => *version = bookmark.metadata.resource_version,
                Some(WatchEvent::Error(status)) => return Err(kube::Error::Api(status)),
                None => break,
            }
        }
        Ok(false)
    }
}

#[cfg(test)]
impl Cache {
    /// How many objects are in it.
    pub(super) fn len(&self) -> usize {
        self.entries.lock().unwrap().len()
    }
}
