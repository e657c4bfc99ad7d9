//! Where the programs of the control plane come from: a ready folder, or a cached build of the Go module.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio::process::Command;
use tokio::time::sleep;

use crate::component::tail;
use crate::{Error, progress};

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
            None => Build::planned()?.cached().await,
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

/// One build: what the module asks for, and where the result belongs.
struct Build {
    module: PathBuf,
    kubernetes: String,
    go: String,
    /// Named by version and by the hash of everything that the result depends on.
    folder: PathBuf,
}

impl Build {
    fn planned() -> Result<Build, Error> {
        let module = repository().join("tests/cluster/control-plane");
        let read = |name: &str| {
            let path = module.join(name);
            std::fs::read_to_string(&path).map_err(Error::file("read", &path))
        };
        let (go_mod, go_sum) = (read("go.mod")?, read("go.sum")?);
        let named = |prefix: &str, what| {
            let missing = || Error::GoMod { path: module.join("go.mod"), what };
            let found = go_mod.lines().find_map(|line| line.trim().strip_prefix(prefix)).ok_or_else(missing)?;
            found.split_whitespace().next().map(str::to_owned).ok_or_else(missing)
        };
        let kubernetes = named("k8s.io/kubernetes v", "version of k8s.io/kubernetes")?;
        let go = named("go ", "Go version")?;
        let link = link_flags(&kubernetes);
        let hash = Sha256::new().chain_update(&go_mod).chain_update(&go_sum).chain_update(&link).finalize();
        let short: String = hash.iter().take(6).map(|byte| format!("{byte:02x}")).collect();
        let folder = cache().join(format!("{kubernetes}-{short}"));
        Ok(Build { module, kubernetes, go, folder })
    }

    async fn cached(&self) -> Result<Binaries, Error> {
        let bin = self.folder.join("bin");
        if !bin.is_dir() {
            std::fs::create_dir_all(&self.folder).map_err(Error::file("create", &self.folder))?;
            let _lock = self.lock().await?;
            if !bin.is_dir() {
                let what = format!("building Kubernetes {} (first time takes about five minutes)", self.kubernetes);
                progress::during(&what, self.build(&bin)).await?;
            }
        }
        Ok(Binaries { folder: bin })
    }

    async fn lock(&self) -> Result<File, Error> {
        let path = self.folder.join("lock");
        let file = File::create(&path).map_err(Error::file("open", &path))?;
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::Error(error)) => return Err(Error::file("lock", &path)(error)),
            Err(TryLockError::WouldBlock) => {}
        }
        let waiting = async {
            loop {
                match file.try_lock() {
                    Ok(()) => return Ok(()),
                    Err(TryLockError::WouldBlock) => sleep(Duration::from_millis(200)).await,
                    Err(TryLockError::Error(error)) => return Err(Error::file("lock", &path)(error)),
                }
            }
        };
        progress::during("waiting for another build of the control plane", waiting).await?;
        Ok(file)
    }

    /// Builds beside `bin` and renames, so that an interrupted build leaves nothing that looks whole.
    async fn build(&self, bin: &Path) -> Result<(), Error> {
        self.sweep()?;
        let output = tempfile::Builder::new()
            .prefix(PARTIAL)
            .tempdir_in(&self.folder)
            .map_err(Error::file("create a folder in", &self.folder))?;
        let log = self.folder.join("build.log");
        let file = File::create(&log).map_err(Error::file("create", &log))?;
        let errors = file.try_clone().map_err(Error::file("duplicate", &log))?;
        let status = Command::new("go")
            .args(["build", "-mod=readonly", "-trimpath", "-ldflags", &link_flags(&self.kubernetes), "-o"])
            .arg(output.path())
            .arg("tool")
            .current_dir(&self.module)
            .env("CGO_ENABLED", "0")
            .env("GOWORK", "off")
            .stdin(Stdio::null())
            .stdout(file)
            .stderr(errors)
            .kill_on_drop(true)
            .status()
            .await
            .map_err(|source| match source.kind() {
                std::io::ErrorKind::NotFound => {
                    Error::NoGo { kubernetes: self.kubernetes.clone(), go: self.go.clone() }
                }
                _ => Error::Spawn { program: "go".into(), source },
            })?;
        if !status.success() {
            let tail = tail(&log);
            return Err(Error::Build { kubernetes: self.kubernetes.clone(), status, log, tail });
        }
        // The main package of etcd is its module's root, and so go names the program after the folder, `server`.
        let server = output.path().join("server");
        std::fs::rename(&server, output.path().join(Program::Etcd.name())).map_err(Error::file("rename", &server))?;
        std::fs::rename(output.path(), bin).map_err(Error::file("create", bin))
    }

    /// Removes what interrupted builds left. The lock is held, so nobody writes there.
    fn sweep(&self) -> Result<(), Error> {
        for entry in self.folder.read_dir().map_err(Error::file("list", &self.folder))?.flatten() {
            if entry.file_name().to_string_lossy().starts_with(PARTIAL) {
                std::fs::remove_dir_all(entry.path()).map_err(Error::file("remove", &entry.path()))?;
            }
        }
        Ok(())
    }
}

const PARTIAL: &str = "partial-";

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

    #[test]
    fn the_build_is_named_by_the_version_in_go_mod() {
        let build = Build::planned().expect("go.mod is readable");
        let name = build.folder.file_name().and_then(|name| name.to_str()).expect("a name");
        assert!(name.starts_with(&format!("{}-", build.kubernetes)), "{name}");
        assert!(build.kubernetes.starts_with("1."), "{}", build.kubernetes);
        assert!(build.go.starts_with("1."), "{}", build.go);
    }
}
