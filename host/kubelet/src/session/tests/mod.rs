//! A session between a client, a provider and a backend that the tests play.

mod endings;
mod pressure;
mod relay;
mod steps;

use std::{
    io,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{Sink, SinkExt, Stream, StreamExt, channel::mpsc as messages};
use tokio::{
    io::DuplexStream,
    sync::{mpsc, oneshot},
    task::JoinHandle,
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use vk_provider::{
    Action, Answer, Attach, Connection, Dialled, Ending, Error, ErrorKind, Exec, Message, Opened, PodId, Progress,
    Result, SessionEvent, SessionRequest, Sessions, Transport,
};

use crate::{Client, ClientEvent, ClientInput, ClientOutput, Outcome};

/// Longer than anything that is awaited takes, on a clock that does not move while there is something to do.
const LIMIT: Duration = Duration::from_secs(24 * 60 * 60);

async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    timeout(LIMIT, future).await.unwrap_or_else(|_| panic!("{what} did not happen"))
}

/// A provider whose answers to `step` are the test's.
struct Provider {
    opened: Mutex<Option<Result<Opened>>>,
    dialled: Mutex<Option<oneshot::Receiver<Result<Dialled>>>>,
    steps: mpsc::UnboundedSender<Step>,
}

/// A step under way.
struct Step {
    state: Vec<u8>,
    events: Vec<SessionEvent>,
    answer: oneshot::Sender<Result<Progress>>,
}

impl Step {
    fn answer(self, actions: impl IntoIterator<Item = Action>) {
        self.progress(None, actions);
    }

    fn progress(self, state: Option<Vec<u8>>, actions: impl IntoIterator<Item = Action>) {
        let progress = Progress { state, actions: actions.into_iter().collect() };
        assert!(self.answer.send(Ok(progress)).is_ok(), "nobody waits for the step");
    }

    fn fail(self, error: Error) {
        assert!(self.answer.send(Err(error)).is_ok(), "nobody waits for the step");
    }
}

#[async_trait]
impl Sessions for Provider {
    async fn open(&self, _pod: &PodId, _request: &SessionRequest) -> Result<Opened> {
        self.opened.lock().unwrap().take().expect("opened twice")
    }

    async fn dial(&self, _transport: &Transport) -> Result<Dialled> {
        let dialled = self.dialled.lock().unwrap().take().expect("dialled twice");
        dialled.await.expect("the test ended while it dialled")
    }

    async fn step(&self, _pod: &PodId, state: &[u8], events: Vec<SessionEvent>) -> Result<Progress> {
        let (answer, answered) = oneshot::channel();
        let step = Step { state: state.to_vec(), events, answer };
        self.steps.send(step).unwrap_or_else(|_| panic!("a step that no test expects"));
        answered.await.expect("a step that the test does not answer")
    }
}

/// What reached the client.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Output(Bytes),
    ErrorOutput(Bytes),
    Finished(Outcome),
}

struct Input {
    events: mpsc::UnboundedReceiver<ClientEvent>,
    taken: Arc<AtomicUsize>,
    gone: CancellationToken,
}

#[async_trait]
impl ClientInput for Input {
    async fn next(&mut self) -> ClientEvent {
        let event = self.events.recv().await.unwrap_or(ClientEvent::Gone);
        self.taken.fetch_add(1, Ordering::Relaxed);
        event
    }

    fn gone(&self) -> CancellationToken {
        self.gone.clone()
    }
}

struct Output(mpsc::Sender<Seen>);

impl Output {
    async fn send(&self, seen: Seen) -> io::Result<()> {
        self.0.send(seen).await.map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

#[async_trait]
impl ClientOutput for Output {
    async fn output(&mut self, bytes: Bytes) -> io::Result<()> {
        self.send(Seen::Output(bytes)).await
    }

    async fn error_output(&mut self, bytes: Bytes) -> io::Result<()> {
        self.send(Seen::ErrorOutput(bytes)).await
    }

    async fn finish(self: Box<Self>, outcome: Outcome) {
        // A close takes no longer than it may, whatever the client does.
        let _ = timeout(Duration::from_secs(1), self.send(Seen::Finished(outcome))).await;
    }
}

/// Messages both ways.
struct Messages {
    incoming: messages::UnboundedReceiver<io::Result<Message>>,
    outgoing: messages::Sender<Message>,
}

impl Stream for Messages {
    type Item = io::Result<Message>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.incoming.poll_next_unpin(context)
    }
}

impl Sink<Message> for Messages {
    type Error = io::Error;

    fn poll_ready(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(ready!(self.outgoing.poll_ready(context)).map_err(io::Error::other))
    }

    fn start_send(mut self: Pin<&mut Self>, message: Message) -> io::Result<()> {
        self.outgoing.start_send(message).map_err(io::Error::other)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.outgoing.poll_flush_unpin(context).map_err(io::Error::other)
    }

    fn poll_close(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.outgoing.poll_close_unpin(context).map_err(io::Error::other)
    }
}

/// The backend's end of a WebSocket.
struct Peer {
    to: messages::UnboundedSender<io::Result<Message>>,
    from: messages::Receiver<Message>,
}

impl Peer {
    fn send(&self, message: Message) {
        self.to.unbounded_send(Ok(message)).expect("the connection is closed");
    }

    async fn received(&mut self) -> Option<Message> {
        soon("a message to the backend", self.from.next()).await
    }
}

fn websocket() -> (Connection, Peer) {
    let (to, incoming) = messages::unbounded();
    let (outgoing, from) = messages::channel(0);
    (Connection::WebSocket(Box::pin(Messages { incoming, outgoing })), Peer { to, from })
}

fn bytes(buffer: usize) -> (Connection, DuplexStream) {
    let (near, far) = tokio::io::duplex(buffer);
    (Connection::Bytes(Box::new(near)), far)
}

/// What a test holds of a session.
struct Session {
    client: mpsc::UnboundedSender<ClientEvent>,
    /// How many of the client's events were taken.
    taken: Arc<AtomicUsize>,
    gone: CancellationToken,
    seen: mpsc::Receiver<Seen>,
    steps: mpsc::UnboundedReceiver<Step>,
    dial: Option<oneshot::Sender<Result<Dialled>>>,
    stop: CancellationToken,
    run: JoinHandle<Outcome>,
}

fn pod() -> PodId {
    PodId { namespace: "default".into(), name: "web".into(), uid: "1".into(), handle: None }
}

fn exec() -> SessionRequest {
    SessionRequest::Exec(Exec { container: "app".into(), command: vec!["sh".into()], stdin: true, tty: None })
}

fn attach() -> SessionRequest {
    SessionRequest::Attach(Attach { container: "app".into(), stdin: true, tty: None })
}

fn opened() -> Opened {
    Opened { state: b"begun".to_vec(), transport: Transport::None }
}

impl Session {
    /// One that is dialling.
    fn dialling(request: SessionRequest, opened: Result<Opened>) -> Self {
        let (steps_to, steps) = mpsc::unbounded_channel();
        let (dial, dialled) = oneshot::channel();
        let (client, events) = mpsc::unbounded_channel();
        let taken = Arc::new(AtomicUsize::new(0));
        let gone = CancellationToken::new();
        let input = Input { events, taken: Arc::clone(&taken), gone: gone.clone() };
        let (output, seen) = mpsc::channel(1);
        let provider =
            Provider { opened: Mutex::new(Some(opened)), dialled: Mutex::new(Some(dialled)), steps: steps_to };
        let stop = CancellationToken::new();
        let client_side = Client { input: Box::new(input), output: Box::new(Output(output)) };
        let run = tokio::spawn(super::run(Arc::new(provider), pod(), request, client_side, stop.clone()));
        Self { client, taken, gone, seen, steps, dial: Some(dial), stop, run }
    }

    fn dialled(&mut self, dialled: Result<Dialled>) {
        let dial = self.dial.take().expect("dialled twice");
        assert!(dial.send(dialled).is_ok(), "nobody dials");
    }

    /// One whose connection stands and whose provider did this about it.
    async fn connected(
        request: SessionRequest,
        connection: Connection,
        actions: impl IntoIterator<Item = Action>,
    ) -> Self {
        let mut session = Self::dialling(request, Ok(opened()));
        session.dialled(Ok(Dialled::Opened(Answer::default(), connection)));
        let step = session.step().await;
        assert_eq!(step.events, [SessionEvent::Opened(Answer::default())]);
        step.answer(actions);
        session
    }

    /// The next step.
    async fn step(&mut self) -> Step {
        soon("a step", self.steps.recv()).await.expect("the session ended without a step")
    }

    /// The next step, which is for these events.
    async fn step_for(&mut self, events: impl Into<Vec<SessionEvent>>) -> Step {
        let step = self.step().await;
        assert_eq!(step.events, events.into());
        step
    }

    fn input(&self, bytes: &[u8]) {
        self.does(ClientEvent::Input(Bytes::copy_from_slice(bytes)));
    }

    fn goes(&self) {
        self.does(ClientEvent::Gone);
        self.gone.cancel();
    }

    fn does(&self, event: ClientEvent) {
        self.client.send(event).expect("nobody listens to the client");
    }

    /// What reached the client next.
    async fn seen(&mut self) -> Seen {
        soon("something for the client", self.seen.recv()).await.expect("the client was told nothing more")
    }

    /// How it ended; nothing else reached the client before, nor a second end after.
    async fn finished(mut self) -> Outcome {
        let Seen::Finished(told) = self.seen().await else {
            panic!("the client was told something else before the end")
        };
        assert_eq!(soon("the end", self.run).await.unwrap(), told);
        assert!(self.seen.recv().await.is_none());
        assert!(self.steps.recv().await.is_none(), "a step after the end");
        told
    }
}

fn input(bytes: &[u8]) -> SessionEvent {
    SessionEvent::Input(bytes.to_vec())
}

fn output(bytes: &[u8]) -> Action {
    Action::Output(bytes.to_vec())
}

fn disconnected() -> SessionEvent {
    SessionEvent::Disconnected(Ending::default())
}

fn seen_output(bytes: &[u8]) -> Seen {
    Seen::Output(Bytes::copy_from_slice(bytes))
}

fn message_of(outcome: Outcome) -> String {
    match outcome {
        Outcome::Failed(error) => error.message,
        other => panic!("{other:?}"),
    }
}

fn error(kind: ErrorKind) -> Error {
    Error::new(kind, "told by the provider")
}
