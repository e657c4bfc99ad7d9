//! What goes to the client.

use std::io;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::time::timeout;

use super::{PATIENCE, backend::CHUNK_BYTES, lane::Outlet};
use crate::ClientOutput;

/// Bytes for the client.
#[derive(Debug)]
pub(super) enum Delivery {
    Output(Bytes),
    ErrorOutput(Bytes),
}

/// A client that takes them.
pub(super) struct Recipient<'a>(pub(super) &'a mut dyn ClientOutput);

#[async_trait]
impl Outlet for Recipient<'_> {
    type Item = Delivery;

    fn size(item: &Delivery) -> usize {
        match item {
            Delivery::Output(bytes) | Delivery::ErrorOutput(bytes) => bytes.len(),
        }
    }

    async fn write(&mut self, item: Delivery, _more: bool) -> io::Result<()> {
        let (mut rest, is_error) = match item {
            Delivery::Output(bytes) => (bytes, false),
            Delivery::ErrorOutput(bytes) => (bytes, true),
        };
        while !rest.is_empty() {
            let piece = rest.split_to(rest.len().min(CHUNK_BYTES));
            let taken = if is_error { self.0.error_output(piece) } else { self.0.output(piece) };
            timeout(PATIENCE, taken).await??;
        }
        Ok(())
    }
}
