//! Azure for tests: the directory, the instance metadata service, Azure Resource Manager and container groups.
//!
//! ```text
//!   aci.wasm ──https──> request log ─> faults ─> directory | metadata service | resource manager
//!                                                                  │ checks, state, life cycle (a clock tests can move)
//!            ──wss───> exec, attach ─────────────> containers: local processes, their logs and terminals
//!   a test ──/control/…, or in process
//! ```
//!
//! A test holds a [`Simulator`] in process, or runs the program `vk-azure` and speaks to `/control` (see [`Simulator`] for
//! what each route does). What a well-mannered client would not do is kept as a [`Violation`].

mod answer;
mod arm;
mod body;
mod clock;
pub mod containers;
mod control;
mod directory;
mod error;
mod fault;
mod group;
mod groups;
mod life;
mod log;
mod metadata;
mod metrics;
mod network;
mod options;
mod provider;
mod realtime;
mod route;
mod rules;
mod server;
mod streams;
mod throttle;
mod tls;
mod validate;
mod view;
mod world;

pub use fault::{Armed, Effect, Fault, Refusal};
pub use log::Request;
pub use options::{Bucket, Delays, Limits, Options, Quirks, Quotas, Registry, Share, Subnet};
pub use route::{Class, Route};
pub use rules::{Rule, Violation};
pub use view::Group;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::Context as _;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{net::TcpListener, sync::watch, task::JoinSet};

use crate::{clock::Clock, containers::streams::Sessions, tls::Tls, world::World};

pub use containers::streams::Trouble;

/// A running simulator. Dropping it stops it, and all containers with it.
///
/// | method | route |
/// |---|---|
/// | [`groups`](Self::groups), [`group`](Self::group) | `GET /control/groups`, `GET /control/groups/{name}` |
/// | [`remove_group`](Self::remove_group) | `DELETE /control/groups/{name}` |
/// | [`edit_group`](Self::edit_group) | `PUT /control/groups/{name}/edit` with what is to be seen |
/// | [`move_group`](Self::move_group) | `POST /control/groups/{name}/move` |
/// | [`requests`](Self::requests) | `GET /control/requests` |
/// | [`violations`](Self::violations) | `GET /control/violations` |
/// | [`fault`](Self::fault) | `POST /control/faults` with a [`Fault`] |
/// | [`faults`](Self::faults) | `GET /control/faults` |
/// | [`clear_fault`](Self::clear_fault), [`clear_faults`](Self::clear_faults) | `DELETE /control/faults/{number}`, `DELETE /control/faults` |
/// | [`set_quirks`](Self::set_quirks) | `PUT /control/quirks` with [`Quirks`] |
/// | [`set_trouble`](Self::set_trouble) | `PUT /control/trouble` with [`Trouble`] |
/// | [`add_resource_group`](Self::add_resource_group) | `PUT /control/resource-groups/{name}` |
/// | [`remove_resource_group`](Self::remove_resource_group) | `DELETE /control/resource-groups/{name}` |
/// | [`advance`](Self::advance) | `POST /control/clock?milliseconds=…` |
///
/// The routes of `/control` are those of the plain listener.
pub struct Simulator {
    shared: Arc<Shared>,
    authority: String,
    /// Aborted when dropped.
    _listening: JoinSet<()>,
    _temporary: Option<TempDir>,
}

/// What the handlers of requests share with the simulator's owner.
pub(crate) struct Shared {
    options: Options,
    clock: Clock,
    urls: Urls,
    folder: PathBuf,
    world: Mutex<World>,
    changes: watch::Sender<()>,
    sessions: Sessions,
}

/// Where the simulator listens.
pub(crate) struct Urls {
    tls: String,
    plain: String,
}

impl Shared {
    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        // A handler that panicked under the lock is kept as a violation.
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells those who wait for something that it may have happened.
    pub(crate) fn changed(&self) {
        self.changes.send_replace(());
    }
}

impl Simulator {
    /// Starts a simulator without groups.
    ///
    /// # Errors
    ///
    /// If an address is not of the loopback interface, or taken, or the folder cannot be made.
    pub async fn start(options: Options) -> anyhow::Result<Self> {
        for address in [options.listen, options.listen_plain] {
            // Whoever reaches the simulator runs programs.
            anyhow::ensure!(address.ip().is_loopback(), "{address} is not a loopback address");
        }
        let listener = TcpListener::bind(options.listen).await.with_context(|| options.listen.to_string())?;
        let plain = TcpListener::bind(options.listen_plain).await.with_context(|| options.listen_plain.to_string())?;
        let tls = Tls::new(options.listen.ip())?;
        let urls = Urls {
            tls: format!("https://{}", listener.local_addr()?),
            plain: format!("http://{}", plain.local_addr()?),
        };
        let temporary = if options.folder.is_none() { Some(TempDir::with_prefix("vk-azure-")?) } else { None };
        let folder = match (&options.folder, &temporary) {
            (Some(folder), _) => folder.clone(),
            (None, Some(temporary)) => temporary.path().to_owned(),
            (None, None) => PathBuf::new(),
        };
        tokio::fs::create_dir_all(&folder).await.with_context(|| folder.display().to_string())?;
        let world = Mutex::new(World::new(&options));
        let changes = watch::Sender::new(());
        let shared = Arc::new(Shared {
            options,
            clock: Clock::new(),
            urls,
            folder,
            world,
            changes,
            sessions: Sessions::default(),
        });
        let mut listening = JoinSet::new();
        listening.spawn(server::serve(listener, Some(tls.acceptor), shared.clone()));
        listening.spawn(server::serve(plain, None, shared.clone()));
        Ok(Self { shared, authority: tls.authority, _listening: listening, _temporary: temporary })
    }

    /// Where Azure Resource Manager is: an URL without a slash at its end.
    pub fn arm_url(&self) -> &str {
        &self.shared.urls.tls
    }

    /// Where the directory is: an URL without a slash at its end.
    pub fn directory_url(&self) -> &str {
        &self.shared.urls.tls
    }

    /// Where the instance metadata service is, and `/control`: an URL without a slash at its end.
    pub fn metadata_url(&self) -> &str {
        &self.shared.urls.plain
    }

    /// Where groups' realtime figures are read, with `{ip}` for a group's address; without `/v1/stats`.
    pub fn realtime_url_template(&self) -> String {
        format!("{}/realtime/{{ip}}", self.shared.urls.plain)
    }

    /// The certificate, in PEM, that clients have to trust.
    pub fn authority_pem(&self) -> &str {
        &self.authority
    }

    /// Where containers' files and logs are.
    pub fn folder(&self) -> &Path {
        &self.shared.folder
    }

    /// A file of credentials as the Azure CLI writes it, for the simulator's principal and endpoints.
    pub fn credentials(&self) -> Value {
        let options = &self.shared.options;
        json!({
            "clientId": options.client_id,
            "clientSecret": options.client_secret,
            "subscriptionId": options.subscription,
            "tenantId": options.tenant,
            "activeDirectoryEndpointUrl": format!("{}/", self.directory_url()),
            "resourceManagerEndpointUrl": format!("{}/", self.arm_url()),
        })
    }

    /// What the simulator was set to.
    pub fn options(&self) -> &Options {
        &self.shared.options
    }

    /// All groups that are there, in the order of their resource groups and names.
    pub fn groups(&self) -> Vec<Group> {
        self.shared.groups()
    }

    /// A group that is there, by its name.
    pub fn group(&self, name: &str) -> Option<Group> {
        self.shared.group(name)
    }

    /// Waits until a group is as it should be. Returns it.
    ///
    /// # Errors
    ///
    /// If that does not come about in a minute; with the group as it is instead.
    pub async fn wait_for(&self, name: &str, wanted: impl Fn(&Group) -> bool) -> anyhow::Result<Group> {
        const LONGEST: Duration = Duration::from_secs(60);
        let mut changes = self.shared.changes.subscribe();
        let found = async {
            loop {
                changes.mark_unchanged();
                if let Some(group) = self.group(name).filter(&wanted) {
                    return group;
                }
                // The sender is part of what is borrowed here.
                let _open = changes.changed().await;
            }
        };
        match tokio::time::timeout(LONGEST, found).await {
            Ok(group) => Ok(group),
            Err(_late) => anyhow::bail!("the group {name} is not as it should be: {:?}", self.group(name)),
        }
    }

    /// Removes a group without being asked by a client. Says whether it was there.
    pub fn remove_group(&self, name: &str) -> bool {
        self.shared.remove_group(name)
    }

    /// Changes what clients see of a group, as a JSON merge patch of the resource manager's answers; an object with numbers
    /// for names reaches into an array. It holds until the next change; `null` goes back to the truth. A member is
    /// removed by `null`, and shown as `null` by `{"$value": null}`. Says whether the group is there.
    pub fn edit_group(&self, name: &str, change: Value) -> bool {
        self.shared.edit_group(name, change)
    }

    /// The requests so far, the last 100000 of them, without `/control`.
    pub fn requests(&self) -> Vec<Request> {
        self.shared.world().log.requests()
    }

    /// How many requests there were so far.
    pub fn counts(&self) -> BTreeMap<Route, u64> {
        self.shared.world().log.counts().clone()
    }

    /// What a well-mannered client would not have done, and requests at which the simulator itself failed: the first
    /// 10000.
    pub fn violations(&self) -> Vec<Violation> {
        self.shared.world().rules.violations().to_vec()
    }

    /// Makes requests fail until the fault has struck as often as it says, or is cleared. Returns the fault's number.
    ///
    /// # Panics
    ///
    /// If the effect cannot happen on the fault's route.
    pub fn fault(&self, fault: Fault) -> u64 {
        let nonsense = fault.nonsense();
        assert!(nonsense.is_none(), "{}", nonsense.unwrap_or_default());
        self.shared.world().faults.arm(fault)
    }

    /// The faults that are armed, with how often each has struck.
    pub fn faults(&self) -> Vec<Armed> {
        self.shared.world().faults.list().to_vec()
    }

    /// Disarms one fault. Says whether it was armed.
    pub fn clear_fault(&self, number: u64) -> bool {
        self.shared.world().faults.disarm(number)
    }

    /// Disarms all faults.
    pub fn clear_faults(&self) {
        self.shared.world().faults.clear();
    }

    /// Makes the service behave as it surprises, from now on.
    pub fn set_quirks(&self, quirks: Quirks) {
        self.shared.world().quirks = quirks;
    }

    /// Makes sessions that are opened from now on go wrong.
    pub fn set_trouble(&self, trouble: Trouble) {
        self.shared.world().trouble = trouble;
    }

    /// Moves a group to another host: it gets another address, and its containers begin again. Says whether it is there.
    pub fn move_group(&self, name: &str) -> bool {
        self.shared.move_group(name)
    }

    /// Adds a resource group without groups, if it is not there yet.
    pub fn add_resource_group(&self, name: &str) {
        self.shared.world().add_resource_group(name);
    }

    /// Removes a resource group, and all groups in it. Says whether it was there.
    pub fn remove_resource_group(&self, name: &str) -> bool {
        self.shared.remove_resource_group(name)
    }

    /// Counts requests against quotas from now on, or no more.
    pub fn set_quotas(&self, quotas: Option<Quotas>) {
        self.shared.world().throttle.set(quotas);
    }

    /// Registers the subscription for container instances, or takes that back.
    pub fn set_registered(&self, registered: bool) {
        self.shared.world().registered = registered;
    }

    /// Moves the clock on. What was to happen until then happens now.
    pub fn advance(&self, by: Duration) {
        self.shared.clock.advance(by);
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        // What lives a group's life keeps what is shared.
        let groups = std::mem::take(&mut self.shared.world().groups);
        drop(groups);
    }
}

/// A name that nothing else has, in the form of a UUID.
pub(crate) fn guid() -> String {
    let digits = format!("{:032x}", rand::random::<u128>());
    let parts = [0..8, 8..12, 12..16, 16..20, 20..32].map(|range| digits.get(range).unwrap_or_default().to_owned());
    parts.join("-")
}
