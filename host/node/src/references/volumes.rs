//! Files of configMap, secret, projected and downwardAPI volumes, and of the secret that an azureFile or an inline CSI
//! volume names.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt::Write as _,
    sync::Arc,
};

use k8s_openapi::api::core::v1::{DownwardAPIVolumeFile, KeyToPath, Pod, Volume, VolumeProjection};
use vk_provider::File;

use super::{
    NodeFacts, Notice, Unresolved,
    containers::containers,
    fields::{self, Reader},
    objects::{Key, Kind, Objects, missing_key},
    tokens::TokenKey,
};

/// Reason of the event when a volume cannot be made, as the kubelet has it.
const REASON: &str = "FailedMount";
/// The API server's own default, for objects that came another way.
const DEFAULT_MODE: i32 = 0o644;

/// A volume whose tokens are not asked for yet.
pub(super) struct Draft {
    pub(super) name: String,
    files: BTreeMap<String, (u32, Content)>,
    /// Whether a container sees changes: it is mounted other than by subPath.
    pub(super) refreshed: bool,
    /// Which versions of which objects it was made from.
    pub(super) versions: String,
}

enum Content {
    Bytes(Vec<u8>),
    Token(TokenKey),
}

/// What volumes are made from.
pub(super) struct Ingredients<'a> {
    pub(super) pod: &'a Pod,
    pub(super) namespace: &'a str,
    pub(super) node: &'a NodeFacts,
    pub(super) objects: &'a Objects,
}

/// The objects that must be read to make the volumes.
pub(super) fn wanted(pod: &Pod, namespace: &str) -> BTreeSet<Key> {
    let key = |kind, name: &str| Key { kind, namespace: namespace.to_owned(), name: name.to_owned() };
    let mut keys = BTreeSet::new();
    for volume in pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten()) {
        keys.extend(volume.config_map.as_ref().map(|map| key(Kind::ConfigMap, &map.name)));
        let secret = volume.secret.as_ref().and_then(|secret| secret.secret_name.as_deref());
        keys.extend(secret.map(|name| key(Kind::Secret, name)));
        keys.extend(mount_secret(volume).map(|name| key(Kind::Secret, name)));
        for source in volume.projected.iter().flat_map(|projected| projected.sources.iter().flatten()) {
            keys.extend(source.config_map.as_ref().map(|map| key(Kind::ConfigMap, &map.name)));
            keys.extend(source.secret.as_ref().map(|secret| key(Kind::Secret, &secret.name)));
        }
    }
    keys
}

/// The secret that is needed to mount a volume, and that no container sees. Drivers of inline CSI volumes are told it by
/// the field for it or, as those of Azure are, by the attribute `secretName`.
fn mount_secret(volume: &Volume) -> Option<&str> {
    let name = match (&volume.azure_file, &volume.csi) {
        (Some(file), _) => Some(&file.secret_name),
        (None, Some(csi)) => match &csi.node_publish_secret_ref {
            Some(secret) => Some(&secret.name),
            None => csi.volume_attributes.as_ref().and_then(|attributes| attributes.get("secretName")),
        },
        (None, None) => None,
    };
    name.map(String::as_str).filter(|name| !name.is_empty())
}

/// Makes all volumes that consist of files.
pub(super) fn draft(ingredients: &Ingredients<'_>, notices: &mut Vec<Notice>) -> Result<Vec<Draft>, Unresolved> {
    let Some(spec) = &ingredients.pod.spec else { return Ok(Vec::new()) };
    let refreshed: BTreeSet<&str> = containers(spec)
        .flat_map(|container| container.volume_mounts)
        .filter(|mount| {
            [&mount.sub_path, &mount.sub_path_expr].iter().all(|path| path.as_deref().is_none_or(str::is_empty))
        })
        .map(|mount| mount.name.as_str())
        .collect();
    let mut drafts = Vec::new();
    for volume in spec.volumes.iter().flatten() {
        let mut builder = Builder {
            ingredients,
            user: format!("volume {:?}", volume.name),
            files: BTreeMap::new(),
            versions: String::new(),
        };
        if builder.add(volume, notices)? {
            let name = volume.name.clone();
            let refreshed = refreshed.contains(name.as_str());
            drafts.push(Draft { name, files: builder.files, refreshed, versions: builder.versions });
        }
    }
    Ok(drafts)
}

impl Draft {
    /// The tokens that the volume needs.
    pub(super) fn tokens(&self) -> impl Iterator<Item = &TokenKey> {
        self.files.values().filter_map(|(_, content)| match content {
            Content::Token(key) => Some(key),
            Content::Bytes(_) => None,
        })
    }

    /// The volume with its tokens.
    pub(super) fn finish(self, tokens: &HashMap<TokenKey, Arc<str>>) -> vk_provider::Volume {
        let files = self.files.into_iter().map(|(path, (mode, content))| {
            let data = match content {
                Content::Bytes(data) => data,
                Content::Token(key) => tokens.get(&key).map(|token| token.as_bytes().to_vec()).unwrap_or_default(),
            };
            File { path, mode, data }
        });
        vk_provider::Volume { name: self.name, files: files.collect() }
    }
}

struct Builder<'a> {
    ingredients: &'a Ingredients<'a>,
    user: String,
    files: BTreeMap<String, (u32, Content)>,
    versions: String,
}

impl Builder<'_> {
    /// Whether the volume is one of files.
    fn add(&mut self, volume: &Volume, notices: &mut Vec<Notice>) -> Result<bool, Unresolved> {
        if let Some(map) = &volume.config_map {
            let mode = map.default_mode;
            self.object(Kind::ConfigMap, &map.name, map.items.as_deref(), mode, map.optional, notices)?;
        } else if let Some(secret) = &volume.secret {
            let name = secret.secret_name.as_deref().unwrap_or_default();
            let mode = secret.default_mode;
            self.object(Kind::Secret, name, secret.items.as_deref(), mode, secret.optional, notices)?;
        } else if let Some(name) = mount_secret(volume) {
            self.object(Kind::Secret, name, None, Some(0o400), None, notices)?;
        } else if let Some(downward) = &volume.downward_api {
            self.fields(downward.items.as_deref(), downward.default_mode)?;
        } else if let Some(projected) = &volume.projected {
            for source in projected.sources.iter().flatten() {
                self.project(source, projected.default_mode, notices)?;
            }
        } else {
            return Ok(false);
        }
        self.check_directories()?;
        Ok(true)
    }

    fn project(
        &mut self,
        source: &VolumeProjection,
        mode: Option<i32>,
        notices: &mut Vec<Notice>,
    ) -> Result<(), Unresolved> {
        if let Some(secret) = &source.secret {
            self.object(Kind::Secret, &secret.name, secret.items.as_deref(), mode, secret.optional, notices)
        } else if let Some(map) = &source.config_map {
            self.object(Kind::ConfigMap, &map.name, map.items.as_deref(), mode, map.optional, notices)
        } else if let Some(downward) = &source.downward_api {
            self.fields(downward.items.as_deref(), mode)
        } else if let Some(token) = &source.service_account_token {
            // The kubelet narrows the mode where it also makes the pod's user the owner. A file has no owner here, so
            // that would take it from its reader.
            let content = Content::Token(TokenKey {
                audience: token.audience.clone().unwrap_or_default(),
                expiration: token.expiration_seconds.unwrap_or(3600),
            });
            self.file(&token.path, mode, content)
        } else if let Some(bundle) = &source.cluster_trust_bundle {
            if bundle.optional != Some(true) {
                return Err(self.wrong("clusterTrustBundle is not supported on this node; make it optional"));
            }
            notices.push(Notice {
                reason: "OptionalClusterTrustBundleSkipped",
                message: format!("skipping optional clusterTrustBundle of {}: not supported on this node", self.user),
            });
            Ok(())
        } else if source.pod_certificate.is_some() {
            Err(self.wrong("podCertificate is not supported on this node"))
        } else {
            Err(self.wrong("a source of a kind that this node does not know"))
        }
    }

    /// The keys of an object, all or those that `items` name.
    fn object(
        &mut self,
        kind: Kind,
        name: &str,
        items: Option<&[KeyToPath]>,
        mode: Option<i32>,
        optional: Option<bool>,
        notices: &mut Vec<Notice>,
    ) -> Result<(), Unresolved> {
        let optional = optional == Some(true);
        let objects = self.ingredients.objects;
        let key = Key { kind, namespace: self.ingredients.namespace.to_owned(), name: name.to_owned() };
        let found = objects.find(&key, optional, &self.user, notices)?;
        // Writing to a String cannot fail.
        _ = writeln!(self.versions, "{kind} {name} {}", objects.version(&key));
        let Some(object) = found else { return Ok(()) };
        let Some(items) = items.filter(|items| !items.is_empty()) else {
            for (path, data) in object.data.iter().chain(&object.binary_data) {
                self.file(path, mode, Content::Bytes(data.clone()))?;
            }
            return Ok(());
        };
        for item in items {
            match object.data.get(&item.key).or_else(|| object.binary_data.get(&item.key)) {
                Some(data) => self.file(&item.path, item.mode.or(mode), Content::Bytes(data.clone()))?,
                None => missing_key(&key, &item.key, optional, &self.user, notices)?,
            }
        }
        Ok(())
    }

    /// Fields of the pod.
    fn fields(&mut self, items: Option<&[DownwardAPIVolumeFile]>, mode: Option<i32>) -> Result<(), Unresolved> {
        let Ingredients { pod, node, .. } = *self.ingredients;
        for item in items.unwrap_or_default() {
            let value = match (&item.field_ref, &item.resource_field_ref) {
                (Some(selector), _) => fields::metadata(&pod.metadata, &selector.field_path),
                (None, Some(selector)) => fields::resource(pod, Reader::File, selector, node),
                (None, None) => Ok(String::new()),
            };
            let value = value.map_err(|error| self.wrong(&error))?;
            _ = writeln!(self.versions, "field {} {value}", item.path);
            self.file(&item.path, item.mode.or(mode), Content::Bytes(value.into_bytes()))?;
        }
        Ok(())
    }

    /// Adds a file; a later one at the same path takes the place of the earlier.
    fn file(&mut self, path: &str, mode: Option<i32>, content: Content) -> Result<(), Unresolved> {
        let path = clean_path(path).map_err(|error| self.wrong(&format!("path {path:?} {error}")))?;
        let mode = u32::try_from(mode.unwrap_or(DEFAULT_MODE)).unwrap_or_default() & 0o7777;
        self.files.insert(path, (mode, content));
        Ok(())
    }

    /// A path cannot be a file and a directory.
    fn check_directories(&self) -> Result<(), Unresolved> {
        for path in self.files.keys() {
            let mut parent = path.as_str();
            while let Some((directory, _)) = parent.rsplit_once('/') {
                if self.files.contains_key(directory) {
                    return Err(self.wrong(&format!("{directory:?} is a file, so {path:?} cannot be")));
                }
                parent = directory;
            }
        }
        Ok(())
    }

    fn wrong(&self, error: &str) -> Unresolved {
        Unresolved::held(REASON, format!("{}: {error}", self.user))
    }
}

/// The path without empty parts and `.`, if it stays inside of the volume.
fn clean_path(path: &str) -> Result<String, &'static str> {
    if path.starts_with('/') {
        return Err("is absolute");
    }
    if path.len() > 4096 {
        return Err("has more than 4096 bytes");
    }
    if path.contains('\0') {
        return Err("contains a NUL");
    }
    let parts: Vec<&str> = path.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
    let Some(first) = parts.first() else { return Err("is empty") };
    if first.starts_with("..") {
        return Err("starts with \"..\"");
    }
    for part in &parts {
        if *part == ".." {
            return Err("contains \"..\"");
        }
        if part.len() > 255 {
            return Err("has a name of more than 255 bytes");
        }
    }
    Ok(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::references::objects::{Object, State};

    fn object(kind: Kind, name: &str, data: &[(&str, &str)], binary: &[(&str, &[u8])]) -> (Key, State) {
        let object = Object {
            uid: format!("uid-{name}"),
            resource_version: "7".to_owned(),
            immutable: false,
            secret_type: String::new(),
            data: data.iter().map(|(key, value)| ((*key).to_owned(), value.as_bytes().to_vec())).collect(),
            binary_data: binary.iter().map(|(key, value)| ((*key).to_owned(), value.to_vec())).collect(),
        };
        (Key { kind, namespace: "ns".to_owned(), name: name.to_owned() }, State::Found(Arc::new(object)))
    }

    fn drafts(spec: Value) -> (Result<Vec<Draft>, Unresolved>, Vec<Notice>) {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": "p", "namespace": "ns", "uid": "u", "labels": {"b": "2", "a": "1"}},
            "spec": spec,
        }))
        .unwrap();
        let objects: Objects = [
            object(Kind::ConfigMap, "map", &[("text", "t"), ("same", "of the map")], &[("blob", &[0, 255])]),
            object(Kind::Secret, "secret", &[("user", "u"), ("same", "of the secret")], &[]),
            (Key { kind: Kind::ConfigMap, namespace: "ns".into(), name: "gone".into() }, State::Missing),
            (Key { kind: Kind::Secret, namespace: "ns".into(), name: "gone".into() }, State::Missing),
        ]
        .into_iter()
        .collect();
        let mut notices = Vec::new();
        let ingredients = Ingredients { pod: &pod, namespace: "ns", node: &NodeFacts::default(), objects: &objects };
        (draft(&ingredients, &mut notices), notices)
    }

    fn with(volume: Value) -> Value {
        let mut volume = volume;
        volume["name"] = json!("v");
        json!({
            "containers": [{"name": "c", "resources": {"limits": {"cpu": "2"}},
                            "volumeMounts": [{"name": "v", "mountPath": "/v"}]}],
            "volumes": [volume],
        })
    }

    fn files(volume: Value) -> Vec<(String, u32, Vec<u8>)> {
        let mut drafts = drafts(with(volume)).0.unwrap();
        let tokens = [(TokenKey { audience: "vault".into(), expiration: 600 }, "the token".into())].into();
        let volume = drafts.pop().unwrap().finish(&tokens);
        volume.files.into_iter().map(|file| (file.path, file.mode, file.data)).collect()
    }

    fn expect(list: &[(&str, u32, &[u8])]) -> Vec<(String, u32, Vec<u8>)> {
        list.iter().map(|(path, mode, data)| ((*path).to_owned(), *mode, data.to_vec())).collect()
    }

    #[test]
    fn all_keys_of_an_object_become_files_sorted_by_path() {
        assert_eq!(
            files(json!({"configMap": {"name": "map", "defaultMode": 0o640}})),
            expect(&[("blob", 0o640, &[0, 255]), ("same", 0o640, b"of the map"), ("text", 0o640, b"t")])
        );
        assert_eq!(
            files(json!({"secret": {"secretName": "secret"}})),
            expect(&[("same", 0o644, b"of the secret"), ("user", 0o644, b"u")])
        );
    }

    #[test]
    fn the_secret_with_which_a_volume_is_mounted_is_handed_over() {
        let both = expect(&[("same", 0o400, b"of the secret"), ("user", 0o400, b"u")]);
        let csi = |rest: Value| {
            let mut source = json!({"driver": "file.csi.azure.com"});
            source.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
            json!({"csi": source})
        };
        for volume in [
            json!({"azureFile": {"secretName": "secret", "shareName": "s"}}),
            csi(json!({"nodePublishSecretRef": {"name": "secret"}})),
            csi(json!({"volumeAttributes": {"secretName": "secret", "shareName": "s"}})),
            csi(json!({"nodePublishSecretRef": {"name": "secret"}, "volumeAttributes": {"secretName": "other"}})),
        ] {
            assert_eq!(files(volume.clone()), both, "{volume}");
        }
        for volume in [csi(json!({})), csi(json!({"volumeAttributes": {"shareName": "s"}}))] {
            assert!(drafts(with(volume.clone())).0.unwrap().is_empty(), "{volume}");
        }
    }

    #[test]
    fn items_choose_keys_paths_and_modes() {
        let items = json!([
            {"key": "blob", "path": "deep/er/blob", "mode": 0o400},
            {"key": "text", "path": "./deep//text"},
            {"key": "text", "path": "deep/er/blob2"},
        ]);
        assert_eq!(
            files(json!({"configMap": {"name": "map", "items": items}})),
            expect(&[("deep/er/blob", 0o400, &[0, 255]), ("deep/er/blob2", 0o644, b"t"), ("deep/text", 0o644, b"t")])
        );
    }

    #[test]
    fn later_sources_of_a_projected_volume_win() {
        let sources = json!([
            {"configMap": {"name": "map", "items": [{"key": "same", "path": "same"}]}},
            {"secret": {"name": "secret"}},
            {"downwardAPI": {"items": [
                {"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}},
                {"path": "cpu", "mode": 0o444, "resourceFieldRef": {"containerName": "c", "resource": "limits.cpu"}},
            ]}},
            {"serviceAccountToken": {"path": "token", "audience": "vault", "expirationSeconds": 600}},
            {"clusterTrustBundle": {"name": "b", "path": "ca", "optional": true}},
        ]);
        assert_eq!(
            files(json!({"projected": {"defaultMode": 0o600, "sources": sources}})),
            expect(&[
                ("cpu", 0o444, b"2"),
                ("labels", 0o600, b"a=\"1\"\nb=\"2\""),
                ("same", 0o600, b"of the secret"),
                ("token", 0o600, b"the token"),
                ("user", 0o600, b"u"),
            ])
        );
    }

    #[test]
    fn what_is_optional_and_missing_is_left_out_with_a_notice() {
        for (volume, count, reason) in [
            (json!({"configMap": {"name": "gone", "optional": true}}), 0, "OptionalConfigMapNotFound"),
            (json!({"secret": {"secretName": "gone", "optional": true}}), 0, "OptionalSecretNotFound"),
            (
                json!({"secret": {"secretName": "secret", "optional": true,
                                  "items": [{"key": "none", "path": "a"}, {"key": "user", "path": "b"}]}}),
                1,
                "OptionalSecretKeyNotFound",
            ),
            (
                json!({"projected": {"sources": [{"configMap": {"name": "gone", "optional": true}}]}}),
                0,
                "OptionalConfigMapNotFound",
            ),
        ] {
            let (made, notices) = drafts(with(volume.clone()));
            assert_eq!(made.unwrap()[0].files.len(), count, "{volume}");
            assert_eq!(notices.iter().map(|notice| notice.reason).collect::<Vec<_>>(), [reason], "{volume}");
        }
    }

    #[test]
    fn what_is_mandatory_and_missing_or_unsupported_holds_the_pod() {
        let item = |path: &str| json!({"configMap": {"name": "map", "items": [{"key": "text", "path": path}]}});
        let two = json!([{"key": "text", "path": "a"}, {"key": "same", "path": "a/b"}]);
        for (volume, reason) in [
            (json!({"configMap": {"name": "gone"}}), "MandatoryConfigMapNotFound"),
            (json!({"secret": {"secretName": "gone"}}), "MandatorySecretNotFound"),
            (json!({"azureFile": {"secretName": "gone", "shareName": "s"}}), "MandatorySecretNotFound"),
            (json!({"csi": {"driver": "d", "volumeAttributes": {"secretName": "gone"}}}), "MandatorySecretNotFound"),
            (
                json!({"configMap": {"name": "map", "items": [{"key": "none", "path": "a"}]}}),
                "MandatoryConfigMapKeyNotFound",
            ),
            (json!({"configMap": {"name": "map", "items": two}}), REASON),
            (json!({"projected": {"sources": [{"clusterTrustBundle": {"name": "b", "path": "ca"}}]}}), REASON),
            (
                json!({"projected": {"sources": [{"podCertificate": {"keyType": "ED25519", "signerName": "s/n"}}]}}),
                REASON,
            ),
            (json!({"projected": {"sources": [{}]}}), REASON),
            (json!({"downwardAPI": {"items": [{"path": "x", "fieldRef": {"fieldPath": "status.podIP"}}]}}), REASON),
            (item("/abs"), REASON),
            (item("a/../b"), REASON),
            (item(".."), REASON),
            (item("..data"), REASON),
            (item("."), REASON),
            (item(&"x".repeat(256)), REASON),
        ] {
            let Err(error) = drafts(with(volume.clone())).0 else { panic!("{volume} should hold the pod") };
            assert_eq!(error.reason, reason, "{volume}: {error}");
        }
    }

    #[test]
    fn a_volume_is_refreshed_only_where_a_container_mounts_it_whole() {
        let refreshed = |mounts: Value| {
            let spec = json!({
                "containers": [{"name": "c", "volumeMounts": mounts}],
                "volumes": [{"name": "v", "configMap": {"name": "map"}}],
            });
            drafts(spec).0.unwrap()[0].refreshed
        };
        assert!(!refreshed(json!([])));
        assert!(!refreshed(json!([{"name": "v", "mountPath": "/a", "subPath": "text"}])));
        assert!(!refreshed(json!([{"name": "v", "mountPath": "/a", "subPathExpr": "$(X)"}])));
        assert!(refreshed(json!([{"name": "v", "mountPath": "/a", "subPath": ""}])));
        let both = json!([{"name": "v", "mountPath": "/a", "subPath": "text"}, {"name": "v", "mountPath": "/b"}]);
        assert!(refreshed(both));
    }

    proptest! {
        #[test]
        fn no_path_leaves_its_volume(path in "[a./]{0,12}") {
            if let Ok(clean) = clean_path(&path) {
                prop_assert!(!clean.is_empty() && !clean.starts_with('/'));
                prop_assert!(clean.split('/').all(|part| !matches!(part, "" | "." | "..")));
            }
        }
    }
}
