//! Containers to test with.

use std::{path::Path, sync::Arc, time::Duration};

use jiff::Timestamp;
use tempfile::TempDir;
use vk_azure::containers::{Container, Exit, Mount, Spec};

/// How long anything may take on a loaded machine.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// A container and its folder.
pub(crate) struct Fixture {
    pub(crate) container: Container,
    folder: TempDir,
}

pub(crate) fn spec(folder: &Path, command: &[&str]) -> Spec {
    Spec {
        folder: folder.to_owned(),
        image: "registry.test/image:1".to_owned(),
        command: command.iter().map(|&word| word.to_owned()).collect(),
        environment: Vec::new(),
        mounts: Vec::new(),
        clock: Arc::new(Timestamp::now),
    }
}

pub(crate) fn mount(source: &Path, path: &str, read_only: bool) -> Mount {
    Mount { source: source.to_owned(), path: path.to_owned(), read_only }
}

impl Fixture {
    /// Starts a container with a changed specification. The variable `MARK` tells which are its processes.
    pub(crate) async fn with(command: &[&str], change: impl FnOnce(&mut Spec)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut spec = spec(folder.path(), command);
        change(&mut spec);
        spec.environment.push(("MARK".to_owned(), folder.path().to_str().unwrap().to_owned()));
        Self { container: Container::start(spec).await.unwrap(), folder }
    }

    pub(crate) async fn new(command: &[&str]) -> Self {
        Self::with(command, |_| {}).await
    }

    pub(crate) async fn shell(script: &str) -> Self {
        Self::new(&["sh", "-c", script]).await
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) async fn exited(&self) -> Exit {
        tokio::time::timeout(LIMIT, self.container.exited()).await.expect("the container does not end")
    }

    /// Waits until the container has ended, and yields its exit code and what it has written.
    pub(crate) async fn ended(&self) -> (i32, String) {
        let exit = self.exited().await;
        (exit.code, self.container.log(None, false))
    }

    /// Waits until the log holds a text.
    pub(crate) async fn has_written(&self, text: &str) {
        until(text, || self.container.log(None, false).contains(text)).await;
    }
}

/// Waits for something that nobody announces.
pub(crate) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(LIMIT, waiting).await.unwrap_or_else(|_| panic!("waited in vain for {what}"));
}
