//! Which group is whose: names and tags.
//!
//! A group's name follows from its pod, so that no handle is needed and a request whose answer was lost is found again.
//! The name ends in a hash of owner and uid: `a-b/c` and `a/b-c` are told apart, a pod that comes back under its name
//! gets another group, and no name is too long. Whose a group is, is said by its tags alone.

use std::collections::BTreeMap;

use sha2::{Digest as _, Sha256};
use vk_sdk::PodId;

use crate::group::ContainerGroup;

/// The mark of this node of this cluster.
pub(crate) const OWNER: &str = "vk-host.dev-owner";
pub(crate) const NODE_NAME: &str = "NodeName";
pub(crate) const NAMESPACE: &str = "Namespace";
pub(crate) const POD_NAME: &str = "PodName";
pub(crate) const UID: &str = "UID";
pub(crate) const CREATION_TIMESTAMP: &str = "CreationTimestamp";

/// The longest name that the service takes.
const LONGEST_NAME: usize = 63;

/// The name of a pod's group.
pub(crate) fn group_name(owner: &str, pod: &PodId) -> String {
    let digest = Sha256::digest(format!("{owner}/{}", pod.uid));
    let hash: String = digest.iter().take(5).map(|byte| format!("{byte:02x}")).collect();
    let legible: String = format!("{}-{}", pod.namespace, pod.name)
        .chars()
        .map(|char| if char.is_ascii_lowercase() || char.is_ascii_digit() { char } else { '-' })
        .take(LONGEST_NAME - 1 - hash.len())
        .collect();
    format!("{}-{hash}", legible.trim_matches('-'))
}

/// The pod that a group is for, if the group is this node's.
pub(crate) fn pod_of(group: &ContainerGroup, owner: &str) -> Option<PodId> {
    let tags: &BTreeMap<String, String> = group.tags.as_ref()?;
    // The service keeps the case of tags' names, but compares them without.
    let tag = |name: &str| tags.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.clone());
    if tag(OWNER)? != owner {
        return None;
    }
    Some(PodId { namespace: tag(NAMESPACE)?, name: tag(POD_NAME)?, uid: tag(UID)?, handle: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(namespace: &str, name: &str, uid: &str) -> PodId {
        PodId { namespace: namespace.into(), name: name.into(), uid: uid.into(), handle: None }
    }

    #[test]
    fn names_are_legible_unique_and_always_legal() {
        let name = group_name("o", &pod("demo", "web", "1"));
        assert!(name.starts_with("demo-web-") && name.len() == "demo-web-".len() + 10, "{name}");
        assert_ne!(group_name("o", &pod("a-b", "c", "1")), group_name("o", &pod("a", "b-c", "2")));
        assert_ne!(group_name("o", &pod("demo", "web", "2")), name);
        assert_ne!(group_name("p", &pod("demo", "web", "1")), name);
        assert_eq!(group_name("o", &pod("demo", "web", "1")), name);
        let name = group_name("o", &pod(&"n".repeat(63), &"p.q".repeat(80), "1"));
        assert!(name.len() <= 63 && !name.contains('.'), "{name}");
    }

    #[test]
    fn only_groups_with_the_owners_mark_have_a_pod() {
        let tags = |owner: &str| {
            let tags = [(OWNER, owner), (NAMESPACE, "d"), ("podname", "p"), (UID, "u")];
            Some(tags.map(|(key, value)| (key.to_owned(), value.to_owned())).into())
        };
        let group = |tags| ContainerGroup { tags, ..ContainerGroup::default() };
        assert_eq!(pod_of(&group(tags("o")), "o"), Some(pod("d", "p", "u")));
        assert_eq!(pod_of(&group(tags("other")), "o"), None);
        assert_eq!(pod_of(&group(None), "o"), None);
    }
}
