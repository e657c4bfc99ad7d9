//! What is asked of the service for pods, apart from how it is asked.

use vk_sdk::Result;

use crate::group::ContainerGroup;

/// The container groups of one resource group.
pub(crate) trait Service {
    /// The group of this name, with all that is known of its state; `None` if there is none.
    fn get(&self, name: &str) -> Result<Option<ContainerGroup>>;

    /// A page of all groups, without the states of their containers. `next` is what the page before named.
    fn list(&self, next: Option<&str>) -> Result<Page>;

    /// Makes a group, or replaces the one of this name.
    fn put(&self, name: &str, group: &ContainerGroup) -> Result<ContainerGroup>;

    /// Removes a group.
    fn delete(&self, name: &str) -> Result<Removal>;
}

/// A part of a listing.
#[derive(Debug, Clone, Default)]
pub(crate) struct Page {
    pub(crate) groups: Vec<ContainerGroup>,
    /// Where the listing goes on.
    pub(crate) next: Option<String>,
}

/// How far a removal is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Removal {
    Gone,
    Removing,
}
