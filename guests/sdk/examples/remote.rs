//! Logs, sessions and usage of containers that run elsewhere, as `docs/write-a-provider.md` explains them. The calls on
//! pods are left out: `guests/examples/hello` has them.
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use vk_sdk::{
    http,
    logs::{Chunk, Query},
    sessions::{Action, Event, Opened, Request, Transport, Websocket},
    stats::{ContainerUsage, PodUsage, Usage},
    *,
};

/// Where the containers run.
const BACKEND: &str = "api.example.com";

struct Remote;

impl Logs for Remote {
    fn read_log(&self, query: Query, after: Option<Cursor>) -> Result<Chunk> {
        // The cursor: a version, and how many bytes have been read.
        let offset = match after.as_deref() {
            None => 0,
            Some([b'1', digits @ ..]) => str::from_utf8(digits).ok().and_then(|text| text.parse().ok()).unwrap_or(0),
            Some(_) => return Err(Error::invalid("the cursor is of another version")),
        };
        let Query { pod, container, .. } = query;
        let url = format!("https://{BACKEND}/pods/{}/{container}/log?offset={offset}&limit=1000000", pod.uid);
        let data = http::get(url).call()?.body().to_vec();
        let next = format!("1{}", offset + data.len()).into_bytes();
        Ok(match data.len() {
            1_000_000 => Chunk::more(data, next),
            _ => Chunk::so_far(data, next, Duration::from_millis(500)),
        })
    }
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
        for event in events {
            actions.push(match (&session, event) {
                (_, Event::Refused(answer)) => {
                    return Err(Error::unavailable(format!("{BACKEND} answered {}", answer.status)));
                }
                // From here on the host copies the port's bytes by itself.
                (Session::Port, Event::Opened(_)) => Action::Relay,
                (Session::Command, Event::Input(bytes)) => Action::SendBinary(bytes),
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
        Ok(actions)
    }
}

impl Stats for Remote {
    fn read_usage(&self, pods: Vec<PodId>) -> Result<Vec<PodUsage>> {
        let mut usages = Vec::new();
        for pod in pods {
            let figures = http::get(format!("https://{BACKEND}/pods/{}/usage", pod.uid)).call()?;
            // By container: billionths of a core, billionths of a core-second since its start, bytes.
            let figures: Vec<(String, u64, u64, u64)> = figures.json()?;
            let container = |(name, cores, total, memory)| {
                ContainerUsage::new(name, Usage::at(SystemTime::now()).cpu(cores, total).working_set(memory))
            };
            usages.push(PodUsage::new(pod, figures.into_iter().map(container).collect()));
        }
        Ok(usages)
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
