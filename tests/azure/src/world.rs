//! Everything that is kept.

use std::{
    collections::{BTreeMap, HashMap},
    net::Ipv4Addr,
};

use jiff::Timestamp;
use serde_json::Value;

use crate::{
    containers::streams::Trouble,
    fault::Faults,
    group::Held,
    log::Log,
    options::{Options, Quirks},
    rules::Rules,
    throttle::Throttle,
};

/// Where a group is found: its resource group and its name, in lower case.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Key {
    pub(crate) resource_group: String,
    pub(crate) name: String,
}

impl Key {
    pub(crate) fn new(resource_group: &str, name: &str) -> Self {
        Self { resource_group: resource_group.to_ascii_lowercase(), name: name.to_ascii_lowercase() }
    }
}

pub(crate) struct World {
    pub(crate) groups: BTreeMap<Key, Held>,
    /// Groups that are gone, while they can still be seen.
    pub(crate) ghosts: Vec<Ghost>,
    pub(crate) operations: HashMap<String, Operation>,
    /// Tokens that were given out, and until when each is valid.
    pub(crate) tokens: HashMap<String, Timestamp>,
    /// Properties of subnets by their ids in lower case.
    pub(crate) subnets: BTreeMap<String, Value>,
    pub(crate) resource_groups: Vec<String>,
    pub(crate) registered: bool,
    pub(crate) faults: Faults,
    pub(crate) throttle: Throttle,
    pub(crate) log: Log,
    pub(crate) rules: Rules,
    pub(crate) quirks: Quirks,
    pub(crate) trouble: Trouble,
    addresses: u32,
}

/// A group after its deletion.
#[derive(Debug, Clone)]
pub(crate) struct Ghost {
    pub(crate) key: Key,
    /// As `GET` answers it.
    pub(crate) shown: Value,
    pub(crate) gets_left: u32,
    pub(crate) listed_until: Timestamp,
}

/// Something that takes its time.
#[derive(Debug, Clone)]
pub(crate) struct Operation {
    pub(crate) started: Timestamp,
    pub(crate) what: Work,
}

/// What an operation is about.
#[derive(Debug, Clone)]
pub(crate) enum Work {
    /// To make or start a group: done when it runs.
    Group(Key),
    /// To delete a group: done when it is gone.
    Removal(Key),
    /// To change a subnet: done at a time.
    Subnet(Timestamp),
}

impl World {
    pub(crate) fn new(options: &Options) -> Self {
        let subnets = options.subnets.iter();
        Self {
            groups: BTreeMap::new(),
            ghosts: Vec::new(),
            operations: HashMap::new(),
            tokens: HashMap::new(),
            subnets: subnets.map(|subnet| (subnet.id.to_ascii_lowercase(), subnet.properties.clone())).collect(),
            resource_groups: options.resource_groups.clone(),
            registered: options.registered,
            faults: Faults::new(options.seed),
            throttle: Throttle::new(options.quotas),
            log: Log::default(),
            rules: Rules::default(),
            quirks: options.quirks.clone(),
            trouble: Trouble::default(),
            addresses: 0,
        }
    }

    /// An address that no group had before.
    pub(crate) fn new_address(&mut self, public: bool) -> Ipv4Addr {
        self.addresses += 1;
        // Of documentation's networks (RFC 5737) there are too few; 198.18.0.0/15 is for tests (RFC 2544).
        let network = if public { Ipv4Addr::new(198, 18, 0, 0) } else { Ipv4Addr::new(10, 241, 0, 0) };
        Ipv4Addr::from_bits(network.to_bits() + 3 + self.addresses % 0xfff0)
    }

    /// The resource group as it is spelled, if it is there.
    pub(crate) fn resource_group(&self, name: &str) -> Option<&String> {
        self.resource_groups.iter().find(|group| group.eq_ignore_ascii_case(name))
    }
}
