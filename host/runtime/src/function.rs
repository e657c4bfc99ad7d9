//! The functions that a provider exports, and how long each may take.

use std::time::Duration;

use crate::Timeouts;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Function {
    Configure,
    Describe,
    Create,
    Update,
    Delete,
    Get,
    Poll,
}

impl Function {
    pub(crate) const ALL: [Self; 7] =
        [Self::Configure, Self::Describe, Self::Create, Self::Update, Self::Delete, Self::Get, Self::Poll];

    /// Its name in the WIT, in metrics, and as the key of its time limit.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Configure => "configure",
            Self::Describe => "describe",
            Self::Create => "create",
            Self::Update => "update",
            Self::Delete => "delete",
            Self::Get => "get",
            Self::Poll => "poll",
        }
    }

    pub(crate) fn timeout(self, timeouts: &Timeouts) -> Duration {
        match self {
            Self::Configure => timeouts.configure,
            Self::Describe => timeouts.describe,
            Self::Create => timeouts.create,
            Self::Update => timeouts.update,
            Self::Delete => timeouts.delete,
            Self::Get => timeouts.get,
            Self::Poll => timeouts.poll,
        }
    }
}
