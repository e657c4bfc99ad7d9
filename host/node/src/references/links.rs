//! A pod's hold on the objects that it refers to.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    fmt,
    sync::Arc,
    time::Duration,
};

use futures::{FutureExt, future::join_all};
use tokio::{
    sync::Notify,
    time::{Instant, sleep, timeout_at},
};

use super::{
    Notice,
    cache::{Cache, Share},
    objects::{Key, Objects},
    tokens::Tokens,
};

/// How often a claim is asked for that is missing or not bound: a node identity may read claims, but not watch them.
const CLAIM_INTERVAL: Duration = Duration::from_secs(5);

/// Keeps the objects that one pod uses watched, and the pod's tokens. Dropping it ends the pod's share: with the last one
/// a watch ends.
#[derive(Default)]
pub(crate) struct Links {
    shares: BTreeMap<Key, Share>,
    changed: Arc<Notify>,
    pub(super) tokens: Tokens,
    /// Something is awaited that cannot be watched.
    pub(super) awaits_claim: bool,
    told: HashSet<Notice>,
}

impl Links {
    /// Completes when any of the objects changed since the last resolution, also when a missing one is created. Cancel
    /// safe.
    pub(crate) async fn changed(&self) {
        tokio::select! {
            () = self.changed.notified() => {}
            () = sleep(CLAIM_INTERVAL), if self.awaits_claim => {}
        }
    }

    /// Watches these objects in addition to those that are watched already.
    pub(super) fn add(&mut self, cache: &Arc<Cache>, keys: &BTreeSet<Key>) {
        for key in keys {
            self.shares.entry(key.clone()).or_insert_with(|| cache.share(key, self.changed.clone()));
        }
    }

    /// Watches no others than these objects from here on.
    pub(super) fn keep_only(&mut self, keys: &BTreeSet<Key>) {
        self.shares.retain(|key, _| keys.contains(key));
    }

    /// Waits until all objects were read, but not beyond the deadline, and says what is known of them.
    pub(super) async fn read(&self, deadline: Instant) -> Objects {
        // Whoever is late is seen as unread.
        let _ = timeout_at(deadline, join_all(self.shares.values().map(Share::known))).await;
        // What changed up to here is in what is read next.
        let _ = self.changed.notified().now_or_never();
        self.shares.iter().map(|(key, share)| (key.clone(), share.state())).collect()
    }

    /// Those notices that were not given before. `complete`: nothing else is to be noticed at present, so what is not
    /// among them no longer holds.
    pub(super) fn untold(&mut self, notices: Vec<Notice>, complete: bool) -> Vec<Notice> {
        let before = std::mem::take(&mut self.told);
        let mut untold = Vec::new();
        for notice in notices {
            if self.told.insert(notice.clone()) && !before.contains(&notice) {
                untold.push(notice);
            }
        }
        if !complete {
            self.told.extend(before);
        }
        untold
    }
}

impl fmt::Debug for Links {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Links").field("objects", &self.shares.keys().collect::<Vec<_>>()).finish_non_exhaustive()
    }
}
