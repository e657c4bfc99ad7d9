//! Port-forward over the channels of a WebSocket: two for each port of the query, one for data and one for an error. Each
//! begins with the port that it is for. A port that nobody takes data for holds up the others, as in every server: the
//! protocol has nothing to tell it apart.

use std::{future::Future, io};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{future::join_all, join};
use tokio::io::{AsyncRead, AsyncWrite};

use super::{Forward, failure};
use crate::{
    Client, ClientOutput, Outcome,
    input::{self, InputSender},
    supervision::supervise,
    websocket::{self, CHUNK, Codec, Receiver, Sender, Violation},
};

/// The most ports of one connection: all that have channels, whatever the codec.
pub(crate) const MAX_PORTS: usize = Codec::Base64.channels() / 2;

/// Runs the sessions for the ports of an upgraded connection, at most [`MAX_PORTS`], until all are over.
pub(super) async fn serve<Io, S, F>(io: Io, codec: Codec, ports: Vec<u16>, forward: Forward<S>)
where
    Io: AsyncRead + AsyncWrite + Unpin + Send,
    S: Fn(u16, Client) -> F,
    F: Future<Output = ()> + Send + 'static,
{
    let (sender, outgoing) = websocket::outgoing();
    let mut ports_events = Vec::new();
    let mut sessions = Vec::new();
    for (port, data) in ports.into_iter().zip((0..=u8::MAX).step_by(2)) {
        let (events, input) = input::channel();
        ports_events.push(events);
        let failure = Box::new({
            let pod = forward.pod.clone();
            move |error: &_| failure(port, &pod, error)
        });
        let output = Output { sender: sender.clone(), codec, data, failure };
        let forward = &forward;
        sessions.push(async move {
            let port_bytes = port.to_le_bytes();
            for channel in [output.data, output.error()] {
                if output.sender.send(codec.encode(channel, &port_bytes)).await.is_err() {
                    return;
                }
            }
            let client = Client { input, output: Box::new(output) };
            supervise(client, &forward.streams.tasks, |client| (forward.session)(port, client)).await;
        });
    }
    drop(sender);
    let channels = Channels { codec, ports: ports_events };
    join!(websocket::run(io, channels, outgoing, &forward.streams), join_all(sessions));
}

/// Turns the client's messages into events.
struct Channels {
    codec: Codec,
    ports: Vec<InputSender>,
}

impl Receiver for Channels {
    async fn message(&mut self, payload: Bytes) -> Result<(), Violation> {
        if let Some((channel, bytes)) = self.codec.decode(payload)?
            && channel % 2 == 0
            && let Some(events) = self.ports.get(usize::from(channel / 2))
        {
            events.send_bytes(bytes).await;
        }
        Ok(())
    }
}

struct Output {
    sender: Sender,
    codec: Codec,
    /// The channel; the one after it is for an error.
    data: u8,
    failure: Box<dyn Fn(&vk_provider::Error) -> String + Send + Sync>,
}

impl Output {
    fn error(&self) -> u8 {
        self.data | 1
    }
}

#[async_trait]
impl ClientOutput for Output {
    async fn output(&mut self, bytes: Bytes) -> io::Result<()> {
        for piece in bytes.chunks(CHUNK) {
            self.sender.send(self.codec.encode(self.data, piece)).await?;
        }
        Ok(())
    }

    async fn error_output(&mut self, _: Bytes) -> io::Result<()> {
        Ok(())
    }

    async fn finish(self: Box<Self>, outcome: Outcome) {
        if let Outcome::Failed(error) = outcome {
            let message = self.codec.encode(self.error(), (self.failure)(&error).as_bytes());
            self.sender.finish(message).await;
        }
    }
}
