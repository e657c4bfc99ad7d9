//! What the handles do: they take what was received, and bring what is to be sent.

use std::{
    mem,
    task::{Context, Poll, ready},
};

use bytes::Bytes;

use super::{Output, SENDING, Stream, Streams, remember, wake};
use crate::spdy::{Ended, Headers, Status, StreamError, frame};

impl Streams {
    pub(in crate::spdy) fn close(&mut self) {
        self.closing = true;
        wake(&mut self.driver);
        wake(&mut self.acceptor);
    }

    pub(in crate::spdy) fn accept_no_more(&mut self) {
        self.accepting = false;
        for (id, _) in mem::take(&mut self.arrivals) {
            self.drop_reader(id);
            self.drop_writer(id);
        }
        wake(&mut self.driver);
    }

    pub(in crate::spdy) fn poll_accept(&mut self, context: &Context<'_>) -> Poll<Option<(u32, Headers)>> {
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

    pub(in crate::spdy) fn poll_read(
        &mut self,
        id: u32,
        context: &Context<'_>,
    ) -> Poll<Result<Option<Bytes>, StreamError>> {
        // A handle keeps its stream here, so this cannot be.
        let Some(stream) = self.open.get_mut(&id) else { return Poll::Ready(Ok(None)) };
        let was_full = stream.received.len() >= self.limits.stream_buffer;
        if let Some(bytes) = stream.received.pop(usize::MAX) {
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

    pub(in crate::spdy) fn poll_broken(&mut self, id: u32, context: &Context<'_>) -> Poll<()> {
        let is_over = self.closing || self.ended.is_some();
        match self.open.get_mut(&id).filter(|stream| stream.reset.is_none() && !is_over) {
            Some(stream) => {
                remember(&mut stream.reader.waker, context);
                Poll::Pending
            }
            None => Poll::Ready(()),
        }
    }

    pub(in crate::spdy) fn poll_sent(&mut self, id: u32, context: &Context<'_>) -> Poll<()> {
        let waits = |stream: &&mut Stream| !stream.sending.is_empty() || stream.output == Output::Finishing;
        match self.open.get_mut(&id).filter(|stream| stream.reset.is_none()).filter(waits) {
            Some(stream) if self.ended.is_none() => {
                remember(&mut stream.writer.waker, context);
                Poll::Pending
            }
            _ => Poll::Ready(()),
        }
    }

    pub(in crate::spdy) fn is_reset(&self, id: u32) -> bool {
        self.open.get(&id).is_some_and(|stream| stream.reset.is_some())
    }

    /// Whether a stream takes bytes to send, and if not whether it ever will.
    pub(in crate::spdy) fn poll_writable(&mut self, id: u32, context: &Context<'_>) -> Poll<Result<(), StreamError>> {
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
        if stream.sending.len() >= SENDING {
            remember(&mut stream.writer.waker, context);
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }

    /// Takes `bytes` to send, once there is room.
    pub(in crate::spdy) fn poll_write(
        &mut self,
        id: u32,
        bytes: &mut Bytes,
        context: &Context<'_>,
    ) -> Poll<Result<(), StreamError>> {
        ready!(self.poll_writable(id, context))?;
        if let Some(stream) = self.open.get_mut(&id).filter(|_| !bytes.is_empty()) {
            stream.sending.push(mem::take(bytes));
            self.take_turn(id);
        }
        Poll::Ready(Ok(()))
    }

    /// Sends the end of a stream, after all that was taken to send.
    pub(in crate::spdy) fn finish(&mut self, id: u32) {
        let Some(stream) = self.open.get_mut(&id) else { return };
        if stream.output == Output::Open && stream.reset.is_none() && self.ended.is_none() {
            stream.output = Output::Finishing;
            self.take_turn(id);
        }
    }

    /// Resets a stream from here, unless it is over.
    pub(in crate::spdy) fn reset(&mut self, id: u32, status: Status) {
        let Some(stream) = self.open.get(&id) else { return };
        if !stream.is_over() {
            if self.ended.is_none() {
                frame::put_rst_stream(&mut self.answers, id, status);
            }
            self.end_stream(id, status, false);
            wake(&mut self.driver);
        }
    }

    pub(in crate::spdy) fn drop_reader(&mut self, id: u32) {
        let Some(stream) = self.open.get_mut(&id) else { return };
        stream.reader.dropped = true;
        stream.reader.waker = None;
        self.drop_received(id);
        self.settle(id);
    }

    pub(in crate::spdy) fn drop_writer(&mut self, id: u32) {
        let Some(stream) = self.open.get_mut(&id) else { return };
        stream.writer.dropped = true;
        stream.writer.waker = None;
        self.settle(id);
    }
}
