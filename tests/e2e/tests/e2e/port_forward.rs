//! `kubectl port-forward`.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context as _, Result, ensure};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpSocket, TcpStream},
    task::JoinHandle,
    time,
};
use vk_e2e::{Dialect, Env, Kubectl, PATIENCE, Setup, StreamKind, noise};

use crate::ways::{Way, taking};

/// Connections through one port-forward.
const AT_ONCE: usize = 10;
/// 100 MB, as people say.
const MUCH: usize = 100 << 20;
/// No transfer takes longer.
const LONGEST_TRANSFER: Duration = Duration::from_secs(100);

pub(crate) async fn every_client_forwards_ten_connections_at_once(env: &mut Env) -> Result<()> {
    every_client(env, Way::Through).await
}

pub(crate) async fn every_client_forwards_through_an_api_server_that_tunnels(env: &mut Env) -> Result<()> {
    every_client(env, Way::Translated).await
}

async fn every_client(env: &mut Env, way: Way) -> Result<()> {
    env.start(Setup::default()).await?;
    env.create(env.pod("echo")).await?;
    env.pod_ready("echo").await?;
    for kubectl in Kubectl::all().await? {
        let forwarded = async {
            let (running, port) = env.forward(&kubectl, "echo", 80).await?;
            let connections = (0..AT_ONCE as u64).map(|seed| echoed(port, noise(seed, 64 << 10)));
            stream::iter(connections).buffer_unordered(AT_ONCE).try_collect::<Vec<_>>().await?;
            // And one more after they have ended.
            echoed(port, noise(99, 1 << 10)).await?;
            running.kill().await
        };
        taking(env, way, StreamKind::PortForward, &kubectl, 1, forwarded)
            .await
            .with_context(|| kubectl.name.clone())?;
    }
    env.streams("port_forward", 0).await
}

/// Sends bytes and checks that they come back.
async fn echoed(port: u16, sent: Vec<u8>) -> Result<()> {
    let mut connection = TcpStream::connect(("127.0.0.1", port)).await?;
    let (mut read, mut write) = connection.split();
    let mut back = vec![0; sent.len()];
    let both = async { tokio::try_join!(write.write_all(&sent), read.read_exact(&mut back)) };
    time::timeout(LONGEST_TRANSFER, both).await.context("the echo does not come")??;
    ensure!(back == sent, "other bytes came back");
    Ok(())
}

/// A server beside the control plane that reads each connection to its end and then sends it all back.
async fn reflector() -> Result<(String, JoinHandle<()>)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?.to_string();
    let serving = tokio::spawn(async move {
        while let Ok((mut connection, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut got = Vec::new();
                // A connection that breaks is the client's to tell.
                if connection.read_to_end(&mut got).await.is_ok() {
                    let _ = connection.write_all(&got).await;
                }
            });
        }
    });
    Ok((address, serving))
}

pub(crate) async fn a_hundred_megabytes_and_a_half_close_reach_a_real_backend(env: &mut Env) -> Result<()> {
    much_to_a_backend(env, &[Kubectl::own(Dialect::WebSocket), Kubectl::own(Dialect::Spdy)]).await
}

pub(crate) async fn a_hundred_megabytes_reach_a_real_backend_through_a_tunnel(env: &mut Env) -> Result<()> {
    much_to_a_backend(env, &[Kubectl::own(Dialect::WebSocket)]).await
}

async fn much_to_a_backend(env: &mut Env, kubectls: &[Kubectl]) -> Result<()> {
    let (address, serving) = reflector().await?;
    env.start(Setup::default().net(&format!("tcp://{address}"))).await?;
    env.create(env.pod("web").asks("port-forward", &address)).await?;
    env.pod_ready("web").await?;
    let sent = noise(3, MUCH);
    for kubectl in kubectls {
        let (running, port) = env.forward(kubectl, "web", 8080).await?;
        let mut connection = TcpStream::connect(("127.0.0.1", port)).await?;
        let transfer = async {
            connection.write_all(&sent).await?;
            // The backend answers only after it.
            connection.shutdown().await?;
            let mut back = Vec::with_capacity(MUCH);
            connection.read_to_end(&mut back).await?;
            anyhow::Ok(back)
        };
        let back = time::timeout(LONGEST_TRANSFER, transfer).await.with_context(|| kubectl.name.clone())??;
        let differ = back.iter().zip(&sent).position(|(back, sent)| back != sent);
        let what = format!("{}: {} bytes came back, the first that differs is {differ:?}", kubectl.name, back.len());
        ensure!(back == sent, what);
        running.kill().await?;
    }
    serving.abort();
    env.streams("port_forward", 0).await
}

pub(crate) async fn a_backend_that_refuses_is_told_and_hurts_nobody_else(env: &mut Env) -> Result<()> {
    // A port that is taken, at which nobody listens.
    let taken = TcpSocket::new_v4()?;
    taken.bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
    let closed = taken.local_addr()?.to_string();
    env.start(Setup::default().net(&format!("tcp://{closed}"))).await?;
    env.create(env.pod("echo")).await?;
    env.create(env.pod("refused").asks("port-forward", &closed)).await?;
    env.pod_ready("echo").await?;
    env.pod_ready("refused").await?;
    for dialect in [Dialect::WebSocket, Dialect::Spdy] {
        let kubectl = Kubectl::own(dialect);
        let (good, echo) = env.forward(&kubectl, "echo", 80).await?;
        let (bad, port) = env.forward(&kubectl, "refused", 80).await?;
        let mut connection = TcpStream::connect(("127.0.0.1", port)).await?;
        let mut back = Vec::new();
        // It is closed or broken, and nothing has come.
        let _ = time::timeout(PATIENCE, connection.read_to_end(&mut back)).await.context("it stays open")?;
        ensure!(back.is_empty(), "{back:?} came from nobody");
        let finished = bad.ended().await?;
        ensure!(finished.errors.contains("error forwarding port 80"), "{}: {}", kubectl.name, finished.errors);
        echoed(echo, noise(4, 1 << 10)).await?;
        good.kill().await?;
    }
    Ok(())
}
