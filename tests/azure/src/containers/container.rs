//! One run of a container.

use std::{
    io,
    os::fd::OwnedFd,
    process::Stdio,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use bytes::Bytes;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::{
    io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::unix::pipe,
    process::Child,
    sync::{broadcast, watch},
    time::timeout,
};

use super::{
    Clock, Exit, Size, Spec, StartError, Terminal,
    log::Log,
    sandbox,
    spawn::spawn,
    usage::{self, Usage},
};

/// How long the root may take to make.
const START: Duration = Duration::from_secs(60);
/// How much may be said about why it could not be made, in bytes.
const SAID: u64 = 64 << 10;
/// How many pieces of output an attached client may be behind.
const BEHIND: usize = 1024;

/// A container that has been started. Clones are the same one; with the last of them its processes are killed.
#[derive(Clone)]
pub struct Container {
    running: Arc<Running>,
}

struct Running {
    /// What waits for the namespace's process 1, and takes it along when it ends.
    keeper: Process,
    /// Process 1 of the namespace.
    init: Process,
    environment: Vec<(String, String)>,
    log: Arc<Mutex<Log>>,
    /// Weak, so that attached clients see the output's end.
    output: broadcast::WeakSender<Bytes>,
    exit: watch::Receiver<Option<Exit>>,
}

/// A container, for as long as somebody else keeps it.
pub(crate) struct Reference(Weak<Running>);

impl Reference {
    pub(crate) fn container(&self) -> Option<Container> {
        Some(Container { running: self.0.upgrade()? })
    }
}

/// A process, and a handle that never means another once it has ended.
struct Process {
    pid: Pid,
    handle: Option<OwnedFd>,
}

impl Container {
    /// Starts a container.
    ///
    /// # Errors
    ///
    /// If the specification cannot be carried out, or the machine does not allow namespaces. That the program is
    /// missing is no error: the container ends with code 127.
    pub async fn start(spec: Spec) -> Result<Self, StartError> {
        let script = sandbox::script(&spec)?;
        let (reader, writer) = io::pipe()?;
        // One pipe for both, so that what is written to them stays in order.
        let mut command = sandbox::shell();
        command.stdin(Stdio::piped()).stdout(writer.try_clone()?).stderr(writer);
        let mut child = spawn(command).await.map_err(sandbox::missing)?;
        let mut output = BufReader::new(pipe::Receiver::from_owned_fd(reader.into())?);
        let init = async {
            if let Some(mut input) = child.stdin.take() {
                // A shell that has gone says why.
                let _written = input.write_all(script.as_bytes()).await;
            }
            ready(&mut output).await
        };
        let init = timeout(START, init).await.map_err(|_late| sandbox::explain("it takes too long"))??;
        let keeper = child.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
        let keeper = keeper.ok_or_else(|| sandbox::explain("its process is gone"))?;

        let log = Arc::<Mutex<Log>>::default();
        let (ended, exit) = watch::channel(None);
        let (sender, _) = broadcast::channel(BEHIND);
        let environment =
            sandbox::environment(&spec).map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let running = Running {
            keeper: keeper.into(),
            init: init.into(),
            environment,
            log: log.clone(),
            output: sender.downgrade(),
            exit,
        };
        tokio::spawn(async move {
            // All that could write has ended once process 1 has.
            let (code, ()) = tokio::join!(wait(child), collect(output, &log, &spec.clock, sender));
            log.lock().unwrap_or_else(PoisonError::into_inner).end();
            ended.send_replace(Some(Exit { code, at: (spec.clock)() }));
        });
        Ok(Self { running: Arc::new(running) })
    }

    /// The container, without keeping it.
    pub(crate) fn reference(&self) -> Reference {
        Reference(Arc::downgrade(&self.running))
    }

    /// Waits until the container has ended. All it has written is in its log then.
    pub async fn exited(&self) -> Exit {
        let mut exit = self.running.exit.clone();
        let ended = exit.wait_for(Option::is_some).await.ok().and_then(|exit| *exit);
        match ended {
            Some(exit) => exit,
            // Its runtime is being shut down, and takes it along.
            None => std::future::pending().await,
        }
    }

    /// How the container has ended, if it has.
    pub fn exit(&self) -> Option<Exit> {
        *self.running.exit.borrow()
    }

    /// Sends SIGTERM to the container's first process, as a container engine does, and SIGKILL to all if that has not
    /// ended it in time.
    pub async fn terminate(&self, grace: Duration) -> Exit {
        self.running.init.signal(Signal::TERM);
        match timeout(grace, self.exited()).await {
            Ok(exit) => exit,
            Err(_late) => self.kill().await,
        }
    }

    /// Kills all processes of the container, and waits until they have ended.
    pub async fn kill(&self) -> Exit {
        self.running.keeper.signal(Signal::KILL);
        self.exited().await
    }

    /// What it has written, to standard output and standard error: the last `tail` lines, or up to 4 MiB while it
    /// runs and 16 KiB or 1000 lines once it has ended. With `timestamps`, each line begins with its time (RFC 3339,
    /// nanoseconds) and a blank.
    pub fn log(&self, tail: Option<u32>, timestamps: bool) -> String {
        self.running.log().read(tail, timestamps)
    }

    /// What it writes from now on, until it ends. Who reads too slowly is told so.
    pub(crate) fn output(&self) -> broadcast::Receiver<Bytes> {
        match self.running.output.upgrade() {
            Some(output) => output.subscribe(),
            // It writes no more.
            None => broadcast::channel(1).1,
        }
    }

    /// What its processes use.
    pub fn usage(&self) -> Usage {
        match self.exit() {
            None => usage::of_tree(self.running.init.pid),
            Some(_) => Usage::default(),
        }
    }

    /// What it takes to hold the container, beside its own processes.
    pub fn overhead(&self) -> Usage {
        match self.exit() {
            None => usage::of_process(self.running.keeper.pid.as_raw_nonzero().get()).unwrap_or_default(),
            Some(_) => Usage::default(),
        }
    }

    /// Starts a program within the container on a terminal of its own. `command` is the name of the program as a
    /// whole: it is not taken apart at blanks, and there are no arguments. If there is no such program, the terminal
    /// says so.
    ///
    /// # Errors
    ///
    /// If the container has ended, or the machine has no more terminals or processes.
    pub async fn exec(&self, command: &str, size: Size) -> io::Result<Terminal> {
        if self.exit().is_some() {
            return Err(io::Error::new(io::ErrorKind::NotFound, "the container has ended"));
        }
        let mut process = sandbox::enter(self.running.init.pid, true);
        process.env("TERM", "xterm").envs(self.running.environment.iter().map(|(name, value)| (name, value)));
        process.arg(command);
        Terminal::start(process, size).await
    }

    /// Runs a program within the container, without a terminal, and says whether it ended with 0 in time.
    pub(crate) async fn succeeds(&self, command: &[String], limit: Duration) -> bool {
        if self.exit().is_some() {
            return false;
        }
        let mut process = sandbox::enter(self.running.init.pid, false);
        process.envs(self.running.environment.iter().map(|(name, value)| (name, value))).args(command);
        process.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let ended = async { spawn(process).await?.wait().await };
        matches!(timeout(limit, ended).await, Ok(Ok(status)) if status.success())
    }
}

impl Running {
    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.keeper.signal(Signal::KILL);
    }
}

impl From<Pid> for Process {
    fn from(pid: Pid) -> Self {
        Self { pid, handle: pidfd_open(pid, PidfdFlags::empty()).ok() }
    }
}

impl Process {
    /// Sends a signal, if the process is still there.
    fn signal(&self, signal: Signal) {
        if let Some(handle) = &self.handle {
            let _gone = pidfd_send_signal(handle, signal);
        }
    }
}

/// Waits until the script says that the container's command is next.
async fn ready(output: &mut (impl AsyncBufRead + Unpin)) -> Result<Pid, StartError> {
    let mut said = String::new();
    let mut output = output.take(SAID);
    loop {
        let from = said.len();
        if output.read_line(&mut said).await? == 0 {
            return Err(sandbox::explain(&said));
        }
        if let Some(init) = said.get(from..).and_then(sandbox::announced) {
            return Ok(init);
        }
    }
}

async fn wait(mut child: Child) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    match child.wait().await {
        Ok(status) => status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(128),
        Err(_gone) => 128,
    }
}

/// Keeps what is written, until nothing can be written any more.
async fn collect(
    mut output: impl AsyncBufRead + Unpin,
    log: &Mutex<Log>,
    clock: &Clock,
    attached: broadcast::Sender<Bytes>,
) {
    // A pipe that cannot be read has nothing more to give.
    while let Ok(written) = output.fill_buf().await.map(Bytes::copy_from_slice) {
        if written.is_empty() {
            return;
        }
        output.consume(written.len());
        log.lock().unwrap_or_else(PoisonError::into_inner).write(clock(), &written);
        // Whether anybody is attached does not matter.
        let _attached = attached.send(written);
    }
}
