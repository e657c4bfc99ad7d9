//! Streamed requests, as wasi:http makes them.

use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt, stream};
use http_body::{Body as _, Frame};
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use vk_egress::{Failure, Limits, Timeouts};

use crate::server::{OK, Server, Step};

const SHORT: Duration = Duration::from_millis(100);
const LIMITS: fn() -> Limits = || Limits { requests_in_flight: 1, ..Limits::default() };

fn request(server: &Server) -> http::Request<Empty<Bytes>> {
    http::Request::get(server.url("/a/../b")).header("x-a", "1").body(Empty::new()).unwrap()
}

#[tokio::test]
async fn bodies_stream_both_ways_and_keep_their_place_until_they_end() {
    let server = Server::start(&[
        Step::Send("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nab"),
        Step::Pause(SHORT),
        Step::Send("cd"),
    ])
    .await;
    let egress = server.egress(LIMITS());
    let pieces = stream::iter(["one", "two"])
        .map(|text| Ok::<_, std::io::Error>(Frame::data(Bytes::from_static(text.as_bytes()))));
    let put = http::Request::put(server.url("/up")).body(StreamBody::new(pieces)).unwrap();
    let mut response = egress.forward(put, Timeouts::default()).await.unwrap();
    assert_eq!(response.status(), 200);
    let first = response.body_mut().frame().await.unwrap().unwrap().into_data().unwrap();
    assert_eq!(first.as_ref(), b"ab");

    let waiting = Timeouts { total: Some(Duration::from_millis(10)), ..Timeouts::default() };
    let failure = egress.forward(request(&server), waiting).await.unwrap_err();
    assert!(matches!(&failure, Failure::Connect(text) if text.contains("sandbox.requests")), "{failure:?}");
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes().as_ref(), b"cd");

    let response = egress.forward(request(&server), Timeouts::default()).await.unwrap();
    drop(response);
    egress.forward(request(&server), Timeouts::default()).await.unwrap();

    let seen = server.requests();
    assert_eq!(seen.len(), 3);
    let host = server.address;
    assert_eq!(
        seen[0],
        format!(
            "PUT /up HTTP/1.1\r\nhost: {host}\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n"
        )
    );
    assert_eq!(seen[1], format!("GET /a/../b HTTP/1.1\r\nx-a: 1\r\nhost: {host}\r\n\r\n"));
}

#[tokio::test]
async fn each_time_of_a_stream_is_bounded() {
    let silent = Server::start(&[Step::Hang]).await;
    let first_byte = Timeouts { first_byte: Some(SHORT), ..Timeouts::default() };
    let failure = silent.egress(LIMITS()).forward(request(&silent), first_byte).await.unwrap_err();
    assert_eq!(failure, Failure::Timeout);

    let stalled = Server::start(&[Step::Send("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nab"), Step::Hang]).await;
    for timeouts in [
        Timeouts { between_bytes: Some(SHORT), ..Timeouts::default() },
        Timeouts { total: Some(SHORT), ..Timeouts::default() },
    ] {
        let egress = stalled.egress(LIMITS());
        let mut body = egress.forward(request(&stalled), timeouts).await.unwrap().into_body();
        assert!(body.frame().await.unwrap().is_ok());
        assert_eq!(body.frame().await.unwrap().unwrap_err(), Failure::Timeout);
        assert!(body.frame().await.is_none());
        // The failed body has left its place.
        egress.forward(request(&stalled), Timeouts::default()).await.unwrap();
    }
}

#[tokio::test]
async fn a_response_that_nobody_reads_leaves_its_place_when_its_time_is_up() {
    let server = Server::start(&[Step::Send("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nab"), Step::Hang]).await;
    let egress = server.egress(LIMITS());
    let timeouts = Timeouts { total: Some(SHORT), ..Timeouts::default() };
    let unread = egress.forward(request(&server), timeouts).await.unwrap();
    let second = egress.forward(request(&server), Timeouts { total: Some(SHORT * 20), ..timeouts }).await.unwrap();
    drop(second);
    let mut body = unread.into_body();
    assert_eq!(body.frame().await.unwrap().unwrap_err(), Failure::Timeout);
    assert!(body.is_end_stream() && body.frame().await.is_none());
}

#[tokio::test]
async fn the_rules_are_those_of_buffered_requests() {
    let server = Server::start(OK).await;
    let egress = server.egress(LIMITS());
    let denied = http::Request::get("http://other.test/").body(Empty::<Bytes>::new()).unwrap();
    // A task of its own, since wasi:http wants a future that can go to another thread.
    let denied = tokio::spawn({
        let egress = egress.clone();
        async move { egress.forward(denied, Timeouts::default()).await }
    });
    let failure = denied.await.unwrap().unwrap_err();
    assert_eq!(failure, Failure::Denied("sandbox.net does not grant http://other.test".into()));
    for (name, value) in [("host", "other"), ("upgrade", "x"), ("content-length", "4")] {
        let request =
            http::Request::post(server.url("/")).header(name, value).body(Full::new(Bytes::from("abc"))).unwrap();
        let failure = egress.forward(request, Timeouts::default()).await.unwrap_err();
        assert!(matches!(&failure, Failure::Invalid(text) if text.contains(name)), "{failure}");
    }
    let relative = http::Request::get("/").body(Empty::<Bytes>::new()).unwrap();
    assert!(matches!(egress.forward(relative, Timeouts::default()).await, Err(Failure::Invalid(_))));
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn a_request_body_that_fails_is_the_senders_fault() {
    let server = Server::start(OK).await;
    let pieces = stream::iter([Ok(Frame::data(Bytes::from("abc"))), Err(std::io::Error::other("the guest gave up"))]);
    let request = http::Request::post(server.url("/")).body(StreamBody::new(pieces)).unwrap();
    let failure = server.egress(LIMITS()).forward(request, Timeouts::default()).await.unwrap_err();
    assert!(matches!(&failure, Failure::Invalid(text) if text.contains("the guest gave up")), "{failure:?}");
}
