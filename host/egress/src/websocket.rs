//! WebSockets: the opening handshake, and the messages after it.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use futures::{Sink, Stream as Messages};
use http::{
    HeaderName, HeaderValue, Method,
    header::{SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION},
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        self, Error,
        error::ProtocolError,
        handshake::{client::generate_key, derive_accept_key},
        protocol::{CloseFrame, Role, WebSocketConfig, frame::coding::CloseCode},
    },
};
use vk_provider::{Answer, Connection, Dialled, Ending, Message};

use crate::{
    Failure,
    connect::{Connector, Stream},
    gate::Gate,
    head::{self, Target},
    upgrade::{self, Answered, Handshake, is_token},
};

/// The largest message, and so the largest frame.
const MESSAGE_BYTES: usize = 4 << 20;

/// What one read takes in. It is there for as long as the connection, and most connections are idle most of the time.
const READ_BYTES: usize = 4 << 10;

/// The longest reason of a close: a control frame has 125 bytes, two of which are the code.
const REASON_BYTES: usize = 123;

/// An opening handshake that the gate has admitted.
pub(crate) struct Opening {
    handshake: Handshake,
    key: String,
    protocols: Vec<String>,
}

impl Opening {
    pub(crate) fn new(
        url: &str,
        headers: Vec<(String, String)>,
        protocols: &[String],
        gate: &Gate,
    ) -> Result<Self, Failure> {
        let target = Target::websocket(url, gate)?;
        let mut headers = head::headers(headers)?;
        if let Some(name) = headers.keys().find(|name| name.as_str().starts_with("sec-websocket-")) {
            return Err(head::refused(name));
        }
        if let Some(odd) = protocols.iter().find(|name| name.is_empty() || !name.bytes().all(is_token)) {
            return Err(Failure::Invalid(format!("`{}` cannot be the name of a subprotocol", odd.escape_debug())));
        }
        let key = generate_key();
        let mut set = |name: HeaderName, value: &str| {
            let value = HeaderValue::from_str(value).map_err(|_| Failure::Invalid(format!("{name} cannot be sent")))?;
            headers.insert(name, value);
            Ok(())
        };
        set(SEC_WEBSOCKET_KEY, &key)?;
        set(SEC_WEBSOCKET_VERSION, "13")?;
        if !protocols.is_empty() {
            set(SEC_WEBSOCKET_PROTOCOL, &protocols.join(", "))?;
        }
        let protocol = HeaderValue::from_static("websocket");
        let handshake = Handshake::prepare(target, Method::GET, headers, Bytes::new(), protocol)?;
        Ok(Self { handshake, key, protocols: protocols.to_vec() })
    }

    pub(crate) async fn dial(self, connector: &Connector) -> Result<Dialled, Failure> {
        let Self { handshake, key, protocols } = self;
        let origin = handshake.target.origin.clone();
        match upgrade::ask(connector, handshake).await? {
            Answered::Refused(answer) => Ok(Dialled::Refused(answer)),
            Answered::Switched(answer, stream) => {
                check(&answer, &key, &protocols).map_err(|reason| {
                    Failure::Protocol(format!("{origin} does not open a WebSocket as RFC 6455 asks: {reason}"))
                })?;
                let channel = Channel::new(stream).await;
                Ok(Dialled::Opened(answer, Connection::WebSocket(Box::pin(channel))))
            }
        }
    }
}

/// Compares an answer with what was asked (RFC 6455, section 4.1).
fn check(answer: &Answer, key: &str, protocols: &[String]) -> Result<(), String> {
    let values = |name: &str| {
        let name = name.to_owned();
        answer.headers.iter().filter(move |(given, _)| *given == name).map(|(_, value)| value.as_str())
    };
    let lists = |name, word: &str| {
        values(name).any(|value| value.split(',').any(|part| part.trim().eq_ignore_ascii_case(word)))
    };
    if !lists("upgrade", "websocket") || !lists("connection", "upgrade") {
        return Err("it switches to another protocol".into());
    }
    if !values("sec-websocket-accept").eq([derive_accept_key(key.as_bytes()).as_str()]) {
        return Err("sec-websocket-accept does not belong to this request".into());
    }
    if values("sec-websocket-extensions").any(|value| !value.trim().is_empty()) {
        return Err("it uses an extension that was not offered".into());
    }
    // None at all is for the provider to judge.
    match values("sec-websocket-protocol").find(|chosen| !protocols.iter().any(|offered| offered == chosen)) {
        Some(chosen) => Err(format!("it chose the subprotocol `{}`, which was not offered", chosen.escape_debug())),
        None => Ok(()),
    }
}

/// The messages of an open WebSocket. Answers pings by itself.
struct Channel {
    socket: WebSocketStream<Stream>,
    /// Nothing more is read.
    ended: bool,
}

impl Channel {
    async fn new(stream: Stream) -> Self {
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BYTES)
            .write_buffer_size(0)
            .max_message_size(Some(MESSAGE_BYTES))
            .max_frame_size(Some(MESSAGE_BYTES));
        let socket = WebSocketStream::from_raw_socket(stream, Role::Client, Some(config)).await;
        Self { socket, ended: false }
    }
}

impl Messages for Channel {
    type Item = io::Result<Message>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        while !self.ended {
            let next = ready!(Pin::new(&mut self.socket).poll_next(cx));
            let message = match next {
                Some(Ok(tungstenite::Message::Text(text))) => Ok(Message::Text(text.as_str().to_owned())),
                Some(Ok(tungstenite::Message::Binary(bytes))) => Ok(Message::Binary(bytes)),
                Some(Ok(tungstenite::Message::Close(frame))) => {
                    self.ended = true;
                    // The answer to it waits to be sent. Whether the peer still takes it does not matter.
                    let _ = Pin::new(&mut self.socket).poll_flush(cx);
                    Ok(Message::Close(frame.map(ending).unwrap_or_default()))
                }
                Some(Ok(_)) => continue,
                Some(Err(error)) => {
                    self.ended = true;
                    Err(io_error(error))
                }
                None => {
                    self.ended = true;
                    break;
                }
            };
            return Poll::Ready(Some(message));
        }
        Poll::Ready(None)
    }
}

impl Sink<Message> for Channel {
    type Error = io::Error;

    fn poll_ready(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_ready(cx).map_err(io_error)
    }

    fn start_send(mut self: Pin<&mut Self>, message: Message) -> io::Result<()> {
        let message = match message {
            Message::Text(text) => tungstenite::Message::Text(text.into()),
            Message::Binary(bytes) => tungstenite::Message::Binary(bytes),
            Message::Close(ending) => tungstenite::Message::Close(close_frame(&ending)),
        };
        Pin::new(&mut self.socket).start_send(message).map_err(io_error)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx).map_err(io_error)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_close(cx).map_err(io_error)
    }
}

fn ending(frame: CloseFrame) -> Ending {
    Ending { code: Some(frame.code.into()), reason: frame.reason.as_str().to_owned() }
}

/// A code that must not be sent is left out, and so is the reason, which has no place without one.
fn close_frame(ending: &Ending) -> Option<CloseFrame> {
    let code = ending.code.map(CloseCode::from).filter(|code| code.is_allowed())?;
    let end = (0..=REASON_BYTES.min(ending.reason.len())).rev().find(|&at| ending.reason.is_char_boundary(at));
    let reason = ending.reason.get(..end.unwrap_or(0)).unwrap_or_default();
    Some(CloseFrame { code, reason: reason.into() })
}

fn io_error(error: Error) -> io::Error {
    match error {
        Error::Io(error) => error,
        Error::ConnectionClosed | Error::AlreadyClosed => io::Error::new(io::ErrorKind::NotConnected, error),
        Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => {
            io::Error::new(io::ErrorKind::UnexpectedEof, "the WebSocket broke off without a close")
        }
        Error::Capacity(error) => {
            let text = format!("{error}: a message has at most {MESSAGE_BYTES} bytes");
            io::Error::new(io::ErrorKind::InvalidData, text)
        }
        error => io::Error::new(io::ErrorKind::InvalidData, error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

    fn answer(headers: &[(&str, &str)]) -> Answer {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Answer { status: 101, headers, body: vec![] }
    }

    #[test]
    fn an_answer_must_be_the_one_to_this_request() {
        const GOOD: [(&str, &str); 3] = [
            ("upgrade", "WebSocket"),
            ("connection", "keep-alive, Upgrade"),
            ("sec-websocket-accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
        ];
        let offered = ["a".to_owned(), "b".to_owned()];
        assert_eq!(check(&answer(&GOOD), KEY, &offered), Ok(()));
        let with = |more| answer(&[GOOD.as_slice(), &[more]].concat());
        assert_eq!(check(&with(("sec-websocket-protocol", "b")), KEY, &offered), Ok(()));
        for (answer, says) in [
            (answer(&GOOD[1..]), "another protocol"),
            (answer(&[GOOD[0], GOOD[2]]), "another protocol"),
            (answer(&GOOD[..2]), "sec-websocket-accept"),
            (with(GOOD[2]), "sec-websocket-accept"),
            (with(("sec-websocket-extensions", "permessage-deflate")), "extension"),
            (with(("sec-websocket-protocol", "c")), "subprotocol `c`"),
            (with(("sec-websocket-protocol", "a, b")), "subprotocol"),
        ] {
            let reason = check(&answer, KEY, &offered).unwrap_err();
            assert!(reason.contains(says), "{reason}");
        }
        assert!(check(&answer(&GOOD), "another key", &offered).is_err());
    }

    #[test]
    fn a_close_is_sent_as_far_as_it_may_be() {
        let close = |code, reason: &str| close_frame(&Ending { code, reason: reason.into() });
        assert_eq!(close(None, "done"), None);
        assert_eq!(close(Some(1006), ""), None, "that one only says that there was no close");
        assert_eq!(
            close(Some(4000), "done"),
            Some(CloseFrame { code: CloseCode::Library(4000), reason: "done".into() })
        );
        let long = close(Some(1000), &"ä".repeat(100)).unwrap();
        assert_eq!(long.reason.len(), 122);
    }
}
