//! One HTTP/1.1 request that asks for another protocol, and the connection that is left when the peer switches to it.
//!
//! The connection is a session's own: it comes from no pool and goes back to none.

use std::{future::Future, pin::pin, time::Duration};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Method, Response, StatusCode, Uri, Version,
    header::{CONNECTION, HOST, UPGRADE},
    uri::PathAndQuery,
};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use tokio::time::timeout;
use vk_provider::Answer;

use crate::{
    Failure,
    connect::{Connector, Purpose, Stream, tls_error},
    failure::sentence,
    gate::Gate,
    head::{self, Target},
};

/// The largest head of an answer.
const HEAD_BYTES: usize = 64 << 10;

/// What is kept of the body of an answer that refuses.
const BODY_BYTES: usize = 64 << 10;

/// How long that is waited for once the head has come: some answers never end.
const BODY_TIME: Duration = Duration::from_secs(5);

/// A request that the gate has admitted.
pub(crate) struct Handshake {
    pub(crate) target: Target,
    method: Method,
    headers: HeaderMap,
    body: Bytes,
}

/// What the peer made of it.
pub(crate) enum Answered {
    /// The stream begins with what came after the answer's head.
    Switched(Answer, Stream),
    Refused(Answer),
}

impl Handshake {
    /// Reads what the guest asks for, and asks the gate.
    pub(crate) fn new(
        method: &str,
        url: &str,
        headers: Vec<(String, String)>,
        body: Bytes,
        protocol: &str,
        gate: &Gate,
    ) -> Result<Self, Failure> {
        let is_protocol = !protocol.is_empty() && protocol.bytes().all(|byte| byte == b'/' || is_token(byte));
        let protocol = HeaderValue::from_str(protocol).ok().filter(|_| is_protocol).ok_or_else(|| {
            Failure::Invalid(format!("`{}` is not a protocol that can be upgraded to", protocol.escape_debug()))
        })?;
        Self::prepare(Target::read(url, gate)?, head::method(method)?, head::headers(headers)?, body, protocol)
    }

    /// Adds what belongs to the host.
    pub(crate) fn prepare(
        target: Target,
        method: Method,
        mut headers: HeaderMap,
        body: Bytes,
        protocol: HeaderValue,
    ) -> Result<Self, Failure> {
        head::finish(&method, &mut headers, u64::try_from(body.len()).ok())?;
        let host = target.host.clone().map_or_else(|| authority(&target.uri), Ok)?;
        headers.insert(HOST, host);
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(UPGRADE, protocol);
        Ok(Self { target, method, headers, body })
    }
}

/// The characters of a token (RFC 9110, section 5.6.2).
pub(crate) fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Host as the HTTP client writes it: the URL's, without the scheme's own port.
fn authority(uri: &Uri) -> Result<HeaderValue, Failure> {
    let host = uri.host().unwrap_or_default();
    let text = match (uri.port_u16(), uri.scheme_str()) {
        (None, _) | (Some(80), Some("http" | "ws")) | (Some(443), Some("https" | "wss")) => host.to_owned(),
        (Some(port), _) => format!("{host}:{port}"),
    };
    HeaderValue::from_str(&text).map_err(|_| Failure::Invalid("the URL's host cannot stand in a header".into()))
}

/// Connects and asks.
pub(crate) async fn ask(connector: &Connector, handshake: Handshake) -> Result<Answered, Failure> {
    let Handshake { target, method, headers, body } = handshake;
    let stream = connector.connect(&connector.destination(&target.uri)?, Purpose::Session).await?;
    let broken = |error: hyper::Error| broken(&error, &target.origin);

    let mut request = http::Request::new(Full::new(body));
    *request.method_mut() = method;
    *request.version_mut() = Version::HTTP_11;
    *request.uri_mut() = target.uri.path_and_query().cloned().unwrap_or(PathAndQuery::from_static("/")).into();
    *request.headers_mut() = headers;

    let mut builder = http1::Builder::new();
    let handshake = builder.max_buf_size(HEAD_BYTES).handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(broken)?;
    let exchange = async {
        let response = sender.send_request(request).await.map_err(broken)?;
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            let (answer, body) = split(response);
            return Ok(Answered::Refused(Answer { body: beginning(body).await, ..answer }));
        }
        let (head, body) = response.into_parts();
        let (answer, _) = split(Response::from_parts(head.clone(), ()));
        let upgraded = hyper::upgrade::on(Response::from_parts(head, body)).await.map_err(broken)?;
        let parts = upgraded.downcast::<TokioIo<Stream>>();
        let parts = parts.map_err(|_| Failure::Protocol(format!("{} was lost in the upgrade", target.origin)))?;
        Ok(Answered::Switched(answer, parts.io.into_inner().unread(parts.read_buf)))
    };
    alongside(connection.with_upgrades(), exchange).await
}

/// Runs what moves a connection's bytes until the exchange on it is over.
async fn alongside<T>(connection: impl Future, exchange: impl Future<Output = T>) -> T {
    let mut exchange = pin!(exchange);
    tokio::select! {
        biased;
        result = &mut exchange => result,
        // Its end, good or bad, is told in the exchange.
        _ = connection => exchange.await,
    }
}

fn split<B>(response: Response<B>) -> (Answer, B) {
    let (head, body) = response.into_parts();
    let answer = Answer { status: head.status.as_u16(), headers: head::pairs(&head.headers), body: Vec::new() };
    (answer, body)
}

/// What comes of a body within the bounds; a refusal is told even if its body breaks off.
async fn beginning(mut body: Incoming) -> Vec<u8> {
    let mut bytes = Vec::new();
    let reading = async {
        while bytes.len() < BODY_BYTES
            && let Some(Ok(frame)) = body.frame().await
        {
            bytes.extend(frame.into_data().unwrap_or_default());
        }
    };
    let _ = timeout(BODY_TIME, reading).await;
    bytes.truncate(BODY_BYTES);
    bytes
}

fn broken(error: &hyper::Error, origin: &str) -> Failure {
    match tls_error(error) {
        Some(tls) => Failure::Tls(format!("no TLS with {origin}: {}", crate::tls::explain(tls))),
        None => Failure::Protocol(format!("{origin} did not answer as HTTP asks: {}", sentence(error))),
    }
}
