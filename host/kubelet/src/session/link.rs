//! What a session knows of its connection to the backend.

use bytes::Bytes;
use vk_provider::{Connection, Error, Fault};

use super::{
    backend::{Kind, Reader, Sending, Writer, split},
    lane::Lane,
};

/// A connection, or none: never made, refused, or gone.
pub(super) struct Link {
    /// What it carries, until the provider knows that it is gone.
    kind: Option<Kind>,
    /// Until nothing more comes.
    pub(super) reader: Option<Reader>,
    /// Shut once the backend takes nothing more: what is sent then is lost, as with any connection that breaks, and the
    /// provider learns of it when the reader does.
    pub(super) sends: Lane<'static, Writer>,
    closed: bool,
}

/// An action that the session's state does not allow.
pub(super) fn impossible(action: &str, why: &str) -> Error {
    Error::fault(Fault::Answer, format!("the provider asked for {action}, but {why}"))
}

const NO_CONNECTION: &str = "there is no connection to the backend";

impl Link {
    pub(super) fn none() -> Self {
        Self { kind: None, reader: None, sends: Lane::new(None), closed: false }
    }

    pub(super) fn new(connection: Connection) -> Self {
        match split(connection) {
            Some((kind, reader, writer)) => {
                Self { kind: Some(kind), reader: Some(reader), sends: Lane::new(Some(writer)), closed: false }
            }
            None => Self::none(),
        }
    }

    /// What it carries.
    pub(super) fn kind(&self) -> Option<Kind> {
        self.kind
    }

    pub(super) fn send_text(&mut self, text: String) -> Result<(), Error> {
        match self.sendable("send-text")? {
            Kind::Messages => self.sends.push(Sending::Text(text)),
            Kind::Bytes => return Err(impossible("send-text", "the connection to the backend carries bytes")),
        }
        Ok(())
    }

    pub(super) fn send_binary(&mut self, bytes: Vec<u8>) -> Result<(), Error> {
        self.sendable("send-binary")?;
        self.sends.push(Sending::Binary(bytes.into()));
        Ok(())
    }

    fn sendable(&self, action: &str) -> Result<Kind, Error> {
        let kind = self.kind.ok_or_else(|| impossible(action, NO_CONNECTION))?;
        if self.closed { Err(impossible(action, "it had asked for close-send before")) } else { Ok(kind) }
    }

    /// Nothing more is sent. Where nothing could be, that is so already.
    pub(super) fn close_send(&mut self) {
        if !std::mem::replace(&mut self.closed, true) {
            self.sends.push(Sending::Close);
        }
    }

    pub(super) fn begin_relay(&self) -> Result<Kind, Error> {
        self.kind.ok_or_else(|| impossible("relay", NO_CONNECTION))
    }

    /// Bytes that are copied. After a close they are lost.
    pub(super) fn relay(&mut self, bytes: Bytes) {
        if !self.closed {
            self.sends.push(Sending::Binary(bytes));
        }
    }

    /// The session needs it no more: a WebSocket is told so, behind what is still to be sent.
    pub(super) fn finish(mut self) -> Lane<'static, Writer> {
        if self.kind == Some(Kind::Messages) {
            self.close_send();
        }
        self.sends
    }
}
