//! Exec and attach over a WebSocket: the streams are numbered channels.

use std::{future::Future, io};

use async_trait::async_trait;
use bytes::Bytes;
use futures::join;
use tokio::io::{AsyncRead, AsyncWrite};

use super::{Version, Wanted, resize::Resizes, status::status};
use crate::{
    Client, ClientEvent, ClientOutput, Outcome,
    input::{self, InputSender},
    streams::Streams,
    supervision::supervise,
    websocket::{self, CHUNK, Codec, Receiver, Sender, Violation},
};

const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const ERROR: u8 = 3;
const RESIZE: u8 = 4;
/// In version 5, what a message that ends a channel begins with.
const CLOSE: u8 = 0xff;

/// A version, and how its messages are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Dialect {
    version: Version,
    codec: Codec,
}

const fn dialect(version: Version, codec: Codec) -> Dialect {
    Dialect { version, codec }
}

/// The subprotocols that are spoken. The last is that of clients that name none.
pub(super) const PROTOCOLS: &[(&str, Dialect)] = &[
    (PREFERRED, dialect(Version::V5, Codec::Binary)),
    ("v4.channel.k8s.io", dialect(Version::V4, Codec::Binary)),
    ("v4.base64.channel.k8s.io", dialect(Version::V4, Codec::Base64)),
    ("channel.k8s.io", dialect(Version::V1, Codec::Binary)),
    ("base64.channel.k8s.io", dialect(Version::V1, Codec::Base64)),
    ("", dialect(Version::V1, Codec::Binary)),
];

/// A client that speaks it gets it, wherever in its list it stands.
pub(super) const PREFERRED: &str = "v5.channel.k8s.io";

/// Runs a session with the client of an upgraded connection, until both are over.
pub(super) async fn serve<Io, S, F>(io: Io, dialect: Dialect, wanted: Wanted, streams: &Streams, session: S)
where
    Io: AsyncRead + AsyncWrite + Unpin + Send,
    S: FnOnce(Client) -> F,
    F: Future<Output = ()> + Send + 'static,
{
    let Dialect { version, codec } = dialect;
    let (sender, outgoing) = websocket::outgoing();
    let (events, input) = input::channel();
    let output = Output { sender, codec, version, wanted };
    // Clients wait for a first message, which says that the streams stand.
    if output.send(output.first_channel(), &[]).await.is_err() {
        return;
    }
    let client = Client { input, output: Box::new(output) };
    let channels = Channels { codec, version, stdin: wanted.stdin, resizes: wanted.tty.then(Resizes::default), events };
    join!(websocket::run(io, channels, outgoing, streams), supervise(client, &streams.tasks, session));
}

/// Turns the client's messages into events.
struct Channels {
    codec: Codec,
    version: Version,
    /// Whether bytes of it are wanted, and it has not ended.
    stdin: bool,
    /// With a terminal.
    resizes: Option<Resizes>,
    events: InputSender,
}

impl Channels {
    async fn close(&mut self, message: &[u8]) -> Result<(), Violation> {
        match message {
            [CLOSE, STDIN] => {
                if std::mem::take(&mut self.stdin) {
                    self.events.send(ClientEvent::InputClosed).await;
                }
                Ok(())
            }
            [CLOSE, STDOUT..=RESIZE] => Ok(()),
            _ => Err(Violation::Protocol("a close takes the number of a channel, and nothing else")),
        }
    }
}

impl Receiver for Channels {
    async fn message(&mut self, payload: Bytes) -> Result<(), Violation> {
        if self.version == Version::V5 && payload.first() == Some(&CLOSE) {
            return self.close(&payload).await;
        }
        match self.codec.decode(payload)? {
            Some((STDIN, bytes)) if self.stdin => self.events.send_bytes(bytes).await,
            Some((RESIZE, bytes)) => {
                if let Some(size) = self.resizes.as_mut().and_then(|resizes| resizes.push(&bytes)) {
                    self.events.send(ClientEvent::Resized(size)).await;
                }
            }
            _ => {}
        }
        Ok(())
    }
}

struct Output {
    sender: Sender,
    codec: Codec,
    version: Version,
    wanted: Wanted,
}

impl Output {
    fn first_channel(&self) -> u8 {
        match self.wanted {
            Wanted { stdout: true, .. } => STDOUT,
            Wanted { stderr: true, .. } => STDERR,
            _ => ERROR,
        }
    }

    async fn send(&self, channel: u8, bytes: &[u8]) -> io::Result<()> {
        self.sender.send(self.codec.encode(channel, bytes)).await
    }

    async fn send_all(&self, channel: u8, bytes: &[u8]) -> io::Result<()> {
        for piece in bytes.chunks(CHUNK) {
            self.send(channel, piece).await?;
        }
        Ok(())
    }
}

#[async_trait]
impl ClientOutput for Output {
    async fn output(&mut self, bytes: Bytes) -> io::Result<()> {
        if self.wanted.stdout { self.send_all(STDOUT, &bytes).await } else { Ok(()) }
    }

    async fn error_output(&mut self, bytes: Bytes) -> io::Result<()> {
        if self.wanted.stderr { self.send_all(STDERR, &bytes).await } else { Ok(()) }
    }

    async fn finish(self: Box<Self>, outcome: Outcome) {
        if let Some(status) = status(&outcome, self.version) {
            self.sender.finish(self.codec.encode(ERROR, &status)).await;
        }
    }
}
