//! Bundled providers: `NAME.wasm`, with its grants in `NAME.toml`, in a folder beside the program.

use std::path::{Path, PathBuf};

use anyhow::bail;

use crate::environment::Environment;

/// Where a component and its configuration are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Located {
    pub(crate) wasm: PathBuf,
    /// The file that a bundled provider comes with.
    pub(crate) bundled_config: Option<PathBuf>,
}

/// The folders that may hold bundled providers; the first that exists does. `executable` is this program's path.
pub(crate) fn folders(environment: &Environment, executable: Option<&Path>) -> Vec<PathBuf> {
    if let Some(folder) = environment.os("VK_HOST_PROVIDERS") {
        return vec![folder.into()];
    }
    let Some(beside) = executable.and_then(Path::parent) else { return Vec::new() };
    let mut folders = vec![beside.join("providers")];
    folders.extend(beside.parent().map(|prefix| prefix.join("share/vk-host/providers")));
    folders
}

/// Finds a bundled provider.
///
/// # Errors
///
/// If there is none of this name; the message lists those that there are.
pub(crate) fn find(name: &str, folders: &[PathBuf]) -> anyhow::Result<Located> {
    let Some(folder) = folders.iter().find(|folder| folder.is_dir()) else {
        let looked = folders.iter().map(|folder| folder.display().to_string()).collect::<Vec<_>>().join(", ");
        bail!(
            "--provider {name}: there are no bundled providers (looked for {looked}): \
             set VK_HOST_PROVIDERS to their folder, or give a file with --provider-wasm"
        );
    };
    let wasm = folder.join(format!("{name}.wasm"));
    if !wasm.is_file() {
        let found = names(folder);
        let found = if found.is_empty() { "none".to_owned() } else { found.join(", ") };
        bail!(
            "--provider {name}: provider {name:?} not found in {}; found: {found}; a file is given with --provider-wasm",
            folder.display()
        );
    }
    let config = folder.join(format!("{name}.toml"));
    Ok(Located { wasm, bundled_config: config.is_file().then_some(config) })
}

/// The providers in a folder, in order of name.
fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut names: Vec<String> = entries
        .filter(|path| path.extension().is_some_and(|extension| extension == "wasm"))
        .filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned()))
        .collect();
    names.sort();
    names
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_folder_is_the_one_named_or_beside_the_program_or_in_its_share() {
        let program = Path::new("/usr/local/bin/vk-host");
        let named: Environment = [("VK_HOST_PROVIDERS", "/opt/providers")].into_iter().collect();
        assert_eq!(folders(&named, Some(program)), [Path::new("/opt/providers")]);
        assert_eq!(
            folders(&Environment::default(), Some(program)),
            [Path::new("/usr/local/bin/providers"), Path::new("/usr/local/share/vk-host/providers")]
        );
        assert!(folders(&Environment::default(), None).is_empty());
    }

    #[test]
    fn a_provider_is_found_with_its_configuration() {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        for name in ["aci.wasm", "aci.toml", "mock.wasm", "README"] {
            fs::write(at(name), "").unwrap();
        }
        let folders = [root.path().join("absent"), root.path().to_path_buf()];
        assert_eq!(
            find("aci", &folders).unwrap(),
            Located { wasm: at("aci.wasm"), bundled_config: Some(at("aci.toml")) }
        );
        assert_eq!(find("mock", &folders).unwrap(), Located { wasm: at("mock.wasm"), bundled_config: None });
        let refusal = find("hyper", &folders).unwrap_err().to_string();
        assert!(refusal.contains("\"hyper\" not found") && refusal.contains("found: aci, mock;"), "{refusal}");
        let refusal = find("hyper", &folders[..1]).unwrap_err().to_string();
        assert!(refusal.contains("VK_HOST_PROVIDERS") && refusal.contains("absent"), "{refusal}");
    }
}
