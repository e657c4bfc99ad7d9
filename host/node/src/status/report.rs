//! What a provider says of a pod, read with suspicion: every value is checked alone, and a bad one is left out without
//! losing the others. The API server checks little of a status, or refuses all of it for one malformed time.

use std::{collections::BTreeMap, net::IpAddr};

use k8s_openapi::{
    api::core::v1::{PodCondition, ResourceRequirements},
    apimachinery::pkg::api::resource::Quantity,
    jiff::Timestamp,
};
use serde_json::{Map, Value};

use super::{PROVIDER_CONDITION, Problem, phase::Phase};
use crate::quantity;

/// The longest message, in bytes: what a kubelet allows a termination message.
const MAX_MESSAGE: usize = 4096;
/// The longest reason, in bytes.
const MAX_REASON: usize = 256;
/// The longest image name, image id or container id, in bytes.
const MAX_IDENTIFIER: usize = 1024;
/// The most containers of a kind, and the most conditions, that are looked at.
const MAX_LIST: usize = 1000;
/// The most conditions of the provider's own that a pod may carry.
const MAX_CONDITIONS: usize = 16;
/// The most problems that are told of one report.
const MAX_PROBLEMS: usize = 20;

/// A provider's PodStatus, as far as it can be used.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Report {
    /// Whether it could be read at all.
    pub(super) readable: bool,
    pub(super) phase: Option<Phase>,
    pub(super) reason: Option<String>,
    pub(super) message: Option<String>,
    /// At most one of each family.
    pub(super) ips: Vec<IpAddr>,
    pub(super) start_time: Option<Timestamp>,
    /// `None`: it says nothing of these containers.
    pub(super) init: Option<Vec<ContainerReport>>,
    pub(super) regular: Option<Vec<ContainerReport>>,
    pub(super) ephemeral: Option<Vec<ContainerReport>>,
    /// Those of the provider's own domain, without times.
    pub(super) conditions: Vec<PodCondition>,
    pub(super) problems: Vec<Problem>,
}

/// What it says of one container.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct ContainerReport {
    pub(super) name: String,
    pub(super) state: Option<State>,
    pub(super) last: Option<Terminated>,
    pub(super) ready: Option<bool>,
    pub(super) started: Option<bool>,
    pub(super) restarts: Option<i32>,
    pub(super) image: Option<String>,
    pub(super) image_id: Option<String>,
    pub(super) id: Option<String>,
    pub(super) resources: Option<ResourceRequirements>,
    pub(super) allocated: Option<BTreeMap<String, Quantity>>,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum State {
    Waiting { reason: Option<String>, message: Option<String> },
    Running { started_at: Option<Timestamp> },
    Terminated(Terminated),
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Terminated {
    pub(super) exit_code: i32,
    pub(super) signal: Option<i32>,
    pub(super) reason: Option<String>,
    pub(super) message: Option<String>,
    pub(super) started_at: Option<Timestamp>,
    pub(super) finished_at: Option<Timestamp>,
    pub(super) id: Option<String>,
}

impl Report {
    /// Reads what a provider sent. What is malformed is left out and becomes a [`Problem`] of every composition.
    pub(crate) fn parse(json: &str) -> Self {
        let mut problems = Problems::default();
        let object = match serde_json::from_str(json) {
            Ok(Value::Object(object)) => object,
            Ok(_) => {
                problems.add("status", "is not a JSON object");
                return Self { problems: problems.0, ..Self::default() };
            }
            Err(error) => {
                problems.add("status", format!("is not JSON: {error}"));
                return Self { problems: problems.0, ..Self::default() };
            }
        };
        let mut fields = Fields { at: String::new(), object: &object, problems: &mut problems };
        let phase = fields.text("phase", MAX_REASON).and_then(|text| {
            let phase = Phase::parse(&text);
            if phase.is_none() {
                fields.problem("phase", format!("{text:?} is none of Pending, Running, Succeeded, Failed"));
            }
            phase
        });
        Self {
            readable: true,
            phase,
            reason: fields.reason("reason"),
            message: fields.text("message", MAX_MESSAGE),
            ips: fields.ips(),
            start_time: fields.time("startTime"),
            init: fields.containers("initContainerStatuses"),
            regular: fields.containers("containerStatuses"),
            ephemeral: fields.containers("ephemeralContainerStatuses"),
            conditions: fields.conditions(),
            problems: problems.0,
        }
    }
}

#[derive(Default)]
struct Problems(Vec<Problem>);

impl Problems {
    fn add(&mut self, field: impl Into<String>, message: impl Into<String>) {
        if self.0.len() < MAX_PROBLEMS {
            self.0.push(Problem { field: cut(field.into(), MAX_REASON), message: cut(message.into(), MAX_REASON) });
        }
    }
}

/// Takes typed values out of a JSON object. `null` is as good as absent, and so is an empty text.
struct Fields<'a> {
    /// The object's place, ending in a dot where it is not the status itself.
    at: String,
    object: &'a Map<String, Value>,
    problems: &'a mut Problems,
}

impl<'a> Fields<'a> {
    fn problem(&mut self, name: &str, message: impl Into<String>) {
        self.problems.add(format!("{}{name}", self.at), message);
    }

    /// The value, if `read` accepts it.
    fn take<T>(&mut self, name: &str, what: &str, read: impl FnOnce(&'a Value) -> Option<T>) -> Option<T> {
        let value = self.object.get(name).filter(|value| !value.is_null())?;
        let read = read(value);
        if read.is_none() {
            self.problem(name, format!("is not {what}"));
        }
        read
    }

    fn text(&mut self, name: &str, longest: usize) -> Option<String> {
        let text = self.take(name, "a string", Value::as_str)?;
        (!text.is_empty()).then(|| cut(text.to_owned(), longest))
    }

    /// One word: it stands in tables and is matched by programs.
    fn reason(&mut self, name: &str) -> Option<String> {
        let text = self.text(name, MAX_REASON)?;
        if text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Some(text);
        }
        self.problem(name, "is not one word");
        None
    }

    fn flag(&mut self, name: &str) -> Option<bool> {
        self.take(name, "a boolean", Value::as_bool)
    }

    fn number(&mut self, name: &str) -> Option<i32> {
        self.take(name, "a whole number of 32 bits", |value| value.as_i64().and_then(|number| number.try_into().ok()))
    }

    /// In whole seconds, as the API keeps it.
    fn time(&mut self, name: &str) -> Option<Timestamp> {
        self.take(name, "a time as RFC 3339 writes it", |value| {
            let time: Timestamp = value.as_str()?.parse().ok()?;
            // RFC 3339 has years of four digits, and Kubernetes takes the year 1 for no time at all.
            (-62_135_596_799..=253_402_300_799).contains(&time.as_second()).then_some(())?;
            Timestamp::from_second(time.as_second()).ok()
        })
    }

    fn nested(&mut self, name: &str) -> Option<Fields<'_>> {
        let object = self.take(name, "an object", Value::as_object)?;
        Some(Fields { at: format!("{}{name}.", self.at), object, problems: self.problems })
    }

    fn list(&mut self, name: &str) -> Option<&'a [Value]> {
        let list = self.take(name, "a list", Value::as_array)?;
        if list.len() > MAX_LIST {
            self.problem(name, format!("has more than {MAX_LIST} entries"));
        }
        Some(list.get(..MAX_LIST).unwrap_or(list))
    }

    fn ips(&mut self) -> Vec<IpAddr> {
        let mut ips: Vec<IpAddr> = Vec::new();
        for (index, entry) in self.list("podIPs").unwrap_or_default().iter().enumerate() {
            let name = format!("podIPs[{index}]");
            match entry.get("ip").and_then(Value::as_str).ok_or_else(|| "has no ip".to_owned()).and_then(usable_ip) {
                Ok(ip) if ips.iter().any(|other| other.is_ipv4() == ip.is_ipv4()) => {
                    self.problem(&name, format!("{ip} is the second of its family"));
                }
                Ok(ip) => ips.push(ip),
                Err(problem) => self.problem(&name, problem),
            }
        }
        if let Some(text) = self.text("podIP", MAX_REASON) {
            match (usable_ip(&text), ips.first()) {
                (Ok(ip), None) => ips.push(ip),
                (Ok(ip), Some(first)) if ip == *first => {}
                (Ok(ip), Some(first)) => self.problem("podIP", format!("{ip} is not podIPs[0], which is {first}")),
                (Err(problem), _) => self.problem("podIP", problem),
            }
        }
        ips
    }

    fn containers(&mut self, name: &str) -> Option<Vec<ContainerReport>> {
        let mut containers: Vec<ContainerReport> = Vec::new();
        for (index, entry) in self.list(name)?.iter().enumerate() {
            let label = entry.get("name").and_then(Value::as_str).unwrap_or_default();
            let at = format!("{}{name}[{index}]", self.at);
            let Value::Object(object) = entry else {
                self.problems.add(at, "is not an object");
                continue;
            };
            if label.is_empty() {
                self.problems.add(at, "has no name");
            } else if containers.iter().any(|container| container.name == label) {
                self.problems.add(at, format!("is the second for container {label}"));
            } else {
                let at = format!("{}{name}[{label}].", self.at);
                containers.push(Fields { at, object, problems: self.problems }.container(label));
            }
        }
        // It is kept for as long as the pod lives.
        containers.shrink_to_fit();
        Some(containers)
    }

    fn container(mut self, name: &str) -> ContainerReport {
        let restarts = self.number("restartCount");
        if restarts.is_some_and(|count| count < 0) {
            self.problem("restartCount", "is negative");
        }
        let last = match self.nested("lastState").and_then(|fields| fields.state()) {
            Some(State::Terminated(terminated)) => Some(terminated),
            Some(_) => {
                self.problem("lastState", "is not terminated");
                None
            }
            None => None,
        };
        ContainerReport {
            name: name.to_owned(),
            state: self.nested("state").and_then(|fields| fields.state()),
            last,
            ready: self.flag("ready"),
            started: self.flag("started"),
            restarts: restarts.filter(|count| *count >= 0),
            image: self.text("image", MAX_IDENTIFIER),
            image_id: self.text("imageID", MAX_IDENTIFIER),
            id: self.text("containerID", MAX_IDENTIFIER),
            resources: self.resources(),
            allocated: self.quantities("allocatedResources"),
        }
    }

    fn state(mut self) -> Option<State> {
        let given = ["terminated", "running", "waiting"]
            .iter()
            .filter(|name| self.object.get(**name).is_some_and(|value| !value.is_null()))
            .count();
        if given > 1 {
            // The furthest one is believed: some runtimes leave `running` behind when a container ends.
            let at = self.at.trim_end_matches('.').to_owned();
            self.problems.add(at, "is more than one of waiting, running, terminated");
        }
        if let Some(mut fields) = self.nested("terminated") {
            let Some(exit_code) = fields.number("exitCode") else {
                fields.problem("exitCode", "is missing: without it a failure would look like a success");
                return None;
            };
            return Some(State::Terminated(Terminated {
                exit_code,
                signal: fields.number("signal").filter(|signal| *signal != 0),
                reason: fields.reason("reason"),
                message: fields.text("message", MAX_MESSAGE),
                started_at: fields.time("startedAt"),
                finished_at: fields.time("finishedAt"),
                id: fields.text("containerID", MAX_IDENTIFIER),
            }));
        }
        if let Some(mut fields) = self.nested("running") {
            return Some(State::Running { started_at: fields.time("startedAt") });
        }
        let mut fields = self.nested("waiting")?;
        Some(State::Waiting { reason: fields.reason("reason"), message: fields.text("message", MAX_MESSAGE) })
    }

    fn quantities(&mut self, name: &str) -> Option<BTreeMap<String, Quantity>> {
        let mut fields = self.nested(name)?;
        let mut quantities = BTreeMap::new();
        for (resource, value) in fields.object {
            // A JSON number is a quantity too.
            let text = match value {
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            if quantity::is_amount(&text) && is_qualified_name(resource) {
                quantities.insert(resource.clone(), Quantity(text));
            } else {
                fields.problem(resource, "is not a quantity");
            }
        }
        (!quantities.is_empty()).then_some(quantities)
    }

    fn resources(&mut self) -> Option<ResourceRequirements> {
        let mut fields = self.nested("resources")?;
        let (limits, requests) = (fields.quantities("limits"), fields.quantities("requests"));
        (limits.is_some() || requests.is_some()).then_some(ResourceRequirements { limits, requests, claims: None })
    }

    fn conditions(&mut self) -> Vec<PodCondition> {
        let mut conditions: Vec<PodCondition> = Vec::new();
        for (index, entry) in self.list("conditions").unwrap_or_default().iter().enumerate() {
            let at = format!("{}conditions[{index}]", self.at);
            let Value::Object(object) = entry else {
                self.problems.add(at, "is not an object");
                continue;
            };
            let mut fields = Fields { at: format!("{at}."), object, problems: self.problems };
            let Some(kind) = fields.text("type", 2 * MAX_REASON) else {
                fields.problem("type", "is missing");
                continue;
            };
            fields.at = format!("conditions[{kind}].");
            if !is_of_own_domain(&kind) {
                fields.problem("type", "is not of the provider's own domain, as in example.com/Checked");
            } else if conditions.iter().any(|condition| condition.type_ == kind) {
                fields.problem("type", "is there twice");
            } else if conditions.len() == MAX_CONDITIONS {
                fields.problem("type", format!("is more than the {MAX_CONDITIONS} that a provider may set"));
            } else if let Some(status) = fields.text("status", MAX_REASON) {
                if !matches!(status.as_str(), "True" | "False" | "Unknown") {
                    fields.problem("status", "is none of True, False, Unknown");
                    continue;
                }
                let (reason, message) = (fields.reason("reason"), fields.text("message", MAX_MESSAGE));
                conditions.push(PodCondition { type_: kind, status, reason, message, ..PodCondition::default() });
            } else {
                fields.problem("status", "is missing");
            }
        }
        conditions
    }
}

/// At most `longest` bytes of a text, cut between characters.
pub(super) fn cut(mut text: String, longest: usize) -> String {
    text.truncate(text.floor_char_boundary(longest));
    text
}

/// An address that other pods and nodes could reach.
fn usable_ip(text: &str) -> Result<IpAddr, String> {
    let ip = text.parse::<IpAddr>().map_err(|_| "is not an IP address".to_owned())?.to_canonical();
    let (local, broadcast) = match ip {
        IpAddr::V4(ip) => (ip.is_link_local(), ip.is_broadcast()),
        IpAddr::V6(ip) => (ip.is_unicast_link_local(), false),
    };
    if ip.is_loopback() || ip.is_unspecified() || ip.is_multicast() || local || broadcast {
        return Err(format!("{ip} is not an address that a pod can be reached at"));
    }
    Ok(ip)
}

/// Whether a condition type is one that a provider may set: qualified, and neither Kubernetes' nor the host's.
fn is_of_own_domain(kind: &str) -> bool {
    let Some((domain, _)) = kind.split_once('/') else { return false };
    let host = PROVIDER_CONDITION.split('/').next().unwrap_or_default();
    let reserved = ["kubernetes.io", "k8s.io", host];
    is_qualified_name(kind)
        && !reserved
            .iter()
            .any(|name| domain == *name || domain.strip_suffix(name).is_some_and(|rest| rest.ends_with('.')))
}

/// Whether it is a name as Kubernetes wants it for labels, conditions and resources: `name` or `dns.subdomain/name`.
pub(crate) fn is_qualified_name(text: &str) -> bool {
    let (domain, name) = match text.split_once('/') {
        Some((domain, name)) => (Some(domain), name),
        None => (None, text),
    };
    domain.is_none_or(is_subdomain) && is_name(name)
}

/// Letters, digits, `-`, `_` and `.`, at most 63, beginning and ending with a letter or digit: also what a label's value
/// is unless it is empty.
pub(crate) fn is_name(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    (1..=63).contains(&text.len())
        && text.bytes().all(inner)
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.ends_with(|c: char| c.is_ascii_alphanumeric())
}

fn is_subdomain(text: &str) -> bool {
    (1..=253).contains(&text.len())
        && text.split('.').all(|label| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
                && !label.starts_with('-')
                && !label.ends_with('-')
        })
}
