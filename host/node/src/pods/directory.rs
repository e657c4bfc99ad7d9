//! The pods of the node by name, for the server behind `kubectl logs` and `exec`.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
};

use k8s_openapi::api::core::v1::Pod;
use tokio::sync::watch;
use vk_provider::PodId;

use super::inbox::Inbox;
use crate::status::ProviderRecord;

/// Finds the pods of the node, as the watch brought them last. Cheap to clone, and empty until the node runs.
#[derive(Debug, Clone, Default)]
pub struct Directory(Arc<RwLock<HashMap<Box<str>, Entry>>>);

/// A pod of the node, and how the provider knows it.
#[derive(Debug, Clone)]
pub struct DirectoryPod {
    /// With the handle, if the provider has given one.
    pub id: PodId,
    /// Without managedFields.
    pub object: Arc<Pod>,
}

#[derive(Debug)]
struct Entry {
    uid: Box<str>,
    inbox: watch::Receiver<Inbox>,
}

impl Directory {
    /// The pod of this name. Of two, where one is still on its way out, it is the one that came later.
    pub fn find(&self, namespace: &str, name: &str) -> Option<DirectoryPod> {
        let entries = self.0.read().unwrap_or_else(PoisonError::into_inner);
        entries.get(key(namespace, name).as_str()).and_then(Entry::pod)
    }

    /// All pods, in no order.
    pub fn all(&self) -> Vec<DirectoryPod> {
        let entries = self.0.read().unwrap_or_else(PoisonError::into_inner);
        entries.values().filter_map(Entry::pod).collect()
    }

    pub(super) fn add(&self, id: &PodId, inbox: watch::Receiver<Inbox>) {
        let entry = Entry { uid: id.uid.as_str().into(), inbox };
        let key = key(&id.namespace, &id.name).into_boxed_str();
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(key, entry);
    }

    /// Removes the pod, unless another one has its name by now.
    pub(super) fn remove(&self, id: &PodId) {
        let key = key(&id.namespace, &id.name);
        let mut entries = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if entries.get(key.as_str()).is_some_and(|entry| *entry.uid == *id.uid) {
            entries.remove(key.as_str());
        }
    }
}

impl Entry {
    fn pod(&self) -> Option<DirectoryPod> {
        let inbox = self.inbox.borrow();
        let object = inbox.pod.clone().filter(|_| !inbox.deleted)?;
        // What was seen is newer than what was written of it.
        let seen = inbox.seen.as_ref().and_then(|seen| seen.pod.handle.clone());
        let handle = seen.or_else(|| ProviderRecord::of(&object)?.handle);
        let id = PodId { handle, ..super::object::pod_id(&object)? };
        Some(DirectoryPod { id, object })
    }
}

/// Neither part can hold a slash.
fn key(namespace: &str, name: &str) -> String {
    format!("{namespace}/{name}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use vk_provider::Observation;

    use super::*;

    fn pod(uid: &str) -> (PodId, Arc<Pod>) {
        let object = json!({ "metadata": { "namespace": "ns", "name": "p", "uid": uid } });
        let object: Pod = serde_json::from_value(object).unwrap();
        (super::super::object::pod_id(&object).unwrap(), Arc::new(object))
    }

    #[test]
    fn a_pod_is_found_with_the_handle_that_was_seen_last_and_until_it_is_deleted() {
        let directory = Directory::default();
        let (id, object) = pod("u-1");
        let (inbox, receiver) = watch::channel(Inbox::new(Some(object), None));
        directory.add(&id, receiver);
        assert_eq!(directory.find("ns", "p").unwrap().id, id);
        assert!(directory.find("other", "p").is_none() && directory.find("ns", "q").is_none());

        let handle = PodId { handle: Some("h".into()), ..id.clone() };
        inbox.send_modify(|inbox| inbox.observe(Arc::new(Observation { pod: handle.clone(), status: None })));
        assert_eq!(directory.find("ns", "p").unwrap().id, handle);

        inbox.send_modify(|inbox| inbox.deleted = true);
        assert!(directory.find("ns", "p").is_none() && directory.all().is_empty());
    }

    #[test]
    fn the_end_of_a_pod_leaves_the_next_one_of_its_name() {
        let directory = Directory::default();
        let (first, object) = pod("u-1");
        let (_first, receiver) = watch::channel(Inbox::new(Some(object), None));
        directory.add(&first, receiver);
        let (second, object) = pod("u-2");
        let (_second, receiver) = watch::channel(Inbox::new(Some(object), None));
        directory.add(&second, receiver);
        directory.remove(&first);
        assert_eq!(directory.find("ns", "p").unwrap().id.uid, "u-2");
        directory.remove(&second);
        assert!(directory.find("ns", "p").is_none());
    }
}
