//! How fast a forwarded port is, beside a plain copy of the same bytes through the same API server.
//!
//! The plain copy is an upgraded connection whose bytes the API server passes on as they are, to a stub that passes them on
//! as they are. The forwarded one carries the same bytes in WebSocket messages, which vk-host takes apart and puts together.
//! kubectl's is a tunnel of SPDY frames in WebSocket messages, and has kubectl's own cost in it.

use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use http::{
    Method, Request, StatusCode,
    header::{CONNECTION, UPGRADE},
};
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, client::Body};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader},
    net::TcpStream,
};

use super::{figures::Rates, stub};
use crate::control::{Control, NAMESPACE};

/// The port that is forwarded. It is the annotation that says where to.
const PORT: u16 = 80;
const PIECE: usize = 64 << 10;

/// Rates of both directions.
#[derive(Default)]
pub(crate) struct Forwards {
    /// By this process's client.
    pub(crate) down: Rates,
    pub(crate) up: Rates,
    /// By kubectl, with nothing beside it.
    pub(crate) kubectl_down: Vec<f64>,
    pub(crate) kubectl_up: Vec<f64>,
}

/// Copies in both directions, in all ways, in turns.
pub(crate) async fn throughput(control: &Control, pods: &Api<Pod>, times: usize, length: usize) -> Result<Forwards> {
    let mut forwards = Forwards::default();
    for _ in 0..times {
        forwards.down.host.push(rate(length, forwarded(pods, "source", Direction::Down, length)).await?);
        forwards.down.stub.push(rate(length, plain(control, "source", Direction::Down, length)).await?);
        forwards.up.host.push(rate(length, forwarded(pods, "sink", Direction::Up, length)).await?);
        forwards.up.stub.push(rate(length, plain(control, "sink", Direction::Up, length)).await?);
        forwards.kubectl_down.push(by_kubectl(control, "source", Direction::Down, length).await?);
        forwards.kubectl_up.push(by_kubectl(control, "sink", Direction::Up, length).await?);
    }
    Ok(forwards)
}

#[derive(Clone, Copy)]
enum Direction {
    Down,
    Up,
}

/// Bytes a second.
async fn rate(length: usize, work: impl Future<Output = Result<()>>) -> Result<f64> {
    let began = Instant::now();
    work.await?;
    Ok(length as f64 / began.elapsed().as_secs_f64())
}

async fn forwarded(pods: &Api<Pod>, pod: &str, direction: Direction, length: usize) -> Result<()> {
    let mut forwarder = pods.portforward(pod, &[PORT]).await?;
    let stream = forwarder.take_stream(PORT).context("nothing is forwarded")?;
    copy(stream, direction, length).await?;
    forwarder.abort();
    Ok(())
}

async fn plain(control: &Control, pod: &str, direction: Direction, length: usize) -> Result<()> {
    let pod = stub::pod(pod);
    let request = Request::builder()
        .method(Method::POST)
        .uri(format!("/api/v1/namespaces/{NAMESPACE}/pods/{pod}/portforward"))
        .header(CONNECTION, "Upgrade")
        .header(UPGRADE, "SPDY/3.1")
        .header("X-Stream-Protocol-Version", "portforward.k8s.io")
        .body(Body::empty())?;
    let answer = control.client.send(request).await?;
    ensure!(answer.status() == StatusCode::SWITCHING_PROTOCOLS, "{pod}: {}", answer.status());
    copy(TokioIo::new(hyper::upgrade::on(answer).await?), direction, length).await
}

async fn by_kubectl(control: &Control, pod: &str, direction: Direction, length: usize) -> Result<f64> {
    let mut kubectl = control.kubectl();
    kubectl.args(["port-forward", &format!("pod/{pod}"), &format!(":{PORT}")]);
    let mut child = kubectl.stdout(std::process::Stdio::piped()).spawn()?;
    let mut lines = BufReader::new(child.stdout.take().context("kubectl has no output")?).lines();
    let line = lines.next_line().await?.context("kubectl forwards nothing")?;
    let port = line.strip_prefix("Forwarding from 127.0.0.1:").and_then(|rest| rest.split(' ').next());
    let port: u16 = port.and_then(|port| port.parse().ok()).with_context(|| format!("kubectl says {line:?}"))?;
    let copied = async { copy(TcpStream::connect(("127.0.0.1", port)).await?, direction, length).await };
    let rate = rate(length, copied).await?;
    child.kill().await?;
    Ok(rate)
}

/// Reads so many bytes from a source, or writes them to a sink and waits for its answer.
async fn copy(mut stream: impl AsyncRead + AsyncWrite + Unpin, direction: Direction, length: usize) -> Result<()> {
    match direction {
        Direction::Down => {
            let (mut buffer, mut sum) = (vec![0; PIECE], 0);
            while sum < length {
                let read = stream.read(&mut buffer).await?;
                ensure!(read > 0, "it ended after {sum} bytes of {length}");
                sum += read;
            }
        }
        Direction::Up => {
            let piece = vec![b'x'; PIECE];
            let mut left = length;
            while left > 0 {
                let part = piece.get(..left.min(PIECE)).unwrap_or_default();
                stream.write_all(part).await?;
                left -= part.len();
            }
            stream.flush().await?;
            stream.read_u8().await.context("the sink says nothing")?;
        }
    }
    Ok(())
}
