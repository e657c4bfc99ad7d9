//! Connections to the API server that many requests share.
//!
//! ```text
//!  request ──> a connection with room, the oldest first ──HTTP/2──> API server
//!                │ none                                        ^
//!                └──> one more is opened, for all that wait ───┘   (HTTP/1.1 instead where the server has no HTTP/2)
//! ```
//!
//! A server bounds the requests that a connection carries at one time; kube-apiserver allows 100. Beyond that a request
//! waits until another one ends, which for a watch is minutes. So requests are counted until their answers have been
//! read or dropped, and no connection is given more than its server allows. Connections that carry nothing for a while
//! are closed, and pings find those whose other end is gone, so that no watch hangs on one.
//!
//! A server that is about to leave tells so on each connection: what is underway there goes on, and what was not sent any
//! more goes over another one.

#[cfg(test)]
mod tests;

use std::{
    fmt::Write as _,
    pin::{Pin, pin},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use futures::{
    FutureExt,
    future::{BoxFuture, Shared, poll_fn},
};
use http::{Request, Response, Uri};
use http_body::{Frame, SizeHint};
use hyper::{
    body::Incoming,
    client::conn::http2::{self, SendRequest},
    rt::{Read, Write},
};
use hyper_util::{
    client::legacy::connect::Connection as Connect,
    rt::{TokioExecutor, TokioTimer},
};
use kube::client::Body;
use prometheus_client::metrics::gauge::Gauge;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tower::{BoxError, Service, ServiceExt as _, util::BoxCloneSyncService};

/// How long a connection may carry nothing before it is closed; at most twice as long.
const IDLE: Duration = Duration::from_secs(90);
/// A connection that has been silent for so long is pinged, and given up if the answer takes longer than that: in
/// between what Go's programs do (30 s and 15 s) and what a Service's endpoints can bear.
const SILENCE: Duration = Duration::from_secs(20);
const PING_TIMEOUT: Duration = Duration::from_secs(10);
/// Requests that a connection carries at one time where the server admits more.
const MOST: usize = 250;
/// How often a new connection is looked at, until the server has said how many requests it admits.
const LOOK_EVERY: Duration = Duration::from_millis(1);
/// How many new connections a request is given to that close before it has been sent.
const ATTEMPTS: usize = 3;
/// How long HTTP/1.1 serves before HTTP/2 is tried again: one connection without it may be that of a proxy, or of one
/// server of several, which will not stay.
const HTTP1_FOR: Duration = Duration::from_secs(5 * 60);

/// No connection could be made. One attempt may be made for many requests, each of which is told.
#[derive(Debug, Clone, thiserror::Error)]
#[error("cannot connect to the API server: {0}")]
pub(super) struct ConnectError(Arc<str>);

impl ConnectError {
    fn new(error: &BoxError) -> Self {
        let mut text = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            // Some errors repeat their cause.
            let words = cause.to_string();
            if !text.contains(&words) {
                // A string takes all that is written to it.
                let _ = write!(text, ": {words}");
            }
            source = cause.source();
        }
        Self(text.into())
    }
}

/// A client for one server. Clones share its connections.
pub(super) struct Pool<C>(Arc<Inner<C>>);

struct Inner<C> {
    connector: C,
    server: Uri,
    connect_timeout: Option<Duration>,
    open: Gauge,
    /// For a server, or a proxy before it, that does not speak HTTP/2.
    http1: BoxCloneSyncService<Request<Body>, Response<Incoming>, BoxError>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Older ones first: they are filled up before younger ones are used, so that those can end.
    connections: Vec<Arc<Connection>>,
    opening: Option<Opening>,
    /// Until when new connections are made for HTTP/1.1, since one was made on which HTTP/2 was not negotiated.
    http1_until: Option<Instant>,
}

type Opening = Shared<BoxFuture<'static, Result<(), ConnectError>>>;

struct Connection {
    sender: SendRequest<Body>,
    opened: Instant,
    /// How many requests the server admits at one time.
    limit: AtomicUsize,
    in_flight: AtomicUsize,
    /// Whether it was used since this was last looked at.
    used: AtomicBool,
}

/// A request's place on a connection.
struct Slot(Arc<Connection>);

impl Slot {
    fn take(connection: &Arc<Connection>) -> Self {
        connection.in_flight.fetch_add(1, Ordering::Relaxed);
        connection.used.store(true, Ordering::Relaxed);
        Self(connection.clone())
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Connection {
    fn has_room(&self) -> bool {
        self.in_flight.load(Ordering::Relaxed) < self.limit.load(Ordering::Relaxed)
    }
}

/// How a request can be sent.
enum Way {
    Http2(Slot),
    Http1,
}

impl State {
    /// A way that is there already. Only under the lock are places taken, so none is taken twice.
    fn way(&mut self) -> Option<Way> {
        self.connections.retain(|connection| !connection.sender.is_closed());
        if let Some(connection) = self.connections.iter().find(|connection| connection.has_room()) {
            return Some(Way::Http2(Slot::take(connection)));
        }
        self.http1_until.filter(|until| Instant::now() < *until).map(|_| Way::Http1)
    }

    /// Gives no more requests to a connection. It closes when the last handle to it is gone.
    fn leave(&mut self, connection: &Arc<Connection>) {
        self.connections.retain(|other| !Arc::ptr_eq(other, connection));
    }

    fn opened(&mut self, connection: Option<Arc<Connection>>) {
        if let Some(connection) = connection {
            self.connections.push(connection);
            if self.http1_until.take().is_some() {
                tracing::info!("the API server speaks HTTP/2 again");
            }
        } else if self.http1_until.replace(Instant::now() + HTTP1_FOR).is_none() {
            tracing::warn!(
                "the API server, or a proxy before it, does not speak HTTP/2: each watch takes a connection of its own; \
                 HTTP/2 is tried again every {} minutes",
                HTTP1_FOR.as_secs() / 60
            );
        }
    }
}

impl<C> Clone for Pool<C> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<C> Inner<C> {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<C> Pool<C>
where
    C: Service<Uri> + Clone + Send + Sync + 'static,
    C::Response: Read + Write + Connect + Unpin + Send + 'static,
    C::Error: Into<BoxError>,
    C::Future: Send,
{
    /// Requests to `server`, over what `connector` makes: connections on which HTTP/2 was negotiated, or was not. Where
    /// it was not, `http1` serves. `open` is kept at the number of connections.
    pub(super) fn new<S>(connector: C, http1: S, server: Uri, connect_timeout: Option<Duration>, open: Gauge) -> Self
    where
        S: Service<Request<Body>, Response = Response<Incoming>> + Clone + Send + Sync + 'static,
        S::Error: Into<BoxError>,
        S::Future: Send,
    {
        let http1 = BoxCloneSyncService::new(http1.map_err(Into::into));
        Self(Arc::new(Inner { connector, server, connect_timeout, open, http1, state: Mutex::default() }))
    }

    async fn send(self, mut request: Request<Body>) -> Result<Response<PooledBody>, BoxError> {
        let began = Instant::now();
        let mut attempts = 0;
        loop {
            let slot = match self.way().await? {
                Way::Http2(slot) => slot,
                Way::Http1 => {
                    let response = self.0.http1.clone().oneshot(request).await?;
                    return Ok(response.map(|body| PooledBody { body, slot: None }));
                }
            };
            match slot.0.sender.clone().try_send_request(request).await {
                Ok(response) => return Ok(response.map(|body| PooledBody { body, slot: Some(slot) })),
                Err(mut error) => {
                    let Some(unsent) = error.take_message() else { return Err(error.into_error().into()) };
                    self.0.state().leave(&slot.0);
                    // Any number of older ones may be ending. Each is tried but once.
                    attempts += usize::from(slot.0.opened >= began);
                    if attempts == ATTEMPTS {
                        return Err(error.into_error().into());
                    }
                    request = unsent;
                }
            }
        }
    }

    /// Waits for a place on a connection, opening one more if all are full.
    async fn way(&self) -> Result<Way, ConnectError> {
        loop {
            let opening = {
                let mut state = self.0.state();
                if let Some(way) = state.way() {
                    return Ok(way);
                }
                match &state.opening {
                    // One that is still there although it has ended failed as a program.
                    Some(opening) if opening.peek().is_none() => opening.clone(),
                    _ => state.opening.insert(self.open()).clone(),
                }
            };
            if let Err(error) = opening.await {
                // A place may have become free meanwhile.
                return self.0.state().way().ok_or(error);
            }
        }
    }

    /// Opens a connection, in a task of its own: whoever waits for it may go away.
    fn open(&self) -> Opening {
        let inner = self.0.clone();
        let opened = tokio::spawn(async move {
            let opened = inner.connect().await;
            let mut state = inner.state();
            state.opening = None;
            opened.map(|connection| state.opened(connection))
        });
        let told = async { opened.await.unwrap_or_else(|error| Err(ConnectError::new(&error.into()))) };
        told.boxed().shared()
    }
}

impl<C> Inner<C>
where
    C: Service<Uri> + Clone + Send + Sync + 'static,
    C::Response: Read + Write + Connect + Unpin + Send + 'static,
    C::Error: Into<BoxError>,
    C::Future: Send,
{
    /// A new connection; `None` if the server does not speak HTTP/2.
    async fn connect(self: &Arc<Self>) -> Result<Option<Arc<Connection>>, ConnectError> {
        let connect = async {
            let io = self.connector.clone().oneshot(self.server.clone()).await.map_err(Into::into)?;
            if !io.connected().is_negotiated_h2() {
                return Ok(None);
            }
            let handshake = http2::Builder::new(TokioExecutor::new())
                .timer(TokioTimer::new())
                .initial_max_send_streams(0)
                .keep_alive_interval(SILENCE)
                .keep_alive_timeout(PING_TIMEOUT)
                .keep_alive_while_idle(true)
                .handshake(io);
            let (sender, mut driver) = handshake.await?;
            let limit = first_limit(&mut driver).await?;
            Ok::<_, BoxError>(Some((sender, driver, limit)))
        };
        let connected = match self.connect_timeout {
            Some(limit) => {
                timeout(limit, connect).await.unwrap_or_else(|_| Err(format!("no answer in {limit:?}").into()))
            }
            None => connect.await,
        };
        let Some((sender, driver, limit)) = connected.map_err(|error| ConnectError::new(&error))? else {
            return Ok(None);
        };
        let connection = Arc::new(Connection {
            sender,
            opened: Instant::now(),
            limit: AtomicUsize::new(limit),
            in_flight: AtomicUsize::new(0),
            used: AtomicBool::new(true),
        });
        let (handle, pool, open) = (Arc::downgrade(&connection), Arc::downgrade(self), self.open.clone());
        tokio::spawn(async move {
            open.inc();
            drive(driver, handle, pool).await;
            open.dec();
        });
        Ok(Some(connection))
    }
}

/// How many requests the server admits at one time, which is the first that it says. Until then it is none, and hyper
/// tells only who asks.
async fn first_limit<T>(driver: &mut http2::Connection<T, Body, TokioExecutor>) -> Result<usize, BoxError>
where
    T: Read + Write + Unpin + Send + 'static,
{
    let mut looks = interval(LOOK_EVERY);
    poll_fn(|context| {
        if let Poll::Ready(ended) = Pin::new(&mut *driver).poll(context) {
            return Poll::Ready(Err(ended.err().map_or_else(|| "the connection was closed".into(), Into::into)));
        }
        loop {
            match limit(driver) {
                0 => _ = ready!(looks.poll_tick(context)),
                limit => return Poll::Ready(Ok(limit)),
            }
        }
    })
    .await
}

fn limit<T>(driver: &http2::Connection<T, Body, TokioExecutor>) -> usize
where
    T: Read + Write + Unpin + Send + 'static,
{
    driver.current_max_send_streams().min(MOST)
}

/// Works for a connection until it ends, and sees to it that it ends when nobody uses it.
async fn drive<C, T>(
    mut driver: http2::Connection<T, Body, TokioExecutor>,
    connection: Weak<Connection>,
    pool: Weak<Inner<C>>,
) where
    C: Send + Sync + 'static,
    T: Read + Write + Unpin + Send + 'static,
{
    let mut ended = pin!(poll_fn(|context| {
        let polled = Pin::new(&mut driver).poll(context);
        // The server may tell another one at any time.
        if let Some(connection) = connection.upgrade() {
            connection.limit.store(limit(&driver), Ordering::Relaxed);
        }
        polled
    }));
    let mut looks = interval(IDLE);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            ended = &mut ended => {
                if let Err(error) = ended {
                    tracing::debug!(error = &error as &dyn std::error::Error, "a connection to the API server broke");
                }
                return;
            }
            _ = looks.tick() => {
                let (Some(connection), Some(pool)) = (connection.upgrade(), pool.upgrade()) else { continue };
                let mut state = pool.state();
                if connection.in_flight.load(Ordering::Relaxed) == 0 && !connection.used.swap(false, Ordering::Relaxed) {
                    state.leave(&connection);
                }
            }
        }
    }
}

impl<C> Service<Request<Body>> for Pool<C>
where
    C: Service<Uri> + Clone + Send + Sync + 'static,
    C::Response: Read + Write + Connect + Unpin + Send + 'static,
    C::Error: Into<BoxError>,
    C::Future: Send,
{
    type Response = Response<PooledBody>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        // A place is looked for when it is needed: most callers that are ready wait for others before they send.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        self.clone().send(request).boxed()
    }
}

/// The body of an answer. It keeps its place on the connection until it has been read or is dropped.
pub(super) struct PooledBody {
    body: Incoming,
    slot: Option<Slot>,
}

impl http_body::Body for PooledBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        if !matches!(frame, Some(Ok(_))) {
            self.slot = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
