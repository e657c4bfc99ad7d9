//! Volumes that consist of files, which the service keeps as secrets: flat, with modes of its own.

use std::collections::BTreeMap;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use vk_sdk::{Error, File, Result};

use super::{Context, Notes};
use crate::group::{EmptyDirVolume, Secret, Volume};

/// The mode that Kubernetes gives files where nothing else is asked for.
const DEFAULT_MODE: u32 = 0o644;

/// The files of a volume as the host has resolved them.
pub(super) fn of<'a>(context: &Context<'a>, volume: &str) -> Result<&'a [File]> {
    let found = context.pod.volumes.iter().find(|resolved| resolved.name == volume);
    let missing = || Error::internal(format!("volume {volume:?}: the host has not handed over its files"));
    found.map(|resolved| resolved.files.as_slice()).ok_or_else(missing)
}

/// A volume of files. One without any is an empty directory: the service has no empty secrets.
pub(super) fn volume(name: String, field: &str, files: &[File], notes: &mut Notes) -> Volume {
    if let Some(file) = files.iter().find(|file| is_in_folder(file)) {
        notes.refuse(field, format!("ACI has no folders in volumes of files, such as that of {:?}", file.path));
    }
    if files.iter().any(|file| file.mode != DEFAULT_MODE) {
        notes.ignore(format!("{field}.mode"), "ACI sets the modes of files itself");
    }
    let encoded = |file: &File| (file.path.clone(), Secret(BASE64_STANDARD.encode(&file.data)));
    let secret: BTreeMap<_, _> = files.iter().filter(|file| !is_in_folder(file)).map(encoded).collect();
    if secret.is_empty() {
        return Volume { name, empty_dir: Some(EmptyDirVolume {}), ..Volume::default() };
    }
    Volume { name, secret: Some(secret), ..Volume::default() }
}

fn is_in_folder(file: &File) -> bool {
    file.path.contains('/')
}
