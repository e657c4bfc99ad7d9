//! `vk-cluster`: builds, starts and stops a control plane by hand.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use clap::{Parser, Subcommand};
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, sleep};
use vk_cluster::{Binaries, Cluster, Holder, Options, Program, during, holder};

const STARTING: &str = "starting the control plane";

/// A real Kubernetes control plane on loopback, for tests.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Build the control plane's programs, unless they are there.
    Build,
    /// Start a control plane in the background, unless one runs; print how to use and stop it.
    Up {
        #[command(flatten)]
        folder: Folder,
    },
    /// Stop the control plane that `up` started.
    Down {
        #[command(flatten)]
        folder: Folder,
    },
    /// Run a control plane in the foreground until Ctrl-C.
    Run {
        #[command(flatten)]
        folder: Folder,
        /// Ignore the end of the terminal, and say nothing but the lines that tell how to use it.
        #[arg(long, hide = true)]
        detached: bool,
    },
}

#[derive(clap::Args)]
struct Folder {
    /// Where its state is kept while it runs; `kubeconfig`, `logs/` and `bin/kubectl` are there.
    #[arg(long, default_value = "target/cluster")]
    dir: PathBuf,
}

#[tokio::main]
async fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Action::Build => build().await,
        Action::Up { folder } => up(&folder.dir).await,
        Action::Down { folder } => down(&folder.dir).await,
        Action::Run { folder, detached } => run(folder.dir, detached).await,
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "vk-cluster: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn build() -> anyhow::Result<()> {
    let binaries = Binaries::find(&Program::ALL).await?;
    say(&format!("the control plane's programs are in {}", binaries.folder().display()));
    Ok(())
}

async fn run(directory: PathBuf, detached: bool) -> anyhow::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let ended = async move {
        loop {
            tokio::select! {
                _ = interrupt.recv() => return,
                _ = terminate.recv() => return,
                _ = hangup.recv() => if !detached { return },
            }
        }
    };
    tokio::pin!(ended);

    let starting = async {
        Binaries::find(&Program::ALL).await?;
        let start = Cluster::start(Options { directory: Some(directory), ..Options::default() });
        if detached { start.await } else { during(STARTING, start).await }
    };
    let cluster = tokio::select! {
        cluster = starting => cluster?,
        () = &mut ended => return Ok(()),
    };
    say(&usage(cluster.directory()));
    if !detached {
        say("# stop it with Ctrl-C");
    }
    ended.await;
    cluster.stop().await;
    Ok(())
}

async fn up(folder: &Path) -> anyhow::Result<()> {
    // In the foreground, because it takes minutes.
    Binaries::find(&Program::ALL).await?;
    match holder(folder)? {
        Some(found) => await_ready(folder, found).await?,
        None => start_detached(folder).await?,
    }
    let folder = folder.canonicalize().with_context(|| format!("cannot resolve {}", folder.display()))?;
    say(&usage(&folder));
    say(&format!("# stop it with: ./just cluster-down, or vk-cluster down --dir {}", folder.display()));
    Ok(())
}

/// Runs `vk-cluster run` in a process group of its own and returns when it is ready.
async fn start_detached(folder: &Path) -> anyhow::Result<()> {
    let program = std::env::current_exe().context("cannot find vk-cluster itself")?;
    let mut child = tokio::process::Command::new(program)
        .args(["run", "--detached", "--dir"])
        .arg(folder)
        .stdin(Stdio::null())
        // Pipes, because an inherited standard error would keep whoever reads ours waiting for the control plane's end.
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .context("cannot run vk-cluster run")?;
    let (Some(output), Some(mut errors)) = (child.stdout.take(), child.stderr.take()) else {
        bail!("cannot read from vk-cluster run");
    };
    // It says nothing before it is ready, and closes its standard output without a word when it fails.
    let ready = async { BufReader::new(output).lines().next_line().await };
    if during(STARTING, ready).await?.is_some() {
        return Ok(());
    }
    let mut message = String::new();
    errors.read_to_string(&mut message).await?;
    bail!("{}", message.trim_end().trim_start_matches("vk-cluster: "))
}

async fn await_ready(folder: &Path, found: Holder) -> anyhow::Result<()> {
    let _ = writeln!(std::io::stderr(), "a control plane runs already (process {})", found.pid);
    let deadline = Instant::now() + Duration::from_secs(150);
    while Instant::now() < deadline {
        match holder(folder)? {
            Some(Holder { ready: true, .. }) => return Ok(()),
            Some(_) => sleep(Duration::from_millis(200)).await,
            None => bail!("the control plane in {} ended while starting", folder.display()),
        }
    }
    bail!("the control plane in {} does not become ready: stop it with vk-cluster down", folder.display())
}

async fn down(folder: &Path) -> anyhow::Result<()> {
    let Some(found) = holder(folder)? else {
        say(&format!("no control plane runs in {}", folder.display()));
        return Ok(());
    };
    let pid = Pid::from_raw(found.pid.cast_signed()).context("the lock file names no process")?;
    // SIGTERM gives each component its time; a killed one leaves the rest to the reaper.
    for (signal, seconds) in [(Signal::TERM, 45), (Signal::KILL, 15)] {
        let _ = kill_process(pid, signal);
        let deadline = Instant::now() + Duration::from_secs(seconds);
        while Instant::now() < deadline {
            if found.is_gone() {
                say("the control plane is stopped and its state removed");
                return Ok(());
            }
            sleep(Duration::from_millis(50)).await;
        }
    }
    bail!("process {} did not end", found.pid)
}

fn usage(folder: &Path) -> String {
    let folder = folder.display();
    let pki = format!("{folder}/pki");
    format!(
        "export KUBECONFIG={folder}/kubeconfig\n\
         export PATH={folder}/bin:$PATH\n\
         # for kubectl logs, exec and the like: vk-host --address 127.0.0.1 --client-ca-file {pki}/ca.crt \
         --tls-cert-file {pki}/kubelet-serving.crt --tls-private-key-file {pki}/kubelet-serving.key"
    )
}

fn say(text: &str) {
    // Whoever started it may have closed the pipe.
    let _ = writeln!(std::io::stdout(), "{text}");
}
