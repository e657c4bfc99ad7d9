//! What forwarded ports lead to: one server that sends as much as is asked of it, and one that takes it.

use std::net::SocketAddr;

use anyhow::Result;
use tokio::{
    io::{self, AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

/// How much is sent at a time.
const PIECE: usize = 64 << 10;

/// Both servers. They end with the process.
pub(crate) struct Peer {
    /// Sends so many bytes, and closes.
    pub(crate) source: SocketAddr,
    /// Reads so many, sends one back, and closes.
    pub(crate) sink: SocketAddr,
}

impl Peer {
    /// Listens on free ports of 127.0.0.1.
    pub(crate) async fn start(length: usize) -> Result<Self> {
        let source = serve(move |mut connection: TcpStream| async move {
            let piece = vec![b'x'; PIECE];
            let mut left = length;
            while left > 0 {
                let part = piece.get(..left.min(PIECE)).unwrap_or_default();
                connection.write_all(part).await?;
                left -= part.len();
            }
            connection.shutdown().await
        });
        let sink = serve(move |mut connection: TcpStream| async move {
            io::copy(&mut (&mut connection).take(length as u64), &mut io::sink()).await?;
            connection.write_all(b".").await?;
            connection.shutdown().await
        });
        Ok(Self { source: source.await?, sink: sink.await? })
    }

    /// The grants by which a provider reaches them.
    pub(crate) fn grants(&self) -> [String; 2] {
        [self.source, self.sink].map(|address| format!("tcp://{address}"))
    }

    /// The source, as HOST:PORT.
    pub(crate) fn source(&self) -> String {
        self.source.to_string()
    }

    /// The sink, as HOST:PORT.
    pub(crate) fn sink(&self) -> String {
        self.sink.to_string()
    }
}

async fn serve<F>(handle: impl Fn(TcpStream) -> F + Clone + Send + Sync + 'static) -> Result<SocketAddr>
where
    F: Future<Output = io::Result<()>> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((connection, _)) = listener.accept().await {
            // A connection that breaks is the client's to tell.
            tokio::spawn(handle(connection));
        }
    });
    Ok(address)
}
