//! Streams while something happens to those at their ends: the component is replaced, clients vanish.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    time,
};
use vk_e2e::{Dialect, Env, Kubectl, PATIENCE, Running, Setup, eventually, sample};

use crate::replacement::{another_build, replaced};

/// Clients of each kind that vanish at once.
const VANISHING: usize = 5;

pub(crate) async fn what_runs_outlives_a_replacement_of_the_component(env: &mut Env) -> Result<()> {
    env.start(Setup::default()).await?;
    env.create(env.pod("web").asks("log-every", "100ms")).await?;
    env.pod_ready("web").await?;
    let component = std::fs::read(env.component())?;
    let kubectls = [Kubectl::own(Dialect::WebSocket), Kubectl::own(Dialect::Spdy)];
    let mut followed = env.spawn(&kubectls[0], &["logs", "-f", "web"])?;
    let mut sessions = Vec::new();
    for kubectl in &kubectls {
        sessions.push(env.spawn(kubectl, &["exec", "-i", "web", "--", "cat"])?);
    }
    for (round, build) in ["second", "third", "fourth"].into_iter().enumerate() {
        let text = format!("before the {build}");
        for session in &mut sessions {
            session.say(format!("{text}\n")).await?;
            ensure!(session.line().await? == text, "something else came back");
        }
        env.replace("mock.wasm", another_build(&component, build))?;
        replaced(env, round + 1).await?;
    }
    for mut session in sessions {
        session.say("after all\n").await?;
        let finished = session.ended().await?.success()?;
        ensure!(finished.text() == "after all\n", "{:?} came back", finished.text());
    }
    // The log has gone on all the while: no line is missing, none is there twice.
    let now = lines_so_far(env).await?;
    ensure!(followed.line().await? == "main: started, run 0", "it does not begin at the beginning");
    for number in 1..=now {
        let line = followed.line().await?;
        ensure!(line == format!("main: line {number}"), "line {number} is {line:?}");
    }
    followed.kill().await
}

async fn lines_so_far(env: &Env) -> Result<u32> {
    let last = env.kubectl(&["logs", "web", "--tail=1"]).await?;
    let number = last.trim().strip_prefix("main: line ").with_context(|| format!("the last line is {last:?}"))?;
    Ok(number.parse()?)
}

/// A server that tells when a connection begins and when it ends, and sends without end.
async fn endless() -> Result<(String, mpsc::UnboundedReceiver<i32>)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?.to_string();
    let (sender, changes) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut connection, _)) = listener.accept().await {
            let sender = sender.clone();
            tokio::spawn(async move {
                let _ = sender.send(1);
                while connection.write_all(&[b'x'; 16 << 10]).await.is_ok() {}
                let _ = sender.send(-1);
            });
        }
    });
    Ok((address, changes))
}

pub(crate) async fn clients_that_vanish_leave_nothing_behind(env: &mut Env) -> Result<()> {
    vanish(env).await
}

pub(crate) async fn clients_that_vanish_behind_a_translating_api_server_leave_nothing(env: &mut Env) -> Result<()> {
    vanish(env).await
}

async fn vanish(env: &mut Env) -> Result<()> {
    let (address, mut changes) = endless().await?;
    env.start(Setup::default().net(&format!("tcp://{address}"))).await?;
    env.create(env.pod("web").asks("log-every", "100ms").asks("port-forward", &address)).await?;
    env.pod_ready("web").await?;
    let dialects = [Dialect::WebSocket, Dialect::Spdy];
    // Once for what is there only after a first time, such as idle connections of the API server.
    for dialect in dialects {
        let kubectl = Kubectl::own(dialect);
        Open::all(env, &kubectl, VANISHING, &mut changes).await?.vanish(env, VANISHING, &mut changes).await?;
    }
    let settled = env.vk_host()?.sockets()?;
    let tasks = async |env: &Env| sample(&env.metrics().await?, "vk_host_tasks");
    let settled_tasks = tasks(env).await?;
    for dialect in dialects {
        let kubectl = Kubectl::own(dialect);
        Open::all(env, &kubectl, VANISHING, &mut changes).await?.vanish(env, VANISHING, &mut changes).await?;
        // Pools of connections, to the API server above all, may hold a few more or less. What every client left in both
        // dialects would be more.
        eventually("hardly more sockets than before", PATIENCE, async || {
            let sockets = env.vk_host().and_then(vk_e2e::VkHost::sockets).map_err(|error| error.to_string())?;
            if sockets < settled + 2 * VANISHING { Ok(()) } else { Err(format!("{sockets}, after {settled}")) }
        })
        .await
        .with_context(|| kubectl.name.clone())?;
        eventually("hardly more tasks than before", PATIENCE, async || {
            let tasks = tasks(env).await.map_err(|error| error.to_string())?;
            if tasks < settled_tasks + (2 * VANISHING) as f64 {
                Ok(())
            } else {
                Err(format!("{tasks}, after {settled_tasks}"))
            }
        })
        .await
        .with_context(|| kubectl.name.clone())?;
    }
    env.gauge("vk_provider_instances{state=\"busy\"}", 0).await?;
    env.gauge("vk_provider_calls_waiting", 0).await
}

/// Streams of every kind in full flow.
struct Open {
    running: Vec<Running>,
    forwarded: Vec<TcpStream>,
}

impl Open {
    async fn all(
        env: &Env,
        kubectl: &Kubectl,
        count: usize,
        changes: &mut mpsc::UnboundedReceiver<i32>,
    ) -> Result<Self> {
        let (mut running, mut forwarded) = (Vec::new(), Vec::new());
        for _ in 0..count {
            for arguments in [
                &["exec", "web", "--", "sleep", "3600"][..],
                // More than anybody reads.
                &["exec", "web", "--", "head", "-c", "100G", "/dev/zero"],
                &["exec", "-i", "web", "--", "cat"],
                &["attach", "web"],
                &["logs", "-f", "web"],
            ] {
                running.push(env.spawn(kubectl, arguments)?);
            }
            let (forwarding, port) = env.forward(kubectl, "web", 80).await?;
            running.push(forwarding);
            let mut connection = TcpStream::connect(("127.0.0.1", port)).await?;
            let mut first = [0; 1];
            time::timeout(PATIENCE, connection.read_exact(&mut first)).await.context("nothing is forwarded")??;
            forwarded.push(connection);
        }
        for (kind, each) in KINDS {
            env.streams(kind, each * count).await.with_context(|| kubectl.name.clone())?;
        }
        connected(changes, count as i32).await?;
        Ok(Self { running, forwarded })
    }

    async fn vanish(self, env: &Env, count: usize, changes: &mut mpsc::UnboundedReceiver<i32>) -> Result<()> {
        for running in self.running {
            running.kill().await?;
        }
        drop(self.forwarded);
        for (kind, _) in KINDS {
            env.streams(kind, 0).await?;
        }
        connected(changes, -(count as i32)).await
    }
}

/// What there is of each kind for one of [`Open`].
const KINDS: [(&str, usize); 4] = [("exec", 3), ("attach", 1), ("port_forward", 1), ("logs", 1)];

/// Waits until so many more connections have reached the backend, or ended there.
async fn connected(changes: &mut mpsc::UnboundedReceiver<i32>, wanted: i32) -> Result<()> {
    let mut sum = 0;
    let changed = async {
        while sum != wanted {
            sum += changes.recv().await.unwrap_or_default();
        }
    };
    let waited = time::timeout(Duration::from_secs(30), changed).await;
    waited.with_context(|| format!("connections of the backend did not change by {wanted}"))
}
