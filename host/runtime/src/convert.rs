//! From the plain types to what the guest takes, by reference.

use std::time::{Duration, SystemTime};

use vk_provider::{Answer, Aspects, LogQuery, Pod, PodId, SessionEvent, SessionRequest};

use crate::{
    Startup,
    bindings::{
        exports::vk::provider::{logs, node, pods, sessions},
        vk::provider::types::PodIdParam,
    },
};

pub(crate) fn startup(startup: &Startup) -> node::Startup<'_> {
    node::Startup {
        owner: &startup.owner,
        node_name: &startup.node_name,
        operating_system: startup.operating_system.map(|system| match system {
            vk_provider::OperatingSystem::Linux => node::OperatingSystem::Linux,
            vk_provider::OperatingSystem::Windows => node::OperatingSystem::Windows,
        }),
        settings: &startup.settings,
    }
}

pub(crate) fn pod_id(id: &PodId) -> PodIdParam<'_> {
    PodIdParam { namespace: &id.namespace, name: &id.name, uid: &id.uid, handle: id.handle.as_deref() }
}

/// The lists inside of a pod, whose elements borrow from it.
pub(crate) struct PodLists<'a> {
    files: Vec<Vec<pods::File<'a>>>,
    logins: Vec<pods::Login<'a>>,
    objects: Vec<&'a str>,
}

impl<'a> PodLists<'a> {
    pub(crate) fn new(pod: &'a Pod) -> Self {
        let file = |file: &'a vk_provider::File| pods::File { path: &file.path, mode: file.mode, data: &file.data };
        let login = |login: &'a vk_provider::Login| pods::Login {
            server: &login.server,
            username: &login.username,
            password: &login.password,
            identity_token: login.identity_token.as_deref(),
        };
        Self {
            files: pod.volumes.iter().map(|volume| volume.files.iter().map(file).collect()).collect(),
            logins: pod.logins.iter().map(login).collect(),
            objects: pod.objects.iter().map(String::as_str).collect(),
        }
    }

    pub(crate) fn volumes(&'a self, pod: &'a Pod) -> Vec<pods::Volume<'a>> {
        pod.volumes.iter().zip(&self.files).map(|(volume, files)| pods::Volume { name: &volume.name, files }).collect()
    }

    pub(crate) fn pod(&'a self, pod: &'a Pod, volumes: &'a [pods::Volume<'a>]) -> pods::Pod<'a> {
        pods::Pod {
            id: pod_id(&pod.id),
            manifest: &pod.manifest,
            volumes,
            logins: &self.logins,
            objects: &self.objects,
        }
    }
}

pub(crate) fn aspects(changed: Aspects) -> pods::Aspects {
    [
        (changed.metadata, pods::Aspects::METADATA),
        (changed.spec, pods::Aspects::SPEC),
        (changed.volumes, pods::Aspects::VOLUMES),
        (changed.logins, pods::Aspects::LOGINS),
    ]
    .into_iter()
    .filter(|(changed, _)| *changed)
    .fold(pods::Aspects::empty(), |all, (_, aspect)| all | aspect)
}

pub(crate) fn log_query(query: &LogQuery) -> logs::Query<'_> {
    logs::Query {
        pod: pod_id(&query.pod),
        container: &query.container,
        previous: query.previous,
        timestamps: query.timestamps,
        tail_lines: query.tail_lines,
        since: query.since.map(unix_milliseconds),
        limit_bytes: query.limit_bytes,
    }
}

/// The words of a command, which [`session_request`] borrows.
pub(crate) fn command(request: &SessionRequest) -> Vec<&str> {
    match request {
        SessionRequest::Exec(exec) => exec.command.iter().map(String::as_str).collect(),
        SessionRequest::Attach(_) | SessionRequest::PortForward(_) => Vec::new(),
    }
}

pub(crate) fn session_request<'a>(request: &'a SessionRequest, command: &'a [&'a str]) -> sessions::Request<'a> {
    match request {
        SessionRequest::Exec(exec) => sessions::Request::Exec(sessions::Exec {
            container: &exec.container,
            command,
            stdin: exec.stdin,
            tty: exec.tty.map(terminal_size),
        }),
        SessionRequest::Attach(attach) => sessions::Request::Attach(sessions::Attach {
            container: &attach.container,
            stdin: attach.stdin,
            tty: attach.tty.map(terminal_size),
        }),
        SessionRequest::PortForward(port) => sessions::Request::PortForward(*port),
    }
}

type Headers<'a> = Vec<(&'a str, &'a str)>;

/// The headers of each event, which [`session_events`] borrows.
pub(crate) fn headers(events: &[SessionEvent]) -> Vec<Headers<'_>> {
    events
        .iter()
        .map(|event| match event {
            SessionEvent::Opened(answer) | SessionEvent::Refused(answer) => {
                answer.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
            }
            _ => Vec::new(),
        })
        .collect()
}

pub(crate) fn session_events<'a>(events: &'a [SessionEvent], headers: &'a [Headers<'a>]) -> Vec<sessions::Event<'a>> {
    let answer = |answer: &'a Answer, headers: &'a Headers<'a>| sessions::Answer {
        status: answer.status,
        headers,
        body: &answer.body,
    };
    events
        .iter()
        .zip(headers)
        .map(|(event, headers)| match event {
            SessionEvent::Opened(opened) => sessions::Event::Opened(answer(opened, headers)),
            SessionEvent::Refused(refused) => sessions::Event::Refused(answer(refused, headers)),
            SessionEvent::Text(text) => sessions::Event::Text(text),
            SessionEvent::Binary(bytes) => sessions::Event::Binary(bytes),
            SessionEvent::Disconnected(ending) => {
                sessions::Event::Disconnected(sessions::Ending { code: ending.code, reason: &ending.reason })
            }
            SessionEvent::Input(bytes) => sessions::Event::Input(bytes),
            SessionEvent::InputClosed => sessions::Event::InputClosed,
            SessionEvent::Resized(size) => sessions::Event::Resized(terminal_size(*size)),
            SessionEvent::Woken => sessions::Event::Woken,
            SessionEvent::Abandoned => sessions::Event::Abandoned,
        })
        .collect()
}

fn terminal_size(size: vk_provider::TerminalSize) -> sessions::TerminalSize {
    sessions::TerminalSize { columns: size.columns, rows: size.rows }
}

/// A time before 1970 is that at which it began.
fn unix_milliseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// What is longer than the contract's type can say becomes the longest that it can.
pub(crate) fn milliseconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_clamped_to_what_the_contract_can_say() {
        assert_eq!(milliseconds(Duration::from_secs(30)), 30_000);
        assert_eq!(milliseconds(Duration::from_secs(u64::MAX)), u32::MAX);
    }

    #[test]
    fn aspects_keep_their_meaning() {
        let changed = Aspects { spec: true, logins: true, ..Aspects::default() };
        assert_eq!(aspects(changed), pods::Aspects::SPEC | pods::Aspects::LOGINS);
        assert_eq!(aspects(Aspects::default()), pods::Aspects::empty());
    }
}
