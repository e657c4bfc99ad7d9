//! Large transfers over a real socket.

use std::time::Instant;

use bytes::Bytes;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use super::client::{Deflater, FIN, data, syn_stream};
use crate::spdy::{Accept, Connection, Limits};

const TOTAL: usize = 128 * 1024 * 1024;
const CHUNK: usize = 32 * 1024;

async fn sockets() -> (TcpStream, Connection, Accept) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (server, _) = listener.accept().await.unwrap();
    let (connection, accept) = Connection::new(server, Limits::new(8));
    (client, connection, accept)
}

fn report(what: &str, began: Instant) {
    let mebibytes = (TOTAL / 1024 / 1024) as f64;
    eprintln!("{what}: {:.0} MiB/s", mebibytes / began.elapsed().as_secs_f64());
}

/// Byte `at` of the transfer. No multiple of the chunk, so that swapped chunks show.
fn pattern() -> Bytes {
    (0..CHUNK + 251).map(|at| (at % 251) as u8).collect::<Vec<u8>>().into()
}

fn chunk_at(pattern: &Bytes, at: usize) -> Bytes {
    pattern.slice(at % 251..at % 251 + CHUNK)
}

fn check(pattern: &Bytes, mut at: usize, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        let (piece, rest) = bytes.split_at(bytes.len().min(CHUNK));
        assert!(chunk_at(pattern, at)[..piece.len()] == *piece, "other bytes at {at}");
        at += piece.len();
        bytes = rest;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn much_is_received() {
    let (mut client, _connection, mut accept) = sockets().await;
    let pattern = pattern();
    let expected = pattern.clone();
    let began = Instant::now();
    let sending = tokio::spawn(async move {
        client.write_all(&syn_stream(1, 0, &Deflater::new().block(&[("a", "b")]))).await.unwrap();
        for at in (0..TOTAL).step_by(CHUNK) {
            client.write_all(&data(1, 0, &chunk_at(&pattern, at))).await.unwrap();
        }
        client.write_all(&data(1, FIN, b"")).await.unwrap();
        client
    });
    let mut stream = accept.next().await.unwrap();
    let mut total = 0;
    while let Some(bytes) = stream.reader.read().await.unwrap() {
        check(&expected, total, &bytes);
        total += bytes.len();
    }
    assert_eq!(total, TOTAL);
    report("received", began);
    sending.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn much_is_sent() {
    let (mut client, _connection, mut accept) = sockets().await;
    client.write_all(&syn_stream(1, FIN, &Deflater::new().block(&[("a", "b")]))).await.unwrap();
    let mut stream = accept.next().await.unwrap();
    let pattern = pattern();
    let expected = pattern.clone();
    let began = Instant::now();
    let sending = tokio::spawn(async move {
        for at in (0..TOTAL).step_by(CHUNK) {
            stream.writer.write(chunk_at(&pattern, at)).await.unwrap();
        }
        stream.writer.finish();
    });
    // The reply: a head, the stream, a block that begins the zlib stream.
    let mut reply = [0; 8 + 4 + 20];
    client.read_exact(&mut reply).await.unwrap();
    let (mut total, mut payload) = (0, Vec::new());
    loop {
        let (id, flags_and_length) = (client.read_u32().await.unwrap(), client.read_u32().await.unwrap());
        assert_eq!(id, 1);
        payload.resize((flags_and_length & 0xff_ffff) as usize, 0);
        client.read_exact(&mut payload).await.unwrap();
        check(&expected, total, &payload);
        total += payload.len();
        if flags_and_length >> 24 == 1 {
            break;
        }
    }
    assert_eq!(total, TOTAL);
    report("sent", began);
    sending.await.unwrap();
}
