//! kubectl as people have it: of several versions, over WebSockets or over SPDY.

use std::{
    path::PathBuf,
    process::{ExitStatus, Stdio},
};

use anyhow::{Context as _, Result, anyhow, ensure};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    process::{Child, ChildStdin, ChildStdout, Command},
    task::JoinHandle,
    time,
};
use vk_cluster::{Cluster, KubectlRelease};

use crate::{PATIENCE, StreamKind};

/// What kubectl speaks to the API server when it streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// WebSockets, for what the version has them for.
    WebSocket,
    /// SPDY/3.1, as behind proxies that take nothing else.
    Spdy,
}

/// A kubectl of some version with a dialect.
#[derive(Debug, Clone)]
pub struct Kubectl {
    /// What messages call it.
    pub name: String,
    /// What it speaks.
    pub dialect: Dialect,
    /// The cluster's own, if there is no other.
    program: Option<PathBuf>,
    tunnels_ports: bool,
}

impl Kubectl {
    /// The cluster's own.
    pub fn own(dialect: Dialect) -> Self {
        Self { name: format!("the cluster's kubectl over {dialect:?}"), dialect, program: None, tunnels_ports: true }
    }

    /// A released one.
    ///
    /// # Errors
    ///
    /// If it cannot be had.
    pub async fn released(release: KubectlRelease, dialect: Dialect) -> Result<Self> {
        let program = Some(release.program().await?);
        let tunnels_ports = release != KubectlRelease::V1_30;
        Ok(Self { name: format!("kubectl {} over {dialect:?}", release.version), dialect, program, tunnels_ports })
    }

    /// All versions in all dialects.
    ///
    /// # Errors
    ///
    /// If one cannot be had.
    pub async fn all() -> Result<Vec<Self>> {
        let mut all = Vec::new();
        for dialect in [Dialect::WebSocket, Dialect::Spdy] {
            for release in [KubectlRelease::V1_30, KubectlRelease::V1_34, KubectlRelease::V1_37] {
                all.push(Self::released(release, dialect).await?);
            }
            all.push(Self::own(dialect));
        }
        Ok(all)
    }

    /// Whether it streams this through a WebSocket.
    pub fn uses_websockets(&self, kind: StreamKind) -> bool {
        self.dialect == Dialect::WebSocket && (kind != StreamKind::PortForward || self.tunnels_ports)
    }

    pub(crate) fn command(&self, cluster: &Cluster) -> Command {
        let mut command = match &self.program {
            Some(program) => cluster.kubectl_at(program),
            None => cluster.kubectl(),
        };
        for variable in ["KUBECTL_REMOTE_COMMAND_WEBSOCKETS", "KUBECTL_PORT_FORWARD_WEBSOCKETS"] {
            match self.dialect {
                Dialect::WebSocket => command.env_remove(variable),
                Dialect::Spdy => command.env(variable, "false"),
            };
        }
        command
    }
}

/// How a run of kubectl ended.
#[derive(Debug)]
pub struct Finished {
    /// Its exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    /// What it wrote to standard output, as far as nobody has read it before.
    pub output: Vec<u8>,
    /// What it wrote to standard error.
    pub errors: String,
}

impl Finished {
    /// Its output as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.output).into_owned()
    }

    /// Checks that it ended well.
    ///
    /// # Errors
    ///
    /// If it did not; the error is what it said.
    pub fn success(self) -> Result<Self> {
        ensure!(self.code == Some(0), "exit code {:?}: {}", self.code, self.errors);
        Ok(self)
    }
}

/// A kubectl that is talked to while it runs. Dropping it kills it.
#[derive(Debug)]
pub struct Running {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    errors: JoinHandle<String>,
}

impl Running {
    pub(crate) fn start(mut command: Command) -> Result<Self> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().context("kubectl does not start")?;
        let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(input), Some(output), Some(mut errors)) = pipes else {
            return Err(anyhow!("kubectl has no pipes"));
        };
        let errors = tokio::spawn(async move {
            let mut said = Vec::new();
            // What was read before an error is all there is.
            let _ = errors.read_to_end(&mut said).await;
            String::from_utf8_lossy(&said).into_owned()
        });
        Ok(Self { child, input: Some(input), output: BufReader::new(output), errors })
    }

    /// Writes to its standard input.
    ///
    /// # Errors
    ///
    /// If it does not take it in time, or not any more.
    pub async fn say(&mut self, text: impl AsRef<[u8]>) -> Result<()> {
        let input = self.input.as_mut().context("its input is closed")?;
        let written = async {
            input.write_all(text.as_ref()).await?;
            input.flush().await
        };
        time::timeout(PATIENCE, written).await.context("kubectl does not read its input")?.context("kubectl has gone")
    }

    /// Closes its standard input.
    pub fn close_input(&mut self) {
        self.input = None;
    }

    /// The next line of its standard output, without its end; waits for one.
    ///
    /// # Errors
    ///
    /// If there is none in time, or it has ended.
    pub async fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        let read = time::timeout(PATIENCE, self.output.read_line(&mut line)).await;
        let read = read.with_context(|| format!("kubectl says nothing more than {line:?}"))??;
        ensure!(read > 0, "kubectl has ended its output");
        Ok(line.trim_end_matches(['\r', '\n']).to_owned())
    }

    /// Lines of its standard output up to the first that is as wanted, which is returned.
    ///
    /// # Errors
    ///
    /// If there is none in time.
    pub async fn line_with(&mut self, part: &str) -> Result<String> {
        loop {
            let line = self.line().await.with_context(|| format!("waiting for a line with {part:?}"))?;
            if line.contains(part) {
                return Ok(line);
            }
        }
    }

    /// Closes its input and waits for its end.
    ///
    /// # Errors
    ///
    /// If it does not end in time.
    pub async fn ended(mut self) -> Result<Finished> {
        self.close_input();
        let mut output = Vec::new();
        let ended = async {
            self.output.read_to_end(&mut output).await?;
            self.child.wait().await
        };
        let status: ExitStatus = time::timeout(PATIENCE, ended).await.context("kubectl does not end")??;
        Ok(Finished { code: status.code(), output, errors: self.errors.await? })
    }

    /// Kills it, as a client that vanishes: it says nothing more to anybody.
    ///
    /// # Errors
    ///
    /// If it cannot be killed.
    pub async fn kill(mut self) -> Result<()> {
        self.child.kill().await.context("kubectl cannot be killed")
    }
}
