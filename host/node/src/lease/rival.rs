//! Another process that holds the lease, watched by one that waits for it. Pure; times are arguments.

use k8s_openapi::api::coordination::v1::Lease;
use tokio::time::Instant;

use super::STILL_FOR;

/// What was seen of it.
#[derive(Debug, Default)]
pub(super) struct Rival {
    /// The lease's last version, and when it was seen first.
    seen: Option<(String, Instant)>,
    /// Which process was told of last.
    told: Option<String>,
}

impl Rival {
    /// Whether the lease has not moved for so long that its holder must be gone.
    pub(super) fn is_still(&mut self, lease: &Lease, now: Instant) -> bool {
        let version = lease.metadata.resource_version.clone().unwrap_or_default();
        match &self.seen {
            Some((seen, since)) if *seen == version => now.duration_since(*since) >= STILL_FOR,
            _ => {
                self.seen = Some((version, now));
                false
            }
        }
    }

    /// Begins anew: what was not looked at may have moved.
    pub(super) fn forget(&mut self) {
        self.seen = None;
    }

    /// Whether nobody was told of this process yet.
    pub(super) fn is_news(&mut self, instance: &str) -> bool {
        let news = self.told.as_deref() != Some(instance);
        if news {
            self.told = Some(instance.to_owned());
        }
        news
    }
}
