//! A client of exec and attach sessions that types and expects.

use std::net::SocketAddr;

use futures::{SinkExt, StreamExt};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinHandle,
    time::{Instant, timeout, timeout_at},
};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{
        self, Message,
        client::IntoClientRequest,
        http::{HeaderValue, header},
        protocol::frame::coding::CloseCode,
    },
};
use vk_azure::containers::{
    Container, Size,
    streams::{Sessions, Ticket, Trouble},
};

use crate::fixture::LIMIT;

/// Sessions and a server of their WebSockets.
pub(crate) struct Server {
    pub(crate) sessions: Sessions,
    address: SocketAddr,
    serving: JoinHandle<()>,
}

impl Server {
    pub(crate) async fn start() -> Self {
        let sessions = Sessions::default();
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let routes = sessions.routes();
        let serving = tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
        Self { sessions, address, serving }
    }

    /// Opens a WebSocket; or the status that refuses it.
    pub(crate) async fn open(&self, path: &str, authorization: Option<&str>) -> Result<Dialogue, u16> {
        let mut request = format!("ws://{}{path}", self.address).into_client_request().unwrap();
        if let Some(authorization) = authorization {
            let value = HeaderValue::from_str(authorization).unwrap();
            request.headers_mut().insert(header::AUTHORIZATION, value);
        }
        let stream = TcpStream::connect(self.address).await.unwrap();
        match timeout(LIMIT, client_async(request, stream)).await.expect("no answer") {
            Ok((socket, _)) => Ok(Dialogue { socket, heard: Vec::new(), messages: Vec::new(), pings: 0 }),
            Err(tungstenite::Error::Http(response)) => Err(response.status().as_u16()),
            Err(error) => panic!("{error}"),
        }
    }

    /// Starts a program and says the password.
    pub(crate) async fn exec_with(
        &self,
        container: &Container,
        command: &str,
        size: Size,
        trouble: Trouble,
    ) -> Dialogue {
        let Ticket { path, password } = self.sessions.exec(container, command, size, trouble);
        let mut dialogue = self.open(&path, None).await.unwrap();
        dialogue.send(Message::text(password)).await;
        dialogue
    }

    pub(crate) async fn exec(&self, container: &Container, command: &str) -> Dialogue {
        self.exec_with(container, command, Size::default(), Trouble::default()).await
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// One session as its client sees it.
pub(crate) struct Dialogue {
    socket: WebSocketStream<TcpStream>,
    /// What was heard and not expected yet.
    heard: Vec<u8>,
    /// The messages of output: whether they were text, and their length.
    pub(crate) messages: Vec<(bool, usize)>,
    pub(crate) pings: u32,
}

/// How a session ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    Closed(CloseCode),
    Cut,
}

impl Dialogue {
    pub(crate) async fn send(&mut self, message: Message) {
        timeout(LIMIT, self.socket.send(message)).await.expect("nothing is taken").unwrap();
    }

    /// Types, in frames of at most 512 bytes.
    pub(crate) async fn types(&mut self, typed: impl AsRef<[u8]>) {
        for part in typed.as_ref().chunks(512) {
            self.send(Message::binary(part.to_vec())).await;
        }
    }

    /// Hears a message more, which must come before a time; or how the session has ended.
    async fn hear(&mut self, until: Instant) -> Result<(), Ending> {
        let Ok(message) = timeout_at(until, self.socket.next()).await else {
            panic!("no more after {:?}", String::from_utf8_lossy(&self.heard));
        };
        match message {
            Some(Ok(Message::Close(frame))) => return Err(Ending::Closed(frame.unwrap().code)),
            Some(Ok(Message::Ping(_))) => self.pings += 1,
            Some(Ok(message)) => {
                self.messages.push((message.is_text(), message.len()));
                self.heard.extend_from_slice(&message.into_data());
            }
            None | Some(Err(_)) => return Err(Ending::Cut),
        }
        Ok(())
    }

    /// Waits for a text, and yields all until its end.
    pub(crate) async fn expect(&mut self, text: &str) -> String {
        let until = Instant::now() + LIMIT;
        loop {
            if let Some(at) = self.heard.windows(text.len()).position(|part| part == text.as_bytes()) {
                let heard: Vec<u8> = self.heard.drain(..at + text.len()).collect();
                return String::from_utf8(heard).unwrap();
            }
            if let Err(ending) = self.hear(until).await {
                panic!("{ending:?} in place of {text:?} after {:?}", String::from_utf8_lossy(&self.heard));
            }
        }
    }

    /// Waits for so many pings.
    pub(crate) async fn pinged(&mut self, count: u32) {
        let until = Instant::now() + LIMIT;
        while self.pings < count {
            self.hear(until).await.unwrap();
        }
    }

    /// Waits for the end, and yields what is left to hear.
    pub(crate) async fn rest(&mut self) -> (Vec<u8>, Ending) {
        let until = Instant::now() + LIMIT;
        loop {
            if let Err(ending) = self.hear(until).await {
                return (std::mem::take(&mut self.heard), ending);
            }
        }
    }
}
