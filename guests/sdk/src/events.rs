//! What `kubectl describe pod` shows.

use std::time::{SystemTime, UNIX_EPOCH};

pub use crate::bindings::vk::provider::events::Event;
use crate::{PodId, host};

/// Reports an event. The same (pod, container, time, reason) again is recorded once, so what stands in the backend's
/// records may be reported each time that it is read.
pub fn report(pod: &PodId, event: &Event) {
    host::report(pod, event);
}

/// Reports that something went well. The reason is one word in CamelCase.
pub fn normal(pod: &PodId, reason: &str, message: impl Into<String>) {
    report(pod, &event(false, reason, message.into()));
}

/// Reports that something went wrong. The reason is one word in CamelCase.
pub fn warning(pod: &PodId, reason: &str, message: impl Into<String>) {
    report(pod, &event(true, reason, message.into()));
}

fn event(warning: bool, reason: &str, message: String) -> Event {
    let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let at = u64::try_from(at.as_millis()).unwrap_or(u64::MAX);
    Event { container: None, at, warning, reason: reason.to_owned(), message }
}
