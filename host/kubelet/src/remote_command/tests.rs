mod negotiation;
mod spdy;
mod websocket;

use std::{future::Future, sync::Mutex};

use http::StatusCode;
use tokio::io::DuplexStream;
use vk_provider::{Error, ErrorKind};

use super::{Wanted, serve};
use crate::{Client, ClientEvent, ClientOutput, Outcome, body::text, streams::Streams, testing::connect};

const OUTPUT: Wanted = Wanted { stdin: false, stdout: true, stderr: false, tty: false };
const PIPES: Wanted = Wanted { stdin: true, stdout: true, stderr: true, tty: false };
const TERMINAL: Wanted = Wanted { stdin: true, stdout: true, stderr: false, tty: true };

/// A connection whose first request gets this session; those after it, if they are served, a plain answer.
fn serving<S, F>(streams: &Streams, wanted: Wanted, session: S) -> DuplexStream
where
    S: FnOnce(Client) -> F + Send + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let (session, streams) = (Mutex::new(Some(session)), streams.clone());
    connect(move |request| match session.lock().unwrap().take() {
        Some(session) => serve(request, wanted, &streams, session),
        None => text(StatusCode::OK, "served"),
    })
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
