//! Probes: what finds out whether a container works.

use std::{num::NonZeroU32, time::Duration};

use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, MissedTickBehavior, interval_at, timeout},
};

use super::Container;

/// What a probe does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Action {
    /// Runs a program in the container; 0 is success.
    Exec(Vec<String>),
    /// Gets a path from a port of the loopback interface over plain HTTP; a status from 200 to 399 is success.
    HttpGet {
        /// The port.
        port: u16,
        /// The path, with a query if there is one.
        path: String,
    },
}

/// A probe with its times.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// What it does.
    pub action: Action,
    /// How long after the container's start it begins.
    pub initial_delay: Duration,
    /// How often it is done; at least a millisecond.
    pub period: Duration,
    /// How long it may take.
    pub timeout: Duration,
    /// How many failures in a row count.
    pub failure_threshold: NonZeroU32,
}

/// How much of an answer is looked at, in bytes: its first line.
const STATUS_LINE: usize = 12;

impl Probe {
    /// Probes a container until it has ended (`false`) or has failed as often as it may not (`true`).
    pub async fn fails(&self, container: &Container) -> bool {
        tokio::select! {
            biased;
            _exit = container.exited() => false,
            () = self.until_failed(container) => true,
        }
    }

    async fn until_failed(&self, container: &Container) {
        let mut turns = interval_at(Instant::now() + self.initial_delay, self.period.max(Duration::from_millis(1)));
        turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut failures = 0;
        while failures < self.failure_threshold.get() {
            turns.tick().await;
            failures = if self.succeeds(container).await { 0 } else { failures + 1 };
        }
    }

    /// Does it once.
    pub async fn succeeds(&self, container: &Container) -> bool {
        match &self.action {
            Action::Exec(command) => container.succeeds(command, self.timeout).await,
            Action::HttpGet { port, path } => {
                let status = timeout(self.timeout, status(*port, path)).await;
                matches!(status, Ok(Ok(200..400)))
            }
        }
    }
}

async fn status(port: u16, path: &str) -> std::io::Result<u16> {
    let malformed = || std::io::Error::from(std::io::ErrorKind::InvalidData);
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    if path.contains(|sign: char| sign.is_control() || sign == ' ') {
        return Err(malformed());
    }
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut line = [0; STATUS_LINE];
    stream.read_exact(&mut line).await?;
    let line = str::from_utf8(&line).map_err(|_binary| malformed())?;
    let status = line.strip_prefix("HTTP/1.").and_then(|line| line.get(2..)).ok_or_else(malformed)?;
    status.parse().map_err(|_other| malformed())
}
