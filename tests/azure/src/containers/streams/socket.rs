//! A session on its WebSocket.

use std::{io, time::Duration};

use axum::{
    body::Body,
    extract::Request,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures::{
    SinkExt, StreamExt,
    stream::{SplitSink, SplitStream},
};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::{
    sync::broadcast,
    time::{interval, timeout},
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        self, Message,
        handshake::derive_accept_key,
        protocol::{
            CloseFrame, Role,
            frame::{
                Frame,
                coding::{CloseCode, Data, OpCode},
            },
        },
    },
};

use super::{Kind, Session, Trouble};
use crate::containers::Terminal;

/// How long a client may take to say its password, or goodbye.
const ANSWER: Duration = Duration::from_secs(10);
/// How often a client is pinged.
const PING: Duration = Duration::from_secs(30);
/// How much of a program's output is read at once, in bytes.
const CHUNK: usize = 16 << 10;

type Socket = WebSocketStream<TokioIo<Upgraded>>;

/// Answers a request to open a session's WebSocket. The session goes on in a task.
pub(super) fn upgrade(session: Session, mut request: Request) -> Response {
    let accept = request.headers().get(header::SEC_WEBSOCKET_KEY).map(|key| derive_accept_key(key.as_bytes()));
    let Some(Ok(accept)) = accept.map(|accept| HeaderValue::from_str(&accept)) else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    let upgraded = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        // A client that has gone meanwhile misses nothing.
        if let Ok(upgraded) = upgraded.await {
            let socket = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, None).await;
            serve(socket, session).await;
        }
    });
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    response.headers_mut().insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    response.headers_mut().insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    response
}

/// Why a session goes on no more.
enum End {
    /// There is no more output, or no client.
    Over,
    /// A fault cuts the connection.
    Cut,
}

impl From<tungstenite::Error> for End {
    fn from(_gone: tungstenite::Error) -> Self {
        Self::Over
    }
}

async fn serve(mut socket: Socket, session: Session) {
    let Session { container, kind, password, trouble, .. } = session;
    let end = match kind {
        Kind::Attach => match container.container().map(|container| container.output()) {
            Some(written) => attach(&mut socket, written, trouble).await,
            None => End::Over,
        },
        Kind::Exec { command, size } => {
            if !says(&mut socket, &password).await {
                return close(socket, CloseCode::Policy, "the password is wrong").await;
            }
            let terminal = match container.container() {
                Some(container) => container.exec(&command, size).await,
                None => Err(io::Error::new(io::ErrorKind::NotFound, "the container has ended")),
            };
            exec(&mut socket, terminal, trouble).await
        }
    };
    match end {
        // Dropping the socket closes the connection and no more.
        End::Cut => {}
        End::Over => close(socket, CloseCode::Normal, "").await,
    }
}

/// Closes, and waits until the client has answered, so that it gets all that was sent.
async fn close(mut socket: Socket, code: CloseCode, reason: &'static str) {
    let farewell = async {
        // Whoever has gone needs no farewell.
        if socket.close(Some(CloseFrame { code, reason: reason.into() })).await.is_ok() {
            while let Some(Ok(_late)) = socket.next().await {}
        }
    };
    let _unanswered = timeout(ANSWER, farewell).await;
}

/// Whether the client's first frame is the password.
async fn says(socket: &mut Socket, password: &str) -> bool {
    match timeout(ANSWER, socket.next()).await {
        Ok(Some(Ok(Message::Text(given)))) => given.as_str() == password,
        _ => false,
    }
}

/// Carries what is typed and shown for as long as both the program and the client are there.
async fn exec(socket: &mut Socket, terminal: io::Result<Terminal>, trouble: Trouble) -> End {
    let (sink, stream) = socket.split();
    let mut output = Output { sink, trouble, sent: 0 };
    match terminal {
        Ok(terminal) => tokio::select! {
            end = show(&terminal, output) => end,
            () = take(stream, Some(&terminal)) => End::Over,
        },
        Err(error) => output.send(format!("{error}\r\n").into()).await.err().unwrap_or(End::Over),
    }
}

/// Shows what a container writes for as long as both it and the client are there.
async fn attach(socket: &mut Socket, written: broadcast::Receiver<Bytes>, trouble: Trouble) -> End {
    let (sink, stream) = socket.split();
    let output = Output { sink, trouble, sent: 0 };
    tokio::select! {
        end = show(written, output) => end,
        () = take(stream, None) => End::Over,
    }
}

/// Takes what the client sends, until it has gone. It is typed on the terminal if there is one that takes it.
async fn take(mut stream: SplitStream<&mut Socket>, terminal: Option<&Terminal>) {
    while let Some(Ok(message)) = stream.next().await {
        let typed = match message {
            Message::Binary(bytes) => bytes,
            Message::Text(text) => text.into(),
            _ => continue,
        };
        if let Some(terminal) = terminal {
            // What nobody reads any more is lost, as on any terminal.
            let _untaken = terminal.write(&typed).await;
        }
    }
}

/// What gives output, part by part.
trait Source {
    /// The next part; `None`: it was the last.
    async fn next(&mut self) -> Option<Bytes>;
}

impl Source for &Terminal {
    async fn next(&mut self) -> Option<Bytes> {
        let mut chunk = vec![0; CHUNK];
        // A terminal that fails has nothing more to show.
        let read = self.read(&mut chunk).await.unwrap_or(0);
        chunk.truncate(read);
        (read > 0).then(|| chunk.into())
    }
}

impl Source for broadcast::Receiver<Bytes> {
    async fn next(&mut self) -> Option<Bytes> {
        // A client that is too slow for the container is let go.
        self.recv().await.ok()
    }
}

async fn show(mut source: impl Source, mut output: Output<'_>) -> End {
    let period = output.trouble.ping_milliseconds.map_or(PING, Duration::from_millis);
    let mut pings = interval(period.max(Duration::from_millis(1)));
    loop {
        let sent = tokio::select! {
            part = source.next() => match part {
                Some(part) => output.send(part).await,
                None => return End::Over,
            },
            _now = pings.tick() => output.ping().await,
        };
        if let Err(end) = sent {
            return end;
        }
    }
}

/// Where output goes, and what goes wrong with it.
struct Output<'a> {
    sink: SplitSink<&'a mut Socket, Message>,
    trouble: Trouble,
    /// Bytes so far.
    sent: u64,
}

impl Output<'_> {
    async fn ping(&mut self) -> Result<(), End> {
        Ok(self.sink.send(Message::Ping(Bytes::new())).await?)
    }

    async fn send(&mut self, mut part: Bytes) -> Result<(), End> {
        let limits = [(self.trouble.cut_after, End::Cut), (self.trouble.close_after, End::Over)];
        let first = limits.into_iter().filter_map(|(limit, end)| Some((limit?, end))).min_by_key(|(limit, _)| *limit);
        let reached = first.filter(|(limit, _)| self.sent + part.len() as u64 >= *limit);
        if let Some((limit, _)) = &reached {
            part.truncate(usize::try_from(limit - self.sent).unwrap_or(usize::MAX));
        }
        self.sent += part.len() as u64;
        let text = self.trouble.text && str::from_utf8(&part).is_ok();
        let kind = OpCode::Data(if text { Data::Text } else { Data::Binary });
        let fragment = self.trouble.fragment.unwrap_or(usize::MAX).max(1);
        let fragments = part.chunks(fragment).count();
        for (number, bytes) in part.chunks(fragment).enumerate() {
            let kind = if number == 0 { kind } else { OpCode::Data(Data::Continue) };
            let frame = Frame::message(part.slice_ref(bytes), kind, number + 1 == fragments);
            self.sink.feed(Message::Frame(frame)).await?;
        }
        self.sink.flush().await?;
        reached.map_or(Ok(()), |(_, end)| Err(end))
    }
}
