//! Waiting without sleeping: for objects by a watch, for everything else by looking again.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Debug,
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow, bail};
use futures::{StreamExt as _, pin_mut};
use kube::{
    Api, Resource, ResourceExt as _,
    runtime::{WatchStreamExt as _, watcher},
};
use serde::{Serialize, de::DeserializeOwned};
use tokio::{sync::Notify, time};

/// How long is waited for what should take no longer than a few seconds on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(40);

/// How often is looked at what cannot be watched.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Objects in a timeout's message.
const SHOWN_OBJECTS: usize = 4;
/// Characters of each.
const SHOWN_CHARACTERS: usize = 900;

/// The objects of a watch, by uid.
pub type Seen<K> = BTreeMap<String, K>;

/// Watches until the objects of the selection satisfy `enough`, which also sees an empty selection.
///
/// # Errors
///
/// If they do not `within` that time; the error says `what` was awaited and what was there last.
pub async fn until<K>(
    api: Api<K>,
    selection: watcher::Config,
    what: &str,
    within: Duration,
    mut enough: impl FnMut(&Seen<K>) -> bool,
) -> Result<Seen<K>>
where
    K: Resource + Clone + DeserializeOwned + Debug + Serialize + Send + 'static,
{
    let events = watcher(api, selection).default_backoff();
    pin_mut!(events);
    let mut seen = Seen::new();
    let mut listing = Seen::new();
    let mut trouble = None;
    let watching = async {
        while let Some(event) = events.next().await {
            match event {
                Ok(watcher::Event::Init) => {
                    listing.clear();
                    continue;
                }
                Ok(watcher::Event::InitApply(object)) => {
                    listing.insert(object.uid().unwrap_or_default(), object);
                    continue;
                }
                Ok(watcher::Event::InitDone) => seen = std::mem::take(&mut listing),
                Ok(watcher::Event::Apply(object)) => {
                    seen.insert(object.uid().unwrap_or_default(), object);
                }
                Ok(watcher::Event::Delete(object)) => {
                    seen.remove(&object.uid().unwrap_or_default());
                }
                Err(error) => {
                    trouble = Some(error.to_string());
                    continue;
                }
            }
            if enough(&seen) {
                return;
            }
        }
    };
    if time::timeout(within, watching).await.is_ok() {
        return Ok(seen);
    }
    let trouble = trouble.map(|trouble| format!(" (the watch said: {trouble})")).unwrap_or_default();
    bail!("waited {within:?} for {what}{trouble}; last seen: {}", show(&seen));
}

/// Watches objects while `work` goes on, which begins when all that there are have been seen. The first of them that is not
/// as it must be, or goes, ends both.
///
/// # Errors
///
/// If one is not; the error says which, `what` it must be, and how it is. If there is none to watch. And if `work` fails.
pub async fn throughout<K, T>(
    api: Api<K>,
    selection: watcher::Config,
    what: &str,
    mut holds: impl FnMut(&K) -> bool,
    work: impl Future<Output = Result<T>>,
) -> Result<T>
where
    K: Resource + Clone + DeserializeOwned + Debug + Serialize + Send + 'static,
{
    let events = watcher(api, selection).default_backoff();
    pin_mut!(events);
    let listed_all = Notify::new();
    let watching = async {
        let mut seen = BTreeSet::new();
        let mut listed = BTreeSet::new();
        while let Some(event) = events.next().await {
            match event {
                Ok(watcher::Event::Init) => listed.clear(),
                Ok(watcher::Event::InitApply(object) | watcher::Event::Apply(object)) => {
                    if !holds(&object) {
                        return anyhow!("{} is not {what}: {}", object.name_any(), show_one(&object));
                    }
                    listed.insert(object.name_any());
                    seen.insert(object.name_any());
                }
                Ok(watcher::Event::InitDone) => {
                    if let Some(name) = seen.difference(&listed).next() {
                        return anyhow!("{name} is gone, which was to be {what}");
                    }
                    if seen.is_empty() {
                        return anyhow!("there is nothing that could be {what}");
                    }
                    listed_all.notify_one();
                }
                Ok(watcher::Event::Delete(object)) => {
                    return anyhow!("{} is gone, which was to be {what}", object.name_any());
                }
                // A watch that broke is resumed, and what was missed comes then.
                Err(_) => {}
            }
        }
        anyhow!("the watch ended")
    };
    let working = async {
        let begun = time::timeout(PATIENCE, listed_all.notified()).await;
        begun.with_context(|| format!("waited {PATIENCE:?} for a list of what is to be {what}"))?;
        work.await
    };
    tokio::select! {
        done = working => done,
        broken = watching => Err(broken),
    }
}

/// Looks until there is an answer. What `look` says meanwhile is shown if there never is one.
///
/// # Errors
///
/// If there is none `within` that time; the error says `what` was awaited and what was seen last.
pub async fn eventually<T>(
    what: &str,
    within: Duration,
    mut look: impl AsyncFnMut() -> Result<T, String>,
) -> Result<T> {
    let mut last = "nothing".to_owned();
    let looking = async {
        let mut ticks = time::interval(LOOK_EVERY);
        loop {
            ticks.tick().await;
            match look().await {
                Ok(answer) => return answer,
                Err(seen) => last = seen,
            }
        }
    };
    let found = time::timeout(within, looking).await;
    found.map_err(|_| anyhow!("waited {within:?} for {what}; last seen: {last}"))
}

fn show<K: Resource + Serialize>(seen: &Seen<K>) -> String {
    let objects = seen.values().take(SHOWN_OBJECTS);
    let objects = objects.map(|object| format!("\n  {}: {}", object.name_any(), show_one(object)));
    format!("{} objects{}", seen.len(), objects.collect::<String>())
}

fn show_one<K: Serialize>(object: &K) -> String {
    let mut value = serde_json::to_value(object).unwrap_or_default();
    // Names and states are what one looks for.
    if let Some(metadata) = value.get_mut("metadata").and_then(|metadata| metadata.as_object_mut()) {
        metadata.remove("managedFields");
    }
    let shown = value.get("status").map_or_else(|| value.to_string(), ToString::to_string);
    shown.chars().take(SHOWN_CHARACTERS).collect()
}
