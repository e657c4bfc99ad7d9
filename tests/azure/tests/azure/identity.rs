//! Tokens from the directory and the metadata service, and what the resource manager makes of them.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use vk_azure::{Effect, Fault, Options, Refusal, Route};

use crate::client::Azure;

#[tokio::test]
async fn the_directory_gives_tokens_of_both_versions() {
    let azure = Azure::start(Options { token_lifetime: Duration::from_secs(90), ..Options::default() }).await;
    let v2: Value = azure.token_request("v2.0/", &azure.form()).await.json().await.unwrap();
    assert_eq!((&v2["token_type"], &v2["expires_in"]), (&json!("Bearer"), &json!(90)));
    let mut form = azure.form();
    form[3] = ("resource", format!("{}/", azure.arm_url()));
    let v1: Value = azure.token_request("", &form).await.json().await.unwrap();
    assert_eq!((&v1["expires_in"], &v1["resource"]), (&json!("90"), &json!(form[3].1)));
    let url = format!("{}{}?api-version=2023-05-01", azure.arm_url(), azure.groups_path());
    let listed = azure.http.get(url).bearer_auth(v1["access_token"].as_str().unwrap()).send().await.unwrap();
    assert_eq!(listed.status(), 200);
}

#[tokio::test]
async fn the_directory_says_what_is_wrong() {
    let azure = Azure::start(Options::default()).await;
    let cases = [
        ("grant_type", "password", 400, "unsupported_grant_type", 70003),
        ("client_id", "somebody", 400, "unauthorized_client", 700_016),
        ("client_secret", "", 401, "invalid_client", 7_000_218),
        ("client_secret", "wrong", 401, "invalid_client", 7_000_215),
        ("scope", "https://management.azure.com/", 400, "invalid_scope", 1_002_012),
        ("scope", "https://vault.azure.net/.default", 400, "invalid_resource", 500_011),
    ];
    for (field, value, status, error, number) in cases {
        let mut form = azure.form();
        form.iter_mut().find(|(name, _)| *name == field).unwrap().1 = value.to_owned();
        let answer = azure.token_request("v2.0/", &form).await;
        assert_eq!(answer.status(), status, "{field}={value}");
        let answer: Value = answer.json().await.unwrap();
        assert_eq!((&answer["error"], &answer["error_codes"]), (&json!(error), &json!([number])), "{field}={value}");
    }
    let url = format!("{}/another/oauth2/v2.0/token", azure.directory_url());
    let answer = azure.http.post(url).body("grant_type=client_credentials").send().await.unwrap();
    let answer: Value = answer.json().await.unwrap();
    assert_eq!(answer["error_codes"], json!([90002]));
    assert!(!format!("{:?}", azure.requests()).contains(&azure.options().client_secret));
}

#[tokio::test]
async fn the_metadata_service_wants_its_header_and_an_identity_it_knows() {
    let azure = Azure::start(Options::default()).await;
    let url = |query: &str| {
        let resource = azure.arm_url();
        format!(
            "{}/metadata/identity/oauth2/token?api-version=2018-02-01&resource={resource}{query}",
            azure.metadata_url()
        )
    };
    assert_eq!(azure.http.get(url("")).send().await.unwrap().status(), 400);
    let ask = |query: &str| azure.http.get(url(query)).header("Metadata", "true").send();
    let identity = &azure.options().identities[0];
    let token: Value = ask(&format!("&client_id={identity}")).await.unwrap().json().await.unwrap();
    assert_eq!((&token["client_id"], token["expires_in"].is_string()), (&json!(identity), true));
    let unknown = ask("&client_id=nobody").await.unwrap();
    assert_eq!(unknown.status(), 400);
    assert_eq!(unknown.json::<Value>().await.unwrap()["error_description"], "Identity not found");
    for code in [410, 429, 500] {
        azure.fault(Fault::new(Effect::Status(Refusal::empty(code))).on(Route::Metadata).times(1));
        assert_eq!(ask("").await.unwrap().status(), code);
    }
    assert_eq!(ask("").await.unwrap().status(), 200);
}

#[tokio::test]
async fn the_resource_manager_tells_tokens_that_are_expired_from_those_it_never_gave() {
    let mut azure = Azure::start(Options::default()).await;
    azure.advance(Duration::from_secs(3600));
    let expired = azure.list().await;
    assert_eq!((expired.status, expired.code()), (401, "ExpiredAuthenticationToken"));
    assert!(expired.header("www-authenticate").unwrap().contains("error=\"invalid_token\""));
    azure.log_in().await;
    assert_eq!(azure.list().await.status, 200);
    azure.fault(Fault::new(Effect::ExpireToken).on(Route::List).times(1));
    assert_eq!(azure.list().await.code(), "ExpiredAuthenticationToken");
    assert_eq!(azure.list().await.code(), "ExpiredAuthenticationToken", "it stays expired");
    azure.token = "forged".into();
    assert_eq!(azure.list().await.code(), "InvalidAuthenticationToken");
    let url = format!("{}{}?api-version=2023-05-01", azure.arm_url(), azure.groups_path());
    assert_eq!(azure.http.request(Method::GET, url).send().await.unwrap().status(), 401);
}
