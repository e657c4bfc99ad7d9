mod hostile_websocket;
mod late_client;
mod negotiation;
mod spdy;
mod websocket;

use std::{future::Future, sync::Mutex};

use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use tokio::io::DuplexStream;
use vk_provider::{Error, ErrorKind};

use super::{Wanted, serve};
use crate::{
    Client, ClientEvent, ClientOutput, Outcome,
    body::{Body, text},
    refusal::Refusal,
    streams::Streams,
    testing::connect,
};

const OUTPUT: Wanted = Wanted { stdin: false, stdout: true, stderr: false, tty: false };
const PIPES: Wanted = Wanted { stdin: true, stdout: true, stderr: true, tty: false };
const TERMINAL: Wanted = Wanted { stdin: true, stdout: true, stderr: false, tty: true };

/// A connection whose first request gets this session; those after it, if they are served, a plain answer.
fn serving<S, F>(streams: &Streams, wanted: Wanted, session: S) -> DuplexStream
where
    S: FnOnce(Client) -> F + Send + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    serving_held(streams, wanted, (), session)
}

/// One that holds something.
fn serving_held<H, S, F>(streams: &Streams, wanted: Wanted, held: H, session: S) -> DuplexStream
where
    H: Send + 'static,
    S: FnOnce(Client) -> F + Send + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    connect(service(streams, wanted, held, session))
}

fn service<H, S, F>(
    streams: &Streams,
    wanted: Wanted,
    held: H,
    session: S,
) -> impl Fn(Request<Incoming>) -> Response<Body> + Send + 'static
where
    H: Send + 'static,
    S: FnOnce(Client) -> F + Send + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let (session, streams) = (Mutex::new(Some((held, session))), streams.clone());
    move |request| match session.lock().unwrap().take() {
        Some((held, session)) => serve(request, wanted, &streams, held, session).unwrap_or_else(Refusal::response),
        None => text(StatusCode::OK, "served"),
    }
}

/// Sends back what it gets, and ends with it.
async fn cat(Client { mut input, mut output }: Client) {
    loop {
        match input.next().await {
            ClientEvent::Input(bytes) => output.output(bytes).await.expect("a client that reads"),
            ClientEvent::InputClosed => return output.finish(Outcome::Exit(0)).await,
            ClientEvent::Resized(size) => {
                output.output(format!("{}x{}", size.columns, size.rows).into()).await.expect("a client that reads");
            }
            ClientEvent::Gone => return output.finish(Outcome::Failed(Error::new(ErrorKind::Internal, "gone"))).await,
        }
    }
}

/// Finishes at once.
fn ending(outcome: Outcome) -> impl FnOnce(Client) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send>> {
    |client| {
        let output: Box<dyn ClientOutput> = client.output;
        Box::pin(async move { output.finish(outcome).await })
    }
}
