//! What a well-mannered client does not do. Each breach is kept for tests to look at.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

use crate::{
    clock::after,
    route::{Class, Route},
    world::Key,
};

/// How long after an answer requests may still come that were sent before it arrived.
const IN_FLIGHT: Duration = Duration::from_secs(1);

/// How many names are remembered before those are forgotten that nobody has asked for in half as many requests.
const NAMES: u64 = 100_000;
/// How many refused tokens are watched for.
const TOKENS: usize = 1000;
/// How many breaches are kept: the first ones.
const VIOLATIONS: usize = 10_000;

/// A rule of good manners.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rule {
    /// A group was `PUT` though nobody had looked since the last `PUT` or `DELETE` of that name.
    LookBeforePut,
    /// A group was deleted though nobody had read its tags.
    LookBeforeDelete,
    /// The same group was `PUT` again with another body.
    SameBodyAgain,
    /// A request came before the end of the `Retry-After` of its class.
    HeedRetryAfter,
    /// A token was used again that had been refused.
    RenewToken,
}

/// A breach of a rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Violation {
    /// When, by the simulator's clock.
    pub at: Timestamp,
    /// Which rule.
    pub rule: Rule,
    /// Name of the group that the request was about.
    pub group: Option<String>,
    /// What happened.
    pub detail: String,
}

#[derive(Debug, Default)]
pub(crate) struct Rules {
    names: HashMap<Key, Name>,
    /// How often a name was looked up.
    lookups: u64,
    waits: BTreeMap<Class, Wait>,
    refused_tokens: HashMap<String, Timestamp>,
    violations: Vec<Violation>,
}

/// What a client knows of a name.
#[derive(Debug, Default)]
struct Name {
    /// It has looked since the last change.
    looked: bool,
    /// It has seen the tags of the group that is there.
    read_tags: bool,
    /// What it put last.
    body: Option<Value>,
    /// Which lookup was its last.
    lookup: u64,
}

#[derive(Debug, Clone, Copy)]
struct Wait {
    since: Timestamp,
    until: Timestamp,
}

/// A request, as the rules see it.
pub(crate) struct Ask<'a> {
    pub(crate) at: Timestamp,
    pub(crate) route: Route,
    pub(crate) key: Option<&'a Key>,
    pub(crate) body: &'a Value,
    pub(crate) token: Option<&'a str>,
}

impl Rules {
    pub(crate) fn violations(&self) -> &[Violation] {
        &self.violations
    }

    /// A request has come.
    pub(crate) fn asked(&mut self, ask: &Ask<'_>) {
        let class = ask.route.class();
        if let Some(wait) = self.waits.get(&class)
            && ask.at > after(wait.since, IN_FLIGHT)
            && ask.at < wait.until
        {
            let detail = format!("{:?} came at {}, but was to wait until {}", ask.route, ask.at, wait.until);
            self.broken(ask, Rule::HeedRetryAfter, detail);
        }
        if let Some(refused) = ask.token.and_then(|token| self.refused_tokens.get(token))
            && ask.at > after(*refused, IN_FLIGHT)
        {
            let detail = format!("{:?} with a token that was refused at {refused}", ask.route);
            self.broken(ask, Rule::RenewToken, detail);
        }
        let Some(key) = ask.key else { return };
        let name = self.name(key);
        let mut broken = Vec::new();
        match ask.route {
            Route::Put => {
                if !name.looked {
                    broken.push((Rule::LookBeforePut, "no GET since the last change of this name".to_owned()));
                }
                if let Some(before) = &name.body
                    && before != ask.body
                {
                    broken.push((
                        Rule::SameBodyAgain,
                        format!("the bodies differ at {}", difference(before, ask.body, "")),
                    ));
                }
                name.looked = false;
                name.body = Some(ask.body.clone());
            }
            Route::Delete => {
                if !name.read_tags {
                    broken.push((Rule::LookBeforeDelete, "the tags were not read".to_owned()));
                }
                name.looked = false;
            }
            _ => {}
        }
        for (rule, detail) in broken {
            self.broken(ask, rule, detail);
        }
    }

    /// A client has learned what is, or is not, at a name.
    pub(crate) fn looked(&mut self, key: &Key, is_there: bool) {
        let name = self.name(key);
        name.looked = true;
        name.read_tags = is_there;
    }

    /// A `PUT` was not even looked at: what a client knew before it knows still.
    pub(crate) fn not_let_in(&mut self, key: &Key) {
        self.names.entry(key.clone()).or_default().looked = true;
    }

    /// A group has come to be; who reads the answer knows its tags.
    pub(crate) fn made(&mut self, key: &Key) {
        self.name(key).read_tags = true;
    }

    /// A group is no more: whatever is put there next is another.
    pub(crate) fn gone(&mut self, key: &Key) {
        if let Some(name) = self.names.get_mut(key) {
            name.body = None;
        }
    }

    /// A request was refused for now.
    pub(crate) fn throttled(&mut self, at: Timestamp, class: Class, until: Timestamp) {
        self.waits.insert(class, Wait { since: at, until });
    }

    /// A token was refused.
    pub(crate) fn token_refused(&mut self, at: Timestamp, token: &str) {
        if self.refused_tokens.len() < TOKENS {
            self.refused_tokens.entry(token.to_owned()).or_insert(at);
        }
    }

    fn broken(&mut self, ask: &Ask<'_>, rule: Rule, detail: String) {
        let group = ask.key.map(|key| key.name.clone());
        if self.violations.len() < VIOLATIONS {
            self.violations.push(Violation { at: ask.at, rule, group, detail });
        }
    }

    fn name(&mut self, key: &Key) -> &mut Name {
        self.lookups += 1;
        let lookup = self.lookups;
        if self.names.len() as u64 >= NAMES {
            self.names.retain(|_, name| name.lookup + NAMES / 2 > lookup);
        }
        let name = self.names.entry(key.clone()).or_default();
        name.lookup = lookup;
        name
    }
}

/// Where two values differ first. Says nothing of the values, which may be secret.
fn difference(one: &Value, other: &Value, path: &str) -> String {
    match (one, other) {
        (Value::Object(one), Value::Object(other)) => {
            let differing = one.keys().chain(other.keys()).find(|key| one.get(*key) != other.get(*key));
            differing.map_or_else(String::new, |key| {
                let null = Value::Null;
                difference(one.get(key).unwrap_or(&null), other.get(key).unwrap_or(&null), &format!("{path}/{key}"))
            })
        }
        (Value::Array(one), Value::Array(other)) if one.len() == other.len() => {
            let differing = one.iter().zip(other).enumerate().find(|(_, (one, other))| one != other);
            differing
                .map_or_else(String::new, |(index, (one, other))| difference(one, other, &format!("{path}/{index}")))
        }
        _ => path.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn ask<'a>(second: i64, route: Route, key: &'a Key, body: &'a Value) -> Ask<'a> {
        Ask { at: at(second), route, key: Some(key), body, token: Some("t") }
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
        rules.asked(&ask(3, Route::Delete, &key, &Value::Null));
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
}
