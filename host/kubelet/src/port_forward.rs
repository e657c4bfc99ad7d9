//! The client's side of port-forward. Each connection to a port is a client of its own.
//!
//! | carrier | protocol | a connection is |
//! |---|---|---|
//! | SPDY | `portforward.k8s.io` | a pair of streams, data and error, of the same request id |
//! | WebSocket | `SPDY/3.1+portforward.k8s.io` | the same: the messages carry SPDY |
//! | WebSocket | `v4.channel.k8s.io`, `v4.base64`, `channel`, `base64`, none | a pair of channels, for a port of the query |

mod channels;
mod pairs;
mod streams;
#[cfg(test)]
mod tests;

use std::{future::Future, sync::Arc};

use http::{Request, Response, StatusCode};
use vk_provider::{Error, PodId};

use crate::{
    Client,
    body::Body,
    streams::Streams,
    upgrade::{self, Carrier},
    websocket::{self, Codec},
};

/// What a WebSocket carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Dialect {
    Tunnel,
    Channels(Codec),
}

const SPDY_PROTOCOLS: &[(&str, ())] = &[("portforward.k8s.io", ())];

const TUNNEL: &str = "SPDY/3.1+portforward.k8s.io";

const WEBSOCKET_PROTOCOLS: &[(&str, Dialect)] = &[
    (TUNNEL, Dialect::Tunnel),
    ("v4.channel.k8s.io", Dialect::Channels(Codec::Binary)),
    ("v4.base64.channel.k8s.io", Dialect::Channels(Codec::Base64)),
    ("channel.k8s.io", Dialect::Channels(Codec::Binary)),
    ("base64.channel.k8s.io", Dialect::Channels(Codec::Base64)),
    ("", Dialect::Channels(Codec::Binary)),
];

/// Answers a request for port-forward that is allowed, and once it is upgraded runs a session for each of its
/// connections to a port. `ports` are those of the query; only clients that speak of channels need them.
pub(crate) fn serve<B, S, F>(
    request: Request<B>,
    ports: Vec<u16>,
    pod: &PodId,
    streams: &Streams,
    session: S,
) -> Response<Body>
where
    S: Fn(u16, Client) -> F + Send + Sync + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let forward = Forward { pod: pod.clone(), streams: streams.clone(), session };
    accept(request, ports, forward).unwrap_or_else(|refusal| refusal)
}

fn accept<B, S, F>(request: Request<B>, ports: Vec<u16>, forward: Forward<S>) -> Result<Response<Body>, Response<Body>>
where
    S: Fn(u16, Client) -> F + Send + Sync + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let tasks = forward.streams.tasks.clone();
    match upgrade::carrier(request.headers())? {
        Carrier::Spdy => {
            let (protocol, ()) = upgrade::spdy_protocol(request.headers(), SPDY_PROTOCOLS)?;
            upgrade::spawn(request, &tasks, async move |io| streams::serve(io, Arc::new(forward)).await);
            Ok(upgrade::accept_spdy(protocol))
        }
        Carrier::WebSocket => {
            let (method, headers) = (request.method(), request.headers());
            let (dialect, response) = websocket::negotiate(method, headers, WEBSOCKET_PROTOCOLS, TUNNEL)?;
            match dialect {
                Dialect::Tunnel => upgrade::spawn(request, &tasks, async move |io| {
                    streams::serve(websocket::Pipe::new(io).await, Arc::new(forward)).await;
                }),
                Dialect::Channels(codec) => {
                    let ports =
                        channels::check(ports, codec).map_err(|text| upgrade::refuse(StatusCode::BAD_REQUEST, text))?;
                    upgrade::spawn(request, &tasks, async move |io| {
                        channels::serve(io, codec, ports, forward).await;
                    });
                }
            }
            Ok(response)
        }
    }
}

/// What the connections of one client have in common.
struct Forward<S> {
    pod: PodId,
    streams: Streams,
    session: S,
}

/// What a client is told of a connection that failed. kubectl then ends the whole forward.
fn failure(port: u16, pod: &PodId, error: &Error) -> String {
    format!("error forwarding port {port} to pod {}, uid {}: {error}", pod.name, pod.uid)
}
