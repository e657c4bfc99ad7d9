//! The streams of a connection: what the driver and the handles share.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker, ready},
};

use bytes::{Bytes, BytesMut};

use super::{Ended, Headers, Limits, Status, StreamError, frame, header_block::EmptyBlocks, pieces::Pieces};

/// Bytes of one data frame that is sent, at most: a stream waits for no more than such a frame of each other stream,
/// after the one that is being written.
pub(super) const CHUNK: usize = 32 * 1024;

/// Bytes that wait to be sent on a stream, at which its writer waits. One more chunk than the one that is being written.
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
    sending: VecDeque<Bytes>,
    sending_length: usize,
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

/// What the driver does with frames of the peer.
impl Streams {
    /// Whether more frames may be looked at, as far as memory goes.
    pub(super) fn has_room(&self) -> bool {
        let buffers = self.closing || (self.full == 0 && self.received < self.limits.connection_buffer);
        buffers && self.answers.len() < ANSWERS && self.arrivals.len() < ARRIVALS
    }

    /// Whether frames wait because bytes wait to be read, however well the peer listens.
    pub(super) fn is_held_up(&self) -> bool {
        !self.has_room() && self.answers.is_empty()
    }

    /// Whether streams that the peer opens are accepted. Once they are not, they never are again.
    pub(super) fn accepts(&self) -> bool {
        self.accepting && !self.peer_leaves && !self.closing && self.ended.is_none()
    }

    /// The peer opened a stream whose id is good.
    pub(super) fn opened(&mut self, id: u32, fin: bool, unidirectional: bool, headers: Headers) {
        if !self.accepts() || self.open.len() >= self.limits.streams {
            return self.refuse(id);
        }
        let output = if unidirectional { Output::Finished } else { Output::Open };
        frame::put_syn_reply(&mut self.answers, id, unidirectional, self.blocks.next());
        self.last_good = id;
        let stream = Stream {
            received: Pieces::default(),
            received_all: fin,
            reader: Handle::default(),
            sending: VecDeque::new(),
            sending_length: 0,
            output,
            writer: Handle::default(),
            has_turn: false,
            reset: None,
        };
        self.open.insert(id, stream);
        self.arrivals.push_back((id, headers));
        wake(&mut self.acceptor);
    }

    /// The peer opened a stream that is not wanted.
    pub(super) fn refuse(&mut self, id: u32) {
        frame::put_rst_stream(&mut self.answers, id, Status::REFUSED_STREAM);
    }

    /// The peer sent bytes. Those that nobody can expect are dropped, as every peer does.
    pub(super) fn received(&mut self, id: u32, bytes: Bytes, fin: bool) {
        let Some(stream) = self.open.get_mut(&id) else { return };
        if stream.received_all || stream.reset.is_some() {
            return;
        }
        if !stream.reader.dropped && !self.closing && !bytes.is_empty() {
            self.received += bytes.len();
            let was_full = stream.received.len() >= self.limits.stream_buffer;
            stream.received.push(bytes);
            self.full += usize::from(!was_full && stream.received.len() >= self.limits.stream_buffer);
            wake(&mut stream.reader.waker);
        }
        if fin {
            self.received_all(id);
        }
    }

    /// The peer said that it sends no more on a stream.
    pub(super) fn received_all(&mut self, id: u32) {
        let Some(stream) = self.open.get_mut(&id) else { return };
        stream.received_all = true;
        wake(&mut stream.reader.waker);
        self.settle(id);
    }

    /// The peer reset a stream. What it finished sending before that can still be read.
    pub(super) fn was_reset(&mut self, id: u32, status: Status) {
        let Some(stream) = self.open.get(&id) else { return };
        if stream.reset.is_none() {
            let keep_received = stream.received_all;
            self.end_stream(id, status, keep_received);
        }
    }

    /// The peer said that it opens no more streams.
    pub(super) fn peer_leaves(&mut self) {
        self.peer_leaves = true;
        wake(&mut self.acceptor);
    }

    /// Sends a ping, or the answer to one.
    pub(super) fn ping(&mut self, id: u32) {
        frame::put_ping(&mut self.answers, id);
    }
}

/// What the driver sends.
impl Streams {
    /// The next frame to send, control frames first: what is before its bytes, and those.
    pub(super) fn next_frame(&mut self, head: &mut BytesMut) -> Bytes {
        head.extend_from_slice(&std::mem::take(&mut self.answers));
        let Some(id) = self.turns.pop_front() else { return Bytes::new() };
        let Some(stream) = self.open.get_mut(&id) else { return Bytes::new() };
        stream.has_turn = false;
        if stream.reset.is_some() {
            return Bytes::new();
        }
        let mut bytes = stream.sending.pop_front().unwrap_or_default();
        if bytes.len() > CHUNK {
            let rest = bytes.split_off(CHUNK);
            stream.sending.push_front(rest);
        }
        stream.sending_length -= bytes.len();
        let fin = stream.output == Output::Finishing && stream.sending.is_empty();
        if fin {
            stream.output = Output::Finished;
        } else if !stream.sending.is_empty() {
            stream.has_turn = true;
            self.turns.push_back(id);
        }
        wake(&mut stream.writer.waker);
        frame::put_data_head(head, id, fin, bytes.len());
        if fin {
            self.settle(id);
        }
        bytes
    }

    /// Whether anything waits to be sent.
    pub(super) fn has_frames(&self) -> bool {
        !self.answers.is_empty() || !self.turns.is_empty()
    }

    /// Whether the connection has done all that it was for: closed from here and all sent, or the peer leaves and no
    /// stream is left.
    pub(super) fn is_done(&self) -> bool {
        !self.has_frames() && (self.closing || (self.peer_leaves && self.open.values().all(Stream::is_over)))
    }

    /// Resets what is left, and says that this side goes away.
    pub(super) fn say_goodbye(&mut self, status: frame::GoAway) {
        for (id, _) in self.open.iter().filter(|(_, stream)| !stream.is_over()) {
            frame::put_rst_stream(&mut self.answers, *id, Status::CANCEL);
        }
        frame::put_goaway(&mut self.answers, self.last_good, status);
    }

    /// Nothing works any more. What was received can still be read.
    pub(super) fn end(&mut self, why: Ended) {
        self.ended.get_or_insert(why);
        self.turns = VecDeque::new();
        self.answers = BytesMut::new();
        self.arrivals = VecDeque::new();
        for stream in self.open.values_mut() {
            stream.sending = VecDeque::new();
            wake(&mut stream.reader.waker);
            wake(&mut stream.writer.waker);
        }
        wake(&mut self.acceptor);
    }

    pub(super) fn is_closing(&self) -> bool {
        self.closing
    }

    pub(super) fn wake_driver_by(&mut self, context: &Context<'_>) {
        remember(&mut self.driver, context);
    }
}

/// What the handles do.
impl Streams {
    pub(super) fn close(&mut self) {
        self.closing = true;
        wake(&mut self.driver);
        wake(&mut self.acceptor);
    }

    pub(super) fn accept_no_more(&mut self) {
        self.accepting = false;
        for (id, _) in std::mem::take(&mut self.arrivals) {
            self.drop_reader(id);
            self.drop_writer(id);
        }
        wake(&mut self.driver);
    }

    pub(super) fn poll_accept(&mut self, context: &Context<'_>) -> Poll<Option<(u32, Headers)>> {
        let arrival = self.arrivals.pop_front();
        if arrival.is_some() {
            wake(&mut self.driver);
            return Poll::Ready(arrival);
        }
        if !self.accepts() {
            return Poll::Ready(None);
        }
        remember(&mut self.acceptor, context);
        Poll::Pending
    }

    pub(super) fn poll_read(&mut self, id: u32, context: &Context<'_>) -> Poll<Result<Option<Bytes>, StreamError>> {
        // A handle keeps its stream here, so this cannot be.
        let Some(stream) = self.open.get_mut(&id) else { return Poll::Ready(Ok(None)) };
        let was_full = stream.received.len() >= self.limits.stream_buffer;
        if let Some(bytes) = stream.received.pop() {
            let was_held_up = was_full || self.received >= self.limits.connection_buffer;
            self.received -= bytes.len();
            self.full -= usize::from(was_full && stream.received.len() < self.limits.stream_buffer);
            if was_held_up {
                wake(&mut self.driver);
            }
            return Poll::Ready(Ok(Some(bytes)));
        }
        if stream.received_all {
            return Poll::Ready(Ok(None));
        }
        if let Some(status) = stream.reset {
            return Poll::Ready(Err(StreamError::Reset(status)));
        }
        if let Some(ended) = &self.ended {
            return Poll::Ready(Err(ended.clone().into()));
        }
        if self.closing {
            return Poll::Ready(Err(Ended::Closed.into()));
        }
        remember(&mut stream.reader.waker, context);
        Poll::Pending
    }

    /// Whether a stream takes bytes to send, and if not whether it ever will.
    pub(super) fn poll_writable(&mut self, id: u32, context: &Context<'_>) -> Poll<Result<(), StreamError>> {
        let Some(stream) = self.open.get_mut(&id) else { return Poll::Ready(Err(StreamError::Finished)) };
        if let Some(status) = stream.reset {
            return Poll::Ready(Err(StreamError::Reset(status)));
        }
        if let Some(ended) = &self.ended {
            return Poll::Ready(Err(ended.clone().into()));
        }
        if stream.output != Output::Open {
            return Poll::Ready(Err(StreamError::Finished));
        }
        if self.closing {
            return Poll::Ready(Err(Ended::Closed.into()));
        }
        if stream.sending_length >= SENDING {
            remember(&mut stream.writer.waker, context);
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }

    /// Takes `bytes` to send, once there is room.
    pub(super) fn poll_write(
        &mut self,
        id: u32,
        bytes: &mut Bytes,
        context: &Context<'_>,
    ) -> Poll<Result<(), StreamError>> {
        ready!(self.poll_writable(id, context))?;
        if let Some(stream) = self.open.get_mut(&id).filter(|_| !bytes.is_empty()) {
            stream.sending_length += bytes.len();
            stream.sending.push_back(std::mem::take(bytes));
            self.take_turn(id);
        }
        Poll::Ready(Ok(()))
    }

    /// Sends the end of a stream, after all that was taken to send.
    pub(super) fn finish(&mut self, id: u32) {
        let Some(stream) = self.open.get_mut(&id) else { return };
        if stream.output == Output::Open && stream.reset.is_none() && self.ended.is_none() {
            stream.output = Output::Finishing;
            self.take_turn(id);
        }
    }

    /// Resets a stream from here, unless it is over.
    pub(super) fn reset(&mut self, id: u32, status: Status) {
        let Some(stream) = self.open.get(&id) else { return };
        if !stream.is_over() {
            if self.ended.is_none() {
                frame::put_rst_stream(&mut self.answers, id, status);
            }
            self.end_stream(id, status, false);
            wake(&mut self.driver);
        }
    }

    pub(super) fn drop_reader(&mut self, id: u32) {
        let Some(stream) = self.open.get_mut(&id) else { return };
        stream.reader.dropped = true;
        stream.reader.waker = None;
        self.drop_received(id);
        self.settle(id);
    }

    pub(super) fn drop_writer(&mut self, id: u32) {
        let Some(stream) = self.open.get_mut(&id) else { return };
        stream.writer.dropped = true;
        stream.writer.waker = None;
        self.settle(id);
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
        stream.sending = VecDeque::new();
        stream.sending_length = 0;
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
        let sending: usize = self.open.values().map(|stream| stream.sending_length).sum();
        self.received + sending + self.answers.len()
    }

    /// Streams that are held.
    pub(super) fn count(&self) -> usize {
        self.open.len()
    }
}
