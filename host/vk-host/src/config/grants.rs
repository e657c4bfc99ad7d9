//! What of the host itself a provider may see: environment variables and directories.

use std::{
    path::{Component, Path, PathBuf},
    str::FromStr,
};

use anyhow::{Context as _, bail};
use serde::Deserialize;
use vk_runtime::ReadGrant;

use crate::environment::Environment;

/// One entry of `sandbox.env`: a name, or the beginning of names followed by `*`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct EnvGrant {
    name: String,
    /// Whether `name` is only how the variable's name begins.
    prefix: bool,
}

impl FromStr for EnvGrant {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, prefix) = text.strip_suffix('*').map_or((text, false), |name| (name, true));
        if text == "*" {
            return Err("`*` would grant every variable, credentials included: name them, as in AZURE_*".into());
        }
        let is_name = !name.is_empty()
            && !name.starts_with(|first: char| first.is_ascii_digit())
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if !is_name {
            return Err(format!("`{text}` is not an environment variable: write its name, or how it begins and a `*`"));
        }
        Ok(Self { name: name.into(), prefix })
    }
}

impl TryFrom<String> for EnvGrant {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl EnvGrant {
    fn covers(&self, name: &str) -> bool {
        if self.prefix { name.starts_with(&self.name) } else { name == self.name }
    }
}

/// The variables that the grants cover, in order of name. Values that are not Unicode do not exist for a provider.
pub(crate) fn select(grants: &[EnvGrant], environment: &Environment) -> Vec<(String, String)> {
    environment
        .texts()
        .filter(|(name, _)| grants.iter().any(|grant| grant.covers(name)))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

/// A file or directory of the host that no provider may read.
#[derive(Debug, Clone)]
pub(crate) struct Protected {
    /// What it is, for messages.
    pub(crate) what: &'static str,
    /// Where; it need not exist.
    pub(crate) path: PathBuf,
}

impl Protected {
    pub(crate) fn new(what: &'static str, path: impl Into<PathBuf>) -> Self {
        Self { what, path: path.into() }
    }
}

/// What is protected wherever the host runs.
pub(crate) fn always_protected() -> Vec<Protected> {
    vec![
        Protected::new("the service account's token", "/var/run/secrets/kubernetes.io/serviceaccount"),
        Protected::new("the host's environment and memory", "/proc/self"),
    ]
}

/// The directories that may be read, each once.
///
/// # Errors
///
/// If one is not a directory, or leads to something protected: contains it or lies inside of it, symbolic links resolved.
pub(crate) fn readable(grants: &[PathBuf], protected: &[Protected]) -> anyhow::Result<Vec<ReadGrant>> {
    let mut directories = Vec::new();
    for grant in grants {
        let name = grant.display();
        let real = grant.canonicalize().with_context(|| format!("sandbox.read grants {name}, which cannot be read"))?;
        if !real.is_dir() {
            bail!("sandbox.read grants {name}, which is not a directory: grant the directory that it is in");
        }
        for Protected { what, path } in protected {
            let path = resolve(path);
            if leads_to(&real, &path) {
                bail!(
                    "sandbox.read grants {name}, which leads to {what} ({}): grant a directory without it",
                    path.display()
                );
            }
        }
        let absolute = std::path::absolute(grant).with_context(|| format!("sandbox.read grants {name}"))?;
        let plain = without_parents(&absolute);
        // Behind a link, `..` leads elsewhere than it reads.
        let name = if plain.canonicalize().is_ok_and(|path| path == real) { plain } else { real.clone() };
        let directory = ReadGrant { name, real };
        if !directories.contains(&directory) {
            directories.push(directory);
        }
    }
    Ok(directories)
}

/// Links that one path may lead over, as in the kernel.
const LINKS: usize = 40;

/// Where a path leads, symbolic links resolved, also if it does not exist: it may be made later.
fn resolve(path: &Path) -> PathBuf {
    let mut path = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    for _ in 0..LINKS {
        let mut ancestors = path.ancestors();
        // The nearest one that exists, or is a link to what does not.
        let found = ancestors.find_map(|ancestor| match ancestor.canonicalize() {
            Ok(real) => Some((ancestor, real, false)),
            Err(_) => ancestor.read_link().ok().map(|target| (ancestor, target, true)),
        });
        let Some((ancestor, target, dangling)) = found else { break };
        let rest = path.strip_prefix(ancestor).unwrap_or(Path::new(""));
        if !dangling {
            return without_parents(&target.join(rest));
        }
        path = ancestor.parent().unwrap_or(Path::new("/")).join(target).join(rest);
    }
    path
}

/// A path without `..`, where no link is before one.
fn without_parents(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => {
                plain.pop();
            }
            other => plain.push(other),
        }
    }
    plain
}

fn leads_to(directory: &Path, protected: &Path) -> bool {
    protected.starts_with(directory) || directory.starts_with(protected)
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::*;

    #[test]
    fn a_grant_selects_exact_names_and_prefixes_of_the_environment() {
        let environment: Environment =
            [("ACI_REGION", "westeurope"), ("ACI_", "bare"), ("ACI", "no"), ("PATH", "/bin"), ("PATHS", "no")]
                .into_iter()
                .collect();
        let grants = ["ACI_*", "PATH", "UNSET"].map(|text| text.parse::<EnvGrant>().unwrap());
        let selected = select(&grants, &environment);
        let pairs: Vec<_> = selected.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(pairs, [("ACI_", "bare"), ("ACI_REGION", "westeurope"), ("PATH", "/bin")]);
    }

    #[test]
    fn an_environment_grant_is_a_name_or_a_prefix_and_never_everything() {
        for text in ["A", "_a1", "lower*", "A*"] {
            assert!(text.parse::<EnvGrant>().is_ok(), "{text}");
        }
        for text in ["", "*", "*_KEY", "A*B", "A**", "1A", "A-B", "A=B", "A B", "Ä"] {
            assert!(text.parse::<EnvGrant>().is_err(), "{text}");
        }
    }

    fn names(grants: &[PathBuf], protected: &[Protected]) -> anyhow::Result<Vec<PathBuf>> {
        Ok(readable(grants, protected)?.into_iter().map(|grant| grant.name).collect())
    }

    #[test]
    fn a_directory_that_leads_to_something_protected_is_refused_through_links_too() {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        fs::create_dir_all(at("secret/inner")).unwrap();
        fs::create_dir(at("open")).unwrap();
        fs::write(at("secret/kubeconfig"), "").unwrap();
        symlink(at("secret"), at("alias")).unwrap();
        symlink(at("secret/kubeconfig"), at("open/link")).unwrap();
        let file = [Protected::new("the kubeconfig", at("open/link"))];
        let directory = [Protected::new("the token", at("alias"))];

        assert_eq!(names(&[at("open")], &file).unwrap(), [at("open")], "a link out of it leads nowhere for a guest");
        assert_eq!(names(&[at("secret/inner")], &file).unwrap(), [at("secret/inner")]);
        for grant in ["secret", "alias", ""] {
            let refusal = readable(&[at(grant)], &file).unwrap_err().to_string();
            assert!(refusal.contains("the kubeconfig"), "{grant}: {refusal}");
        }
        for grant in ["secret", "alias", "alias/inner", "secret/../alias/inner"] {
            let refusal = readable(&[at(grant)], &directory).unwrap_err().to_string();
            assert!(refusal.contains("the token"), "{grant}: {refusal}");
        }
    }

    #[test]
    fn what_is_protected_need_not_exist_yet() {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        fs::create_dir_all(at("open/inner")).unwrap();
        symlink(at("open"), at("alias")).unwrap();
        symlink("open/made-later", at("dangling")).unwrap();
        symlink(at("loop"), at("loop")).unwrap();
        for protected in ["open/token", "alias/absent/token", "dangling", "dangling/token", "none/../open/token"] {
            let protected = [Protected::new("the token", at(protected))];
            let refusal = readable(&[at("open")], &protected).unwrap_err().to_string();
            assert!(refusal.contains("the token"), "{refusal}");
            assert!(readable(&[at("open/inner")], &protected).is_ok());
        }
        assert!(readable(&[at("open")], &[Protected::new("the token", at("loop"))]).is_ok());
    }

    #[test]
    fn a_link_is_followed_when_the_grant_is_read_and_not_after() {
        let root = tempfile::tempdir().unwrap();
        let real = root.path().canonicalize().unwrap();
        let at = |name: &str| real.join(name);
        fs::create_dir_all(at("one/inner")).unwrap();
        symlink("one/inner", at("link")).unwrap();
        for (grant, name) in [("link", "link"), ("one/../link", "link"), ("link/..", "one")] {
            let found = readable(&[at(grant)], &[]).unwrap();
            let leads = if grant == "link/.." { "one" } else { "one/inner" };
            assert_eq!(found, [ReadGrant { name: at(name), real: at(leads) }], "{grant}");
        }
    }

    #[test]
    fn the_hosts_own_process_directory_is_never_granted() {
        for grant in ["/", "/proc", "/proc/self", "/proc/self/fd"] {
            assert!(readable(&[grant.into()], &always_protected()).is_err(), "{grant}");
        }
    }

    #[test]
    fn what_is_not_a_directory_is_refused_by_name() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(readable(&[file], &[]).unwrap_err().to_string().contains("is not a directory"));
        let refusal = readable(&[root.path().join("absent")], &[]).unwrap_err();
        assert!(refusal.to_string().contains("absent"), "{refusal}");
    }

    #[test]
    fn a_directory_granted_twice_is_opened_once() {
        let root = tempfile::tempdir().unwrap();
        let grant = root.path().to_path_buf();
        fs::create_dir(grant.join("a")).unwrap();
        assert_eq!(names(&[grant.clone(), grant.clone(), grant.join("a/..")], &[]).unwrap(), [grant]);
    }
}
