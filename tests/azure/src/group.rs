//! A container group that is there, and what the service shows of it.

use std::{
    collections::{HashMap, VecDeque},
    net::Ipv4Addr,
    sync::Arc,
};

use jiff::Timestamp;
use serde_json::{Map, Value, json};
use tokio_util::task::AbortOnDropHandle;

use crate::{
    body::{self, Body},
    clock::after,
    containers::{Container, Usage},
    options::Quirks,
};

/// A container group that is there.
pub(crate) struct Held {
    /// Tells it from others that were there under its name.
    pub(crate) incarnation: u64,
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) resource_group: String,
    /// What was put, with all that is secret.
    pub(crate) sent: Value,
    pub(crate) body: Arc<Body>,
    pub(crate) created: Timestamp,
    pub(crate) life: Life,
    /// When it began to go.
    pub(crate) deleted: Option<Timestamp>,
    /// What tests want to be seen in place of the truth.
    pub(crate) edit: Value,
    /// Its containers by their names: those that run, and the last runs of those that have ended.
    pub(crate) runs: HashMap<String, Container>,
    /// What they used, at times of the last hour.
    pub(crate) samples: VecDeque<Sample>,
    /// Lives its life.
    pub(crate) living: Option<AbortOnDropHandle<()>>,
}

/// What containers had used at a time.
#[derive(Debug, Clone)]
pub(crate) struct Sample {
    pub(crate) at: Timestamp,
    pub(crate) usage: HashMap<String, Usage>,
}

/// Where a group is in its life.
#[derive(Debug, Clone, Default)]
pub(crate) struct Life {
    pub(crate) provisioning: Provisioning,
    pub(crate) state: GroupState,
    pub(crate) address: Option<Ipv4Addr>,
    /// Since when it has the address.
    pub(crate) running_since: Option<Timestamp>,
    pub(crate) init_containers: Vec<ContainerLife>,
    pub(crate) containers: Vec<ContainerLife>,
    pub(crate) events: Vec<Event>,
}

/// How far the request to make a group is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Provisioning {
    #[default]
    Pending,
    Creating,
    Succeeded,
    Failed,
}

impl Provisioning {
    pub(crate) fn is_done(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed)
    }
}

/// What a group does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum GroupState {
    #[default]
    Pending,
    Running,
    Stopped,
    Succeeded,
    Failed,
}

/// Where a container is in its life.
#[derive(Debug, Clone, Default)]
pub(crate) struct ContainerLife {
    pub(crate) name: String,
    pub(crate) restarts: u32,
    /// `None` until the group is being created.
    pub(crate) current: Option<State>,
    pub(crate) previous: Option<State>,
    pub(crate) events: Vec<Event>,
}

/// What a container does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum State {
    Waiting { detail: &'static str },
    Running { since: Timestamp },
    Terminated { since: Option<Timestamp>, at: Timestamp, exit_code: i32 },
}

/// Something that happened, once or several times.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) name: &'static str,
    pub(crate) message: String,
    pub(crate) warning: bool,
    pub(crate) count: u32,
    pub(crate) first: Timestamp,
    pub(crate) last: Timestamp,
}

/// Adds an event, or counts it if it is there already.
pub(crate) fn note(events: &mut Vec<Event>, at: Timestamp, name: &'static str, warning: bool, message: String) {
    match events.iter_mut().find(|event| event.name == name && event.message == message) {
        Some(event) => {
            event.count += 1;
            event.last = at;
        }
        None => events.push(Event { name, message, warning, count: 1, first: at, last: at }),
    }
}

impl Life {
    /// Of a group that was just put.
    pub(crate) fn new(body: &Body) -> Self {
        let named = |name: &String| ContainerLife { name: name.clone(), ..ContainerLife::default() };
        Self {
            init_containers: body.properties.init_containers.iter().map(|container| named(&container.name)).collect(),
            containers: body.properties.containers.iter().map(|container| named(&container.name)).collect(),
            ..Self::default()
        }
    }
}

/// How much of a group is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Detail {
    /// As one group is answered.
    Whole,
    /// As lists name it: without instance views.
    Listed,
}

impl Held {
    /// As the service answers it.
    pub(crate) fn shown(&self, detail: Detail, quirks: &Quirks, now: Timestamp) -> Value {
        let mut shown = body::without_secrets(self.sent.clone());
        if !shown.is_object() {
            shown = json!({});
        }
        let views = Views { quirks };
        let id = if quirks.loud_ids { self.id.to_uppercase() } else { self.id.clone() };
        set(&mut shown, "", "id", json!(id));
        set(&mut shown, "", "name", json!(self.name));
        set(&mut shown, "", "type", json!("Microsoft.ContainerInstance/containerGroups"));
        let properties = "/properties";
        set(&mut shown, properties, "provisioningState", json!(format!("{:?}", self.life.provisioning)));
        set_default(&mut shown, properties, "sku", json!("Standard"));
        set_default(&mut shown, properties, "initContainers", json!([]));
        set_default(&mut shown, properties, "restartPolicy", json!("Always"));
        self.show_address(&mut shown, quirks, now);
        if detail == Detail::Whole {
            let events = views.events(&self.life.events);
            set(
                &mut shown,
                properties,
                "instanceView",
                json!({ "events": events, "state": format!("{:?}", self.life.state) }),
            );
            for (list, lives) in [("containers", &self.life.containers), ("initContainers", &self.life.init_containers)]
            {
                for (index, life) in lives.iter().enumerate() {
                    if let Some(view) = views.container(life) {
                        set(&mut shown, &format!("/properties/{list}/{index}/properties"), "instanceView", view);
                    }
                }
            }
        }
        patch(&mut shown, &self.edit);
        if detail == Detail::Listed {
            body::without_views(&mut shown);
        }
        shown
    }

    fn show_address(&self, shown: &mut Value, quirks: &Quirks, now: Timestamp) {
        let wait = std::time::Duration::from_millis(quirks.ip_absent);
        let is_shown = self.life.running_since.is_some_and(|since| after(since, wait) <= now);
        let address = self.life.address.filter(|_| is_shown);
        if let Some(address) = address {
            set_default(shown, "/properties", "ipAddress", json!({ "ports": [], "type": "Private" }));
            set(shown, "/properties/ipAddress", "ip", json!(address));
        }
        let label = self.body.properties.ip_address.as_ref().and_then(|address| address.dns_name_label.as_ref());
        if let Some(label) = label {
            let region = region(&self.body.location);
            set(shown, "/properties/ipAddress", "fqdn", json!(format!("{label}.{region}.azurecontainer.io")));
        }
    }
}

/// A region as the service compares it.
pub(crate) fn region(spelled: &str) -> String {
    spelled.replace(' ', "").to_ascii_lowercase()
}

/// What happened to a group's containers, as operations tell it.
pub(crate) fn written(life: &Life, quirks: &Quirks) -> Value {
    let views = Views { quirks };
    let events: Vec<Event> = life.containers.iter().flat_map(|container| container.events.clone()).collect();
    views.events(&events)
}

/// How states and events are written.
struct Views<'a> {
    quirks: &'a Quirks,
}

impl Views<'_> {
    fn container(&self, life: &ContainerLife) -> Option<Value> {
        let mut view = Map::new();
        view.insert("restartCount".into(), json!(life.restarts));
        view.insert("currentState".into(), self.state(life.current.as_ref()?));
        match &life.previous {
            Some(previous) => {
                view.insert("previousState".into(), self.state(previous));
            }
            None if self.quirks.null_previous_state => {
                view.insert("previousState".into(), Value::Null);
            }
            None => {}
        }
        if !self.quirks.omit_events {
            view.insert("events".into(), self.events(&life.events));
        }
        Some(Value::Object(view))
    }

    fn state(&self, state: &State) -> Value {
        match state {
            State::Waiting { detail } => json!({ "state": "Waiting", "detailStatus": detail }),
            State::Running { since } => {
                json!({ "state": "Running", "startTime": self.time(*since), "detailStatus": "" })
            }
            State::Terminated { since, at, exit_code } => {
                let mut view = json!({
                    "state": "Terminated",
                    "exitCode": exit_code,
                    "finishTime": self.time(*at),
                    "detailStatus": if *exit_code == 0 { "Completed" } else { "Error" },
                });
                if let Some(since) = since {
                    set(&mut view, "", "startTime", json!(self.time(*since)));
                }
                view
            }
        }
    }

    fn events(&self, events: &[Event]) -> Value {
        let view = |event: &Event| {
            json!({
                "count": event.count,
                "firstTimestamp": format!("{:.0}", event.first),
                "lastTimestamp": format!("{:.0}", event.last),
                "name": event.name,
                "message": event.message,
                "type": if event.warning { "Warning" } else { "Normal" },
            })
        };
        events.iter().map(view).collect()
    }

    fn time(&self, time: Timestamp) -> String {
        let digits = usize::from(self.quirks.fraction_digits.unwrap_or(3));
        format!("{time:.digits$}")
    }
}

/// Sets a member of the object at a pointer, if there is one.
pub(crate) fn set(value: &mut Value, pointer: &str, member: &str, new: Value) {
    if let Some(Value::Object(members)) = value.pointer_mut(pointer) {
        members.insert(member.to_owned(), new);
    }
}

fn set_default(value: &mut Value, pointer: &str, member: &str, new: Value) {
    if let Some(Value::Object(members)) = value.pointer_mut(pointer) {
        members.entry(member).or_insert(new);
    }
}

/// Changes a value as a JSON merge patch (RFC 7396) does. Beyond that, an object with numbers for names changes items of
/// an array, and `{"$value": …}` is replaced by what it holds, which may be `null`.
pub(crate) fn patch(value: &mut Value, change: &Value) {
    if let Some(whole) = change.get("$value") {
        *value = whole.clone();
        return;
    }
    let Value::Object(changes) = change else {
        if !change.is_null() {
            *value = change.clone();
        }
        return;
    };
    if let Value::Array(items) = value {
        for (index, change) in changes {
            let item = index.parse().ok().and_then(|index: usize| items.get_mut(index));
            if let Some(item) = item {
                patch(item, change);
            }
        }
        return;
    }
    if !value.is_object() {
        *value = json!({});
    }
    if let Value::Object(members) = value {
        for (member, change) in changes {
            if change.is_null() {
                members.remove(member);
            } else {
                patch(members.entry(member).or_insert(Value::Null), change);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_adds_removes_and_reaches_into_arrays() {
        let mut value = json!({"a": 1, "b": {"c": 2, "d": 3}, "e": [{"f": 4}, {"f": 5}]});
        patch(&mut value, &json!({"a": null, "b": {"c": 9}, "e": {"1": {"f": 6, "g": 7}}, "h": {"i": 8}}));
        assert_eq!(value, json!({"b": {"c": 9, "d": 3}, "e": [{"f": 4}, {"f": 6, "g": 7}], "h": {"i": 8}}));
        patch(&mut value, &json!({"h": {"$value": null}, "e": {"0": {"f": {"$value": null}}}}));
        assert_eq!((&value["h"], value.pointer("/e/0/f")), (&Value::Null, Some(&Value::Null)));
        let before = value.clone();
        patch(&mut value, &Value::Null);
        assert_eq!(value, before);
    }

    #[test]
    fn events_that_come_again_are_counted() {
        let mut events = Vec::new();
        let (first, last) = (Timestamp::from_second(1).unwrap(), Timestamp::from_second(9).unwrap());
        note(&mut events, first, "BackOff", true, "again".into());
        note(&mut events, last, "BackOff", true, "again".into());
        assert_eq!(events.len(), 1);
        assert_eq!((events[0].count, events[0].first, events[0].last), (2, first, last));
    }
}
