//! A SPDY client, as little of one as tests need.

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::spdy::{
    Status,
    frame::{Decoder, Frame},
};

/// What the server sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Sent {
    Reply(u32),
    Reset(u32, Status),
    Ping(u32),
    GoAway,
    Data(u32, Bytes),
    Fin(u32),
}

pub(crate) struct SpdyClient<Io> {
    pub(crate) io: Io,
    decoder: Decoder,
    received: BytesMut,
    /// What a frame said besides.
    pending: Option<Sent>,
    next_id: u32,
}

fn control(kind: u16, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&[0x80, 3], &kind.to_be_bytes()[..], &length, payload].concat()
}

impl<Io: AsyncRead + AsyncWrite + Unpin> SpdyClient<Io> {
    pub(crate) fn new(io: Io) -> Self {
        Self { io, decoder: Decoder::default(), received: BytesMut::new(), pending: None, next_id: 1 }
    }

    async fn send(&mut self, frame: Vec<u8>) {
        self.io.write_all(&frame).await.unwrap();
        self.io.flush().await.unwrap();
    }

    /// Asks for a stream, and yields its id.
    pub(crate) async fn syn(&mut self, headers: &[(&str, &str)]) -> u32 {
        let word = |value: usize| u32::try_from(value).unwrap().to_be_bytes();
        let mut plain = word(headers.len()).to_vec();
        for text in headers.iter().flat_map(|(name, value)| [name, value]) {
            plain.extend(word(text.len()));
            plain.extend(text.bytes());
        }
        let id = self.next_id;
        self.next_id += 2;
        // Stored, not compressed; the first begins the zlib stream with the id of the dictionary.
        let begin: &[u8] = if id == 1 { &[0x78, 0xf9, 0xe3, 0xc6, 0xa7, 0xc2] } else { &[] };
        let length = u16::try_from(plain.len()).unwrap();
        let stored =
            [&[0], &length.to_le_bytes()[..], &(!length).to_le_bytes(), &plain, &[0, 0, 0, 0xff, 0xff]].concat();
        let frame = control(1, &[&id.to_be_bytes(), &[0; 6][..], begin, &stored].concat());
        self.send(frame).await;
        id
    }

    /// Opens a stream that is replied to next.
    pub(crate) async fn open(&mut self, headers: &[(&str, &str)]) -> u32 {
        let id = self.syn(headers).await;
        assert_eq!(self.next().await, Some(Sent::Reply(id)));
        id
    }

    pub(crate) async fn data(&mut self, id: u32, bytes: &[u8]) {
        let length = u32::try_from(bytes.len()).unwrap().to_be_bytes();
        self.send([&id.to_be_bytes(), &length[..], bytes].concat()).await;
    }

    pub(crate) async fn fin(&mut self, id: u32) {
        self.send([&id.to_be_bytes()[..], &[1, 0, 0, 0]].concat()).await;
    }

    pub(crate) async fn reset(&mut self, id: u32) {
        self.send(control(3, &[id.to_be_bytes(), [0, 0, 0, 5]].concat())).await;
    }

    pub(crate) async fn ping(&mut self) {
        self.send(control(6, &1_u32.to_be_bytes())).await;
    }

    pub(crate) async fn goaway(&mut self) {
        self.send(control(7, &[0; 8])).await;
    }

    /// What the server sends next; `None` once it has closed.
    pub(crate) async fn next(&mut self) -> Option<Sent> {
        if let Some(sent) = self.pending.take() {
            return Some(sent);
        }
        loop {
            match self.decoder.next(&mut self.received).expect("the server keeps the protocol") {
                Some(Frame::Headers { id, .. }) => return Some(Sent::Reply(id)),
                Some(Frame::RstStream { id, status }) => return Some(Sent::Reset(id, status)),
                Some(Frame::Ping(id)) => return Some(Sent::Ping(id)),
                Some(Frame::GoAway) => return Some(Sent::GoAway),
                Some(Frame::Data { id, bytes, fin }) => {
                    let end = fin.then_some(Sent::Fin(id));
                    if bytes.is_empty() && fin {
                        return end;
                    }
                    self.pending = end;
                    return Some(Sent::Data(id, bytes));
                }
                Some(frame @ (Frame::SynStream { .. } | Frame::Ignored)) => panic!("a server sends no {frame:?}"),
                None if self.io.read_buf(&mut self.received).await.unwrap_or(0) == 0 => return None,
                None => {}
            }
        }
    }

    /// The bytes of a stream up to its end; what else is sent meanwhile goes to `others`.
    pub(crate) async fn read_stream(&mut self, of: u32, others: &mut Vec<Sent>) -> Vec<u8> {
        let mut all = Vec::new();
        loop {
            match self.next().await.expect("the end of the stream") {
                Sent::Data(id, bytes) if id == of => all.extend_from_slice(&bytes),
                Sent::Fin(id) if id == of => return all,
                other => others.push(other),
            }
        }
    }
}
