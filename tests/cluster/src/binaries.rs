//! Where the programs of the control plane come from: a ready folder, or a cached build of the Go module.

use std::path::{Path, PathBuf};

use crate::{Error, GoTools};

/// A program of the control plane, or kubectl.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    /// The store.
    Etcd,
    /// kube-apiserver.
    ApiServer,
    /// kube-controller-manager: Deployments, Jobs, ServiceAccounts, node lifecycle.
    ControllerManager,
    /// kube-scheduler.
    Scheduler,
    /// The command-line client.
    Kubectl,
}

impl Program {
    /// All of them.
    pub const ALL: [Program; 5] =
        [Program::Etcd, Program::ApiServer, Program::ControllerManager, Program::Scheduler, Program::Kubectl];

    /// The name of its file, which is also the name of its log.
    pub const fn name(self) -> &'static str {
        match self {
            Program::Etcd => "etcd",
            Program::ApiServer => "kube-apiserver",
            Program::ControllerManager => "kube-controller-manager",
            Program::Scheduler => "kube-scheduler",
            Program::Kubectl => "kubectl",
        }
    }
}

/// A folder with the programs.
#[derive(Debug, Clone)]
pub struct Binaries {
    folder: PathBuf,
}

impl Binaries {
    /// Finds the programs `needed`: in the folder that `KUBEBUILDER_ASSETS` names, if that is set, else in the cache, which
    /// the first call fills with a build of about five minutes on two cores.
    ///
    /// Concurrent callers, in this process or in others, wait for one build.
    ///
    /// # Errors
    ///
    /// When the folder lacks a program, there is no Go, or the build fails.
    pub async fn find(needed: &[Program]) -> Result<Binaries, Error> {
        match std::env::var_os("KUBEBUILDER_ASSETS").filter(|folder| !folder.is_empty()) {
            Some(folder) => Binaries::ready(PathBuf::from(folder), needed),
            None => Ok(Binaries { folder: tools().built().await? }),
        }
    }

    /// The folder that holds all of them.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The path of one of them.
    pub fn path(&self, program: Program) -> PathBuf {
        self.folder.join(program.name())
    }

    fn ready(folder: PathBuf, needed: &[Program]) -> Result<Binaries, Error> {
        let missing: Vec<&str> =
            needed.iter().map(|program| program.name()).filter(|name| !folder.join(name).is_file()).collect();
        if !missing.is_empty() {
            return Err(Error::MissingAssets { folder, missing: missing.join(", ") });
        }
        Ok(Binaries { folder })
    }
}

/// The Go module of the control plane.
fn tools() -> GoTools<'static> {
    GoTools {
        name: "Kubernetes",
        requirement: "k8s.io/kubernetes",
        module: repository().join("tests/cluster/control-plane"),
        cache: cache(),
        link_flags,
        // The main package of etcd is its module's root, and so go names the program after the folder, `server`.
        rename: const { &[("server", Program::Etcd.name())] },
        takes: "five minutes",
        instead: ", or set KUBEBUILDER_ASSETS to a folder with etcd, kube-apiserver, kube-controller-manager, \
                  kube-scheduler and kubectl",
    }
}

/// Strips the programs and gives them the version that clients read; without it Kubernetes calls itself `v0.0.0-master`.
fn link_flags(kubernetes: &str) -> String {
    let mut numbers = kubernetes.split('.');
    let (major, minor) = (numbers.next().unwrap_or_default(), numbers.next().unwrap_or_default());
    let package = "k8s.io/component-base/version";
    format!(
        "-s -w -X {package}.gitVersion=v{kubernetes} -X {package}.gitMajor={major} -X {package}.gitMinor={minor} \
         -X {package}.gitCommit=unknown"
    )
}

/// The repository: where this crate was compiled, or what `VK_CLUSTER_ROOT` says for a binary that was moved.
pub(crate) fn repository() -> PathBuf {
    match std::env::var_os("VK_CLUSTER_ROOT").filter(|root| !root.is_empty()) {
        Some(root) => PathBuf::from(root),
        None => {
            let package = Path::new(env!("CARGO_MANIFEST_DIR"));
            package.ancestors().nth(2).unwrap_or(package).to_path_buf()
        }
    }
}

/// Where builds and what is worth keeping of failures are.
pub(crate) fn cache() -> PathBuf {
    repository().join("target/control-plane")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn envtest_assets_without_a_scheduler_are_refused_by_name_unless_it_is_not_needed() {
        let folder = tempfile::tempdir().expect("a folder");
        for program in [Program::Etcd, Program::ApiServer, Program::Kubectl] {
            std::fs::write(folder.path().join(program.name()), "").expect("a file");
        }
        let needed = [Program::Etcd, Program::ApiServer, Program::Kubectl];
        assert!(Binaries::ready(folder.path().to_path_buf(), &needed).is_ok());
        let refused = Binaries::ready(folder.path().to_path_buf(), &Program::ALL).expect_err("must be refused");
        assert!(refused.to_string().contains("lacks kube-controller-manager, kube-scheduler (envtest"), "{refused}");
    }
}
