use serde_json::json;

use super::*;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn ask<'a>(second: i64, route: Route, key: &'a Key, body: &'a Value) -> Ask<'a> {
    Ask { at: at(second), route, key: Some(key), body, tags: None, token: Some("t") }
}

fn tags(owner: &str, uid: &str) -> Value {
    json!({OWNER: owner, UID: uid})
}

fn broken(rules: &Rules) -> Vec<Rule> {
    rules.violations().iter().map(|violation| violation.rule).collect()
}

#[test]
fn a_client_that_looks_first_and_repeats_itself_breaks_no_rule() {
    let (mut rules, key, body) = (Rules::default(), Key::new("rg", "web"), json!({"location": "here"}));
    rules.looked(&key, false);
    rules.asked(&ask(1, Route::Put, &key, &body));
    rules.looked(&key, false);
    rules.asked(&ask(2, Route::Put, &key, &body));
    rules.looked(&key, true);
    rules.asked(&ask(3, Route::Delete, &key, &Value::Null));
    rules.gone(&key);
    rules.looked(&key, false);
    rules.asked(&ask(4, Route::Put, &key, &json!({})));
    assert_eq!(broken(&rules), []);
}

#[test]
fn each_rule_is_seen_broken() {
    let (mut rules, key) = (Rules::default(), Key::new("rg", "web"));
    rules.asked(&ask(1, Route::Put, &key, &json!({"tags": {"UID": "1"}})));
    rules.looked(&key, false);
    rules.asked(&ask(2, Route::Put, &key, &json!({"tags": {"UID": "2"}})));
    let tags = tags("me", "2");
    rules.asked(&Ask { tags: Some(&tags), ..ask(3, Route::Delete, &key, &Value::Null) });
    assert_eq!(broken(&rules), [Rule::LookBeforePut, Rule::SameBodyAgain, Rule::LookBeforeDelete]);
    assert_eq!(rules.violations()[1].detail, "the bodies differ at /tags/UID");
}

#[test]
fn what_is_remembered_is_bounded() {
    let (mut rules, nobody) = (Rules::default(), Value::Null);
    for index in 0..NAMES + 10 {
        rules.looked(&Key::new("rg", &index.to_string()), true);
    }
    assert!(rules.names.len() as u64 <= NAMES);
    let last = Key::new("rg", &(NAMES + 9).to_string());
    rules.asked(&ask(1, Route::Put, &last, &nobody));
    assert_eq!(broken(&rules), []);
    for _ in 0..=VIOLATIONS {
        rules.asked(&ask(1, Route::Put, &last, &nobody));
    }
    assert_eq!(rules.violations().len(), VIOLATIONS);
}

#[test]
fn a_wait_holds_for_its_class_once_the_answer_has_arrived() {
    let (mut rules, key) = (Rules::default(), Key::new("rg", "web"));
    rules.throttled(at(10), Class::Read, at(20));
    for second in [10, 11, 15, 20] {
        rules.asked(&ask(second, Route::List, &key, &Value::Null));
    }
    assert_eq!(broken(&rules), [Rule::HeedRetryAfter]);
    rules.token_refused(at(30), "t");
    rules.asked(&ask(31, Route::List, &key, &Value::Null));
    rules.asked(&ask(32, Route::List, &key, &Value::Null));
    assert_eq!(broken(&rules)[1..], [Rule::RenewToken]);
}

#[test]
fn whoever_hammers_does_not_put_off_the_end_of_what_is_forgiven() {
    let (mut rules, key) = (Rules::default(), Key::new("rg", "web"));
    let millisecond = |millisecond| Timestamp::from_millisecond(millisecond).unwrap();
    for tenth in 0..20 {
        let now = millisecond(10_000 + tenth * 100);
        rules.asked(&Ask { at: now, ..ask(0, Route::Get, &key, &Value::Null) });
        rules.throttled(now, Class::Read, after(now, Duration::from_secs(60)));
    }
    assert_eq!(broken(&rules), [Rule::HeedRetryAfter; 9], "all that came later than a second after the first refusal");
    // Once it has waited, the next refusal is forgiven like the first.
    rules.throttled(at(100), Class::Read, at(160));
    rules.asked(&ask(101, Route::Get, &key, &Value::Null));
    assert_eq!(rules.violations().len(), 9);
}

#[test]
fn what_was_refused_needs_no_new_look() {
    let (mut rules, key, body) = (Rules::default(), Key::new("rg", "web"), json!({}));
    rules.looked(&key, false);
    for second in 0..3 {
        rules.asked(&ask(second, Route::Put, &key, &body));
        rules.refused(&key);
    }
    assert_eq!(broken(&rules), []);
    rules.asked(&ask(4, Route::Put, &key, &body));
    rules.asked(&ask(5, Route::Put, &key, &body));
    assert_eq!(broken(&rules), [Rule::LookBeforePut]);
}

#[test]
fn only_groups_of_ones_own_are_replaced_and_deleted() {
    let mine = tags("me", "1");
    let put = json!({"tags": mine});
    let key = Key::new("rg", "web");
    let asked = |route: Route, there: Option<&Value>| {
        let mut rules = Rules::default();
        rules.looked(&key, true);
        rules.asked(&ask(1, Route::Put, &Key::new("rg", "other"), &put));
        rules.asked(&Ask { tags: there, ..ask(1, route, &key, if route == Route::Put { &put } else { &Value::Null }) });
        broken(&rules).contains(&Rule::OwnGroupsOnly)
    };
    for (there, is_foreign) in [
        (Some(mine.clone()), false),
        (None, false),
        (Some(json!({})), true),
        (Some(Value::Null), true),
        (Some(json!({UID: "1"})), true),
        (Some(tags("you", "1")), true),
    ] {
        assert_eq!(asked(Route::Put, there.as_ref()), is_foreign, "{there:?}");
        assert_eq!(asked(Route::Delete, there.as_ref()), is_foreign, "{there:?}");
    }
    assert!(asked(Route::Put, Some(&tags("me", "2"))), "it is for another pod");
}

#[test]
fn a_caller_that_has_made_nothing_yet_shows_whose_groups_it_acts_on() {
    let (mut rules, key) = (Rules::default(), Key::new("rg", "web"));
    let (mine, yours) = (tags("me", "1"), tags("you", "1"));
    let put = json!({"tags": mine});
    rules.looked(&key, true);
    rules.asked(&Ask { tags: Some(&yours), ..ask(1, Route::Delete, &key, &Value::Null) });
    assert_eq!(broken(&rules), []);
    rules.looked(&key, true);
    rules.asked(&ask(2, Route::Put, &key, &put));
    assert_eq!(broken(&rules), [Rule::OwnGroupsOnly]);
    let other = |tags| Ask { tags: Some(tags), token: Some("other"), ..ask(3, Route::Delete, &key, &Value::Null) };
    rules.asked(&other(&mine));
    assert_eq!(rules.violations().len(), 1);
    rules.asked(&other(&yours));
    assert_eq!(broken(&rules), [Rule::OwnGroupsOnly; 2]);
}
