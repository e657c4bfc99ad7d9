//! The thread that starts processes.
//!
//! A process that has asked to be killed with its parent is killed when the thread ends that started it. Threads of a
//! runtime come and go; this one lasts as long as the simulator's process.

use std::{
    io,
    sync::{LazyLock, mpsc},
    thread,
};

use tokio::{
    process::{Child, Command},
    runtime::Handle,
    sync::oneshot,
};

type Start = Box<dyn FnOnce() + Send>;

static THREAD: LazyLock<mpsc::Sender<Start>> = LazyLock::new(|| {
    let (sender, starts) = mpsc::channel::<Start>();
    thread::spawn(move || starts.into_iter().for_each(|start| start()));
    sender
});

/// Starts a process. The ends of pipes that were given to `command` are closed on this side.
pub(crate) async fn spawn(mut command: Command) -> io::Result<Child> {
    let runtime = Handle::current();
    let (reply, answer) = oneshot::channel();
    let start = move || {
        let _context = runtime.enter();
        // Who does not wait any more leaves a child that is killed.
        let _unheard = reply.send(command.kill_on_drop(true).spawn());
    };
    let gone = || io::Error::other("the thread that starts processes has ended");
    THREAD.send(Box::new(start)).map_err(|_unsent| gone())?;
    answer.await.map_err(|_dropped| gone())?
}
