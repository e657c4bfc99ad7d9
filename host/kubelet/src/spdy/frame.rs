//! Frames: what is on the wire, without any state but where in it one is.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::{ProtocolError, Status};

/// Bytes after the head of a control frame, at most. Data frames are as large as the format lets them be (16 MiB), and
/// are never held whole.
pub const MAX_CONTROL_FRAME: usize = 16 * 1024;

/// Bytes of the head that every frame has.
pub(super) const HEAD: usize = 8;

const SYN_STREAM: u16 = 1;
const SYN_REPLY: u16 = 2;
const RST_STREAM: u16 = 3;
const SETTINGS: u16 = 4;
const PING: u16 = 6;
const GOAWAY: u16 = 7;
const HEADERS: u16 = 8;
const WINDOW_UPDATE: u16 = 9;

const FLAG_FIN: u8 = 1;
const FLAG_UNIDIRECTIONAL: u8 = 2;

const VERSION: u16 = 3;
const CONTROL: u16 = 0x8000;
const STREAM_ID: u32 = 0x7fff_ffff;

/// What one frame says, or a piece of a data frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// The peer opens a stream.
    SynStream {
        /// Of the stream.
        id: u32,
        /// The peer sends nothing on it.
        fin: bool,
        /// The peer wants nothing on it.
        unidirectional: bool,
        /// Its headers, deflated.
        block: Bytes,
    },
    /// Headers that belong to a stream which is there: SYN_REPLY or HEADERS.
    Headers {
        /// Of the stream.
        id: u32,
        /// The peer sends no more on it.
        fin: bool,
        /// The headers, deflated.
        block: Bytes,
    },
    /// The peer resets a stream.
    RstStream {
        /// Of the stream.
        id: u32,
        /// Why.
        status: Status,
    },
    /// A ping, or the answer to one.
    Ping(u32),
    /// The peer opens no more streams.
    GoAway,
    /// The next bytes of a data frame, all that have come.
    Data {
        /// Of the stream.
        id: u32,
        /// May be none.
        bytes: Bytes,
        /// These are the last on the stream.
        fin: bool,
    },
    /// A frame that means nothing here: SETTINGS, WINDOW_UPDATE, kinds that are not known.
    Ignored,
}

/// Cuts what was received into frames.
#[derive(Debug, Default)]
pub struct Decoder {
    /// The data frame whose bytes are coming.
    data: Option<DataFrame>,
}

#[derive(Debug)]
struct DataFrame {
    id: u32,
    fin: bool,
    missing: usize,
}

impl Decoder {
    /// The next frame or piece of one, taken off the front of `received`; none if more must be received first.
    ///
    /// # Errors
    ///
    /// If it is malformed or too large. There is no going on after that.
    pub fn next(&mut self, received: &mut BytesMut) -> Result<Option<Frame>, ProtocolError> {
        if let Some(data) = &mut self.data {
            if received.is_empty() {
                return Ok(None);
            }
            let bytes = received.split_to(received.len().min(data.missing)).freeze();
            data.missing -= bytes.len();
            let last = data.missing == 0;
            let frame = Frame::Data { id: data.id, bytes, fin: data.fin && last };
            if last {
                self.data = None;
            }
            return Ok(Some(frame));
        }
        let Some(mut head) = received.get(..HEAD) else { return Ok(None) };
        let (first, second, flags_and_length) = (head.get_u16(), head.get_u16(), head.get_u32());
        let (flags, length) = ((flags_and_length >> 24) as u8, (flags_and_length & 0x00ff_ffff) as usize);
        if first & CONTROL == 0 {
            received.advance(HEAD);
            let id = u32::from(first) << 16 | u32::from(second);
            if id == 0 {
                return Err(ProtocolError::StreamId(id));
            }
            let fin = flags & FLAG_FIN != 0;
            if length == 0 {
                return Ok(Some(Frame::Data { id, bytes: Bytes::new(), fin }));
            }
            self.data = Some(DataFrame { id, fin, missing: length });
            return self.next(received);
        }
        let version = first & !CONTROL;
        if version != VERSION {
            return Err(ProtocolError::Version(version));
        }
        if length > MAX_CONTROL_FRAME {
            return Err(ProtocolError::FrameTooLarge(length));
        }
        if received.len() < HEAD + length {
            return Ok(None);
        }
        received.advance(HEAD);
        let payload = received.split_to(length).freeze();
        control(second, flags, payload).ok_or(ProtocolError::MalformedFrame(second)).map(Some)
    }
}

fn control(kind: u16, flags: u8, mut payload: Bytes) -> Option<Frame> {
    let length = payload.len();
    let fin = flags & FLAG_FIN != 0;
    Some(match kind {
        SYN_STREAM => {
            let id = payload.try_get_u32().ok()? & STREAM_ID;
            // The stream that it is associated to, its priority and its slot.
            let _ = (payload.try_get_u32().ok()?, payload.try_get_u16().ok()?);
            Frame::SynStream { id, fin, unidirectional: flags & FLAG_UNIDIRECTIONAL != 0, block: payload }
        }
        SYN_REPLY | HEADERS => Frame::Headers { id: payload.try_get_u32().ok()? & STREAM_ID, fin, block: payload },
        RST_STREAM if length == 8 => {
            let id = payload.try_get_u32().ok()? & STREAM_ID;
            Frame::RstStream { id, status: Status(payload.try_get_u32().ok()?) }
        }
        SETTINGS => {
            let count = payload.try_get_u32().ok()? as usize;
            (payload.remaining().is_multiple_of(8) && payload.remaining() / 8 == count).then_some(Frame::Ignored)?
        }
        PING if length == 4 && flags == 0 => Frame::Ping(payload.try_get_u32().ok()?),
        GOAWAY if length == 8 => Frame::GoAway,
        WINDOW_UPDATE if length == 8 => Frame::Ignored,
        RST_STREAM | PING | GOAWAY | WINDOW_UPDATE => return None,
        _ => Frame::Ignored,
    })
}

fn put_control_head(to: &mut BytesMut, kind: u16, flags: u8, length: u32) {
    to.put_u16(CONTROL | VERSION);
    to.put_u16(kind);
    to.put_u32(u32::from(flags) << 24 | length);
}

/// The answer to a stream that is accepted. `block` is a deflated header block.
pub(super) fn put_syn_reply(to: &mut BytesMut, id: u32, fin: bool, block: &[u8]) {
    put_control_head(to, SYN_REPLY, u8::from(fin), 4 + block.len() as u32);
    to.put_u32(id);
    to.put_slice(block);
}

pub(super) fn put_rst_stream(to: &mut BytesMut, id: u32, status: Status) {
    put_control_head(to, RST_STREAM, 0, 8);
    to.put_u32(id);
    to.put_u32(status.0);
}

pub(super) fn put_ping(to: &mut BytesMut, id: u32) {
    put_control_head(to, PING, 0, 4);
    to.put_u32(id);
}

/// Why a connection goes away.
#[derive(Debug, Clone, Copy)]
pub(super) enum GoAway {
    Ok = 0,
    ProtocolError = 1,
}

/// `last_good` is the last stream of the peer that was accepted.
pub(super) fn put_goaway(to: &mut BytesMut, last_good: u32, status: GoAway) {
    put_control_head(to, GOAWAY, 0, 8);
    to.put_u32(last_good);
    to.put_u32(status as u32);
}

/// What comes before the `length` bytes of a data frame; they must be less than 16 MiB.
pub(super) fn put_data_head(to: &mut BytesMut, id: u32, fin: bool, length: usize) {
    to.put_u32(id);
    to.put_u32(u32::from(u8::from(fin)) << 24 | length as u32);
}
