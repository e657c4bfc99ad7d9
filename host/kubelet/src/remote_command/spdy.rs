//! Exec and attach over SPDY: the client makes a stream for each of what it wants.

use std::{
    collections::HashMap,
    future::{Future, pending},
    io,
};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    select,
    sync::oneshot,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use super::{Version, Wanted, resize::Resizes, status::status};
use crate::{
    Client, ClientEvent, ClientOutput, Outcome,
    input::{self, InputSender},
    spdy::{Accept, Connection, Incoming, Reader, Status, StreamError, Writer},
    streams::{CLOSE, Streams, drained},
    supervision::supervise,
};

/// The protocols that are spoken.
pub(super) const PROTOCOLS: &[(&str, Version)] = &[
    ("v4.channel.k8s.io", Version::V4),
    ("v3.channel.k8s.io", Version::V3),
    ("v2.channel.k8s.io", Version::V2),
    ("channel.k8s.io", Version::V1),
];

/// All that a client can make.
const MAX_STREAMS: usize = 5;

/// Runs a session with the client of an upgraded connection, until both are over.
pub(super) async fn serve<Io, S, F>(io: Io, version: Version, wanted: Wanted, streams: &Streams, session: S)
where
    Io: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: FnOnce(Client) -> F,
    F: Future<Output = ()> + Send + 'static,
{
    let (connection, accept) = Connection::new(io, streams.spdy_limits(MAX_STREAMS));
    let Ok(Some(made)) = timeout(streams.limits.creation, collect(accept, wanted, version)).await else {
        tracing::debug!("a client of exec or attach did not create its streams in time");
        return streams.close(&connection).await;
    };
    let Readers { stdin, resize } = made.readers;
    let (events, input) = input::channel();
    let (finished, is_finished) = oneshot::channel();
    let output = Output { version, writers: made.writers, finished };
    let client = Client { input, output: Box::new(output) };
    let reading = async {
        read(stdin, resize, events, &connection).await;
        pending().await
    };
    let session = async {
        supervise(client, &streams.tasks, session).await;
        let Ok(mut ending) = is_finished.await else { return };
        if !ending.write(&streams.stop).await {
            tracing::debug!("a client of exec or attach did not take its output in time");
            return;
        }
        // The client closes when it has all. It is not told to go away before that.
        let _ = timeout(CLOSE, connection.closed()).await;
        streams.close(&connection).await;
    };
    select! {
        () = reading => {}
        () = session => {}
    }
}

/// The streams that a client made. What it sends on those of output and of the error is not read.
struct Made {
    readers: Readers,
    writers: Writers,
}

struct Readers {
    stdin: Option<Reader>,
    resize: Option<Reader>,
}

struct Writers {
    error: Writer,
    stdin: Option<Writer>,
    stdout: Option<Writer>,
    stderr: Option<Writer>,
    resize: Option<Writer>,
}

/// Waits for all streams that a client is to make, and resets those that it is not to. `None` if it makes no more.
async fn collect(mut accept: Accept, wanted: Wanted, version: Version) -> Option<Made> {
    let is_wanted = |kind: &str| match kind {
        "stdin" => wanted.stdin,
        "stdout" => wanted.stdout,
        "stderr" => wanted.stderr,
        "resize" => wanted.tty && version >= Version::V3,
        _ => true,
    };
    let mut missing = ["error", "stdin", "stdout", "stderr", "resize"].to_vec();
    missing.retain(|kind| is_wanted(kind));
    let mut made = HashMap::new();
    while !missing.is_empty() {
        let Incoming { headers, reader, mut writer, .. } = accept.next().await?;
        match missing.iter().position(|kind| headers.get("streamtype") == Some(kind)) {
            Some(index) => {
                made.insert(missing.swap_remove(index), (reader, writer));
            }
            None => writer.reset(Status::PROTOCOL_ERROR),
        }
    }
    let mut take = |kind| made.remove(kind).unzip();
    let (_, error) = take("error");
    let ((stdin_reader, stdin), (resize_reader, resize)) = (take("stdin"), take("resize"));
    let ((_, stdout), (_, stderr)) = (take("stdout"), take("stderr"));
    Some(Made {
        readers: Readers { stdin: stdin_reader, resize: resize_reader },
        writers: Writers { error: error?, stdin, stdout, stderr, resize },
    })
}

/// Reads what the client sends, until the connection ends.
async fn read(mut stdin: Option<Reader>, mut resize: Option<Reader>, events: InputSender, connection: &Connection) {
    let mut resizes = Resizes::default();
    loop {
        select! {
            // What came before the end is not lost.
            biased;
            piece = next(&mut resize) => match piece {
                Ok(piece) => if let Some(size) = resizes.push(&piece) {
                    taken(events.send(ClientEvent::Resized(size)), connection).await;
                },
                Err(_) => resize = None,
            },
            piece = next(&mut stdin) => match piece {
                Ok(piece) => taken(events.send_bytes(piece), connection).await,
                Err(Some(StreamError::Connection(_))) => return,
                Err(_) => {
                    stdin = None;
                    taken(events.send(ClientEvent::InputClosed), connection).await;
                }
            },
            _ = connection.closed() => return,
        }
    }
}

/// Waits until the session has taken something, unless the client goes before.
async fn taken(sending: impl Future<Output = ()>, connection: &Connection) {
    select! {
        biased;
        () = sending => {}
        _ = connection.closed() => {}
    }
}

/// The next bytes of a stream, or why there are no more: `None` at its end. Waits forever where there is no stream.
async fn next(reader: &mut Option<Reader>) -> Result<Bytes, Option<StreamError>> {
    match reader {
        Some(reader) => reader.read().await?.ok_or(None),
        None => pending().await,
    }
}

struct Output {
    version: Version,
    writers: Writers,
    /// Takes the streams when all output is written.
    finished: oneshot::Sender<Ending>,
}

/// The end of the streams.
struct Ending {
    writers: Writers,
    status: Option<Bytes>,
}

impl Ending {
    /// Ends the streams of output, and once that is sent the others: clients before version 4 leave as soon as the one
    /// for errors ends, whatever is still on the way. False if the client did not take its output in its time.
    async fn write(&mut self, stop: &CancellationToken) -> bool {
        let Writers { error, stdin, stdout, stderr, resize } = &mut self.writers;
        let mut outputs: Vec<&mut Writer> = [stdout, stderr].into_iter().flatten().collect();
        outputs.iter_mut().for_each(|writer| writer.finish());
        let sent = async {
            for writer in outputs {
                writer.sent().await;
            }
        };
        select! {
            () = sent => {}
            () = drained(stop) => return false,
        }
        if let Some(status) = self.status.take() {
            // Fails if the client is gone, or reset this stream: there is nobody to tell.
            let _ = error.write(status).await;
        }
        error.finish();
        // kubectl reads its input until the stream that takes it ends.
        for writer in [stdin, resize].into_iter().flatten() {
            writer.finish();
        }
        true
    }
}

/// Writes to a stream that the client may not have asked for.
async fn write(writer: &mut Option<Writer>, bytes: Bytes) -> io::Result<()> {
    match writer {
        Some(writer) => writer.write(bytes).await.map_err(io::Error::other),
        None => Ok(()),
    }
}

#[async_trait]
impl ClientOutput for Output {
    async fn output(&mut self, bytes: Bytes) -> io::Result<()> {
        write(&mut self.writers.stdout, bytes).await
    }

    async fn error_output(&mut self, bytes: Bytes) -> io::Result<()> {
        write(&mut self.writers.stderr, bytes).await
    }

    async fn finish(self: Box<Self>, outcome: Outcome) {
        let Self { version, writers, finished } = *self;
        // Nobody takes it any more if the whole program stops.
        let _ = finished.send(Ending { writers, status: status(&outcome, version) });
    }
}
