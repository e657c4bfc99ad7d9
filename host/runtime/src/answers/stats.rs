//! What `stats` answers.

use std::{
    collections::HashMap,
    time::{Duration, SystemTime},
};

use vk_provider::{ContainerUsage, NetworkUsage, PodId, PodUsage, Usage};

use super::{Checked, Malformed, NAME_BYTES, UID_BYTES, bounded, malformed};
use crate::{bindings::exports::vk::provider::stats, text};

/// More than the containers of any pod.
const CONTAINERS: usize = 1_000;

/// At most one usage for each of the pods that were asked for. Nothing of the ids in the answer but the uid counts.
pub(crate) fn stats(answer: Vec<stats::PodUsage>, asked: &[PodId]) -> Checked<Vec<PodUsage>> {
    let mut asked: HashMap<_, _> = asked.iter().map(|pod| (pod.uid.as_str(), pod)).collect();
    answer
        .into_iter()
        .map(|usage| {
            let uid = &usage.pod.uid;
            let pod = asked.remove(uid.as_str()).ok_or_else(|| {
                let uid = text::cut(uid, UID_BYTES);
                Malformed(format!("it is about uid {uid:?}, which was not asked for or is there twice"))
            })?;
            pod_usage(pod.clone(), usage)
        })
        .collect()
}

fn pod_usage(pod: PodId, usage: stats::PodUsage) -> Checked<PodUsage> {
    let count = usage.containers.len();
    if count > CONTAINERS {
        return malformed(format!("a pod has {count} containers, more than {CONTAINERS}"));
    }
    Ok(PodUsage {
        pod,
        started_at: usage.started_at.map(time).transpose()?,
        containers: usage.containers.into_iter().map(container).collect::<Checked<_>>()?,
        network: usage.network.map(network).transpose()?,
    })
}

fn container(container: stats::ContainerUsage) -> Checked<ContainerUsage> {
    bounded("the name of a container", container.name.len(), NAME_BYTES)?;
    let usage = container.usage;
    Ok(ContainerUsage {
        name: container.name,
        started_at: container.started_at.map(time).transpose()?,
        usage: Usage {
            at: time(usage.at)?,
            cpu_nano_cores: usage.cpu_nano_cores,
            cpu_core_nano_seconds: usage.cpu_core_nano_seconds,
            memory_working_set_bytes: usage.memory_working_set_bytes,
            memory_usage_bytes: usage.memory_usage_bytes,
            memory_rss_bytes: usage.memory_rss_bytes,
        },
    })
}

fn network(network: stats::NetworkUsage) -> Checked<NetworkUsage> {
    let stats::NetworkUsage { at, received_bytes, sent_bytes } = network;
    Ok(NetworkUsage { at: time(at)?, received_bytes, sent_bytes })
}

fn time(unix_milliseconds: u64) -> Checked<SystemTime> {
    let time = SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(unix_milliseconds));
    time.ok_or_else(|| Malformed(format!("{unix_milliseconds} is no time in milliseconds since 1970")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bindings::vk::provider::types::PodIdResult;

    fn usage(uid: &str) -> stats::PodUsage {
        let pod = PodIdResult { namespace: "?".into(), name: "?".into(), uid: uid.into(), handle: Some("?".into()) };
        stats::PodUsage { pod, started_at: Some(1_000), containers: vec![], network: None }
    }

    fn asked() -> [PodId; 2] {
        ["a", "b"].map(|uid| PodId { namespace: "n".into(), name: uid.into(), uid: uid.into(), handle: None })
    }

    #[test]
    fn each_pod_is_one_that_was_asked_for_and_keeps_its_id() {
        let read = stats(vec![usage("b")], &asked()).unwrap();
        assert_eq!(read[0].pod, asked()[1]);
        assert_eq!(read[0].started_at, Some(SystemTime::UNIX_EPOCH + Duration::from_secs(1)));
        for pods in [vec![usage("c")], vec![usage("a"), usage("a")], vec![usage("a"), usage("b"), usage("b")]] {
            let error = stats(pods, &asked()).unwrap_err().to_string();
            assert!(error.contains("which was not asked for or is there twice"), "{error}");
        }
    }

    #[test]
    fn containers_are_bounded() {
        let container = |name: String| stats::ContainerUsage {
            name,
            started_at: None,
            usage: stats::Usage {
                at: 1,
                cpu_nano_cores: None,
                cpu_core_nano_seconds: None,
                memory_working_set_bytes: None,
                memory_usage_bytes: None,
                memory_rss_bytes: None,
            },
        };
        let with = |containers| stats(vec![stats::PodUsage { containers, ..usage("a") }], &asked());
        assert!(with(vec![container("x".repeat(NAME_BYTES))]).is_ok());
        assert!(with(vec![container("x".repeat(NAME_BYTES + 1))]).is_err());
        let many = (0..=CONTAINERS).map(|_| container("x".into())).collect();
        assert_eq!(with(many).unwrap_err().to_string(), "a pod has 1001 containers, more than 1000");
    }
}
