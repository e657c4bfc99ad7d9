//! Which events were written before: an equal one only counts one up. Pure.

use std::collections::{HashMap, HashSet, VecDeque};

use k8s_openapi::{
    api::core::v1::{Event, EventSource, ObjectReference},
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time},
    jiff::Timestamp,
};
use serde_json::{Value, json};
use tokio::time::{Duration, Instant};

use super::{COMPONENT, Kind, Occurrence};

/// After this time an equal event is a new one, as with client-go.
const FORGET_AFTER: Duration = Duration::from_secs(600);
/// How many events are remembered.
const MAX_KNOWN: usize = 4096;
/// How many messages of one reason are told apart: some carry a time or a request id, and would never repeat.
const MAX_MESSAGES: usize = 10;
/// How many of the provider's own reports are remembered, so that one told again is not written again.
const MAX_REPORTS: usize = 4096;

/// What makes events equal, but for the message.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    uid: Option<String>,
    namespace: Option<String>,
    name: Option<String>,
    field_path: Option<String>,
    kind: Kind,
    reason: String,
}

#[derive(Debug, Clone)]
struct Known {
    event: Event,
    seen: Instant,
}

/// A write to make.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Write {
    Create(Event),
    /// The event as it should be, and the merge patch that makes it so.
    Repeat {
        event: Event,
        patch: Value,
    },
}

impl Write {
    fn event(&self) -> &Event {
        match self {
            Self::Create(event) | Self::Repeat { event, .. } => event,
        }
    }

    pub(super) fn is_success(&self) -> bool {
        self.event().type_.as_deref() == Some("Normal")
    }

    pub(super) fn describe(&self) -> String {
        let event = self.event();
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        format!("{} of {}: {}", text(&event.reason), text(&event.involved_object.name), text(&event.message))
    }
}

/// Remembers what was written.
#[derive(Debug)]
pub(super) struct Book {
    node_name: String,
    known: HashMap<Key, Vec<Known>>,
    reports: HashSet<(Key, Timestamp)>,
    report_order: VecDeque<(Key, Timestamp)>,
    /// Makes names unique within a moment.
    serial: u32,
}

impl Book {
    pub(super) fn new(node_name: &str) -> Self {
        Self {
            node_name: node_name.to_owned(),
            known: HashMap::new(),
            reports: HashSet::new(),
            report_order: VecDeque::new(),
            serial: 0,
        }
    }

    /// Takes in what happened, in order, and says what to write: one write for equal ones.
    pub(super) fn enter(&mut self, occurrences: impl Iterator<Item = Occurrence>, now: Instant) -> Vec<Write> {
        self.forget(now);
        let mut writes: Vec<Write> = Vec::new();
        let mut places: HashMap<String, usize> = HashMap::new();
        for occurrence in occurrences {
            let key = Key {
                uid: occurrence.about.uid.clone(),
                namespace: occurrence.about.namespace.clone(),
                name: occurrence.about.name.clone(),
                field_path: occurrence.about.field_path.clone(),
                kind: occurrence.kind,
                reason: occurrence.reason.clone(),
            };
            if occurrence.once && !self.is_first_report(&key, occurrence.at) {
                continue;
            }
            let write = self.enter_one(key, occurrence, now);
            let name = write.event().metadata.name.clone().unwrap_or_default();
            let place = *places.entry(name).or_insert(writes.len());
            match writes.get_mut(place) {
                Some(Write::Create(event)) => *event = write.event().clone(),
                Some(repeat) => *repeat = write,
                None => writes.push(write),
            }
        }
        writes
    }

    fn enter_one(&mut self, key: Key, occurrence: Occurrence, now: Instant) -> Write {
        let entries = self.known.entry(key).or_default();
        let full = entries.len() >= MAX_MESSAGES;
        let equal = entries.iter().position(|known| known.event.message.as_deref() == Some(&occurrence.message));
        let Some(known) = equal.or(full.then(|| entries.len() - 1)).and_then(|index| entries.get_mut(index)) else {
            self.serial = self.serial.wrapping_add(1);
            let event = event(&self.node_name, occurrence, self.serial);
            entries.push(Known { event: event.clone(), seen: now });
            return Write::Create(event);
        };
        known.seen = now;
        let count = known.event.count.unwrap_or(1).saturating_add(1);
        known.event.count = Some(count);
        known.event.last_timestamp = Some(Time(occurrence.at));
        known.event.message = Some(occurrence.message);
        let event = known.event.clone();
        let patch = json!({ "count": count, "lastTimestamp": event.last_timestamp, "message": event.message });
        Write::Repeat { event, patch }
    }

    fn is_first_report(&mut self, key: &Key, at: Timestamp) -> bool {
        let report = (key.clone(), at);
        if !self.reports.insert(report.clone()) {
            return false;
        }
        self.report_order.push_back(report);
        if self.report_order.len() > MAX_REPORTS
            && let Some(oldest) = self.report_order.pop_front()
        {
            self.reports.remove(&oldest);
        }
        true
    }

    fn forget(&mut self, now: Instant) {
        let remembered: usize = self.known.values().map(Vec::len).sum();
        // Beyond the limit, only what repeats often is worth remembering.
        let keep = if remembered > MAX_KNOWN { FORGET_AFTER / 10 } else { FORGET_AFTER };
        self.known.retain(|_, entries| {
            entries.retain(|known| now.duration_since(known.seen) < keep);
            !entries.is_empty()
        });
        if self.known.len() > 2 * MAX_KNOWN {
            self.known.clear();
        }
    }
}

fn event(node_name: &str, occurrence: Occurrence, serial: u32) -> Event {
    let Occurrence { about, kind, reason, message, at, .. } = occurrence;
    let ObjectReference { name, namespace, .. } = about.clone();
    let name = name.unwrap_or_default();
    // As client-go names them, within the 253 bytes that a name may have.
    let stem = name.get(..name.floor_char_boundary(200)).unwrap_or_default();
    let stem = stem.trim_end_matches(['.', '-']);
    Event {
        metadata: ObjectMeta {
            name: Some(format!("{stem}.{:x}{serial:04x}", Timestamp::now().as_microsecond())),
            namespace: Some(namespace.unwrap_or_else(|| "default".to_owned())),
            ..ObjectMeta::default()
        },
        involved_object: about,
        reason: Some(reason),
        message: Some(message),
        type_: Some(match kind {
            Kind::Normal => "Normal".to_owned(),
            Kind::Warning => "Warning".to_owned(),
        }),
        source: Some(EventSource { component: Some(COMPONENT.to_owned()), host: Some(node_name.to_owned()) }),
        reporting_component: Some(COMPONENT.to_owned()),
        reporting_instance: Some(node_name.to_owned()),
        count: Some(1),
        first_timestamp: Some(Time(at)),
        last_timestamp: Some(Time(at)),
        ..Event::default()
    }
}
