//! The task that moves bytes between the transport and the streams.

use std::{
    future::poll_fn,
    io::{self, IoSlice},
    pin::{Pin, pin},
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf, Bytes, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    sync::watch,
    time::{Instant, Sleep, sleep_until, timeout, timeout_at},
};

use super::{
    Ended, Limits, ProtocolError,
    frame::{Decoder, Frame, GoAway},
    header_block::Inflater,
    streams::{Shared, Streams},
};

/// Bytes asked of the transport at once. No buffer is held while there are none.
pub(super) const READ: usize = 32 * 1024;

/// Frames looked at, reads and writes, before others on the same thread have their turn.
const FRAMES: usize = 256;
const ROUNDS: usize = 8;

/// How often a peer is pinged whose socket is not read: writing is then the only way to learn that it is gone.
const PING_PERIOD: Duration = Duration::from_secs(15);

/// One side of a connection, and where in its bytes each direction is.
pub(super) struct Driver<T> {
    transport: T,
    limits: Limits,
    streams: Shared,
    ended: watch::Sender<Option<Ended>>,

    received: BytesMut,
    decoder: Decoder,
    /// Of the peer's header blocks; none before the first and after the last stream.
    inflater: Option<Inflater>,
    /// The highest stream id so far.
    last_id: u32,

    /// The frame that is being written: control frames and what comes before the bytes of data, and these.
    head: BytesMut,
    bytes: Bytes,
    /// Whether the transport may hold what was written.
    unflushed: bool,

    timer: Pin<Box<Sleep>>,
    /// When something was last received, or data sent.
    active: Instant,
    /// Since when the peer takes nothing.
    blocked: Option<Instant>,
    /// When the peer was last pinged since its socket is not read.
    held_up: Option<Instant>,
    ping_id: u32,
    /// Since when all that is left is being sent.
    closing: Option<Instant>,
}

impl<T> Drop for Driver<T> {
    fn drop(&mut self) {
        self.end(Ended::Closed);
    }
}

impl<T> Driver<T> {
    fn end(&self, why: Ended) {
        self.streams.lock().end(why.clone());
        self.ended.send_if_modified(|ended| {
            let first = ended.is_none();
            ended.get_or_insert(why);
            first
        });
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> Driver<T> {
    pub(super) fn new(transport: T, limits: Limits, streams: Shared, ended: watch::Sender<Option<Ended>>) -> Self {
        let now = Instant::now();
        Self {
            transport,
            timer: Box::pin(sleep_until(now + limits.idle_timeout)),
            limits,
            streams,
            ended,
            received: BytesMut::new(),
            decoder: Decoder::default(),
            inflater: None,
            last_id: 0,
            head: BytesMut::new(),
            bytes: Bytes::new(),
            unflushed: false,
            active: now,
            blocked: None,
            held_up: None,
            ping_id: 0,
            closing: None,
        }
    }

    /// Runs the connection to its end.
    pub(super) async fn run(mut self) {
        let why = poll_fn(|context| self.poll(context)).await;
        tracing::debug!(reason = %why, "SPDY connection ended");
        self.inflater = None;
        let last_words = match &why {
            // A peer that closes without a word wants none.
            Ended::Closed | Ended::Idle => Some(GoAway::Ok),
            Ended::ByPeer if self.streams.lock().is_done() => Some(GoAway::Ok),
            Ended::Protocol(_) => Some(GoAway::ProtocolError),
            Ended::ByPeer | Ended::Broken(_) | Ended::Stalled => None,
        };
        // The streams learn it now; what is still sent is not theirs.
        self.streams.lock().end(why.clone());
        // Nothing can be made of an error here: the transport is given up anyway.
        if let Some(status) = last_words {
            self.streams.lock().say_goodbye(status);
            let _ = timeout_at(self.patience(status), self.say_goodbye(status)).await;
        }
        // TLS says that the end is the end, and a WebSocket waits for its peer to agree.
        let _ = timeout(self.limits.close_timeout, self.transport.shutdown()).await;
        self.end(why);
    }

    /// Until when a goodbye may take.
    fn patience(&self, status: GoAway) -> Instant {
        let now = Instant::now();
        let soon = now + self.limits.close_timeout;
        match status {
            GoAway::Ok => soon.max(self.closing.unwrap_or(now) + self.limits.drain_timeout),
            GoAway::ProtocolError => soon,
        }
    }

    /// Writes all that is left. Then waits for the peer to close, if it deserves it: to close before it has would lose
    /// what it has not yet taken, as soon as it sends anything. So one that pings is waited for.
    async fn say_goodbye(&mut self, status: GoAway) -> io::Result<()> {
        while poll_fn(|context| self.poll_write(context)).await? {}
        poll_fn(|context| self.poll_flush(context)).await?;
        if matches!(status, GoAway::Ok) {
            let mut dropped = vec![0; 4096];
            while let Ok(read) = timeout(self.limits.close_timeout, self.transport.read(&mut dropped)).await
                && read? > 0
            {}
        }
        Ok(())
    }

    /// Ready once there is nothing more to do than to say goodbye.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Ended> {
        self.streams.lock().wake_driver_by(context);
        for _ in 0..ROUNDS {
            match self.round(context) {
                Ok(true) => {}
                Ok(false) => match self.poll_timer(context) {
                    Poll::Ready(Some(why)) => return Poll::Ready(why),
                    Poll::Ready(None) => {}
                    Poll::Pending => return Poll::Pending,
                },
                Err(why) => return Poll::Ready(why),
            }
        }
        // However busy the peer keeps this, time passes.
        if let Poll::Ready(Some(why)) = self.poll_timer(context) {
            return Poll::Ready(why);
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }

    /// Does what can be done now; whether there may be more.
    fn round(&mut self, context: &mut Context<'_>) -> Result<bool, Ended> {
        let more_frames = self.take_frames()?;
        let written = match self.poll_write(context)? {
            Poll::Ready(written) => written,
            Poll::Pending => false,
        };
        // Only now is it known that nothing is left.
        let flushed = !written && self.head.is_empty() && self.bytes.is_empty() && self.poll_flush(context)?.is_ready();
        if flushed {
            let streams = self.streams.lock();
            if streams.is_done() {
                return Err(if streams.is_closing() { Ended::Closed } else { Ended::ByPeer });
            }
        }
        let read = !more_frames && self.read(context)?;
        Ok(more_frames || written || read)
    }

    /// Looks at what was received; whether there may be more to look at.
    fn take_frames(&mut self) -> Result<bool, Ended> {
        let streams = self.streams.clone();
        let mut streams = streams.lock();
        if !streams.accepts() {
            self.inflater = None;
        }
        for _ in 0..FRAMES {
            if !streams.has_room() {
                return Ok(false);
            }
            match self.decoder.next(&mut self.received)? {
                Some(frame) => self.take_frame(frame, &mut streams)?,
                None => return Ok(false),
            }
        }
        Ok(true)
    }

    fn take_frame(&mut self, frame: Frame, streams: &mut Streams) -> Result<(), ProtocolError> {
        match frame {
            Frame::SynStream { id, fin, unidirectional, block } => {
                if id % 2 == 0 || id <= self.last_id {
                    return Err(ProtocolError::StreamId(id));
                }
                self.last_id = id;
                if !streams.accepts() {
                    streams.refuse(id);
                    return Ok(());
                }
                let headers = self.inflater.get_or_insert_default().headers(&block)?;
                streams.opened(id, fin, unidirectional, headers);
            }
            Frame::Headers { id, fin, block } => {
                // What it says is of no use, but the next block may refer to it.
                if streams.accepts() {
                    self.inflater.get_or_insert_default().headers(&block)?;
                }
                if fin {
                    streams.received_all(id);
                }
            }
            Frame::RstStream { id, status } => streams.was_reset(id, status),
            // The others are answers to ours.
            Frame::Ping(id) if id % 2 == 1 => streams.ping(id),
            Frame::GoAway => streams.peer_leaves(),
            Frame::Data { id, bytes, fin } => streams.received(id, bytes, fin),
            Frame::Ping(_) | Frame::Ignored => {}
        }
        Ok(())
    }

    /// Whether there is room for what the peer sends. Keeps account of since when there is none.
    fn may_read(&mut self) -> bool {
        let streams = self.streams.lock();
        let may = streams.has_room();
        if may {
            self.held_up = None;
        } else if streams.is_held_up() {
            self.held_up.get_or_insert_with(Instant::now);
        }
        may
    }

    /// Reads once; whether anything came.
    fn read(&mut self, context: &mut Context<'_>) -> Result<bool, Ended> {
        if !self.may_read() {
            return Ok(false);
        }
        if self.received.capacity() - self.received.len() < READ / 2 {
            self.received.reserve(READ);
        }
        let reading = pin!(self.transport.read_buf(&mut self.received));
        match reading.poll(context) {
            Poll::Ready(Ok(0)) => Err(Ended::ByPeer),
            // TLS says so of a peer that just closes.
            Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => Err(Ended::ByPeer),
            Poll::Ready(Err(error)) => Err(error.into()),
            Poll::Ready(Ok(_)) => {
                self.active = Instant::now();
                Ok(true)
            }
            Poll::Pending => {
                if self.received.is_empty() {
                    self.received = BytesMut::new();
                }
                Ok(false)
            }
        }
    }

    /// Writes once; false if there is nothing to write.
    fn poll_write(&mut self, context: &mut Context<'_>) -> Poll<io::Result<bool>> {
        while self.head.is_empty() && self.bytes.is_empty() {
            let mut streams = self.streams.lock();
            if !streams.has_frames() {
                self.head = BytesMut::new();
                return Poll::Ready(Ok(false));
            }
            self.bytes = streams.next_frame(&mut self.head);
        }
        let slices = [IoSlice::new(&self.head), IoSlice::new(&self.bytes)];
        let result = Pin::new(&mut self.transport).poll_write_vectored(context, &slices);
        let written = self.note_blocked(result)?;
        let written = ready!(written);
        if written == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        self.unflushed = true;
        let of_head = written.min(self.head.len());
        self.head.advance(of_head);
        if written > of_head {
            self.bytes.advance(written - of_head);
            self.active = Instant::now();
        }
        Poll::Ready(Ok(true))
    }

    fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.unflushed {
            let result = Pin::new(&mut self.transport).poll_flush(context);
            ready!(self.note_blocked(result)?);
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    /// Keeps account of since when the peer takes nothing.
    fn note_blocked<R>(&mut self, result: Poll<io::Result<R>>) -> io::Result<Poll<R>> {
        match result {
            Poll::Ready(result) => {
                self.blocked = None;
                result.map(Poll::Ready)
            }
            Poll::Pending => {
                self.blocked.get_or_insert_with(Instant::now);
                Ok(Poll::Pending)
            }
        }
    }

    /// Ready when it is time to end, or something was done that others must look at.
    fn poll_timer(&mut self, context: &mut Context<'_>) -> Poll<Option<Ended>> {
        if self.closing.is_none() && self.streams.lock().is_closing() {
            self.closing = Some(Instant::now());
        }
        let idle = self.active + self.limits.idle_timeout;
        let blocked = self.blocked.map(|since| since + self.limits.write_timeout);
        let draining = self.closing.map(|since| since + self.limits.drain_timeout);
        let stalled = blocked.into_iter().chain(draining).min();
        let ping = self.held_up.map(|since| since + PING_PERIOD);
        let Some(next) = [Some(idle), stalled, ping].into_iter().flatten().min() else { return Poll::Pending };
        if self.timer.deadline() > next || self.timer.is_elapsed() {
            self.timer.as_mut().reset(next);
        }
        ready!(self.timer.as_mut().poll(context));
        let now = Instant::now();
        if stalled.is_some_and(|stalled| stalled <= now) {
            return Poll::Ready(Some(Ended::Stalled));
        }
        if idle <= now {
            return Poll::Ready(Some(Ended::Idle));
        }
        if ping.is_some_and(|ping| ping <= now) {
            self.held_up = Some(now);
            self.ping_id = self.ping_id.wrapping_add(2);
            self.streams.lock().ping(self.ping_id);
        }
        Poll::Ready(None)
    }
}
