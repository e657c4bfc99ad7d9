//! Azure in this process, and what must hold of it whatever a test did.
//!
//! ```text
//!  Env ─ vk-host ─ aci.wasm ── HTTPS, WebSockets ──> Simulator (in this process): checks, groups, containers' processes
//!   └─ Azure ── settings, faults, what was asked ──────┘
//! ```
//!
//! A test on it ends only when the API server and Azure agree, when no rule of good manners was broken, and when no value
//! that [`hidden`] has made is found in anything that people read.

mod checks;
mod setup;
mod stranger;

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context as _, Result};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use serde_json::Value;
use vk_azure::{Route, Simulator};

pub use setup::AzureSetup;

use crate::{Env, PATIENCE, eventually};

/// How every value begins that nobody may be told.
pub(crate) const HIDDEN: &str = "HiddenValueOf";

/// A value that nobody may be told: no test ends well that has it in a log, an event or a pod's status.
pub fn hidden(what: &str) -> String {
    format!("{HIDDEN}{}", what.replace(|letter: char| !letter.is_ascii_alphanumeric(), ""))
}

/// A test's Azure.
pub struct Azure {
    /// The simulator itself.
    pub simulator: Simulator,
    /// Names of groups that somebody else has made.
    strangers: Mutex<BTreeSet<String>>,
}

impl Env {
    /// Starts Azure, and then vk-host with the provider for it, and waits until the node is Ready.
    ///
    /// # Errors
    ///
    /// If it is not in time.
    pub async fn start_azure(&mut self, setup: AzureSetup) -> Result<Arc<Azure>> {
        let azure = self.launch_azure(setup).await?;
        self.registered().await?;
        Ok(azure)
    }

    /// Starts Azure and vk-host, and waits for nothing.
    ///
    /// # Errors
    ///
    /// If one does not start.
    pub async fn launch_azure(&mut self, setup: AzureSetup) -> Result<Arc<Azure>> {
        let azure = self.prepare_azure(setup).await?;
        self.launch_again()?;
        Ok(azure)
    }

    /// Starts Azure and writes the files that vk-host is started with.
    ///
    /// # Errors
    ///
    /// If it does not start.
    pub async fn prepare_azure(&mut self, setup: AzureSetup) -> Result<Arc<Azure>> {
        let simulator = Simulator::start(setup.options()).await.context("Azure does not start")?;
        let host = setup.host(&self.bench, &simulator)?;
        self.prepare(host)?;
        let azure = Arc::new(Azure { simulator, strangers: Mutex::default() });
        self.azure = Some(azure.clone());
        Ok(azure)
    }
}

impl Azure {
    /// All groups, as the service shows them.
    pub fn groups(&self) -> Vec<Value> {
        self.simulator.groups().into_iter().map(|group| group.body).collect()
    }

    /// The names of the groups that somebody else has made.
    fn strangers(&self) -> BTreeSet<String> {
        self.strangers.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The groups of a pod.
    pub fn groups_of(&self, pod: &Pod) -> Vec<Value> {
        let uid = pod.uid().unwrap_or_default();
        self.groups().into_iter().filter(|group| tag(group, "UID") == uid).collect()
    }

    /// The one group of a pod, as the service shows it.
    ///
    /// # Errors
    ///
    /// If there is none, or more than one.
    pub fn group_of(&self, pod: &Pod) -> Result<Value> {
        let mut groups = self.groups_of(pod);
        anyhow::ensure!(groups.len() == 1, "pod {} has {} groups", pod.name_any(), groups.len());
        groups.pop().context("there is one")
    }

    /// The name of the one group of a pod.
    ///
    /// # Errors
    ///
    /// If there is none, or more than one.
    pub fn name_of(&self, pod: &Pod) -> Result<String> {
        let group = self.group_of(pod)?;
        Ok(group.get("name").and_then(Value::as_str).context("the group has no name")?.to_owned())
    }

    /// Waits until Azure is as wanted; `look` says what it is like otherwise.
    ///
    /// # Errors
    ///
    /// If that takes too long.
    pub async fn until<T>(&self, what: &str, mut look: impl FnMut(&Self) -> Result<T, String>) -> Result<T> {
        eventually(what, PATIENCE, async || look(self)).await
    }

    /// Waits until so many groups are there.
    ///
    /// # Errors
    ///
    /// If that takes too long.
    pub async fn groups_until(&self, count: usize) -> Result<()> {
        self.until(&format!("{count} groups"), |azure| match azure.groups().len() {
            found if found == count => Ok(()),
            found => Err(format!("{found} groups")),
        })
        .await
    }

    /// How many requests of a kind there were so far.
    pub fn count(&self, route: Route) -> usize {
        usize::try_from(self.simulator.counts().get(&route).copied().unwrap_or_default()).unwrap_or(usize::MAX)
    }

    /// Waits until all faults that strike a number of requests have struck them.
    ///
    /// # Errors
    ///
    /// If that takes too long.
    pub async fn struck(&self) -> Result<()> {
        self.until("the faults to strike", |azure| match azure.simulator.faults().as_slice() {
            [] => Ok(()),
            left => Err(format!("left: {left:?}")),
        })
        .await
    }

    /// Moves Azure's clock.
    pub fn advance(&self, by: Duration) {
        self.simulator.advance(by);
    }
}

/// A tag of a group, or nothing.
pub(crate) fn tag<'a>(group: &'a Value, name: &str) -> &'a str {
    group.get("tags").and_then(|tags| tags.get(name)).and_then(Value::as_str).unwrap_or_default()
}
