//! Accepts connections, and cuts them where a fault wants it.

use std::{convert::Infallible, io, time::Duration};

use axum::{Router, body::Body, extract::Request, response::Response};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::JoinSet,
};
use tower_service::Service;

use crate::{Shared, api, control};

/// How long after its announcement an outage begins, so that the answer to whoever asked for it arrives.
const ANNOUNCED: Duration = Duration::from_millis(100);

/// Marks an answer in place of which the connection is to be cut.
#[derive(Clone)]
pub(crate) struct Cut;

/// Serves until the task is aborted; with it end all connections.
pub(crate) async fn serve(mut listener: TcpListener, shared: Shared, mut outages: mpsc::UnboundedReceiver<u64>) {
    let router = api::routes().merge(control::routes()).with_state(shared);
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                if let Ok((stream, _)) = accepted {
                    connections.spawn(connection(stream, router.clone()));
                }
            }
            Some(_ended) = connections.join_next() => {}
            Some(milliseconds) = outages.recv() => {
                let Ok(address) = listener.local_addr() else { return };
                tokio::time::sleep(ANNOUNCED).await;
                drop(listener);
                connections.shutdown().await;
                tokio::time::sleep(Duration::from_millis(milliseconds)).await;
                let Ok(again) = TcpListener::bind(address).await else { return };
                listener = again;
            }
        }
    }
}

async fn connection(stream: TcpStream, router: Router) {
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let mut router = router.clone();
        async move {
            let answered: Result<Response, Infallible> = router.call(request.map(Body::new) as Request).await;
            let Ok(response) = answered;
            match response.extensions().get::<Cut>() {
                Some(Cut) => Err(io::Error::other("cut by a fault")),
                None => Ok(response),
            }
        }
    });
    // An error is a client that has gone or a cut that was asked for.
    let _ended = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}
