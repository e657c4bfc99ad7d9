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
    Forward, Place, failure,
    pairs::{Halves, Pair, Pairs},
};
use crate::{
    Client, ClientEvent, ClientOutput, Outcome,
    input::{self, InputSender},
    spdy::{Connection, Reader, Writer},
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
    let mut pairs = Pairs::new(streams.limits.creation);
    let running = TaskTracker::new();
    loop {
        select! {
            stream = accept.next() => match stream.map(|stream| pairs.accept(stream)) {
                Some(None) => {}
                Some(Some(pair)) => match forward.places.take() {
                    Some(place) => {
                        let pair = run(pair, forward.clone(), place);
                        streams.tasks.spawn(running.track_future(pair));
                    }
                    None => pair.refuse(),
                },
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

/// Runs the session for a pair, and holds its streams and its place until both sides are done with them.
async fn run<S, F>(pair: Pair<Halves>, forward: Arc<Forward<S>>, _place: Place)
where
    S: Fn(u16, Client) -> F,
    F: Future<Output = ()> + Send + 'static,
{
    // Nothing is expected on the error stream: dropping its reader drops what comes.
    let Pair { port, data: Halves { mut reader, writer: data }, error: Halves { writer: error, .. } } = pair;
    let (events, input) = input::channel();
    let (finished, is_finished) = oneshot::channel();
    let pod = forward.pod.clone();
    let failure = Box::new(move |error: &_| failure(port, &pod, error));
    let output = Output { data, error, failure, finished };
    let client = Client { input, output: Box::new(output) };

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
            () = reader.broken() => {}
            _ = &mut session => return,
        }
    }
    drop(events);
    // The client does not need its streams any more, but its connection goes on.
    let _ = session.await;
}

/// How the client's half of a connection ended.
enum End {
    /// It sends no more, and still takes what comes.
    Finished,
    Broken,
}

async fn read(reader: &mut Reader, events: &InputSender) -> End {
    loop {
        let Ok(piece) = reader.read().await else { return End::Broken };
        let is_end = piece.is_none();
        let sending = async {
            match piece {
                Some(bytes) => events.send_bytes(bytes).await,
                None => events.send(ClientEvent::InputClosed).await,
            }
        };
        // The client may go while the session takes nothing.
        select! {
            biased;
            () = sending => if is_end {
                return End::Finished;
            },
            () = reader.broken() => return End::Broken,
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
        // A text makes kubectl end all of its connections. One that it has reset, since whoever it forwards for went
        // away, is no failure, and it reads the error stream even then.
        if let Outcome::Failed(failed) = outcome
            && !data.is_reset()
        {
            // Fails if the client is gone, or reset this stream too: there is nobody to tell.
            let _ = error.write(failure(&failed).into()).await;
        }
        data.finish();
        error.finish();
        let _ = finished.send([data, error]);
    }
}
