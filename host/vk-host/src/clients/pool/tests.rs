use std::{
    convert::Infallible,
    future::pending,
    io,
    sync::atomic::AtomicU32,
    task::{Context, Poll},
};

use futures::{StreamExt as _, future::join_all, stream};
use http_body_util::{BodyExt as _, StreamBody, combinators::UnsyncBoxBody};
use hyper::{server, service::service_fn};
use hyper_util::{
    client::legacy::{self, connect::Connected},
    rt::TokioIo,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf, duplex},
    sync::watch,
    time::Instant,
};

use super::*;

/// A server in the process. `/watch` is answered and then stays silent; everything else is answered at once.
#[derive(Clone)]
struct Server(Arc<Shared>);

struct Shared {
    http2: AtomicBool,
    limit: u32,
    connects: AtomicU32,
    open: watch::Sender<u32>,
    mood: watch::Sender<Mood>,
}

#[derive(Clone, Copy, PartialEq)]
enum Mood {
    Serves,
    Refuses,
    /// Reads and writes nothing any more, and closes nothing.
    Dead,
    /// Ends connections once their requests have ended.
    Leaves,
}

impl Server {
    fn new(http2: bool, limit: u32) -> Self {
        let (open, mood) = (watch::Sender::new(0), watch::Sender::new(Mood::Serves));
        let http2 = AtomicBool::new(http2);
        Self(Arc::new(Shared { http2, limit, connects: AtomicU32::new(0), open, mood }))
    }

    fn pool(&self) -> Pool<Self> {
        let http1 = legacy::Client::builder(TokioExecutor::new()).build::<_, Body>(self.clone());
        let timeout = Some(Duration::from_secs(30));
        Pool::new(self.clone(), http1, "http://api".parse().unwrap(), timeout, Gauge::default())
    }

    fn connects(&self) -> u32 {
        self.0.connects.load(Ordering::Relaxed)
    }

    fn open(&self) -> u32 {
        *self.0.open.borrow()
    }

    fn becomes(&self, mood: Mood) {
        self.0.mood.send_replace(mood);
    }

    async fn serve(self, pipe: DuplexStream, http2: bool) {
        self.0.open.send_modify(|open| *open += 1);
        let mut mood = self.0.mood.subscribe();
        let io = TokioIo::new(pipe);
        let until = async |wanted| drop(mood.clone().wait_for(|mood| *mood == wanted).await);
        if http2 {
            let mut builder = server::conn::http2::Builder::new(TokioExecutor::new());
            let mut serving =
                pin!(builder.max_concurrent_streams(self.0.limit).serve_connection(io, service_fn(answer)));
            tokio::select! {
                _ = &mut serving => {}
                () = until(Mood::Dead) => pending().await,
                () = until(Mood::Leaves) => {
                    serving.as_mut().graceful_shutdown();
                    let _ = serving.await;
                }
            }
        } else {
            let _ = server::conn::http1::Builder::new().serve_connection(io, service_fn(answer)).await;
        }
        mood.mark_unchanged();
        self.0.open.send_modify(|open| *open -= 1);
    }
}

async fn answer(request: Request<Incoming>) -> Result<Response<UnsyncBoxBody<Bytes, Infallible>>, Infallible> {
    let first = stream::iter([Ok(Frame::data(Bytes::from_static(b"{}")))]);
    let body = match request.uri().path() {
        "/watch" => StreamBody::new(first.chain(stream::pending())).boxed_unsync(),
        _ => StreamBody::new(first).boxed_unsync(),
    };
    Ok(Response::new(body))
}

impl Service<Uri> for Server {
    type Response = TokioIo<Pipe>;
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<TokioIo<Pipe>>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let server = self.clone();
        async move {
            server.0.connects.fetch_add(1, Ordering::Relaxed);
            if *server.0.mood.borrow() == Mood::Refuses {
                return Err(io::ErrorKind::ConnectionRefused.into());
            }
            let (near, far) = duplex(64 * 1024);
            let http2 = server.0.http2.load(Ordering::Relaxed);
            tokio::spawn(server.serve(far, http2));
            Ok(TokioIo::new(Pipe { stream: near, http2 }))
        }
        .boxed()
    }
}

struct Pipe {
    stream: DuplexStream,
    http2: bool,
}

impl Connect for Pipe {
    fn connected(&self) -> Connected {
        if self.http2 { Connected::new().negotiated_h2() } else { Connected::new() }
    }
}

impl AsyncRead for Pipe {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Pipe {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, data)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Sends a request and waits until its answer begins.
async fn ask(pool: &Pool<Server>, path: &str) -> Result<Response<PooledBody>, BoxError> {
    let request = Request::get(format!("http://api{path}")).body(Body::empty()).unwrap();
    timeout(Duration::from_secs(600), pool.clone().send(request)).await.expect("no answer in ten minutes")
}

async fn watches(pool: &Pool<Server>, count: usize) -> Vec<Response<PooledBody>> {
    let asked = join_all((0..count).map(|_| ask(pool, "/watch"))).await;
    asked.into_iter().map(Result::unwrap).collect()
}

#[tokio::test(start_paused = true)]
async fn watches_share_connections_and_nothing_waits_behind_them() {
    let server = Server::new(true, 100);
    let pool = server.pool();
    let watches = watches(&pool, 250).await;
    assert_eq!(server.connects(), 3);
    let began = Instant::now();
    let answer = ask(&pool, "/").await.unwrap().into_body().collect().await.unwrap();
    assert_eq!(answer.to_bytes(), "{}");
    assert_eq!((server.connects(), began.elapsed()), (3, Duration::ZERO));
    drop(watches);
}

#[tokio::test(start_paused = true)]
async fn no_connection_carries_more_than_the_server_admits() {
    let server = Server::new(true, 7);
    let pool = server.pool();
    let mut watches = watches(&pool, 28).await;
    assert_eq!(server.connects(), 4);
    watches.truncate(20);
    // Places that became free are taken before a connection is opened.
    let more = self::watches(&pool, 8).await;
    assert_eq!(server.connects(), 4);
    let _one_more = ask(&pool, "/watch").await.unwrap();
    assert_eq!(server.connects(), 5);
    drop((watches, more));
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_was_read_to_its_end_has_left_its_place() {
    let server = Server::new(true, 1);
    let pool = server.pool();
    let mut answer = ask(&pool, "/").await.unwrap();
    while answer.body_mut().frame().await.is_some() {}
    ask(&pool, "/").await.unwrap();
    assert_eq!(server.connects(), 1);
}

#[tokio::test(start_paused = true)]
async fn connections_that_carry_nothing_are_closed_and_watches_keep_theirs() {
    let server = Server::new(true, 10);
    let pool = server.pool();
    let mut watches = watches(&pool, 30).await;
    assert_eq!(server.open(), 3);
    assert_eq!(pool.0.open.get(), 3);
    watches.truncate(1);
    tokio::time::sleep(3 * IDLE).await;
    assert_eq!((server.open(), pool.0.open.get()), (1, 1));
    drop(watches);
    tokio::time::sleep(3 * IDLE).await;
    assert_eq!(server.open(), 0);
    ask(&pool, "/").await.unwrap();
    assert_eq!(server.connects(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_watch_on_a_dead_connection_ends_within_half_a_minute() {
    let server = Server::new(true, 10);
    let pool = server.pool();
    let mut watch = ask(&pool, "/watch").await.unwrap();
    watch.body_mut().frame().await.unwrap().unwrap();
    tokio::time::sleep(10 * IDLE).await;
    server.becomes(Mood::Dead);
    let died = Instant::now();
    assert!(watch.body_mut().frame().await.unwrap().is_err());
    assert!(died.elapsed() <= SILENCE + PING_TIMEOUT, "{:?}", died.elapsed());
    server.becomes(Mood::Serves);
    ask(&pool, "/").await.unwrap();
    assert_eq!(server.connects(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_leaves_ends_no_watch_and_gets_no_new_request() {
    let server = Server::new(true, 10);
    let pool = server.pool();
    let mut watch = ask(&pool, "/watch").await.unwrap();
    watch.body_mut().frame().await.unwrap().unwrap();
    server.becomes(Mood::Leaves);
    tokio::time::sleep(Duration::from_secs(1)).await;
    server.becomes(Mood::Serves);
    ask(&pool, "/").await.unwrap();
    assert_eq!(server.connects(), 2);
    assert!(watch.body_mut().frame().now_or_never().is_none(), "the watch has ended");
}

#[tokio::test(start_paused = true)]
async fn any_number_of_connections_may_leave_before_a_request() {
    let server = Server::new(true, 2);
    let pool = server.pool();
    let watches = watches(&pool, 10).await;
    assert_eq!(server.connects(), 5);
    // Each connection has a place.
    let watches: Vec<_> = watches.into_iter().step_by(2).collect();
    server.becomes(Mood::Leaves);
    tokio::time::sleep(Duration::from_secs(1)).await;
    server.becomes(Mood::Serves);
    let answer = ask(&pool, "/").await.unwrap().into_body().collect().await.unwrap();
    assert_eq!(answer.to_bytes(), "{}");
    assert_eq!((server.connects(), pool.0.state().connections.len()), (6, 1));
    for mut watch in watches {
        while let Some(ended) = watch.body_mut().frame().now_or_never() {
            assert!(ended.is_some_and(|frame| frame.is_ok()), "a watch has ended");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_place_that_became_free_serves_when_no_connection_can_be_made() {
    let server = Server::new(true, 1);
    let pool = server.pool();
    let watch = ask(&pool, "/watch").await.unwrap();
    server.becomes(Mood::Refuses);
    let (asked, ()) = tokio::join!(ask(&pool, "/"), async { drop(watch) });
    asked.unwrap();
    assert_eq!(server.connects(), 2);
}

#[tokio::test(start_paused = true)]
async fn all_that_wait_are_told_when_no_connection_can_be_made_and_the_next_tries_anew() {
    let server = Server::new(true, 10);
    let pool = server.pool();
    server.becomes(Mood::Refuses);
    for asked in join_all((0..50).map(|_| ask(&pool, "/"))).await {
        let error = asked.err().expect("there is no server").to_string();
        assert_eq!(error, "cannot connect to the API server: connection refused");
    }
    assert_eq!(server.connects(), 1);
    server.becomes(Mood::Serves);
    ask(&pool, "/").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn whoever_asked_first_may_go_away_while_the_connection_is_made() {
    let server = Server::new(true, 10);
    let pool = server.pool();
    let first = ask(&pool, "/");
    assert!(first.now_or_never().is_none());
    ask(&pool, "/").await.unwrap();
    assert_eq!(server.connects(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_server_without_http2_is_served_by_http1() {
    let server = Server::new(false, 0);
    let pool = server.pool();
    let watches = watches(&pool, 20).await;
    let answer = ask(&pool, "/").await.unwrap().into_body().collect().await.unwrap();
    assert_eq!(answer.to_bytes(), "{}");
    assert!(server.open() >= 21, "each takes one of its own: {}", server.open());
    drop(watches);
}

#[tokio::test(start_paused = true)]
async fn http2_is_tried_again_after_some_minutes() {
    let server = Server::new(false, 10);
    let pool = server.pool();
    ask(&pool, "/").await.unwrap();
    server.0.http2.store(true, Ordering::Relaxed);
    tokio::time::sleep(HTTP1_FOR / 2).await;
    ask(&pool, "/").await.unwrap();
    assert_eq!(pool.0.open.get(), 0);
    tokio::time::sleep(HTTP1_FOR).await;
    ask(&pool, "/").await.unwrap();
    assert_eq!(pool.0.open.get(), 1);
}
