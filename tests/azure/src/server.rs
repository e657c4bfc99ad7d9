//! Accepts connections, and cuts them where a fault wants it.

use std::{io, sync::Arc};

use axum::{body::Body, extract::Request, response::Response};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;

use crate::{Shared, answer::answer};

/// Which listener a request came by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Listener {
    /// With TLS: the directory, the resource manager and streams.
    Tls,
    /// Without: the metadata service, realtime figures and control.
    Plain,
}

/// Marks an answer in place of which the connection is to be cut.
#[derive(Clone)]
pub(crate) struct Cut;

/// Serves until the task is aborted; with it end all connections.
pub(crate) async fn serve(listener: TcpListener, tls: Option<TlsAcceptor>, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                if let Ok((stream, _)) = accepted {
                    connections.spawn(connection(stream, tls.clone(), shared.clone()));
                }
            }
            Some(_ended) = connections.join_next() => {}
        }
    }
}

async fn connection(stream: TcpStream, tls: Option<TlsAcceptor>, shared: Arc<Shared>) {
    // Answers are small; they must not wait for the acknowledgement of what was sent before.
    let _unsupported = stream.set_nodelay(true);
    match tls {
        None => requests(stream, Listener::Plain, shared).await,
        // An error is a client that does not trust the authority, or has gone.
        Some(tls) => {
            if let Ok(stream) = tls.accept(stream).await {
                requests(stream, Listener::Tls, shared).await;
            }
        }
    }
}

async fn requests(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    listener: Listener,
    shared: Arc<Shared>,
) {
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let shared = shared.clone();
        async move {
            let response: Response = answer(shared, listener, request.map(Body::new) as Request).await;
            match response.extensions().get::<Cut>() {
                Some(Cut) => Err(io::Error::other("cut by a fault")),
                None => Ok(response),
            }
        }
    });
    // An error is a client that has gone or a cut that was asked for.
    let _ended = http1::Builder::new().serve_connection(TokioIo::new(stream), service).with_upgrades().await;
}
