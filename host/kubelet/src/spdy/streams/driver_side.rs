//! What the driver does: it brings what the peer did, and takes what is to be sent.

use std::{collections::VecDeque, mem, task::Context};

use bytes::{Bytes, BytesMut};

use super::{ANSWERS, ARRIVALS, CHUNK, Output, Stream, Streams, remember, wake};
use crate::spdy::{Ended, Headers, Status, frame};

/// What the peer does.
impl Streams {
    /// Whether more frames may be looked at, as far as memory goes.
    pub(in crate::spdy) fn has_room(&self) -> bool {
        let buffers = self.closing || (self.full == 0 && self.received < self.limits.connection_buffer);
        buffers && self.answers.len() < ANSWERS && self.arrivals.len() < ARRIVALS
    }

    /// Whether frames wait because bytes wait to be read, however well the peer listens.
    pub(in crate::spdy) fn is_held_up(&self) -> bool {
        !self.has_room() && self.answers.is_empty()
    }

    /// Whether streams that the peer opens are accepted. Once they are not, they never are again.
    pub(in crate::spdy) fn accepts(&self) -> bool {
        self.accepting && !self.peer_leaves && !self.closing && self.ended.is_none()
    }

    /// The peer opened a stream whose id is good.
    pub(in crate::spdy) fn opened(&mut self, id: u32, fin: bool, unidirectional: bool, headers: Headers) {
        if !self.accepts() || self.open.len() >= self.limits.streams {
            return self.refuse(id);
        }
        let output = if unidirectional { Output::Finished } else { Output::Open };
        frame::put_syn_reply(&mut self.answers, id, unidirectional, self.blocks.next());
        self.last_good = id;
        self.open.insert(id, Stream::new(fin, output));
        self.arrivals.push_back((id, headers));
        wake(&mut self.acceptor);
    }

    /// The peer opened a stream that is not wanted.
    pub(in crate::spdy) fn refuse(&mut self, id: u32) {
        frame::put_rst_stream(&mut self.answers, id, Status::REFUSED_STREAM);
    }

    /// The peer sent bytes. Those that nobody can expect are dropped, as every peer does.
    pub(in crate::spdy) fn received(&mut self, id: u32, bytes: Bytes, fin: bool) {
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
    pub(in crate::spdy) fn received_all(&mut self, id: u32) {
        let Some(stream) = self.open.get_mut(&id) else { return };
        stream.received_all = true;
        wake(&mut stream.reader.waker);
        self.settle(id);
    }

    /// The peer reset a stream. What it finished sending before that can still be read.
    pub(in crate::spdy) fn was_reset(&mut self, id: u32, status: Status) {
        let Some(stream) = self.open.get(&id) else { return };
        if stream.reset.is_none() {
            let keep_received = stream.received_all;
            self.end_stream(id, status, keep_received);
        }
    }

    /// The peer said that it opens no more streams.
    pub(in crate::spdy) fn peer_leaves(&mut self) {
        self.peer_leaves = true;
        wake(&mut self.acceptor);
    }

    /// Sends a ping, or the answer to one.
    pub(in crate::spdy) fn ping(&mut self, id: u32) {
        frame::put_ping(&mut self.answers, id);
    }
}

/// What is sent.
impl Streams {
    /// The next frame to send, control frames first: what is before its bytes, and those.
    pub(in crate::spdy) fn next_frame(&mut self, head: &mut BytesMut) -> Bytes {
        head.extend_from_slice(&mem::take(&mut self.answers));
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
    pub(in crate::spdy) fn has_frames(&self) -> bool {
        !self.answers.is_empty() || !self.turns.is_empty()
    }

    /// Whether the connection has done all that it was for: closed from here and all sent, or the peer leaves and no
    /// stream is left.
    pub(in crate::spdy) fn is_done(&self) -> bool {
        !self.has_frames() && (self.closing || (self.peer_leaves && self.open.values().all(Stream::is_over)))
    }

    /// Resets what is left, and says that this side goes away.
    pub(in crate::spdy) fn say_goodbye(&mut self, status: frame::GoAway) {
        for (id, _) in self.open.iter().filter(|(_, stream)| !stream.is_over()) {
            frame::put_rst_stream(&mut self.answers, *id, Status::CANCEL);
        }
        frame::put_goaway(&mut self.answers, self.last_good, status);
    }

    /// Nothing works any more. What was received can still be read.
    pub(in crate::spdy) fn end(&mut self, why: Ended) {
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

    pub(in crate::spdy) fn is_closing(&self) -> bool {
        self.closing
    }

    pub(in crate::spdy) fn wake_driver_by(&mut self, context: &Context<'_>) {
        remember(&mut self.driver, context);
    }
}
