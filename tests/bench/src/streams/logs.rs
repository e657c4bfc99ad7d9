//! How fast a log is read.

use std::time::Instant;

use anyhow::{Result, ensure};
use futures::AsyncReadExt as _;
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, api::LogParams};

use super::{figures::Rates, stub};

/// Bytes of a line.
pub(crate) const LINE: usize = 200;

/// How many lines make a log of about this length, as the mock's annotation wants it.
pub(crate) fn lines(length: usize) -> String {
    (length / LINE).to_string()
}

/// So many bytes of a log.
pub(crate) fn piece(length: usize) -> Vec<u8> {
    let mut line = vec![b'.'; LINE - 1];
    line.push(b'\n');
    line.into_iter().cycle().take(length).collect()
}

/// Reads a log from its beginning to its end at each of the two, in turns.
pub(crate) async fn throughput(pods: &Api<Pod>, times: usize, length: usize) -> Result<Rates> {
    let mut rates = Rates::default();
    for _ in 0..times {
        rates.host.push(read(pods, "loud", length).await?);
        rates.stub.push(read(pods, &stub::pod("loud"), length).await?);
    }
    Ok(rates)
}

/// Bytes a second.
async fn read(pods: &Api<Pod>, pod: &str, length: usize) -> Result<f64> {
    let began = Instant::now();
    let mut log = Box::pin(pods.log_stream(pod, &LogParams::default()).await?);
    let (mut buffer, mut sum) = (vec![0; 256 << 10], 0);
    loop {
        match log.read(&mut buffer).await? {
            0 => break,
            read => sum += read,
        }
    }
    ensure!(sum + LINE >= length, "{pod}: {sum} bytes came of {length}");
    Ok(sum as f64 / began.elapsed().as_secs_f64())
}
