//! The address of the node, and addresses to listen on.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use anyhow::Context as _;
use tokio::net::{TcpListener, UdpSocket, lookup_host};

/// The address of the interface from which a server is reached. Asks the routing table, by way of a datagram socket that
/// never sends.
///
/// # Errors
///
/// If the server's name does not resolve, or no route leads to it.
pub(crate) async fn towards(host: &str, port: u16) -> anyhow::Result<IpAddr> {
    let unknown = || format!("the node's address is not known, as {host}:{port} is not reachable: give --address");
    let mut last = None;
    for server in lookup_host((host, port)).await.with_context(unknown)? {
        match local_address(server).await {
            Ok(address) => return Ok(address),
            Err(error) => last = Some(error),
        }
    }
    let error = last.unwrap_or_else(|| std::io::Error::other("its name has no address"));
    Err(error).with_context(unknown)
}

/// Listens on `HOST:PORT`; without a host, on that port of every address.
///
/// # Errors
///
/// If it cannot be had.
pub(crate) async fn listen(address: &str) -> std::io::Result<TcpListener> {
    match address.strip_prefix(':') {
        // Where there is no IPv6, the second.
        Some(port) => match TcpListener::bind(format!("[::]:{port}")).await {
            Err(_) => TcpListener::bind(format!("0.0.0.0:{port}")).await,
            bound => bound,
        },
        None => TcpListener::bind(address).await,
    }
}

async fn local_address(server: SocketAddr) -> std::io::Result<IpAddr> {
    let any: IpAddr = if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(server).await?;
    Ok(socket.local_addr()?.ip())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn loopback_is_reached_from_loopback() {
        assert_eq!(towards("127.0.0.1", 6443).await.unwrap(), IpAddr::from(Ipv4Addr::LOCALHOST));
    }

    #[tokio::test]
    async fn an_unknown_server_is_named_with_the_remedy() {
        let refusal = towards("no-such-host.invalid", 6443).await.unwrap_err().to_string();
        assert!(refusal.contains("no-such-host.invalid:6443") && refusal.contains("--address"), "{refusal}");
    }
}
