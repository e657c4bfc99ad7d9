//! Budgets as they are learned, by several instances.

use std::{cell::RefCell, rc::Rc};

use proptest::prelude::*;
use vk_sdk::{
    ErrorKind,
    testing::{self, Response},
};

use super::*;

thread_local! {
    static NEXT: RefCell<Option<Response>> = const { RefCell::new(None) };
}

/// What an answer of this status and with these headers teaches of a request that was let out.
fn answered(permit: Permit, status: u16, headers: &[(&str, &str)]) {
    permit.learn(&response(status, headers));
}

fn response(status: u16, headers: &[(&str, &str)]) -> http::Response {
    let mut answer = Response::new(status);
    for (name, value) in headers {
        answer = answer.header(*name, *value);
    }
    NEXT.set(Some(answer));
    http::get("https://arm.test/").send().unwrap()
}

fn begin() {
    testing::serve(|_| NEXT.take().unwrap());
}

/// Lets a wait of so many seconds end.
fn pass(seconds: u64) {
    testing::advance(Duration::from_secs(seconds) + Duration::from_millis(1));
}

fn wait(class: Class) -> u64 {
    let error = admit(class).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Exhausted);
    (error.retry_after.unwrap() / 1_000).into()
}

#[test]
fn a_service_that_names_no_quota_is_sent_everything_at_once() {
    begin();
    let permits: Vec<_> = (0..200).map(|_| admit(Class::Create).unwrap()).collect();
    permits.into_iter().for_each(|permit| answered(permit, 201, &[]));
    assert!(admit(Class::Create).is_ok());
}

#[test]
fn nothing_is_sent_before_the_wait_is_over_that_a_refusal_named() {
    let headers: [(&[(&str, &str)], u64); 7] = [
        (&[("Retry-After", "1")], 1_000),
        (&[("Retry-After", "372")], 372_000),
        (&[("retry-after-ms", "1500"), ("Retry-After", "9")], 1_500),
        (&[("x-ms-retry-after-ms", "2000")], 2_000),
        (&[("Retry-After", "999999999")], 3_600_000),
        (&[], 5_000),
        (&[("Retry-After", "soon")], 5_000),
    ];
    for (headers, milliseconds) in headers {
        begin();
        answered(admit(Class::Create).unwrap(), 429, headers);
        testing::advance(Duration::from_millis(milliseconds));
        assert!(admit(Class::Create).is_err(), "{headers:?}");
        assert!(admit(Class::Read).is_ok() && admit(Class::Delete).is_ok(), "others go on");
        testing::advance(Duration::from_millis(1));
        assert!(admit(Class::Create).is_ok(), "{headers:?}");
    }
}

#[test]
fn a_wait_may_be_named_as_a_date() {
    begin();
    let date = httpdate(std::time::SystemTime::now() + Duration::from_secs(60));
    answered(admit(Class::Create).unwrap(), 429, &[("Retry-After", &date)]);
    let named = wait(Class::Create);
    assert!((50..=60).contains(&named), "{named}");
}

#[test]
fn waits_that_are_not_named_grow_with_each_refusal_in_a_row() {
    begin();
    for seconds in [5, 10, 20, 40, 80, 120, 120] {
        answered(admit(Class::Read).unwrap(), 429, &[]);
        assert_eq!(wait(Class::Read), seconds);
        pass(seconds);
    }
    answered(admit(Class::Read).unwrap(), 200, &[]);
    answered(admit(Class::Read).unwrap(), 429, &[]);
    assert_eq!(wait(Class::Read), 5);
}

#[test]
fn refusals_of_requests_that_were_under_way_together_count_as_one() {
    begin();
    let permits: Vec<_> = (0..12).map(|_| admit(Class::Read).unwrap()).collect();
    permits.into_iter().for_each(|permit| answered(permit, 429, &[]));
    assert_eq!(wait(Class::Read), 5);
}

#[test]
fn after_a_refusal_one_request_at_a_time_tries() {
    begin();
    answered(admit(Class::Create).unwrap(), 429, &[("Retry-After", "10")]);
    pass(10);
    let first = admit(Class::Create).unwrap();
    assert_eq!(wait(Class::Create), 1);
    answered(first, 429, &[("Retry-After", "10")]);
    assert_eq!(wait(Class::Create), 10);
    pass(10);
    let first = admit(Class::Create).unwrap();
    answered(first, 201, &[]);
    let two = (admit(Class::Create), admit(Class::Create));
    assert!(two.0.is_ok() && two.1.is_ok());
}

#[test]
fn one_that_tries_and_is_not_heard_of_again_holds_nobody_up_for_long() {
    begin();
    let tight = || {
        answered(admit(Class::Create).unwrap(), 429, &[("Retry-After", "1")]);
        pass(1);
    };
    tight();
    drop(admit(Class::Create).unwrap());
    let lost = admit(Class::Create).expect("the connection of the one before failed");
    std::mem::forget(lost);
    assert!(admit(Class::Create).is_err());
    testing::advance(UNDER_WAY);
    assert!(admit(Class::Create).is_ok(), "its instance has ended");
}

#[test]
fn what_the_service_says_is_left_is_not_exceeded() {
    begin();
    let left = |number: &'static str| [("x-ms-ratelimit-remaining-subscription-resource-requests-pt5m", number)];
    answered(admit(Class::Create).unwrap(), 201, &left("2"));
    let under_way = [admit(Class::Create).unwrap(), admit(Class::Create).unwrap()];
    let third = admit(Class::Create).expect("one tries");
    assert!(admit(Class::Create).is_err());
    for (permit, left_then) in under_way.into_iter().zip(["1", "0"]) {
        answered(permit, 201, &left(left_then));
    }
    assert!(admit(Class::Create).is_err(), "the third is still under way");
    answered(third, 201, &left("50"));
    assert!((0..50).all(|_| admit(Class::Create).is_ok()));
}

#[test]
fn the_least_of_several_quotas_counts() {
    begin();
    let headers = [
        ("x-ms-ratelimit-remaining-subscription-writes", "1199"),
        ("X-MS-RateLimit-Remaining-Subscription-Resource-Requests-pt1h", "7"),
        ("x-ms-ratelimit-remaining-other", "a;b"),
    ];
    assert_eq!(remaining(&response(200, &headers)), Some(7));
    assert_eq!(remaining(&response(200, &[])), None);
}

#[test]
fn a_lost_cache_forgets_and_does_not_fail() {
    begin();
    answered(admit(Class::Create).unwrap(), 429, &[("Retry-After", "100")]);
    cache::set(&Class::Create.key(), b"no state", KNOWN_FOR);
    assert!(admit(Class::Create).is_ok());
}

fn httpdate(time: std::time::SystemTime) -> String {
    let text = humantime::format_rfc3339_seconds(time).to_string();
    let seconds = time.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let days = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let month: usize = text[5..7].parse().unwrap();
    let day = days[usize::try_from(seconds / 86_400 % 7).unwrap()];
    format!("{day}, {} {} {} {} GMT", &text[8..10], months[month - 1], &text[..4], &text[11..19])
}

proptest! {
    /// A service with a quota by the window, which refuses with the time that is left of it, and several instances whose
    /// answers come late and out of order: none is sent a request within a wait that it had already named.
    #[test]
    fn no_request_is_sent_within_a_wait_that_was_named(
        quota in 1_u64..6,
        steps in prop::collection::vec((0_u8..3, 0_u64..4_000), 1..120),
    ) {
        begin();
        let window = Duration::from_secs(30);
        let counted = Rc::new(RefCell::new(Vec::new()));
        let (mut under_way, mut named) = (Vec::new(), testing::now());
        for (what, time) in steps {
            testing::advance(Duration::from_millis(time));
            let now = testing::now();
            if what < 2 {
                if let Ok(permit) = admit(Class::Create) {
                    prop_assert!(now >= named);
                    let mut counted = counted.borrow_mut();
                    counted.retain(|at| now < *at + window);
                    let refused = counted.len() as u64 >= quota;
                    if !refused {
                        counted.push(now);
                    }
                    let end = counted.first().map(|at| *at + window).unwrap_or(now);
                    under_way.push((permit, refused.then_some(end), quota - counted.len() as u64));
                }
            } else if !under_way.is_empty() {
                let (permit, refused, left) = under_way.swap_remove(usize::try_from(time).unwrap() % under_way.len());
                match refused {
                    Some(end) => {
                        let wait = end.duration_since(now).unwrap_or_default() + Duration::from_millis(1);
                        let header = wait.as_millis().to_string();
                        answered(permit, 429, &[("retry-after-ms", &header)]);
                        named = named.max(now + wait - Duration::from_millis(1));
                    }
                    None => answered(permit, 201, &[("x-ms-ratelimit-remaining-x", &left.to_string())]),
                }
            }
        }
    }
}
