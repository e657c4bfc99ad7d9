//! What must hold before any pod is created or given up.

/// What is known of both sides as a whole.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Gate {
    /// The provider has listed completely what it runs.
    pub(super) listed: bool,
    /// The API server has named all pods of the node.
    pub(super) watched: bool,
    /// Many pods have vanished together from the provider.
    pub(super) vanished: bool,
}

impl Gate {
    /// What runs is known on both sides.
    pub(super) fn is_settled(self) -> bool {
        self.listed && self.watched
    }

    pub(super) fn may_create(self) -> bool {
        self.is_settled() && !self.vanished
    }

    pub(super) fn may_give_up(self) -> bool {
        !self.vanished
    }
}
