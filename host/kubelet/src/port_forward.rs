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

pub(crate) use channels::MAX_PORTS;

use crate::{
    Client,
    body::Body,
    refusal::Refusal,
    server::{Slot, Slots},
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

/// Places for the connections to ports of one user, over all of its port-forwards.
#[derive(Debug, Clone)]
pub(crate) struct Places {
    pub(crate) slots: Slots<String>,
    pub(crate) user: String,
}

/// Such a place, until it is dropped.
type Place = Slot<String>;

impl Places {
    fn take(&self) -> Option<Place> {
        self.slots.take(&self.user)
    }
}

/// Answers a request for port-forward that is allowed, and once it is upgraded runs a session for each of its
/// connections to a port. `ports` are those of the query; only clients that speak of channels need them. `held` is
/// dropped with the client's connection.
///
/// # Errors
///
/// What the request is answered that is not upgraded.
pub(crate) fn serve<B, S, F>(
    request: Request<B>,
    ports: Vec<u16>,
    pod: &PodId,
    streams: &Streams,
    places: Places,
    held: impl Send + 'static,
    session: S,
) -> Result<Response<Body>, Refusal>
where
    S: Fn(u16, Client) -> F + Send + Sync + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let forward = Forward { pod: pod.clone(), streams: streams.clone(), places, session };
    let tasks = &streams.tasks;
    match upgrade::carrier(request.headers())? {
        Carrier::Spdy => {
            let (protocol, ()) = upgrade::spdy_protocol(request.headers(), SPDY_PROTOCOLS)?;
            upgrade::spawn(request, tasks, held, async move |io| streams::serve(io, Arc::new(forward)).await);
            Ok(upgrade::accept_spdy(protocol))
        }
        Carrier::WebSocket => {
            let (method, headers) = (request.method(), request.headers());
            let (dialect, response) = websocket::negotiate(method, headers, WEBSOCKET_PROTOCOLS, TUNNEL)?;
            match dialect {
                Dialect::Tunnel => upgrade::spawn(request, tasks, held, async move |io| {
                    streams::serve(websocket::Pipe::new(io).await, Arc::new(forward)).await;
                }),
                Dialect::Channels(codec) => {
                    if ports.is_empty() {
                        let text = "query parameter \"port\" is required";
                        return Err(upgrade::refuse(StatusCode::BAD_REQUEST, text));
                    }
                    let places: Option<Vec<Place>> = ports.iter().map(|_| forward.places.take()).collect();
                    let places = places.ok_or_else(|| {
                        let text = "too many connections to ports are open for one user";
                        upgrade::refuse(StatusCode::TOO_MANY_REQUESTS, text)
                    })?;
                    upgrade::spawn(request, tasks, (held, places), async move |io| {
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
    places: Places,
    session: S,
}

/// What a client is told of a connection that failed. kubectl then ends the whole forward.
fn failure(port: u16, pod: &PodId, error: &Error) -> String {
    format!("error forwarding port {port} to pod {}, uid {}: {error}", pod.name, pod.uid)
}
