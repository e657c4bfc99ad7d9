//! What goes wrong on demand.

use std::time::{Duration, Instant};

use reqwest::Method;
use vk_azure::{Effect, Fault, Options, Refusal, Route};

use crate::client::{Azure, group};

#[tokio::test]
async fn an_answer_is_lost_before_or_after_the_request_is_carried_out() {
    let azure = Azure::start(Options::default()).await;
    let body = group("exec sleep 1000");
    for (effect, is_made) in [(Effect::Refused, false), (Effect::LostAnswer, true)] {
        azure.fault(Fault::new(effect.clone()).on(Route::Put).times(1));
        let lost = azure.request(Method::PUT, &azure.group_path("web")).json(&body).send().await;
        assert!(lost.is_err(), "{effect:?}: {lost:?}");
        assert_eq!(azure.group("web").is_some(), is_made, "{effect:?}");
    }
    let statuses: Vec<Option<u16>> =
        azure.requests().iter().filter(|request| request.route == Route::Put).map(|request| request.status).collect();
    assert_eq!(statuses, [None, None]);
}

#[tokio::test]
async fn an_error_may_hide_that_the_group_was_made() {
    let azure = Azure::start(Options::default()).await;
    azure.fault(Fault::new(Effect::StatusAfter(Refusal::server_timeout())).on(Route::Put).times(1));
    let hidden = azure.put("web", &group("exec sleep 1000")).await;
    assert_eq!((hidden.status, hidden.code()), (503, "ServerTimeout"));
    assert_eq!(azure.get_group("web").await.status, 200);
}

#[tokio::test]
async fn refusals_have_the_status_body_and_wait_that_is_wanted() {
    let azure = Azure::start(Options::default()).await;
    let cases = [
        (Refusal::throttled().retry_after(372), 429, "ResourceRequestsThrottled", Some("372")),
        (
            Refusal::throttled().retry_after("Fri, 01 Jan 2100 00:00:00 GMT"),
            429,
            "ResourceRequestsThrottled",
            Some("Fri, 01 Jan 2100 00:00:00 GMT"),
        ),
        (Refusal::throttled(), 429, "ResourceRequestsThrottled", None),
        (Refusal::transitioning("web"), 409, "ContainerGroupTransitioning", None),
        (Refusal::registry(), 409, "RegistryErrorResponse", None),
        (Refusal::capacity(), 409, "ServiceUnavailable", None),
        (Refusal::forbidden(), 403, "AuthorizationFailed", None),
        (Refusal { code: 500, ..Refusal::default() }, 500, "InternalServerError", None),
        (Refusal::html(502), 502, "", None),
        (Refusal::empty(504), 504, "", None),
    ];
    for (refusal, status, code, retry_after) in cases {
        azure.fault(Fault::new(Effect::Status(refusal.clone())).on(Route::Delete).of("web").times(1));
        let refused = azure.delete("web").await;
        assert_eq!(
            (refused.status, refused.code(), refused.header("retry-after")),
            (status, code, retry_after),
            "{refusal:?}"
        );
    }
    assert_eq!(azure.delete("web").await.status, 204);
}

#[tokio::test]
async fn answers_come_late_slowly_in_part_or_compressed() {
    let azure = Azure::start(Options::default()).await;
    for effect in [Effect::Slow(300), Effect::Late(300), Effect::SlowBody(300)] {
        azure.fault(Fault::new(effect.clone()).on(Route::List).times(1));
        let start = Instant::now();
        assert_eq!(azure.list().await.status, 200);
        assert!(start.elapsed() >= Duration::from_millis(300), "{effect:?}");
    }
    azure.fault(Fault::new(Effect::Truncated(5)).on(Route::List).times(1));
    let truncated = azure.request(Method::GET, &azure.groups_path()).send().await.unwrap();
    assert_eq!(truncated.status(), 200);
    assert!(truncated.bytes().await.is_err());
    azure.fault(Fault::new(Effect::Gzip).on(Route::List).times(1));
    let packed = azure.request(Method::GET, &azure.groups_path()).send().await.unwrap();
    assert_eq!(packed.headers()["content-encoding"], "gzip");
    assert_eq!(packed.bytes().await.unwrap()[..2], [0x1f, 0x8b]);
}

#[tokio::test]
async fn another_process_arms_faults_moves_the_clock_and_reads_the_log() {
    let azure = Azure::start(Options::default()).await;
    let control =
        |method: Method, path: &str| azure.http.request(method, format!("{}/control/{path}", azure.metadata_url()));
    let fault = serde_json::json!({"route": "list", "after": 1, "effect": {"status": {"code": 500, "body": ""}}});
    assert_eq!(control(Method::POST, "faults").json(&fault).send().await.unwrap().status(), 201);
    assert_eq!((azure.list().await.status, azure.list().await.status), (200, 500));
    assert_eq!(control(Method::DELETE, "faults").send().await.unwrap().status(), 204);
    assert_eq!(azure.list().await.status, 200);
    azure.put("web", &group("exec sleep 1000")).await;
    let groups: serde_json::Value = control(Method::GET, "groups").send().await.unwrap().json().await.unwrap();
    assert_eq!((&groups[0]["name"], groups[0].get("sent")), (&serde_json::json!("web"), None));
    control(Method::POST, "clock?milliseconds=3600000").send().await.unwrap();
    assert_eq!(azure.list().await.status, 401, "the token has expired");
    let requests: serde_json::Value = control(Method::GET, "requests").send().await.unwrap().json().await.unwrap();
    assert_eq!(requests.as_array().unwrap().len(), azure.requests().len());
    let unknown = serde_json::json!({"effect": {"explode": 1}});
    assert_eq!(control(Method::POST, "faults").json(&unknown).send().await.unwrap().status(), 422);
    let nonsense = serde_json::json!({"route": "stream", "effect": "lost-answer"});
    assert_eq!(control(Method::POST, "faults").json(&nonsense).send().await.unwrap().status(), 400);
}

#[tokio::test]
async fn errors_of_the_service_have_its_headers_and_pages_of_proxies_have_not() {
    let azure = Azure::start(Options::default()).await;
    for (refusal, is_the_service) in [(Refusal::throttled(), true), (Refusal::html(502), false)] {
        azure.fault(Fault::new(Effect::Status(refusal)).on(Route::List).times(1));
        let refused = azure.list().await;
        for header in ["x-ms-request-id", "x-ms-ratelimit-remaining-subscription-reads"] {
            assert_eq!(refused.header(header).is_some(), is_the_service, "{header}: {}", refused.status);
        }
    }
}

#[tokio::test]
async fn the_second_page_of_a_list_fails_and_a_refused_deletion_deletes_nothing() {
    let azure = Azure::start(Options { page_size: 1, ..Options::default() }).await;
    azure.put("a", &group("exec sleep 1000")).await;
    azure.put("b", &group("exec sleep 1000")).await;
    azure.fault(Fault::new(Effect::Status(Refusal::html(502))).on(Route::List).after(1).times(1));
    let next = azure.list().await.body["nextLink"].as_str().unwrap().to_owned();
    let page = async || azure.http.get(&next).bearer_auth(&azure.token).send().await.unwrap();
    assert_eq!(page().await.status(), 502);
    let page: serde_json::Value = page().await.json().await.unwrap();
    assert_eq!((&page["value"][0]["name"], page.get("nextLink")), (&serde_json::json!("b"), None));

    azure.fault(Fault::new(Effect::Status(Refusal::transitioning("a"))).on(Route::Delete).of("a").times(1));
    assert_eq!(azure.delete("a").await.status, 409);
    assert_eq!(azure.get_group("a").await.status, 200);
}

#[tokio::test]
async fn streams_are_struck_by_their_group_and_what_opens_them_is_read_strictly() {
    let azure = Azure::start(Options::default()).await;
    azure.put("web", &group("exec sleep 1000")).await;
    azure.wait_for("web", |group| group.state == "Running").await.unwrap();
    let exec = format!("{}/containers/app/exec", azure.group_path("web"));
    let unknown = serde_json::json!({"command": "/bin/sh", "user": "root"});
    assert_eq!(azure.send_json(Method::POST, &exec, &unknown).await.status, 400);
    let unknown = serde_json::json!({"tags": {}, "properties": {}});
    assert_eq!(azure.send_json(Method::PATCH, &azure.group_path("web"), &unknown).await.status, 400);
    for (of, status) in [("other", 400), ("web", 503)] {
        azure.fault(Fault::new(Effect::Status(Refusal::empty(503))).on(Route::Stream).of(of));
        let opened = azure.send_json(Method::POST, &exec, &serde_json::json!({"command": "/bin/sh"})).await;
        let uri = opened.body["webSocketUri"].as_str().unwrap().replacen("wss", "https", 1);
        // A request that is let through fails all the same: it does not ask for a WebSocket.
        assert_eq!(azure.http.get(uri).send().await.unwrap().status(), status, "{of}");
    }
}
