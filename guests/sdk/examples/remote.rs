//! Logs, sessions and usage of containers that run elsewhere, as `docs/write-a-provider.md` explains them. The calls on
//! pods are left out: `guests/examples/hello` has them.
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use vk_sdk::{
    http,
    logs::{Chunk, Query},
    sessions::{Action, Event, Opened, Request, Transport, Websocket},
    stats::{self, ContainerUsage, PodUsage, Usage},
    *,
};

/// Where the containers run.
const BACKEND: &str = "api.example.com";

struct Remote;

/// How many bytes are asked for at a time: a piece of a log has at most 4 MiB.
const PIECE: usize = 1_000_000;

impl Logs for Remote {
    fn read_log(&self, query: Query, after: Option<Cursor>) -> Result<Chunk> {
        let answer = http::get(log_url(&query, after.as_deref())?).call()?;
        let data = answer.body().to_vec();
        // Where the next piece begins, for as long as the container may write more to this log.
        let Some(next) = answer.header("x-next-offset") else { return Ok(Chunk::last(data)) };
        let next =
            write_cursor(next.parse().map_err(|_| Error::internal(format!("{BACKEND} has no offset {next:?}")))?);
        Ok(match data.len() {
            PIECE => Chunk::more(data, next),
            _ => Chunk::so_far(data, next, Duration::from_millis(500)),
        })
    }
}

/// Where a piece of a log is read. What was asked for holds for all pieces, but for what shapes only the first.
fn log_url(query: &Query, after: Option<&[u8]>) -> Result<String> {
    let Query { pod, container, previous, timestamps, tail_lines, since, .. } = query;
    let mut url = format!(
        "https://{BACKEND}/pods/{}/{container}/log?limit={PIECE}&previous={previous}&timestamps={timestamps}",
        pod.uid
    );
    if let Some(cursor) = after {
        return Ok(url + &format!("&offset={}", read_cursor(cursor)?));
    }
    if let Some(lines) = tail_lines {
        url += &format!("&tail={lines}");
    }
    if let Some(milliseconds) = since {
        url += &format!("&since={milliseconds}");
    }
    Ok(url)
}

/// The cursor: a version, and the offset of the next byte.
fn write_cursor(offset: u64) -> Cursor {
    format!("1{offset}").into_bytes()
}

/// What cannot be read is `invalid`, never a guess: the host then goes on from the time of its last read.
fn read_cursor(cursor: &[u8]) -> Result<u64> {
    let digits = cursor.strip_prefix(b"1").and_then(|digits| str::from_utf8(digits).ok());
    digits
        .and_then(|digits| digits.parse().ok())
        .ok_or_else(|| Error::invalid("the log's cursor is of another version of this provider"))
}

/// What a session must know between its steps.
#[derive(Serialize, Deserialize)]
enum Session {
    Command,
    Port,
}

impl Sessions for Remote {
    type State = Session;

    fn open(&self, pod: PodId, request: Request) -> Result<Opened<Session>> {
        match request {
            Request::Exec(exec) => {
                let url = format!("wss://{BACKEND}/pods/{}/{}/exec", pod.uid, exec.container);
                let command = serde_json::to_string(&exec.command).unwrap_or_default();
                Ok(Opened::over(Websocket::new(url).header("X-Command", command), Session::Command))
            }
            Request::PortForward(port) => {
                Ok(Opened::over(Transport::tcp(format!("{}.{BACKEND}", pod.uid), port), Session::Port))
            }
            Request::Attach(_) => Err(Error::unsupported("the backend has no way to join a running command")),
        }
    }

    fn step(&self, _: &PodId, session: &mut Session, events: Vec<Event>) -> Result<Vec<Action>> {
        let mut actions = Vec::new();
        let mut relays = false;
        for event in events {
            actions.push(match (&session, event) {
                (_, Event::Refused(answer)) => {
                    return Err(Error::unavailable(format!("{BACKEND} answered {}", answer.status)));
                }
                (Session::Port, Event::Opened(_)) => {
                    relays = true;
                    continue;
                }
                // Before the relay, the client's bytes are still the provider's to send.
                (_, Event::Input(bytes)) => Action::SendBinary(bytes),
                (Session::Command, Event::InputClosed) => Action::SendText("eof".to_owned()),
                (Session::Command, Event::Resized(size)) => {
                    Action::SendText(format!("size {} {}", size.columns, size.rows))
                }
                (Session::Command, Event::Binary(bytes)) => Action::Output(bytes),
                (Session::Command, Event::Text(text)) => match text.strip_prefix("exit ").map(str::parse) {
                    Some(Ok(code)) => Action::Exit(code),
                    _ => Action::error_output(text),
                },
                _ => continue,
            });
        }
        if relays {
            // From here on the host copies the port's bytes by itself.
            actions.push(Action::Relay);
        }
        Ok(actions)
    }
}

impl Stats for Remote {
    fn read_usage(&self, pods: Vec<PodId>) -> Result<Vec<PodUsage>> {
        stats::read_each(pods, |pod| {
            let figures = http::get(format!("https://{BACKEND}/pods/{}/usage", pod.uid)).call()?;
            // By container: billionths of a core, billionths of a core-second since its start, bytes.
            let figures: Vec<(String, u64, u64, u64)> = figures.json()?;
            let container = |(name, cores, total, memory)| {
                ContainerUsage::new(name, Usage::at(SystemTime::now()).cpu(cores, total).working_set(memory))
            };
            Ok(PodUsage::new(pod, figures.into_iter().map(container).collect()))
        })
    }
}

vk_sdk::export!(Remote: Logs + Sessions + Stats);

impl Provider for Remote {
    const NAME: &str = "remote";
    const VERSION: &str = env!("CARGO_PKG_VERSION");

    fn configure(_: Startup) -> Result<Self> {
        Ok(Remote)
    }
    fn describe(&self) -> Result<Description> {
        Ok(Description::new(OperatingSystem::Linux, "amd64", [("cpu", "4"), ("memory", "8Gi"), ("pods", "10")]))
    }
    fn create(&self, _: Pod) -> Result<Observation> {
        Err(Error::unsupported("left out"))
    }
    fn delete(&self, _: PodId, _: Duration) -> Result<Deletion> {
        Ok(Deletion::Gone)
    }
    fn get(&self, pod: PodId) -> Result<Observation> {
        Err(Error::not_found(format!("no pod {}", pod.full_name())))
    }
    fn poll(&self, _: Option<Cursor>) -> Result<Changes> {
        Ok(Changes::last(Vec::new(), None))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod() -> PodId {
        PodId { namespace: "d".into(), name: "p".into(), uid: "u".into(), handle: None }
    }

    fn query() -> Query {
        Query {
            pod: pod(),
            container: "c".into(),
            previous: true,
            timestamps: true,
            tail_lines: Some(0),
            since: Some(1_700_000_000_000),
            limit_bytes: None,
        }
    }

    #[test]
    fn the_backend_is_asked_for_what_the_client_asked_for() {
        let every = "https://api.example.com/pods/u/c/log?limit=1000000&previous=true&timestamps=true";
        assert_eq!(log_url(&query(), None).unwrap(), format!("{every}&tail=0&since=1700000000000"));
        let cursor = write_cursor(42);
        assert_eq!(log_url(&query(), Some(&cursor)).unwrap(), format!("{every}&offset=42"));
        let whole = Query { tail_lines: None, since: None, ..query() };
        assert_eq!(log_url(&whole, None).unwrap(), every);
    }

    #[test]
    fn a_cursor_that_cannot_be_read_is_invalid() {
        for cursor in [&b""[..], b"1", b"1x", b"1-1", b"242", b"1\xff"] {
            assert_eq!(log_url(&query(), Some(cursor)).unwrap_err().kind, ErrorKind::Invalid, "{cursor:?}");
        }
    }

    #[test]
    fn what_came_before_the_relay_is_sent_before_it() {
        let opened = Event::Opened(sessions::Answer { status: 0, headers: Vec::new(), body: Vec::new() });
        let events = vec![opened, Event::Input(b"early".to_vec()), Event::InputClosed];
        let actions = Remote.step(&pod(), &mut Session::Port, events).unwrap();
        assert_eq!(actions, [Action::SendBinary(b"early".to_vec()), Action::Relay]);
    }
}
