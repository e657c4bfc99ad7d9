//! What a simulator is set to.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What a simulator is set to. The defaults are a service that is quick, has room, and names no quota.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where directory, resource manager and streams listen, with TLS; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Where the metadata service, realtime figures and `/control` listen, without TLS; port 0 takes a free one.
    pub listen_plain: SocketAddr,
    /// Where containers' files and logs are; `None`: in a folder that goes with the simulator.
    pub folder: Option<PathBuf>,
    /// The one subscription there is.
    pub subscription: String,
    /// The one tenant there is.
    pub tenant: String,
    /// The application that may log in.
    pub client_id: String,
    /// Its secret.
    pub client_secret: String,
    /// Managed identities that the metadata service knows, by their client ids. The first is the default one.
    pub identities: Vec<String>,
    /// Resource groups that are there.
    pub resource_groups: Vec<String>,
    /// Regions, without blanks and in lower case.
    pub regions: Vec<String>,
    /// Whether the subscription is registered for container instances from the start.
    pub registered: bool,
    /// How long a token is valid.
    pub token_lifetime: Duration,
    /// How long things take.
    pub delays: Delays,
    /// How many groups a page of a list has at most.
    pub page_size: usize,
    /// Whether members of a request that the service does not know are refused, and not ignored.
    pub strict: bool,
    /// How much a group, and all together, may ask for.
    pub limits: Limits,
    /// How often requests may come; `None`: as often as they like, and no answer names a quota.
    pub quotas: Option<Quotas>,
    /// Image registries that want to know who pulls.
    pub registries: Vec<Registry>,
    /// File shares that `azureFile` volumes can mount.
    pub shares: Vec<Share>,
    /// Subnets that are there.
    pub subnets: Vec<Subnet>,
    /// How GPU groups are sold: SKUs that each region has.
    pub gpu_skus: Vec<String>,
    /// What the service does that surprises.
    pub quirks: Quirks,
    /// Seed of whatever is left to chance.
    pub seed: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            listen: (Ipv4Addr::LOCALHOST, 0).into(),
            listen_plain: (Ipv4Addr::LOCALHOST, 0).into(),
            folder: None,
            subscription: "5ab5c41c-7f0e-4c0a-9d0c-0000000000a1".into(),
            tenant: "7e4a4e2b-4f0d-4f5e-8d0c-0000000000b2".into(),
            client_id: "c1d7b3c2-60a5-4a51-9f53-0000000000c3".into(),
            client_secret: "simulated-client-secret".into(),
            identities: vec!["1d5e6c0a-9a55-47f3-b3ab-0000000000d4".into()],
            resource_groups: vec!["vk-rg".into()],
            regions: ["westeurope", "northeurope", "eastus", "westus"].map(str::to_owned).to_vec(),
            registered: true,
            token_lifetime: Duration::from_secs(3599),
            delays: Delays::default(),
            page_size: 20,
            strict: true,
            limits: Limits::default(),
            quotas: None,
            registries: Vec::new(),
            shares: Vec::new(),
            subnets: Vec::new(),
            gpu_skus: vec!["V100".into()],
            quirks: Quirks::default(),
            seed: 1,
        }
    }
}

/// How long things take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delays {
    /// Until a `PUT` of a group is answered.
    pub put: Duration,
    /// From there until the group is `Creating`, and its images are pulled.
    pub schedule: Duration,
    /// Until a container's image is pulled.
    pub pull: Duration,
    /// From there until the container has started.
    pub start: Duration,
    /// The first wait before a container that ended is started again. It doubles with each time, up to 5 minutes.
    pub back_off: Duration,
    /// How long a group whose images cannot be pulled keeps trying before it is `Failed`.
    pub give_up: Duration,
    /// How long a group that is deleted lingers: `DELETE` answers 202, and `GET` still finds it. Zero: it is gone at once.
    pub delete: Duration,
    /// How long the delegation of a subnet takes.
    pub subnet: Duration,
}

impl Default for Delays {
    fn default() -> Self {
        Self {
            put: Duration::ZERO,
            schedule: Duration::from_millis(20),
            pull: Duration::from_millis(50),
            start: Duration::from_millis(20),
            back_off: Duration::from_secs(10),
            give_up: Duration::from_secs(30 * 60),
            delete: Duration::ZERO,
            subnet: Duration::from_millis(100),
        }
    }
}

/// How much may be asked for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    /// Cores of one group.
    pub cpu: f64,
    /// Memory of one group, in GB.
    pub memory: f64,
    /// Groups of the subscription; `None`: any number.
    pub groups: Option<usize>,
    /// Cores of all groups together; `None`: any number.
    pub cores: Option<f64>,
}

impl Default for Limits {
    fn default() -> Self {
        Self { cpu: 4.0, memory: 16.0, groups: None, cores: None }
    }
}

/// How often requests may come.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Quotas {
    /// Creates, and as many deletes, in 5 minutes.
    pub five_minutes: u32,
    /// Creates, and as many deletes, in an hour.
    pub hour: u32,
    /// Reads of the subscription.
    pub reads: Bucket,
    /// Writes of the subscription.
    pub writes: Bucket,
    /// Deletes of the subscription.
    pub deletes: Bucket,
}

impl Default for Quotas {
    /// What Azure gives a subscription and principal at first.
    fn default() -> Self {
        Self {
            five_minutes: 100,
            hour: 300,
            reads: Bucket { size: 250, per_second: 25.0 },
            writes: Bucket { size: 200, per_second: 10.0 },
            deletes: Bucket { size: 200, per_second: 10.0 },
        }
    }
}

/// A bucket of tokens, of which each request takes one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bucket {
    /// How many it holds.
    pub size: u32,
    /// How many come back each second.
    pub per_second: f64,
}

/// An image registry that wants to know who pulls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registry {
    /// Its host, as images name it.
    pub server: String,
    /// Who may pull.
    pub username: String,
    /// Their password.
    pub password: String,
}

/// A file share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Share {
    /// Name of the storage account.
    pub account: String,
    /// Key of the storage account.
    pub key: String,
    /// Name of the share.
    pub name: String,
    /// The folder with its files.
    pub folder: PathBuf,
}

/// A subnet of a virtual network.
#[derive(Debug, Clone, PartialEq)]
pub struct Subnet {
    /// Its id: `/subscriptions/…/resourceGroups/…/providers/Microsoft.Network/virtualNetworks/…/subnets/…`.
    pub id: String,
    /// Its properties, as the resource manager gives them.
    pub properties: Value,
}

/// What the service does that surprises. All are off at first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Quirks {
    /// For so many milliseconds after its `PUT`, a `GET` of a group finds nothing.
    pub get_after_put: u64,
    /// For so many milliseconds after its `PUT`, lists do not name a group.
    pub list_after_put: u64,
    /// For so many milliseconds after its `DELETE`, lists still name a group.
    pub list_after_delete: u64,
    /// So many `GET`s after its `DELETE` still find a group.
    pub get_after_delete: u32,
    /// For so many milliseconds after it runs, a group has no address yet.
    pub ip_absent: u64,
    /// Digits of fractions of seconds, 0 to 7; `None`: 3.
    pub fraction_digits: Option<u8>,
    /// Containers have no member `events`.
    pub omit_events: bool,
    /// Containers that have no previous state have it as `null`, and not left out.
    pub null_previous_state: bool,
    /// Ids come back in capital letters.
    pub loud_ids: bool,
}
