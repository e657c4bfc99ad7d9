//! The usage of pods, whose handles say what to answer.

use crate::{
    Component, commands,
    exports::vk::provider::stats::{ContainerUsage, Guest, NetworkUsage, PodUsage, Usage},
    vk::provider::types::{Error, ErrorKind, PodId},
};

impl Guest for Component {
    fn read(pods: Vec<PodId>) -> Result<Vec<PodUsage>, Error> {
        let mut usages = Vec::new();
        for mut pod in pods {
            match pod.handle.clone().unwrap_or_default().as_str() {
                "absent" => continue,
                "unavailable" => {
                    let message = "no figures yet".into();
                    return Err(Error { kind: ErrorKind::Unavailable, message, retry_after: None });
                }
                "other" => pod.uid = "somebody else".into(),
                "twice" => usages.push(usage(pod.clone())),
                handle => commands::misbehave(handle, ""),
            }
            usages.push(usage(pod));
        }
        Ok(usages)
    }
}

fn usage(pod: PodId) -> PodUsage {
    let usage = Usage {
        at: 1_700_000_000_123,
        cpu_nano_cores: Some(250_000_000),
        cpu_core_nano_seconds: Some(7),
        memory_working_set_bytes: Some(64 << 20),
        memory_usage_bytes: None,
        memory_rss_bytes: Some(1 << 20),
    };
    PodUsage {
        started_at: Some(1_600_000_000_000),
        containers: vec![ContainerUsage { name: "app".into(), started_at: None, usage }],
        network: Some(NetworkUsage { at: usage.at, received_bytes: 1, sent_bytes: 2 }),
        pod,
    }
}
