//! Port-forward over SPDY: a connection is a pair of streams, and there may be many for hours.

use std::{future::Future, io, pin::pin, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    select,
    sync::oneshot,
    time::timeout,
};
use tokio_util::task::TaskTracker;

use super::{
    Forward, failure,
    pairs::{Pair, Pairs},
};
use crate::{
    Client, ClientEvent, ClientOutput, Outcome,
    events::{Events, events},
    spdy::{Connection, Incoming, Reader, Writer},
    streams::CLOSE,
    supervision::supervise,
};

/// Connections to ports at once. More are refused.
const MAX_PAIRS: usize = 512;

/// Runs the sessions for the pairs of an upgraded connection, until it is over.
pub(super) async fn serve<Io, S, F>(io: Io, forward: Arc<Forward<S>>)
where
    Io: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: Fn(u16, Client) -> F + Send + Sync + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let streams = &forward.streams;
    let (connection, mut accept) = Connection::new(io, streams.spdy_limits(2 * MAX_PAIRS));
    let connection = Arc::new(connection);
    let mut pairs = Pairs::new(streams.limits.creation);
    let running = TaskTracker::new();
    loop {
        select! {
            stream = accept.next() => match stream.map(|stream| pairs.accept(stream)) {
                Some(None) => {}
                Some(Some(pair)) => {
                    let pair = run(pair, forward.clone(), connection.clone());
                    streams.tasks.spawn(running.track_future(pair));
                }
                None => break,
            },
            () = pairs.expire() => {}
            () = streams.stop.cancelled() => break,
        }
    }
    drop(accept);
    drop(pairs);
    running.close();
    running.wait().await;
    streams.close(&connection).await;
}

/// Runs the session for a pair, and holds its streams until both sides are done with them.
async fn run<S, F>(pair: Pair<Incoming>, forward: Arc<Forward<S>>, connection: Arc<Connection>)
where
    S: Fn(u16, Client) -> F,
    F: Future<Output = ()> + Send + 'static,
{
    let Pair { port, data, error } = pair;
    let (events, input) = events();
    let (finished, is_finished) = oneshot::channel();
    let pod = forward.pod.clone();
    let failure = Box::new(move |error: &_| failure(port, &pod, error));
    let output = Output { data: data.writer, error: error.writer, failure, finished };
    let client = Client { input, output: Box::new(output) };

    let mut reader = data.reader;
    let mut session = pin!(async {
        supervise(client, &forward.streams.tasks, |client| (forward.session)(port, client)).await;
        is_finished.await
    });
    let end = select! {
        end = read(&mut reader, &events) => end,
        written = &mut session => {
            // kubectl resets its half when it has seen the end of ours.
            let _ = timeout(CLOSE, read(&mut reader, &events)).await;
            drop(written);
            return;
        }
    };
    if matches!(end, End::Finished) {
        select! {
            _ = connection.closed() => {}
            _ = &mut session => return,
        }
    }
    drop(events);
    // Its streams are of no more use.
    let _ = session.await;
}

/// How the client's half of a connection ended.
enum End {
    /// It sends no more, and still takes what comes.
    Finished,
    Broken,
}

async fn read(reader: &mut Reader, events: &Events) -> End {
    loop {
        match reader.read().await {
            Ok(Some(bytes)) => events.emit_input(bytes).await,
            Ok(None) => {
                events.emit(ClientEvent::InputClosed).await;
                return End::Finished;
            }
            Err(_) => return End::Broken,
        }
    }
}

struct Output {
    data: Writer,
    error: Writer,
    failure: Box<dyn Fn(&vk_provider::Error) -> String + Send + Sync>,
    /// Takes the streams when all is written.
    finished: oneshot::Sender<[Writer; 2]>,
}

#[async_trait]
impl ClientOutput for Output {
    async fn output(&mut self, bytes: Bytes) -> io::Result<()> {
        self.data.write(bytes).await.map_err(io::Error::other)
    }

    async fn error_output(&mut self, _: Bytes) -> io::Result<()> {
        Ok(())
    }

    async fn finish(self: Box<Self>, outcome: Outcome) {
        let Self { mut data, mut error, failure, finished } = *self;
        if let Outcome::Failed(failed) = outcome {
            // Fails only if the client is gone.
            let _ = error.write(failure(&failed).into()).await;
        }
        data.finish();
        error.finish();
        let _ = finished.send([data, error]);
    }
}
