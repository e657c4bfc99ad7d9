//! Reading what pods use.

use std::time::{Duration, SystemTime};

use vk_provider::{ContainerUsage, ErrorKind, Fault, NetworkUsage, PodId, PodUsage, STATS_BATCH, Stats, Usage};

use crate::{
    probe::{Probe, id},
    sessions::generation,
};

async fn read(probe: &Probe, pods: &[PodId]) -> Result<Vec<PodUsage>, vk_provider::Error> {
    Stats::read(&*probe.runtime, pods).await
}

fn at(milliseconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(milliseconds)
}

#[tokio::test]
async fn usage_arrives_for_the_pods_that_have_any() {
    let probe = Probe::start(generation()).await;
    let pods = [id("a", None), id("b", Some("absent")), id("c", None)];
    let usage = Usage {
        at: at(1_700_000_000_123),
        cpu_nano_cores: Some(250_000_000),
        cpu_core_nano_seconds: Some(7),
        memory_working_set_bytes: Some(64 << 20),
        memory_usage_bytes: None,
        memory_rss_bytes: Some(1 << 20),
    };
    let expected = |pod: &PodId| PodUsage {
        pod: pod.clone(),
        started_at: Some(at(1_600_000_000_000)),
        containers: vec![ContainerUsage { name: "app".into(), started_at: None, usage: usage.clone() }],
        network: Some(NetworkUsage { at: usage.at, received_bytes: 1, sent_bytes: 2 }),
    };
    assert_eq!(read(&probe, &pods).await.unwrap(), [expected(&pods[0]), expected(&pods[2])]);
    assert_eq!(read(&probe, &[]).await.unwrap(), []);
    let batch: Vec<_> = (0..STATS_BATCH).map(|number| id(&number.to_string(), None)).collect();
    assert_eq!(read(&probe, &batch).await.unwrap().len(), STATS_BATCH);
}

#[tokio::test]
async fn usage_that_fails_says_how() {
    let probe = Probe::start(generation()).await;
    for (handle, kind, fault, message) in [
        ("unavailable", ErrorKind::Unavailable, None, "no figures yet"),
        (
            "other",
            ErrorKind::Internal,
            Some(Fault::Answer),
            "it is about uid \"somebody else\", which was not asked for",
        ),
        (
            "twice",
            ErrorKind::Internal,
            Some(Fault::Answer),
            "it is about uid \"u\", which was not asked for or is there",
        ),
        ("trap", ErrorKind::Internal, Some(Fault::Trap), "the provider trapped in read-stats"),
    ] {
        let error = read(&probe, &[id("u", Some(handle))]).await.unwrap_err();
        assert_eq!((error.kind, error.fault), (kind, fault), "{error:?}");
        assert!(error.message.contains(message), "{error:?}");
    }
}
