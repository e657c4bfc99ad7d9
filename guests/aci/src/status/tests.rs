use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn group(properties: Value) -> ContainerGroup {
    serde_json::from_value(json!({"id": "/subscriptions/s/containerGroups/web", "properties": properties})).unwrap()
}

/// A group with one container `c`, as the service tells of it.
fn with(provisioning: &str, state: &str, view: Value) -> ContainerGroup {
    group(json!({
        "provisioningState": provisioning,
        "instanceView": {"events": [], "state": state},
        "containers": [{"name": "c", "properties": {"image": "nginx", "instanceView": view}}],
    }))
}

fn running() -> Value {
    json!({"restartCount": 0, "currentState": {"state": "Running", "startTime": "2023-04-12T12:00:10.91Z", "detailStatus": ""}})
}

fn written(group: &ContainerGroup) -> Value {
    serde_json::from_str(&pod_status(group).to_json()).unwrap()
}

/// The state of the container `c`, and the one before.
fn states(view: Value) -> (Value, Value) {
    let status = written(&with("Succeeded", "Running", view));
    let container = &status["containerStatuses"][0];
    (container["state"].clone(), container["lastState"].clone())
}

#[test]
fn each_word_of_the_service_has_its_phase() {
    for (provisioning, state, phase, reason) in [
        ("Succeeded", "Running", Some("Running"), None),
        ("Succeeded", "Succeeded", Some("Succeeded"), None),
        ("Succeeded", "Failed", Some("Failed"), None),
        ("Succeeded", "Pending", Some("Pending"), None),
        ("Succeeded", "Stopped", Some("Failed"), Some("Stopped")),
        ("Succeeded", "", None, None),
        ("Succeeded", "Terminated", None, None),
        ("", "Running", Some("Running"), None),
        ("Pending", "Pending", Some("Pending"), None),
        ("Creating", "Pending", Some("Pending"), None),
        ("Accepted", "", Some("Pending"), None),
        ("Repairing", "Running", Some("Pending"), None),
        ("Failed", "Pending", Some("Failed"), Some("ProvisioningFailed")),
        ("Canceled", "", Some("Failed"), Some("Canceled")),
        // What the containers do is the better word.
        ("Unhealthy", "Running", None, None),
        ("Hibernating", "Running", None, None),
    ] {
        let status = written(&with(provisioning, state, running()));
        assert_eq!(status["phase"].as_str(), phase, "{provisioning}, {state}");
        assert_eq!(status["reason"].as_str(), reason, "{provisioning}, {state}");
    }
}

#[test]
fn a_running_container_is_written_whole() {
    let mut group = with("Succeeded", "Running", running());
    group.properties.as_mut().unwrap().ip_address =
        serde_json::from_value(json!({"type": "Public", "ip": "20.1.2.3", "ports": null})).unwrap();
    // sha256 of `/SUBSCRIPTIONS/S/CONTAINERGROUPS/WEB/CONTAINERS/C`
    let id = "aci://2aaff23ec30c9fc9ae645a9e247ba3579f95e2337190c5fbb94f38a425f64b83";
    let status = written(&group);
    assert_eq!(
        status,
        json!({
            "phase": "Running",
            "podIPs": [{"ip": "20.1.2.3"}],
            "containerStatuses": [{
                "name": "c", "image": "nginx", "imageID": "", "containerID": id, "ready": true, "started": true,
                "restartCount": 0, "state": {"running": {"startedAt": "2023-04-12T12:00:10Z"}},
            }],
        })
    );
}

#[test]
fn the_id_of_a_container_does_not_depend_on_the_case_of_the_groups() {
    let id = |id: &str| {
        let mut group = with("Succeeded", "Running", running());
        group.id = Some(id.to_owned());
        written(&group)["containerStatuses"][0]["containerID"].as_str().map(str::to_owned)
    };
    assert_eq!(id("/a/b"), id("/A/B"));
    assert_ne!(id("/a/b"), id("/a/c"));
    let mut group = with("Succeeded", "Running", running());
    group.id = None;
    assert_eq!(written(&group)["containerStatuses"][0].get("containerID"), None);
}

#[test]
fn an_end_keeps_its_exit_code_and_says_why() {
    let end = |state: &str, code: Value, detail: &str| {
        let current = json!({"state": state, "exitCode": code, "detailStatus": detail,
            "startTime": "2023-05-01T16:57:05.78Z", "finishTime": "2023-05-01T16:57:10.133Z"});
        let (state, _) = states(json!({"currentState": current}));
        let end = &state["terminated"];
        assert_eq!(end["startedAt"], "2023-05-01T16:57:05Z");
        assert_eq!(end["finishedAt"], "2023-05-01T16:57:10Z");
        (
            end["exitCode"].as_i64().unwrap(),
            end["reason"].as_str().unwrap().to_owned(),
            end["message"].as_str().map(str::to_owned),
        )
    };
    for (state, code, detail, expected) in [
        ("Terminated", json!(0), "Completed", (0, "Completed", None)),
        ("Terminated", json!(2), "Error", (2, "Error", None)),
        ("Terminated", json!(137), "OOMKilled", (137, "OOMKilled", None)),
        (
            "Terminated",
            json!(128),
            "ContainerCannotRun: no such file",
            (128, "ContainerCannotRun", Some("no such file")),
        ),
        ("Terminated", json!(1), "", (1, "Error", None)),
        ("Terminated", json!(1), "it went wrong", (1, "Error", Some("it went wrong"))),
        ("Terminated", json!(-1), "Error", (-1, "Error", None)),
        ("Terminated", Value::Null, "Completed", (0, "Completed", None)),
        // Without it a failure would look like a success.
        ("Terminated", Value::Null, "", (137, "ContainerStatusUnknown", None)),
        ("Succeeded", Value::Null, "", (0, "Completed", None)),
        ("Failed", json!(1), "oops", (1, "Failed", Some("oops"))),
        ("Canceled", json!(3), "", (3, "Canceled", None)),
    ] {
        let (exit, reason, message) = end(state, code, detail);
        assert_eq!((exit, reason.as_str(), message.as_deref()), expected, "{state} {detail}");
    }
}

#[test]
fn what_waits_says_for_what() {
    let event = |name: &str, message: &str, at: &str| json!({"name": name, "message": message, "lastTimestamp": at});
    let pulling = event("Pulling", "pulling image \"x\"", "2023-01-01T00:00:09Z");
    let previous = json!({"state": "Terminated", "exitCode": 1, "detailStatus": "Error"});
    for (detail, events, previous, reason, message) in [
        ("", json!([]), Value::Null, "ContainerCreating", None),
        ("", Value::Null, Value::Null, "ContainerCreating", None),
        ("Waiting", json!([]), Value::Null, "ContainerCreating", Some("Waiting")),
        (
            "CrashLoopBackOff: Back-off restarting failed",
            json!([]),
            previous.clone(),
            "CrashLoopBackOff",
            Some("Back-off restarting failed"),
        ),
        ("CrashLoopBackOff", json!([]), Value::Null, "CrashLoopBackOff", None),
        ("ImagePullBackOff", json!([]), Value::Null, "ImagePullBackOff", None),
        ("", json!([]), previous.clone(), "CrashLoopBackOff", None),
        (
            "",
            json!([pulling, event("Failed", "Failed to pull image \"x\"", "2023-01-01T00:00:05Z")]),
            Value::Null,
            "ErrImagePull",
            Some("Failed to pull image \"x\""),
        ),
        (
            "",
            json!([
                event("BackOff", "Back-off pulling image \"x\"", "2023-01-01T00:00:08Z"),
                event("Failed", "Failed to pull image", "2023-01-01T00:00:05Z")
            ]),
            Value::Null,
            "ImagePullBackOff",
            Some("Back-off pulling image \"x\""),
        ),
        (
            "",
            json!([event("BackOff", "Back-off restarting failed container", "")]),
            Value::Null,
            "CrashLoopBackOff",
            Some("Back-off restarting failed container"),
        ),
        (
            "",
            json!([event("Failed", "cannot start", "no time")]),
            Value::Null,
            "CreateContainerError",
            Some("cannot start"),
        ),
        ("", json!([pulling, event("Pulled", "", "2023-01-01T00:00:10Z")]), Value::Null, "ContainerCreating", None),
    ] {
        let view = json!({"currentState": {"state": "Waiting", "detailStatus": detail}, "events": events, "previousState": previous});
        let (state, _) = states(view);
        assert_eq!(state["waiting"]["reason"], reason, "{detail} {events}");
        assert_eq!(state["waiting"]["message"].as_str(), message, "{detail} {events}");
    }
}

#[test]
fn a_container_that_was_started_again_tells_of_its_last_run() {
    let mut view = running();
    view["restartCount"] = json!(3);
    view["previousState"] =
        json!({"state": "Terminated", "exitCode": 7, "detailStatus": "Error", "finishTime": "2023-04-12T12:00:08Z"});
    let status = written(&with("Succeeded", "Running", view.clone()));
    let container = &status["containerStatuses"][0];
    assert_eq!(container["restartCount"], 3);
    assert_eq!(container["lastState"]["terminated"]["exitCode"], 7);
    assert_eq!(container["lastState"]["terminated"]["finishedAt"], "2023-04-12T12:00:08Z");
    // One that did not end is no last state.
    for previous in [json!({"state": "Running"}), json!({}), Value::Null] {
        view["previousState"] = previous;
        assert_eq!(states(view.clone()).1, Value::Null);
    }
}

#[test]
fn init_containers_are_told_of_and_waited_for() {
    let container = |name: &str, view: Value| json!({"name": name, "properties": {"image": "x", "instanceView": view}});
    let waiting = || json!({"currentState": {"state": "Waiting"}});
    let with_init = |view: Value| {
        written(&group(json!({
            "provisioningState": "Creating",
            "initContainers": [container("i", view)], "containers": [container("c", waiting())],
        })))
    };
    let status = with_init(running());
    assert_eq!(status["initContainerStatuses"][0]["name"], "i");
    assert!(status["initContainerStatuses"][0]["state"]["running"].is_object());
    assert_eq!(status["containerStatuses"][0]["state"]["waiting"]["reason"], "PodInitializing");
    let status = with_init(json!({"currentState": {"state": "Terminated", "exitCode": 0}}));
    assert_eq!(status["containerStatuses"][0]["state"]["waiting"]["reason"], "ContainerCreating");
    let status = with_init(Value::Null);
    assert_eq!(status["initContainerStatuses"][0]["state"]["waiting"]["reason"], "PodInitializing");
}

#[test]
fn nothing_is_taken_to_be_there() {
    assert_eq!(pod_status(&ContainerGroup::default()), PodStatus::default());
    assert_eq!(written(&group(json!({}))), json!({}));
    assert_eq!(written(&group(json!({"containers": null, "instanceView": {}, "ipAddress": {"ip": ""}}))), json!({}));
    // While the group is made its containers wait, seen or not; later the host knows better.
    for (provisioning, reason) in [("Creating", Some("ContainerCreating")), ("Succeeded", None), ("Repairing", None)] {
        let status = written(&group(json!({"provisioningState": provisioning, "containers": [{"name": "c"}]})));
        let state = &status["containerStatuses"][0]["state"]["waiting"]["reason"];
        assert_eq!(state.as_str(), reason, "{provisioning}");
    }
    for time in [Value::Null, json!("yesterday"), json!("0001-01-01T00:00:00Z")] {
        let (state, _) = states(json!({"currentState": {"state": "Running", "startTime": time}}));
        assert_eq!(state, json!({"running": {}}));
    }
}

/// A member that is missing, null, or one of the service's words or another.
fn word() -> impl Strategy<Value = Value> {
    let words =
        ["Running", "Waiting", "Terminated", "Succeeded", "Failed", "Pending", "Creating", "Unhealthy", "?", ""];
    prop_oneof![Just(Value::Null), proptest::sample::select(words.to_vec()).prop_map(|word| json!(word))]
}

fn state() -> impl Strategy<Value = Value> {
    let code = prop_oneof![Just(Value::Null), any::<i32>().prop_map(|code| json!(code))];
    let state = (word(), code, ".{0,20}", ".{0,20}").prop_map(|(state, code, detail, time)| {
        json!({"state": state, "exitCode": code, "detailStatus": detail, "startTime": time, "finishTime": time})
    });
    prop_oneof![Just(Value::Null), Just(json!({})), state]
}

proptest! {
    #[test]
    fn whatever_the_service_says_there_is_a_status_of_all_containers_or_none(
        provisioning in word(), whole in word(), current in state(), previous in state(), other in state(),
    ) {
        let container = |name: &str, view: Value| json!({"name": name, "properties": {"instanceView": view}});
        let group = group(json!({
            "provisioningState": provisioning, "instanceView": {"state": whole},
            "containers": [
                container("a", json!({"currentState": current, "previousState": previous, "events": null})),
                container("b", json!({"currentState": other})),
            ],
        }));
        let statuses = pod_status(&group).container_statuses;
        prop_assert!(matches!(statuses.len(), 0 | 2));
        for status in &statuses {
            let state = &status.state;
            let told = [state.waiting.is_some(), state.running.is_some(), state.terminated.is_some()];
            prop_assert_eq!(told.into_iter().filter(|told| *told).count(), 1);
            prop_assert!(status.last_state.waiting.is_none() && status.last_state.running.is_none());
        }
    }
}

#[test]
fn a_group_that_could_not_be_started_says_why() {
    let event = json!({"type": "Warning", "name": "FailedMount", "message": "no such share", "lastTimestamp": "2023-01-01T00:00:00Z"});
    let mut group = with("Failed", "Pending", json!({"currentState": {"state": "Waiting"}}));
    assert_eq!(written(&group)["message"], "The container group could not be started");
    let events = &mut group.properties.as_mut().unwrap().instance_view.as_mut().unwrap().events;
    events.push(serde_json::from_value(event).unwrap());
    assert_eq!(written(&group)["message"], "no such share");
}

#[test]
fn the_pinned_behaviours_hold() {
    // The group's word decides the phase, whatever the container's.
    let status = written(&with("Succeeded", "Succeeded", running()));
    assert_eq!((&status["phase"], &status["containerStatuses"][0]["started"]), (&json!("Succeeded"), &json!(true)));
    let end = json!({"currentState": {"state": "Terminated", "exitCode": 0, "detailStatus": "Completed"}});
    let status = written(&with("Succeeded", "Succeeded", end));
    assert_eq!((&status["phase"], &status["containerStatuses"][0]["started"]), (&json!("Succeeded"), &json!(false)));
    let end = json!({"currentState": {"state": "Failed", "exitCode": 1}});
    let status = written(&with("Succeeded", "Failed", end));
    assert_eq!((&status["phase"], &status["containerStatuses"][0]["started"]), (&json!("Failed"), &json!(false)));
}

#[test]
fn what_may_change_soon_is_told_from_what_stays() {
    let motion_of = |group: &ContainerGroup| motion(group, &pod_status(group));
    let waiting = || json!({"currentState": {"state": "Waiting"}});
    assert_eq!(motion_of(&with("Succeeded", "Running", running())), Motion::Running);
    assert_eq!(motion_of(&with("Succeeded", "Running", waiting())), Motion::Moving);
    assert_eq!(motion_of(&with("Succeeded", "Succeeded", waiting())), Motion::Ended);
    assert_eq!(motion_of(&with("Failed", "Pending", waiting())), Motion::Ended);
    for word in ["Pending", "Creating", "Repairing", "Unhealthy", "Hibernating"] {
        assert_eq!(motion_of(&with(word, "Running", running())), Motion::Moving, "{word}");
    }
    assert_eq!(motion_of(&ContainerGroup::default()), Motion::Moving);
    let mut group = with("Succeeded", "Running", running());
    group.properties.as_mut().unwrap().ip_address = Some(crate::group::IpAddress::default());
    assert_eq!(motion_of(&group), Motion::Moving, "the address is still to come");
}
