use std::time::Duration;

use bytes::Bytes;
use tokio::{
    sync::mpsc,
    time::{Instant, sleep},
};

use super::*;
use crate::{
    spdy::Status,
    testing::{Sent, SpdyClient, spdy},
};

type Peer = SpdyClient<DuplexStream>;

async fn open(peer: &mut Peer, kind: &str) -> u32 {
    peer.open(&[("streamtype", kind)]).await
}

fn json(bytes: &[u8]) -> serde_json::Value {
    serde_json::from_slice(bytes).expect("a status")
}

#[tokio::test(start_paused = true)]
async fn version_4_has_input_its_end_output_and_status() {
    let streams = Streams::for_tests();
    let mut peer = spdy(serving(&streams, PIPES, cat), "v4.channel.k8s.io").await;
    let [error, stdin, stdout, stderr] = [
        open(&mut peer, "error").await,
        open(&mut peer, "stdin").await,
        open(&mut peer, "stdout").await,
        open(&mut peer, "stderr").await,
    ];
    peer.data(stdin, b"hello").await;
    assert_eq!(peer.next().await, Some(Sent::Data(stdout, "hello".into())));
    peer.fin(stdin).await;

    let mut others = Vec::new();
    let status = peer.read_stream(error, &mut others).await;
    assert_eq!(json(&status)["status"], "Success");
    assert_eq!(others, [Sent::Fin(stdout), Sent::Fin(stderr)], "output ends before the status");
    assert_eq!(peer.next().await, Some(Sent::Fin(stdin)));
    // As kubectl leaves.
    for id in [error, stdout, stderr] {
        peer.reset(id).await;
    }
    peer.goaway().await;
    let start = Instant::now();
    assert_eq!(peer.next().await, Some(Sent::GoAway));
    drop(peer);
    streams.all_gone().await;
    assert!(start.elapsed() < Duration::from_secs(1), "nothing is waited for");
}

#[tokio::test(start_paused = true)]
async fn the_status_comes_behind_all_output_however_much_that_is() {
    let session = |Client { mut output, .. }: Client| async move {
        output.output(vec![1; 100_000].into()).await.unwrap();
        output.error_output(vec![2; 200_000].into()).await.unwrap();
        output.finish(Outcome::Exit(1)).await;
    };
    for protocol in ["channel.k8s.io", "v4.channel.k8s.io"] {
        let streams = Streams::for_tests();
        let mut peer = spdy(serving(&streams, PIPES, session), protocol).await;
        let error = open(&mut peer, "error").await;
        open(&mut peer, "stdin").await;
        let (stdout, stderr) = (open(&mut peer, "stdout").await, open(&mut peer, "stderr").await);
        let mut others = Vec::new();
        assert!(!peer.read_stream(error, &mut others).await.is_empty());
        let length = |of| {
            others
                .iter()
                .map(|sent| match sent {
                    Sent::Data(id, bytes) if *id == of => bytes.len(),
                    _ => 0,
                })
                .sum::<usize>()
        };
        assert_eq!((length(stdout), length(stderr)), (100_000, 200_000), "{protocol}");
        assert!([stdout, stderr].iter().all(|id| others.contains(&Sent::Fin(*id))), "{protocol}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_close_is_told_to_after_ten_seconds() {
    let streams = Streams::for_tests();
    let mut peer = spdy(serving(&streams, OUTPUT, ending(Outcome::Exit(137))), "v4.channel.k8s.io").await;
    let (error, stdout) = (open(&mut peer, "error").await, open(&mut peer, "stdout").await);
    let mut others = Vec::new();
    let status = peer.read_stream(error, &mut others).await;
    assert_eq!(json(&status)["details"]["causes"][0]["message"], "137");
    assert_eq!(others, [Sent::Fin(stdout)]);
    let start = Instant::now();
    let mut resets = [peer.next().await, peer.next().await];
    assert_eq!(start.elapsed().as_secs(), 10);
    resets.sort_by_key(|sent| format!("{sent:?}"));
    assert_eq!(resets, [error, stdout].map(|id| Some(Sent::Reset(id, Status::CANCEL))));
    assert_eq!(peer.next().await, Some(Sent::GoAway));
    drop(peer);
    streams.all_gone().await;
}

#[tokio::test(start_paused = true)]
async fn before_version_4_only_a_failure_is_said_and_as_text() {
    let failed = Outcome::Failed(Error::new(ErrorKind::Unavailable, "the backend is away"));
    for protocol in ["channel.k8s.io", "v2.channel.k8s.io", "v3.channel.k8s.io"] {
        for (outcome, said) in [
            (Outcome::Exit(0), ""),
            (Outcome::Exit(3), "command terminated with non-zero exit code: 3"),
            (failed.clone(), "the backend is away"),
        ] {
            let streams = Streams::for_tests();
            let mut peer = spdy(serving(&streams, OUTPUT, ending(outcome)), protocol).await;
            let error = open(&mut peer, "error").await;
            open(&mut peer, "stdout").await;
            assert_eq!(peer.read_stream(error, &mut Vec::new()).await, said.as_bytes(), "{protocol}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn sizes_of_a_terminal_come_from_version_3_on() {
    let streams = Streams::for_tests();
    for (protocol, has_sizes) in
        [("v2.channel.k8s.io", false), ("v3.channel.k8s.io", true), ("v4.channel.k8s.io", true)]
    {
        let mut peer = spdy(serving(&streams, TERMINAL, cat), protocol).await;
        for kind in ["error", "stdin"] {
            open(&mut peer, kind).await;
        }
        let stdout = open(&mut peer, "stdout").await;
        if has_sizes {
            let resize = open(&mut peer, "resize").await;
            peer.data(resize, b"{\"Width\":80,").await;
            peer.data(resize, b"\"Height\":24}\n").await;
            assert_eq!(peer.next().await, Some(Sent::Data(stdout, "80x24".into())));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn streams_that_the_client_is_not_to_make_are_reset_and_nothing_else() {
    let streams = Streams::for_tests();
    let mut peer = spdy(serving(&streams, OUTPUT, cat), "v4.channel.k8s.io").await;
    open(&mut peer, "error").await;
    for kind in ["stdin", "stderr", "resize", "error", "nonsense", ""] {
        let id = open(&mut peer, kind).await;
        assert_eq!(peer.next().await, Some(Sent::Reset(id, Status::PROTOCOL_ERROR)), "{kind}");
    }
    open(&mut peer, "stdout").await;
    let late = peer.syn(&[("streamtype", "stderr")]).await;
    assert_eq!(peer.next().await, Some(Sent::Reset(late, Status::REFUSED_STREAM)));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_make_its_streams_gets_no_session() {
    let streams = Streams::for_tests();
    let session = |_| async { panic!("not all streams are there") };
    let mut peer = spdy(serving(&streams, PIPES, session), "v4.channel.k8s.io").await;
    let start = Instant::now();
    let error = open(&mut peer, "error").await;
    open(&mut peer, "stdin").await;
    open(&mut peer, "stdout").await;
    assert!(matches!(peer.next().await, Some(Sent::Reset(id, Status::CANCEL)) if id >= error));
    assert_eq!(start.elapsed().as_secs(), 30);
    drop(peer);
    streams.all_gone().await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_vanishes_is_gone_and_leaves_nothing() {
    let streams = Streams::for_tests();
    let (saw, mut seen) = mpsc::channel(8);
    let session = |Client { mut input, mut output }: Client| async move {
        for _ in 0..3 {
            saw.send(input.next().await).await.unwrap();
        }
        assert!(output.output(Bytes::from_static(b"x")).await.is_err(), "nobody is there");
        output.finish(Outcome::Exit(0)).await;
    };
    let mut peer = spdy(serving(&streams, PIPES, session), "v4.channel.k8s.io").await;
    open(&mut peer, "error").await;
    let stdin = open(&mut peer, "stdin").await;
    open(&mut peer, "stdout").await;
    open(&mut peer, "stderr").await;
    peer.data(stdin, b"last words").await;
    drop(peer);
    assert_eq!(seen.recv().await, Some(ClientEvent::Input("last words".into())));
    assert_eq!(seen.recv().await, Some(ClientEvent::Gone));
    assert_eq!(seen.recv().await, Some(ClientEvent::Gone), "and stays gone");
    streams.all_gone().await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_never_reads_stops_the_session() {
    let streams = Streams::for_tests();
    let (written, mut was_written) = mpsc::unbounded_channel();
    let session = |Client { mut output, .. }: Client| async move {
        while output.output(Bytes::from_static(&[b'x'; 10_000])).await.is_ok() {
            written.send(10_000).unwrap();
        }
    };
    let mut peer = spdy(serving(&streams, OUTPUT, session), "v4.channel.k8s.io").await;
    open(&mut peer, "error").await;
    open(&mut peer, "stdout").await;
    sleep(Duration::from_secs(60)).await;
    let total: usize = std::iter::from_fn(|| was_written.try_recv().ok()).sum();
    // What the pipe between them takes, and a few frames.
    assert!((64 << 10..320 << 10).contains(&total), "{total} bytes");
    drop(peer);
    streams.all_gone().await;
}

#[tokio::test(start_paused = true)]
async fn a_session_that_says_nothing_of_its_end_has_failed() {
    let streams = Streams::for_tests();
    let mut peer = spdy(serving(&streams, OUTPUT, |client| async { drop(client) }), "v4.channel.k8s.io").await;
    let error = open(&mut peer, "error").await;
    open(&mut peer, "stdout").await;
    let status = peer.read_stream(error, &mut Vec::new()).await;
    assert_eq!(json(&status)["message"], "the session broke off");
}

#[tokio::test(start_paused = true)]
async fn input_that_is_reset_is_closed() {
    let streams = Streams::for_tests();
    let mut peer = spdy(serving(&streams, PIPES, cat), "v4.channel.k8s.io").await;
    let error = open(&mut peer, "error").await;
    let stdin = open(&mut peer, "stdin").await;
    open(&mut peer, "stdout").await;
    open(&mut peer, "stderr").await;
    peer.reset(stdin).await;
    let status = peer.read_stream(error, &mut Vec::new()).await;
    assert_eq!(json(&status)["status"], "Success");
}
