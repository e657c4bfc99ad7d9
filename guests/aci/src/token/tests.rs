//! Tokens as the directory and the metadata service give, refuse and delay them.

use std::{cell::Cell, rc::Rc};

use serde_json::json;
use vk_sdk::testing::{self, Failure, Request, Response};

use super::*;
use crate::settings::testing::{managed, principal};

const HOUR: u64 = 3_599;

fn granted(token: &str, seconds: u64) -> Response {
    Response::new(200).json(&json!({"token_type": "Bearer", "expires_in": seconds, "access_token": token}))
}

/// Gives `t1`, `t2` … of this life.
fn serve_tokens(seconds: u64) {
    let given = Cell::new(0);
    testing::serve(move |_| {
        given.set(given.get() + 1);
        granted(&format!("t{}", given.get()), seconds)
    });
}

fn get(settings: &Settings) -> String {
    token(settings).unwrap().0
}

fn form(request: &Request) -> &str {
    std::str::from_utf8(&request.body).unwrap()
}

#[test]
fn a_service_principal_asks_the_second_version_of_the_directory() {
    serve_tokens(HOUR);
    assert_eq!(get(&principal()), "t1");
    let request = &testing::requests()[0];
    assert_eq!((request.method.as_str(), request.url.as_str()), ("POST", "https://login.test/ten/oauth2/v2.0/token"));
    assert_eq!(request.header("content-type"), Some("application/x-www-form-urlencoded"));
    assert_eq!(
        form(request),
        "grant_type=client_credentials&client_id=cli&client_secret=hunter2%26%2B&scope=https%3A%2F%2Farm.test%2F.default"
    );
}

#[test]
fn a_service_principal_may_ask_the_first_version() {
    let numbers = json!({"expires_in": "3599", "expires_on": "1735693200", "access_token": "v1"});
    testing::serve(move |_| Response::new(200).json(&numbers));
    let mut settings = principal();
    if let Identity::ServicePrincipal { version, .. } = &mut settings.identity {
        *version = TokenVersion::V1;
    }
    assert_eq!(get(&settings), "v1");
    let request = &testing::requests()[0];
    assert_eq!(request.url, "https://login.test/ten/oauth2/token?api-version=1.0");
    assert!(form(request).ends_with("&resource=https%3A%2F%2Farm.test%2F"));
    testing::advance(Duration::from_secs(3_200));
    assert_eq!((get(&settings).as_str(), testing::requests().len()), ("v1", 1));
}

#[test]
fn a_managed_identity_asks_the_metadata_service() {
    for (client, end) in [(None, ""), (Some("user"), "&client_id=user")] {
        serve_tokens(HOUR);
        assert_eq!(get(&managed(client)), "t1");
        let request = &testing::requests()[0];
        let url = format!(
            "http://169.254.169.254/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https%3A%2F%2Farm.test%2F{end}"
        );
        assert_eq!((request.method.as_str(), request.url.as_str()), ("GET", url.as_str()));
        assert_eq!(request.header("metadata"), Some("true"));
    }
}

#[test]
fn a_token_is_kept_and_renewed_five_minutes_before_its_end() {
    serve_tokens(HOUR);
    let settings = principal();
    assert_eq!((get(&settings), get(&settings)), ("t1".to_owned(), "t1".to_owned()));
    testing::advance(Duration::from_secs(HOUR - 305));
    assert_eq!(get(&settings), "t1");
    testing::advance(Duration::from_secs(10));
    assert_eq!((get(&settings), testing::requests().len()), ("t2".to_owned(), 2));
}

#[test]
fn a_short_token_is_renewed_in_the_last_tenth_of_its_life() {
    serve_tokens(100);
    let settings = principal();
    get(&settings);
    testing::advance(Duration::from_secs(89));
    assert_eq!(get(&settings), "t1");
    testing::advance(Duration::from_secs(2));
    assert_eq!(get(&settings), "t2");
    serve_tokens(1);
    for round in 1..=3 {
        assert_eq!(get(&settings), format!("t{round}"));
        testing::advance(Duration::from_secs(1));
    }
}

#[test]
fn the_life_may_be_told_as_a_date_or_not_at_all() {
    let end = clock::milliseconds(testing::now()) / 1_000 + 1_000;
    for (answer, life) in [
        (json!({"access_token": "a", "expires_on": end.to_string()}), 1_000),
        (json!({"access_token": "a", "expires_on": end, "expires_in": null}), 1_000),
        (json!({"access_token": "a"}), 300),
    ] {
        let answer = Response::new(200).json(&answer);
        testing::serve(move |_| answer.clone());
        get(&principal());
        let Known { ends, .. } = cache::get_json(KEY).unwrap();
        let left = (ends - clock::milliseconds(testing::now())) / 1_000;
        assert!((life - 15..=life).contains(&left), "{left} of {life}");
    }
}

#[test]
fn one_instance_renews_while_the_others_use_the_old_token() {
    let settings = Rc::new(principal());
    let (other, rounds) = (settings.clone(), Cell::new(0));
    testing::serve(move |_| {
        rounds.set(rounds.get() + 1);
        if rounds.get() == 2 {
            assert_eq!(get(&other), "t1", "another instance, meanwhile");
        }
        granted(&format!("t{}", rounds.get()), 100)
    });
    get(&settings);
    testing::advance(Duration::from_secs(95));
    assert_eq!(get(&settings), "t2");
    assert_eq!(testing::requests().len(), 2);
}

#[test]
fn an_instance_that_ends_while_it_renews_is_followed_by_another() {
    serve_tokens(1_000);
    let settings = principal();
    get(&settings);
    testing::advance(Duration::from_secs(910));
    assert!(cache::replace(RENEWING, None, b"1", RENEWAL), "an instance that then ends");
    assert_eq!(get(&settings), "t1");
    testing::advance(RENEWAL);
    assert_eq!(get(&settings), "t2");
}

#[test]
fn while_the_directory_fails_the_old_token_is_used_to_its_end() {
    let fails = Rc::new(Cell::new(false));
    let failing = fails.clone();
    testing::serve(move |_| if failing.get() { Response::failure(Failure::Timeout) } else { granted("t", 1_000) });
    let settings = principal();
    get(&settings);
    fails.set(true);
    testing::advance(Duration::from_secs(910));
    assert_eq!((get(&settings), get(&settings)), ("t".to_owned(), "t".to_owned()));
    assert_eq!(testing::requests().len(), 2, "not asked again at once");
    testing::advance(Duration::from_secs(90));
    assert_eq!(token(&settings).unwrap_err().kind, ErrorKind::Unavailable);
}

#[test]
fn a_refused_token_is_forgotten_but_not_one_that_is_newer() {
    serve_tokens(HOUR);
    let settings = principal();
    let first = token(&settings).unwrap();
    forget(&first);
    assert_eq!(get(&settings), "t2");
    forget(&first);
    assert_eq!(get(&settings), "t2");
}

#[test]
fn refused_credentials_are_not_tried_again_at_once_and_the_remedy_is_named() {
    let answer = |error: &str, text: &str| json!({"error": error, "error_description": text, "error_codes": [7]});
    for (status, body, parts) in [
        (
            401,
            answer("invalid_client", "AADSTS7000215: Invalid client secret hunter2&+ provided.\r\nTrace ID: 1"),
            ["AADSTS7000215", "AZURE_CLIENT_SECRET"],
        ),
        (
            401,
            answer("invalid_client", "AADSTS7000222: The secret has expired. Trace ID: 1"),
            ["AADSTS7000222", "az ad app credential reset"],
        ),
        (401, answer("invalid_client", "AADSTS7000218: missing"), ["AADSTS7000218", "clientSecret"]),
        (400, answer("unauthorized_client", "AADSTS700016: no such app"), ["AADSTS700016", "AZURE_CLIENT_ID"]),
        (400, answer("invalid_request", "AADSTS90002: no such tenant"), ["AADSTS90002", "AZURE_TENANT_ID"]),
        (400, answer("invalid_scope", "AADSTS1002012: scope"), ["AADSTS1002012", "TokenVersion"]),
        (403, json!("<html>"), ["403", "Check the credentials"]),
    ] {
        let response = Response::new(status).json(&body);
        testing::serve(move |_| response.clone());
        let settings = principal();
        for _ in 0..3 {
            let error = token(&settings).unwrap_err();
            assert_eq!(error.kind, ErrorKind::Unauthenticated);
            assert!(parts.iter().all(|part| error.message.contains(part)), "{parts:?} in {}", error.message);
            assert!(!error.message.contains("hunter2") && !error.message.contains("Trace"), "{}", error.message);
        }
        assert_eq!(testing::requests().len(), 1);
        testing::advance(REFUSAL);
        assert!(token(&settings).is_err());
        assert_eq!(testing::requests().len(), 2);
    }
}

#[test]
fn an_identity_that_the_machine_does_not_have_is_refused_and_a_busy_metadata_service_is_not() {
    let settings = managed(Some("user"));
    let missing = json!({"error": "invalid_request", "error_description": "Identity not found"});
    testing::serve(move |_| Response::new(400).json(&missing));
    let error = token(&settings).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unauthenticated);
    assert!(
        error.message.contains("Identity not found") && error.message.contains("VIRTUALNODE_USER_IDENTITY_CLIENTID")
    );
    for status in [404, 410, 500] {
        testing::serve(move |_| Response::new(status));
        assert_eq!(token(&settings).unwrap_err().kind, ErrorKind::Unavailable, "{status}");
    }
}

#[test]
fn a_throttled_or_failing_directory_is_asked_again_when_it_says() {
    let settings = principal();
    for (status, kind) in [(429, ErrorKind::Exhausted), (503, ErrorKind::Unavailable)] {
        testing::serve(move |_| Response::new(status).header("Retry-After", "17"));
        let error = token(&settings).unwrap_err();
        assert_eq!((error.kind, error.retry_after), (kind, Some(17_000)));
        testing::advance(Duration::from_secs(16));
        assert_eq!(token(&settings).unwrap_err().kind, ErrorKind::Exhausted);
        assert_eq!(testing::requests().len(), 1);
        testing::advance(Duration::from_secs(2));
        assert!(token(&settings).is_err());
        assert_eq!(testing::requests().len(), 2);
    }
    for answer in [Response::new(500).body("<html>"), Response::failure(Failure::Timeout)] {
        testing::serve(move |_| answer.clone());
        for requests in 1..=2 {
            assert_eq!(token(&settings).unwrap_err().kind, ErrorKind::Unavailable);
            assert_eq!(testing::requests().len(), requests);
        }
    }
}

#[test]
fn an_answer_that_holds_no_token_is_unavailable_and_not_repeated() {
    for body in [
        "",
        "{\"access_token\": \"secret",
        "{\"access_token\": [\"secret\"]}",
        "{\"access_token\": \"se\\ncret\"}",
        "{}",
    ] {
        testing::serve(move |_| Response::new(200).body(body));
        let error = token(&principal()).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unavailable);
        assert!(!error.message.contains("secret") && !error.message.contains("cret"), "{}", error.message);
    }
}
