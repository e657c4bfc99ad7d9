//! Exec and attach over SPDY: the client makes a stream for each of what it wants.

use std::{
    collections::HashMap,
    future::{Future, pending},
    io,
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::join;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    select,
    sync::oneshot,
    time::timeout,
};

use super::{Version, Wanted, resize::Resizes, status::status};
use crate::{
    Client, ClientEvent, ClientOutput, Outcome,
    events::{Events, events},
    spdy::{Accept, Connection, Incoming, Reader, Status, StreamError, Writer},
    streams::{CLOSE, Streams},
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
    let (events, input) = events();
    let (finished, is_finished) = oneshot::channel();
    let output = Output { version, writers: made.writers, finished };
    let client = Client { input, output: Box::new(output) };
    join!(read(stdin, resize, events, &connection), async {
        supervise(client, &streams.tasks, session).await;
        // Dropped too early, they would have the streams reset.
        let _writers = is_finished.await;
        // The client closes when it has all. It is not told to go away before that.
        let _ = timeout(CLOSE, connection.closed()).await;
        streams.close(&connection).await;
    });
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
async fn read(mut stdin: Option<Reader>, mut resize: Option<Reader>, events: Events, connection: &Connection) {
    let mut resizes = Resizes::new();
    loop {
        select! {
            // What came before the end is not lost.
            biased;
            piece = next(&mut resize) => match piece {
                Ok(piece) => if let Some(size) = resizes.push(&piece) {
                    events.emit(ClientEvent::Resized(size)).await;
                },
                Err(_) => resize = None,
            },
            piece = next(&mut stdin) => match piece {
                Ok(piece) => events.emit_input(piece).await,
                Err(Some(StreamError::Connection(_))) => return,
                Err(_) => {
                    stdin = None;
                    events.emit(ClientEvent::InputClosed).await;
                }
            },
            _ = connection.closed() => return,
        }
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
    /// Takes the streams when all is written.
    finished: oneshot::Sender<Writers>,
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
        let Self { version, writers: Writers { mut error, mut stdin, mut stdout, mut stderr, mut resize }, finished } =
            *self;
        for writer in [&mut stdout, &mut stderr].into_iter().flatten() {
            writer.finish();
        }
        if let Some(status) = status(&outcome, version) {
            // Fails only if the client is gone.
            let _ = error.write(status).await;
        }
        error.finish();
        // kubectl reads its input until the stream that takes it ends.
        for writer in [&mut stdin, &mut resize].into_iter().flatten() {
            writer.finish();
        }
        let _ = finished.send(Writers { error, stdin, stdout, stderr, resize });
    }
}
