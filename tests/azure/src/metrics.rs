//! Azure Monitor: averages by the minute.

use std::collections::BTreeMap;

use axum::{http::StatusCode, response::Response};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::{
    Shared,
    answer::Call,
    clock::left,
    error::{ArmError, json_response},
    group::{Held, Sample},
    groups::{named, not_found},
    life, realtime,
};

/// What is known, with its unit.
const METRICS: [(&str, &str); 4] = [
    ("CpuUsage", "Count"),
    ("MemoryUsage", "Bytes"),
    ("NetworkBytesReceivedPerSecond", "BytesPerSecond"),
    ("NetworkBytesTransmittedPerSecond", "BytesPerSecond"),
];

/// A minute, in seconds.
const MINUTE: i64 = 60;

pub(crate) fn answer(shared: &Shared, call: &Call) -> Result<Response, ArmError> {
    let (key, name) = named(call)?;
    let asked = |name: &str| call.query.get(name).map_or("", String::as_str);
    let span = Span::read(asked("timespan"))?;
    let by_container = match asked("$filter") {
        "" => false,
        filter if filter.to_ascii_lowercase().starts_with("containername eq '") => true,
        filter => return Err(bad(&format!("The filter \"{filter}\" is not known."))),
    };
    let now = shared.clock.now();
    let mut world = shared.world();
    let held = world.groups.get_mut(&key).ok_or_else(|| not_found(shared, &key, &name))?;
    life::sample(held, now);
    let mut value = Vec::new();
    for wanted in asked("metricnames").split(',').filter(|name| !name.is_empty()) {
        let known = METRICS.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted));
        let (metric, unit) = known.ok_or_else(|| bad(&format!("There is no metric '{wanted}'.")))?;
        value.push(json!({
            "id": format!("{}/providers/Microsoft.Insights/metrics/{metric}", held.id),
            "type": "Microsoft.Insights/metrics",
            "name": { "value": metric, "localizedValue": metric },
            "unit": unit,
            "timeseries": series(held, metric, by_container, span),
        }));
    }
    let body = json!({
        "cost": 0,
        "timespan": asked("timespan"),
        "interval": "PT1M",
        "value": value,
        "namespace": "Microsoft.ContainerInstance/containerGroups",
        "resourceregion": crate::group::region(&held.body.location),
    });
    Ok(json_response(StatusCode::OK, &body))
}

/// A time from which and one until which points are wanted.
#[derive(Debug, Clone, Copy)]
struct Span {
    start: Timestamp,
    end: Timestamp,
}

impl Span {
    fn read(text: &str) -> Result<Self, ArmError> {
        let parsed = text
            .split_once('/')
            .and_then(|(start, end)| Some(Self { start: start.parse().ok()?, end: end.parse().ok()? }));
        let span = parsed.ok_or_else(|| bad("The parameter 'timespan' is not START/END."))?;
        if span.start < span.end { Ok(span) } else { Err(bad("The timespan ends before it starts.")) }
    }

    fn has(self, minute: i64) -> bool {
        (self.start.as_second()..self.end.as_second()).contains(&(minute * MINUTE))
    }
}

fn series(held: &Held, metric: &str, by_container: bool, span: Span) -> Value {
    let constant = match metric {
        "NetworkBytesReceivedPerSecond" => Some(realtime::RECEIVED),
        "NetworkBytesTransmittedPerSecond" => Some(realtime::SENT),
        _ => None,
    };
    let names: Vec<&String> = held.life.containers.iter().map(|container| &container.name).collect();
    let groups: Vec<Vec<&String>> =
        if by_container { names.into_iter().map(|name| vec![name]).collect() } else { vec![names] };
    let one = |names: &Vec<&String>| {
        let metadata = match names.as_slice() {
            [name] if by_container => {
                json!([{ "name": { "value": "containername", "localizedValue": "containername" }, "value": name }])
            }
            _ => json!([]),
        };
        let mut minutes: BTreeMap<i64, Vec<f64>> = BTreeMap::new();
        for (before, sample) in held.samples.iter().zip(held.samples.iter().skip(1)) {
            let value = match constant {
                Some(constant) => number(constant),
                None => names.iter().map(|name| measured(metric, name, before, sample)).sum(),
            };
            minutes.entry(sample.at.as_second() / MINUTE).or_default().push(value);
        }
        let points = minutes.into_iter().filter(|(minute, _)| span.has(*minute)).filter_map(|(minute, values)| {
            let time = Timestamp::from_second(minute * MINUTE).ok()?;
            let average = values.iter().sum::<f64>() / number(values.len() as u64);
            Some(json!({ "timeStamp": time, "average": average }))
        });
        json!({ "metadatavalues": metadata, "data": points.collect::<Vec<_>>() })
    };
    groups.iter().map(one).collect()
}

/// Thousandths of a core, or bytes, of a container between two looks.
fn measured(metric: &str, name: &str, before: &Sample, sample: &Sample) -> f64 {
    let (Some(old), Some(new)) = (before.usage.get(name), sample.usage.get(name)) else { return 0.0 };
    if metric == "MemoryUsage" {
        return number(new.memory);
    }
    let nanoseconds = left(before.at, sample.at).as_nanos().max(1);
    let used = u128::from(new.cpu.saturating_sub(old.cpu)) * 1000;
    number(u64::try_from(used / nanoseconds).unwrap_or(u64::MAX))
}

#[expect(clippy::cast_precision_loss, reason = "figures are rounded anyway")]
fn number(value: u64) -> f64 {
    value as f64
}

fn bad(problem: &str) -> ArmError {
    ArmError::bad_request("BadRequest", problem)
}
