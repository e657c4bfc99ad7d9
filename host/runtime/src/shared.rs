//! What all instances of a generation have in common.

use std::sync::{Arc, OnceLock};

use vk_egress::Egress;
use vk_provider::Info;

use crate::{Limits, cache::Cache, events::Events, lines::LineRate};

pub(crate) struct Shared {
    /// Counts the generations of a runtime, from 1.
    pub(crate) generation: u64,
    pub(crate) label: String,
    /// Known once the first instance is configured.
    pub(crate) info: OnceLock<Info>,
    pub(crate) egress: Egress,
    pub(crate) cache: Cache,
    pub(crate) events: Arc<Events>,
    pub(crate) line_rate: LineRate,
    pub(crate) limits: Limits,
}

impl Shared {
    /// The provider's name, or the component's label as long as it has not said its name.
    pub(crate) fn name(&self) -> &str {
        self.info.get().map_or(&self.label, |info| &info.name)
    }

    /// `NAME VERSION`, or the label.
    pub(crate) fn name_and_version(&self) -> String {
        match self.info.get() {
            Some(info) => format!("{} {}", info.name, info.version),
            None => self.label.clone(),
        }
    }
}
