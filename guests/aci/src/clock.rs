//! The time, which tests move.

use std::time::{SystemTime, UNIX_EPOCH};

#[cfg(test)]
pub(crate) use vk_sdk::testing::now;

#[cfg(not(test))]
pub(crate) fn now() -> SystemTime {
    SystemTime::now()
}

/// Milliseconds since 1970, as times are kept in the cache.
pub(crate) fn milliseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
