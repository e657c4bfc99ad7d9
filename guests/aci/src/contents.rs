//! Which contents of volumes a pod's user has last been told of.
//!
//! A group keeps the files that it was made with, and that others do not reach it is told with each change. But the host
//! renews tokens all the time, and who is told that every hour hears nothing else. So a change of nothing but tokens is
//! passed over; the documentation says that they are not renewed.

use std::collections::BTreeSet;

use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use vk_sdk::{Pod, PodId, Result, cache, manifest::Manifest};

/// The volume's sources, as far as they are tokens.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Projected {
    sources: Vec<Source>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Source {
    service_account_token: Option<Token>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Token {
    path: String,
}

/// The pod has what it was made with.
pub(crate) fn remember(pod: &Pod) -> Result<()> {
    cache::set(&key(&pod.id), &fingerprint(pod)?, cache::LONGEST);
    Ok(())
}

/// Whether something else than tokens differs from what the pod's user knows, and from now on knows. What the cache has
/// forgotten differs.
pub(crate) fn differ(pod: &Pod) -> Result<bool> {
    let (key, new) = (key(&pod.id), fingerprint(pod)?);
    let differ = cache::get(&key).is_none_or(|old| old != new);
    cache::set(&key, &new, cache::LONGEST);
    Ok(differ)
}

pub(crate) fn forget(pod: &PodId) {
    cache::remove(&key(pod));
}

fn key(pod: &PodId) -> String {
    format!("contents/{}", pod.uid)
}

fn fingerprint(pod: &Pod) -> Result<Vec<u8>> {
    let manifest = Manifest::parse(&pod.manifest)?;
    let mut tokens = BTreeSet::new();
    for volume in manifest.spec.volumes.iter().filter(|volume| volume.kind() == "projected") {
        let sources = volume.read::<Projected>()?.sources.into_iter();
        tokens.extend(sources.filter_map(|source| Some((volume.name.as_str(), source.service_account_token?.path))));
    }
    let mut digest = Sha256::new();
    for volume in &pod.volumes {
        for file in &volume.files {
            if !tokens.contains(&(volume.name.as_str(), file.path.clone())) {
                for part in [volume.name.as_bytes(), file.path.as_bytes(), &file.data] {
                    digest.update((part.len() as u64).to_le_bytes());
                    digest.update(part);
                }
            }
        }
    }
    Ok(digest.finalize().to_vec())
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use vk_sdk::{File, Volume};

    use super::*;

    fn pod(token: &str, text: &str) -> Pod {
        let projected = json!({"sources": [{"serviceAccountToken": {"path": "token"}}, {"configMap": {"name": "m"}}]});
        let manifest = json!({"spec": {"volumes": [{"name": "access", "projected": projected}]}});
        let file = |path: &str, data: &str| File { path: path.into(), mode: 0o644, data: data.into() };
        let files = vec![file("text", text), file("token", token)];
        let volumes = vec![Volume { name: "access".into(), files }];
        let id = PodId { namespace: "d".into(), name: "p".into(), uid: "u".into(), handle: None };
        Pod { id, manifest: manifest.to_string(), volumes, logins: Vec::new(), objects: Vec::new() }
    }

    #[test]
    fn a_renewed_token_is_no_change_and_other_contents_are_one_once() {
        remember(&pod("a", "1")).unwrap();
        assert!(!differ(&pod("b", "1")).unwrap());
        assert!(differ(&pod("b", "2")).unwrap());
        assert!(!differ(&pod("c", "2")).unwrap());
        forget(&pod("c", "2").id);
        assert!(differ(&pod("c", "2")).unwrap());
    }
}
