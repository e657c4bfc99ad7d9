//! What travels between the mock and its backend.
//!
//! ```text
//!   PUT    /owners/{owner}/pods/{uid}              Submission -> View     201 made, 200 was there
//!   PATCH  /owners/{owner}/pods/{uid}?changed=…    Submission -> View
//!   GET    /owners/{owner}/pods/{uid}                         -> View
//!   GET    /owners/{owner}/pods/{uid}/details                 -> Details
//!   DELETE /owners/{owner}/pods/{uid}?grace=…                 -> Deleted
//!   GET    /owners/{owner}/pods?limit=…&after=…               -> Listing
//!   GET    /owners/{owner}/changes?since=…                    -> Changes  410 if too much was forgotten since
//! ```

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{PodState, Workload};

/// Names a pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "as in the contract")]
pub struct Id {
    pub namespace: String,
    pub name: String,
    pub uid: String,
}

/// A pod as the provider was given it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Submission {
    /// Which pod.
    pub id: Id,
    /// The resolved manifest, untouched.
    pub manifest: Box<RawValue>,
    /// The contents of its volumes.
    pub volumes: Vec<Volume>,
    /// How to pull its images.
    pub logins: Vec<Login>,
    /// What else it refers to.
    pub objects: Vec<Box<RawValue>>,
}

/// The resolved contents of a volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "as in the contract")]
pub struct Volume {
    pub name: String,
    pub files: Vec<File>,
}

/// A file of a volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "as in the contract")]
pub struct File {
    pub path: String,
    pub mode: u32,
    /// In base64 on the wire.
    #[serde(with = "crate::base64")]
    pub data: Vec<u8>,
}

/// Credentials for an image registry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "as in the contract")]
pub struct Login {
    pub server: String,
    pub username: String,
    pub password: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity_token: Option<String>,
}

/// A pod as the backend has it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct View {
    /// Which pod.
    pub id: Id,
    /// How it is.
    pub state: PodState,
    /// A core/v1 PodStatus that a test has set: handed on untouched, in place of `state`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<Box<RawValue>>,
}

/// A pod in all detail.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Details {
    /// How it is.
    pub state: PodState,
    /// What its containers are seen to do.
    pub workload: Workload,
}

/// The answer to a deletion.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deleted {
    /// Whether nothing is left; otherwise it is stopping.
    pub gone: bool,
}

/// A part of a listing.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Listing {
    /// Pods in the order of their uids.
    pub pods: Vec<View>,
    /// The last uid of this part, if there are more: to be sent as `after`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// Where changes after this listing begin: of a listing in parts, that of the first.
    pub cursor: String,
}

/// What changed since a cursor.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Changes {
    /// Pods that are there.
    pub changed: Vec<View>,
    /// Pods that are gone.
    pub removed: Vec<Id>,
    /// Where to go on.
    pub cursor: String,
}
