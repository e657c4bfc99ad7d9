//! The client's side of exec and attach.
//!
//! | carrier | protocols | streams |
//! |---|---|---|
//! | SPDY | `v4.channel.k8s.io`, `v3`, `v2`, `channel.k8s.io` | one each, made by the client |
//! | WebSocket | `v5`, `v4`, `v4.base64`, `channel.k8s.io`, `base64`, none | channels 0 to 4 |
//!
//! The streams are stdin, stdout, stderr, the sizes of the terminal, and one that says how it ended.

mod resize;
mod spdy;
mod status;
#[cfg(test)]
mod tests;
mod websocket;

use std::future::Future;

use http::{Request, Response, StatusCode};

use crate::{
    Client,
    body::Body,
    refusal::Refusal,
    streams::Streams,
    upgrade::{self, Carrier},
    websocket::negotiate,
};

pub use resize::Resizes;

/// The streams that a client wants.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) stdin: bool,
    pub(crate) stdout: bool,
    /// Ignored with a terminal, which has one output.
    pub(crate) stderr: bool,
    pub(crate) tty: bool,
}

/// The versions of the protocol, whatever carries it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Version {
    V1,
    V2,
    /// Has the sizes of the terminal.
    V3,
    /// Has the exit code.
    V4,
    /// Has the end of stdin over a WebSocket.
    V5,
}

/// Answers a request for exec or attach that is allowed, and once it is upgraded runs the session with its client. There
/// is no session if the request is no upgrade or asks for no stream, or if the client breaks off before its streams
/// stand. `held` is dropped with the client's connection.
///
/// # Errors
///
/// What the request is answered that is not upgraded.
pub(crate) fn serve<B, S, F>(
    request: Request<B>,
    mut wanted: Wanted,
    streams: &Streams,
    held: impl Send + 'static,
    session: S,
) -> Result<Response<Body>, Refusal>
where
    S: FnOnce(Client) -> F + Send + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    wanted.stderr &= !wanted.tty;
    if !(wanted.stdin || wanted.stdout || wanted.stderr) {
        let text = "you must specify at least 1 of stdin, stdout, stderr";
        return Err(upgrade::refuse(StatusCode::BAD_REQUEST, text));
    }
    let (tasks, streams) = (&streams.tasks, streams.clone());
    match upgrade::carrier(request.headers())? {
        Carrier::Spdy => {
            let (protocol, version) = upgrade::spdy_protocol(request.headers(), spdy::PROTOCOLS)?;
            upgrade::spawn(request, tasks, held, async move |io| {
                spdy::serve(io, version, wanted, &streams, session).await;
            });
            Ok(upgrade::accept_spdy(protocol))
        }
        Carrier::WebSocket => {
            let (method, headers) = (request.method(), request.headers());
            let (dialect, response) = negotiate(method, headers, websocket::PROTOCOLS, websocket::PREFERRED)?;
            upgrade::spawn(request, tasks, held, async move |io| {
                websocket::serve(io, dialect, wanted, &streams, session).await;
            });
            Ok(response)
        }
    }
}
