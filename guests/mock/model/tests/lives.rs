//! The lives of pods, told as sequences of what is seen at each time.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use mock_model::{Exit, Facts, Finish, Order, PREFIX, Phase, Plan, PodState, Run};
use proptest::prelude::*;

const CREATED: u64 = 1_000_000;

fn plan(policy: &str, annotations: &[(&str, &str)]) -> Plan {
    let annotations: serde_json::Map<_, _> =
        annotations.iter().map(|(name, value)| (format!("{PREFIX}{name}"), (*value).into())).collect();
    let pod = serde_json::json!({
        "metadata": {"uid": "u", "annotations": annotations},
        "spec": {
            "restartPolicy": policy,
            "initContainers": [{"name": "init", "image": "i"}, {"name": "side", "image": "s", "restartPolicy": "Always"}],
            "containers": [{"name": "one", "image": "a"}, {"name": "two", "image": "b"}],
        },
    });
    Order::parse(&pod.to_string()).unwrap().plan
}

fn facts() -> Facts {
    Facts { created: CREATED, ..Facts::default() }
}

/// The phase and what each container does, in one line: `Running i:0 s:+ 1:+ 2:+`.
fn line(state: &PodState) -> String {
    let containers = state.containers.iter().map(|container| {
        let run = match &container.run {
            Run::Waiting(reason) => format!("({reason})"),
            Run::Running(since) => format!("+{}", since - CREATED),
            Run::Exited(exit) => format!("{}@{}", exit.code, exit.finished - CREATED),
        };
        let restarts = if container.restarts > 0 { format!(" x{}", container.restarts) } else { String::new() };
        format!(" {}:{run}{restarts}", container.name)
    });
    format!("{:?}{}", state.phase, containers.collect::<String>())
}

fn at(plan: &Plan, after: u64) -> String {
    line(&plan.state(&facts(), CREATED + after))
}

#[test]
fn a_pod_that_asks_for_nothing_runs_at_once_and_for_ever() {
    let plan = plan("Always", &[]);
    assert_eq!(at(&plan, 0), "Running init:0@0 side:+0 one:+0 two:+0");
    assert_eq!(at(&plan, u64::from(u32::MAX)), "Running init:0@0 side:+0 one:+0 two:+0");
    assert_eq!(plan.next_change(&facts(), CREATED), None);
}

#[test]
fn a_pod_that_starts_late_waits_without_an_address() {
    let plan = plan("Always", &[("start-after", "2s"), ("pod-ip", "10.9.8.7")]);
    assert_eq!(
        at(&plan, 1999),
        "Pending init:(PodInitializing) side:(PodInitializing) one:(PodInitializing) two:(PodInitializing)"
    );
    assert_eq!(plan.state(&facts(), CREATED).ip, None);
    assert_eq!(plan.next_change(&facts(), CREATED), Some(CREATED + 2000));
    assert_eq!(at(&plan, 2000), "Running init:0@2000 side:+2000 one:+2000 two:+2000");
    assert_eq!(plan.state(&facts(), CREATED + 2000).ip.as_deref(), Some("10.9.8.7"));
}

#[test]
fn a_pod_that_is_never_restarted_succeeds_or_fails_by_its_exit_code() {
    let good = plan("Never", &[("run-for", "3s")]);
    assert_eq!(at(&good, 2999), "Running init:0@0 side:+0 one:+0 two:+0");
    assert_eq!(at(&good, 9000), "Succeeded init:0@0 side:0@3000 one:0@3000 two:0@3000");
    let bad = plan("Never", &[("run-for", "3s"), ("exit-code", "7")]);
    assert_eq!(at(&bad, 3000), "Failed init:0@0 side:0@3000 one:7@3000 two:7@3000");
    assert_eq!(bad.next_change(&facts(), CREATED + 3000), None);
}

#[test]
fn a_container_that_exits_under_always_backs_off_and_starts_again() {
    let plan = plan("Always", &[("run-for", "3s"), ("exit-code", "1"), ("restart-after", "2s")]);
    assert_eq!(at(&plan, 3000), "Running init:0@0 side:+0 one:(CrashLoopBackOff) two:(CrashLoopBackOff)");
    assert_eq!(at(&plan, 5000), "Running init:0@0 side:+0 one:+5000 x1 two:+5000 x1");
    let state = plan.state(&facts(), CREATED + 5000);
    let exit = Exit { code: 1, reason: "Error".into(), started: CREATED, finished: CREATED + 3000 };
    assert_eq!(state.containers[2].last, Some(exit));
}

#[test]
fn after_the_restarts_that_were_asked_for_all_is_well() {
    let always = plan("Always", &[("restarts", "2"), ("run-for", "1s"), ("restart-after", "0s")]);
    assert_eq!(at(&always, 1999), "Running init:0@0 side:+0 one:+1000 x1 two:+1000 x1");
    assert_eq!(at(&always, 99_999), "Running init:0@0 side:+0 one:+2000 x2 two:+2000 x2");
    let on_failure = plan("OnFailure", &[("restarts", "1"), ("run-for", "1s"), ("restart-after", "1s")]);
    assert_eq!(at(&on_failure, 1500), "Running init:0@0 side:+0 one:(CrashLoopBackOff) two:(CrashLoopBackOff)");
    assert_eq!(at(&on_failure, 3000), "Succeeded init:0@0 side:0@3000 one:0@3000 x1 two:0@3000 x1");
}

#[test]
fn a_pod_that_fails_does_so_whatever_its_restart_policy() {
    let plan = plan("Always", &[("fail", "Evicted"), ("run-for", "1s")]);
    let state = plan.state(&facts(), CREATED + 1000);
    assert_eq!(line(&state), "Failed init:0@0 side:0@1000 one:1@1000 two:1@1000");
    assert_eq!(state.reason.as_deref(), Some("Evicted"));
}

#[test]
fn an_end_by_hand_overrules_the_plan_from_then_on() {
    let plan = plan("Always", &[]);
    let finished = Some(Finish { at: CREATED + 500, exit_code: 137, reason: Some("OOMKilled".into()) });
    let facts = Facts { finished, ..facts() };
    assert_eq!(line(&plan.state(&facts, CREATED + 499)), "Running init:0@0 side:+0 one:+0 two:+0");
    assert_eq!(plan.next_change(&facts, CREATED), Some(CREATED + 500));
    let state = plan.state(&facts, CREATED + 9000);
    assert_eq!(line(&state), "Failed init:0@0 side:0@500 one:137@500 two:137@500");
    assert_eq!(state.reason.as_deref(), Some("OOMKilled"));
}

#[test]
fn a_stop_takes_no_longer_than_the_grace_and_is_never_put_off() {
    let plan = plan("Always", &[("stop-after", "5s")]);
    assert_eq!(plan.stop(&facts(), 30_000, 100), 5100);
    assert_eq!(plan.stop(&facts(), 2000, 100), 2100);
    let under_way = Facts { stops: Some(2100), ..facts() };
    assert_eq!(plan.stop(&under_way, 30_000, 1000), 2100);
    assert_eq!(plan.stop(&under_way, 0, 1000), 1000);
}

prop_compose! {
    fn any_plan()(
        policy in prop::sample::select(vec!["Always", "OnFailure", "Never"]),
        start in 0u64..4000, run in prop::option::of(0u64..3000), wait in 0u64..2000,
        code in prop::option::of(0i32..3), restarts in prop::option::of(0u32..4), fail in any::<bool>(),
    ) -> Plan {
        let mut annotations = vec![("start-after", format!("{start}ms")), ("restart-after", format!("{wait}ms"))];
        annotations.extend(run.map(|run| ("run-for", format!("{run}ms"))));
        annotations.extend(code.map(|code| ("exit-code", code.to_string())));
        if policy == "Always" {
            annotations.extend(restarts.map(|restarts| ("restarts", restarts.to_string())));
        }
        if fail {
            annotations.push(("fail", "Evicted".to_owned()));
        }
        plan(policy, &annotations.iter().map(|(name, value)| (*name, value.as_str())).collect::<Vec<_>>())
    }
}

proptest! {
    /// Polling by `next_change` misses nothing: between two changes the state stays the same, and it differs after one.
    #[test]
    fn the_state_changes_exactly_when_it_is_said_to(plan in any_plan(), from in 0u64..20_000, ahead in 0u64..20_000) {
        let facts = facts();
        let (from, now) = (CREATED + from, CREATED + from + ahead);
        let before = plan.state(&facts, from);
        match plan.next_change(&facts, from) {
            Some(at) if at <= now => {
                prop_assert_eq!(&plan.state(&facts, at - 1), &before);
                prop_assert_ne!(&plan.state(&facts, at), &before);
            }
            _ => prop_assert_eq!(&plan.state(&facts, now), &before),
        }
    }

    /// What Kubernetes relies on: an end is final, a restart count never falls, times are in order.
    #[test]
    fn a_life_goes_only_forward(plan in any_plan(), times in prop::collection::vec(0u64..30_000, 2..20)) {
        let mut times = times;
        times.sort_unstable();
        let states: Vec<_> = times.iter().map(|after| plan.state(&facts(), CREATED + after)).collect();
        for pair in states.windows(2) {
            if matches!(pair[0].phase, Phase::Succeeded | Phase::Failed) {
                prop_assert_eq!(&pair[1], &pair[0]);
            }
            for (earlier, later) in pair[0].containers.iter().zip(&pair[1].containers) {
                prop_assert!(earlier.restarts <= later.restarts);
            }
        }
        for (state, after) in states.iter().zip(&times) {
            for container in &state.containers {
                let exits = container.last.iter().chain(match &container.run { Run::Exited(exit) => Some(exit), _ => None });
                for exit in exits {
                    prop_assert!(exit.started <= exit.finished && exit.finished <= CREATED + after);
                }
            }
        }
    }
}
