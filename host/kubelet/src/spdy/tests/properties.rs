//! Whatever is sent, and however it is cut, arrives.

use std::collections::HashMap;

use bytes::{Bytes, BytesMut};
use proptest::{collection::vec, prelude::*};
use tokio::io::AsyncWriteExt;

use super::client::{Deflater, FIN, Sent, connect_over, data, goaway, headers, ping, rst_stream, settings, syn_stream};
use crate::spdy::{
    Limits, Status,
    frame::{Decoder, Frame},
    header_block::Inflater,
};

type Header = (Vec<u8>, Vec<u8>);

#[derive(Debug, Clone)]
enum Op {
    Open { fin: bool, headers: Vec<Header> },
    Headers { id: u32, fin: bool, headers: Vec<Header> },
    Data { id: u32, fin: bool, bytes: Vec<u8> },
    Reset { id: u32, status: u32 },
    Ping(u32),
    Settings(u8),
    GoAway,
}

fn some_headers() -> impl Strategy<Value = Vec<Header>> {
    vec((vec(any::<u8>(), 0..20), vec(any::<u8>(), 0..200)), 0..8)
}

fn op() -> impl Strategy<Value = Op> {
    let id = 1..=0x7fff_ffffu32;
    prop_oneof![
        (any::<bool>(), some_headers()).prop_map(|(fin, headers)| Op::Open { fin, headers }),
        (id.clone(), any::<bool>(), some_headers()).prop_map(|(id, fin, headers)| Op::Headers { id, fin, headers }),
        (id.clone(), any::<bool>(), vec(any::<u8>(), 0..300)).prop_map(|(id, fin, bytes)| Op::Data { id, fin, bytes }),
        (id, any::<u32>()).prop_map(|(id, status)| Op::Reset { id, status }),
        any::<u32>().prop_map(Op::Ping),
        any::<u8>().prop_map(Op::Settings),
        Just(Op::GoAway),
    ]
}

/// What frames say, with the pieces of data put together and headers inflated.
#[derive(Debug, PartialEq, Eq)]
enum Said {
    Open(u32, bool, Vec<Header>),
    Headers(u32, bool, Vec<Header>),
    Data(u32, bool, Vec<u8>),
    Other(Frame),
}

fn encode(ops: &[Op]) -> (Vec<u8>, Vec<Said>) {
    let (mut deflater, mut last_id) = (Deflater::new(), 0xffff_ffff);
    let mut said = Vec::new();
    let mut wire = Vec::new();
    for op in ops {
        let (frame, what) = match op.clone() {
            Op::Open { fin, headers } => {
                last_id = u32::wrapping_add(last_id, 2);
                let frame = syn_stream(last_id, u8::from(fin), &deflater.block(&headers));
                (frame, Said::Open(last_id, fin, headers))
            }
            Op::Headers { id, fin, headers: list } => {
                (headers(id, u8::from(fin), &deflater.block(&list)), Said::Headers(id, fin, list))
            }
            Op::Data { id, fin, bytes } => (data(id, u8::from(fin), &bytes), Said::Data(id, fin, bytes)),
            Op::Reset { id, status } => {
                (rst_stream(id, status), Said::Other(Frame::RstStream { id, status: Status(status) }))
            }
            Op::Ping(id) => (ping(id), Said::Other(Frame::Ping(id))),
            Op::Settings(count) => (settings(u32::from(count), count.into()), Said::Other(Frame::Ignored)),
            Op::GoAway => (goaway(), Said::Other(Frame::GoAway)),
        };
        wire.extend(frame);
        said.push(what);
    }
    (wire, said)
}

fn decode<'a>(pieces: impl IntoIterator<Item = &'a [u8]>, data_lengths: &[usize]) -> Vec<Said> {
    let (mut decoder, mut inflater, mut received) = (Decoder::default(), Inflater::default(), BytesMut::new());
    let mut lengths = data_lengths.iter();
    let mut data: Option<(usize, Vec<u8>)> = None;
    let mut said = Vec::new();
    let mut list = |block: Bytes| -> Vec<Header> {
        let headers = inflater.headers(&block).unwrap();
        headers.iter().map(|(name, value)| (name.to_vec(), value.to_vec())).collect()
    };
    for piece in pieces {
        received.extend_from_slice(piece);
        while let Some(frame) = decoder.next(&mut received).unwrap() {
            match frame {
                Frame::SynStream { id, fin, block, unidirectional: false } => {
                    said.push(Said::Open(id, fin, list(block)))
                }
                Frame::Headers { id, fin, block } => said.push(Said::Headers(id, fin, list(block))),
                Frame::Data { id, bytes, fin } => {
                    let (length, mut all) = data.take().unwrap_or_else(|| (*lengths.next().unwrap(), Vec::new()));
                    all.extend_from_slice(&bytes);
                    if all.len() == length {
                        said.push(Said::Data(id, fin, all));
                    } else {
                        assert!(!fin, "the end comes with the last piece");
                        data = Some((length, all));
                    }
                }
                other => said.push(Said::Other(other)),
            }
        }
    }
    assert!(received.is_empty() && data.is_none());
    said
}

proptest! {
    #[test]
    fn frames_come_out_as_they_went_in_however_they_are_cut(ops in vec(op(), 0..20), cuts in vec(1..400usize, 1..20)) {
        let (wire, said) = encode(&ops);
        let lengths: Vec<usize> =
            said.iter().filter_map(|said| if let Said::Data(_, _, bytes) = said { Some(bytes.len()) } else { None }).collect();
        let mut rest = &wire[..];
        let mut cuts = cuts.iter().cycle();
        let pieces = std::iter::from_fn(|| {
            let (piece, left) = rest.split_at(rest.len().min(*cuts.next()?));
            rest = left;
            (!piece.is_empty()).then_some(piece)
        });
        prop_assert_eq!(decode(pieces, &lengths), said);
    }

    #[test]
    fn any_bytes_are_frames_or_an_error(bytes in vec(any::<u8>(), 0..2000), control in any::<bool>()) {
        let mut received = BytesMut::from(&bytes[..]);
        if control && received.len() > 1 {
            received[0] = 0x80;
            received[1] = 3;
        }
        let (mut decoder, mut left) = (Decoder::default(), received.len());
        while let Ok(Some(_)) = decoder.next(&mut received) {
            prop_assert!(received.len() < left, "every frame takes bytes");
            left = received.len();
        }
    }

    #[test]
    fn any_bytes_are_headers_or_an_error(blocks in vec(vec(any::<u8>(), 0..200), 1..4), begun in any::<bool>()) {
        let mut inflater = Inflater::default();
        if begun {
            inflater.headers(&Deflater::new().block(&[("a", "b")])).unwrap();
        }
        for block in blocks {
            if inflater.headers(&block).is_err() {
                break;
            }
        }
    }

    #[test]
    fn streams_echo_what_they_are_sent(
        sent in vec((0..4u32, vec(any::<u8>(), 0..5000)), 0..40), pipe in 1..3000usize, limit in 1..5000usize,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let limits = Limits { stream_buffer: limit, ..Limits::new(4) };
            let (mut client, connection, mut accept) = connect_over(pipe, limits);
            let mut expected: HashMap<u32, Vec<u8>> = HashMap::new();
            let mut echoes = Vec::new();
            let mut wire = Vec::new();
            for number in 0..4 {
                let id = 2 * number + 1;
                let mut stream = client.open(id, &mut accept).await;
                echoes.push(tokio::spawn(async move {
                    while let Some(bytes) = stream.reader.read().await.unwrap() {
                        stream.writer.write(bytes).await.unwrap();
                    }
                    stream.writer.finish();
                }));
                expected.insert(id, Vec::new());
            }
            for (number, bytes) in &sent {
                let id = 2 * number + 1;
                wire.extend(data(id, 0, bytes));
                expected.get_mut(&id).unwrap().extend(bytes);
            }
            for id in expected.keys() {
                wire.extend(data(*id, FIN, b""));
            }
            wire.extend(goaway());

            let (unused, _) = tokio::io::duplex(1);
            let (reading, mut writing) = tokio::io::split(std::mem::replace(&mut client.transport, unused));
            let sending = tokio::spawn(async move {
                writing.write_all(&wire).await.unwrap();
                writing
            });
            // Reads and writes at once, as a real client does: with one at a time, both sides may wait for each other.
            client.transport = relay(reading);
            let mut echoed: HashMap<u32, Vec<u8>> = expected.keys().map(|id| (*id, Vec::new())).collect();
            loop {
                match client.next().await {
                    Some(Sent::Data(id, bytes, _)) => echoed.get_mut(&id).unwrap().extend(bytes),
                    Some(Sent::GoAway) => break,
                    other => panic!("{other:?}"),
                }
            }
            assert_eq!(echoed, expected);
            for echo in echoes {
                echo.await.unwrap();
            }
            drop(sending.await.unwrap());
            assert_eq!(connection.streams.lock().held(), 0);
        });
    }
}

/// What is read, as the transport of a client that only reads.
fn relay(mut from: tokio::io::ReadHalf<tokio::io::DuplexStream>) -> tokio::io::DuplexStream {
    let (near, mut far) = tokio::io::duplex(4096);
    tokio::spawn(async move { tokio::io::copy(&mut from, &mut far).await });
    near
}
