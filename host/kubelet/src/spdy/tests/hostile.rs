//! Peers that mean harm. The connection ends or holds them off, and what it holds stays bounded.

use std::time::Duration;

use bytes::BytesMut;
use tokio::{io::AsyncWriteExt, time::timeout};

use super::client::{
    Client, Deflater, Sent, connect, connect_over, control, data, headers, ping, plain_block, rst_stream, settings,
    syn_stream,
};
use crate::spdy::{
    Connection, Ended, Limits, ProtocolError, Status,
    frame::{Decoder, Frame, MAX_CONTROL_FRAME},
    header_block::{Inflater, MAX_HEADER, MAX_HEADERS, MAX_INFLATED},
};

/// More than a connection ever holds for a peer that floods it: answers, and data sent.
const HELD: usize = 8 * 1024;

/// Sends `flood` without reading anything, until it does not get further or the connection ends.
async fn flood(client: &mut Client, connection: &Connection, mut flood: impl FnMut(u32) -> Vec<u8>) -> u32 {
    for number in 0..100_000 {
        let frames = flood(number);
        match timeout(Duration::from_secs(60), client.transport.write_all(&frames)).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) | Err(_) => return number,
        }
        assert!(connection.streams.lock().held() <= HELD);
    }
    100_000
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_streams_that_is_read_is_refused() {
    let (mut client, connection, accept) = connect();
    let mut sent = 0;
    for batch in 0..1000 {
        for stream in 0..100 {
            client.syn(2 * (batch * 100 + stream) + 1, 0).await;
            sent += 1;
        }
        for _ in 0..100 {
            assert!(matches!(
                client.next().await,
                Some(Sent::Reply(_, false) | Sent::Reset(_, Status::REFUSED_STREAM))
            ));
        }
        let streams = connection.streams.lock();
        assert!(streams.held() <= HELD && streams.count() <= 8);
    }
    assert_eq!(sent, 100_000);
    drop(accept);
}

#[tokio::test(start_paused = true)]
async fn floods_of_what_is_answered_are_held_off_while_the_answers_are_not_read() {
    for kind in ["SYN_STREAM", "PING", "SYN_STREAM and RST_STREAM"] {
        let (mut client, connection, mut accept) = connect();
        // Streams are taken and given up at once, so that their number is no limit.
        let accepting = tokio::spawn(async move { while accept.next().await.is_some() {} });
        let mut deflater = Deflater::new();
        let mut syn = |number: u32| syn_stream(2 * number + 1, 0, &deflater.block(&[("a", "b")]));
        let sent = flood(&mut client, &connection, |number| match kind {
            "PING" => ping(2 * number + 1),
            "SYN_STREAM" => syn(number),
            _ => [syn(number), rst_stream(2 * number + 1, 5)].concat(),
        })
        .await;
        assert!(sent < 20_000, "{kind}: {sent} got through");
        // The process has nothing to fear, and after a while the connection is gone.
        assert!(matches!(connection.closed().await, Ended::Stalled), "{kind}");
        accepting.await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn floods_of_what_is_not_answered_take_nothing() {
    for kind in ["RST_STREAM", "SETTINGS", "WINDOW_UPDATE", "HEADERS", "data of no stream", "empty data", "unknown"] {
        let (mut client, connection, mut accept) = connect();
        let _stream = client.open(1, &mut accept).await;
        let mut deflater = std::mem::replace(&mut client.deflater, Deflater::new());
        let sent = flood(&mut client, &connection, |number| match kind {
            "RST_STREAM" => rst_stream(2 * number + 3, 5),
            "SETTINGS" => settings(1, 1),
            "WINDOW_UPDATE" => control(9, 0, &[0, 0, 0, 1, 0, 0, 1, 0]),
            "HEADERS" => headers(1, 0, &deflater.block(&[("a", "b")])),
            "data of no stream" => data(7, 0, b"x"),
            "empty data" => data(1, 0, b""),
            _ => control(99, 0xff, b"whatever"),
        })
        .await;
        assert_eq!(sent, 100_000, "{kind}");
        client.send(ping(1)).await;
        assert_eq!(client.next().await, Some(Sent::Ping(1)), "{kind}: it still works");
    }
}

#[tokio::test(start_paused = true)]
async fn frames_of_one_byte_are_kept_as_one_piece_and_up_to_the_limit() {
    let limit = 10_000;
    let (mut client, connection, mut accept) = connect_over(100, Limits { stream_buffer: limit, ..Limits::new(8) });
    let mut stream = client.open(1, &mut accept).await;
    let frame = data(1, 0, b"x");
    let mut sent = 0;
    while timeout(Duration::from_secs(10), client.transport.write_all(&frame)).await.is_ok() {
        sent += 1;
        assert!(connection.streams.lock().held() <= limit + 12);
    }
    assert!(sent >= limit);
    assert_eq!(stream.reader.read().await.unwrap().unwrap().len(), limit);
}

#[tokio::test(start_paused = true)]
async fn many_streams_that_are_not_read_share_one_limit() {
    let limits = Limits { stream_buffer: 10_000, connection_buffer: 50_000, ..Limits::new(100) };
    let (mut client, connection, mut accept) = connect_over(1000, limits);
    let mut streams = Vec::new();
    for number in 0..100 {
        streams.push(client.open(2 * number + 1, &mut accept).await);
    }
    for number in 0..100 {
        let frame = data(2 * number + 1, 0, &[7; 9000]);
        if timeout(Duration::from_secs(10), client.transport.write_all(&frame)).await.is_err() {
            break;
        }
    }
    let held = connection.streams.lock().held();
    assert!((50_000..=50_000 + 9000).contains(&held), "{held}");
    // Room for one is room for all.
    let first = streams[0].reader.read().await.unwrap().unwrap().len();
    assert!(first <= 9000);
}

#[tokio::test(start_paused = true)]
async fn streams_that_nobody_accepts_are_few() {
    let (mut client, connection, mut accept) = connect_over(1000, Limits::new(1024));
    let block = client.deflater.block(&[("large", "x".repeat(8000))]);
    client.send(syn_stream(1, 0, &block)).await;
    let mut id = 3;
    loop {
        let block = client.deflater.block(&[("large", "x".repeat(8000))]);
        if timeout(Duration::from_secs(10), client.transport.write_all(&syn_stream(id, 0, &block))).await.is_err() {
            break;
        }
        id += 2;
    }
    assert!(connection.streams.lock().count() <= 16);
    for expected in (1..=31).step_by(2) {
        assert_eq!(accept.next().await.unwrap().id, expected);
    }
    assert_eq!(accept.next().await.unwrap().id, 33, "it goes on");
}

/// Why the connection ends after these frames.
async fn ends_by(frames: &[u8]) -> ProtocolError {
    let (mut client, connection, _accept) = connect();
    client.send(frames).await;
    match timeout(Duration::from_secs(1), connection.closed()).await {
        Ok(Ended::Protocol(error)) => error,
        other => panic!("{other:?} after {frames:02x?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn malformed_frames_end_the_connection() {
    for (kind, flags, payload) in [
        (1, 0, &[0; 9][..]),
        (2, 0, &[0; 3]),
        (3, 0, &[0; 7]),
        (3, 0, &[0; 12]),
        (4, 0, &[0; 3]),
        (4, 0, &[0, 0, 0, 1]),
        (4, 0, &[0xff; 12]),
        (4, 0, &[0xff; 4]),
        (6, 0, &[0; 5]),
        (6, 1, &[0, 0, 0, 1]),
        (7, 0, &[0; 4]),
        (8, 0, &[]),
        (9, 0, &[0; 4]),
    ] {
        assert_eq!(ends_by(&control(kind, flags, payload)).await, ProtocolError::MalformedFrame(kind));
    }
    assert_eq!(ends_by(&settings(u32::MAX, 1)).await, ProtocolError::MalformedFrame(4));
    assert_eq!(ends_by(&settings(1 << 29, 0)).await, ProtocolError::MalformedFrame(4));
    assert_eq!(ends_by(&data(0, 0, b"x")).await, ProtocolError::StreamId(0));
    // What is too large is known before it comes.
    let head = &control(4, 0, &vec![0; MAX_CONTROL_FRAME + 1])[..8];
    assert_eq!(ends_by(head).await, ProtocolError::FrameTooLarge(MAX_CONTROL_FRAME + 1));
    assert_eq!(ends_by(b"\x80\x02\0\x01\0\0\0\0").await, ProtocolError::Version(2));
}

#[tokio::test(start_paused = true)]
async fn stream_ids_must_be_odd_and_rise() {
    let mut deflater = Deflater::new();
    let mut syn = |id| syn_stream(id, 0, &deflater.block(&[("a", "b")]));
    let once = |id| {
        let mut deflater = Deflater::new();
        syn_stream(id, 0, &deflater.block(&[("a", "b")]))
    };
    for id in [0, 2, 1 << 31, (1 << 31) + 2] {
        assert_eq!(ends_by(&once(id)).await, ProtocolError::StreamId(id & 0x7fff_ffff));
    }
    assert_eq!(ends_by(&[syn(3), syn(3)].concat()).await, ProtocolError::StreamId(3));
    let mut deflater = Deflater::new();
    let mut syn = |id| syn_stream(id, 0, &deflater.block(&[("a", "b")]));
    assert_eq!(ends_by(&[syn(5), syn(1)].concat()).await, ProtocolError::StreamId(1));
}

/// What is said of a block, deflated.
fn read_block(plain: &[u8]) -> Result<usize, ProtocolError> {
    Inflater::default().headers(&Deflater::new().deflate(plain)).map(|headers| headers.iter().count())
}

#[test]
fn header_blocks_have_bounds() {
    let header = |length: usize| [("n", "x".repeat(length))];
    assert_eq!(read_block(&plain_block(&header(MAX_HEADER))), Ok(1));
    assert_eq!(read_block(&plain_block(&header(MAX_HEADER + 1))), Err(ProtocolError::HeadersTooLarge));
    assert_eq!(read_block(&plain_block(&vec![("n", "v"); MAX_HEADERS])), Ok(MAX_HEADERS));
    assert_eq!(read_block(&plain_block(&vec![("n", "v"); MAX_HEADERS + 1])), Err(ProtocolError::HeadersTooLarge));
    // Two headers that take all the bytes that there may be, and then one more.
    let full = |more: usize| [("a", "x".repeat(MAX_HEADER)), ("b", "x".repeat(MAX_INFLATED - MAX_HEADER - 22 + more))];
    assert_eq!(plain_block(&full(0)).len(), MAX_INFLATED);
    assert_eq!(read_block(&plain_block(&full(0))), Ok(2));
    assert_eq!(read_block(&plain_block(&full(1))), Err(ProtocolError::HeadersTooLarge));

    for (malformed, why) in [
        (vec![], ProtocolError::MalformedHeaders),
        (vec![0, 0, 0], ProtocolError::MalformedHeaders),
        (vec![0, 0, 0, 1], ProtocolError::MalformedHeaders),
        (vec![0, 0, 0, 1, 0, 0, 0, 5, b'x'], ProtocolError::MalformedHeaders),
        (vec![0, 0, 0, 0, 0], ProtocolError::MalformedHeaders),
        (vec![0xff; 4], ProtocolError::HeadersTooLarge),
        (vec![0, 0, 0, 1, 0x80, 0, 0, 0, b'x'], ProtocolError::HeadersTooLarge),
    ] {
        assert_eq!(read_block(&malformed), Err(why), "{malformed:02x?}");
    }
}

#[test]
fn what_is_not_the_connections_zlib_stream_is_refused() {
    let good = Deflater::new().block(&[("a", "b")]);
    let mut other_dictionary = good.clone();
    other_dictionary[2] ^= 1;
    let mut bad_header = good.clone();
    bad_header[0] ^= 1;
    let ended = b"\x78\xf9\xe3\xc6\xa7\xc2\x03\x00\0\0\0\x01";
    for block in [&other_dictionary[..], &bad_header, ended, b"plain"] {
        assert_eq!(Inflater::default().headers(block), Err(ProtocolError::Compression), "{block:02x?}");
    }
    // Cut off: what was inflated is no whole block, unless only what ends the deflated one is missing.
    let whole = Inflater::default().headers(&good).unwrap();
    for length in 0..good.len() {
        match Inflater::default().headers(&good[..length]) {
            Ok(headers) => assert!(headers == whole && length > good.len() / 2, "{length}"),
            Err(error) => assert_eq!(error, ProtocolError::MalformedHeaders),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn inflate_bombs_end_the_connection() {
    // 16 MB of zeros are some 16 KB, as much as one frame may have: they cannot all be one header.
    let bomb = Deflater::new().deflate(&vec![0; 15_000_000]);
    assert!(bomb.len() < MAX_CONTROL_FRAME - 10, "{}", bomb.len());
    assert_eq!(ends_by(&syn_stream(1, 0, &bomb)).await, ProtocolError::HeadersTooLarge);
    assert_eq!(ends_by(&headers(1, 0, &bomb)).await, ProtocolError::HeadersTooLarge);
    assert_eq!(ends_by(&control(2, 0, &[&[0, 0, 0, 1], &bomb[..]].concat())).await, ProtocolError::HeadersTooLarge);
}

#[tokio::test(start_paused = true)]
async fn frames_cut_off_anywhere_end_the_connection_in_peace() {
    let mut deflater = Deflater::new();
    let all = [
        syn_stream(1, 0, &deflater.block(&[("a", "b")])),
        data(1, 0, b"some"),
        settings(1, 1),
        ping(1),
        headers(1, 0, &deflater.block(&[("c", "d")])),
        rst_stream(1, 5),
    ]
    .concat();
    for length in 0..all.len() {
        let (mut client, connection, _accept) = connect();
        client.send(&all[..length]).await;
        drop(client);
        let ended = connection.closed().await;
        assert!(matches!(ended, Ended::ByPeer | Ended::Broken(_)), "{ended}");
    }
}

#[test]
fn a_data_frame_is_never_held_whole() {
    let mut decoder = Decoder::default();
    let mut received = BytesMut::from(&[0, 0, 0, 1, 1, 0xff, 0xff, 0xff][..]);
    assert_eq!(decoder.next(&mut received), Ok(None));
    let mut missing = 0xff_ffff;
    while missing > 0 {
        let piece = missing.min(1000);
        received.extend_from_slice(&vec![7; piece]);
        missing -= piece;
        match decoder.next(&mut received) {
            Ok(Some(Frame::Data { id: 1, bytes, fin })) => {
                assert_eq!((bytes.len(), fin, received.len()), (piece, missing == 0, 0));
            }
            other => panic!("{other:?}"),
        }
    }
}
