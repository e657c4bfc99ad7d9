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
    other["tags"]["UID"] = "2".into();
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
    let kept = azure.group("web").unwrap().sent.to_string();
    assert_eq!(kept.matches(secret).count(), 6, "{kept}");
}
