//! The resource manager apart from groups: versions, scopes, registration, lists, operations, subnets.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use vk_azure::{Delays, Options, Quotas};

use crate::client::{Azure, group};

#[tokio::test]
async fn versions_and_scopes_are_checked_and_every_answer_says_which_it_is() {
    let azure = Azure::start(Options::default()).await;
    let get = async |path: String| {
        let answer =
            azure.http.get(format!("{}{path}", azure.arm_url())).bearer_auth(&azure.token).send().await.unwrap();
        let headers = answer.headers();
        assert!(headers.contains_key("x-ms-request-id"), "{path}");
        assert!(headers.contains_key("x-ms-ratelimit-remaining-subscription-reads"), "{path}");
        let body: Value = answer.json().await.unwrap();
        body["error"]["code"].as_str().unwrap_or("").to_owned()
    };
    let groups = azure.groups_path();
    assert_eq!(get(groups.clone()).await, "MissingApiVersionParameter");
    assert_eq!(get(format!("{groups}?api-version=soon")).await, "InvalidApiVersionParameter");
    assert_eq!(get(format!("{groups}?api-version=2001-01-01")).await, "NoRegisteredProviderFound");
    assert_eq!(get(format!("{groups}?api-version=2023-05-01")).await, "");
    let elsewhere = groups.replace("vk-rg", "other");
    assert_eq!(get(format!("{elsewhere}?api-version=2023-05-01")).await, "ResourceGroupNotFound");
    let elsewhere = groups.replace(&azure.options().subscription, "other");
    assert_eq!(get(format!("{elsewhere}?api-version=2023-05-01")).await, "SubscriptionNotFound");
    assert_eq!(get(format!("{groups}/web?api-version=2023-05-01")).await, "ResourceNotFound");
    let other_case = groups.replace("resourceGroups", "resourcegroups").replace("vk-rg", "VK-RG");
    assert_eq!(get(format!("{other_case}?api-version=2023-05-01")).await, "");
}

#[tokio::test]
async fn a_subscription_has_to_be_registered() {
    let azure = Azure::start(Options { registered: false, ..Options::default() }).await;
    let refused = azure.put("web", &group("true")).await;
    assert_eq!((refused.status, refused.code()), (409, "MissingSubscriptionRegistration"));
    assert_eq!(refused.body["error"]["details"][0]["target"], "Microsoft.ContainerInstance");
    let provider = format!("/subscriptions/{}/providers/Microsoft.ContainerInstance", azure.options().subscription);
    assert_eq!(azure.send(Method::GET, &provider).await.body["registrationState"], "NotRegistered");
    let registered = azure.send(Method::POST, &format!("{provider}/register")).await;
    assert_eq!(registered.body["registrationState"], "Registered");
    assert_eq!(azure.put("web", &group("true")).await.status, 201);
}

#[tokio::test]
async fn lists_come_in_pages() {
    let azure = Azure::start(Options { page_size: 2, ..Options::default() }).await;
    for name in ["a", "b", "c", "d", "e"] {
        azure.put(name, &group("exec sleep 1000")).await;
    }
    let mut names = Vec::new();
    let mut page = azure.list().await.body;
    loop {
        let groups = page["value"].as_array().unwrap();
        assert!(groups.len() <= 2);
        names.extend(groups.iter().map(|group| group["name"].as_str().unwrap().to_owned()));
        let Some(next) = page["nextLink"].as_str() else { break };
        page = azure.http.get(next).bearer_auth(&azure.token).send().await.unwrap().json().await.unwrap();
    }
    assert_eq!(names, ["a", "b", "c", "d", "e"]);
    let all = format!(
        "/subscriptions/{}/providers/Microsoft.ContainerInstance/containerGroups",
        azure.options().subscription
    );
    assert_eq!(azure.send(Method::GET, &all).await.body["value"].as_array().unwrap().len(), 2);
    assert_eq!(azure.send(Method::GET, &format!("{}?$skiptoken=!", azure.groups_path())).await.status, 400);
}

#[tokio::test]
async fn operations_tell_when_a_group_runs_and_when_it_is_gone() {
    let delays = Delays { delete: Duration::from_secs(3600), ..Delays::default() };
    let token_lifetime = Duration::from_secs(86_400);
    let azure = Azure::start(Options { delays, token_lifetime, ..Options::default() }).await;
    let follow = async |url: &str| -> Value {
        let answer = azure.http.get(url).bearer_auth(&azure.token).send().await.unwrap();
        answer.json().await.unwrap()
    };
    let put = azure.put("web", &group("exec sleep 1000")).await;
    let operation = put.header("azure-asyncoperation").unwrap();
    azure.wait_for("web", |group| group.state == "Running").await.unwrap();
    let done = follow(operation).await;
    assert_eq!((&done["status"], &done["id"]), (&json!("Succeeded"), &put.body["id"]));

    let deleted = azure.delete("web").await;
    assert_eq!(deleted.status, 202);
    let operation = deleted.header("azure-asyncoperation").unwrap();
    assert_eq!(follow(operation).await["status"], "Pending");
    assert_eq!(azure.get_group("web").await.status, 200, "it lingers");
    assert_eq!(azure.put("web", &group("true")).await.code(), "ContainerGroupTransitioning");
    assert_eq!(azure.delete("web").await.status, 202);
    azure.advance(Duration::from_secs(3600));
    tokio::time::timeout(Duration::from_secs(60), async {
        while azure.get_group("web").await.status == 200 {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("the group is still there");
    assert_eq!(follow(operation).await["status"], "Succeeded");
    assert_eq!(azure.delete("web").await.status, 204);
}

#[tokio::test]
async fn subnets_are_made_and_changed_in_operations() {
    let azure = Azure::start(Options::default()).await;
    let subscription = &azure.options().subscription;
    let path = format!(
        "/subscriptions/{subscription}/resourceGroups/vk-rg/providers/Microsoft.Network/virtualNetworks/vnet/subnets/aci"
    );
    assert_eq!(azure.send(Method::GET, &path).await.status, 404);
    assert_eq!(azure.send_json(Method::PUT, &path, &json!({"properties": {}})).await.status, 400);
    let body = json!({"name": "aci", "properties": {"addressPrefix": "10.241.0.0/16", "delegations": []}});
    let made = azure.send_json(Method::PUT, &path, &body).await;
    assert_eq!((made.status, &made.body["properties"]["provisioningState"]), (201, &json!("Updating")));
    azure.advance(azure.options().delays.subnet);
    let operation = made.header("azure-asyncoperation").unwrap();
    let done: Value = azure.http.get(operation).bearer_auth(&azure.token).send().await.unwrap().json().await.unwrap();
    assert_eq!(done["status"], "Succeeded");
    let got = azure.send(Method::GET, &path).await;
    assert_eq!((got.status, &got.body["properties"]["addressPrefix"]), (200, &json!("10.241.0.0/16")));
}

#[tokio::test]
async fn regions_tell_what_they_have() {
    let azure = Azure::start(Options::default()).await;
    azure.put("web", &group("exec sleep 1000")).await;
    let region = format!(
        "/subscriptions/{}/providers/Microsoft.ContainerInstance/locations/westeurope",
        azure.options().subscription
    );
    let usages = azure.send(Method::GET, &format!("{region}/usages")).await;
    assert_eq!(usages.body["value"][0]["currentValue"], 1);
    assert_eq!(usages.body["value"][1]["currentValue"], 0.5);
    let capabilities = azure.send(Method::GET, &format!("{region}/capabilities")).await;
    assert_eq!(capabilities.body["value"][0]["capabilities"]["maxCpu"], 4.0);
    let manifest = azure.send(Method::GET, "/providers/Microsoft.ContainerInstance?$expand=metadata").await;
    assert_eq!(manifest.body["metadata"]["gpuRegionalSkus"][0]["skus"], json!(["V100"]));
}

#[tokio::test]
async fn quotas_refuse_and_say_for_how_long() {
    let quotas = Quotas { five_minutes: 2, hour: 3, ..Quotas::default() };
    let azure = Azure::start(Options { quotas: Some(quotas), ..Options::default() }).await;
    let body = group("exec sleep 1000");
    let first = azure.put("a", &body).await;
    assert_eq!(first.header("x-ms-ratelimit-remaining-subscription-resource-requests-pt5m"), Some("1"));
    assert_eq!(first.header("x-ms-ratelimit-remaining-subscription-resource-requests-pt1h"), Some("2"));
    assert_eq!(azure.put("b", &body).await.status, 201);
    let refused = azure.put("c", &body).await;
    assert_eq!((refused.status, refused.code()), (429, "ResourceRequestsThrottled"));
    let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((290..=300).contains(&wait), "{wait}");
    assert_eq!(azure.get_group("c").await.status, 404, "reads are another class");
    azure.advance(Duration::from_secs(wait));
    let token = azure.options().token_lifetime;
    assert!(token > Duration::from_secs(wait));
    assert_eq!(azure.put("c", &body).await.status, 201);
    azure.set_quotas(None);
    assert_eq!(azure.put("d", &body).await.status, 201);
}
