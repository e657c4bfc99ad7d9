//! What holds for every pod, every observation, in any order.

use proptest::{prelude::*, sample::select};

use super::*;

/// A value that is right, wrong or of the wrong type.
fn hostile(good: BoxedStrategy<Value>) -> BoxedStrategy<Value> {
    prop_oneof![
        8 => good,
        1 => select(vec![Value::Null, json!(true), json!(-1), json!(1e300), json!([]), json!({}), json!([null]), json!({ "x": 1 })]),
        1 => ".{0,8}".prop_map(Value::from),
    ]
    .boxed()
}

fn words(of: &'static [&'static str]) -> BoxedStrategy<Value> {
    hostile(select(of).prop_map(Value::from).boxed())
}

fn object(fields: Vec<(&'static str, BoxedStrategy<Value>)>) -> BoxedStrategy<Value> {
    let fields: Vec<_> = fields
        .into_iter()
        .map(|(name, value)| {
            proptest::option::of(value).prop_map(move |value| value.map(|value| (name.to_owned(), value)))
        })
        .collect();
    fields.prop_map(|fields| Value::Object(fields.into_iter().flatten().collect())).boxed()
}

const TIMES: &[&str] =
    &[T0, T1, T2, "0001-01-01T00:00:00Z", "2026-13-01T00:00:00Z", "9999-12-31T23:59:59Z", "-000044-03-15T00:00:00Z"];
const REASONS: &[&str] = &["Completed", "Error", "CrashLoopBackOff", "ProviderFailed", "two words", ""];

fn state() -> BoxedStrategy<Value> {
    let number = || hostile(select(vec![0, 1, 137, -1, i64::from(i32::MAX), i64::MAX]).prop_map(Value::from).boxed());
    let running = object(vec![("startedAt", words(TIMES))]);
    let waiting = object(vec![("reason", words(REASONS)), ("message", words(&["m", ""]))]);
    let terminated = object(vec![
        ("exitCode", number()),
        ("signal", number()),
        ("reason", words(REASONS)),
        ("startedAt", words(TIMES)),
        ("finishedAt", words(TIMES)),
        ("containerID", words(&["mock://a", "mock://b"])),
    ]);
    hostile(object(vec![
        ("running", hostile(running)),
        ("waiting", hostile(waiting)),
        ("terminated", hostile(terminated)),
    ]))
}

fn statuses(names: &'static [&'static str]) -> BoxedStrategy<Value> {
    let status = object(vec![
        ("name", words(names)),
        ("state", state()),
        ("lastState", state()),
        ("ready", hostile(any::<bool>().prop_map(Value::from).boxed())),
        ("started", hostile(any::<bool>().prop_map(Value::from).boxed())),
        ("restartCount", hostile((0..4).prop_map(Value::from).boxed())),
        ("image", words(&["web:1", ""])),
        ("containerID", words(&["mock://a", "mock://b", ""])),
        ("resources", object(vec![("limits", object(vec![("cpu", words(&["1", "500m", "x"]))]))])),
    ]);
    hostile(proptest::collection::vec(hostile(status), 0..4).prop_map(Value::from).boxed())
}

fn report() -> BoxedStrategy<Value> {
    let address = || words(&["10.0.0.1", "10.0.0.2", "fd00::1", "127.0.0.1", "fe80::1", "::ffff:10.0.0.3"]);
    let addresses = proptest::collection::vec(hostile(object(vec![("ip", address())])), 0..4).prop_map(Value::from);
    let condition = object(vec![
        (
            "type",
            words(&["example.com/A", "example.com/B", "Ready", "PodScheduled", PROVIDER_CONDITION, "gate.example/up"]),
        ),
        ("status", words(&["True", "False", "Unknown", "Maybe"])),
        ("reason", words(REASONS)),
        ("message", words(&["m"])),
    ]);
    object(vec![
        ("phase", words(&["Pending", "Running", "Succeeded", "Failed", "Unknown"])),
        ("reason", words(REASONS)),
        ("message", words(&["m", ""])),
        ("podIP", address()),
        ("podIPs", hostile(addresses.boxed())),
        ("startTime", words(TIMES)),
        ("initContainerStatuses", statuses(&["init", "side", "web"])),
        ("containerStatuses", statuses(&["web", "log", "init", "other"])),
        ("ephemeralContainerStatuses", statuses(&["debug"])),
        ("conditions", hostile(proptest::collection::vec(hostile(condition), 0..4).prop_map(Value::from).boxed())),
    ])
}

fn observed() -> impl Strategy<Value = Observed> {
    prop_oneof![
        1 => Just(Observed::Waiting),
        1 => Just(Observed::Lost),
        1 => Just(Observed::Present),
        1 => Just(Observed::Held { reason: "CrashLoopBackOff".into(), message: "m".into() }),
        1 => Just(Observed::Refused { reason: "OutOfcpu".into(), message: "no".into() }),
        1 => ".{0,40}".prop_map(|text| Observed::Reported(Arc::new(Report::parse(&text)))),
        12 => report().prop_map(reported),
    ]
}

fn any_pod() -> impl Strategy<Value = Pod> {
    (select(vec!["Always", "OnFailure", "Never"]), any::<[bool; 4]>()).prop_map(|(policy, [init, side, two, debug])| {
        let mut spec = json!({ "restartPolicy": policy, "readinessGates": [{ "conditionType": "gate.example/up" }] });
        let all = [(init, json!({ "name": "init" })), (side, json!({ "name": "side", "restartPolicy": "Always" }))];
        let inits: Vec<Value> = all.into_iter().filter(|(wanted, _)| *wanted).map(|(_, container)| container).collect();
        spec["initContainers"] = inits.into();
        if two {
            spec["containers"] = json!([{ "name": "web", "image": "web:1" }, { "name": "log" }]);
        }
        if debug {
            spec["ephemeralContainers"] = json!([{ "name": "debug" }]);
        }
        pod(spec)
    })
}

/// Seconds after the pod's creation, each later than the one before.
fn timestamps() -> impl Strategy<Value = Vec<Timestamp>> {
    proptest::collection::vec(0_i64..3, 1..6).prop_map(|gaps| {
        let mut second = at(T0).as_second();
        gaps.into_iter()
            .map(|gap| {
                second += gap;
                Timestamp::from_millisecond(second * 1000 + 321).unwrap()
            })
            .collect()
    })
}

fn foreign(pod: &Pod) -> Vec<&PodCondition> {
    let conditions = status(pod).conditions.iter().flatten();
    conditions.filter(|condition| condition.type_ == "PodScheduled" || condition.type_ == "other.example/X").collect()
}

/// With absent resources and empty ones alike.
fn plain(statuses: &Option<Vec<ContainerStatus>>) -> Vec<ContainerStatus> {
    let mut statuses = statuses.clone().unwrap_or_default();
    for status in &mut statuses {
        status.resources = status.resources.take().filter(|resources| *resources != Default::default());
    }
    statuses
}

/// What of a status is the host's, with absent lists and empty ones alike.
fn owned(status: &PodStatus, composed: &PodStatus) -> Value {
    let mut conditions = status.conditions.clone().unwrap_or_default();
    conditions.retain(|known| composed.conditions.iter().flatten().any(|composed| composed.type_ == known.type_));
    conditions.sort_by(|left, right| left.type_.cmp(&right.type_));
    json!({
        "phase": status.phase, "reason": status.reason, "message": status.message, "startTime": status.start_time,
        "observedGeneration": status.observed_generation, "hostIP": status.host_ip, "podIP": status.pod_ip,
        "hostIPs": status.host_ips.as_deref().unwrap_or_default(),
        "podIPs": status.pod_ips.as_deref().unwrap_or_default(),
        "init": plain(&status.init_container_statuses),
        "regular": plain(&status.container_statuses),
        "ephemeral": plain(&status.ephemeral_container_statuses),
        "conditions": conditions,
    })
}

fn check_list(pod: &Pod, names: Vec<&str>, statuses: &Option<Vec<ContainerStatus>>, complete: bool) {
    let statuses = statuses.as_deref().unwrap_or_default();
    let order: Vec<&str> = statuses.iter().map(|status| status.name.as_str()).collect();
    if complete {
        assert_eq!(order, names, "one status per container, in the spec's order");
    }
    for status in statuses {
        let state = status.state.as_ref().unwrap();
        let set = [state.waiting.is_some(), state.running.is_some(), state.terminated.is_some()];
        assert_eq!(set.into_iter().filter(|set| *set).count(), 1, "exactly one state: {status:?}");
        if let Some(end) = &state.terminated {
            assert!(end.finished_at.is_some(), "{status:?}");
        }
        let init = pod.spec.as_ref().unwrap().init_containers.iter().flatten().any(|init| init.name == status.name);
        assert!(!status.ready || state.running.is_some() || init, "ready only while running: {status:?}");
        assert!(status.restart_count >= 0);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn a_pods_life_keeps_to_the_rules(pod in any_pod(), steps in proptest::collection::vec(observed(), 5), times in timestamps()) {
        let record = ProviderRecord { handle: Some("h".into()), stamp: None };
        let mut pod = pod;
        pod.status.as_mut().unwrap().conditions.as_mut().unwrap().push(PodCondition {
            type_: "other.example/X".into(), status: "False".into(), ..Default::default()
        });
        let resizes = [Resize::Unjudged, Resize::Done, Resize::Infeasible("too much".into())];
        for ((index, (observed, now)), resize) in steps.iter().zip(&times).enumerate().zip(resizes.iter().cycle()) {
            let facts = Facts { now: *now, host_ips: &HOST_IPS, provider: (index % 2 == 1).then_some(&record), resize };
            let before = pod.clone();
            let composed = compose(&pod, observed, &facts);
            pod = step(&pod, observed, &facts);

            // The patch brings the API to what was composed.
            prop_assert_eq!(patch(&pod, &composed.status), None);
            prop_assert_eq!(owned(status(&pod), &composed.status), owned(&composed.status, &composed.status));
            prop_assert_eq!(&pod.status.as_ref().unwrap().qos_class, &before.status.as_ref().unwrap().qos_class);
            prop_assert_eq!(foreign(&pod), foreign(&before));

            let (old, new) = (phase(&before), phase(&pod));
            let terminal = |phase: &str| matches!(phase, "Succeeded" | "Failed");
            prop_assert!(!terminal(old) || old == new, "{} became {}", old, new);
            prop_assert!(!(old == "Running" && new == "Pending"));

            for condition in status(&pod).conditions.iter().flatten() {
                let known = status(&before).conditions.iter().flatten().find(|known| known.type_ == condition.type_);
                if let Some(known) = known {
                    prop_assert_eq!(
                        known.status == condition.status || known.last_transition_time == condition.last_transition_time,
                        known.last_transition_time == condition.last_transition_time,
                        "times move only with the status"
                    );
                    if known.status != condition.status {
                        prop_assert_eq!(condition.last_transition_time.as_ref().unwrap().0.as_second(), now.as_second());
                    }
                }
            }
            if let Some(known) = &status(&before).start_time {
                prop_assert_eq!(Some(known), status(&pod).start_time.as_ref());
            }
            let ips: Vec<&str> = status(&pod).pod_ips.iter().flatten().map(|ip| ip.ip.as_str()).collect();
            prop_assert_eq!(status(&pod).pod_ip.as_deref(), ips.first().copied());
            prop_assert!(ips.len() <= 2);

            let spec = pod.spec.as_ref().unwrap();
            let init = spec.init_containers.iter().flatten().map(|container| container.name.as_str()).collect();
            check_list(&pod, init, &status(&pod).init_container_statuses, true);
            let regular = spec.containers.iter().map(|container| container.name.as_str()).collect();
            check_list(&pod, regular, &status(&pod).container_statuses, true);
        }
    }

    #[test]
    fn a_deleted_pod_always_ends(pod in any_pod(), steps in proptest::collection::vec(observed(), 3)) {
        let mut pod = pod;
        for observed in &steps {
            pod = step(&pod, observed, &facts(T1));
        }
        pod.metadata.deletion_timestamp = Some(Time(at(T1)));
        let last = steps.last().unwrap();
        let composed = super::last(&pod, last, &facts(T2), None);
        if let Some(patch) = patch(&pod, &composed.status) {
            pod = applied(&pod, &patch);
        }
        prop_assert!(matches!(phase(&pod), "Succeeded" | "Failed"));
        let lists = [&status(&pod).init_container_statuses, &status(&pod).container_statuses, &status(&pod).ephemeral_container_statuses];
        for status in lists.into_iter().flatten().flatten() {
            prop_assert!(status.state.as_ref().unwrap().terminated.is_some());
        }
        let again = super::last(&pod, last, &facts("2026-05-01T11:00:00Z"), None);
        prop_assert_eq!(patch(&pod, &again.status), None);
        let later = compose(&pod, last, &facts("2026-05-01T11:00:00Z"));
        prop_assert_eq!(patch(&pod, &later.status), None);
    }

    #[test]
    fn no_text_makes_the_reader_panic(text in ".*") {
        let report = Report::parse(&text);
        prop_assert!(report.problems.len() <= 20);
    }
}
