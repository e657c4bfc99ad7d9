//! From a connection's task to the session: what the client does.

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::mpsc;

use crate::{ClientEvent, ClientInput};

/// Events that wait for the session to take them.
const QUEUE: usize = 4;
/// The most bytes of one event.
const MAX_INPUT: usize = 32 << 10;

/// Tells a session of its client. Dropping it says that the client is gone.
pub(crate) struct Events(mpsc::Sender<ClientEvent>);

/// The two ends of it.
pub(crate) fn events() -> (Events, Box<dyn ClientInput>) {
    let (sender, receiver) = mpsc::channel(QUEUE);
    (Events(sender), Box::new(Input(receiver)))
}

impl Events {
    /// Waits for the session to keep up. One that takes no more events is about to end: what the client does then means
    /// nothing.
    pub(crate) async fn emit(&self, event: ClientEvent) {
        let _ = self.0.send(event).await;
    }

    /// Emits bytes that the client sent.
    pub(crate) async fn emit_input(&self, mut bytes: Bytes) {
        while !bytes.is_empty() {
            let piece = bytes.split_to(bytes.len().min(MAX_INPUT));
            self.emit(ClientEvent::Input(piece)).await;
        }
    }
}

struct Input(mpsc::Receiver<ClientEvent>);

#[async_trait]
impl ClientInput for Input {
    async fn next(&mut self) -> ClientEvent {
        self.0.recv().await.unwrap_or(ClientEvent::Gone)
    }
}
