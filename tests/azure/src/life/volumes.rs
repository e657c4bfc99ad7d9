//! A group's volumes, made before its containers start.

use std::{collections::BTreeMap, io, path::PathBuf};

use jiff::Timestamp;

use super::Living;
use crate::{
    body::{self, AzureFile, Volume},
    containers::{Mount, volumes},
    group::note,
};

/// Where volumes are on the machine, by their names.
#[derive(Default)]
pub(super) struct Volumes {
    sources: BTreeMap<String, Source>,
}

struct Source {
    folder: PathBuf,
    read_only: bool,
}

impl Volumes {
    /// What a container mounts.
    pub(super) fn mounts(&self, wanted: &[body::Mount]) -> Vec<Mount> {
        let mount = |wanted: &body::Mount| {
            let source = self.sources.get(&wanted.name)?;
            Some(Mount {
                source: source.folder.clone(),
                path: wanted.mount_path.clone(),
                read_only: wanted.read_only || source.read_only,
            })
        };
        wanted.iter().filter_map(mount).collect()
    }
}

impl Living {
    /// Makes all volumes. Does not return if one cannot be mounted.
    pub(super) async fn volumes(&self, since: Timestamp) -> Volumes {
        let mut made = Volumes::default();
        for volume in &self.body.properties.volumes {
            match self.volume(volume).await {
                Ok(source) => {
                    made.sources.insert(volume.name.clone(), source);
                }
                Err(problem) => {
                    let message = format!("Failed to mount volume '{}': {problem}", volume.name);
                    self.try_in_vain(since, |life, at| {
                        note(&mut life.events, at, "FailedMount", true, message.clone());
                    })
                    .await;
                }
            }
        }
        made
    }

    async fn volume(&self, volume: &Volume) -> Result<Source, String> {
        if let Some(file) = &volume.azure_file {
            return self.share(file);
        }
        let folder = self.folder.join("volumes").join(&volume.name);
        let is_there = tokio::fs::try_exists(&folder).await.map_err(told)?;
        let source = Source { folder: folder.clone(), read_only: false };
        if is_there {
            return Ok(source);
        }
        tokio::fs::create_dir_all(&folder).await.map_err(told)?;
        if let Some(files) = &volume.secret {
            let files = files.iter().map(|(name, value)| (name.as_str(), value.as_str()));
            volumes::secret(&folder, files).map_err(|problem| problem.to_string())?;
        }
        if let Some(repo) = &volume.git_repo {
            let cloned =
                volumes::git(&folder, &repo.repository, repo.directory.as_deref(), repo.revision.as_deref()).await;
            cloned.map_err(|problem| problem.to_string())?;
        }
        Ok(source)
    }

    fn share(&self, file: &AzureFile) -> Result<Source, String> {
        let shares = &self.shared.options.shares;
        let share = shares
            .iter()
            .find(|share| share.account == file.storage_account_name && share.name == file.share_name)
            .ok_or_else(|| format!("there is no share '{}' in '{}'", file.share_name, file.storage_account_name))?;
        if file.storage_account_key.as_ref() == Some(&share.key) {
            Ok(Source { folder: share.folder.clone(), read_only: file.read_only })
        } else {
            Err(format!("permission denied: the key of '{}' is another", file.storage_account_name))
        }
    }
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn told(problem: io::Error) -> String {
    problem.to_string()
}
