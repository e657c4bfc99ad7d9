//! Pods as they go to a provider, and what comes back.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

/// A JSON document in UTF-8.
pub type Json = String;

/// Written by the provider, kept and handed back unread.
pub type Cursor = Vec<u8>;

/// Names a pod.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PodId {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Alone identifies the pod.
    pub uid: String,
    /// The backend's own id, as the provider gave it; at most 4 KiB.
    pub handle: Option<String>,
}

/// A pod with every reference resolved. Cheap to clone.
#[derive(Clone, PartialEq)]
pub struct Pod {
    /// Which pod.
    pub id: PodId,
    /// The core/v1 Pod.
    pub manifest: Arc<str>,
    /// The contents of its volumes.
    pub volumes: Arc<[Volume]>,
    /// How to pull its images.
    pub logins: Arc<[Login]>,
    /// Other objects that it refers to.
    pub objects: Arc<[Json]>,
}

/// Manifest, files and logins hold secrets: only the names and sizes are shown.
impl std::fmt::Debug for Pod {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pod")
            .field("id", &self.id)
            .field("manifest bytes", &self.manifest.len())
            .field("volumes", &self.volumes.iter().map(|volume| &volume.name).collect::<Vec<_>>())
            .field("logins", &self.logins.len())
            .field("objects", &self.objects.len())
            .finish()
    }
}

/// The resolved contents of a volume.
#[derive(Clone, PartialEq, Eq)]
pub struct Volume {
    /// The volume's name in the pod.
    pub name: String,
    /// Its files, sorted by path.
    pub files: Vec<File>,
}

/// A file of a volume.
#[derive(Clone, PartialEq, Eq)]
pub struct File {
    /// Relative to the volume, without `..`.
    pub path: String,
    /// Permission bits.
    pub mode: u32,
    /// The content.
    pub data: Vec<u8>,
}

/// Credentials for an image registry.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    /// The registry, as the pull secret names it.
    pub server: String,
    /// The user.
    pub username: String,
    /// The password.
    pub password: String,
    /// A token that some registries use in place of the password.
    pub identity_token: Option<String>,
}

/// Which parts of a pod changed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Aspects {
    /// Labels or annotations.
    pub metadata: bool,
    /// The spec.
    pub spec: bool,
    /// Contents of volumes.
    pub volumes: bool,
    /// Image pull credentials.
    pub logins: bool,
}

impl Aspects {
    /// Whether anything changed.
    pub fn any(self) -> bool {
        self.metadata || self.spec || self.volumes || self.logins
    }
}

/// The state of a pod in the backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observation {
    /// Which pod; its handle is set where the backend has an id of its own.
    pub pod: PodId,
    /// A core/v1 PodStatus as far as the backend knows; `None`: it exists, and nothing is known to have changed.
    pub status: Option<Json>,
}

/// How far a deletion is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deletion {
    /// Nothing of the pod is left.
    Gone,
    /// On its way; to be asked again.
    Stopping,
}

/// What the answer of a poll covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// What changed since the cursor.
    Changes,
    /// A part of a complete listing: more follows at once.
    Page,
    /// The end of a complete listing: what none of its pages named is gone.
    Last,
}

/// The answer of a poll.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changes {
    /// Pods that are there.
    pub observed: Vec<Observation>,
    /// Pods that are gone.
    pub removed: Vec<PodId>,
    /// What the two lists cover.
    pub extent: Extent,
    /// Where the next poll goes on; `None`: it begins a listing.
    pub next: Option<Cursor>,
    /// When to ask again. Unchecked; the caller clamps it.
    pub poll_after: Option<Duration>,
}

/// What a provider has to say about a pod, for `kubectl describe pod`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodEvent {
    /// About which pod.
    pub pod: PodId,
    /// About which of its containers.
    pub container: Option<String>,
    /// When it happened.
    pub at: SystemTime,
    /// Whether it is a warning.
    pub warning: bool,
    /// One word in CamelCase.
    pub reason: String,
    /// For people.
    pub message: String,
}
