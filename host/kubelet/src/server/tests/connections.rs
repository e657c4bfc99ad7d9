//! TLS, limits, and the end.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::io::DuplexStream;
use vk_provider::LogChunk;

use super::{
    super::{connection, place::Places},
    *,
};

#[tokio::test]
async fn tls_1_2_and_1_3_are_spoken_and_nothing_older() {
    let fixture = Fixture::new().await;
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let admin = fixture.client(ADMIN);
        let mut connection = fixture.try_connect(Some(&admin), &[version], &[b"h2", b"http/1.1"]).await.unwrap();
        assert_eq!(connection.0.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
        connection.send("GET /healthz HTTP/1.1\r\nHost: node\r\n\r\n").await;
        assert_eq!(connection.answer().await.status, 200);
    }

    let random = [7; 32];
    let extensions = [0, 10, 0, 4, 0, 2, 0, 29, 0, 13, 0, 4, 0, 2, 4, 3];
    let mut hello = vec![0x16, 3, 1, 0, 63, 1, 0, 0, 59, 3, 2];
    hello.extend(random);
    // No session, one cipher suite, no compression.
    hello.extend([0, 0, 2, 0xc0, 0x09, 1, 0, 0, 16]);
    hello.extend(extensions);
    assert_eq!(hello.len(), 5 + 63);
    let mut stream = TcpStream::connect(fixture.address).await.unwrap();
    stream.write_all(&hello).await.unwrap();
    let mut answer = Vec::new();
    let _ = time::timeout(SOON, stream.read_to_end(&mut answer)).await.unwrap();
    // An alert: fatal, protocol_version.
    assert_eq!((answer.first(), answer.get(5..)), (Some(&0x15), Some(&[2, 70][..])), "{answer:x?}");
}

#[tokio::test]
async fn http_2_alone_is_refused_and_plain_http_gets_no_answer() {
    let fixture = Fixture::new().await;
    assert!(fixture.try_connect(None, rustls::ALL_VERSIONS, &[b"h2"]).await.is_err());

    let mut stream = TcpStream::connect(fixture.address).await.unwrap();
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: node\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let _ = time::timeout(SOON, stream.read_to_end(&mut answer)).await.unwrap();
    assert!(!String::from_utf8_lossy(&answer).contains("HTTP"), "{answer:?}");
}

#[tokio::test]
async fn without_a_certificate_handshakes_fail_until_there_is_one() {
    let fixture = Fixture::with(Options { has_certificate: false, ..Options::default() }).await;
    assert!(fixture.try_connect(None, rustls::ALL_VERSIONS, &[]).await.is_err());
    fixture.certificates.replace(fixture.serving_authority.server("node").as_serving());
    assert_eq!(fixture.get("/healthz").await.status, 200);
    assert!(fixture.metric("vk_kubelet_certificate_expiry_timestamp_seconds") > 0.0);
}

#[tokio::test]
async fn a_certificate_is_replaced_under_load_without_a_failure() {
    let fixture = Arc::new(Fixture::new().await);
    let admin = fixture.client(ADMIN);
    let mut standing = fixture.connect(Some(&admin)).await;
    let (done, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let (fixture, admin, done, asked) = (fixture.clone(), admin.clone(), done.clone(), asked.clone());
            tokio::spawn(async move {
                while !done.load(Ordering::SeqCst) {
                    assert_eq!(fixture.ask(Some(&admin), "GET", "/healthz", "").await.status, 200);
                    asked.fetch_add(1, Ordering::SeqCst);
                }
            })
        })
        .collect();
    let mut last = None;
    for round in 1..=20 {
        let next = fixture.serving_authority.server(&format!("node-{round}"));
        fixture.certificates.replace(next.as_serving());
        last = Some(next);
        while asked.load(Ordering::SeqCst) < round * 2 {
            tokio::task::yield_now().await;
        }
    }
    done.store(true, Ordering::SeqCst);
    for client in clients {
        client.await.unwrap();
    }
    let connection = fixture.connect(Some(&admin)).await;
    assert_eq!(connection.0.get_ref().1.peer_certificates().unwrap(), last.unwrap().chain);
    standing.send("GET /healthz HTTP/1.1\r\nHost: node\r\n\r\n").await;
    assert_eq!(standing.answer().await.status, 200);
}

#[tokio::test]
async fn one_address_gets_no_more_connections_than_it_may_have() {
    let limits = Limits { unauthenticated_connections_per_address: 2, ..Limits::default() };
    let fixture = Fixture::with(Options { limits, ..Options::default() }).await;
    let first = fixture.connect(None).await;
    let second = fixture.connect(None).await;
    assert_eq!(fixture.metric("vk_kubelet_connections"), 2.0);
    assert!(fixture.try_connect(None, rustls::ALL_VERSIONS, &[]).await.is_err());
    drop((first, second));
    let admin = fixture.client(ADMIN);
    let again = async {
        loop {
            if let Ok(mut connection) = fixture.try_connect(Some(&admin), rustls::ALL_VERSIONS, &[]).await {
                connection.send("GET /healthz HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n").await;
                return connection.rest().await.status;
            }
            tokio::task::yield_now().await;
        }
    };
    assert_eq!(time::timeout(SOON, again).await.unwrap(), 200);
}

const ASKS: &str = "GET /healthz HTTP/1.1\r\nHost: node\r\n\r\n";

#[tokio::test]
async fn strangers_take_no_place_from_those_who_are_known() {
    let limits = Limits { unauthenticated_connections: 1, connections: 2, ..Limits::default() };
    let fixture = Fixture::with(Options { limits, ..Options::default() }).await;
    let admin = fixture.client(ADMIN);
    let (mut first, mut second) = (fixture.connect(Some(&admin)).await, None);
    first.send(ASKS).await;
    assert_eq!(first.answer().await.status, 200);

    let stranger = fixture.connect(None).await;
    assert!(fixture.try_connect(None, rustls::ALL_VERSIONS, &[]).await.is_err(), "one stranger is enough");
    first.send(ASKS).await;
    assert_eq!(first.answer().await.status, 200);

    drop(stranger);
    fixture.settles("vk_kubelet_connections", 1.0).await;
    for status in [200, 429] {
        let mut connection = fixture.connect(Some(&admin)).await;
        connection.send(ASKS).await;
        let answer = connection.answer().await;
        assert_eq!((answer.status, answer.closes()), (status, status == 429), "{answer:?}");
        second.get_or_insert(connection);
    }
}

#[tokio::test]
async fn a_head_that_is_too_large_is_refused() {
    let fixture = Fixture::new().await;
    let admin = fixture.client(ADMIN);
    let command = "x".repeat(60_000);
    let fits = fixture.ask(Some(&admin), "GET", &format!("/healthz?command={command}"), "").await;
    assert_eq!(fits.status, 200);
    let headers = format!("X-Large: {}\r\n", "x".repeat(200_000));
    let mut connection = fixture.connect(Some(&admin)).await;
    let request = format!("GET /healthz HTTP/1.1\r\nHost: node\r\n{headers}\r\n");
    // The server need not read it to the end.
    let _ = connection.0.write_all(request.as_bytes()).await;
    let _ = connection.0.flush().await;
    let answer = connection.until_closed().await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "{answer}");
    assert_eq!(fixture.get("/healthz").await.status, 200);
}

#[tokio::test]
async fn a_stop_ends_idle_connections_at_once_and_takes_no_new_ones() {
    let fixture = Fixture::with(Options { stop_grace: SOON, ..Options::default() }).await;
    let mut idle = fixture.connect(Some(&fixture.client(ADMIN))).await;
    idle.send("GET /healthz HTTP/1.1\r\nHost: node\r\n\r\n").await;
    assert_eq!(idle.answer().await.status, 200);
    let address = fixture.address;
    fixture.stop().await;
    assert_eq!(idle.until_closed().await, "");
    assert!(TcpStream::connect(address).await.is_err());
}

impl Fixture {
    /// How long a connection lasts whose client does this and then no more.
    async fn lasts<F: Future<Output = C>, C>(&self, client: impl FnOnce(DuplexStream) -> F) -> f64 {
        let place = Places::new(&Limits::default(), Metrics::default()).enter(Ipv4Addr::LOCALHOST.into()).unwrap();
        let (near, far) = tokio::io::duplex(1 << 16);
        time::pause();
        let began = time::Instant::now();
        let (_client, ()) = tokio::join!(client(near), connection::serve(self.shared.clone(), far, place));
        began.elapsed().as_secs_f64()
    }
}

#[tokio::test]
async fn who_does_not_shake_hands_is_dropped_after_ten_seconds() {
    let lasted = Fixture::new().await.lasts(|stream| async { stream }).await;
    assert!((10.0..11.0).contains(&lasted), "{lasted}");
}

#[tokio::test]
async fn who_sends_no_whole_request_is_dropped_after_ten_seconds() {
    let fixture = Fixture::new().await;
    let connector = fixture.connector(None, rustls::ALL_VERSIONS, &[]);
    let lasted = fixture
        .lasts(|stream| async move {
            let mut stream = connector.connect("127.0.0.1".try_into().unwrap(), stream).await.unwrap();
            stream.write_all(b"GET /healthz HTTP/1.1\r\nHost:").await.unwrap();
            stream.flush().await.unwrap();
            stream
        })
        .await;
    assert!((10.0..11.0).contains(&lasted), "{lasted}");
}

#[tokio::test]
async fn who_asks_nothing_more_is_dropped_after_ninety_seconds() {
    let fixture = Fixture::new().await;
    let connector = fixture.connector(Some(&fixture.client(ADMIN)), rustls::ALL_VERSIONS, &[]);
    let lasted = fixture
        .lasts(|stream| async move {
            let mut stream = connector.connect("127.0.0.1".try_into().unwrap(), stream).await.unwrap();
            stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: node\r\n\r\n").await.unwrap();
            stream.flush().await.unwrap();
            stream
        })
        .await;
    assert!((85.0..95.0).contains(&lasted), "{lasted}");
}

#[tokio::test]
async fn who_takes_nothing_of_a_log_is_dropped_after_four_hours() {
    let fixture = Fixture::new().await;
    let chunk = || LogChunk { data: vec![b'x'; 1 << 16], next: Some(Vec::new()), read_after: Duration::ZERO };
    fixture.provider.chunks.lock().unwrap().extend((0..100).map(|_| Ok(chunk())));
    fixture.provider.is_writing.store(true, Ordering::SeqCst);
    let connector = fixture.connector(Some(&fixture.client(ADMIN)), rustls::ALL_VERSIONS, &[]);
    let lasted = fixture
        .lasts(|stream| async move {
            let mut stream = connector.connect("127.0.0.1".try_into().unwrap(), stream).await.unwrap();
            stream.write_all(b"GET /containerLogs/ns/p/c?follow=1 HTTP/1.1\r\nHost: node\r\n\r\n").await.unwrap();
            stream.flush().await.unwrap();
            stream
        })
        .await;
    assert!((14_400.0..14_500.0).contains(&lasted), "{lasted}");
}
