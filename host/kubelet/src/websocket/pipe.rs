//! A stream of bytes in the binary messages of a WebSocket. Where one message ends and the next begins means nothing.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Bytes, BytesMut};
use futures::{Sink, Stream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Error, Message, protocol::Role},
};

use super::{CHUNK, config, normal};

/// The server's end. Shutting it down is the WebSocket's close, with its wait for the peer's: give it a time limit.
pub(crate) struct Pipe<Io> {
    socket: WebSocketStream<Io>,
    /// What has been read of a message.
    rest: Bytes,
    closing: bool,
}

impl<Io: AsyncRead + AsyncWrite + Unpin> Pipe<Io> {
    /// On an upgraded connection.
    pub(crate) async fn new(io: Io) -> Self {
        let socket = WebSocketStream::from_raw_socket(io, Role::Server, Some(config())).await;
        Self { socket, rest: Bytes::new(), closing: false }
    }

    /// Waits until what was written is on its way, and the buffer is free for the next message.
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx).map_err(into_io)
    }

    fn send(&mut self, message: Message) -> io::Result<()> {
        Pin::new(&mut self.socket).start_send(message).map_err(into_io)
    }

    /// Closes the WebSocket, and waits for the peer's close.
    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.closing {
            ready!(self.poll_room(cx))?;
            self.send(normal())?;
            self.closing = true;
        }
        ready!(self.poll_room(cx))?;
        while let Some(Ok(_)) = ready!(Pin::new(&mut self.socket).poll_next(cx)) {}
        Poll::Ready(Ok(()))
    }
}

impl<Io: AsyncRead + AsyncWrite + Unpin> AsyncRead for Pipe<Io> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        while self.rest.is_empty() {
            match ready!(Pin::new(&mut self.socket).poll_next(cx)) {
                Some(Ok(Message::Binary(bytes))) => self.rest = bytes,
                Some(Ok(Message::Text(_))) => {
                    let text = "a text message where only binary ones may be";
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, text)));
                }
                Some(Ok(_)) => {}
                Some(Err(error)) => return Poll::Ready(Err(into_io(error))),
                None => return Poll::Ready(Ok(())),
            }
        }
        let length = self.rest.len().min(buf.remaining());
        buf.put_slice(&self.rest.split_to(length));
        Poll::Ready(Ok(()))
    }
}

impl<Io: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Pipe<Io> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[io::IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_room(cx))?;
        let mut message = BytesMut::new();
        for buf in bufs {
            let (taken, _) = buf.split_at(buf.len().min(CHUNK - message.len()));
            message.extend_from_slice(taken);
        }
        let length = message.len();
        self.send(Message::Binary(message.freeze()))?;
        Poll::Ready(Ok(length))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_room(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // That the WebSocket is closed already, or broken, is no reason not to end what is under it.
        let _ = ready!(self.poll_close(cx));
        Pin::new(self.socket.get_mut()).poll_shutdown(cx)
    }
}

fn into_io(error: Error) -> io::Error {
    match error {
        Error::Io(error) => error,
        Error::ConnectionClosed | Error::AlreadyClosed => io::ErrorKind::BrokenPipe.into(),
        error => io::Error::new(io::ErrorKind::InvalidData, error),
    }
}

#[cfg(test)]
mod tests {
    use futures::{SinkExt, StreamExt};
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    #[tokio::test]
    async fn what_is_under_it_ends_also_after_the_peer_has_closed() {
        let (near, far) = duplex(1024);
        let mut pipe = Pipe::new(near).await;
        let mut peer = WebSocketStream::from_raw_socket(far, Role::Client, None).await;
        let closing = async {
            peer.send(normal()).await.unwrap();
            while let Some(Ok(_)) = peer.next().await {}
        };
        let reading = async {
            assert_eq!(pipe.read(&mut [0; 16]).await.unwrap(), 0);
            pipe.shutdown().await.unwrap();
        };
        // The client waits for the end of the stream before it is done.
        tokio::join!(closing, reading);
        assert_eq!(peer.get_mut().read(&mut [0; 16]).await.unwrap(), 0);
    }
}
