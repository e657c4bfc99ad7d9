//! What the service refuses, and what goes wrong on the way.

use std::{cell::Cell, time::Duration};

use proptest::prelude::*;
use vk_sdk::testing::Failure;

use super::*;

fn put(answer: Response) -> Error {
    one(answer).put("g", &group("g")).unwrap_err()
}

#[test]
fn each_refusal_becomes_the_kind_that_the_host_acts_upon() {
    let minute = Some(60_000);
    for (status, code, message, kind, wait) in [
        (400, "InvalidRequestContent", "x", ErrorKind::Invalid, None),
        (400, "ResourceRequestsNotSpecified", "x", ErrorKind::Invalid, None),
        (400, "ResourceLimitsLessThanRequests", "x", ErrorKind::Invalid, None),
        (400, "DuplicateVolumes", "x", ErrorKind::Invalid, None),
        (400, "OsVersionNotSupported", "x", ErrorKind::Invalid, None),
        (400, "VirtualNetworkNotFound", "x", ErrorKind::Invalid, None),
        (400, "InaccessibleImage", "x", ErrorKind::Invalid, None),
        (400, "ContainerGroupQuotaReached", "x", ErrorKind::Exhausted, minute),
        (403, "AuthorizationFailed", "x", ErrorKind::PermissionDenied, None),
        (403, "RequestDisallowedByPolicy", "x", ErrorKind::PermissionDenied, None),
        (404, "SubscriptionNotFound", "x", ErrorKind::Unavailable, None),
        (404, "ResourceGroupNotFound", "x", ErrorKind::Unavailable, None),
        (404, "NotFound", "x", ErrorKind::Unavailable, None),
        (409, "ContainerGroupTransitioning", "x", ErrorKind::Conflict, Some(5_000)),
        (409, "RegistryErrorResponse", "x", ErrorKind::Exhausted, minute),
        (409, "ServiceUnavailable", "'4' CPU is not available in the location", ErrorKind::Exhausted, minute),
        (409, "Conflict", "quota 'StandardCores' exceeded in region", ErrorKind::Exhausted, minute),
        (409, "ScopeLocked", "x", ErrorKind::Conflict, None),
        (429, "ResourceRequestsThrottled", "x", ErrorKind::Exhausted, None),
        (500, "InternalServerError", "x", ErrorKind::Unavailable, None),
        (502, "", "", ErrorKind::Unavailable, None),
        (503, "ServerTimeout", "x", ErrorKind::Unavailable, None),
        (504, "GatewayTimeout", "x", ErrorKind::Unavailable, None),
    ] {
        let error = put(problem(status, code, message));
        assert_eq!((error.kind, error.retry_after), (kind, wait), "{status} {code}");
        assert!(error.message.contains(code) && error.message.contains(message), "{}", error.message);
    }
}

#[test]
fn a_wait_that_the_service_names_wins() {
    for status in [409, 500, 503] {
        let answer = problem(status, "ServiceUnavailable", "x").header("Retry-After", "7");
        assert_eq!(put(answer).retry_after, Some(7_000), "{status}");
    }
}

#[test]
fn a_message_is_code_message_and_details_in_one_line() {
    let details = json!({"error": {"code": "A", "message": "first\nline", "details": [
        {"code": "B", "message": "second"}, {"code": "C"}, {"message": "second"}, {},
    ]}});
    assert_eq!(put(Response::new(400).json(&details)).message, "A: first line; second; C");
    assert_eq!(put(Response::new(400).json(&json!({"code": "A", "message": "bare"}))).message, "A: bare");
    let long = put(problem(400, "A", &"é".repeat(5_000))).message;
    assert_eq!(long.chars().count(), 1_001);
}

#[test]
fn answers_that_are_not_json_or_not_there_are_told_by_their_status() {
    let asked = format!("PUT https://arm.test{GROUPS}/g answered 502");
    assert_eq!(put(Response::new(502)).message, format!("{asked} without saying why"));
    assert_eq!(put(Response::new(502).body("<html>\n bad</html>")).message, format!("{asked}: <html>  bad</html>"));
    assert_eq!(put(Response::new(502).body([0x1f, 0x8b, 8, 0])).message, format!("{asked}: compressed data"));
    let error = put(Response::new(302).header("location", "https://elsewhere/"));
    assert_eq!((error.kind, sent().len()), (ErrorKind::Internal, 1));
}

#[test]
fn an_answer_that_is_not_whole_is_unavailable() {
    for (body, part) in [
        (b"{\"name\": \"g".to_vec(), "breaks off"),
        (b"<html>".to_vec(), "is not JSON"),
        (b"{\"name\": 7}".to_vec(), "members"),
        (Vec::new(), "breaks off"),
        (vec![0x1f, 0x8b, 8, 0], "compressed"),
    ] {
        let error = one(Response::new(200).body(body)).get("g").unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unavailable);
        assert!(error.message.contains(part), "{}", error.message);
    }
}

#[test]
fn a_connection_that_fails_is_unavailable_and_holds_up_nobody() {
    for failure in [Failure::Timeout, Failure::Connect("refused".into()), Failure::Protocol("reset".into())] {
        let arm = one(Response::failure(failure));
        for _ in 0..2 {
            assert_eq!(arm.put("g", &group("g")).unwrap_err().kind, ErrorKind::Unavailable);
        }
        assert_eq!(sent().len(), 2);
    }
}

/// A service that takes only the newest of the tokens that the directory gives.
fn with_tokens(accepted: &'static str) -> Arm {
    let given = Cell::new(0);
    testing::serve(move |request| {
        if request.url.starts_with("https://login.test/") {
            given.set(given.get() + 1);
            return Response::new(200).json(&json!({"access_token": format!("t{}", given.get()), "expires_in": 3600}));
        }
        if request.header("authorization") == Some(accepted) {
            return Response::new(201).json(&json!({"name": "g"}));
        }
        problem(401, "ExpiredAuthenticationToken", "The access token has expired.")
    });
    Arm::new(&principal())
}

#[test]
fn a_token_that_has_ended_is_replaced_once_and_the_whole_request_sent_again() {
    let arm = with_tokens("Bearer t2");
    arm.put("g", &group("g")).unwrap();
    let requests = sent();
    assert_eq!((requests.len(), &requests[0].body), (2, &requests[1].body));
    assert_eq!(requests[1].json::<Value>().unwrap(), json!({"name": "g"}));
    arm.get("g").unwrap();
    assert_eq!(testing::requests().len(), 5, "and is kept");
}

#[test]
fn tokens_that_are_always_refused_are_not_asked_for_in_a_loop() {
    let arm = with_tokens("Bearer none");
    for _ in 0..5 {
        let error = arm.put("g", &group("g")).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unauthenticated);
        assert!(error.message.contains("ExpiredAuthenticationToken"), "{}", error.message);
    }
    assert_eq!((sent().len(), testing::requests().len()), (2, 4));
    testing::advance(Duration::from_secs(20));
    assert!(arm.get("g").is_err());
    assert_eq!(sent().len(), 4);
}

#[test]
fn a_throttled_class_is_not_sent_by_any_instance_until_its_time_and_others_are() {
    let throttled = problem(429, "ResourceRequestsThrottled", "x").header("Retry-After", "372");
    let arm = serve([throttled, missing()]);
    assert_eq!(arm.put("g", &group("g")).unwrap_err().retry_after, Some(372_000));
    let other = Arm::new(&principal());
    testing::advance(Duration::from_secs(371));
    let error = other.put("h", &group("h")).unwrap_err();
    assert_eq!((error.kind, sent().len()), (ErrorKind::Exhausted, 1));
    assert!(error.message.contains("create requests"), "{}", error.message);
    assert!(other.get("h").unwrap().is_none() && other.exec("h", "c", "sh", None).is_err());
    assert_eq!(sent().len(), 3);
    testing::advance(Duration::from_millis(1_001));
    assert!(other.put("h", &group("h")).is_err());
    assert_eq!(sent().len(), 4);
}

/// What is asked of the service, and the class that it counts in.
type Ask = (&'static str, fn(&Arm) -> Option<Error>);

const ASKS: [Ask; 6] = [
    ("read", |arm| arm.get("g").err()),
    ("read", |arm| arm.list(None).err()),
    ("read", |arm| arm.logs("g", "c", None).err()),
    ("create", |arm| arm.put("g", &group("g")).err()),
    ("delete", |arm| arm.delete("g").err()),
    ("action", |arm| arm.attach("g", "c").err()),
];

#[test]
fn every_kind_of_request_waits_for_its_own_class_alone() {
    for (class, ask) in ASKS {
        let arm = one(problem(429, "TooManyRequests", "x").header("Retry-After", "30"));
        assert_eq!(ask(&arm).unwrap().retry_after, Some(30_000));
        for (other, ask) in ASKS {
            let before = sent().len();
            let error = ask(&arm).unwrap();
            assert_eq!(error.kind, ErrorKind::Exhausted);
            let is_first_of_another = other != class && !error.message.starts_with("throttled");
            assert_eq!(sent().len() - before, usize::from(is_first_of_another), "{other} after {class}");
        }
        assert_eq!(sent().len(), 4, "one of each class");
    }
}

#[test]
fn a_later_page_that_fails_is_an_error() {
    let next = format!("https://arm.test{GROUPS}?page=2");
    let arm = serve([Response::new(200).json(&json!({"value": [], "nextLink": next})), Response::new(500)]);
    let page = arm.list(None).unwrap();
    assert_eq!(arm.list(page.next.as_deref()).unwrap_err().kind, ErrorKind::Unavailable);
}

#[test]
fn a_delete_that_must_wait_is_a_conflict() {
    let error = one(problem(409, "ContainerGroupTransitioning", "x")).delete("g").unwrap_err();
    assert_eq!((error.kind, sent().len()), (ErrorKind::Conflict, 1));
}

#[test]
fn the_limit_of_the_subscriptions_writes_holds_up_all_that_writes() {
    let throttled = problem(429, "SubscriptionRequestsThrottled", "x").header("Retry-After", "17");
    let arm = serve([throttled, missing()]);
    assert!(arm.put("g", &group("g")).is_err());
    assert_eq!(arm.exec("g", "c", "sh", None).unwrap_err().kind, ErrorKind::Exhausted);
    assert!(arm.get("g").unwrap().is_none());
    assert_eq!(sent().len(), 2);
}

#[test]
fn a_region_without_room_holds_up_nobody_else() {
    for code in ["ServiceUnavailable", "RegistryErrorResponse", "ContainerGroupTransitioning"] {
        let made = Response::new(201).json(&json!({"name": "h"}));
        let arm = serve([problem(409, code, "x"), made]);
        assert!(arm.put("g", &group("g")).is_err());
        arm.put("h", &group("h")).unwrap();
    }
}

#[test]
fn a_subscription_is_registered_once_and_the_create_tried_again_later() {
    let registered = Rc::new(Cell::new(0));
    let asked = registered.clone();
    testing::serve(move |request| {
        token_or(request, || match request.path() {
            "/subscriptions/sub/providers/Microsoft.ContainerInstance/register" => {
                assert_eq!((request.method.as_str(), request.query("api-version")), ("POST", Some("2016-02-01")));
                asked.set(asked.get() + 1);
                Response::new(200).json(&json!({"registrationState": "Registering"}))
            }
            _ => problem(409, "MissingSubscriptionRegistration", "not registered"),
        })
    });
    let arm = Arm::new(&principal());
    for _ in 0..3 {
        let error = arm.put("g", &group("g")).unwrap_err();
        assert_eq!((error.kind, error.retry_after), (ErrorKind::Unavailable, Some(10_000)));
    }
    assert_eq!(registered.get(), 1);
    testing::advance(Duration::from_secs(300));
    assert!(arm.put("g", &group("g")).is_err());
    assert_eq!(registered.get(), 2);
}

#[test]
fn a_subscription_that_may_not_be_registered_is_the_operators_matter() {
    let answers =
        [problem(409, "MissingSubscriptionRegistration", "x"), problem(403, "AuthorizationFailed", "no right")];
    let error = serve(answers).put("g", &group("g")).unwrap_err();
    assert_eq!(error.kind, ErrorKind::PermissionDenied);
    assert!(error.message.contains("az provider register") && error.message.contains("no right"), "{}", error.message);
}

#[test]
fn nothing_that_is_logged_or_answered_holds_a_secret() {
    let arm = with_tokens("Bearer none");
    let error = arm.put("g", &group("g")).unwrap_err();
    let printed = format!("{error:?} {:?} {arm:?}", testing::lines());
    for secret in ["hunter2", "t1", "t2", "Bearer"] {
        assert!(!printed.contains(secret), "{secret} in {printed}");
    }
}

proptest! {
    /// Whatever is answered, a group is taken for gone only if the service says so in its own words.
    #[test]
    fn no_other_answer_means_that_a_group_is_gone(
        status in 200_u16..600,
        code in prop_oneof![Just("ResourceNotFound".to_owned()), "[A-Za-z]{0,12}"],
        junk in prop::option::of(prop::collection::vec(any::<u8>(), 0..64)),
    ) {
        let said = junk.is_none() && status == 404 && matches!(code.as_str(), "ResourceNotFound" | "NotFound");
        let answer = match junk {
            Some(junk) => Response::new(status).body(junk),
            None => problem(status, &code, "x"),
        };
        prop_assert_eq!(matches!(one(answer).get("g"), Ok(None)), said);
    }
}
