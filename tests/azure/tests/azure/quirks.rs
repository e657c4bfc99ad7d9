//! What the service does that surprises.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use vk_azure::{Options, Quirks};

use crate::client::{Azure, group};

async fn running(quirks: Quirks) -> (Azure, Value) {
    let azure = Azure::start(Options { quirks, ..Options::default() }).await;
    azure.put("web", &group("exec sleep 1000")).await;
    azure.wait_for("web", |group| group.state == "Running").await.unwrap();
    let body = azure.get_group("web").await.body;
    (azure, body)
}

#[tokio::test]
async fn what_was_just_done_is_not_seen_at_once() {
    let hour = 3_600_000;
    let quirks = Quirks { get_after_put: hour / 2, list_after_put: hour / 4, ..Quirks::default() };
    let azure =
        Azure::start(Options { quirks, token_lifetime: Duration::from_secs(86_400), ..Options::default() }).await;
    azure.put("web", &group("exec sleep 1000")).await;
    let listed = async || azure.list().await.body["value"].as_array().unwrap().len();
    assert_eq!((azure.get_group("web").await.status, listed().await), (404, 0));
    azure.advance(Duration::from_millis(hour / 4));
    assert_eq!((azure.get_group("web").await.status, listed().await), (404, 1));
    azure.advance(Duration::from_millis(hour / 4));
    assert_eq!(azure.get_group("web").await.status, 200);

    azure.set_quirks(Quirks { get_after_delete: 1, list_after_delete: hour, ..Quirks::default() });
    azure.delete("web").await;
    assert_eq!((azure.get_group("web").await.status, azure.get_group("web").await.status), (200, 404));
    assert_eq!(listed().await, 1);
    azure.advance(Duration::from_millis(hour));
    assert_eq!(listed().await, 0);
}

#[tokio::test]
async fn members_are_absent_null_loud_or_finer() {
    let (_azure, body) = running(Quirks {
        ip_absent: 3_600_000,
        fraction_digits: Some(7),
        omit_events: true,
        null_previous_state: true,
        loud_ids: true,
        ..Quirks::default()
    })
    .await;
    let view = &body["properties"]["containers"][0]["properties"]["instanceView"];
    assert_eq!((view.get("events"), view.get("previousState")), (None, Some(&Value::Null)));
    assert!(body["id"].as_str().unwrap().ends_with("/CONTAINERGROUPS/WEB"));
    assert_eq!(body.pointer("/properties/ipAddress/ip"), None);
    let start = view["currentState"]["startTime"].as_str().unwrap();
    assert_eq!(start.split_once('.').unwrap().1.len(), "1234567Z".len(), "{start}");
}

#[tokio::test]
async fn by_default_they_are_as_they_should_be() {
    let (azure, body) = running(Quirks::default()).await;
    let view = &body["properties"]["containers"][0]["properties"]["instanceView"];
    assert_eq!((view.get("previousState"), view["events"].as_array().unwrap().len()), (None, 3));
    assert!(body["properties"]["ipAddress"]["ip"].is_string());
    azure.set_quirks(Quirks { fraction_digits: Some(0), ..Quirks::default() });
    let body = azure.get_group("web").await.body;
    let start = &body["properties"]["containers"][0]["properties"]["instanceView"]["currentState"]["startTime"];
    assert!(!start.as_str().unwrap().contains('.'), "{start}");
}

#[tokio::test]
async fn tests_make_clients_see_what_they_want() {
    let (azure, _) = running(Quirks::default()).await;
    let view = json!({"properties": {
        "provisioningState": "Repairing",
        "containers": {"0": {"properties": {"instanceView": {"currentState": {"state": "Waiting", "startTime": null}}}}},
    }});
    assert!(azure.edit_group("web", view) && !azure.edit_group("other", Value::Null));
    let body = azure.get_group("web").await.body;
    assert_eq!(body["properties"]["provisioningState"], "Repairing");
    let state = &body["properties"]["containers"][0]["properties"]["instanceView"]["currentState"];
    assert_eq!((&state["state"], state.get("startTime")), (&json!("Waiting"), None));
    assert_eq!(azure.list().await.body["value"][0]["properties"]["provisioningState"], "Repairing");
    azure.edit_group("web", Value::Null);
    assert_eq!(azure.get_group("web").await.body["properties"]["provisioningState"], "Succeeded");
    assert!(azure.remove_group("web"));
    assert_eq!(azure.get_group("web").await.status, 404);
}

#[tokio::test]
async fn a_group_that_moves_has_another_address_and_begins_again() {
    let (azure, before) = running(Quirks::default()).await;
    assert!(azure.move_group("web"));
    let after = azure.wait_for("web", |group| group.state == "Running" && group.restarts == 1).await.unwrap();
    assert_ne!(after.body["properties"]["ipAddress"]["ip"], before["properties"]["ipAddress"]["ip"]);
    let view = &after.body["properties"]["containers"][0]["properties"]["instanceView"];
    assert_eq!(view["previousState"]["state"], "Terminated");
    for (action, status, state) in [("stop", 204, "Stopped"), ("start", 202, "Running"), ("restart", 204, "Running")] {
        let answer = azure.send(Method::POST, &format!("{}/{action}", azure.group_path("web"))).await;
        assert_eq!(answer.status, status, "{action}: {}", answer.body);
        azure.wait_for("web", |group| group.state == state).await.unwrap();
    }
}
