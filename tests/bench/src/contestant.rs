//! Who is measured, and how each is started.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};
use clap::ValueEnum;
use tokio::process::Command;
use vk_cluster::GoTools;

use crate::{control::Control, process::Process};

/// Who is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Contestant {
    /// The least that a kubelet can do.
    Floor,
    /// kwok, whose pods are as unreal.
    Kwok,
    /// vk-host with the mock provider, which keeps its pods by itself.
    VkHost,
}

impl Contestant {
    /// All of them.
    pub(crate) const ALL: [Self; 3] = [Self::Floor, Self::Kwok, Self::VkHost];

    /// What tables, files and processes call it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Floor => "floor",
            Self::Kwok => "kwok",
            Self::VkHost => "vk-host",
        }
    }

    /// The name of its node.
    pub(crate) fn node(self) -> String {
        format!("bench-{}", self.name())
    }
}

impl fmt::Display for Contestant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The mock's: plenty of room; what is left out is as it has it.
const SETTINGS: &str = "cpu = \"4000\"\nmemory = \"8Ti\"\npods = \"20000\"\n";

/// What is needed to start any of them.
pub(crate) struct Programs {
    /// For configuration, logs and compiled components.
    folder: PathBuf,
    kwok: Option<PathBuf>,
    vk_host: PathBuf,
    mock: PathBuf,
}

impl Programs {
    /// Finds the programs of those who take part; kwok is built by the first call.
    pub(crate) async fn find(contestants: &[Contestant], folder: PathBuf) -> Result<Self> {
        let own = std::env::current_exe().context("the bench has no path")?;
        let vk_host = own.with_file_name("vk-host");
        let mock = repository().join("target/guests/mock.wasm");
        if contestants.contains(&Contestant::VkHost) {
            ensure!(vk_host.exists(), "{} is not there: build it in the same profile", vk_host.display());
            ensure!(mock.exists(), "{} is not there: run `./just build-guests`", mock.display());
            std::fs::write(folder.join("mock.toml"), SETTINGS)?;
        }
        let kwok =
            if contestants.contains(&Contestant::Kwok) { Some(kwok().built().await?.join("kwok")) } else { None };
        Ok(Self { folder, kwok, vk_host, mock })
    }

    /// Lets vk-host's provider reach these.
    pub(crate) fn grant(&self, grants: &[String]) -> Result<()> {
        let settings = format!("{SETTINGS}\n[sandbox]\nnet = {grants:?}\n");
        Ok(std::fs::write(self.folder.join("mock.toml"), settings)?)
    }

    /// Readies the control plane for those who take part.
    pub(crate) async fn prepare(&self, control: &Control) -> Result<()> {
        if self.kwok.is_some() {
            control.apply(&kwok_folder().join("rights.yaml")).await?;
        }
        Ok(())
    }

    /// Starts a contestant on its node, which is made for those who make none.
    pub(crate) async fn start(&self, contestant: Contestant, control: &Control) -> Result<Process> {
        let node = contestant.node();
        let identity = || control.kubeconfig_for(&format!("system:node:{node}"), Some("system:nodes"));
        let mut command = match contestant {
            Contestant::Floor => {
                control.create_node(&node).await?;
                let mut command = Command::new(std::env::current_exe()?);
                command.arg("floor").arg("--kubeconfig").arg(identity()?).args(["--node", &node]);
                command
            }
            Contestant::Kwok => {
                control.create_node(&node).await?;
                let mut command = Command::new(self.kwok.as_ref().context("kwok was not built")?);
                command.arg("--kubeconfig").arg(control.kubeconfig_for("kwok-controller", None)?);
                command.arg("--config").arg(kwok_folder().join("kwok.yaml")).args(["--manage-single-node", &node]);
                command
            }
            Contestant::VkHost => {
                let mut command = Command::new(&self.vk_host);
                command.arg("--kubeconfig").arg(identity()?).args(["--nodename", &node]);
                command.arg("--provider-wasm").arg(&self.mock);
                command.arg("--provider-config").arg(self.folder.join("mock.toml"));
                command.arg("--cache-dir").arg(self.folder.join("cache"));
                let files = control.kubelet_certificate();
                command.args(["--listen", "127.0.0.1:0", "--address", "127.0.0.1", "--client-ca-file"]);
                command.arg(control.authority()).arg("--tls-cert-file").arg(files.certificate);
                command.arg("--tls-private-key-file").arg(files.key);
                // It may not read the namespace that the owner would follow from.
                command.args(["--owner", "bench"]);
                command
            }
        };
        // With the control plane's processes, so that its reaper ends this one too when it ends them.
        command.process_group(control.group());
        Process::start(contestant.name(), command, &self.folder)
    }
}

/// kwok's Go module.
fn kwok() -> GoTools<'static> {
    GoTools {
        name: "kwok",
        requirement: "sigs.k8s.io/kwok",
        module: kwok_folder(),
        cache: repository().join("target/kwok"),
        link_flags: |_| "-s -w".to_owned(),
        rename: &[],
        takes: "two minutes",
        instead: ", or leave kwok out with --only floor,vk-host",
    }
}

fn kwok_folder() -> PathBuf {
    repository().join("tests/bench/kwok")
}

fn repository() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.ancestors().nth(2).unwrap_or(package).to_path_buf()
}
