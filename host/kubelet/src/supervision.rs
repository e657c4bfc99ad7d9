//! A client always learns how its session ended, even if the session does not say it: kubectl takes silence for success.

use std::{future::Future, io};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::oneshot;
use tokio_util::task::TaskTracker;
use vk_provider::{Error, ErrorKind};

use crate::{Client, ClientOutput, Outcome};

/// Runs a session in a task of its own, until it finishes the client's output. One that drops the output instead, by a
/// panic or otherwise, has failed.
pub(crate) async fn supervise<S, F>(client: Client, tasks: &TaskTracker, session: S)
where
    S: FnOnce(Client) -> F,
    F: Future<Output = ()> + Send + 'static,
{
    let (abandon, abandoned) = oneshot::channel();
    let output = Supervised { output: Some(client.output), abandon: Some(abandon) };
    tasks.spawn(session(Client { input: client.input, output: Box::new(output) }));
    if let Ok(output) = abandoned.await {
        let error = Error::new(ErrorKind::Internal, "the session broke off");
        output.finish(Outcome::Failed(error)).await;
    }
}

/// Passes everything on, and gives the output away if it is dropped unfinished.
struct Supervised {
    output: Option<Box<dyn ClientOutput>>,
    abandon: Option<oneshot::Sender<Box<dyn ClientOutput>>>,
}

impl Supervised {
    fn output(&mut self) -> io::Result<&mut dyn ClientOutput> {
        match &mut self.output {
            Some(output) => Ok(output.as_mut()),
            None => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }
}

#[async_trait]
impl ClientOutput for Supervised {
    async fn output(&mut self, bytes: Bytes) -> io::Result<()> {
        self.output()?.output(bytes).await
    }

    async fn error_output(&mut self, bytes: Bytes) -> io::Result<()> {
        self.output()?.error_output(bytes).await
    }

    async fn finish(mut self: Box<Self>, outcome: Outcome) {
        if let Some(output) = self.output.take() {
            output.finish(outcome).await;
        }
    }
}

impl Drop for Supervised {
    fn drop(&mut self) {
        if let (Some(output), Some(abandon)) = (self.output.take(), self.abandon.take()) {
            // Nobody supervises any more if the whole program stops.
            let _ = abandon.send(output);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tokio::sync::mpsc;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::{ClientEvent, ClientInput};

    struct NoInput;

    #[async_trait]
    impl ClientInput for NoInput {
        async fn next(&mut self) -> ClientEvent {
            ClientEvent::Gone
        }

        fn gone(&self) -> CancellationToken {
            CancellationToken::new()
        }
    }

    /// Records what it is told.
    #[derive(Clone, Default)]
    struct Recorder(Arc<Mutex<Vec<String>>>);

    #[async_trait]
    impl ClientOutput for Recorder {
        async fn output(&mut self, bytes: Bytes) -> io::Result<()> {
            self.0.lock().unwrap().push(format!("output {bytes:?}"));
            Ok(())
        }

        async fn error_output(&mut self, bytes: Bytes) -> io::Result<()> {
            self.0.lock().unwrap().push(format!("error output {bytes:?}"));
            Ok(())
        }

        async fn finish(self: Box<Self>, outcome: Outcome) {
            let text = match outcome {
                Outcome::Exit(code) => format!("exit {code}"),
                Outcome::Failed(error) => format!("failed: {error}"),
                Outcome::Abandoned => "abandoned".into(),
            };
            self.0.lock().unwrap().push(text);
        }
    }

    async fn record<S, F>(session: S) -> Vec<String>
    where
        S: FnOnce(Client) -> F,
        F: Future<Output = ()> + Send + 'static,
    {
        let recorder = Recorder::default();
        let client = Client { input: Box::new(NoInput), output: Box::new(recorder.clone()) };
        supervise(client, &TaskTracker::new(), session).await;
        recorder.0.lock().unwrap().clone()
    }

    #[tokio::test]
    async fn what_a_session_says_is_passed_on() {
        let (done, mut is_done) = mpsc::channel::<()>(1);
        let said = record(|mut client: Client| async move {
            client.output.output("a".into()).await.unwrap();
            client.output.error_output("b".into()).await.unwrap();
            client.output.finish(Outcome::Exit(3)).await;
            drop(done);
        });
        let said = said.await;
        assert_eq!(is_done.recv().await, None);
        assert_eq!(said, [r#"output b"a""#, r#"error output b"b""#, "exit 3"]);
    }

    #[tokio::test]
    async fn a_session_that_drops_its_client_has_failed() {
        let said = record(|client| async move { drop(client) }).await;
        assert_eq!(said, ["failed: the session broke off"]);
    }

    #[tokio::test]
    async fn a_session_that_panics_has_failed() {
        let said = record(|client| async move {
            let _client = client;
            panic!("as this test wants it");
        });
        assert_eq!(said.await, ["failed: the session broke off"]);
    }
}
