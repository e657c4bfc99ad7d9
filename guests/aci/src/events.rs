//! The service's own events, told to the host as the pod's.
//!
//! Each answer of the service repeats them. What was told is remembered with the group as one number each; where that is
//! forgotten, only events of the last minutes are told again, and the host drops those that it knows.

use std::time::{Duration, SystemTime};

use sha2::{Digest as _, Sha256};
use vk_sdk::events::Event;

use crate::{
    clock::milliseconds,
    group::{ContainerGroup, ServiceEvent},
    time,
};

/// Without a memory, older events were told in an earlier life of the host.
const RECENT: Duration = Duration::from_secs(600);
/// The most events of one group that are looked at.
const MOST: usize = 256;

/// Marks of the events that were told.
pub(crate) type Told = Vec<u32>;

/// The events of a group that are not told yet, and the marks of all that it has now.
pub(crate) fn untold(group: &ContainerGroup, told: Option<&Told>, now: SystemTime) -> (Vec<Event>, Told) {
    let mut events = Vec::new();
    let mut marks = Told::new();
    for (container, event) in all(group).take(MOST) {
        let at = event.last_timestamp.as_deref().or(event.first_timestamp.as_deref()).and_then(time::parse);
        let reason = event.name.as_deref().unwrap_or_default();
        let message = event.message.as_deref().unwrap_or_default();
        if reason.is_empty() && message.is_empty() {
            continue;
        }
        let mark = mark(container, at, reason, message);
        if marks.contains(&mark) {
            continue;
        }
        marks.push(mark);
        let is_new = match told {
            Some(told) => !told.contains(&mark),
            None => at.is_none_or(|at| now.duration_since(at).is_ok_and(|age| age <= RECENT) || at > now),
        };
        if is_new {
            events.push(Event {
                container: container.map(str::to_owned),
                at: milliseconds(at.unwrap_or(now)),
                // A type that is not known is rather shown than hidden.
                warning: event.kind.as_deref() != Some("Normal"),
                reason: if reason.is_empty() { "Event".to_owned() } else { reason.to_owned() },
                message: message.to_owned(),
            });
        }
    }
    events.sort_by_key(|event| event.at);
    (events, marks)
}

fn all(group: &ContainerGroup) -> impl Iterator<Item = (Option<&str>, &ServiceEvent)> {
    let properties = group.properties.iter();
    properties.flat_map(|properties| {
        let of_group = properties.instance_view.iter().flat_map(|view| &view.events).map(|event| (None, event));
        let containers = properties.init_containers.iter().chain(&properties.containers);
        let of_containers = containers.flat_map(|container| {
            let events = container.properties.instance_view.iter().flat_map(|view| &view.events);
            events.map(|event| (Some(container.name.as_str()), event))
        });
        of_group.chain(of_containers)
    })
}

/// One that occurs again has another time, and so another mark.
fn mark(container: Option<&str>, at: Option<SystemTime>, reason: &str, message: &str) -> u32 {
    let digest =
        Sha256::digest(format!("{}\n{:?}\n{reason}\n{message}", container.unwrap_or_default(), at.map(milliseconds)));
    digest.iter().take(4).fold(0, |mark, byte| mark << 8 | u32::from(*byte))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn event(name: &str, kind: &str, at: &str) -> Value {
        json!({"count": 1, "name": name, "type": kind, "message": format!("{name} it"), "firstTimestamp": at, "lastTimestamp": at})
    }

    fn group(of_group: Value, of_container: Value) -> ContainerGroup {
        serde_json::from_value(json!({"properties": {
            "instanceView": {"events": of_group},
            "containers": [{"name": "c", "properties": {"instanceView": {"events": of_container}}}],
        }}))
        .unwrap()
    }

    fn now() -> SystemTime {
        time::parse("2023-01-01T01:00:00Z").unwrap()
    }

    fn reasons(events: &[Event]) -> Vec<&str> {
        events.iter().map(|event| event.reason.as_str()).collect()
    }

    #[test]
    fn events_of_group_and_containers_are_told_in_their_order() {
        let group = group(
            json!([event("FailedMount", "Warning", "2023-01-01T00:59:03Z")]),
            json!([
                event("Pulled", "Normal", "2023-01-01T00:59:04Z"),
                event("Pulling", "Normal", "2023-01-01T00:59:01Z")
            ]),
        );
        let (events, _) = untold(&group, None, now());
        assert_eq!(reasons(&events), ["Pulling", "FailedMount", "Pulled"]);
        let told: Vec<_> = events.iter().map(|event| (event.container.as_deref(), event.warning)).collect();
        assert_eq!(told, [(Some("c"), false), (None, true), (Some("c"), false)]);
        assert_eq!(events[0].at, 1_672_534_741_000);
        assert_eq!(events[0].message, "Pulling it");
    }

    #[test]
    fn each_is_told_once_and_again_when_it_occurs_again() {
        let first = group(json!([]), json!([event("BackOff", "Warning", "2023-01-01T00:59:00Z")]));
        let (events, told) = untold(&first, Some(&Told::new()), now());
        assert_eq!(reasons(&events), ["BackOff"]);
        let (events, told) = untold(&first, Some(&told), now());
        assert!(events.is_empty());
        // An older one that comes late is told too.
        let later =
            [event("BackOff", "Warning", "2023-01-01T00:59:30Z"), event("Pulled", "Normal", "2023-01-01T00:01:00Z")];
        let (events, told) = untold(&group(json!([]), json!(later)), Some(&told), now());
        assert_eq!(reasons(&events), ["Pulled", "BackOff"]);
        assert_eq!(told.len(), 2);
    }

    #[test]
    fn without_a_memory_only_recent_ones_are_told() {
        let group = group(
            json!([event("Old", "Normal", "2023-01-01T00:49:00Z"), event("New", "Normal", "2023-01-01T00:51:00Z")]),
            Value::Null,
        );
        assert_eq!(reasons(&untold(&group, None, now()).0), ["New"]);
        assert_eq!(reasons(&untold(&group, Some(&Told::new()), now()).0), ["Old", "New"]);
    }

    #[test]
    fn odd_ones_do_no_harm() {
        let group = group(
            json!([{}, {"name": "Odd"}, {"message": "only words", "type": "Normal", "lastTimestamp": "?"}]),
            Value::Null,
        );
        let (events, told) = untold(&group, None, now());
        assert_eq!(reasons(&events), ["Odd", "Event"]);
        assert!(events[0].warning && !events[1].warning);
        assert!(untold(&group, Some(&told), now()).0.is_empty());
    }
}
