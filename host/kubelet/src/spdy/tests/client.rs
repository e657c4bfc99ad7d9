//! The other half of the protocol, as little of it as tests need.

use bytes::{Buf, Bytes, BytesMut};
use flate2::{Compress, Compression, FlushCompress};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
    task::yield_now,
};

use crate::spdy::{
    Accept, Connection, Incoming, Limits, Status,
    dictionary::DICTIONARY,
    frame::{Decoder, Frame},
    header_block::Inflater,
};

pub(super) const FIN: u8 = 1;
pub(super) const UNIDIRECTIONAL: u8 = 2;

/// A control frame of whatever version, kind and length.
pub(super) fn control(kind: u16, flags: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x80, 3];
    frame.extend(kind.to_be_bytes());
    frame.extend((u32::from(flags) << 24 | payload.len() as u32).to_be_bytes());
    frame.extend(payload);
    frame
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_be_bytes()).collect()
}

pub(super) fn syn_stream(id: u32, flags: u8, block: &[u8]) -> Vec<u8> {
    control(1, flags, &[&words(&[id, 0]), &[0, 0][..], block].concat())
}

pub(super) fn headers(id: u32, flags: u8, block: &[u8]) -> Vec<u8> {
    control(8, flags, &[&words(&[id]), block].concat())
}

pub(super) fn rst_stream(id: u32, status: u32) -> Vec<u8> {
    control(3, 0, &words(&[id, status]))
}

pub(super) fn settings(count: u32, entries: usize) -> Vec<u8> {
    control(4, 0, &[words(&[count]), vec![7; entries * 8]].concat())
}

pub(super) fn ping(id: u32) -> Vec<u8> {
    control(6, 0, &words(&[id]))
}

pub(super) fn goaway() -> Vec<u8> {
    control(7, 0, &words(&[0, 0]))
}

pub(super) fn data(id: u32, flags: u8, bytes: &[u8]) -> Vec<u8> {
    [&words(&[id, u32::from(flags) << 24 | bytes.len() as u32]), bytes].concat()
}

/// A header block before it is deflated.
pub(super) fn plain_block<N: AsRef<[u8]>, V: AsRef<[u8]>>(headers: &[(N, V)]) -> Vec<u8> {
    let mut block = words(&[headers.len() as u32]);
    for (name, value) in headers {
        for text in [name.as_ref(), value.as_ref()] {
            block.extend(words(&[text.len() as u32]));
            block.extend(text);
        }
    }
    block
}

/// The zlib stream of a client's header blocks.
pub(super) struct Deflater(Compress);

impl Deflater {
    pub(super) fn new() -> Self {
        let mut compress = Compress::new(Compression::best(), true);
        compress.set_dictionary(DICTIONARY).unwrap();
        Self(compress)
    }

    pub(super) fn deflate(&mut self, mut plain: &[u8]) -> Vec<u8> {
        let mut deflated = Vec::with_capacity(plain.len() + 64);
        loop {
            let before = self.0.total_in();
            self.0.compress_vec(plain, &mut deflated, FlushCompress::Sync).unwrap();
            plain = &plain[(self.0.total_in() - before) as usize..];
            if plain.is_empty() && deflated.len() < deflated.capacity() {
                return deflated;
            }
            deflated.reserve(4096);
        }
    }

    pub(super) fn block<N: AsRef<[u8]>, V: AsRef<[u8]>>(&mut self, headers: &[(N, V)]) -> Vec<u8> {
        self.deflate(&plain_block(headers))
    }
}

/// What the server sent.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Sent {
    Reply(u32, bool),
    Reset(u32, Status),
    Ping(u32),
    GoAway,
    /// A frame's worth of bytes, and whether they are the last.
    Data(u32, Bytes, bool),
}

pub(super) struct Client {
    pub(super) transport: DuplexStream,
    pub(super) deflater: Deflater,
    decoder: Decoder,
    inflater: Inflater,
    received: BytesMut,
}

/// A connection and its client, with so many bytes between them.
pub(super) fn connect_over(pipe: usize, limits: Limits) -> (Client, Connection, Accept) {
    let (transport, server) = tokio::io::duplex(pipe);
    let (connection, accept) = Connection::new(server, limits);
    let client = Client {
        transport,
        deflater: Deflater::new(),
        decoder: Decoder::default(),
        inflater: Inflater::default(),
        received: BytesMut::new(),
    };
    (client, connection, accept)
}

pub(super) fn connect() -> (Client, Connection, Accept) {
    connect_over(64 * 1024, Limits::new(8))
}

/// Lets the driver do all that it can.
pub(super) async fn settle() {
    for _ in 0..100 {
        yield_now().await;
    }
}

impl Client {
    pub(super) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.transport.write_all(bytes.as_ref()).await.unwrap();
    }

    pub(super) async fn syn(&mut self, id: u32, flags: u8) {
        let block = self.deflater.block(&[("streamtype", format!("number {id}"))]);
        self.send(syn_stream(id, flags, &block)).await;
    }

    /// Opens a stream and takes the reply.
    pub(super) async fn open(&mut self, id: u32, accept: &mut Accept) -> Incoming {
        self.syn(id, 0).await;
        assert_eq!(self.next().await, Some(Sent::Reply(id, false)));
        let incoming = accept.next().await.expect("the stream");
        assert_eq!((incoming.id, incoming.headers.get("StreamType")), (id, Some(&*format!("number {id}"))));
        incoming
    }

    /// What the server sends next; none once it has closed.
    pub(super) async fn next(&mut self) -> Option<Sent> {
        loop {
            if let Some(frame) = self.decoder.next(&mut self.received).expect("the server keeps the protocol") {
                return Some(match frame {
                    Frame::Headers { id, fin, block } => {
                        assert_eq!(self.inflater.headers(&block).unwrap().iter().count(), 0);
                        Sent::Reply(id, fin)
                    }
                    Frame::RstStream { id, status } => Sent::Reset(id, status),
                    Frame::Ping(id) => Sent::Ping(id),
                    Frame::GoAway => Sent::GoAway,
                    Frame::Data { id, bytes, fin } => Sent::Data(id, bytes, fin),
                    Frame::SynStream { .. } | Frame::Ignored => panic!("a server sends no {frame:?}"),
                });
            }
            if self.transport.read_buf(&mut self.received).await.unwrap_or(0) == 0 {
                assert!(!self.received.has_remaining(), "the server stops within a frame");
                return None;
            }
        }
    }

    /// Everything up to the end of a stream.
    pub(super) async fn read_stream(&mut self, of: u32) -> Vec<u8> {
        let mut all = Vec::new();
        loop {
            match self.next().await {
                Some(Sent::Data(id, bytes, fin)) if id == of => {
                    all.extend_from_slice(&bytes);
                    if fin {
                        return all;
                    }
                }
                other => panic!("{other:?} instead of data of stream {of}"),
            }
        }
    }
}
