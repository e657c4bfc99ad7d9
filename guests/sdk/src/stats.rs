//! What pods use, for `kubectl top` and autoscalers.

use std::time::{SystemTime, UNIX_EPOCH};

pub use crate::bindings::stats::exports::vk::provider::stats::{ContainerUsage, NetworkUsage, PodUsage, Usage};
use crate::{ErrorKind, PodId, Provider, Result};

/// Says what pods use. Implement it beside [`Provider`], and export it: `export!(MyProvider: Stats)`.
pub trait Stats: Provider {
    /// The usage of these pods, without those that cannot be read. The host asks for a hundred at most at a time.
    ///
    /// A backend that has no call for several pods at once is asked with [`read_each`].
    fn read_usage(&self, pods: Vec<PodId>) -> Result<Vec<PodUsage>>;
}

/// Reads one pod after the other, and leaves out those that cannot be read: one that was just deleted does not take the
/// figures of all others with it.
///
/// # Errors
///
/// The last one, if no pod could be read, for another reason than that none is there.
pub fn read_each(pods: Vec<PodId>, mut read: impl FnMut(PodId) -> Result<PodUsage>) -> Result<Vec<PodUsage>> {
    let (mut usages, mut failure) = (Vec::with_capacity(pods.len()), None);
    for pod in pods {
        let name = pod.full_name();
        match read(pod) {
            Ok(usage) => usages.push(usage),
            Err(error) if error.kind == ErrorKind::NotFound => {}
            Err(error) => {
                crate::debug!(pod = name, "what the pod uses cannot be read: {}", error.message);
                failure = Some(error);
            }
        }
    }
    match failure {
        Some(error) if usages.is_empty() => Err(error),
        _ => Ok(usages),
    }
}

impl PodUsage {
    /// A pod and what its containers use.
    pub fn new(pod: PodId, containers: Vec<ContainerUsage>) -> Self {
        Self { pod, started_at: None, containers, network: None }
    }

    /// The same, with when the pod was started.
    #[must_use]
    pub fn started_at(mut self, time: SystemTime) -> Self {
        self.started_at = Some(unix_milliseconds(time));
        self
    }
}

impl ContainerUsage {
    /// A container and what it uses.
    pub fn new(name: impl Into<String>, usage: Usage) -> Self {
        Self { name: name.into(), started_at: None, usage }
    }

    /// The same, with when the container was started. It tells consumers that a counter begins anew.
    #[must_use]
    pub fn started_at(mut self, time: SystemTime) -> Self {
        self.started_at = Some(unix_milliseconds(time));
        self
    }
}

impl Usage {
    /// What was read at a time, which is nothing yet.
    pub fn at(time: SystemTime) -> Self {
        Self {
            at: unix_milliseconds(time),
            cpu_nano_cores: None,
            cpu_core_nano_seconds: None,
            memory_working_set_bytes: None,
            memory_usage_bytes: None,
            memory_rss_bytes: None,
        }
    }

    /// CPU: billionths of a core on average over a short while, and billionths of a core-second since the start.
    #[must_use]
    pub fn cpu(mut self, nano_cores: u64, core_nano_seconds: u64) -> Self {
        self.cpu_nano_cores = Some(nano_cores);
        self.cpu_core_nano_seconds = Some(core_nano_seconds);
        self
    }

    /// Memory that cannot be freed, in bytes: the figure that `kubectl top` shows.
    #[must_use]
    pub fn working_set(mut self, bytes: u64) -> Self {
        self.memory_working_set_bytes = Some(bytes);
        self
    }
}

fn unix_milliseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Error;

    fn read(uids: &str) -> Result<Vec<String>> {
        let pod = |uid: char| PodId { namespace: "d".into(), name: "p".into(), uid: uid.into(), handle: None };
        let read = |pod: PodId| match pod.uid.as_str() {
            "g" => Err(Error::not_found("gone")),
            "b" => Err(Error::unavailable("broken")),
            _ => Ok(PodUsage::new(pod, Vec::new())),
        };
        Ok(read_each(uids.chars().map(pod).collect(), read)?.into_iter().map(|usage| usage.pod.uid).collect())
    }

    #[test]
    fn a_pod_that_cannot_be_read_takes_no_other_with_it() {
        assert_eq!(read("1g2b3"), Ok(vec!["1".to_owned(), "2".to_owned(), "3".to_owned()]));
        for nothing in ["", "gg"] {
            assert_eq!(read(nothing), Ok(Vec::new()));
        }
        assert_eq!(read("gbg"), Err(Error::unavailable("broken")));
    }
}
