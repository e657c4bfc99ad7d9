//! What is under test: the binary and the components, copied, so that a build beside the run changes neither.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    time::SystemTime,
};

use anyhow::{Context as _, Result, bail, ensure};
use tokio::process::Command;

/// The files under test.
#[derive(Debug, Clone)]
pub(crate) struct Programs {
    pub(crate) vk_host: PathBuf,
    pub(crate) mock: PathBuf,
    pub(crate) aci: PathBuf,
    /// Where all hosts of the run keep compiled components.
    pub(crate) cache: PathBuf,
}

impl Programs {
    /// Brings vk-host up to date and copies it and the components into `folder`.
    pub(crate) async fn copy_to(folder: &Path) -> Result<Self> {
        let built = build_vk_host().await?;
        let guests = repository().join("target/guests");
        let [mock, aci] = ["mock", "aci"].map(|name| guests.join(name).with_extension("wasm"));
        check_guest("mock", &mock)?;
        check_guest("aci", &aci)?;
        let copy = |from: &Path, name: &str| -> Result<PathBuf> {
            let to = folder.join(name);
            fs::copy(from, &to).with_context(|| format!("cannot copy {}", from.display()))?;
            Ok(to)
        };
        Ok(Self {
            vk_host: copy(&built, "vk-host")?,
            mock: copy(&mock, "mock.wasm")?,
            aci: copy(&aci, "aci.wasm")?,
            cache: folder.join("cache"),
        })
    }
}

pub(crate) fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).map(Path::to_path_buf).unwrap_or_default()
}

/// Builds vk-host in the profile of this test; takes less than a second if nothing changed.
async fn build_vk_host() -> Result<PathBuf> {
    let own = std::env::current_exe().context("this test has no path")?;
    let folder = own.ancestors().nth(2).context("this test is not in cargo's target folder")?;
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    let profile = if name == "debug" { "dev" } else { &name };
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    // Without --package, as every recipe builds it, so that its dependencies are not built a second time.
    let status = Command::new(cargo)
        .args(["build", "--quiet", "--bin", "vk-host", "--profile", profile])
        .current_dir(repository())
        .stdin(Stdio::null())
        .status()
        .await
        .context("cargo does not start")?;
    ensure!(status.success(), "vk-host does not build: run `cargo build --bin vk-host`");
    Ok(folder.join("vk-host"))
}

/// A component that is older than its sources would test what nobody reads. Cargo has noted which they are.
fn check_guest(name: &str, component: &Path) -> Result<()> {
    let Some(built) = modified(component) else {
        bail!("{} is not there: run `./just build-guests`", component.display());
    };
    let notes = repository().join(format!("target/guests-build/wasm32-wasip2/release/{name}.d"));
    // Where it was built elsewhere, nothing is known.
    let notes = fs::read_to_string(notes).unwrap_or_default();
    for source in notes.split_whitespace().skip(1) {
        let older = modified(Path::new(source)).is_some_and(|changed| built < changed);
        ensure!(!older, "{} is older than {source}: run `./just build-guests`", component.display());
    }
    Ok(())
}

fn modified(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).and_then(|metadata| metadata.modified()).ok()
}
