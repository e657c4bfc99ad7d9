//! Contents of volumes.

use std::{collections::BTreeMap, fs, io, path::Path, process::Stdio};

use base64::{Engine, prelude::BASE64_STANDARD};
use tokio::process::Command;

/// Why a volume has not got its contents.
#[derive(Debug, thiserror::Error)]
pub enum VolumeError {
    /// A file's name is a path, or none.
    #[error("{0:?} is not a name of a file")]
    Name(String),
    /// A value is not base64.
    #[error("the value of {0:?} is not base64")]
    Base64(String),
    /// The machine's file system.
    #[error("a volume could not be written: {0}")]
    File(#[from] io::Error),
    /// What git said.
    #[error("git: {0}")]
    Git(String),
}

/// Writes a secret volume: files by name, values in base64.
///
/// # Errors
///
/// If a name or a value is malformed, or the folder cannot be written to.
pub fn secret<'a>(folder: &Path, files: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<(), VolumeError> {
    let decoded = files.into_iter().map(|(name, value)| {
        let plain = !name.is_empty() && name != "." && name != ".." && !name.contains(['/', '\0']);
        let name = if plain { name } else { return Err(VolumeError::Name(name.to_owned())) };
        let value = BASE64_STANDARD.decode(value).map_err(|_malformed| VolumeError::Base64(name.to_owned()))?;
        Ok((name, value))
    });
    for (name, value) in decoded.collect::<Result<BTreeMap<_, _>, _>>()? {
        fs::write(folder.join(name), value)?;
    }
    Ok(())
}

/// Clones a repository into a volume: a folder of this machine or a `file://` URL, nothing of the network.
///
/// `directory` is a name within the volume, or `.` for the volume itself; without it, it is the repository's own
/// name. `revision` is a branch, a tag or a commit; without it, it is the repository's head.
///
/// # Errors
///
/// If git is missing or fails; with what it said.
pub async fn git(
    folder: &Path,
    repository: &str,
    directory: Option<&str>,
    revision: Option<&str>,
) -> Result<(), VolumeError> {
    let name = repository.trim_end_matches('/').rsplit('/').next().unwrap_or_default().trim_end_matches(".git");
    let directory = directory.filter(|directory| !directory.is_empty()).unwrap_or(name);
    if directory.is_empty() || directory.starts_with('/') || directory.split('/').any(|part| part == "..") {
        return Err(VolumeError::Name(directory.to_owned()));
    }
    run(folder, &["clone", "--quiet", "--", repository, directory]).await?;
    match revision.filter(|revision| !revision.is_empty()) {
        // A revision that begins with a dash would be an option; no name of a branch, tag or commit does.
        Some(revision) if revision.starts_with('-') => Err(VolumeError::Git(format!("{revision:?} is not a revision"))),
        Some(revision) => run(&folder.join(directory), &["checkout", "--quiet", revision, "--"]).await,
        None => Ok(()),
    }
}

async fn run(folder: &Path, arguments: &[&str]) -> Result<(), VolumeError> {
    let output = Command::new("git")
        .args(arguments)
        .current_dir(folder)
        .env("GIT_ALLOW_PROTOCOL", "file")
        .env("GIT_TERMINAL_PROMPT", "0")
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(VolumeError::Git(said.lines().map(str::trim).collect::<Vec<_>>().join("; ")))
}
