//! The streams of a connection: what the driver and the handles share.

mod driver_side;
mod handle_side;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Waker},
};

use bytes::BytesMut;

use super::{Ended, Headers, Limits, Status, frame, header_block::EmptyBlocks, pieces::Pieces};

/// Bytes of one data frame that is sent, at most: a stream waits for no more than such a frame of each other stream,
/// after the one that is being written.
pub(super) const CHUNK: usize = 32 * 1024;

/// Bytes that wait to be sent on a stream, at which its writer waits; the write that reaches it is taken whole.
const SENDING: usize = CHUNK;

/// Bytes of answers that are unsent, at which no more frames are looked at: the peer asks faster than it listens.
const ANSWERS: usize = 4096;

/// Streams that wait to be accepted, at which no more frames are looked at.
const ARRIVALS: usize = 16;

/// [`Streams`], where the driver and the handles find it.
#[derive(Debug, Clone)]
pub(super) struct Shared(Arc<Mutex<Streams>>);

impl Shared {
    pub(super) fn new(limits: Limits) -> Self {
        Self(Arc::new(Mutex::new(Streams::new(limits))))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Streams> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is known of a connection's streams.
#[derive(Debug)]
pub(super) struct Streams {
    limits: Limits,
    open: BTreeMap<u32, Stream>,
    /// The last stream of the peer that was accepted.
    last_good: u32,
    /// Streams that nobody has accepted yet.
    arrivals: VecDeque<(u32, Headers)>,
    /// Whether more streams are wanted from here.
    accepting: bool,
    /// Whether the peer said that it opens no more.
    peer_leaves: bool,
    /// Whether it is being closed from here: what is sent is still sent, what is received is dropped.
    closing: bool,
    /// Why nothing works any more.
    ended: Option<Ended>,
    /// Bytes received and not read, on all streams, and how many streams have reached their limit.
    received: usize,
    full: usize,
    /// Streams that have something to send, each once, in the order in which it is their turn.
    turns: VecDeque<u32>,
    /// Control frames to send.
    answers: BytesMut,
    blocks: EmptyBlocks,
    driver: Option<Waker>,
    acceptor: Option<Waker>,
}

#[derive(Debug)]
struct Stream {
    received: Pieces,
    /// The peer sends no more.
    received_all: bool,
    reader: Handle,
    sending: Pieces,
    /// How far the end of what is sent has come.
    output: Output,
    writer: Handle,
    /// Whether it waits for its turn.
    has_turn: bool,
    reset: Option<Status>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Output {
    Open,
    /// The writer said that it was all; the peer does not know yet.
    Finishing,
    Finished,
}

/// One of the two handles of a stream.
#[derive(Debug, Default)]
struct Handle {
    waker: Option<Waker>,
    dropped: bool,
}

fn wake(waker: &mut Option<Waker>) {
    if let Some(waker) = waker.take() {
        waker.wake();
    }
}

fn remember(waker: &mut Option<Waker>, context: &Context<'_>) {
    match waker {
        Some(waker) => waker.clone_from(context.waker()),
        None => *waker = Some(context.waker().clone()),
    }
}

impl Stream {
    fn new(received_all: bool, output: Output) -> Self {
        Self {
            received: Pieces::default(),
            received_all,
            reader: Handle::default(),
            sending: Pieces::default(),
            output,
            writer: Handle::default(),
            has_turn: false,
            reset: None,
        }
    }

    /// Whether neither side sends anything any more.
    fn is_over(&self) -> bool {
        self.reset.is_some() || (self.received_all && self.output == Output::Finished)
    }

    fn is_abandoned(&self) -> bool {
        self.reader.dropped && self.writer.dropped
    }
}

impl Streams {
    fn new(limits: Limits) -> Self {
        Self {
            limits,
            open: BTreeMap::new(),
            last_good: 0,
            arrivals: VecDeque::new(),
            accepting: true,
            peer_leaves: false,
            closing: false,
            ended: None,
            received: 0,
            full: 0,
            turns: VecDeque::new(),
            answers: BytesMut::new(),
            blocks: EmptyBlocks::default(),
            driver: None,
            acceptor: None,
        }
    }
}

impl Streams {
    fn take_turn(&mut self, id: u32) {
        let Some(stream) = self.open.get_mut(&id) else { return };
        if !stream.has_turn {
            stream.has_turn = true;
            self.turns.push_back(id);
        }
        wake(&mut self.driver);
    }

    fn end_stream(&mut self, id: u32, status: Status, keep_received: bool) {
        let Some(stream) = self.open.get_mut(&id) else { return };
        stream.reset = Some(status);
        stream.sending = Pieces::default();
        wake(&mut stream.reader.waker);
        wake(&mut stream.writer.waker);
        if !keep_received {
            self.drop_received(id);
        }
        self.settle(id);
    }

    /// Drops what was received on a stream and not read.
    fn drop_received(&mut self, id: u32) {
        let Some(stream) = self.open.get_mut(&id) else { return };
        let received = std::mem::take(&mut stream.received);
        self.full -= usize::from(received.len() >= self.limits.stream_buffer);
        self.received -= received.len();
        wake(&mut self.driver);
    }

    /// Forgets a stream that nobody holds, once it is over. If it can only go on by what the peer sends, which nobody
    /// would read, it is reset.
    fn settle(&mut self, id: u32) {
        let Some(stream) = self.open.get(&id).filter(|stream| stream.is_abandoned()) else { return };
        let is_over = stream.is_over() || self.ended.is_some();
        if !is_over && stream.output == Output::Finishing {
            return;
        }
        self.open.remove(&id);
        if !is_over {
            frame::put_rst_stream(&mut self.answers, id, Status::CANCEL);
            wake(&mut self.driver);
        }
    }
}

#[cfg(test)]
impl Streams {
    /// Bytes that are held for the peer: received, to send, and answers.
    pub(super) fn held(&self) -> usize {
        let sending: usize = self.open.values().map(|stream| stream.sending.len()).sum();
        self.received + sending + self.answers.len()
    }

    /// Streams that are held.
    pub(super) fn count(&self) -> usize {
        self.open.len()
    }
}
