//! Programs that are the tools of a Go module: built once, and kept by what they were built from.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use sha2::{Digest, Sha256};
use tokio::process::Command;

use crate::Error;
use crate::component::tail;
use crate::once::once;

/// A Go module whose tools are wanted as programs.
#[derive(Debug, Clone)]
pub struct GoTools<'a> {
    /// What messages call them, without the version.
    pub name: &'a str,
    /// The path of the required Go module whose version is theirs.
    pub requirement: &'a str,
    /// The folder with `go.mod` and `go.sum`.
    pub module: PathBuf,
    /// Where builds are kept, each in a folder of its own.
    pub cache: PathBuf,
    /// Flags for Go's linker, from the version.
    pub link_flags: fn(&str) -> String,
    /// Programs that go gives another name than theirs.
    pub rename: &'a [(&'a str, &'a str)],
    /// How long a first build takes on two cores.
    pub takes: &'a str,
    /// What can be done in place of installing Go, with a comma before it; or nothing.
    pub instead: &'a str,
}

impl GoTools<'_> {
    /// The folder with the programs; the first call builds them.
    ///
    /// Concurrent callers, in this process or in others, wait for one build.
    ///
    /// # Errors
    ///
    /// When there is no Go, or the build fails.
    pub async fn built(&self) -> Result<PathBuf, Error> {
        Build::planned(self)?.cached().await
    }
}

/// One build: what the module asks for, and where the result belongs.
#[derive(Debug)]
struct Build<'a> {
    tools: &'a GoTools<'a>,
    /// Name and version.
    what: String,
    go: String,
    link_flags: String,
    /// Named by version and by the hash of everything that the result depends on.
    folder: PathBuf,
}

impl<'a> Build<'a> {
    fn planned(tools: &'a GoTools<'a>) -> Result<Build<'a>, Error> {
        let read = |name: &str| {
            let path = tools.module.join(name);
            std::fs::read_to_string(&path).map_err(Error::file("read", &path))
        };
        let (go_mod, go_sum) = (read("go.mod")?, read("go.sum")?);
        let named = |prefix: &str, what: &str| {
            let missing = || Error::GoMod { path: tools.module.join("go.mod"), what: what.to_owned() };
            let found = go_mod.lines().find_map(|line| line.trim().strip_prefix(prefix)).ok_or_else(missing)?;
            found.split_whitespace().next().map(str::to_owned).ok_or_else(missing)
        };
        let requirement = tools.requirement;
        let version = named(&format!("{requirement} v"), &format!("version of {requirement}"))?;
        let go = named("go ", "Go version")?;
        let link_flags = (tools.link_flags)(&version);
        let hash = Sha256::new().chain_update(&go_mod).chain_update(&go_sum).chain_update(&link_flags).finalize();
        let short: String = hash.iter().take(6).map(|byte| format!("{byte:02x}")).collect();
        let folder = tools.cache.join(format!("{version}-{short}"));
        Ok(Build { tools, what: format!("{} {version}", tools.name), go, link_flags, folder })
    }

    async fn cached(&self) -> Result<PathBuf, Error> {
        let what = format!("building {} (first time takes about {})", self.what, self.tools.takes);
        once(&self.folder, &what, async |bin: &Path| self.build(bin).await).await
    }

    async fn build(&self, bin: &Path) -> Result<(), Error> {
        let log = self.folder.join("build.log");
        let file = File::create(&log).map_err(Error::file("create", &log))?;
        let errors = file.try_clone().map_err(Error::file("duplicate", &log))?;
        let status = Command::new("go")
            .args(["build", "-mod=readonly", "-trimpath", "-ldflags", &self.link_flags, "-o"])
            .arg(bin)
            .arg("tool")
            .current_dir(&self.tools.module)
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
                    Error::NoGo { what: self.what.clone(), go: self.go.clone(), instead: self.tools.instead.to_owned() }
                }
                _ => Error::Spawn { program: "go".into(), source },
            })?;
        if !status.success() {
            let tail = tail(&log);
            return Err(Error::Build { what: self.what.clone(), status, log, tail });
        }
        for (made, name) in self.tools.rename {
            let made = bin.join(made);
            std::fs::rename(&made, bin.join(name)).map_err(Error::file("rename", &made))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tools(module: &Path) -> GoTools<'static> {
        GoTools {
            name: "Thing",
            requirement: "example.com/thing",
            module: module.to_path_buf(),
            cache: PathBuf::from("cache"),
            link_flags: |version| format!("-X main.version={version}"),
            rename: &[],
            takes: "a minute",
            instead: "",
        }
    }

    #[test]
    fn a_build_is_named_by_the_required_version_and_by_what_it_depends_on() {
        let module = tempfile::tempdir().expect("a folder");
        let write = |name: &str, text: &str| std::fs::write(module.path().join(name), text).expect("a file");
        write("go.mod", "module m\n\ngo 1.26.0\n\nrequire (\n\texample.com/thing v1.2.3 // indirect\n)\n");
        write("go.sum", "");
        let tools = tools(module.path());
        let build = Build::planned(&tools).expect("readable");
        assert_eq!((build.what.as_str(), build.go.as_str()), ("Thing 1.2.3", "1.26.0"));
        assert!(build.folder.starts_with("cache") && build.folder.to_string_lossy().contains("1.2.3-"), "{build:?}");
        write("go.sum", "changed");
        assert_ne!(Build::planned(&tools).expect("readable").folder, build.folder);
    }

    #[test]
    fn a_module_without_the_requirement_is_refused_by_name() {
        let module = tempfile::tempdir().expect("a folder");
        for name in ["go.mod", "go.sum"] {
            std::fs::write(module.path().join(name), "module m\ngo 1.26.0\n").expect("a file");
        }
        let refused = Build::planned(&tools(module.path())).expect_err("must be refused");
        assert!(refused.to_string().ends_with("names no version of example.com/thing"), "{refused}");
    }
}
