//! The loop of a session: who is heard when, and what is done about it.

use std::{future::pending, sync::Arc};

use bytes::Bytes;
use futures::future::BoxFuture;
use tokio::{
    select,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;
use vk_provider::{
    Action, Dialled, Ending, Error, ErrorKind, Fault, MAX_SESSION_STATE, Opened, PodId, Progress, SessionEvent,
    SessionState, Sessions,
};

use super::{
    backend::{Kind, Reader, Received},
    delivery::{Delivery, Recipient},
    lane::Lane,
    link::Link,
    parting::{Farewell, Parting},
    waiting::Waiting,
};
use crate::{ClientEvent, ClientInput, ClientOutput, Outcome};

/// While so much is on its way to one side, the other is not read from.
const LANE_BYTES: usize = 256 << 10;
/// While so much is on its way to one side, no step is taken. Well above [`LANE_BYTES`]: a backend that takes no more
/// input before its output is read must be read while input for it is held up.
const HELD_BYTES: usize = 4 << 20;

/// How the loop ended.
pub(super) enum Ended {
    /// The session is over, and the client has all its output.
    Over(Outcome),
    /// The client is gone.
    Abandoned,
}

/// The call that is under way. There is never more than one.
pub(super) enum Call {
    Dial(BoxFuture<'static, vk_provider::Result<Dialled>>),
    Step(BoxFuture<'static, Stepped>),
}

/// A step's outcome, and the state that it was taken with.
type Stepped = (SessionState, vk_provider::Result<Progress>);

enum Returned {
    Dialled(vk_provider::Result<Dialled>),
    Stepped(Stepped),
}

impl Call {
    /// Waits for it. Dropped, it goes on where it was.
    async fn returned(&mut self) -> Returned {
        match self {
            Self::Dial(dial) => Returned::Dialled(dial.await),
            Self::Step(step) => Returned::Stepped(step.await),
        }
    }
}

/// Why there is no connection any more.
enum Loss {
    Refused(u16),
    Disconnected(Ending),
}

pub(super) struct Driver<'a> {
    sessions: Arc<dyn Sessions>,
    pod: Arc<PodId>,
    is_exec: bool,
    state: SessionState,
    call: Option<Call>,
    waiting: Waiting,
    wake_at: Option<Instant>,
    /// Set while a step runs that was told of it.
    loss: Option<Loss>,
    relays: bool,
    is_over: bool,
    input: &'a mut dyn ClientInput,
    gone: CancellationToken,
    input_closed: bool,
    outputs: Lane<'a, Recipient<'a>>,
    link: Link,
}

impl<'a> Driver<'a> {
    pub(super) fn new(
        sessions: Arc<dyn Sessions>,
        pod: PodId,
        is_exec: bool,
        opened: Opened,
        input: &'a mut dyn ClientInput,
        output: &'a mut dyn ClientOutput,
    ) -> Self {
        let Opened { state, transport } = opened;
        let dialling = Arc::clone(&sessions);
        Self {
            sessions,
            pod: Arc::new(pod),
            is_exec,
            state,
            call: Some(Call::Dial(Box::pin(async move { dialling.dial(&transport).await }))),
            waiting: Waiting::default(),
            wake_at: None,
            loss: None,
            relays: false,
            is_over: false,
            gone: input.gone(),
            input,
            input_closed: false,
            outputs: Lane::new(Some(Recipient(output))),
            link: Link::none(),
        }
    }

    /// Runs the session to its end. Dropped, it leaves everything for [`part`](Self::part).
    pub(super) async fn run(&mut self) -> Ended {
        let Some(outcome) = self.drive().await else { return Ended::Abandoned };
        self.is_over = true;
        self.deliver().await;
        Ended::Over(outcome)
    }

    /// What is still owed to the backend.
    pub(super) fn part(self) -> Parting {
        let Self { sessions, pod, state, call, waiting, is_over, link, .. } = self;
        let farewell = (!is_over).then_some(Farewell { sessions, pod, state, call, waiting });
        Parting { link, farewell }
    }

    /// Until it is over, or until the client is gone.
    async fn drive(&mut self) -> Option<Outcome> {
        if let Err(error) = check(&self.state) {
            return Some(Outcome::Failed(error));
        }
        loop {
            self.begin_step();
            let hears_client = !self.waiting.is_full() && self.link.sends.bytes() < LANE_BYTES;
            let hears_backend = !self.waiting.is_full() && self.outputs.bytes() < LANE_BYTES;
            // The timer waits while a step runs, which may replace it.
            select! {
                event = self.input.next(), if hears_client => match event {
                    ClientEvent::Input(bytes) => self.take_input(bytes),
                    ClientEvent::InputClosed => self.close_input(),
                    ClientEvent::Resized(size) => self.waiting.push(SessionEvent::Resized(size)),
                    ClientEvent::Gone => return None,
                },
                // While it is heard, that it goes comes after what it did before.
                () = self.gone.cancelled(), if !hears_client => return None,
                received = next(&mut self.link.reader), if hears_backend => self.take_received(received),
                delivered = self.outputs.progress() => if delivered.is_err() {
                    return None;
                },
                sent = self.link.sends.progress() => if let Err(error) = sent {
                    tracing::debug!(%error, "a session's backend takes nothing more");
                },
                () = reached(self.wake_at), if self.call.is_none() => {
                    self.wake_at = None;
                    self.waiting.push(SessionEvent::Woken);
                }
                returned = returned(&mut self.call) => {
                    self.call = None;
                    match self.handle(returned) {
                        Ok(None) => {}
                        Ok(Some(outcome)) => return Some(outcome),
                        Err(error) => return Some(Outcome::Failed(error)),
                    }
                }
            }
        }
    }

    /// Brings all output to the client, unless it goes. What it still sends is of no use to anybody, but must not hold
    /// up its connection.
    async fn deliver(&mut self) {
        loop {
            select! {
                event = self.input.next() => if event == ClientEvent::Gone {
                    return;
                },
                // If it failed, the client is gone.
                _ = self.outputs.drain() => return,
                // If it failed, the connection breaks a little earlier.
                _ = self.link.sends.progress() => {}
            }
        }
    }

    fn begin_step(&mut self) {
        let is_held = self.outputs.bytes() >= HELD_BYTES || self.link.sends.bytes() >= HELD_BYTES;
        if self.call.is_some() || self.waiting.is_empty() || is_held {
            return;
        }
        let events = self.waiting.take();
        self.loss = events.iter().find_map(|event| match event {
            SessionEvent::Refused(answer) => Some(Loss::Refused(answer.status)),
            SessionEvent::Disconnected(ending) => Some(Loss::Disconnected(ending.clone())),
            _ => None,
        });
        let (sessions, pod) = (Arc::clone(&self.sessions), Arc::clone(&self.pod));
        let state = std::mem::take(&mut self.state);
        self.call = Some(Call::Step(Box::pin(async move {
            let progress = sessions.step(&pod, &state, events).await;
            (state, progress)
        })));
    }

    fn take_input(&mut self, bytes: Bytes) {
        if self.relays { self.link.relay(bytes) } else { self.waiting.push_input(&bytes) }
    }

    fn close_input(&mut self) {
        self.input_closed = true;
        self.relay_close();
        self.waiting.push(SessionEvent::InputClosed);
    }

    /// Copying bytes includes the end of them. A WebSocket has no half close: only the provider knows what its backend
    /// makes of a close frame.
    fn relay_close(&mut self) {
        if self.relays && self.input_closed && self.link.kind() == Some(Kind::Bytes) {
            self.link.close_send();
        }
    }

    fn take_received(&mut self, received: Received) {
        match received {
            Received::Done(ending) => {
                self.link.reader = None;
                self.waiting.push(SessionEvent::Disconnected(ending));
            }
            Received::Text(text) if self.relays => self.outputs.push(Delivery::Output(text.into())),
            Received::Message(bytes) | Received::Bytes(bytes) if self.relays => {
                self.outputs.push(Delivery::Output(bytes));
            }
            Received::Text(text) => self.waiting.push(SessionEvent::Text(text)),
            Received::Message(bytes) => self.waiting.push(SessionEvent::Binary(bytes.into())),
            Received::Bytes(bytes) => self.waiting.push_stream(&bytes),
        }
    }

    /// What a call brought; the outcome, if it ended the session.
    fn handle(&mut self, returned: Returned) -> Result<Option<Outcome>, Error> {
        match returned {
            Returned::Dialled(dialled) => {
                // It comes before what the client did meanwhile.
                self.waiting.push_first(match dialled? {
                    Dialled::Opened(answer, connection) => {
                        self.link = Link::new(connection);
                        SessionEvent::Opened(answer)
                    }
                    Dialled::Refused(answer) => SessionEvent::Refused(answer),
                });
                Ok(None)
            }
            Returned::Stepped((state, progress)) => {
                let Progress { state: new, actions } = progress?;
                self.state = new.unwrap_or(state);
                check(&self.state)?;
                let woken_before = self.wake_at.take();
                let outcome = self.apply(actions)?;
                if outcome.is_some() {
                    return Ok(outcome);
                }
                let goes_on = self.wake_at.is_some();
                self.wake_at = self.wake_at.or(woken_before);
                match self.loss.take() {
                    Some(loss) => {
                        self.link = Link::none();
                        self.relays = false;
                        Ok((!goes_on).then(|| self.end(loss)))
                    }
                    None => Ok(None),
                }
            }
        }
    }

    /// Does what a step asked for; the outcome, if that ended the session.
    fn apply(&mut self, actions: Vec<Action>) -> Result<Option<Outcome>, Error> {
        for action in actions {
            match action {
                Action::SendText(text) => self.link.send_text(text)?,
                Action::SendBinary(bytes) => self.link.send_binary(bytes)?,
                Action::CloseSend => self.link.close_send(),
                Action::Output(bytes) => self.outputs.push(Delivery::Output(bytes.into())),
                Action::ErrorOutput(bytes) => self.outputs.push(Delivery::ErrorOutput(bytes.into())),
                Action::Relay => self.relay()?,
                Action::WakeAfter(wait) => self.wake_at = Some(Instant::now() + wait),
                Action::Exit(code) => return Ok(Some(Outcome::Exit(exit_code(code)))),
                Action::Fail(error) => return Ok(Some(Outcome::Failed(error))),
            }
        }
        Ok(None)
    }

    /// From here on bytes are copied, those included that waited for a step.
    fn relay(&mut self) -> Result<(), Error> {
        self.link.begin_relay()?;
        if std::mem::replace(&mut self.relays, true) {
            return Ok(());
        }
        for event in self.waiting.take_all() {
            match event {
                SessionEvent::Input(bytes) => self.link.relay(bytes.into()),
                SessionEvent::Text(text) => self.outputs.push(Delivery::Output(text.into())),
                SessionEvent::Binary(bytes) => self.outputs.push(Delivery::Output(bytes.into())),
                event => self.waiting.push(event),
            }
        }
        self.relay_close();
        Ok(())
    }

    /// The outcome of a session whose provider does not go on without the connection.
    fn end(&self, loss: Loss) -> Outcome {
        match loss {
            Loss::Refused(status) => Outcome::Failed(Error::new(
                ErrorKind::Unavailable,
                format!("the backend refused the connection of the session with status {status}"),
            )),
            Loss::Disconnected(ending) if self.is_exec => {
                let code = ending.code.map(|code| format!(", code {code}")).unwrap_or_default();
                let reason = if ending.reason.is_empty() { String::new() } else { format!(": {}", ending.reason) };
                Outcome::Failed(Error::new(
                    ErrorKind::Unavailable,
                    format!("the backend closed the connection before the command's exit code was known{code}{reason}"),
                ))
            }
            Loss::Disconnected(_) => Outcome::Exit(0),
        }
    }
}

/// What comes from the backend; nothing while there is none.
async fn next(reader: &mut Option<Reader>) -> Received {
    match reader {
        Some(reader) => reader.next().await,
        None => pending().await,
    }
}

async fn returned(call: &mut Option<Call>) -> Returned {
    match call {
        Some(call) => call.returned().await,
        None => pending().await,
    }
}

async fn reached(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => pending().await,
    }
}

fn check(state: &SessionState) -> Result<(), Error> {
    if state.len() <= MAX_SESSION_STATE {
        return Ok(());
    }
    let message =
        format!("the provider's state of a session has {} bytes; at most {MAX_SESSION_STATE} are kept", state.len());
    Err(Error::fault(Fault::Answer, message))
}

/// What clients can tell apart: 0 to 255. A code outside is 255, as a shell shows `exit -1`; its low eight bits could be 0
/// and pass a failure off as success.
fn exit_code(code: i32) -> u8 {
    u8::try_from(code).unwrap_or(u8::MAX)
}
