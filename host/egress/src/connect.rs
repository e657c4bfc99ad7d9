//! One vetted connection: resolve, filter, dial, TLS. Everything that leaves the host passes [`Connector::connect`].

use std::{
    fmt, io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use futures::{StreamExt, future::BoxFuture, stream::FuturesUnordered};
use http::Uri;
use hyper_util::{
    client::legacy::connect::{Connected, Connection},
    rt::TokioIo,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpStream, UnixStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout_at},
};
use tokio_rustls::TlsConnector;
use tower_service::Service;

use crate::{
    Failure,
    failure::sentence,
    gate::{Gate, never},
    host::{DomainName, Host},
    origin::{Origin, SocketPath},
    resolve::Resolve,
    tls::{self, Tls},
};

/// The time that an address has before the next one is tried beside it (RFC 8305, section 5).
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// How many addresses of one name are tried.
const ATTEMPTS: usize = 16;

/// The scheme by which the HTTP client names a granted socket. The authority is the socket's number.
pub(crate) const UNIX_SCHEME: &str = "http+unix";

/// Makes connections. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Connector(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    gate: Gate,
    sockets: Vec<SocketPath>,
    resolver: Box<dyn Resolve>,
    tls: Tls,
    timeout: Duration,
    requests: Places,
    sessions: Places,
}

/// What a connection is for. Each has places of its own: sessions last, and must leave requests theirs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// A request of the HTTP client, which keeps the connection for the next one. May speak HTTP/2.
    Request,
    /// A session's own connection, of HTTP/1.1 where it begins with HTTP.
    Session,
}

/// A bound on open connections.
#[derive(Debug)]
struct Places {
    free: Arc<Semaphore>,
    /// How many there are when none is taken.
    all: usize,
}

impl Places {
    fn new(all: usize) -> Self {
        let all = all.min(Semaphore::MAX_PERMITS);
        Self { free: Arc::new(Semaphore::new(all)), all }
    }
}

/// Where a connection goes.
#[derive(Debug)]
pub(crate) enum Destination {
    Origin(Origin),
    Socket(SocketPath),
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Origin(origin) => write!(f, "{origin}"),
            Self::Socket(path) => write!(f, "{path}"),
        }
    }
}

impl Connector {
    /// `timeout` is for everything from resolution to TLS, `requests` and `sessions` the bounds on open connections.
    pub(crate) fn new(
        gate: Gate,
        resolver: Box<dyn Resolve>,
        tls: Tls,
        timeout: Duration,
        requests: usize,
        sessions: usize,
    ) -> Self {
        let sockets = gate.sockets().cloned().collect();
        let (requests, sessions) = (Places::new(requests), Places::new(sessions));
        Self(Arc::new(Inner { gate, sockets, resolver, tls, timeout, requests, sessions }))
    }

    pub(crate) fn gate(&self) -> &Gate {
        &self.0.gate
    }

    pub(crate) async fn connect(&self, destination: &Destination, purpose: Purpose) -> Result<Stream, Failure> {
        let timeout = &self.0.timeout;
        let deadline = Instant::now() + *timeout;
        let permit = self.0.place(destination, purpose, deadline).await?;
        let reached = timeout_at(deadline, async {
            match destination {
                Destination::Origin(origin) => self.0.reach(origin, purpose).await,
                Destination::Socket(path) => match UnixStream::connect(path.as_path()).await {
                    Ok(stream) => Ok((Box::new(stream) as Box<dyn Io>, false)),
                    Err(error) => Err(Failure::Connect(format!("no connection to {path}: {error}"))),
                },
            }
        });
        let (io, is_h2) = reached.await.unwrap_or_else(|_| {
            let reason = format!("no connection to {destination} within {timeout:?} (sandbox.timeouts.connect)");
            Err(Failure::Connect(reason))
        })?;
        Ok(Stream { io, unread: Bytes::new(), is_h2, _permit: permit })
    }

    /// What the HTTP client means by a URI: only [`Egress`](crate::Egress) makes them, after the gate.
    pub(crate) fn destination(&self, uri: &Uri) -> Result<Destination, Failure> {
        if uri.scheme_str() == Some(UNIX_SCHEME) {
            let number = uri.host().and_then(|host| host.parse::<usize>().ok());
            let path = number.and_then(|number| self.0.sockets.get(number));
            let path = path.ok_or_else(|| Failure::Denied("sandbox.net does not grant the socket".into()))?;
            return Ok(Destination::Socket(path.clone()));
        }
        Origin::of(uri).map(Destination::Origin).map_err(Failure::Invalid)
    }
}

impl Inner {
    /// A request waits for a place. A session does not: others may last for days.
    async fn place(
        &self,
        destination: &Destination,
        purpose: Purpose,
        deadline: Instant,
    ) -> Result<OwnedSemaphorePermit, Failure> {
        match purpose {
            Purpose::Request => {
                let Places { free, all } = &self.requests;
                let permit = timeout_at(deadline, free.clone().acquire_owned()).await.map_err(|_| {
                    let timeout = self.timeout;
                    Failure::Connect(format!(
                        "no connection to {destination}: all {all}, which is four times sandbox.requests, were open \
                         for {timeout:?}"
                    ))
                })?;
                permit.map_err(|_| Failure::Connect("the provider is closing".into()))
            }
            Purpose::Session => {
                let Places { free, all } = &self.sessions;
                free.clone().try_acquire_owned().map_err(|_| {
                    Failure::Connect(format!(
                        "no connection to {destination}: all {all} that sandbox.sessions allows are open"
                    ))
                })
            }
        }
    }

    async fn reach(&self, origin: &Origin, purpose: Purpose) -> Result<(Box<dyn Io>, bool), Failure> {
        self.gate.admit(origin)?;
        let addresses = match &origin.host {
            Host::Address(address) => vec![*address],
            Host::Name(name) => self.lookup(name).await?,
        };
        let mut denied = Vec::new();
        for host in self.gate.denied_on(origin.port) {
            if let Host::Name(name) = host {
                denied.extend(self.lookup(name).await?);
            }
        }
        let vetted = self.gate.vet(origin, &addresses, &denied)?;
        let vetted = vetted.into_iter().take(ATTEMPTS).map(|address| SocketAddr::new(address, origin.port)).collect();
        let tcp = dial(vetted).await;
        let tcp = tcp.map_err(|error| Failure::Connect(format!("no connection to {origin}: {error}")))?;
        if self.gate.denies_machine(origin.port) && is_own(&tcp) {
            return Err(Failure::Denied(never(&origin.to_string())));
        }
        // Requests are written whole; waiting for more only delays them.
        let _ = tcp.set_nodelay(true);
        if !origin.scheme.is_tls() {
            return Ok((Box::new(tcp), false));
        }
        let (config, name) = self.tls.towards(origin, purpose)?;
        let stream = TlsConnector::from(config).connect(name, tcp).await.map_err(|error| {
            let why = tls_error(&error).map_or_else(|| sentence(&error), tls::explain);
            Failure::Tls(format!("no TLS with {origin}: {why}"))
        })?;
        let is_h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        Ok((Box::new(stream), is_h2))
    }

    async fn lookup(&self, name: &DomainName) -> Result<Vec<IpAddr>, Failure> {
        let found = self.resolver.resolve(name).await;
        found.map_err(|error| Failure::Connect(format!("the name {} cannot be resolved: {error}", name.as_str())))
    }
}

/// Whether a connection leads to this machine itself: it has the same address at both ends then.
fn is_own(tcp: &TcpStream) -> bool {
    match (tcp.local_addr(), tcp.peer_addr()) {
        (Ok(local), Ok(peer)) => local.ip().to_canonical() == peer.ip().to_canonical(),
        _ => false,
    }
}

/// Tries the addresses in order, the next one when an attempt fails or takes long; the first connection wins.
async fn dial(addresses: Vec<SocketAddr>) -> io::Result<TcpStream> {
    let mut untried = addresses.into_iter();
    let mut attempts = FuturesUnordered::new();
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    loop {
        if let Some(address) = untried.next() {
            attempts.push(async move {
                let stream = TcpStream::connect(address).await;
                stream.map_err(|error| io::Error::new(error.kind(), format!("{address}: {error}")))
            });
        }
        if attempts.is_empty() {
            return Err(last);
        }
        tokio::select! {
            Some(attempt) = attempts.next() => match attempt {
                Ok(stream) => return Ok(stream),
                Err(error) => last = error,
            },
            () = tokio::time::sleep(ATTEMPT_DELAY), if untried.len() > 0 => {}
        }
    }
}

/// The TLS library's error inside of others. It may come with the first answer: in TLS 1.3 the server judges the
/// client's certificate after the client has begun to send.
pub(crate) fn tls_error<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a rustls::Error> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(tls) = error.downcast_ref() {
            return Some(tls);
        }
        // An I/O error's source is that of the error it wraps, which would be passed over.
        let wrapped = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        cause = match wrapped {
            Some(wrapped) => Some(wrapped),
            None => error.source(),
        };
    }
    None
}

/// Bytes both ways.
trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// A connection that the gate has let through.
pub(crate) struct Stream {
    io: Box<dyn Io>,
    /// What was read and is to be read again.
    unread: Bytes,
    is_h2: bool,
    _permit: OwnedSemaphorePermit,
}

impl Stream {
    /// Puts bytes in front of what is still to be read.
    pub(crate) fn unread(self, unread: Bytes) -> Self {
        // An empty piece of a buffer would keep all of it.
        let unread = if unread.is_empty() { Bytes::new() } else { unread };
        Self { unread, ..self }
    }
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        if self.is_h2 { Connected::new().negotiated_h2() } else { Connected::new() }
    }
}

impl AsyncRead for Stream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if !self.unread.is_empty() {
            let length = self.unread.len().min(buffer.remaining());
            buffer.put_slice(&self.unread.split_to(length));
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.io).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}

impl Service<Uri> for Connector {
    type Response = TokioIo<Stream>;
    type Error = Failure;
    type Future = BoxFuture<'static, Result<TokioIo<Stream>, Failure>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connector = self.clone();
        Box::pin(async move {
            let destination = connector.destination(&uri)?;
            connector.connect(&destination, Purpose::Request).await.map(TokioIo::new)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::HashMap, sync::Mutex};

    use rustls::RootCertStore;
    use tokio::net::TcpListener;

    use super::*;

    /// Answers from a table, and counts how often it is asked for each name.
    #[derive(Debug, Clone, Default)]
    struct Table {
        addresses: HashMap<&'static str, &'static str>,
        asked: Arc<Mutex<Vec<String>>>,
    }

    impl Resolve for Table {
        fn resolve(&self, name: &DomainName) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
            self.asked.lock().unwrap().push(name.as_str().to_owned());
            let found = self.addresses.get(name.as_str()).copied();
            Box::pin(async move {
                match found {
                    Some("never") => std::future::pending().await,
                    Some(list) => Ok(list.split_whitespace().map(|address| address.parse().unwrap()).collect()),
                    None => Err(io::Error::other("no such host")),
                }
            })
        }
    }

    fn table(entries: &[(&'static str, &'static str)]) -> Table {
        Table { addresses: entries.iter().copied().collect(), ..Table::default() }
    }

    fn connector(grants: &[String], denied: &[(&str, u16)], table: &Table) -> Connector {
        let grants = grants.iter().map(|grant| grant.parse().unwrap()).collect();
        let denied = denied.iter().map(|(host, port)| ((*host).to_owned(), *port)).collect();
        let tls = Tls::new(&RootCertStore::empty(), HashMap::new()).unwrap();
        let gate = Gate::new(grants, denied).unwrap();
        Connector::new(gate, Box::new(table.clone()), tls, Duration::from_millis(500), 1, 1)
    }

    async fn connect(connector: &Connector, url: &str) -> Result<Stream, Failure> {
        connector.connect(&Destination::Origin(Origin::parse(url).unwrap()), Purpose::Request).await
    }

    async fn listen() -> (TcpListener, u16) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        (listener, port)
    }

    #[tokio::test]
    async fn a_name_is_resolved_once_for_a_connection_and_what_was_found_is_dialled() {
        let (listener, port) = listen().await;
        let (url, table) = (format!("http://a.test:{port}"), table(&[("a.test", "127.0.0.1")]));
        let connector = connector(&[url.clone(), format!("http://127.0.0.1:{port}")], &[], &table);
        let _stream = connect(&connector, &url).await.unwrap();
        listener.accept().await.unwrap();
        assert_eq!(*table.asked.lock().unwrap(), ["a.test"]);
    }

    #[tokio::test]
    async fn the_next_address_is_dialled_when_one_fails() {
        let (_listener, port) = listen().await;
        let (url, table) = (format!("http://a.test:{port}"), table(&[("a.test", "127.0.0.2 127.0.0.3 127.0.0.1")]));
        let connector = connector(&[url.clone(), format!("http://127.0.0.0/8:{port}")], &[], &table);
        assert!(connect(&connector, &url).await.is_ok());
    }

    #[tokio::test]
    async fn an_address_that_is_not_allowed_is_not_dialled() {
        let (listener, port) = listen().await;
        let (url, table) = (format!("http://a.test:{port}"), table(&[("a.test", "127.0.0.1 ::ffff:127.0.0.1")]));
        let failure = connect(&connector(std::slice::from_ref(&url), &[], &table), &url).await.err();
        let expected = format!(
            "a.test resolves to 127.0.0.1, a loopback address, which no name opens: grant http://127.0.0.1:{port} in \
             sandbox.net as well"
        );
        assert_eq!(failure, Some(Failure::Denied(expected)));
        let accepted = tokio::time::timeout(Duration::from_millis(20), listener.accept()).await;
        assert!(accepted.is_err());
    }

    #[tokio::test]
    async fn a_denied_name_is_resolved_and_its_addresses_are_not_dialled() {
        let (_listener, port) = listen().await;
        let grants = [format!("http://127.0.0.1:{port}"), format!("http://127.0.0.1:{}", port ^ 1)];
        let denied = [("kubernetes.test", port), ("other.test", 1)];
        let found = connector(&grants, &denied, &table(&[("kubernetes.test", "10.0.0.1 127.0.0.1")]));
        let failure = connect(&found, &grants[0]).await.err();
        assert!(matches!(&failure, Some(Failure::Denied(text)) if text.contains("no grant opens")), "{failure:?}");
        // What cannot be told apart from the denied host is not dialled either.
        let failure = connect(&connector(&grants, &denied, &table(&[])), &grants[0]).await.err();
        assert!(matches!(failure, Some(Failure::Connect(_))), "{failure:?}");
        // Other ports are not concerned.
        let failure = connect(&found, &grants[1]).await.err();
        assert!(matches!(&failure, Some(Failure::Connect(text)) if text.contains("refused")), "{failure:?}");
    }

    #[tokio::test]
    async fn no_address_of_this_machine_is_dialled_where_something_that_is_denied_listens_on_loopback() {
        let (listener, port) = listen().await;
        let (dialled, accepted) = tokio::join!(TcpStream::connect(("127.0.0.1", port)), listener.accept());
        assert!(is_own(&dialled.unwrap()) && is_own(&accepted.unwrap().0));
        let denying = |host: &str| connector(&[], &[(host, port)], &table(&[])).gate().denies_machine(port);
        assert!(denying("127.0.0.1") && denying("::1") && denying("::ffff:127.0.0.1"));
        assert!(!denying("10.0.0.1") && !denying("a.test"));
    }

    #[tokio::test]
    async fn a_name_that_is_unknown_or_never_resolves_is_a_failed_connection() {
        let table = table(&[("slow.test", "never"), ("empty.test", "")]);
        let grants = ["http://slow.test", "http://empty.test", "http://unknown.test"].map(str::to_owned);
        let connector = connector(&grants, &[], &table);
        for (url, says) in grants.iter().zip(["within 500ms", "has no addresses", "no such host"]) {
            let failure = connect(&connector, url).await.err();
            assert!(matches!(&failure, Some(Failure::Connect(text)) if text.contains(says)), "{failure:?}");
        }
    }

    #[tokio::test]
    async fn open_connections_are_bounded() {
        let (_listener, port) = listen().await;
        let url = format!("http://127.0.0.1:{port}");
        let connector = connector(std::slice::from_ref(&url), &[], &table(&[]));
        let first = connect(&connector, &url).await.unwrap();
        let failure = connect(&connector, &url).await.err();
        assert!(matches!(&failure, Some(Failure::Connect(text)) if text.contains("sandbox.requests")), "{failure:?}");
        drop(first);
        assert!(connect(&connector, &url).await.is_ok());
    }
}
