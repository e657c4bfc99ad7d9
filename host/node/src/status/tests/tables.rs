//! Single cases: what a kubelet would write in the same place.

use super::*;

#[test]
fn a_pod_that_waits_for_its_creation_is_pending_with_its_containers_waiting() {
    let pod = step(&pod(json!({})), &Observed::Waiting, &facts(T1));
    assert_eq!(phase(&pod), "Pending");
    assert_eq!(status(&pod).reason, None);
    assert_eq!(waiting_reason(&pod, "web"), Some("ContainerCreating"));
    assert_eq!(container(&pod, "web").image, "web:1");
    assert_eq!(status(&pod).start_time.as_ref().unwrap().0, at("2026-05-01T10:00:10Z"), "in whole seconds");
    assert_eq!(status(&pod).host_ip.as_deref(), Some("192.0.2.1"));
    assert_eq!(status(&pod).host_ips.as_ref().unwrap().len(), 2);
    assert_eq!(status(&pod).observed_generation, Some(3));
    assert_eq!(says(&pod, "Initialized"), "True");
    assert_eq!(says(&pod, "ContainersReady"), "False ContainersNotReady containers with unready status: [web]");
    assert_eq!(says(&pod, "Ready"), "False ContainersNotReady containers with unready status: [web]");
    assert_eq!(says(&pod, "PodReadyToStartContainers"), "False");
}

#[test]
fn a_running_pod_is_ready_and_keeps_its_times() {
    let pod = step(&pod(json!({})), &Observed::Waiting, &facts(T0));
    let observed = reported(json!({ "podIPs": [{ "ip": "10.1.0.4" }], "containerStatuses": [running("web")] }));
    let pod = step(&pod, &observed, &facts(T1));
    assert_eq!(phase(&pod), "Running");
    assert_eq!(status(&pod).pod_ip.as_deref(), Some("10.1.0.4"));
    assert_eq!(says(&pod, "Ready"), "True");
    assert_eq!(says(&pod, "PodReadyToStartContainers"), "True");
    assert_eq!(condition(&pod, "Ready").observed_generation, Some(3));
    assert_eq!(condition(&pod, "Ready").last_transition_time.as_ref().unwrap().0, at("2026-05-01T10:00:10Z"));
    assert_eq!(condition(&pod, "Initialized").last_transition_time.as_ref().unwrap().0, at(T0));
    assert_eq!(status(&pod).start_time.as_ref().unwrap().0, at(T0));
    assert_eq!(compose(&pod, &observed, &facts(T2)).status, compose(&pod, &observed, &facts(T1)).status);
}

#[test]
fn what_the_host_does_not_own_is_never_in_a_patch() {
    let pod = pod(json!({}));
    let patch = patch(&pod, &compose(&pod, &Observed::Waiting, &facts(T1)).status).unwrap();
    assert!(patch["status"].get("qosClass").is_none());
    assert!(
        patch["status"]["conditions"].as_array().unwrap().iter().all(|condition| condition["type"] != "PodScheduled")
    );
    assert_eq!(patch["metadata"], json!({ "uid": "u-1" }));
}

#[test]
fn a_condition_that_somebody_breaks_is_repaired_and_nothing_else_is_sent() {
    let observed = reported(json!({ "podIPs": [{ "ip": "10.1.0.4" }], "containerStatuses": [running("web")] }));
    let mut pod = step(&pod(json!({})), &observed, &facts(T1));
    for condition in pod.status.as_mut().unwrap().conditions.as_mut().unwrap() {
        if condition.type_ == "Ready" {
            condition.status = "False".to_owned();
            condition.reason = Some("Vandalism".to_owned());
        }
    }
    let patch = patch(&pod, &compose(&pod, &observed, &facts(T2)).status).unwrap();
    assert_eq!(
        patch["status"],
        json!({ "conditions": [
            { "type": "Ready", "status": "True", "reason": null, "lastTransitionTime": T2 }
        ] })
    );
}

#[test]
fn addresses_are_replaced_and_not_merged() {
    let first = reported(json!({ "podIP": "10.1.0.4", "containerStatuses": [running("web")] }));
    let pod = step(&pod(json!({})), &first, &facts(T1));
    let second = reported(
        json!({ "podIPs": [{ "ip": "10.1.0.5" }, { "ip": "2001:db8::5" }], "containerStatuses": [running("web")] }),
    );
    let patch = patch(&pod, &compose(&pod, &second, &facts(T2)).status).unwrap();
    assert_eq!(
        patch["status"],
        json!({ "podIP": "10.1.0.5", "podIPs": [{ "ip": "10.1.0.5" }, { "ip": "2001:db8::5" }, { "$patch": "replace" }] })
    );
    let pod = applied(&pod, &patch);
    let ips: Vec<&str> = status(&pod).pod_ips.iter().flatten().map(|ip| ip.ip.as_str()).collect();
    assert_eq!(ips, ["10.1.0.5", "2001:db8::5"]);
}

#[test]
fn fields_that_the_provider_drops_are_removed() {
    let first = reported(
        json!({ "reason": "Odd", "message": "m", "podIP": "10.1.0.4", "containerStatuses": [running("web")] }),
    );
    let pod = step(&pod(json!({})), &first, &facts(T1));
    assert_eq!(status(&pod).reason.as_deref(), Some("Odd"));
    let pod = step(&pod, &reported(json!({ "containerStatuses": [running("web")] })), &facts(T2));
    assert_eq!((&status(&pod).reason, &status(&pod).message, &status(&pod).pod_ip), (&None, &None, &None));
    assert_eq!(status(&pod).pod_ips.as_deref().unwrap_or_default(), &[]);
}

#[test]
fn bad_addresses_are_dropped_one_by_one() {
    for (given, kept, complaint) in [
        (
            json!({ "podIPs": [{ "ip": "127.0.0.1" }] }),
            vec![],
            "podIPs[0]: 127.0.0.1 is not an address that a pod can be reached at",
        ),
        (
            json!({ "podIPs": [{ "ip": "::1" }] }),
            vec![],
            "podIPs[0]: ::1 is not an address that a pod can be reached at",
        ),
        (
            json!({ "podIPs": [{ "ip": "169.254.169.254" }] }),
            vec![],
            "podIPs[0]: 169.254.169.254 is not an address that a pod can be reached at",
        ),
        (
            json!({ "podIPs": [{ "ip": "fe80::1" }] }),
            vec![],
            "podIPs[0]: fe80::1 is not an address that a pod can be reached at",
        ),
        (
            json!({ "podIPs": [{ "ip": "0.0.0.0" }] }),
            vec![],
            "podIPs[0]: 0.0.0.0 is not an address that a pod can be reached at",
        ),
        (
            json!({ "podIPs": [{ "ip": "ff02::1" }] }),
            vec![],
            "podIPs[0]: ff02::1 is not an address that a pod can be reached at",
        ),
        (
            json!({ "podIPs": [{ "ip": "::ffff:127.0.0.1" }] }),
            vec![],
            "podIPs[0]: 127.0.0.1 is not an address that a pod can be reached at",
        ),
        (json!({ "podIPs": [{ "ip": "10.01.0.1" }] }), vec![], "podIPs[0]: is not an IP address"),
        (json!({ "podIPs": ["10.1.0.1"] }), vec![], "podIPs[0]: has no ip"),
        (json!({ "podIPs": "10.1.0.1" }), vec![], "podIPs: is not a list"),
        (
            json!({ "podIPs": [{ "ip": "10.1.0.1" }, { "ip": "10.1.0.2" }] }),
            vec!["10.1.0.1"],
            "podIPs[1]: 10.1.0.2 is the second of its family",
        ),
        (
            json!({ "podIP": "10.1.0.2", "podIPs": [{ "ip": "10.1.0.1" }] }),
            vec!["10.1.0.1"],
            "podIP: 10.1.0.2 is not podIPs[0], which is 10.1.0.1",
        ),
    ] {
        let composed = compose(&pod(json!({})), &reported(given.clone()), &facts(T1));
        let ips: Vec<&str> = composed.status.pod_ips.iter().flatten().map(|ip| ip.ip.as_str()).collect();
        assert_eq!(ips, kept, "{given}");
        assert_eq!(composed.status.pod_ip.as_deref(), kept.first().copied(), "{given}");
        assert_eq!(problems(&composed), [complaint], "{given}");
    }
}

#[test]
fn a_malformed_value_is_dropped_with_its_name_and_the_rest_is_used() {
    for (given, complaint) in [
        (json!({ "phase": "Banana" }), "phase: \"Banana\" is none of Pending, Running, Succeeded, Failed"),
        (json!({ "phase": 7 }), "phase: is not a string"),
        (json!({ "reason": "two words" }), "reason: is not one word"),
        (json!({ "startTime": "yesterday" }), "startTime: is not a time as RFC 3339 writes it"),
        (
            json!({ "conditions": [{ "type": "Ready", "status": "True" }] }),
            "conditions[Ready].type: is not of the provider's own domain, as in example.com/Checked",
        ),
        (
            json!({ "conditions": [{ "type": "x.k8s.io/A", "status": "True" }] }),
            "conditions[x.k8s.io/A].type: is not of the provider's own domain, as in example.com/Checked",
        ),
        (
            json!({ "conditions": [{ "type": "vk-host.dev/provider", "status": "True" }] }),
            "conditions[vk-host.dev/provider].type: is not of the provider's own domain, as in example.com/Checked",
        ),
        (
            json!({ "conditions": [{ "type": "example.com/A", "status": "Maybe" }] }),
            "conditions[example.com/A].status: is none of True, False, Unknown",
        ),
        (json!({ "conditions": [{ "status": "True" }] }), "conditions[0].type: is missing"),
        (json!({ "initContainerStatuses": {} }), "initContainerStatuses: is not a list"),
        (
            json!({ "ephemeralContainerStatuses": [{ "name": "x" }] }),
            "containerStatuses[x]: is not a container of this kind in the pod",
        ),
    ] {
        let mut whole = json!({ "podIP": "10.1.0.4", "containerStatuses": [running("web")] });
        merge(&mut whole, &given);
        let composed = compose(&pod(json!({})), &reported(whole), &facts(T1));
        assert_eq!(problems(&composed), [complaint], "{given}");
        assert_eq!(composed.status.phase.as_deref(), Some("Running"), "{given}");
        assert_eq!(composed.status.pod_ip.as_deref(), Some("10.1.0.4"), "{given}");
    }
}

#[test]
fn a_malformed_container_state_is_dropped_and_what_the_api_has_stays() {
    let pod = step(&pod(json!({})), &reported(json!({ "containerStatuses": [running("web")] })), &facts(T0));
    for (given, complaint) in [
        (
            json!({ "state": { "terminated": {} } }),
            "containerStatuses[web].state.terminated.exitCode: is missing: without it a failure would look like a success",
        ),
        (
            json!({ "state": { "terminated": { "exitCode": "1" } } }),
            "containerStatuses[web].state.terminated.exitCode: is not a whole number of 32 bits",
        ),
        (json!({ "state": { "running": 1 } }), "containerStatuses[web].state.running: is not an object"),
        (json!({ "state": [] }), "containerStatuses[web].state: is not an object"),
    ] {
        let mut status = json!({ "name": "web" });
        merge(&mut status, &given);
        let composed = compose(&pod, &reported(json!({ "containerStatuses": [status] })), &facts(T1));
        assert_eq!(problems(&composed)[0], complaint, "{given}");
        let status = &composed.status.container_statuses.as_ref().unwrap()[0];
        assert_eq!(status.state, container(&pod, "web").state, "{given}");
    }
}

#[test]
fn text_that_is_not_json_leaves_the_pod_as_it_is() {
    let pod = step(
        &pod(json!({})),
        &reported(json!({ "podIP": "10.1.0.4", "containerStatuses": [running("web")] })),
        &facts(T0),
    );
    for garbage in ["", "{", "[]", "null", "\u{0}"] {
        let composed = compose(&pod, &Observed::Reported(Arc::new(Report::parse(garbage))), &facts(T2));
        assert_eq!(patch(&pod, &composed.status), None, "{garbage:?}");
        assert_eq!(composed.problems.len(), 1, "{garbage:?}");
    }
}

#[test]
fn long_texts_are_cut() {
    let long = "ä".repeat(5000);
    let composed =
        compose(&pod(json!({})), &reported(json!({ "message": long, "reason": "x".repeat(5000) })), &facts(T1));
    assert_eq!(composed.status.message.unwrap().len(), 4096);
    assert_eq!(composed.status.reason.unwrap().len(), 256);
}

#[test]
fn the_phase_follows_from_the_containers_and_the_restart_policy() {
    let waits = json!({ "name": "web", "state": { "waiting": { "reason": "ImagePullBackOff" } } });
    let crashed = json!({
        "name": "web", "state": { "waiting": { "reason": "CrashLoopBackOff" } }, "restartCount": 4,
        "lastState": { "terminated": { "exitCode": 1, "finishedAt": T0 } },
    });
    for (policy, web, expected) in [
        ("Always", waits.clone(), "Pending"),
        ("Always", running("web"), "Running"),
        ("Always", crashed.clone(), "Running"),
        ("Always", terminated("web", 0), "Running"),
        ("Always", terminated("web", 1), "Running"),
        ("OnFailure", crashed.clone(), "Running"),
        ("OnFailure", terminated("web", 1), "Running"),
        ("OnFailure", terminated("web", 0), "Succeeded"),
        ("Never", terminated("web", 0), "Succeeded"),
        ("Never", terminated("web", 1), "Failed"),
        ("Never", waits, "Pending"),
    ] {
        let pod = pod(json!({ "restartPolicy": policy }));
        let pod = step(&pod, &reported(json!({ "containerStatuses": [web] })), &facts(T1));
        assert_eq!(phase(&pod), expected, "{policy} {:?}", container(&pod, "web").state);
    }
}

#[test]
fn a_pod_of_two_containers_ends_when_both_have() {
    let two = json!({ "restartPolicy": "Never", "containers": [{ "name": "web" }, { "name": "log" }] });
    for (web, log, expected) in [
        (terminated("web", 0), running("log"), "Running"),
        (terminated("web", 0), terminated("log", 0), "Succeeded"),
        (terminated("web", 0), terminated("log", 3), "Failed"),
    ] {
        let pod = step(&pod(two.clone()), &reported(json!({ "containerStatuses": [log, web] })), &facts(T1));
        assert_eq!(phase(&pod), expected);
        let names: Vec<&str> = status(&pod).container_statuses.iter().flatten().map(|s| s.name.as_str()).collect();
        assert_eq!(names, ["web", "log"], "in the spec's order");
    }
}

#[test]
fn a_job_pod_completes_with_the_kubelets_conditions() {
    let pod = pod(json!({ "restartPolicy": "Never" }));
    let pod = step(&pod, &reported(json!({ "podIP": "10.1.0.4", "containerStatuses": [running("web")] })), &facts(T0));
    let pod = step(&pod, &reported(json!({ "containerStatuses": [terminated("web", 0)] })), &facts(T1));
    assert_eq!(phase(&pod), "Succeeded");
    assert_eq!(says(&pod, "Ready"), "False PodCompleted");
    assert_eq!(says(&pod, "ContainersReady"), "False PodCompleted");
    assert_eq!(says(&pod, "Initialized"), "True PodCompleted");
    assert_eq!(says(&pod, "PodReadyToStartContainers"), "False");
    assert_eq!(status(&pod).pod_ip.as_deref(), Some("10.1.0.4"), "an ended pod keeps its address");
    let end = container(&pod, "web").state.as_ref().unwrap().terminated.as_ref().unwrap();
    assert_eq!((end.reason.as_deref(), end.container_id.as_deref()), (Some("Completed"), Some("mock://web")));
    assert_eq!(end.started_at.as_ref().unwrap().0, at(T0), "taken over from when it ran");
}

#[test]
fn a_failed_job_pod_says_so() {
    let pod = pod(json!({ "restartPolicy": "Never" }));
    let pod = step(&pod, &reported(json!({ "containerStatuses": [terminated("web", 3)] })), &facts(T1));
    assert_eq!((phase(&pod), exit_code(&pod, "web")), ("Failed", Some(3)));
    assert_eq!(says(&pod, "Ready"), "False PodFailed");
    assert_eq!(
        container(&pod, "web").state.as_ref().unwrap().terminated.as_ref().unwrap().reason.as_deref(),
        Some("Error")
    );
}

#[test]
fn a_terminal_phase_stays_and_only_ends_are_added() {
    let two = json!({ "restartPolicy": "Never", "containers": [{ "name": "web" }, { "name": "log" }] });
    let observed =
        json!({ "phase": "Failed", "reason": "Evicted", "containerStatuses": [terminated("web", 3), running("log")] });
    let ended = step(&pod(two), &reported(observed), &facts(T0));
    assert!(!container(&ended, "log").ready);
    for observed in [
        Observed::Waiting,
        Observed::Lost,
        Observed::Present,
        Observed::Refused { reason: "ProviderFailed".into(), message: "no".into() },
        Observed::Held { reason: "R".into(), message: "m".into() },
        reported(json!({ "phase": "Running", "containerStatuses": [running("web"), running("log")] })),
        reported(json!({ "phase": "Succeeded", "podIP": "10.1.0.9", "containerStatuses": [terminated("web", 0)] })),
    ] {
        assert_eq!(step(&ended, &observed, &facts(T2)), ended, "{observed:?}");
    }
    let last = reported(json!({ "phase": "Running", "containerStatuses": [running("web"), terminated("log", 0)] }));
    let pod = step(&ended, &last, &facts(T2));
    assert_eq!((phase(&pod), exit_code(&pod, "web"), exit_code(&pod, "log")), ("Failed", Some(3), Some(0)));
    assert_eq!(status(&pod).reason.as_deref(), Some("Evicted"));
}

#[test]
fn a_running_pod_never_becomes_pending_again() {
    let pod = step(&pod(json!({})), &reported(json!({ "containerStatuses": [running("web")] })), &facts(T0));
    for observed in [
        Observed::Waiting,
        Observed::Lost,
        Observed::Held { reason: "CapacityExhausted".into(), message: "m".into() },
        reported(json!({ "phase": "Pending", "containerStatuses": [] })),
        reported(json!({ "containerStatuses": [{ "name": "web", "state": { "waiting": {} } }] })),
    ] {
        let pod = step(&pod, &observed, &facts(T2));
        assert_eq!(phase(&pod), "Running", "{observed:?}");
        assert!(says(&pod, "Ready").starts_with("False ContainersNotReady"), "{observed:?}");
    }
}

#[test]
fn a_lost_container_that_ran_shows_an_end_that_nobody_saw() {
    let pod = step(&pod(json!({})), &reported(json!({ "containerStatuses": [running("web")] })), &facts(T0));
    let pod = step(&pod, &Observed::Lost, &facts(T1));
    let web = container(&pod, "web");
    assert_eq!(waiting_reason(&pod, "web"), Some("ContainerCreating"));
    let last = web.last_state.as_ref().unwrap().terminated.as_ref().unwrap();
    assert_eq!((last.exit_code, last.reason.as_deref(), web.restart_count), (137, Some("ContainerStatusUnknown"), 1));
    let pod = step(&pod, &reported(json!({ "containerStatuses": [running("web")] })), &facts(T2));
    assert_eq!((container(&pod, "web").restart_count, says(&pod, "Ready").as_str()), (1, "True"));
}

#[test]
fn a_pod_that_must_not_restart_fails_when_it_is_lost() {
    let pod = pod(json!({ "restartPolicy": "Never" }));
    let pod = step(&pod, &reported(json!({ "containerStatuses": [running("web")] })), &facts(T0));
    let pod = step(&pod, &Observed::Lost, &facts(T1));
    assert_eq!(
        (phase(&pod), status(&pod).reason.as_deref(), exit_code(&pod, "web")),
        ("Failed", Some("NotFound"), Some(137))
    );
    assert_eq!(
        status(&pod).message.as_deref(),
        Some("The pod status was not found and may have been deleted from the provider")
    );
}

#[test]
fn a_pod_that_is_lost_before_it_ran_still_has_a_status_for_each_container() {
    let pod = step(&pod(json!({ "restartPolicy": "Never" })), &Observed::Lost, &facts(T0));
    assert_eq!((phase(&pod), exit_code(&pod, "web")), ("Failed", Some(137)));
}

#[test]
fn a_pod_that_is_held_back_shows_why_until_it_is_created() {
    let held =
        Observed::Held { reason: "CreateContainerConfigError".into(), message: "configmap \"a\" not found".into() };
    let pod = step(&pod(json!({})), &held, &facts(T0));
    assert_eq!((phase(&pod), status(&pod).reason.as_deref()), ("Pending", Some("CreateContainerConfigError")));
    assert_eq!(waiting_reason(&pod, "web"), Some("CreateContainerConfigError"));
    let pod = step(&pod, &Observed::Present, &facts(T1));
    assert_eq!((status(&pod).reason.as_deref(), waiting_reason(&pod, "web")), (None, Some("ContainerCreating")));
}

#[test]
fn a_refused_pod_fails_with_its_reason() {
    let (reason, message) = ("OutOfcpu".to_owned(), "Pod was rejected: no room".to_owned());
    let pod = step(&pod(json!({})), &Observed::Refused { reason, message }, &facts(T0));
    assert_eq!((phase(&pod), status(&pod).reason.as_deref()), ("Failed", Some("OutOfcpu")));
    assert_eq!(status(&pod).message.as_deref(), Some("Pod was rejected: no room"));
    assert_eq!(waiting_reason(&pod, "web"), Some("OutOfcpu"), "what kubectl shows as the pod's status");
}

#[test]
fn a_verdict_of_the_host_goes_before_what_the_containers_say() {
    let verdict = Some(Verdict { reason: "DeadlineExceeded", message: "too long" });
    for (web, code) in [(running("web"), 137), (terminated("web", 0), 0), (json!({ "name": "web" }), 137)] {
        let observed = reported(json!({ "containerStatuses": [web], "reason": "Other" }));
        let pod = pod(json!({ "restartPolicy": "Never" }));
        let composed = last(&pod, &observed, &facts(T1), verdict);
        let pod = applied(&pod, &patch(&pod, &composed.status).unwrap());
        assert_eq!((phase(&pod), status(&pod).reason.as_deref()), ("Failed", Some("DeadlineExceeded")));
        assert_eq!(status(&pod).message.as_deref(), Some("too long"));
        assert_eq!(exit_code(&pod, "web"), Some(code));
        assert_eq!(step(&pod, &observed, &facts(T2)), pod, "it stays");
    }
}

fn sized(pod: &Pod, resize: Resize, cpu: &str) -> Pod {
    let mut pod = pod.clone();
    let resources = json!({ "requests": { "cpu": cpu } });
    pod.spec.as_mut().unwrap().containers[0].resources = serde_json::from_value(resources).unwrap();
    let observed = reported(json!({ "containerStatuses": [running("web")] }));
    step(&pod, &observed, &Facts { resize: &resize, ..facts(T1) })
}

fn has_cpu(pod: &Pod) -> Option<&str> {
    let resources = container(pod, "web").resources.as_ref()?;
    Some(resources.requests.as_ref()?["cpu"].0.as_str())
}

#[test]
fn a_container_has_what_the_provider_was_given_and_a_refused_resize_shows() {
    let plain = sized(&pod(json!({})), Resize::Done, "1");
    assert_eq!(has_cpu(&plain), Some("1"));
    assert!(!is_resized(&plain));
    let asked = sized(&plain, Resize::Unjudged, "2");
    assert_eq!((has_cpu(&asked), is_resized(&asked)), (Some("1"), true));
    let refused = sized(&asked, Resize::Infeasible("no such size".into()), "2");
    assert_eq!(says(&refused, "PodResizePending"), "True Infeasible no such size");
    assert_eq!(condition(&refused, "PodResizePending").observed_generation, Some(3));
    assert_eq!(has_cpu(&refused), Some("1"));
    assert!(is_resize_refused(status(&refused)));
    // A restarted host does not know before it has asked again.
    assert_eq!(sized(&refused, Resize::Unjudged, "2"), refused);
    for cpu in ["1", "2"] {
        let done = sized(&refused, Resize::Done, cpu);
        assert!(status(&done).conditions.iter().flatten().all(|condition| condition.type_ != "PodResizePending"));
        assert_eq!(has_cpu(&done), Some(cpu));
    }
}

#[test]
fn init_containers_run_before_the_others() {
    let spec = json!({ "restartPolicy": "Never", "initContainers": [{ "name": "one" }, { "name": "two" }] });
    let pod = step(&pod(spec), &Observed::Waiting, &facts(T0));
    assert_eq!(
        (waiting_reason(&pod, "one"), waiting_reason(&pod, "web")),
        (Some("PodInitializing"), Some("PodInitializing"))
    );
    assert_eq!(
        says(&pod, "Initialized"),
        "False ContainersNotInitialized containers with incomplete status: [one two]"
    );
    let first = json!({ "initContainerStatuses": [terminated("one", 0), running("two")], "containerStatuses": [] });
    let half = step(&pod, &reported(first), &facts(T1));
    assert_eq!(phase(&half), "Pending");
    assert!(container(&half, "one").ready && !container(&half, "two").ready);
    assert_eq!(says(&half, "Initialized"), "False ContainersNotInitialized containers with incomplete status: [two]");
    let done = json!({ "initContainerStatuses": [terminated("one", 0), terminated("two", 0)], "containerStatuses": [running("web")] });
    let up = step(&half, &reported(done), &facts(T2));
    assert_eq!(
        (phase(&up), says(&up, "Initialized").as_str(), says(&up, "Ready").as_str()),
        ("Running", "True", "True")
    );
    let failed = step(
        &half,
        &reported(json!({ "initContainerStatuses": [terminated("one", 0), terminated("two", 1)] })),
        &facts(T2),
    );
    assert_eq!(phase(&failed), "Failed");
}

#[test]
fn a_sidecar_counts_for_readiness_and_not_for_completion() {
    let spec = json!({ "restartPolicy": "Never", "initContainers": [{ "name": "proxy", "restartPolicy": "Always" }] });
    let base = pod(spec);
    let starting = json!({ "name": "proxy", "state": { "running": {} }, "started": false, "ready": true });
    let pod =
        step(&base, &reported(json!({ "initContainerStatuses": [starting], "containerStatuses": [] })), &facts(T0));
    assert_eq!((phase(&pod), container(&pod, "proxy").ready), ("Pending", false));
    assert_eq!(says(&pod, "Initialized"), "False ContainersNotInitialized containers with incomplete status: [proxy]");
    let unready = json!({ "name": "proxy", "state": { "running": {} }, "started": true, "ready": false });
    let up = step(
        &pod,
        &reported(json!({ "initContainerStatuses": [unready], "containerStatuses": [running("web")] })),
        &facts(T1),
    );
    assert_eq!((phase(&up), says(&up, "Initialized").as_str()), ("Running", "True"));
    assert_eq!(says(&up, "Ready"), "False ContainersNotReady containers with unready status: [proxy]");
    let draining = json!({ "initContainerStatuses": [running("proxy")], "containerStatuses": [terminated("web", 0)] });
    assert_eq!(phase(&step(&up, &reported(draining), &facts(T1))), "Running");
    let ended =
        json!({ "initContainerStatuses": [terminated("proxy", 143)], "containerStatuses": [terminated("web", 0)] });
    assert_eq!(phase(&step(&up, &reported(ended), &facts(T1))), "Succeeded");
}

#[test]
fn readiness_gates_are_judged_by_the_conditions_of_others() {
    let mut pod = pod(
        json!({ "readinessGates": [{ "conditionType": "lb.example/attached" }, { "conditionType": "mine.example/warm" }] }),
    );
    let observed = json!({ "containerStatuses": [running("web")], "conditions": [{ "type": "mine.example/warm", "status": "True" }] });
    pod = step(&pod, &reported(observed.clone()), &facts(T0));
    assert_eq!(says(&pod, "ContainersReady"), "True");
    assert_eq!(
        says(&pod, "Ready"),
        "False ReadinessGatesNotReady corresponding condition of pod readiness gate \"lb.example/attached\" does not exist."
    );
    let set = |pod: &mut Pod, status: &str| {
        let conditions = pod.status.as_mut().unwrap().conditions.as_mut().unwrap();
        conditions.retain(|condition| condition.type_ != "lb.example/attached");
        conditions.push(PodCondition {
            type_: "lb.example/attached".into(),
            status: status.into(),
            ..Default::default()
        });
    };
    set(&mut pod, "False");
    let pod_false = step(&pod, &reported(observed.clone()), &facts(T1));
    assert_eq!(
        says(&pod_false, "Ready"),
        "False ReadinessGatesNotReady the status of pod readiness gate \"lb.example/attached\" is not \"True\", but False"
    );
    set(&mut pod, "True");
    assert_eq!(says(&step(&pod, &reported(observed), &facts(T1)), "Ready"), "True");
}

#[test]
fn a_container_in_a_crash_loop_keeps_its_counts_and_its_last_end() {
    let up = |count: i32| {
        let mut up = running("web");
        up["restartCount"] = count.into();
        up
    };
    let pod = step(&pod(json!({})), &reported(json!({ "containerStatuses": [up(2)] })), &facts(T0));
    let pod = step(&pod, &reported(json!({ "containerStatuses": [terminated("web", 1)] })), &facts(T0));
    assert_eq!(
        (container(&pod, "web").restart_count, phase(&pod)),
        (2, "Running"),
        "a count left out is the one known"
    );
    let backing_off =
        json!({ "name": "web", "state": { "waiting": { "reason": "CrashLoopBackOff", "message": "back-off 10s" } } });
    let pod = step(&pod, &reported(json!({ "containerStatuses": [backing_off] })), &facts(T1));
    assert_eq!(waiting_reason(&pod, "web"), Some("CrashLoopBackOff"));
    let last = |pod: &Pod| container(pod, "web").last_state.as_ref().unwrap().terminated.as_ref().unwrap().exit_code;
    assert_eq!((last(&pod), phase(&pod)), (1, "Running"));
    let pod = step(&pod, &reported(json!({ "containerStatuses": [up(3)] })), &facts(T2));
    assert_eq!((last(&pod), container(&pod, "web").restart_count), (1, 3));
    let mut other = running("web");
    other["containerID"] = "mock://web-2".into();
    let pod = step(&pod, &reported(json!({ "containerStatuses": [other] })), &facts(T2));
    assert_eq!(container(&pod, "web").restart_count, 4, "another instance without a count is one restart more");
}

#[test]
fn a_container_that_may_not_run_again_stays_terminated() {
    let pod = pod(json!({ "restartPolicy": "Never", "containers": [{ "name": "web" }, { "name": "log" }] }));
    let pod = step(&pod, &reported(json!({ "containerStatuses": [terminated("web", 1), running("log")] })), &facts(T0));
    let composed =
        compose(&pod, &reported(json!({ "containerStatuses": [running("web"), running("log")] })), &facts(T1));
    assert_eq!(patch(&pod, &composed.status), None);
    assert_eq!(
        problems(&composed),
        [
            "containerStatuses[web].state: leaves the terminated state (exit code 1), which the pod's restart policy rules out"
        ]
    );
}

#[test]
fn of_several_states_the_furthest_is_believed() {
    let both = json!({ "name": "web", "state": { "running": {}, "terminated": { "exitCode": 2 } } });
    let composed = compose(&pod(json!({})), &reported(json!({ "containerStatuses": [both] })), &facts(T1));
    let state = composed.status.container_statuses.as_ref().unwrap()[0].state.as_ref().unwrap();
    assert!(state.running.is_none());
    assert_eq!(state.terminated.as_ref().unwrap().finished_at.as_ref().unwrap().0, at("2026-05-01T10:00:10Z"));
    assert_eq!(problems(&composed), ["containerStatuses[web].state: is more than one of waiting, running, terminated"]);
}

#[test]
fn a_report_that_says_nothing_of_containers_leaves_them() {
    let pod = step(
        &pod(json!({})),
        &reported(json!({ "podIP": "10.1.0.4", "containerStatuses": [running("web")] })),
        &facts(T0),
    );
    assert_eq!(step(&pod, &reported(json!({ "podIP": "10.1.0.4" })), &facts(T2)), pod);
    assert_eq!(step(&pod, &Observed::Present, &facts(T2)), pod);
}

#[test]
fn quantities_that_the_api_server_rewrites_are_not_sent_again() {
    let mut web = running("web");
    web["resources"] = json!({ "limits": { "memory": "1024Mi", "cpu": "1000m" }, "requests": { "cpu": "much" } });
    let observed = reported(json!({ "containerStatuses": [web] }));
    let mut pod = step(&pod(json!({})), &observed, &facts(T0));
    let resources = pod.status.as_mut().unwrap().container_statuses.as_mut().unwrap()[0].resources.as_mut().unwrap();
    assert_eq!(resources.requests, None, "what is no quantity is dropped");
    resources
        .limits
        .as_mut()
        .unwrap()
        .insert("memory".into(), k8s_openapi::apimachinery::pkg::api::resource::Quantity("1Gi".into()));
    resources
        .limits
        .as_mut()
        .unwrap()
        .insert("cpu".into(), k8s_openapi::apimachinery::pkg::api::resource::Quantity("1".into()));
    assert_eq!(patch(&pod, &compose(&pod, &observed, &facts(T2)).status), None);
}

#[test]
fn the_provider_record_survives_in_its_condition() {
    let record = ProviderRecord { handle: Some("a\"b/é".into()), stamp: Some("5f".into()) };
    let facts = Facts { provider: Some(&record), ..facts(T1) };
    let created = step(&pod(json!({})), &Observed::Present, &facts);
    assert_eq!(says(&created, PROVIDER_CONDITION), "True Created {\"handle\":\"a\\\"b/é\",\"stamp\":\"5f\"}");
    assert_eq!(ProviderRecord::of(&created), Some(record));
    assert_eq!(ProviderRecord::of(&pod(json!({}))), None);
    let later = step(&created, &reported(json!({ "containerStatuses": [running("web")] })), &super::facts(T2));
    assert_eq!(
        condition(&later, PROVIDER_CONDITION),
        condition(&created, PROVIDER_CONDITION),
        "left alone when not given"
    );
}

#[test]
fn the_start_time_is_set_once_and_a_hint_must_make_sense() {
    for (hint, expected) in [
        ("2026-05-01T10:00:03Z", "2026-05-01T10:00:03Z"),
        ("2020-01-01T00:00:00Z", "2026-05-01T10:00:10Z"),
        ("2030-01-01T00:00:00Z", "2026-05-01T10:00:10Z"),
    ] {
        let pod = step(&pod(json!({})), &reported(json!({ "startTime": hint })), &facts(T1));
        assert_eq!(status(&pod).start_time.as_ref().unwrap().0, at(expected));
        let pod = step(&pod, &reported(json!({ "startTime": "2026-05-01T10:00:01Z" })), &facts(T2));
        assert_eq!(status(&pod).start_time.as_ref().unwrap().0, at(expected));
    }
}

#[test]
fn a_deleted_pod_ends_with_every_container_terminated() {
    for (before, observed, expected, code) in [
        (running("web"), Observed::Present, "Failed", 137),
        (running("web"), reported(json!({ "containerStatuses": [terminated("web", 0)] })), "Succeeded", 0),
        (running("web"), reported(json!({ "containerStatuses": [terminated("web", 143)] })), "Failed", 143),
        (running("web"), reported(json!({ "containerStatuses": [running("web")] })), "Failed", 137),
        (terminated("web", 0), Observed::Lost, "Succeeded", 0),
        (json!({ "name": "web" }), Observed::Waiting, "Failed", 137),
    ] {
        let mut pod = step(&pod(json!({})), &reported(json!({ "containerStatuses": [before] })), &facts(T0));
        pod.metadata.deletion_timestamp = Some(Time(at(T0)));
        let composed = last(&pod, &observed, &facts(T1), None);
        let ended = applied(&pod, &patch(&pod, &composed.status).unwrap());
        assert_eq!((phase(&ended), exit_code(&ended, "web")), (expected, Some(code)), "{observed:?}");
        assert!(says(&ended, "Ready").starts_with("False Pod"), "{observed:?}");
        let again = last(&ended, &observed, &facts(T2), None);
        assert_eq!(patch(&ended, &again.status), None, "{observed:?}");
    }
}
