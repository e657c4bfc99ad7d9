//! What a well-mannered client does not do. Each breach is kept for tests to look at.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
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
/// The tag that says whose group it is.
const OWNER: &str = "vk-host.dev-owner";
/// The tag that says which pod a group is for.
const UID: &str = "UID";

/// How many refused tokens are watched for, and of how many it is known whose groups they act on.
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
    /// A group was `PUT` over or deleted that is not the caller's: it has no owner tag, or that of somebody else, or is
    /// for another pod. A caller is known by its token, whose requests all have to be for one owner.
    OwnGroupsOnly,
    /// The same group was `PUT` again with another body.
    SameBodyAgain,
    /// A request came before the end of the `Retry-After` of its class.
    HeedRetryAfter,
    /// A token was used again that had been refused.
    RenewToken,
    /// Not the client's doing: the simulator itself failed at a request.
    SimulatorPanicked,
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
    callers: HashMap<String, Caller>,
    violations: Vec<Violation>,
}

/// Whose groups a token acted on.
#[derive(Debug, Default)]
struct Caller {
    put: BTreeSet<String>,
    deleted: BTreeSet<String>,
}

/// What a client knows of a name.
#[derive(Debug, Default)]
struct Name {
    /// It has looked since the last change.
    looked: bool,
    /// It had looked before the last `PUT` or `DELETE`.
    had_looked: bool,
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
    /// Tags of the group that is there, as the service shows them.
    pub(crate) tags: Option<&'a Value>,
    pub(crate) token: Option<&'a str>,
}

impl Rules {
    pub(crate) fn violations(&self) -> &[Violation] {
        &self.violations
    }

    /// A request has come.
    pub(crate) fn asked(&mut self, ask: &Ask<'_>) {
        if let Some(wait) = ask.route.class().and_then(|class| self.waits.get(&class))
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
        let mut broken: Vec<_> = self.foreign(ask).map(|detail| (Rule::OwnGroupsOnly, detail)).into_iter().collect();
        let name = self.name(key);
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
                name.had_looked = std::mem::take(&mut name.looked);
                name.body = Some(ask.body.clone());
            }
            Route::Delete => {
                // What has vanished since it was seen, nobody can delete by mistake.
                if !name.read_tags && ask.tags.is_some() {
                    broken.push((Rule::LookBeforeDelete, "the tags were not read".to_owned()));
                }
                name.had_looked = std::mem::take(&mut name.looked);
            }
            _ => {}
        }
        for (rule, detail) in broken {
            self.broken(ask, rule, detail);
        }
    }

    /// Why the group is not the caller's, if it is there and is not.
    fn foreign(&mut self, ask: &Ask<'_>) -> Option<String> {
        let there = ask.tags.map(|tags| (tag(tags, OWNER), tag(tags, UID)));
        let owner = match ask.route {
            Route::Put => tag(ask.body.get("tags").unwrap_or(&Value::Null), OWNER),
            Route::Delete => there?.0,
            _ => return None,
        };
        let uid = tag(ask.body.get("tags").unwrap_or(&Value::Null), UID);
        let of_others = owner.and_then(|owner| self.acted(ask, owner));
        match (ask.route, there) {
            (_, Some((None, _))) => Some("the group that is there has no owner tag".to_owned()),
            (Route::Put, Some(there)) if there != (owner, uid) => {
                Some(format!("the owner and UID of the group that is there are {there:?}, not {:?}", (owner, uid)))
            }
            _ => of_others,
        }
    }

    /// Remembers for whom a caller acts. Says so if it also acts for somebody else.
    fn acted(&mut self, ask: &Ask<'_>, owner: &str) -> Option<String> {
        let token = ask.token?;
        if self.callers.len() >= TOKENS && !self.callers.contains_key(token) {
            return None;
        }
        let caller = self.callers.entry(token.to_owned()).or_default();
        // Which of them are its own shows with its first group, be that before or after it deletes one.
        let is_new = match ask.route {
            Route::Put => caller.put.insert(owner.to_owned()) && caller.put.len() == 1,
            _ => caller.deleted.insert(owner.to_owned()) || !caller.put.contains(owner),
        };
        let other = match (ask.route, caller.put.is_empty()) {
            (Route::Put, _) => caller.deleted.iter().find(|deleted| !caller.put.contains(*deleted)),
            (_, true) => caller.deleted.iter().find(|deleted| *deleted != owner),
            (_, false) => caller.put.first().filter(|_| !caller.put.contains(owner)),
        };
        other.filter(|_| is_new).map(|other| format!("the caller acts for the owner {owner:?} and for {other:?}"))
    }

    /// The service has refused to change what is at a name: what was known of it still holds.
    pub(crate) fn refused(&mut self, key: &Key) {
        let name = self.name(key);
        name.looked = name.had_looked;
    }

    /// The simulator itself has failed at a request.
    pub(crate) fn panicked(&mut self, at: Timestamp, group: Option<String>, detail: String) {
        self.keep(Violation { at, rule: Rule::SimulatorPanicked, group, detail });
    }

    /// A client has learned what is, or is not, at a name.
    pub(crate) fn looked(&mut self, key: &Key, is_there: bool) {
        let name = self.name(key);
        name.looked = true;
        name.read_tags = is_there;
    }

    /// A group has come to be; who reads the answer knows its tags.
    pub(crate) fn made(&mut self, key: &Key) {
        self.name(key).read_tags = true;
    }

    /// A group is no more: whatever is put there next is another.
    pub(crate) fn gone(&mut self, key: &Key) {
        if let Some(name) = self.names.get_mut(key) {
            name.body = None;
            name.read_tags = false;
        }
    }

    /// A request was refused for now. A wait that is on already lasts longer then, but does not begin anew.
    pub(crate) fn throttled(&mut self, at: Timestamp, class: Class, until: Timestamp) {
        let wait = self.waits.entry(class).or_insert(Wait { since: at, until });
        *wait =
            if at < wait.until { Wait { until: wait.until.max(until), ..*wait } } else { Wait { since: at, until } };
    }

    /// A token was refused.
    pub(crate) fn token_refused(&mut self, at: Timestamp, token: &str) {
        if self.refused_tokens.len() < TOKENS {
            self.refused_tokens.entry(token.to_owned()).or_insert(at);
        }
    }

    fn broken(&mut self, ask: &Ask<'_>, rule: Rule, detail: String) {
        let group = ask.key.map(|key| key.name.clone());
        self.keep(Violation { at: ask.at, rule, group, detail });
    }

    fn keep(&mut self, violation: Violation) {
        if self.violations.len() < VIOLATIONS {
            self.violations.push(violation);
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

fn tag<'a>(tags: &'a Value, name: &str) -> Option<&'a str> {
    tags.get(name)?.as_str()
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
mod tests;
