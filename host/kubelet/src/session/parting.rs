//! What is still owed to the backend when a session has ended.

use std::{sync::Arc, time::Duration};

use tokio::time::timeout;
use vk_provider::{Action, PodId, Progress, SessionEvent, SessionState, Sessions};

use super::{driver::Call, link::Link, waiting::Waiting};

/// What was to be sent gets so long.
const FLUSH: Duration = Duration::from_secs(5);
/// A provider that is told that its session was abandoned gets so long, a step under way included.
const FAREWELL: Duration = Duration::from_secs(15);

/// The end of a session, on the backend's side.
pub(super) struct Parting {
    pub(super) link: Link,
    /// Set if the provider is to learn that its session was abandoned.
    pub(super) farewell: Option<Farewell>,
}

/// A session without a client.
pub(super) struct Farewell {
    pub(super) sessions: Arc<dyn Sessions>,
    pub(super) pod: Arc<PodId>,
    pub(super) state: SessionState,
    pub(super) call: Option<Call>,
    pub(super) waiting: Waiting,
}

impl Parting {
    /// Tells the provider, sends what is left to the backend and closes the connection, all in bounded time.
    pub(super) async fn run(self) {
        let Self { mut link, farewell } = self;
        // The backend is not heard any more.
        link.reader = None;
        if let Some(farewell) = farewell
            && timeout(FAREWELL, farewell.say(&mut link)).await.is_err()
        {
            tracing::debug!("a provider did not take leave of an abandoned session in time");
        }
        // Whether it got through makes no difference any more.
        let _ = timeout(FLUSH, link.finish().drain()).await;
    }
}

impl Farewell {
    async fn say(mut self, link: &mut Link) {
        match self.call.take() {
            Some(Call::Step(step)) => {
                let (state, outcome) = step.await;
                let Ok(progress) = outcome else { return };
                self.state = state;
                if self.apply(progress, link) {
                    return;
                }
            }
            Some(Call::Dial(_)) | None => {}
        }
        let mut events = self.waiting.take();
        events.push(SessionEvent::Abandoned);
        match self.sessions.step(&self.pod, &self.state, events).await {
            Ok(progress) => {
                self.apply(progress, link);
            }
            Err(error) => tracing::debug!(%error, "a provider failed to take leave of an abandoned session"),
        }
    }

    /// Only what goes to the backend still counts. Says whether the provider ended the session by itself.
    fn apply(&mut self, progress: Progress, link: &mut Link) -> bool {
        if let Some(state) = progress.state {
            self.state = state;
        }
        for action in progress.actions {
            // What cannot be sent is lost with the session.
            let _ = match action {
                Action::SendText(text) => link.send_text(text),
                Action::SendBinary(bytes) => link.send_binary(bytes),
                Action::CloseSend => {
                    link.close_send();
                    Ok(())
                }
                Action::Exit(_) | Action::Fail(_) => return true,
                Action::Output(_) | Action::ErrorOutput(_) | Action::Relay | Action::WakeAfter(_) => Ok(()),
            };
        }
        false
    }
}
