//! What a test gets to see of groups.

use std::{collections::BTreeMap, sync::Arc};

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

use crate::{
    Shared,
    group::{Detail, Held},
    groups, life,
    options::Quirks,
    world::{Key, World},
};

/// A container group as it is, whatever quirks and edits make clients see.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Group {
    /// Its name.
    pub name: String,
    /// Its resource group.
    pub resource_group: String,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
    /// When it was put.
    pub created: Timestamp,
    /// Whether it is being deleted.
    pub deleting: bool,
    /// `Pending`, `Creating`, `Succeeded` or `Failed`.
    pub provisioning_state: String,
    /// `Pending`, `Running`, `Stopped`, `Succeeded` or `Failed`.
    pub state: String,
    /// Its address, once it has one.
    pub ip: Option<String>,
    /// How often its containers were started again, all together.
    pub restarts: u32,
    /// As a `GET` of the resource manager answers it.
    pub body: Value,
    /// What was put, secrets included. Not part of what `/control` tells.
    #[serde(skip)]
    pub sent: Value,
}

impl Group {
    fn of(held: &Held, quirks: &Quirks, now: Timestamp) -> Self {
        Self {
            name: held.name.clone(),
            resource_group: held.resource_group.clone(),
            tags: held.body.tags.clone(),
            created: held.created,
            deleting: held.deleted.is_some(),
            provisioning_state: format!("{:?}", held.life.provisioning),
            state: format!("{:?}", held.life.state),
            ip: held.life.address.map(|address| address.to_string()),
            restarts: held.life.containers.iter().map(|container| container.restarts).sum(),
            body: held.shown(Detail::Whole, quirks, now),
            sent: held.sent.clone(),
        }
    }
}

/// Finds a group by its name alone.
pub(crate) fn key_of(world: &World, name: &str) -> Option<Key> {
    world.groups.keys().find(|key| key.name.eq_ignore_ascii_case(name)).cloned()
}

impl Shared {
    pub(crate) fn groups(&self) -> Vec<Group> {
        let now = self.clock.now();
        let world = self.world();
        world.groups.values().map(|held| Group::of(held, &world.quirks, now)).collect()
    }

    pub(crate) fn group(&self, name: &str) -> Option<Group> {
        let now = self.clock.now();
        let world = self.world();
        let held = world.groups.get(&key_of(&world, name)?)?;
        Some(Group::of(held, &world.quirks, now))
    }

    pub(crate) fn remove_group(&self, name: &str) -> bool {
        let mut world = self.world();
        let removed = key_of(&world, name).is_some_and(|key| groups::remove(self, &mut world, &key));
        drop(world);
        self.changed();
        removed
    }

    pub(crate) fn move_group(self: &Arc<Self>, name: &str) -> bool {
        let mut world = self.world();
        let moved = key_of(&world, name).is_some_and(|key| life::relocate(self, &mut world, &key));
        drop(world);
        self.changed();
        moved
    }

    pub(crate) fn edit_group(&self, name: &str, change: Value) -> bool {
        let mut world = self.world();
        let key = key_of(&world, name);
        match key.and_then(|key| world.groups.get_mut(&key)) {
            Some(held) => {
                held.edit = change;
                true
            }
            None => false,
        }
    }
}
