//! What was seen of each group, in the cache that all instances share.
//!
//! Any of it may be forgotten: the next listing brings the group back, and looks at it at once.

use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use vk_sdk::{PodId, cache, status::PodStatus};

use crate::{
    clock::milliseconds,
    events::Told,
    group::ContainerGroup,
    status::{self, Motion},
};

/// Renewed with every look and every listing.
const LIFETIME: Duration = Duration::from_secs(3600);
/// For so long after a group was made the service may still not show it.
const LAG: Duration = Duration::from_secs(15);
/// For so long after a group was removed a listing may still name it.
const BURIAL: Duration = Duration::from_secs(60);
/// For so long a removal under way is not asked for again.
const REMOVAL: Duration = Duration::from_secs(60);
/// How soon a group may be read again: the longer it stays as it is, the later.
const SOONEST: Duration = Duration::from_secs(2);
pub(crate) const LATEST: Duration = Duration::from_secs(10);

/// What is known of a group. Times are in milliseconds since 1970.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Memory {
    namespace: String,
    name: String,
    pub(crate) motion: Motion,
    /// The state of the request to make it, the one thing that listings tell too.
    pub(crate) provisioning: Option<String>,
    /// When it is to be read; 0 if something is known to have happened.
    pub(crate) due: u64,
    /// Since when it is as it is.
    since: u64,
    /// A mark of the status that was seen last.
    status: u64,
    /// When it was made, until the service has shown it.
    made: Option<u64>,
    /// When its removal was asked for.
    removed: Option<u64>,
    /// When the service was seen to have it no more.
    buried: Option<u64>,
    told: Option<Told>,
    /// The listing that named it last.
    pub(crate) listed: u64,
}

impl Memory {
    /// Of a group of which no more is known than that it is there.
    pub(crate) fn new(pod: &PodId, now: SystemTime) -> Self {
        let now = milliseconds(now);
        Self {
            namespace: pod.namespace.clone(),
            name: pod.name.clone(),
            motion: Motion::Moving,
            provisioning: None,
            due: now,
            since: now,
            status: 0,
            made: None,
            removed: None,
            buried: None,
            told: None,
            listed: 0,
        }
    }

    /// Of a group that is about to be made.
    pub(crate) fn made(pod: &PodId, now: SystemTime) -> Self {
        let due = after(now, SOONEST);
        Self { made: Some(milliseconds(now)), told: Some(Told::new()), due, ..Self::new(pod, now) }
    }

    /// Of a group that is gone.
    fn buried(pod: &PodId, now: SystemTime) -> Self {
        Self { buried: Some(milliseconds(now)), due: u64::MAX, motion: Motion::Ended, ..Self::new(pod, now) }
    }

    /// Takes in what the service says of the group.
    pub(crate) fn seen(&mut self, group: &ContainerGroup, status: &PodStatus, told: Told, now: SystemTime) {
        self.begun(group, status, now);
        self.made = None;
        self.told = Some(told);
    }

    /// The same of its answer to the request to make the group, which it may not show to others yet.
    pub(crate) fn begun(&mut self, group: &ContainerGroup, status: &PodStatus, now: SystemTime) {
        self.motion = status::motion(group, status);
        self.provisioning = provisioning(group);
        let mark = mark(status);
        if self.status != mark {
            self.status = mark;
            self.since = milliseconds(now);
        }
        self.due = match self.motion {
            Motion::Moving | Motion::Running => self.again(now),
            // Listings tell when it is gone.
            Motion::Ended => u64::MAX,
        };
    }

    /// It could not be seen, or not yet.
    pub(crate) fn retry(&mut self, now: SystemTime) {
        self.due = self.again(now);
    }

    /// It is to be read at once: something is known to have happened.
    pub(crate) fn urge(&mut self) {
        self.due = 0;
    }

    pub(crate) fn is_urgent(&self) -> bool {
        self.due == 0
    }

    fn again(&self, now: SystemTime) -> u64 {
        let age = Duration::from_millis(milliseconds(now).saturating_sub(self.since));
        after(now, (age / 4).clamp(SOONEST, LATEST))
    }

    /// Whether the service has yet to show the group.
    pub(crate) fn is_unseen(&self) -> bool {
        self.made.is_some()
    }

    /// Whether a service that does not show the group may only be late.
    pub(crate) fn may_be_late(&self, now: SystemTime) -> bool {
        within(self.made, LAG, now)
    }

    pub(crate) fn removing(&mut self, now: SystemTime) {
        self.removed = Some(milliseconds(now));
    }

    pub(crate) fn is_removing(&self, now: SystemTime) -> bool {
        within(self.removed, REMOVAL, now)
    }

    pub(crate) fn is_buried(&self) -> bool {
        self.buried.is_some()
    }

    pub(crate) fn told(&self) -> Option<&Told> {
        self.told.as_ref()
    }

    /// Whether the group is still being brought up, as far as listings tell.
    pub(crate) fn is_provisioning(&self) -> bool {
        self.motion == Motion::Moving && self.provisioning.as_deref() != Some("Succeeded")
    }
}

fn mark(status: &PodStatus) -> u64 {
    Sha256::digest(status.to_json()).iter().take(8).fold(0, |mark, byte| mark << 8 | u64::from(*byte))
}

/// What listings, too, tell of a group's state.
pub(crate) fn provisioning(group: &ContainerGroup) -> Option<String> {
    group.properties.as_ref()?.provisioning_state.clone()
}

fn after(now: SystemTime, wait: Duration) -> u64 {
    milliseconds(now + wait)
}

fn within(begun: Option<u64>, time: Duration, now: SystemTime) -> bool {
    begun.is_some_and(|begun| u128::from(milliseconds(now).saturating_sub(begun)) < time.as_millis())
}

/// A memory as it was read.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) pod: PodId,
    pub(crate) memory: Memory,
    raw: Vec<u8>,
}

impl Kept {
    /// Writes it back as it is now; not if another instance has written or removed it since, which knows more.
    pub(crate) fn write_back(&self) {
        self.replace(&self.memory, LIFETIME);
    }

    /// As [`bury`], under the same condition. Says whether it holds.
    pub(crate) fn bury(&self, now: SystemTime) -> bool {
        self.replace(&Memory::buried(&self.pod, now), BURIAL)
    }

    fn replace(&self, memory: &Memory, lifetime: Duration) -> bool {
        serde_json::to_vec(memory)
            .is_ok_and(|value| cache::replace(&key(&self.pod.uid), Some(&self.raw), &value, lifetime))
    }
}

fn key(uid: &str) -> String {
    format!("{PREFIX}{uid}")
}

const PREFIX: &str = "group/";

/// What is known of a pod's group. A group that was seen to be gone counts as unknown.
pub(crate) fn of(uid: &str) -> Option<Kept> {
    read(uid).filter(|kept| !kept.memory.is_buried())
}

/// Of all groups, those too that are gone since a short while.
pub(crate) fn all() -> Vec<Kept> {
    cache::keys(PREFIX).iter().filter_map(|key| read(key.strip_prefix(PREFIX)?)).collect()
}

pub(crate) fn read(uid: &str) -> Option<Kept> {
    let raw = cache::get(&key(uid))?;
    let memory: Memory = serde_json::from_slice(&raw).ok()?;
    let pod =
        PodId { namespace: memory.namespace.clone(), name: memory.name.clone(), uid: uid.to_owned(), handle: None };
    Some(Kept { pod, memory, raw })
}

/// Keeps a memory; where that fails, the next listing makes it anew.
pub(crate) fn keep(uid: &str, memory: &Memory) {
    let _ = cache::set_json(&key(uid), memory, LIFETIME);
}

pub(crate) fn forget(uid: &str) {
    cache::remove(&key(uid));
}

/// Remembers for a while that the group is gone, since listings lag behind.
pub(crate) fn bury(pod: &PodId, now: SystemTime) {
    let _ = cache::set_json(&key(&pod.uid), &Memory::buried(pod, now), BURIAL);
}
