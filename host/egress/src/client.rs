//! The HTTP client behind the gate: pooled, HTTP/1.1 and HTTP/2.
//!
//! It stands on hyper's own client and not on reqwest, which adds an Accept header and rewrites the URL (escapes, dot
//! segments): a signature over the URL or the headers would break. It reads no proxy settings from the environment,
//! since a proxy would resolve names by itself.

use std::{collections::HashMap, error::Error, fmt, pin::Pin, pin::pin, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Method, Version, header::HOST};
use http_body::Body;
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::{self, Client, connect::capture_connection},
    rt::{TokioExecutor, TokioTimer},
};
use rustls::RootCertStore;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Sleep,
};

use crate::{
    Failure, Limits, Metrics, Policy, PolicyError, Request, Response, ResponseBody, Timeouts,
    body::Bounds,
    connect::{Connector, tls_error},
    failure::sentence,
    gate::Gate,
    head::{self, Target},
    origin::Origin,
    resolve::SystemResolver,
    tls::{self, Tls},
};

/// Idle connections are closed before the usual servers and balancers do it.
const IDLE: Duration = Duration::from_secs(30);

/// An HTTP/2 connection with a request on it is asked this often whether it still lives, and has as long to answer.
const PING: Duration = Duration::from_secs(20);

/// The gate, for one provider. Cheap to clone; clones share connections and bounds.
#[derive(Clone)]
pub struct Egress(pub(crate) Arc<Shared>);

pub(crate) struct Shared {
    pub(crate) connector: Connector,
    client: Client<Connector, RequestBody>,
    permits: Arc<Semaphore>,
    pub(crate) limits: Limits,
    pub(crate) metrics: Metrics,
}

type BoxError = Box<dyn Error + Send + Sync>;
type RequestBody = UnsyncBoxBody<Bytes, BoxError>;

impl fmt::Debug for Egress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Egress").field("limits", &self.0.limits).finish_non_exhaustive()
    }
}

impl Egress {
    /// Reads the policy's keys and certificates, and the system's roots if the policy grants TLS. Needs no runtime.
    ///
    /// # Errors
    ///
    /// Whatever in the policy cannot work, in one line that names it.
    pub fn new(policy: Policy, metrics: Metrics) -> Result<Self, PolicyError> {
        let Policy { grants, tls, denied, limits } = policy;
        if limits.requests_in_flight == 0 {
            return Err(PolicyError::Zero("the bound on requests in flight"));
        }
        let roots =
            if grants.iter().any(|grant| grant.is_tls()) { tls::system_roots() } else { RootCertStore::empty() };
        let gate = Gate::new(grants, denied)?;
        let mut origins = HashMap::new();
        for (text, settings) in tls {
            let failed = |reason| PolicyError::Origin { origin: text.clone(), reason };
            let origin = Origin::parse(&text).map_err(failed)?;
            if !origin.scheme.is_tls() {
                return Err(failed("it must begin with https:// or wss://".into()));
            }
            if gate.admit(&origin).is_err() {
                return Err(PolicyError::NotGranted(origin.to_string()));
            }
            origins.insert(origin, settings);
        }
        let tls = Tls::new(&roots, origins)?;
        let connections = limits.requests_in_flight.saturating_mul(4);
        let resolver = Box::new(SystemResolver::new());
        let connector = Connector::new(gate, resolver, tls, limits.connect_timeout, connections, limits.sessions);
        let client = Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .http2_keep_alive_interval(PING)
            .http2_keep_alive_timeout(PING)
            .build(connector.clone());
        let permits = Arc::new(Semaphore::new(limits.requests_in_flight.min(Semaphore::MAX_PERMITS)));
        Ok(Self(Arc::new(Shared { connector, client, permits, limits, metrics })))
    }

    /// Sends a buffered request and waits for the whole response.
    ///
    /// Path, query and header values go out byte for byte; only Host and Content-Length are added. Redirects are
    /// returned, bodies are not decompressed. Time counts from this call, and includes the wait for a place among
    /// [`Limits::requests_in_flight`].
    ///
    /// # Errors
    ///
    /// See [`Failure`].
    pub async fn send(&self, request: Request) -> Result<Response, Failure> {
        let Request { method, url, headers, body, timeout } = request;
        let length = u64::try_from(body.len()).ok();
        let prepare = || {
            let target = Target::read(&url, self.0.connector.gate())?;
            Prepared::new(target, head::method(&method)?, head::headers(headers)?, length)
        };
        let body = Full::new(body).map_err(|never| match never {}).boxed_unsync();
        let response = self.exchange(prepare, body, Timeouts { total: timeout, ..Timeouts::default() }).await?;
        let (head, body) = response.into_parts();
        Ok(Response {
            status: head.status.as_u16(),
            headers: head::pairs(&head.headers),
            body: body.collect().await?.to_bytes(),
        })
    }

    /// Sends a streamed request and returns when the response's head has come; for wasi:http.
    ///
    /// The same rules as for [`Egress::send`], but the URI cannot name a unix socket. The request's version and
    /// extensions are ignored. A header Host is refused like any other that belongs to the host, so a caller whose
    /// runtime adds one must not have it added. When the time is up, the response's body fails and its place among
    /// [`Limits::requests_in_flight`] is free, read or not.
    ///
    /// # Errors
    ///
    /// See [`Failure`]; the body of the response has the same errors.
    pub async fn forward<B>(
        &self,
        request: http::Request<B>,
        timeouts: Timeouts,
    ) -> Result<http::Response<ResponseBody>, Failure>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let (parts, body) = request.into_parts();
        let length = body.size_hint().exact();
        let prepare = || {
            let target = Target::admit(parts.uri, self.0.connector.gate())?;
            Prepared::new(target, head::method(parts.method.as_str())?, parts.headers, length)
        };
        let response = self.exchange(prepare, body.map_err(Into::into).boxed_unsync(), timeouts).await?;
        Ok(response.map(ResponseBody::release_at_deadline))
    }

    /// Counts one request, from the gate to the end of the response.
    async fn exchange(
        &self,
        prepare: impl FnOnce() -> Result<Prepared, Failure>,
        body: RequestBody,
        timeouts: Timeouts,
    ) -> Result<http::Response<ResponseBody>, Failure> {
        let mut record = self.0.metrics.start();
        let answer = match prepare() {
            Ok(prepared) => self.answer(prepared, body, timeouts).await,
            Err(failure) => Err(failure),
        };
        match answer {
            Ok(Answer { response, deadline, permit }) => {
                let (head, incoming) = response.into_parts();
                let bounds = Bounds { bytes: self.0.limits.response_bytes, between_bytes: timeouts.between_bytes };
                let body = ResponseBody::new(incoming, bounds, deadline, record, permit)?;
                Ok(http::Response::from_parts(head, body))
            }
            Err(failure) => {
                record.failed(&failure);
                tracing::debug!(reason = %failure, "a provider's request was not answered");
                Err(failure)
            }
        }
    }

    async fn answer(&self, prepared: Prepared, body: RequestBody, timeouts: Timeouts) -> Result<Answer, Failure> {
        let limits = &self.0.limits;
        let total = timeouts.total.unwrap_or(limits.request_timeout).min(limits.request_timeout);
        let mut deadline = Box::pin(tokio::time::sleep(total));
        let permit = tokio::select! {
            biased;
            permit = self.0.permits.clone().acquire_owned() => permit,
            () = &mut deadline => {
                let all = limits.requests_in_flight;
                return Err(Failure::Connect(format!(
                    "all {all} requests that sandbox.requests allows were in flight for {total:?}"
                )));
            }
        };
        let permit = permit.map_err(|_| Failure::Connect("the provider is closing".into()))?;
        let response = tokio::select! {
            biased;
            response = self.head(prepared, body, timeouts) => response?,
            () = &mut deadline => return Err(Failure::Timeout),
        };
        Ok(Answer { response, deadline, permit })
    }

    /// From the start of a request to the head of its response.
    async fn head(
        &self,
        prepared: Prepared,
        body: RequestBody,
        timeouts: Timeouts,
    ) -> Result<http::Response<Incoming>, Failure> {
        let Prepared { target, method, headers } = prepared;
        let mut request = http::Request::new(body);
        *request.method_mut() = method;
        *request.uri_mut() = target.uri;
        *request.version_mut() = Version::HTTP_11;
        *request.headers_mut() = headers;
        let mut connection = capture_connection(&mut request);
        let mut response = pin!(self.0.client.request(request));
        let explain = |error| failure(&error, &target.origin);

        if let Some(connect) = timeouts.connect {
            let connected = async { drop(connection.wait_for_connection_metadata().await) };
            tokio::select! {
                biased;
                response = &mut response => return response.map_err(explain),
                connected = tokio::time::timeout(connect, connected) => connected.map_err(|_| {
                    Failure::Connect(format!("no connection to {} within {connect:?}", target.origin))
                })?,
            }
        }
        if let Some(first_byte) = timeouts.first_byte {
            let connected = async { drop(connection.wait_for_connection_metadata().await) };
            tokio::select! {
                biased;
                response = &mut response => return response.map_err(explain),
                () = connected => {}
            }
            let response = tokio::time::timeout(first_byte, response).await;
            return response.map_err(|_| Failure::Timeout)?.map_err(explain);
        }
        response.await.map_err(explain)
    }
}

/// A request that the gate has admitted.
struct Prepared {
    target: Target,
    method: Method,
    headers: HeaderMap,
}

impl Prepared {
    fn new(target: Target, method: Method, mut headers: HeaderMap, body: Option<u64>) -> Result<Self, Failure> {
        head::finish(&method, &mut headers, body)?;
        if let Some(host) = &target.host {
            headers.insert(HOST, host.clone());
        }
        Ok(Self { target, method, headers })
    }
}

/// The head of a response with what goes on to bound its body.
struct Answer {
    response: http::Response<Incoming>,
    deadline: Pin<Box<Sleep>>,
    permit: OwnedSemaphorePermit,
}

/// What went wrong between the gate and the response's head.
fn failure(error: &legacy::Error, origin: &str) -> Failure {
    if let Some(tls) = tls_error(error) {
        return Failure::Tls(format!("no TLS with {origin}: {}", tls::explain(tls)));
    }
    // The client's own error names but the stage, which the kind of failure says already.
    let cause: &(dyn Error + 'static) = error.source().unwrap_or(error);
    if cause.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_user) {
        return Failure::Invalid(format!("the request's body cannot be sent: {}", sentence(cause)));
    }
    Failure::from_chain(cause, |why| {
        if error.is_connect() {
            Failure::Connect(format!("no connection to {origin}: {why}"))
        } else {
            Failure::Protocol(format!("{origin} did not answer as HTTP asks: {why}"))
        }
    })
}
