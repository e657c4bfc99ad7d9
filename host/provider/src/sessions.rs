//! Exec, attach and port-forward: the provider translates between a client and its backend, the caller owns both
//! connections and keeps the session's state.

use std::{fmt, io, pin::Pin, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use futures_core::Stream;
use futures_sink::Sink;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::{Error, PodId, Result};

/// Translates sessions. Any instance of the provider may take the next step: what a session needs is in its state.
///
/// # Errors
///
/// A provider that does not export the interface fails with [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported).
#[async_trait]
pub trait Sessions: Send + Sync {
    /// Begins a session: says how the backend is reached.
    async fn open(&self, pod: &PodId, request: &SessionRequest) -> Result<Opened>;

    /// Connects to the backend, inside the operator's grants. [`Transport::None`] connects to nothing, and is
    /// [`Connection::None`] with an empty answer.
    async fn dial(&self, transport: &Transport) -> Result<Dialled>;

    /// Hands the events that are waiting to the provider, in order, and yields what is to be done, in order. The caller
    /// sees to it that the steps of one session never overlap.
    async fn step(&self, pod: &PodId, state: &[u8], events: Vec<SessionEvent>) -> Result<Progress>;
}

/// The most bytes of a session's state.
pub const MAX_SESSION_STATE: usize = 64 << 10;

/// What the provider keeps of a session.
pub type SessionState = Vec<u8>;

/// The size of a terminal, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TerminalSize {
    /// Its width.
    pub columns: u16,
    /// Its height.
    pub rows: u16,
}

/// What a client asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SessionRequest {
    /// Run a command in a container.
    Exec(Exec),
    /// Join what a container runs.
    Attach(Attach),
    /// Connect to a port of the pod, from 1.
    PortForward(u16),
}

/// A command to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exec {
    /// Where.
    pub container: String,
    /// The program and its arguments; never empty.
    pub command: Vec<String>,
    /// Whether input will come.
    pub stdin: bool,
    /// With a terminal of this size. The size is a guess until the first [`SessionEvent::Resized`].
    pub tty: Option<TerminalSize>,
}

/// What to join.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attach {
    /// Which container.
    pub container: String,
    /// Whether input will come.
    pub stdin: bool,
    /// As in [`Exec::tty`].
    pub tty: Option<TerminalSize>,
}

/// A session that has begun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    /// What the provider keeps.
    pub state: SessionState,
    /// How the backend is reached.
    pub transport: Transport,
}

/// How a session's backend is reached. Unchecked: [`Sessions::dial`] says what it does not take.
#[derive(Clone, PartialEq, Eq)]
pub enum Transport {
    /// `ws` or `wss`.
    WebSocket {
        /// The URL.
        url: String,
        /// Headers beside those of the handshake.
        headers: Vec<(String, String)>,
        /// Subprotocols to offer, the preferred one first.
        protocols: Vec<String>,
    },
    /// An HTTP/1.1 upgrade whose connection then carries raw bytes.
    Upgrade {
        /// The method.
        method: String,
        /// The URL.
        url: String,
        /// Headers beside those of the upgrade.
        headers: Vec<(String, String)>,
        /// The body.
        body: Vec<u8>,
        /// What to upgrade to, as in the header `Upgrade`.
        protocol: String,
    },
    /// A TCP connection.
    Tcp {
        /// A name or an address.
        host: String,
        /// The port.
        port: u16,
    },
    /// Nothing: the provider does it all by itself.
    None,
}

/// Headers and bodies hold credentials, and so may URLs: only what a connection is made to is shown.
impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = |url: &str| url.split(['?', '#']).next().unwrap_or_default().to_owned();
        match self {
            Self::WebSocket { url, protocols, .. } => {
                f.debug_struct("WebSocket").field("url", &place(url)).field("protocols", protocols).finish()
            }
            Self::Upgrade { method, url, protocol, .. } => f
                .debug_struct("Upgrade")
                .field("method", method)
                .field("url", &place(url))
                .field("protocol", protocol)
                .finish(),
            Self::Tcp { host, port } => f.debug_struct("Tcp").field("host", host).field("port", port).finish(),
            Self::None => f.write_str("None"),
        }
    }
}

/// What the backend said when it was connected to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status; 0 where the transport has none.
    pub status: u16,
    /// The headers.
    pub headers: Vec<(String, String)>,
    /// The body, with [`Dialled::Refused`]: its beginning.
    pub body: Vec<u8>,
}

/// How dialling ended.
pub enum Dialled {
    /// The connection stands.
    Opened(Answer, Connection),
    /// The backend answered, but does not take the connection.
    Refused(Answer),
}

/// A connection to a session's backend. Dropped, it is closed.
pub enum Connection {
    /// Messages.
    WebSocket(Pin<Box<dyn MessageChannel>>),
    /// Bytes. Shutting down the writing side is a half close.
    Bytes(Box<dyn ByteChannel>),
    /// There is none.
    None,
}

/// A message of a WebSocket. Control frames but the close are the channel's own business.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// UTF-8.
    Text(String),
    /// Bytes.
    Binary(Bytes),
    /// The other side is done. Sent, it begins the close.
    Close(Ending),
}

/// How a connection ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ending {
    /// The WebSocket close code.
    pub code: Option<u16>,
    /// For people; may be empty.
    pub reason: String,
}

/// A WebSocket's messages, both ways. Its stream ends after [`Message::Close`] or an error.
pub trait MessageChannel: Stream<Item = io::Result<Message>> + Sink<Message, Error = io::Error> + Send {}

impl<T: Stream<Item = io::Result<Message>> + Sink<Message, Error = io::Error> + Send> MessageChannel for T {}

/// Bytes both ways.
pub trait ByteChannel: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> ByteChannel for T {}

/// What happened in a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SessionEvent {
    /// The backend's connection stands.
    Opened(Answer),
    /// The backend answered, but does not take the connection.
    Refused(Answer),
    /// A text message from the backend.
    Text(String),
    /// Bytes or a binary message from the backend.
    Binary(Vec<u8>),
    /// The backend is done.
    Disconnected(Ending),
    /// From the client.
    Input(Vec<u8>),
    /// The client sends nothing more.
    InputClosed,
    /// The client's terminal has this size.
    Resized(TerminalSize),
    /// The timer has run out.
    Woken,
    /// The client has gone: the last event.
    Abandoned,
}

/// What is to be done in a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Send a text message to the backend.
    SendText(String),
    /// Send bytes or a binary message to the backend.
    SendBinary(Vec<u8>),
    /// Send nothing more: a half close, on a WebSocket a close frame.
    CloseSend,
    /// To the client's standard output, or through the forwarded port.
    Output(Vec<u8>),
    /// To the client's standard error.
    ErrorOutput(Vec<u8>),
    /// From here on, copy bytes both ways; steps see only the other events.
    Relay,
    /// Wake the provider after this, and not at the time that was set before.
    WakeAfter(Duration),
    /// The session is over; for exec, with this exit code.
    Exit(i32),
    /// The session failed.
    Fail(Error),
}

/// The outcome of a step.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Progress {
    /// What the provider keeps; `None`: as before.
    pub state: Option<SessionState>,
    /// What to do.
    pub actions: Vec<Action>,
}
