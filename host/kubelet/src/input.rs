//! From a connection's task to its session: what the client does.

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::{ClientEvent, ClientInput};

/// Events that wait for the session to take them.
const QUEUE: usize = 4;
/// The most bytes of one event.
const MAX_INPUT: usize = 32 << 10;

/// Tells a session of its client. Dropping it says that the client is gone.
pub(crate) struct InputSender {
    events: mpsc::Sender<ClientEvent>,
    _gone: DropGuard,
}

/// The two ends of it.
pub(crate) fn channel() -> (InputSender, Box<dyn ClientInput>) {
    let (sender, events) = mpsc::channel(QUEUE);
    let gone = CancellationToken::new();
    (InputSender { events: sender, _gone: gone.clone().drop_guard() }, Box::new(Input { events, gone }))
}

impl InputSender {
    /// Waits for the session to keep up, which may be for hours: whoever calls it watches the connection meanwhile. A
    /// session that takes no more events is about to end: what the client does then means nothing.
    pub(crate) async fn send(&self, event: ClientEvent) {
        let _ = self.events.send(event).await;
    }

    /// Sends bytes that came from the client, likewise.
    pub(crate) async fn send_bytes(&self, mut bytes: Bytes) {
        while !bytes.is_empty() {
            let piece = bytes.split_to(bytes.len().min(MAX_INPUT));
            self.send(ClientEvent::Input(piece)).await;
        }
    }
}

struct Input {
    events: mpsc::Receiver<ClientEvent>,
    gone: CancellationToken,
}

#[async_trait]
impl ClientInput for Input {
    async fn next(&mut self) -> ClientEvent {
        self.events.recv().await.unwrap_or(ClientEvent::Gone)
    }

    fn gone(&self) -> CancellationToken {
        self.gone.clone()
    }
}
