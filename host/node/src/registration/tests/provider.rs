//! What the provider's answers, and their lack, make of the node.

use vk_provider::{Condition, ConditionStatus};

use super::*;

#[tokio::test(start_paused = true)]
async fn nothing_is_registered_before_the_provider_has_described_the_node() {
    let api = FakeApi::default();
    let mut running = Running::start(&api, settings(), Err(unavailable()));
    sleep(Duration::from_secs(60)).await;
    assert!(api.list("nodes").is_empty());
    running.answer(Ok(description()));
    running.published(Option::is_some).await;
    assert_eq!(running.condition("Ready"), "True KubeletReady");
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_cannot_work_as_configured_ends_the_start() {
    let api = FakeApi::default();
    let running = Running::start(&api, settings(), Err(Error::new(ErrorKind::Invalid, "region is missing")));
    let error = running.task.await.unwrap().unwrap_err();
    assert!(matches!(error, RegistrationError::Refused(source) if source.message == "region is missing"));
    assert!(api.list("nodes").is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_provider_out_of_reach_shows_at_once_and_makes_the_node_not_ready_later() {
    let api = FakeApi::default();
    let mut running = Running::registered(&api, settings()).await;
    let recoveries = running.handle.recoveries();
    running.answer(Err(unavailable()));
    let failed = Instant::now();
    until(|| running.condition("ProviderReachable") == "False Unavailable").await;
    assert!(failed.elapsed() <= Duration::from_secs(11));
    assert_eq!(running.condition("Ready"), "True KubeletReady");
    assert_eq!(running.condition("ProviderAuthorized"), "True ProviderAnswers");
    running.published(|facts| facts.as_ref().is_some_and(|facts| !facts.ready)).await;
    assert!((300..=311).contains(&failed.elapsed().as_secs()), "{:?}", failed.elapsed());
    assert_eq!(running.condition("Ready"), "False ProviderUnreachable");
    assert!(!recoveries.has_changed().unwrap());
    running.answer(Ok(description()));
    running.published(|facts| facts.as_ref().is_some_and(|facts| facts.ready)).await;
    assert!(recoveries.has_changed().unwrap(), "whoever waits for the provider is told");
    assert_eq!(running.condition("ProviderReachable"), "True ProviderAnswers");
    until(|| running.event("ProviderUnreachable").is_some()).await;
}

#[tokio::test(start_paused = true)]
async fn one_good_answer_starts_the_time_to_not_ready_anew() {
    let api = FakeApi::default();
    let running = Running::registered(&api, settings()).await;
    for _ in 0..4 {
        running.answer(Err(unavailable()));
        sleep(Duration::from_secs(200)).await;
        assert_eq!(running.condition("Ready"), "True KubeletReady");
        running.answer(Ok(description()));
        until(|| running.condition("ProviderReachable") == "True ProviderAnswers").await;
    }
}

#[tokio::test(start_paused = true)]
async fn credentials_that_are_refused_show_as_unauthorized_and_not_as_unreachable() {
    let api = FakeApi::default();
    let running = Running::registered(&api, settings()).await;
    running.answer(Err(Error::new(ErrorKind::Unauthenticated, "token expired")));
    until(|| running.condition("ProviderAuthorized") == "False Unauthenticated").await;
    assert_eq!(running.condition("ProviderReachable"), "True ProviderAnswers");
    running.answer(Ok(description()));
    until(|| running.condition("ProviderAuthorized") == "True ProviderAnswers").await;
}

#[tokio::test(start_paused = true)]
async fn a_denied_call_shows_until_one_succeeds_after_the_longest_back_off() {
    let api = FakeApi::default();
    let running = Running::registered(&api, settings()).await;
    running.handle.called::<()>(&Err(Error::new(ErrorKind::PermissionDenied, "may not create")));
    until(|| running.condition("ProviderAuthorized") == "False PermissionDenied").await;
    sleep(Duration::from_secs(300)).await;
    running.handle.called(&Ok(()));
    assert_eq!(running.condition("ProviderAuthorized"), "False PermissionDenied");
    running.handle.called::<()>(&Err(unavailable()));
    sleep(Duration::from_secs(60)).await;
    assert_eq!(running.condition("ProviderAuthorized"), "False PermissionDenied");
    running.handle.called(&Ok(()));
    until(|| running.condition("ProviderAuthorized") == "True ProviderAnswers").await;
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_was_replaced_is_asked_at_once() {
    let api = FakeApi::default();
    let running = Running::registered(&api, settings()).await;
    let mut changed = description();
    changed.capacity[0].1 = "40".into();
    running.answer(Ok(changed));
    let started = Instant::now();
    running.handle.provider_replaced(&Info { name: "mock".into(), version: "2".into() });
    until(|| running.node()["status"]["capacity"]["cpu"] == "40").await;
    assert!(started.elapsed() < Duration::from_secs(1));
    until(|| running.event("ProviderReplaced").is_some()).await;
    assert_eq!(running.event("ProviderReplaced").unwrap()["type"], "Normal");
    running.handle.replacement_failed("mock.toml:1: expected a value");
    until(|| running.event("ProviderReplacementFailed").is_some()).await;
    let event = running.event("ProviderReplacementFailed").unwrap();
    assert_eq!(event["type"], "Warning");
    assert!(event["message"].as_str().unwrap().ends_with("serves on: mock.toml:1: expected a value"), "{event}");
}

#[tokio::test(start_paused = true)]
async fn what_the_provider_takes_back_is_removed() {
    let api = FakeApi::default();
    let running = Running::registered(&api, settings()).await;
    let mut more = description();
    more.labels = vec![("topology.kubernetes.io/zone".into(), "a".into()), ("tier".into(), "burst".into())];
    more.capacity.push(("example.com/gpu".into(), "2".into()));
    more.conditions.push(Condition {
        kind: "QuotaLow".into(),
        status: ConditionStatus::Affirmed,
        reason: "Few".into(),
        message: "m".into(),
    });
    running.answer(Ok(more));
    until(|| running.node()["status"]["capacity"]["example.com/gpu"] == "2").await;
    assert_eq!(running.condition("QuotaLow"), "True Few");
    assert_eq!(running.node()["metadata"]["labels"]["topology.kubernetes.io/zone"], "a");
    running.answer(Ok(description()));
    until(|| running.node()["status"]["capacity"]["example.com/gpu"].is_null()).await;
    assert!(running.node()["metadata"]["labels"]["tier"].is_null());
    let conditions = running.node()["status"]["conditions"].as_array().unwrap().clone();
    assert!(conditions.iter().all(|condition| condition["type"] != "QuotaLow"));
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_is_not_ready_makes_the_node_not_ready_with_its_reason() {
    let api = FakeApi::default();
    let running = Running::registered(&api, settings()).await;
    let mut sick = description();
    sick.conditions = vec![
        Condition {
            kind: "Ready".into(),
            status: ConditionStatus::Denied,
            reason: "Draining".into(),
            message: "m".into(),
        },
        Condition {
            kind: "DiskPressure".into(),
            status: ConditionStatus::Affirmed,
            reason: "Full".into(),
            message: "m".into(),
        },
        Condition {
            kind: "ProviderReachable".into(),
            status: ConditionStatus::Denied,
            reason: "X".into(),
            message: "m".into(),
        },
    ];
    running.answer(Ok(sick));
    until(|| running.condition("Ready") == "False Draining").await;
    assert_eq!(running.condition("DiskPressure"), "True Full");
    assert_eq!(running.condition("ProviderReachable"), "True ProviderAnswers", "the host's own");
}

/// A node as an earlier host left it, with what others added.
fn left_behind() -> Value {
    json!({
        "metadata": { "labels": { "topology.kubernetes.io/zone": "a", "team": "blue" } },
        "spec": { "taints": [{ "key": "virtual-kubelet.io/provider", "value": "mock", "effect": "NoSchedule" }] },
        "status": {
            "nodeInfo": {
                "kubeletVersion": "v1.35.0-vk-0.0.9", "operatingSystem": "windows", "architecture": "arm64",
                "bootID": "", "containerRuntimeVersion": "mock://1.2.2", "kernelVersion": "", "kubeProxyVersion": "",
                "machineID": "", "osImage": "", "systemUUID": "",
            },
            "capacity": { "cpu": "64", "pods": "500", "example.com/fpga": "2" },
            "allocatable": { "cpu": "63", "pods": "500", "example.com/fpga": "2" },
            "conditions": [{ "type": "Ready", "status": "False", "reason": "KubeletNotReady" }],
        },
    })
}

#[tokio::test(start_paused = true)]
async fn a_node_that_was_there_is_adopted_as_it_is_while_the_provider_is_out_of_reach() {
    let api = FakeApi::default();
    api.put("nodes/vk", left_behind());
    let started = Instant::now();
    let mut running = Running::start(&api, settings(), Err(unavailable()));
    running.published(|facts| facts.as_ref().is_some_and(|facts| facts.ready)).await;
    assert!(started.elapsed() < Duration::from_secs(1));
    let node = running.node();
    let before = left_behind();
    for (part, field) in [("status", "capacity"), ("status", "allocatable"), ("spec", "taints")] {
        assert_eq!(node[part][field], before[part][field]);
    }
    for (label, value) in [
        ("topology.kubernetes.io/zone", "a"),
        ("team", "blue"),
        ("kubernetes.io/os", "windows"),
        ("kubernetes.io/arch", "arm64"),
        ("type", "virtual-kubelet"),
    ] {
        assert_eq!(node["metadata"]["labels"][label], value, "{label}");
    }
    assert_eq!(node["status"]["nodeInfo"]["operatingSystem"], "windows");
    assert_eq!(node["status"]["addresses"][0]["address"], "192.0.2.7");
    assert_eq!(running.condition("ProviderReachable"), "False Unavailable");
    assert_eq!(running.condition("Ready"), "True KubeletReady");
    assert_eq!(running.facts.borrow().as_ref().unwrap().allocatable["cpu"].0, "63");

    running.published(|facts| facts.as_ref().is_some_and(|facts| !facts.ready)).await;
    assert!((300..=311).contains(&started.elapsed().as_secs()), "{:?}", started.elapsed());
    running.answer(Ok(description()));
    running.published(|facts| facts.as_ref().is_some_and(|facts| facts.ready)).await;
    until(|| running.node()["status"]["capacity"]["cpu"] == "20").await;
    assert_eq!(running.node()["status"]["capacity"]["example.com/fpga"], "2", "others' still");
    assert_eq!(running.node()["status"]["nodeInfo"]["operatingSystem"], "linux");
}

#[tokio::test(start_paused = true)]
async fn a_node_that_no_virtual_kubelet_has_run_is_not_adopted_before_it_is_described() {
    let api = FakeApi::default();
    api.put("nodes/vk", json!({ "metadata": { "labels": { "team": "blue" } } }));
    let before = api.get("nodes/vk");
    let mut running = Running::start(&api, settings(), Err(unavailable()));
    sleep(Duration::from_secs(60)).await;
    assert_eq!(api.get("nodes/vk"), before);
    running.answer(Ok(description()));
    running.published(|facts| facts.as_ref().is_some_and(|facts| facts.ready)).await;
    assert_eq!(running.node()["metadata"]["labels"]["team"], "blue");
}

#[tokio::test(start_paused = true)]
async fn a_node_deleted_before_the_provider_has_described_it_waits_for_that() {
    let api = FakeApi::default();
    api.put("nodes/vk", left_behind());
    let mut running = Running::start(&api, settings(), Err(unavailable()));
    running.published(|facts| facts.as_ref().is_some_and(|facts| facts.ready)).await;
    api.remove("nodes/vk");
    running.published(|facts| facts.as_ref().is_some_and(|facts| facts.uid.is_empty())).await;
    sleep(Duration::from_secs(60)).await;
    assert!(api.list("nodes").is_empty());
    running.answer(Ok(description()));
    running.published(|facts| facts.as_ref().is_some_and(|facts| !facts.uid.is_empty() && facts.ready)).await;
    assert_eq!(running.node()["status"]["capacity"]["cpu"], "20");
}

#[tokio::test(start_paused = true)]
async fn a_wrong_configuration_that_shows_after_an_outage_ends_the_start_too() {
    let api = FakeApi::default();
    api.put("nodes/vk", left_behind());
    let mut running = Running::start(&api, settings(), Err(unavailable()));
    running.published(Option::is_some).await;
    running.answer(Err(Error::new(ErrorKind::Unsupported, "no such region")));
    let error = running.task.await.unwrap().unwrap_err();
    assert!(matches!(error, RegistrationError::Refused(source) if source.message == "no such region"));
}
