//! What the simulator sees that a well-mannered client would not do.

use vk_azure::{Effect, Fault, Options, Refusal, Route, Rule};

use crate::client::{Azure, group};

fn broken(azure: &Azure) -> Vec<Rule> {
    azure.violations().iter().map(|violation| violation.rule).collect()
}

#[tokio::test]
async fn manners_are_watched_over_the_wire() {
    let azure = Azure::start(Options::default()).await;
    let body = group("exec sleep 1000");
    azure.get_group("web").await;
    azure.put("web", &body).await;
    azure.list().await;
    azure.delete("web").await;
    assert_eq!(broken(&azure), []);

    azure.put("rude", &body).await;
    assert_eq!(broken(&azure), [Rule::LookBeforePut]);
    let mut other = body.clone();
    other["tags"]["NodeName"] = "2".into();
    azure.get_group("rude").await;
    azure.put("rude", &other).await;
    assert_eq!(broken(&azure)[1..], [Rule::SameBodyAgain]);
}

#[tokio::test]
async fn a_lost_answer_tells_nothing() {
    let azure = Azure::start(Options::default()).await;
    azure.get_group("web").await;
    azure.fault(Fault::new(Effect::LostAnswer).on(Route::Put).times(1));
    let body = group("exec sleep 1000");
    let lost = azure.request(reqwest::Method::PUT, &azure.group_path("web")).json(&body).send().await;
    assert!(lost.is_err());
    azure.delete("web").await;
    assert_eq!(broken(&azure), [Rule::LookBeforeDelete]);
}

#[tokio::test]
async fn a_wait_that_was_asked_for_is_to_be_waited() {
    let azure = Azure::start(Options::default()).await;
    azure.fault(Fault::new(Effect::Status(Refusal::throttled().retry_after(60))).on(Route::List).times(1));
    assert_eq!(azure.list().await.status, 429);
    azure.advance(std::time::Duration::from_secs(30));
    azure.list().await;
    assert_eq!(broken(&azure), [Rule::HeedRetryAfter]);
    azure.advance(std::time::Duration::from_secs(31));
    azure.list().await;
    assert_eq!(broken(&azure), [Rule::HeedRetryAfter]);
}

#[tokio::test]
async fn secrets_are_neither_answered_nor_logged() {
    let azure = Azure::start(Options::default()).await;
    let secret = "c2hoaGho";
    let mut body = group("exec sleep 1000");
    let properties = &mut body["properties"];
    properties["volumes"] = serde_json::json!([
        {"name": "keys", "secret": {"key": secret}},
        {"name": "share", "azureFile": {"shareName": "s", "storageAccountName": "a", "storageAccountKey": secret}},
    ]);
    properties["imageRegistryCredentials"] = serde_json::json!([{"server": "r", "username": "u", "password": secret}]);
    properties["diagnostics"] = serde_json::json!({"logAnalytics": {"workspaceId": "w", "workspaceKey": secret}});
    properties["extensions"] = serde_json::json!([
        {"name": "e", "properties": {"extensionType": "x", "version": "1", "protectedSettings": {"kubeConfig": secret}}},
    ]);
    properties["containers"][0]["properties"]["environmentVariables"] =
        serde_json::json!([{"name": "KEY", "secureValue": secret}, {"name": "PLAIN", "value": "shown"}]);
    let put = azure.put("web", &body).await;
    assert_eq!(put.status, 201, "{}", put.body);
    let told = [put.body, azure.get_group("web").await.body, azure.list().await.body];
    for told in told {
        assert!(!told.to_string().contains(secret), "{told}");
        assert!(told.to_string().contains("shown"));
    }
    assert!(!format!("{:?}", azure.requests()).contains(secret));
    for route in ["groups", "groups/web", "requests", "violations", "faults"] {
        let control = azure.http.get(format!("{}/control/{route}", azure.metadata_url())).send().await.unwrap();
        assert_eq!(control.status(), 200, "{route}");
        assert!(!control.text().await.unwrap().contains(secret), "{route}");
    }
    let kept = azure.group("web").unwrap().sent.to_string();
    assert_eq!(kept.matches(secret).count(), 6, "{kept}");
}

#[tokio::test]
async fn groups_of_others_are_not_to_be_touched() {
    let azure = Azure::start(Options::default()).await;
    let body = group("exec sleep 1000");
    azure.get_group("mine").await;
    azure.put("mine", &body).await;
    azure.get_group("mine").await;
    azure.put("mine", &body).await;
    assert_eq!(broken(&azure), []);
    azure.edit_group("mine", serde_json::json!({"tags": {"$value": null}}));
    let shown = azure.get_group("mine").await.body;
    assert_eq!(shown.get("tags"), Some(&serde_json::Value::Null));
    azure.put("mine", &body).await;
    azure.get_group("mine").await;
    azure.delete("mine").await;
    assert_eq!(broken(&azure), [Rule::OwnGroupsOnly; 2]);
}

#[tokio::test]
async fn a_put_that_was_refused_may_be_repeated_at_once() {
    let mut azure = Azure::start(Options::default()).await;
    let body = group("exec sleep 1000");
    azure.get_group("web").await;
    azure.fault(Fault::new(Effect::ExpireToken).on(Route::Put).times(1));
    assert_eq!(azure.put("web", &body).await.status, 401);
    azure.log_in().await;
    assert_eq!(azure.put("web", &body).await.status, 201);
    assert_eq!(broken(&azure), []);
    azure.get_group("other").await;
    azure.fault(Fault::new(Effect::Status(Refusal::empty(500))).on(Route::Put).times(1));
    azure.put("other", &body).await;
    azure.put("other", &body).await;
    assert_eq!(broken(&azure), [Rule::LookBeforePut], "an error may hide a change");
}

#[tokio::test]
async fn a_list_that_was_lost_tells_no_tags() {
    let azure = Azure::start(Options::default()).await;
    azure.get_group("web").await;
    azure.fault(Fault::new(Effect::LostAnswer).on(Route::Put).times(1));
    let body = group("exec sleep 1000");
    assert!(azure.request(reqwest::Method::PUT, &azure.group_path("web")).json(&body).send().await.is_err());
    azure.fault(Fault::new(Effect::LostAnswer).on(Route::List).times(1));
    assert!(azure.request(reqwest::Method::GET, &azure.groups_path()).send().await.is_err());
    azure.delete("web").await;
    assert_eq!(broken(&azure), [Rule::LookBeforeDelete]);
}
