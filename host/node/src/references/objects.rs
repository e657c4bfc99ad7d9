//! ConfigMaps and Secrets, reduced to what pods take from them, and what is said when one is missing.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::Arc,
};

use k8s_openapi::{
    ByteString,
    api::core::v1::{ConfigMap, Secret},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};

use super::{Notice, Unresolved};

/// Which kind of object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Kind {
    ConfigMap,
    Secret,
}

/// Names an object.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) kind: Kind,
    pub(super) namespace: String,
    pub(super) name: String,
}

/// An object as far as pods use it. Holds secrets.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Object {
    pub(super) uid: String,
    pub(super) resource_version: String,
    pub(super) immutable: bool,
    /// The type of a Secret.
    pub(super) secret_type: String,
    /// The only data that variables are taken from.
    pub(super) data: BTreeMap<String, Vec<u8>>,
    /// `binaryData` of a ConfigMap.
    pub(super) binary_data: BTreeMap<String, Vec<u8>>,
}

impl Object {
    /// Whether pods would see a difference.
    pub(super) fn same_contents(&self, other: &Object) -> bool {
        self.secret_type == other.secret_type && self.data == other.data && self.binary_data == other.binary_data
    }
}

impl fmt::Debug for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Object")
            .field("uid", &self.uid)
            .field("resource_version", &self.resource_version)
            .field("keys", &self.data.keys().chain(self.binary_data.keys()).collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

impl From<ConfigMap> for Object {
    fn from(object: ConfigMap) -> Object {
        Object {
            data: object.data.unwrap_or_default().into_iter().map(|(key, value)| (key, value.into_bytes())).collect(),
            binary_data: bytes(object.binary_data),
            ..described(object.metadata, object.immutable)
        }
    }
}

impl From<Secret> for Object {
    fn from(object: Secret) -> Object {
        Object {
            secret_type: object.type_.unwrap_or_default(),
            data: bytes(object.data),
            ..described(object.metadata, object.immutable)
        }
    }
}

fn described(metadata: ObjectMeta, immutable: Option<bool>) -> Object {
    Object {
        uid: metadata.uid.unwrap_or_default(),
        resource_version: metadata.resource_version.unwrap_or_default(),
        immutable: immutable == Some(true),
        secret_type: String::new(),
        data: BTreeMap::new(),
        binary_data: BTreeMap::new(),
    }
}

fn bytes(data: Option<BTreeMap<String, ByteString>>) -> BTreeMap<String, Vec<u8>> {
    data.unwrap_or_default().into_iter().map(|(key, value)| (key, value.0)).collect()
}

/// What is known of an object.
#[derive(Debug, Clone)]
pub(super) enum State {
    /// Not read yet; the text is the last error, if any.
    Unread(Option<String>),
    Found(Arc<Object>),
    /// The API server says that there is none.
    Missing,
    /// The API server does not let the node read it.
    Denied,
}

/// What was known of a pod's objects at one moment.
#[derive(Debug, Default)]
pub(super) struct Objects(HashMap<Key, State>);

impl FromIterator<(Key, State)> for Objects {
    fn from_iter<I: IntoIterator<Item = (Key, State)>>(states: I) -> Objects {
        Objects(states.into_iter().collect())
    }
}

impl Objects {
    /// The object, `None` if it is missing and was optional. `user` is what wants it, such as `volume "config"`.
    pub(super) fn find(
        &self,
        key: &Key,
        optional: bool,
        user: &dyn fmt::Display,
        notices: &mut Vec<Notice>,
    ) -> Result<Option<&Object>, Unresolved> {
        let Key { kind, name, .. } = key;
        let reasons = kind.reasons();
        let unreadable = if optional { reasons.optional_unreadable } else { reasons.mandatory_unreadable };
        match self.0.get(key) {
            Some(State::Found(object)) => Ok(Some(object)),
            Some(State::Missing) if optional => {
                notices.push(Notice {
                    reason: reasons.optional_missing,
                    message: format!("skipping optional {user}: {kind} {name:?} not found"),
                });
                Ok(None)
            }
            Some(State::Missing) => Err(Unresolved::held(
                reasons.mandatory_missing,
                format!("{kind} {name:?} not found, wanted by {user}; the pod starts as soon as it is created"),
            )),
            Some(State::Denied) => Err(Unresolved::held(
                unreadable,
                format!("the node may not read {kind} {name:?}, wanted by {user}; grant it get, list and watch on it"),
            )),
            Some(State::Unread(error)) => {
                let error = error.as_deref().unwrap_or("no answer from the API server");
                Err(Unresolved::transient(
                    unreadable,
                    format!("failed to read {kind} {name:?}, wanted by {user}: {error}"),
                ))
            }
            None => Err(Unresolved::transient(unreadable, format!("{kind} {name:?} was not asked for"))),
        }
    }

    /// The state of an object, for a stamp: which version was used.
    pub(super) fn version(&self, key: &Key) -> String {
        match self.0.get(key) {
            Some(State::Found(object)) => format!("{}/{}", object.uid, object.resource_version),
            _ => "none".to_owned(),
        }
    }
}

/// Says that an object has no such key: an error, unless it was optional.
pub(super) fn missing_key(
    object: &Key,
    key: &str,
    optional: bool,
    user: &dyn fmt::Display,
    notices: &mut Vec<Notice>,
) -> Result<(), Unresolved> {
    let reasons = object.kind.reasons();
    let what = format!("key {key:?} does not exist in {} {:?}", object.kind, object.name);
    if optional {
        let message = format!("skipping optional {user}: {what}");
        notices.push(Notice { reason: reasons.optional_key_missing, message });
        Ok(())
    } else {
        Err(Unresolved::held(reasons.mandatory_key_missing, format!("{what}, wanted by {user}")))
    }
}

/// Reasons of events, those of the Go implementation.
struct Reasons {
    mandatory_missing: &'static str,
    mandatory_key_missing: &'static str,
    mandatory_unreadable: &'static str,
    optional_missing: &'static str,
    optional_key_missing: &'static str,
    optional_unreadable: &'static str,
}

impl Kind {
    fn reasons(self) -> Reasons {
        match self {
            Kind::ConfigMap => Reasons {
                mandatory_missing: "MandatoryConfigMapNotFound",
                mandatory_key_missing: "MandatoryConfigMapKeyNotFound",
                mandatory_unreadable: "FailedToReadMandatoryConfigMap",
                optional_missing: "OptionalConfigMapNotFound",
                optional_key_missing: "OptionalConfigMapKeyNotFound",
                optional_unreadable: "FailedToReadOptionalConfigMap",
            },
            Kind::Secret => Reasons {
                mandatory_missing: "MandatorySecretNotFound",
                mandatory_key_missing: "MandatorySecretKeyNotFound",
                mandatory_unreadable: "FailedToReadMandatorySecret",
                optional_missing: "OptionalSecretNotFound",
                optional_key_missing: "OptionalSecretKeyNotFound",
                optional_unreadable: "FailedToReadOptionalSecret",
            },
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::ConfigMap => "configmap",
            Kind::Secret => "secret",
        })
    }
}
