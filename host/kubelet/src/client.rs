//! The client's side of a session, in whatever dialect it speaks.

use std::io;

use async_trait::async_trait;
use bytes::Bytes;
use tokio_util::sync::CancellationToken;
use vk_provider::{Error, TerminalSize};

/// A client of exec or attach, or one connection of a port-forward.
pub struct Client {
    /// What comes from it.
    pub input: Box<dyn ClientInput>,
    /// What goes to it.
    pub output: Box<dyn ClientOutput>,
}

/// What comes from a client.
#[async_trait]
pub trait ClientInput: Send {
    /// The next event. May be dropped and called again without loss; while nobody calls, the client is not read from
    /// for longer than its buffers take. After [`ClientEvent::Gone`] it says so again.
    async fn next(&mut self) -> ClientEvent;

    /// Cancelled once the client is gone, even while [`ClientEvent::Gone`] waits behind other events: who does not call
    /// [`next`](Self::next) for a while learns of it here.
    fn gone(&self) -> CancellationToken;
}

/// Something that a client did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientEvent {
    /// It sent bytes.
    Input(Bytes),
    /// It sends no more. Comes at most once.
    InputClosed,
    /// Its terminal has this size.
    Resized(TerminalSize),
    /// It is gone, or wants this session no more, or its connection broke: what is still sent reaches nobody. A
    /// connection to a port that is gone may leave others on the same wire.
    Gone,
}

/// What goes to a client.
#[async_trait]
pub trait ClientOutput: Send {
    /// Sends bytes of standard output, or of a forwarded port; waits while the client does not keep up. Bytes of a
    /// stream that the client did not ask for are dropped. If this is dropped while it waits, nothing but
    /// [`finish`](Self::finish) follows.
    ///
    /// # Errors
    ///
    /// If the client is gone.
    async fn output(&mut self, bytes: Bytes) -> io::Result<()>;

    /// Sends bytes of standard error, likewise.
    ///
    /// # Errors
    ///
    /// If the client is gone.
    async fn error_output(&mut self, bytes: Bytes) -> io::Result<()>;

    /// Says how it ended, after all that was sent before, and closes in the client's dialect. Takes no longer than a
    /// close may take, whatever the client does.
    async fn finish(self: Box<Self>, outcome: Outcome);
}

/// How a session ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The command ended with this code. An attach and a port-forward that end well have 0.
    Exit(u8),
    /// It failed.
    Failed(Error),
    /// It was given up because its client is gone, or took nothing for too long.
    Abandoned,
}
