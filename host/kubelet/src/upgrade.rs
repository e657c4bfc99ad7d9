//! From a request for an upgrade to the protocol that is spoken after it.
//!
//! A request asks for SPDY/3.1 or for a WebSocket, and says which of the protocols on top of them it speaks. A request
//! that gets none of them ends its connection: whoever is in between, a proxy above all, may think that the upgrade
//! went through, and nothing that comes after it must be taken for a request.

use std::future::Future;

use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, header};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio_util::task::TaskTracker;

use crate::{
    body::{self, Body},
    refusal::Refusal,
};

/// `Upgrade` of SPDY.
const SPDY: &str = "SPDY/3.1";
/// `Upgrade` of a WebSocket.
const WEBSOCKET: &str = "websocket";
/// The protocols on top of SPDY: offered by the client, chosen by the server.
const STREAM_PROTOCOL: HeaderName = HeaderName::from_static("x-stream-protocol-version");
/// Those the server has, where the client offered none of them.
const ACCEPTED_STREAM_PROTOCOLS: HeaderName = HeaderName::from_static("x-accepted-stream-protocol-versions");

/// What carries the streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Carrier {
    Spdy,
    WebSocket,
}

/// What a request wants to be upgraded to; or the answer to one that wants neither.
pub(crate) fn carrier(headers: &HeaderMap) -> Result<Carrier, Refusal> {
    let wants = |protocol| says(headers, header::CONNECTION, "upgrade") && says(headers, header::UPGRADE, protocol);
    if wants(WEBSOCKET) {
        Ok(Carrier::WebSocket)
    } else if wants(SPDY) {
        Ok(Carrier::Spdy)
    } else {
        let text = "unable to upgrade: this takes the headers Connection: Upgrade and Upgrade: SPDY/3.1 or websocket";
        Err(refuse(StatusCode::BAD_REQUEST, text))
    }
}

/// The first protocol on top of SPDY that the client offers and the server has; or the answer if there is none.
pub(crate) fn spdy_protocol<T: Copy>(
    headers: &HeaderMap,
    supported: &[(&str, T)],
) -> Result<(HeaderValue, T), Refusal> {
    let mut offers = listed(headers, STREAM_PROTOCOL).peekable();
    if offers.peek().is_none() {
        let text = "unable to upgrade: X-Stream-Protocol-Version is required";
        return Err(refuse(StatusCode::BAD_REQUEST, text));
    }
    choose(offers, supported).ok_or_else(|| {
        let refusal = refuse(StatusCode::FORBIDDEN, no_common_protocol("X-Stream-Protocol-Version", supported));
        let names = supported.iter().filter_map(|(name, _)| HeaderValue::from_str(name).ok());
        names.fold(refusal, |refusal, name| refusal.with(ACCEPTED_STREAM_PROTOCOLS, name))
    })
}

/// Takes the upgrade to SPDY.
pub(crate) fn accept_spdy(protocol: HeaderValue) -> Response<Body> {
    let mut response = switch(SPDY);
    response.headers_mut().insert(STREAM_PROTOCOL, protocol);
    response
}

/// The first of the offers that is supported, as the client spelled it.
pub(crate) fn choose<'a, T: Copy>(
    offers: impl Iterator<Item = &'a str>,
    supported: &[(&str, T)],
) -> Option<(HeaderValue, T)> {
    offers.into_iter().find_map(|offer| {
        let (_, protocol) = supported.iter().find(|(name, _)| *name == offer)?;
        Some((HeaderValue::from_str(offer).ok()?, *protocol))
    })
}

/// The items of a header's list, over all of its lines.
pub(crate) fn listed(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &str> {
    let lines = headers.get_all(name).into_iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).map(str::trim).filter(|item| !item.is_empty())
}

/// Switches to this protocol.
pub(crate) fn switch(protocol: &'static str) -> Response<Body> {
    let mut response = Response::new(body::full(""));
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    response.headers_mut().insert(header::UPGRADE, HeaderValue::from_static(protocol));
    response
}

/// What a response switches to: the carrier, and the protocol on top of it, `none` if the client named none.
pub(crate) fn switched<B>(response: &Response<B>) -> Option<(&'static str, &str)> {
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        return None;
    }
    let headers = response.headers();
    let protocol = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok()).unwrap_or("none");
    Some(match carrier(headers).ok()? {
        Carrier::Spdy => ("spdy", protocol(STREAM_PROTOCOL)),
        Carrier::WebSocket => ("websocket", protocol(header::SEC_WEBSOCKET_PROTOCOL)),
    })
}

/// Does not upgrade, and ends the connection.
pub(crate) fn refuse(status: StatusCode, text: impl Into<String>) -> Refusal {
    Refusal::new(status, text.into()).with(header::CONNECTION, HeaderValue::from_static("close"))
}

/// Says what a client that offers only other protocols may offer.
pub(crate) fn no_common_protocol<T>(header: &str, supported: &[(&str, T)]) -> String {
    let names: Vec<&str> = supported.iter().map(|(name, _)| *name).filter(|name| !name.is_empty()).collect();
    format!("unable to upgrade: {header} offers none of the protocols spoken here: {}", names.join(", "))
}

/// Serves the connection of a request, in a task of its own, once its answer has switched protocols. What it holds is
/// dropped when the connection is over, which may be long after its sessions.
pub(crate) fn spawn<B, S, F>(request: Request<B>, tasks: &TaskTracker, held: impl Send + 'static, serve: S)
where
    S: FnOnce(TokioIo<Upgraded>) -> F + Send + 'static,
    F: Future<Output = ()> + Send,
{
    let upgrade = hyper::upgrade::on(request);
    tasks.spawn(async move {
        let _held = held;
        match upgrade.await {
            Ok(io) => serve(TokioIo::new(io)).await,
            Err(error) => tracing::debug!(%error, "a client broke off before its connection was upgraded"),
        }
    });
}

/// Whether any line of a header contains a word, in whatever case.
fn says(headers: &HeaderMap, name: HeaderName, word: &str) -> bool {
    let contains =
        |line: &HeaderValue| line.as_bytes().windows(word.len()).any(|part| part.eq_ignore_ascii_case(word.as_bytes()));
    headers.get_all(name).iter().any(contains)
}
