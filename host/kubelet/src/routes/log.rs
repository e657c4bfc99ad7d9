//! /containerLogs: the query as the kubelet reads it, and whether there is a log at all.

use std::{
    collections::HashMap,
    time::{Duration, SystemTime},
};

use futures::StreamExt;
use http::{Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use vk_provider::{LogQuery, PodId};

use super::{Call, Routes, has_container, query};
use crate::{
    body::{Body, text},
    logs,
    metrics::StreamKind,
    path::PodPath,
    refusal::Refusal,
};

impl Routes {
    pub(super) async fn logs(&self, path: PodPath<'_>, container: &str, call: Call) -> Result<Response<Body>, Refusal> {
        let wanted = Wanted::parse(query(&call.request), SystemTime::now())?;
        let name = path.name;
        let pod = self.find(path).ok_or_else(|| Refusal::not_found(format!("pod {name:?} does not exist")))?;
        if !has_container(&pod.object, container) {
            return Err(Refusal::not_found(format!("container {container:?} not found in pod {name:?}")));
        }
        has_log(&pod.object, name, container, wanted.previous)?;
        let held = self.hold(StreamKind::Logs, &call)?;
        // A run that is over writes nothing more.
        let follow = wanted.follow && !wanted.previous;
        let follow = follow.then(|| logs::run_of(self.parts.pods.clone(), &pod, container));
        let log = logs::open(self.parts.logs.clone(), wanted.query(pod.id, container), follow).await?;
        let mut response = text(StatusCode::OK, "");
        let pieces = StreamExt::map(log, move |piece| {
            let _held = &held;
            piece.map(Frame::data)
        });
        *response.body_mut() = BodyExt::boxed(StreamBody::new(pieces));
        Ok(response)
    }
}

/// What a client asks for.
#[derive(Debug, Default, PartialEq, Eq)]
struct Wanted {
    follow: bool,
    previous: bool,
    timestamps: bool,
    tail_lines: Option<u32>,
    since: Option<SystemTime>,
    limit_bytes: Option<u64>,
}

impl Wanted {
    fn query(&self, pod: PodId, container: &str) -> LogQuery {
        LogQuery {
            pod,
            container: container.into(),
            previous: self.previous,
            timestamps: self.timestamps,
            tail_lines: self.tail_lines,
            since: self.since,
            limit_bytes: self.limit_bytes,
        }
    }

    /// # Errors
    ///
    /// 400 for what cannot be read, 422 for what cannot be meant.
    fn parse(parameters: impl Iterator<Item = (String, String)>, now: SystemTime) -> Result<Self, Refusal> {
        let mut given: HashMap<String, String> = HashMap::new();
        for (name, value) in parameters {
            // Of several, the kubelet takes the first.
            given.entry(name).or_insert(value);
        }
        match given.remove("tail").as_deref() {
            None | Some("") => {}
            Some("all") => drop(given.remove("tailLines")),
            Some(tail) => drop(given.insert("tailLines".into(), tail.into())),
        }
        let flag =
            |name: &str| given.get(name).is_some_and(|value| value != "0" && !value.eq_ignore_ascii_case("false"));
        let number = |name: &str| match given.get(name) {
            None => Ok(None),
            Some(value) => match value.parse::<i64>() {
                Ok(number) => Ok(Some(number)),
                Err(_) => {
                    Err(Refusal::bad_request(format!("Unable to decode query: {name}={value:?} is not a number")))
                }
            },
        };
        let (tail_lines, limit_bytes) = (number("tailLines")?, number("limitBytes")?);
        let (since_seconds, since_time) = (number("sinceSeconds")?, since_time(given.get("sinceTime"))?);

        if tail_lines.is_some_and(|lines| lines < 0) {
            return Err(invalid("tailLines: must be greater than or equal to 0"));
        }
        if limit_bytes.is_some_and(|bytes| bytes < 1) {
            return Err(invalid("limitBytes: must be greater than 0"));
        }
        if since_seconds.is_some() && since_time.is_some() {
            return Err(invalid("at most one of `sinceTime` or `sinceSeconds` may be specified"));
        }
        if since_seconds.is_some_and(|seconds| seconds < 1) {
            return Err(invalid("sinceSeconds: must be greater than 0"));
        }
        if given.get("stream").is_some_and(|stream| stream != "All") {
            return Err(invalid("stream: only All is supported"));
        }
        let ago = |seconds: i64| now.checked_sub(Duration::from_secs(seconds.unsigned_abs()));
        Ok(Self {
            follow: flag("follow"),
            previous: flag("previous"),
            timestamps: flag("timestamps"),
            tail_lines: tail_lines.map(|lines| u32::try_from(lines).unwrap_or(u32::MAX)),
            // Nothing was written before there was a clock.
            since: since_time.or_else(|| since_seconds.and_then(ago)).filter(|since| *since >= SystemTime::UNIX_EPOCH),
            limit_bytes: limit_bytes.map(i64::unsigned_abs),
        })
    }
}

fn since_time(given: Option<&String>) -> Result<Option<SystemTime>, Refusal> {
    match given.map(String::as_str) {
        None | Some("" | "null") => Ok(None),
        Some(text) => match text.parse::<jiff::Timestamp>() {
            Ok(time) => Ok(Some(time.into())),
            Err(_) => Err(Refusal::bad_request(format!(
                "Unable to decode query: sinceTime={text:?} is not a time like 2006-01-02T15:04:05Z"
            ))),
        },
    }
}

fn invalid(what: &'static str) -> Refusal {
    Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, format!("Invalid request: {what}"))
}

/// In the kubelet's words, why a container has no log.
fn has_log(pod: &Pod, name: &str, container: &str, previous: bool) -> Result<(), Refusal> {
    let refuse = |what: String| Err(Refusal::bad_request(what));
    let Some(status) = container_status(pod, container) else {
        return refuse(format!("container {container:?} in pod {name:?} is not available"));
    };
    let ended_before = status.last_state.as_ref().is_some_and(|state| state.terminated.is_some());
    if previous {
        if ended_before {
            return Ok(());
        }
        return refuse(format!("previous terminated container {container:?} in pod {name:?} not found"));
    }
    let state = status.state.as_ref();
    let has_begun = state.is_some_and(|state| state.running.is_some() || state.terminated.is_some());
    if has_begun || ended_before {
        return Ok(());
    }
    let reason = state.and_then(|state| state.waiting.as_ref()).map(|waiting| waiting.reason.as_deref());
    let waits = format!("container {container:?} in pod {name:?} is waiting to start");
    refuse(match reason {
        Some(Some("ErrImagePull")) => format!("{waits}: image can't be pulled"),
        Some(Some("ImagePullBackOff")) => format!("{waits}: trying and failing to pull image"),
        Some(reason) => format!("{waits}: {}", reason.unwrap_or_default()),
        None => format!("{waits} - no logs yet"),
    })
}

fn container_status<'a>(pod: &'a Pod, name: &str) -> Option<&'a ContainerStatus> {
    let status = pod.status.as_ref()?;
    let lists = [&status.container_statuses, &status.init_container_statuses, &status.ephemeral_container_statuses];
    lists.into_iter().flatten().flatten().find(|status| status.name == name)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::fakes::pod;

    const NOW: Duration = Duration::from_secs(1_000_000_000);

    fn at(seconds: u64) -> Option<SystemTime> {
        Some(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
    }

    fn parse(query: &str) -> Result<Wanted, Refusal> {
        let parameters = form_urlencoded::parse(query.as_bytes()).into_owned();
        Wanted::parse(parameters, SystemTime::UNIX_EPOCH + NOW)
    }

    #[test]
    fn queries_are_read_as_the_kubelet_reads_them() {
        let plain = Wanted::default;
        for (query, wanted) in [
            ("", plain()),
            ("unknown=1&stream=All", plain()),
            (
                "follow=true&timestamps=1&previous=yes",
                Wanted { follow: true, timestamps: true, previous: true, ..plain() },
            ),
            ("follow=", Wanted { follow: true, ..plain() }),
            ("follow=false&previous=0", plain()),
            ("follow=False&previous=FALSE", plain()),
            ("tailLines=0", Wanted { tail_lines: Some(0), ..plain() }),
            ("tailLines=99999999999", Wanted { tail_lines: Some(u32::MAX), ..plain() }),
            ("tailLines=3&tailLines=4", Wanted { tail_lines: Some(3), ..plain() }),
            ("tail=5&tailLines=7", Wanted { tail_lines: Some(5), ..plain() }),
            ("tail=all&tailLines=7", plain()),
            ("limitBytes=1", Wanted { limit_bytes: Some(1), ..plain() }),
            ("sinceSeconds=10", Wanted { since: at(999_999_990), ..plain() }),
            ("sinceSeconds=9223372036854775807", plain()),
            ("sinceTime=1970-01-01T01:00:05%2B01:00", Wanted { since: at(5), ..plain() }),
            ("sinceTime=", plain()),
            ("sinceTime=1960-01-01T00:00:00Z", plain()),
        ] {
            assert_eq!(parse(query), Ok(wanted), "{query}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_400_and_what_cannot_be_meant_422() {
        for (query, status, words) in [
            ("tailLines=abc", 400, "tailLines"),
            ("tailLines=", 400, "tailLines"),
            ("tail=x", 400, "tailLines"),
            ("limitBytes=1k", 400, "limitBytes"),
            ("sinceSeconds=1.5", 400, "sinceSeconds"),
            ("sinceTime=yesterday", 400, "sinceTime"),
            ("tailLines=-1", 422, "tailLines"),
            ("limitBytes=0", 422, "limitBytes"),
            ("sinceSeconds=0", 422, "sinceSeconds"),
            ("sinceSeconds=5&sinceTime=2026-01-01T00:00:00Z", 422, "at most one of"),
            ("stream=Stdout", 422, "stream"),
            ("stream=Stderr&tailLines=1", 422, "stream"),
        ] {
            let response = parse(query).unwrap_err();
            let text = format!("{response:?}");
            assert!(text.contains(words), "{query}: {text}");
            assert_eq!(response.response().status(), status, "{query}");
        }
    }

    #[test]
    fn a_container_without_a_log_is_told_in_the_kubelets_words() {
        let ended = json!({ "terminated": { "exitCode": 0 } });
        let waiting = |reason: &str| json!({ "waiting": { "reason": reason } });
        let waits = |rest: &str| format!("container \"c\" in pod \"p\" is waiting to start{rest}");
        let no_previous = "previous terminated container \"c\" in pod \"p\" not found".to_owned();
        for (status, previous, refusal) in [
            (json!({ "state": { "running": {} } }), false, None),
            (json!({ "state": ended }), false, None),
            (json!({ "state": waiting("CrashLoopBackOff"), "lastState": ended }), false, None),
            (json!({ "state": { "running": {} }, "lastState": ended }), true, None),
            (json!({ "state": { "running": {} } }), true, Some(no_previous)),
            (json!({ "state": waiting("ContainerCreating") }), false, Some(waits(": ContainerCreating"))),
            (json!({ "state": waiting("ErrImagePull") }), false, Some(waits(": image can't be pulled"))),
            (json!({ "state": waiting("ImagePullBackOff") }), false, Some(waits(": trying and failing to pull image"))),
            (json!({}), false, Some(waits(" - no logs yet"))),
        ] {
            let told: Result<(), Refusal> = has_log(&pod("p", status.clone()).object, "p", "c", previous);
            assert_eq!(told, refusal.map_or(Ok(()), |words| Err(Refusal::bad_request(words))), "{status}");
        }
        let unknown = has_log(&pod("p", Value::Object(serde_json::Map::new())).object, "p", "init", false);
        let words = "container \"init\" in pod \"p\" is not available";
        assert_eq!(unknown, Err(Refusal::bad_request(words)));
    }
}
