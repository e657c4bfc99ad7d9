//! A connection at work: whole messages both ways, and the close.

use std::{convert::Infallible, future::Future, io, time::Duration};

use bytes::Bytes;
use futures::{Sink, SinkExt, Stream, StreamExt};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    select,
    sync::mpsc,
    time::{MissedTickBehavior, interval, sleep, timeout},
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Error, Message,
        error::ProtocolError,
        protocol::{CloseFrame, Role, frame::coding::CloseCode},
    },
};
use tokio_util::sync::CancellationToken;

use super::{Violation, close, config, normal};
use crate::streams::{Activity, CLOSE, DRAIN, Streams, drained};

/// Messages that wait while one is sent.
const QUEUE: usize = 4;
/// A pong goes out this often. kubectl gives up on a server that sends none for a minute, and those that answer its
/// pings wait behind input that nobody takes.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// Takes what comes.
pub(crate) trait Receiver: Send {
    /// Takes the payload of a message, text or binary. Until it is done, nothing more is read.
    fn message(&mut self, payload: Bytes) -> impl Future<Output = Result<(), Violation>> + Send;
}

/// Sends messages. When the last clone is gone, the connection is closed.
#[derive(Clone)]
pub(crate) struct Sender {
    messages: mpsc::Sender<Message>,
    alive: mpsc::Sender<Infallible>,
}

impl Sender {
    /// Sends a message, when those before it are out.
    pub(crate) async fn send(&self, message: Message) -> io::Result<()> {
        self.messages.send(message).await.map_err(|_| io::ErrorKind::BrokenPipe.into())
    }

    /// Sends a last message, if it goes out in time, and is gone.
    pub(crate) async fn finish(self, message: Message) {
        let Self { messages, alive } = self;
        drop(alive);
        // If nobody takes it, the connection is broken or about to be cut: there is nothing more to do.
        let _ = timeout(DRAIN, messages.send(message)).await;
    }
}

/// What the senders of a connection send.
pub(crate) struct Outgoing {
    messages: mpsc::Receiver<Message>,
    alive: mpsc::Receiver<Infallible>,
}

/// The way out of a connection.
pub(crate) fn outgoing() -> (Sender, Outgoing) {
    let (messages, messages_out) = mpsc::channel(QUEUE);
    let (alive, all_gone) = mpsc::channel(1);
    (Sender { messages, alive }, Outgoing { messages: messages_out, alive: all_gone })
}

/// Serves an upgraded connection until it is over: all senders are gone and the close is done, the peer has closed, it
/// broke a rule, or was idle for too long. Both `receiver` and the way out are dropped as soon as the end has begun.
///
/// A peer that was sent all has its time to take it and to close, unless it falls silent: one that is slow to take it
/// still pings, and a socket that is dropped with pings unread would throw away what is on its way.
pub(crate) async fn run<Io>(io: Io, receiver: impl Receiver, outgoing: Outgoing, streams: &Streams)
where
    Io: AsyncRead + AsyncWrite + Unpin + Send,
{
    let (mut sink, mut stream) = WebSocketStream::from_raw_socket(io, Role::Server, Some(config())).await.split();
    let Outgoing { messages, alive } = outgoing;
    let activity = Activity::new();
    let last = select! {
        last = read(&mut stream, receiver, &activity) => last,
        last = write(&mut sink, messages, &activity) => last,
        // A peer that takes nothing takes no close either.
        () = overdue(alive, &streams.stop) => return,
        () = activity.idle(streams.limits.idle) => Some(Message::Close(Some(close(CloseCode::Away, "idle for too long")))),
    };
    let is_complete = last == Some(normal());
    let end = async {
        if let Some(last) = last
            && sink.send(last).await.is_ok()
        {
            while let Ok(Some(Ok(_))) = timeout(CLOSE, stream.next()).await {}
        }
        if let Ok(socket) = sink.reunite(stream) {
            linger(socket.into_inner()).await;
        }
    };
    select! {
        () = end => {}
        () = drained(&streams.stop), if is_complete => {}
        () = sleep(CLOSE), if !is_complete => {}
    }
}

/// Reads until the peer is gone, or has broken a rule: yields the close frame that says which.
async fn read<S>(stream: &mut S, mut receiver: impl Receiver, activity: &Activity) -> Option<Message>
where
    S: Stream<Item = Result<Message, Error>> + Unpin,
{
    let end = |frame: CloseFrame| Some(Message::Close(Some(frame)));
    while let Some(message) = stream.next().await {
        activity.note();
        match message {
            Ok(message @ (Message::Text(_) | Message::Binary(_))) => {
                if let Err(violation) = receiver.message(message.into_data()).await {
                    return end(violation.into());
                }
            }
            // Answered by the next read.
            Ok(_) => {}
            Err(Error::Capacity(_)) => return end(close(CloseCode::Size, "message too long")),
            Err(Error::Utf8(_)) => return end(close(CloseCode::Invalid, "text that is not UTF-8")),
            Err(Error::Protocol(ProtocolError::ResetWithoutClosingHandshake)) => return None,
            Err(Error::Protocol(_)) => return end(close(CloseCode::Protocol, "malformed frame")),
            Err(_) => return None,
        }
    }
    None
}

/// Writes until nobody sends any more, or the connection breaks: then there is no last message.
async fn write<S>(sink: &mut S, mut messages: mpsc::Receiver<Message>, activity: &Activity) -> Option<Message>
where
    S: Sink<Message> + Unpin,
{
    let mut heartbeat = interval(HEARTBEAT);
    heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    heartbeat.reset();
    loop {
        let message = select! {
            message = messages.recv() => message,
            _ = heartbeat.tick() => Some(Message::Pong(Bytes::new())),
        };
        let Some(message) = message else { return Some(normal()) };
        let is_data = !message.is_pong();
        // Answers to pings may be waiting in the buffer, which then has no room for the message.
        sink.flush().await.ok()?;
        sink.send(message).await.ok()?;
        if is_data {
            activity.note();
        }
    }
}

/// Is over when what was left to send when the last sender went has had its time.
async fn overdue(mut alive: mpsc::Receiver<Infallible>, stop: &CancellationToken) {
    while alive.recv().await.is_some() {}
    drained(stop).await;
}

/// Ends the stream, and drops it only when the peer has ended it too: bytes of the peer that nobody has read would make
/// TCP throw away what is still on its way to it.
async fn linger(mut io: impl AsyncRead + AsyncWrite + Unpin) {
    if io.shutdown().await.is_ok() {
        let mut rest = [0; 256];
        while let Ok(Ok(1..)) = timeout(CLOSE, io.read(&mut rest)).await {}
    }
}
