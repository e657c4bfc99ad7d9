//! Exec, attach and port-forward.
//!
//! ```text
//!   client <──> host <──transport──> backend        events ──> step(state) ──> actions
//! ```
//!
//! The host owns the client's connection and the backend's. It hands what happens on either to [`Sessions::step`], which
//! says what is to be done. Any instance may take the next step, so what a session must know is in its state.

use std::time::Duration;

use serde::{Serialize, de::DeserializeOwned};

pub use crate::bindings::sessions::exports::vk::provider::sessions::{
    Action, Answer, Attach, Ending, Event, Exec, Request, TerminalSize, Transport, Upgrade, Websocket,
};
use crate::{
    Error, PodId, Provider, Result, bindings::sessions::exports::vk::provider::sessions as wit, component::milliseconds,
};

/// The most bytes of a session's state, in the form that the host keeps: JSON and a byte for its version.
pub const MAX_STATE: usize = 64 << 10;

/// Translates sessions. Implement it beside [`Provider`], and export it: `export!(MyProvider: Sessions)`.
pub trait Sessions: Provider {
    /// What is known of a session between its steps: at most [`MAX_STATE`].
    type State: Serialize + DeserializeOwned;

    /// The version of `State`. Sessions outlive the component: raise it when an older state can no longer be read, and
    /// sessions from before fail with a clear line.
    const STATE_VERSION: u8 = 1;

    /// Begins a session: says what is known of it at first, and how the backend is reached.
    fn open(&self, pod: PodId, request: Request) -> Result<Opened<Self::State>>;

    /// Turns the events that are waiting into actions, both in order.
    ///
    /// The first event is [`Event::Opened`], also over no connection, or [`Event::Refused`] if the backend answered
    /// something else; the last one, if the client goes, [`Event::Abandoned`].
    ///
    /// # Errors
    ///
    /// An error ends the session, and with it goes all that this step would have done for the events before. To have
    /// the client see that first, end with [`Action::Fail`].
    fn step(&self, pod: &PodId, state: &mut Self::State, events: Vec<Event>) -> Result<Vec<Action>>;
}

/// A session that has begun.
#[derive(Debug, Clone, PartialEq)]
pub struct Opened<S> {
    /// What is known of it.
    pub state: S,
    /// How the backend is reached.
    pub transport: Transport,
}

impl<S> Opened<S> {
    /// A session without a connection: the provider does it all by itself.
    pub fn unconnected(state: S) -> Self {
        Self { state, transport: Transport::None }
    }

    /// A session with a connection to the backend.
    pub fn over(transport: impl Into<Transport>, state: S) -> Self {
        Self { state, transport: transport.into() }
    }
}

impl Websocket {
    /// A WebSocket at a `ws` or `wss` URL.
    pub fn new(url: impl Into<String>) -> Self {
        Self { url: url.into(), headers: Vec::new(), protocols: Vec::new() }
    }

    /// The same with a header beside those of the handshake.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// The same with a subprotocol to offer, after those that were named before.
    #[must_use]
    pub fn protocol(mut self, protocol: impl Into<String>) -> Self {
        self.protocols.push(protocol.into());
        self
    }
}

impl Upgrade {
    /// A `POST` to an `http` or `https` URL that asks for an upgrade to a protocol, such as `tcp`.
    pub fn post(url: impl Into<String>, protocol: impl Into<String>) -> Self {
        let method = "POST".to_owned();
        Self { method, url: url.into(), headers: Vec::new(), body: Vec::new(), protocol: protocol.into() }
    }

    /// The same with a header beside those of the upgrade.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// The same with a body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }
}

impl From<Websocket> for Transport {
    fn from(websocket: Websocket) -> Self {
        Self::Websocket(websocket)
    }
}

impl From<Upgrade> for Transport {
    fn from(upgrade: Upgrade) -> Self {
        Self::Upgrade(upgrade)
    }
}

impl Transport {
    /// A TCP connection to a name or an address.
    pub fn tcp(host: impl Into<String>, port: u16) -> Self {
        Self::Tcp((host.into(), port))
    }
}

impl Action {
    /// Bytes for the client's standard output, or through the forwarded port.
    pub fn output(bytes: impl Into<Vec<u8>>) -> Self {
        Self::Output(bytes.into())
    }

    /// Bytes for the client's standard error.
    pub fn error_output(bytes: impl Into<Vec<u8>>) -> Self {
        Self::ErrorOutput(bytes.into())
    }

    /// The next step after this time at the latest; replaces the timer that was set before.
    pub fn wake_after(wait: Duration) -> Self {
        Self::WakeAfter(milliseconds(wait))
    }
}

impl Request {
    /// The container that is meant; a port-forward means the pod.
    pub fn container(&self) -> Option<&str> {
        match self {
            Self::Exec(exec) => Some(&exec.container),
            Self::Attach(attach) => Some(&attach.container),
            Self::PortForward(_) => None,
        }
    }
}

/// Calls [`Sessions::open`] as the contract has it.
pub(crate) fn open<P: Sessions>(provider: &P, pod: PodId, request: Request) -> Result<wit::Opened> {
    let Opened { state, transport } = provider.open(pod, request)?;
    Ok(wit::Opened { state: write_state::<P>(&state)?, transport })
}

/// Calls [`Sessions::step`] as the contract has it.
pub(crate) fn step<P: Sessions>(provider: &P, pod: &PodId, old: &[u8], events: Vec<Event>) -> Result<wit::Progress> {
    let mut state = read_state::<P>(old)?;
    let actions = provider.step(pod, &mut state, events)?;
    let new = write_state::<P>(&state)?;
    Ok(wit::Progress { state: (new != old).then_some(new), actions })
}

fn write_state<P: Sessions>(state: &P::State) -> Result<Vec<u8>> {
    let mut bytes = vec![P::STATE_VERSION];
    serde_json::to_writer(&mut bytes, state)
        .map_err(|error| Error::internal(format!("the session's state has no form in JSON: {error}")))?;
    if bytes.len() > MAX_STATE {
        let size = bytes.len();
        return Err(Error::internal(format!(
            "the session's state has {size} bytes, of which the host keeps {MAX_STATE}"
        )));
    }
    Ok(bytes)
}

fn read_state<P: Sessions>(bytes: &[u8]) -> Result<P::State> {
    bytes.strip_prefix(&[P::STATE_VERSION]).and_then(|json| serde_json::from_slice(json).ok()).ok_or_else(|| {
        Error::unavailable(format!("the session was begun by another version of {}: begin it again", P::NAME))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Changes, Cursor, Deletion, Description, ErrorKind, Observation, Pod, Startup};

    /// Counts the bytes that come, and remembers as many.
    struct Counter;

    impl Provider for Counter {
        const NAME: &'static str = "counter";
        const VERSION: &'static str = "1";

        fn configure(_: Startup) -> Result<Self> {
            unreachable!()
        }
        fn describe(&self) -> Result<Description> {
            unreachable!()
        }
        fn create(&self, _: Pod) -> Result<Observation> {
            unreachable!()
        }
        fn delete(&self, _: PodId, _: Duration) -> Result<Deletion> {
            unreachable!()
        }
        fn get(&self, _: PodId) -> Result<Observation> {
            unreachable!()
        }
        fn poll(&self, _: Option<Cursor>) -> Result<Changes> {
            unreachable!()
        }
    }

    impl Sessions for Counter {
        type State = String;

        fn open(&self, _: PodId, _: Request) -> Result<Opened<String>> {
            Ok(Opened::unconnected(String::new()))
        }

        fn step(&self, _: &PodId, state: &mut String, events: Vec<Event>) -> Result<Vec<Action>> {
            for event in events {
                if let Event::Input(bytes) = event {
                    state.extend(bytes.iter().map(|_| 'x'));
                }
            }
            Ok(vec![Action::output(state.len().to_string())])
        }
    }

    fn pod() -> PodId {
        PodId { namespace: "d".into(), name: "p".into(), uid: "u".into(), handle: None }
    }

    fn input(state: &[u8], bytes: usize) -> Result<wit::Progress> {
        step(&Counter, &pod(), state, vec![Event::Input(vec![0; bytes])])
    }

    #[test]
    fn a_state_is_handed_on_from_step_to_step() {
        let begun = open(&Counter, pod(), Request::PortForward(80)).unwrap();
        assert_eq!(begun.state, b"\x01\"\"");
        let progress = input(&begun.state, 3).unwrap();
        assert_eq!(progress.actions, [Action::output("3")]);
        let progress = input(&progress.state.unwrap(), 2).unwrap();
        assert_eq!(progress.actions, [Action::output("5")]);
        // What has not changed is not sent again.
        assert_eq!(input(&progress.state.unwrap(), 0).unwrap().state, None);
    }

    #[test]
    fn a_state_of_another_version_or_of_too_many_bytes_ends_the_session() {
        for state in [&b""[..], b"\x02\"\"", b"\x01{"] {
            let error = input(state, 1).unwrap_err();
            assert_eq!(error.kind, ErrorKind::Unavailable);
            assert_eq!(error.message, "the session was begun by another version of counter: begin it again");
        }
        let fits = MAX_STATE - 3;
        assert_eq!(input(b"\x01\"\"", fits).unwrap().state.unwrap().len(), MAX_STATE);
        let error = input(b"\x01\"\"", fits + 1).unwrap_err();
        assert_eq!(error.message, "the session's state has 65537 bytes, of which the host keeps 65536");
    }

    #[test]
    fn what_is_longer_than_the_contract_can_say_is_cut() {
        assert_eq!(Action::wake_after(Duration::MAX), Action::WakeAfter(u32::MAX));
    }
}
