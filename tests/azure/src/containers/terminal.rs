//! A pseudo-terminal with a program on it.

use std::{io, os::fd::OwnedFd, process::Stdio, time::Duration};

use rustix::{
    fs::{OFlags, fcntl_getfl, fcntl_setfl},
    io::Errno,
    pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt},
    termios::{Winsize, tcsetwinsize},
};
use serde::{Deserialize, Serialize};
use tokio::{
    io::{Interest, unix::AsyncFd},
    process::{Child, Command},
    sync::watch,
    time::sleep,
};

use super::spawn::spawn;

/// For how long one may write to the terminal who is left behind by the program.
const LEFT_BEHIND: Duration = Duration::from_millis(500);

/// The size of a terminal, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Size {
    /// Lines.
    pub rows: u16,
    /// Characters in a line.
    #[serde(rename = "cols")]
    pub columns: u16,
}

impl Default for Size {
    fn default() -> Self {
        Self { rows: 24, columns: 80 }
    }
}

/// The side of a pseudo-terminal at which a user would sit. Dropping it hangs up and kills the program.
pub struct Terminal {
    user: AsyncFd<OwnedFd>,
    /// Closed some time after the program has ended.
    over: watch::Receiver<()>,
}

impl Terminal {
    /// Starts a program, which has to make the terminal its own, with all its streams on a new terminal.
    pub(crate) async fn start(mut program: Command, size: Size) -> io::Result<Self> {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let user = openpt(flags)?;
        grantpt(&user)?;
        unlockpt(&user)?;
        tcsetwinsize(&user, Winsize { ws_row: size.rows, ws_col: size.columns, ws_xpixel: 0, ws_ypixel: 0 })?;
        fcntl_setfl(&user, fcntl_getfl(&user)? | OFlags::NONBLOCK)?;
        let line = ioctl_tiocgptpeer(&user, flags)?;
        program.stdin(line.try_clone()?).stdout(line.try_clone()?).stderr(Stdio::from(line));
        let child = spawn(program).await?;
        let (ends, over) = watch::channel(());
        tokio::spawn(see_off(child, ends));
        #[expect(
            deprecated,
            reason = "what comes after it is unsafe; this descriptor is owned, and closed after it is let go"
        )]
        let user = AsyncFd::new(user)?;
        Ok(Self { user, over })
    }

    /// Reads what the program has written; 0 bytes: it has ended, and all it has written has been read.
    ///
    /// # Errors
    ///
    /// If the terminal fails.
    pub async fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut over = self.over.clone();
        let read = self.user.async_io(Interest::READABLE, |user| Ok(rustix::io::read(user, &mut *buffer)?));
        tokio::select! {
            biased;
            read = read => match read {
                // Nobody has the other end any more.
                Err(error) if error.raw_os_error() == Some(Errno::IO.raw_os_error()) => Ok(0),
                read => read,
            },
            _closed = over.changed() => Ok(0),
        }
    }

    /// Writes as if it were typed. Waits while the program takes no more.
    ///
    /// # Errors
    ///
    /// If the terminal fails.
    pub async fn write(&self, mut typed: &[u8]) -> io::Result<()> {
        while !typed.is_empty() {
            let written = self.user.async_io(Interest::WRITABLE, |user| Ok(rustix::io::write(user, typed)?)).await?;
            typed = typed.get(written..).unwrap_or_default();
        }
        Ok(())
    }
}

/// Waits for the program, or kills it when nobody listens any more.
async fn see_off(mut child: Child, over: watch::Sender<()>) {
    tokio::select! {
        _ended = child.wait() => {
            tokio::select! {
                () = sleep(LEFT_BEHIND) => {}
                () = over.closed() => {}
            }
        }
        // An end that was not asked for in time is one by force.
        () = over.closed() => {
            let _killed = child.kill().await;
        }
    }
}
