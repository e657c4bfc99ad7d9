//! Whatever a peer sends, its connection ends in bounded time, and answers what it has to.
#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, duplex, split},
    time::timeout,
};
use vk_kubelet::spdy::{Connection, Limits};

/// One frame for each entry: its kind, its flags, the stream and what else is in it. Kind 0 is data, 255 is no frame.
type Entry<'a> = (u8, u8, u8, &'a [u8]);

fn wire(entries: &[Entry<'_>]) -> Vec<u8> {
    let mut wire = Vec::new();
    for (kind, flags, stream, payload) in entries {
        let stream = u32::from(*stream).to_be_bytes();
        let (first, payload) = match kind {
            0 => (stream, payload.to_vec()),
            255 => {
                wire.extend(*payload);
                continue;
            }
            kind => ([0x80, 3, 0, *kind], [&stream, *payload].concat()),
        };
        let Ok(length) = u16::try_from(payload.len()) else { continue };
        wire.extend(first);
        wire.extend([*flags, 0]);
        wire.extend(length.to_be_bytes());
        wire.extend(payload);
    }
    wire
}

fuzz_target!(|input: (u8, Vec<Entry<'_>>)| {
    let (pipe, entries) = input;
    let wire = wire(&entries);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let (client, server) = duplex(usize::from(pipe) + 1);
        let limits = Limits { stream_buffer: 100, connection_buffer: 1000, ..Limits::new(4) };
        let (connection, mut accept) = Connection::new(server, limits);
        let (mut reading, mut writing) = split(client);
        tokio::spawn(async move {
            let _ = writing.write_all(&wire).await;
            let _ = writing.shutdown().await;
        });
        tokio::spawn(async move {
            let mut dropped = [0; 100];
            while reading.read(&mut dropped).await.is_ok_and(|read| read > 0) {}
        });
        // Streams echo; some are given up early.
        let echoing = tokio::spawn(async move {
            while let Some(mut stream) = accept.next().await {
                tokio::spawn(async move {
                    while let Ok(Some(bytes)) = stream.reader.read().await {
                        if bytes.first() == Some(&b'!') || stream.writer.write(bytes).await.is_err() {
                            return;
                        }
                    }
                    stream.writer.finish();
                });
            }
        });
        timeout(Duration::from_secs(24 * 60 * 60), connection.closed()).await.expect("it ends");
        echoing.await.unwrap();
    });
});
