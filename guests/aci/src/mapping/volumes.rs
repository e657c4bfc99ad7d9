//! Volumes and where they are mounted.

use std::collections::{HashMap, HashSet};

use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use vk_sdk::{
    Error, Result,
    manifest::{self, Container},
};

use super::{
    Context, Notes, files,
    shares::{self, Csi},
};
use crate::group::{EmptyDirVolume, GitRepoVolume, Volume, VolumeMount};

/// How many volumes a group has at most.
const MOST: usize = 20;
/// Where the API server mounts the token of the pod's account.
const ACCOUNT_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// The volumes of a group.
#[derive(Default)]
pub(super) struct Volumes {
    pub(super) list: Vec<Volume>,
    /// The name in the group by the name in the pod; `None`: it is left out, and so are its mounts.
    names: HashMap<String, Option<String>>,
}

/// The volumes, in the order of the pod.
pub(super) fn volumes(context: &Context<'_>, notes: &mut Notes) -> Result<Volumes> {
    let spec = &context.manifest.spec;
    // The service has no volumes of files for Windows: the account's token, which hardly any pod of Windows uses, must not
    // be in its way.
    let needed: HashSet<&str> = spec
        .init_containers
        .iter()
        .chain(&spec.containers)
        .flat_map(|container| &container.volume_mounts)
        .filter(|mount| !is_left_out(context, mount))
        .map(|mount| mount.name.as_str())
        .collect();
    let mut volumes = Volumes::default();
    for asked in &spec.volumes {
        let made = volume(context, asked, needed.contains(asked.name.as_str()), notes)?;
        volumes.names.insert(asked.name.clone(), made.as_ref().map(|volume| volume.name.clone()));
        volumes.list.extend(made);
    }
    if volumes.list.len() > MOST {
        notes.refuse(
            "spec.volumes",
            format!("a group has at most {MOST} volumes, and these are {}", volumes.list.len()),
        );
    }
    Ok(volumes)
}

fn volume(context: &Context<'_>, asked: &manifest::Volume, needed: bool, notes: &mut Notes) -> Result<Option<Volume>> {
    let (name, field) = (legal_name(&asked.name), format!("spec.volumes[{}]", asked.name));
    let base = |name| Volume { name, ..Volume::default() };
    Ok(match asked.kind() {
        "emptyDir" => {
            empty_dir(&asked.read()?, &field, notes);
            Some(Volume { empty_dir: Some(EmptyDirVolume {}), ..base(name) })
        }
        "gitRepo" => {
            let GitRepo { repository, directory, revision } = asked.read()?;
            Some(Volume { git_repo: Some(GitRepoVolume { repository, directory, revision }), ..base(name) })
        }
        "azureFile" | "csi" if context.windows() => {
            notes.refuse(field, "ACI mounts shares in Linux groups only");
            None
        }
        "azureFile" => {
            let share = shares::of_file(context, &asked.name, asked.read()?)?;
            Some(Volume { azure_file: Some(share), ..base(name) })
        }
        "csi" => {
            let csi: Csi = asked.read()?;
            if csi.driver != shares::DRIVER {
                refuse_kind(context, &asked.name, field, &format!(" {}", csi.driver), notes);
                return Ok(None);
            }
            let share = shares::of_csi(context, &asked.name, csi, &field, notes)?;
            Some(Volume { azure_file: Some(share), ..base(name) })
        }
        "configMap" | "secret" | "projected" | "downwardAPI" if context.windows() => {
            if needed {
                notes.refuse(field, "ACI has no volumes of files for Windows");
            }
            None
        }
        "configMap" | "secret" | "projected" | "downwardAPI" => {
            Some(files::volume(name, &field, files::of(context, &asked.name)?, notes))
        }
        kind => {
            refuse_kind(context, &asked.name, field, &format!(": {kind}"), notes);
            None
        }
    })
}

fn refuse_kind(context: &Context<'_>, volume: &str, field: String, kind: &str, notes: &mut Notes) {
    let pod = &context.pod.id.name;
    notes.refuse(field, format!("pod {pod} requires volume {volume} which is of an unsupported type{kind}"));
}

/// A name that the service takes: 5 to 63 characters, with no two hyphens in a row.
fn legal_name(name: &str) -> String {
    if name.len() >= 5 && !name.contains("--") {
        return name.to_owned();
    }
    let parts: Vec<_> = name.split('-').filter(|part| !part.is_empty()).collect();
    let hash: String = Sha256::digest(name).iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    let legible: String = parts.join("-").chars().take(54).collect();
    format!("{}-{hash}", legible.trim_end_matches('-'))
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct EmptyDir {
    medium: Option<String>,
    size_limit: Option<serde_json::Value>,
}

fn empty_dir(asked: &EmptyDir, field: &str, notes: &mut Notes) {
    if let Some(medium) = asked.medium.as_deref().filter(|medium| !medium.is_empty()) {
        notes.refuse(format!("{field}.emptyDir.medium"), format!("ACI keeps such volumes on disk, not in {medium}"));
    }
    if asked.size_limit.is_some() {
        notes.ignore(format!("{field}.emptyDir.sizeLimit"), "ACI limits what all containers of a group write together");
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct GitRepo {
    repository: String,
    directory: Option<String>,
    revision: Option<String>,
}

/// Whether a mount is not needed: that of the account's token on Windows.
fn is_left_out(context: &Context<'_>, mount: &manifest::VolumeMount) -> bool {
    context.windows() && mount.mount_path.eq_ignore_ascii_case(ACCOUNT_PATH)
}

impl Volumes {
    /// Where a container has its volumes.
    pub(super) fn mounts(
        &self,
        context: &Context<'_>,
        container: &Container,
        field: &str,
        notes: &mut Notes,
    ) -> Result<Vec<VolumeMount>> {
        let mut mounts = Vec::with_capacity(container.volume_mounts.len());
        for mount in &container.volume_mounts {
            let name = self.names.get(&mount.name).ok_or_else(|| {
                Error::invalid(format!("{field}.volumeMounts: the pod has no volume {:?}", mount.name))
            })?;
            let Some(name) = name.as_ref().filter(|_| !is_left_out(context, mount)) else { continue };
            let field = format!("{field}.volumeMounts[{}]", mount.name);
            for (part, path) in [("subPath", &mount.sub_path), ("subPathExpr", &mount.sub_path_expr)] {
                if path.as_deref().is_some_and(|path| !path.is_empty()) {
                    notes.refuse(format!("{field}.{part}"), "ACI mounts whole volumes");
                }
            }
            if mount.mount_path.contains(':') {
                notes.refuse(format!("{field}.mountPath"), "ACI takes no path with a colon");
                continue;
            }
            mounts.push(VolumeMount {
                name: name.clone(),
                mount_path: mount.mount_path.clone(),
                read_only: mount.read_only.then_some(true),
            });
        }
        Ok(mounts)
    }
}
