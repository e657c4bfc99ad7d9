//! Connections for sessions: they pass the gate as requests do, then carry messages or bytes for as long as they last.

use std::net::IpAddr;

use tokio::time::timeout;
use vk_provider::{Answer, Connection, Dialled, Transport};

use crate::{
    Egress, Failure,
    connect::{Connector, Destination, Purpose},
    host::Host,
    origin::{Origin, Scheme},
    upgrade::{self, Answered, Handshake},
    websocket,
};

impl Egress {
    /// Connects to what a session asks for.
    ///
    /// URLs and headers are judged as with [`Egress::send`]: a WebSocket wants a grant of `ws` or `wss`, an upgrade one of
    /// `http`, `https` or a socket, bytes alone one of `tcp`. Time counts from this call to where the connection stands
    /// or was refused, and is bounded by [`Limits::request_timeout`](crate::Limits::request_timeout). A connection holds
    /// its place among [`Limits::sessions`](crate::Limits::sessions) until it is dropped. [`Transport::None`] needs none.
    ///
    /// An answer that refuses has at most 64 KiB of body. A message of a WebSocket has at most 4 MiB; a larger one ends
    /// the connection.
    ///
    /// # Errors
    ///
    /// See [`Failure`]. An HTTP answer that does not switch protocols is none, but [`Dialled::Refused`].
    pub async fn dial(&self, transport: &Transport) -> Result<Dialled, Failure> {
        if *transport == Transport::None {
            return Ok(Dialled::Opened(Answer::default(), Connection::None));
        }
        let mut record = self.0.metrics.start();
        let dialled = timeout(self.0.limits.request_timeout, dial(&self.0.connector, transport)).await;
        let dialled = dialled.unwrap_or(Err(Failure::Timeout));
        match &dialled {
            Ok(_) => record.answered(),
            Err(failure) => {
                record.failed(failure);
                tracing::debug!(reason = %failure, "a provider's session was not connected");
            }
        }
        dialled
    }
}

async fn dial(connector: &Connector, transport: &Transport) -> Result<Dialled, Failure> {
    match transport {
        Transport::WebSocket { url, headers, protocols } => {
            let opening = websocket::Opening::new(url, headers.clone(), protocols, connector.gate())?;
            opening.dial(connector).await
        }
        Transport::Upgrade { method, url, headers, body, protocol } => {
            if protocol.eq_ignore_ascii_case("websocket") {
                return Err(Failure::Invalid("an upgrade to websocket is the transport `websocket`".into()));
            }
            let gate = connector.gate();
            let handshake = Handshake::new(method, url, headers.clone(), body.clone().into(), protocol, gate)?;
            Ok(match upgrade::ask(connector, handshake).await? {
                Answered::Switched(answer, stream) => Dialled::Opened(answer, Connection::Bytes(Box::new(stream))),
                Answered::Refused(answer) => Dialled::Refused(answer),
            })
        }
        Transport::Tcp { host, port } => {
            let destination = Destination::Origin(tcp(host, *port)?);
            let stream = connector.connect(&destination, Purpose::Session).await?;
            Ok(Dialled::Opened(Answer::default(), Connection::Bytes(Box::new(stream))))
        }
        Transport::None => Ok(Dialled::Opened(Answer::default(), Connection::None)),
    }
}

/// An IPv6 address may stand in brackets or without.
fn tcp(host: &str, port: u16) -> Result<Origin, Failure> {
    if port == 0 {
        return Err(Failure::Invalid("the port to connect to is 0".into()));
    }
    let host = match host.parse::<IpAddr>() {
        Ok(address) => Host::Address(address),
        Err(_) => Host::parse(host).map_err(Failure::Invalid)?,
    };
    Ok(Origin { scheme: Scheme::Tcp, host, port })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tcp_destination_is_displayed_as_its_grant_is_written() {
        for (host, port, grant) in [
            ("db.test", 5432, "tcp://db.test:5432"),
            ("DB.test.", 1, "tcp://db.test:1"),
            ("10.0.0.1", 80, "tcp://10.0.0.1:80"),
            ("::1", 80, "tcp://[::1]:80"),
            ("[::1]", 80, "tcp://[::1]:80"),
        ] {
            assert_eq!(tcp(host, port).unwrap().to_string(), grant);
        }
        for (host, port) in [("a", 0), ("", 1), ("0x7f.1", 1), ("a b", 1), ("a:1", 1), ("http://a", 1), ("*", 1)] {
            assert!(matches!(tcp(host, port), Err(Failure::Invalid(_))), "{host}:{port}");
        }
    }
}
