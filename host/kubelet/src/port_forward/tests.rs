mod channels;
mod streams;

use std::{future::Future, pin::Pin};

use tokio::io::DuplexStream;
use vk_provider::{Error, ErrorKind, PodId};

use super::serve;
use crate::{Client, ClientEvent, Outcome, streams::Streams, testing::connect};

fn pod() -> PodId {
    PodId { namespace: "default".into(), name: "web".into(), uid: "1234".into(), handle: None }
}

/// A connection whose requests name these ports.
fn serving<S, F>(streams: &Streams, ports: &'static [u16], session: S) -> DuplexStream
where
    S: Fn(u16, Client) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let streams = streams.clone();
    connect(move |request| serve(request, ports.to_vec(), &pod(), &streams, session.clone()))
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
