//! Rules for volumes and their mounts.

use std::collections::HashSet;

use base64::{Engine as _, prelude::BASE64_STANDARD};

use super::{Check, refuse};
use crate::{
    body::{Mount, Volume},
    error::ArmError,
};

/// The most volumes that a group has.
const MOST_VOLUMES: usize = 20;
/// The longest name of a volume.
const LONGEST_NAME: usize = 63;

impl Check<'_> {
    pub(super) fn volumes(&self) -> Result<(), ArmError> {
        let properties = &self.body.properties;
        let mut names = HashSet::new();
        if properties.volumes.len() > MOST_VOLUMES {
            let message = format!("Container group '{}' has more than {MOST_VOLUMES} volumes.", self.name);
            return refuse("TooManyVolumes", message);
        }
        for volume in &properties.volumes {
            self.volume(volume)?;
            if !names.insert(volume.name.as_str()) {
                return refuse("DuplicateVolumes", format!("Duplicate volumes '{}' are found.", volume.name));
            }
        }
        let main = properties.containers.iter().map(|container| (&container.name, &container.properties.volume_mounts));
        let init = properties.init_containers.iter();
        let init = init.map(|container| (&container.name, &container.properties.volume_mounts));
        main.chain(init).try_for_each(|(container, mounts)| check_mounts(container, mounts, &names))
    }

    fn volume(&self, volume: &Volume) -> Result<(), ArmError> {
        let name = &volume.name;
        let fits = |char: char| char.is_ascii_lowercase() || char.is_ascii_digit() || char == '-';
        let is_edged = name.starts_with('-') || name.ends_with('-') || name.contains("--");
        if name.is_empty() || name.len() > LONGEST_NAME || is_edged || !name.chars().all(fits) {
            return refuse("InvalidVolumeName", format!("The volume name '{name}' is not a valid name."));
        }
        let kinds = [
            volume.azure_file.is_some(),
            volume.empty_dir.is_some(),
            volume.secret.is_some(),
            volume.git_repo.is_some(),
        ];
        if kinds.into_iter().filter(|is_given| *is_given).count() != 1 {
            return refuse("InvalidVolume", format!("The volume '{name}' must be of exactly one type."));
        }
        if self.is_windows() && volume.secret.is_some() {
            let message = format!("The secret volume '{name}' is not supported on Windows.");
            return refuse("SecretVolumesNotSupportedOnWindows", message);
        }
        if self.is_windows() && volume.azure_file.is_some() {
            let message = format!("The volume '{name}' is not supported on Windows.");
            return refuse("WindowsContainersVolumeNotSupported", message);
        }
        if let Some(file) = &volume.azure_file
            && (file.share_name.is_empty()
                || file.storage_account_name.is_empty()
                || file.storage_account_key.as_ref().is_none_or(String::is_empty))
        {
            let message =
                format!("The volume '{name}' lacks the name of a share, of an account, or the account's key.");
            return refuse("InvalidAzureFileVolume", message);
        }
        for (file, contents) in volume.secret.iter().flatten() {
            if file.is_empty() || file.contains('/') || !is_base64(contents) {
                let message = format!("The secret '{file}' of volume '{name}' has no valid name, or is not base64.");
                return refuse("InvalidSecretVolume", message);
            }
        }
        if volume.git_repo.as_ref().is_some_and(|repo| repo.repository.is_empty()) {
            return refuse("InvalidGitRepoVolume", format!("The volume '{name}' names no repository."));
        }
        Ok(())
    }
}

fn check_mounts(container: &str, mounts: &[Mount], volumes: &HashSet<&str>) -> Result<(), ArmError> {
    let mut paths = HashSet::new();
    for mount in mounts {
        let (name, path) = (&mount.name, &mount.mount_path);
        if !volumes.contains(name.as_str()) {
            let message = format!("The volumes '{name}' in container '{container}' are not found.");
            return refuse("VolumesNotFound", message);
        }
        // A drive of Windows has the one colon that is allowed.
        let (is_absolute, rest) = match path.split_once(":\\") {
            Some((drive, rest)) if drive.len() == 1 => (true, rest),
            _ => (path.starts_with('/'), path.as_str()),
        };
        let is_plain = !rest.contains(':') && !rest.split('/').any(|part| part == "..");
        if !is_absolute || !is_plain || path == "/" || !paths.insert(path.trim_end_matches('/')) {
            let message =
                format!("The mount path '{path}' of volume '{name}' in container '{container}' is not valid.");
            return refuse("InvalidVolumeMountPath", message);
        }
    }
    Ok(())
}

pub(super) fn is_base64(text: &str) -> bool {
    BASE64_STANDARD.decode(text).is_ok()
}
