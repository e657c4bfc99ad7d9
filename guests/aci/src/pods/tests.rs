use serde_json::{Value, json};
use vk_sdk::testing::{self, Response};

use super::*;
use crate::model::{self, Model, group, methods, name, pod, pods, refusal};

fn status(observation: &Observation) -> Value {
    serde_json::from_str(observation.status.as_deref().unwrap()).unwrap()
}

#[test]
fn a_group_is_made_once_and_adopted_afterwards() {
    let model = Model::serve();
    let made = pods().create(pod(1), &group(&pod(1), model::OWNER)).unwrap();
    assert_eq!(status(&made)["phase"], "Pending");
    assert_eq!(methods(), "GET PUT");
    let adopted = pods().create(pod(1), &group(&pod(1), model::OWNER)).unwrap();
    assert_eq!(status(&adopted)["phase"], "Running");
    assert_eq!(methods(), "GET PUT GET");
    assert_eq!(model.edit(|state| state.groups.len()), 1);
}

#[test]
fn a_foreign_group_is_neither_changed_nor_removed_nor_reported() {
    let pod_one = pod(1);
    let foreign = [group(&pod_one, "another"), group(&pod(2), model::OWNER), ContainerGroup::default()];
    for found in foreign {
        let model = Model::serve();
        model.edit(|state| {
            let mut body = serde_json::to_value(&found).unwrap();
            body["properties"]["containers"] = json!([]);
            state.put(&name(&pod_one), body);
        });
        let error = pods().create(pod(1), &group(&pod_one, model::OWNER)).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Conflict);
        assert!(error.message.contains(&name(&pod_one)), "{}", error.message);
        assert_eq!(pods().get(pod(1)).unwrap_err().kind, ErrorKind::NotFound);
        assert!(matches!(pods().delete(&pod_one), Ok(Deletion::Gone)));
        assert_eq!(methods(), "GET GET GET");
        assert_eq!(testing::lines().len(), 1);
    }
}

#[test]
fn a_group_that_was_made_although_the_answer_failed_is_adopted() {
    let model = Model::serve_with(|request, state| {
        if request.method != "PUT" {
            return None;
        }
        state.put(&name(&pod(1)), request.json().unwrap());
        Some(refusal(503, "ServerTimeout"))
    });
    let made = pods().create(pod(1), &group(&pod(1), model::OWNER)).unwrap();
    assert_eq!(status(&made)["phase"], "Running");
    assert_eq!(methods(), "GET PUT GET");
    assert_eq!(model.edit(|state| state.groups.len()), 1);
}

#[test]
fn a_lost_answer_and_a_service_that_lags_behind_leave_no_group_behind() {
    let _model = Model::serve_with(|request, state| {
        if request.method != "PUT" {
            return None;
        }
        state.put(&name(&pod(1)), request.json().unwrap());
        state.groups.get_mut(&name(&pod(1))).unwrap().shows_from = testing::now() + Duration::from_secs(5);
        Some(Response::failure(testing::Failure::Timeout))
    });
    let error = pods().create(pod(1), &group(&pod(1), model::OWNER)).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unavailable);
    // The pod is deleted before the group shows.
    assert!(matches!(pods().delete(&pod(1)), Ok(Deletion::Stopping)));
    assert_eq!(pods().get(pod(1)).unwrap_err().kind, ErrorKind::Unavailable);
    testing::advance(Duration::from_secs(6));
    assert!(matches!(pods().delete(&pod(1)), Ok(Deletion::Gone)));
    assert_eq!(methods().matches("DELETE").count(), 1);
    assert_eq!(pods().get(pod(1)).unwrap_err().kind, ErrorKind::NotFound);
}

#[test]
fn a_refused_group_is_forgotten() {
    let _model =
        Model::serve_with(|request, _| (request.method == "PUT").then(|| refusal(400, "InvalidRequestContent")));
    let error = pods().create(pod(1), &group(&pod(1), model::OWNER)).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Invalid);
    assert!(matches!(pods().delete(&pod(1)), Ok(Deletion::Gone)));
    assert_eq!(methods(), "GET PUT GET");
}

#[test]
fn a_removal_under_way_is_asked_for_once() {
    let model = Model::serve();
    pods().create(pod(1), &group(&pod(1), model::OWNER)).unwrap();
    model.edit(|state| state.groups.get_mut(&name(&pod(1))).unwrap().lingers = Some(Duration::from_secs(30)));
    for _ in 0..3 {
        assert!(matches!(pods().delete(&pod(1)), Ok(Deletion::Stopping)));
        testing::advance(Duration::from_secs(5));
    }
    assert_eq!(methods().matches("DELETE").count(), 1);
    testing::advance(Duration::from_secs(30));
    assert!(matches!(pods().delete(&pod(1)), Ok(Deletion::Gone)));
    assert!(matches!(pods().delete(&pod(1)), Ok(Deletion::Gone)), "once more is no harm");
}

#[test]
fn a_group_that_never_started_is_reported_and_not_made_again() {
    let model = Model::serve();
    pods().create(pod(1), &group(&pod(1), model::OWNER)).unwrap();
    model.edit(|state| state.groups.get_mut(&name(&pod(1))).unwrap().provisioning = Some("Failed"));
    let adopted = pods().create(pod(1), &group(&pod(1), model::OWNER)).unwrap();
    assert_eq!(status(&adopted)["reason"], "ProvisioningFailed");
    assert_eq!(methods(), "GET PUT GET");
}

#[test]
fn the_services_events_are_told_once() {
    let model = Model::serve();
    pods().create(pod(1), &group(&pod(1), model::OWNER)).unwrap();
    model.edit(|state| {
        let at = vk_sdk::status::timestamp(testing::now());
        let event = json!({"name": "FailedMount", "type": "Warning", "message": "no share", "lastTimestamp": at});
        state.groups.get_mut(&name(&pod(1))).unwrap().events = json!([event]);
    });
    for _ in 0..2 {
        pods().get(pod(1)).unwrap();
    }
    let told: Vec<_> = testing::events().into_iter().map(|(pod, event)| (pod.uid, event.reason)).collect();
    assert_eq!(told, [("uid-1".to_owned(), "FailedMount".to_owned())]);
}

#[test]
fn an_unreachable_service_is_no_pod_that_is_gone() {
    let _model = Model::serve_with(|_, _| Some(Response::failure(testing::Failure::Timeout)));
    assert_eq!(pods().get(pod(1)).unwrap_err().kind, ErrorKind::Unavailable);
    assert_eq!(pods().delete(&pod(1)).unwrap_err().kind, ErrorKind::Unavailable);
    let _model = Model::serve_with(|request, _| {
        (!request.path().ends_with("/token")).then(|| refusal(404, "ResourceGroupNotFound"))
    });
    assert!(pods().get(pod(1)).unwrap_err().kind != ErrorKind::NotFound);
    assert!(pods().delete(&pod(1)).is_err());
}
