mod channels;
mod streams;

use std::{future::Future, pin::Pin};

use tokio::io::DuplexStream;
use vk_provider::{Error, ErrorKind, PodId};

use super::{Places, serve};
use crate::{Client, ClientEvent, Outcome, refusal::Refusal, server::Slots, streams::Streams, testing::connect};

fn pod() -> PodId {
    PodId { namespace: "default".into(), name: "web".into(), uid: "1234".into(), handle: None }
}

/// A connection whose requests name these ports.
fn serving<S, F>(streams: &Streams, ports: &'static [u16], session: S) -> DuplexStream
where
    S: Fn(u16, Client) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    serving_at_most(usize::MAX, streams, ports, session)
}

/// One whose user may have so many connections to ports.
fn serving_at_most<S, F>(places: usize, streams: &Streams, ports: &'static [u16], session: S) -> DuplexStream
where
    S: Fn(u16, Client) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let streams = streams.clone();
    let places = Places { slots: Slots::new(places, usize::MAX), user: "somebody".into() };
    connect(move |request| {
        serve(request, ports.to_vec(), &pod(), &streams, places.clone(), (), session.clone())
            .unwrap_or_else(Refusal::response)
    })
}

/// A server on each port: says which it is, then sends back what it gets until that ends. Nobody listens on port 1.
fn echo(port: u16, client: Client) -> Pin<Box<dyn Future<Output = ()> + Send>> {
    Box::pin(async move {
        let Client { mut input, mut output } = client;
        if port == 1 {
            let refused = Error::new(ErrorKind::Unavailable, "connection refused");
            return output.finish(Outcome::Failed(refused)).await;
        }
        let mut reply = format!("{port}:").into();
        loop {
            if output.output(reply).await.is_err() {
                return output.finish(Outcome::Exit(0)).await;
            }
            reply = match input.next().await {
                ClientEvent::Input(bytes) => bytes,
                _ => return output.finish(Outcome::Exit(0)).await,
            };
        }
    })
}
