//! Events, as `kubectl describe` shows them: callers never wait, failures are always told, successes when there is room.
//!
//! ```text
//!  callers ──admit──> bounded queue ──> Writer: merges equal ones ──create, or patch of the count──> API server
//! ```
//!
//! They are core/v1 events, the only ones that the role of a node identity lets it write, and what a kubelet writes.

mod book;

#[cfg(test)]
mod tests;

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use k8s_openapi::{
    api::core::v1::{Event, ObjectReference, Pod},
    jiff::Timestamp,
};
use kube::{
    Api, Client,
    api::{Patch, PatchParams, PostParams},
};
use prometheus_client::metrics::counter::Counter;
use tokio::{
    sync::mpsc,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};
use vk_provider::PodEvent;

use book::{Book, Write};

/// What `kubectl describe` shows in the column From.
const COMPONENT: &str = "virtual-kubelet";
/// The longest message, in bytes: the API server refuses longer ones.
const MAX_MESSAGE: usize = 1024;
/// The longest reason, in bytes.
const MAX_REASON: usize = 128;
/// How many events may wait. A thousand pods that fail at once fit several times; beyond that nobody reads them.
const QUEUE: usize = 4096;
/// How many successes may be told at once, and how many per second after that: enough for whoever looks at one pod or a
/// small Deployment, and next to nothing in a burst of a thousand pods, which would pay a write for each.
const SUCCESS_BURST: f64 = 10.0;
const SUCCESSES_PER_SECOND: f64 = 1.0;
/// How long a request may take, and how often a failure is tried to be told.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
const ATTEMPTS: u32 = 4;
/// How long what is queued may hold up a stop.
const GOODBYE_TIMEOUT: Duration = Duration::from_secs(2);

/// An event's type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    Normal,
    Warning,
}

/// What happened.
#[derive(Debug, Clone, PartialEq)]
struct Occurrence {
    about: ObjectReference,
    kind: Kind,
    reason: String,
    message: String,
    at: Timestamp,
    /// The provider may tell of the same thing again.
    once: bool,
}

/// Where to report. Cheap to clone; no method waits or fails.
#[derive(Debug, Clone)]
pub(crate) struct Events {
    queue: mpsc::Sender<Occurrence>,
    bucket: Arc<Mutex<Bucket>>,
    node_name: Arc<str>,
    dropped: Counter,
}

impl Events {
    /// The handle, and the task that writes.
    pub(crate) fn new(client: Client, node_name: &str, dropped: Counter) -> (Self, Writer) {
        let (queue, occurrences) = mpsc::channel(QUEUE);
        let bucket = Arc::new(Mutex::new(Bucket { tokens: SUCCESS_BURST, filled: Instant::now() }));
        let book = Book::new(node_name);
        let writer = Writer { client, occurrences, book, pending: VecDeque::new() };
        (Self { queue, bucket, node_name: node_name.into(), dropped }, writer)
    }

    /// Something went wrong with a pod: always written, repeats counted in one.
    pub(crate) fn warning(&self, pod: &Pod, reason: &str, message: impl Into<String>) {
        self.send(about_pod(pod), Kind::Warning, reason, message.into());
    }

    /// Something went well with a pod: written while the token bucket has room.
    pub(crate) fn success(&self, pod: &Pod, reason: &str, message: impl Into<String>) {
        if self.has_room() {
            self.send(about_pod(pod), Kind::Normal, reason, message.into());
        }
    }

    /// What a provider reported of a pod. The same (pod, container, time, reason) again is written once.
    pub(crate) fn reported(&self, event: &PodEvent) {
        if !event.warning && !self.has_room() {
            return;
        }
        let about = ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Pod".to_owned()),
            namespace: Some(event.pod.namespace.clone()),
            name: Some(event.pod.name.clone()),
            uid: Some(event.pod.uid.clone()),
            field_path: event.container.as_ref().map(|container| format!("spec.containers{{{container}}}")),
            resource_version: None,
        };
        let kind = if event.warning { Kind::Warning } else { Kind::Normal };
        let at = Timestamp::try_from(event.at).unwrap_or_else(|_| Timestamp::now());
        let reason = event.reason.as_str();
        let good = (1..=MAX_REASON).contains(&reason.len()) && reason.bytes().all(|byte| byte.is_ascii_alphanumeric());
        let reason = if good { reason } else { "ReportedByProvider" };
        self.enqueue(about, kind, reason, event.message.clone(), at, true);
    }

    /// Something about the node.
    pub(crate) fn on_node(&self, kind: Kind, reason: &str, message: impl Into<String>) {
        let about = ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Node".to_owned()),
            name: Some(self.node_name.to_string()),
            // Kubelets name their node so, and `kubectl describe node` looks for it.
            uid: Some(self.node_name.to_string()),
            ..ObjectReference::default()
        };
        self.send(about, kind, reason, message.into());
    }

    fn has_room(&self) -> bool {
        self.bucket.lock().unwrap_or_else(PoisonError::into_inner).take(Instant::now())
    }

    fn send(&self, about: ObjectReference, kind: Kind, reason: &str, message: String) {
        self.enqueue(about, kind, reason, message, Timestamp::now(), false);
    }

    fn enqueue(&self, about: ObjectReference, kind: Kind, reason: &str, message: String, at: Timestamp, once: bool) {
        let mut reason = reason.to_owned();
        // The name of a resource may be part of the host's own.
        reason.truncate(reason.floor_char_boundary(MAX_REASON));
        let mut message = message;
        message.truncate(message.floor_char_boundary(MAX_MESSAGE));
        let occurrence = Occurrence { about, kind, reason, message, at, once };
        if let Err(refused) = self.queue.try_send(occurrence) {
            self.dropped.inc();
            let occurrence = refused.into_inner();
            debug!(reason = occurrence.reason, "an event was dropped, because too many wait: {}", occurrence.message);
        }
    }
}

fn about_pod(pod: &Pod) -> ObjectReference {
    ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("Pod".to_owned()),
        namespace: pod.metadata.namespace.clone(),
        name: pod.metadata.name.clone(),
        uid: pod.metadata.uid.clone(),
        resource_version: pod.metadata.resource_version.clone(),
        field_path: None,
    }
}

/// A token bucket.
#[derive(Debug)]
struct Bucket {
    tokens: f64,
    filled: Instant,
}

impl Bucket {
    fn take(&mut self, now: Instant) -> bool {
        let gained = now.duration_since(self.filled).as_secs_f64() * SUCCESSES_PER_SECOND;
        self.tokens = (self.tokens + gained).min(SUCCESS_BURST);
        self.filled = now;
        let has = self.tokens >= 1.0;
        if has {
            self.tokens -= 1.0;
        }
        has
    }
}

/// The task that writes events.
pub(crate) struct Writer {
    client: Client,
    occurrences: mpsc::Receiver<Occurrence>,
    book: Book,
    /// What is to be written before anything else is taken from the queue.
    pending: VecDeque<Write>,
}

impl Writer {
    /// Writes until `shutdown`, then what is queued for at most two seconds.
    pub(crate) async fn run(mut self, shutdown: CancellationToken) {
        let stopped = tokio::select! {
            () = shutdown.cancelled() => true,
            () = self.write_all() => false,
        };
        if stopped {
            self.occurrences.close();
            if timeout(GOODBYE_TIMEOUT, self.write_all()).await.is_err() {
                debug!("some events were not written before the stop");
            }
        }
    }

    /// Writes until no more can come.
    async fn write_all(&mut self) {
        let mut batch = Vec::new();
        loop {
            while let Some(write) = self.pending.front() {
                self.write(write).await;
                self.pending.pop_front();
            }
            if self.occurrences.recv_many(&mut batch, QUEUE).await == 0 {
                return;
            }
            // Equal ones that piled up while the last write was on its way become one.
            self.pending.extend(self.book.enter(batch.drain(..), Instant::now()));
        }
    }

    async fn write(&self, write: &Write) {
        let mut pause = Duration::from_millis(250);
        for attempt in 1..=ATTEMPTS {
            match self.try_write(write).await {
                Ok(()) => return,
                Err(Some(error)) if !is_worth_repeating(&error) => {
                    // Such as that the namespace goes away.
                    debug!("the API server refused an event: {error}");
                    return;
                }
                Err(error) if attempt == ATTEMPTS || write.is_success() => {
                    let error = error.map_or_else(|| "no answer in time".to_owned(), |error| error.to_string());
                    warn!("could not write an event ({}): {error}", write.describe());
                    return;
                }
                Err(_) => sleep(pause).await,
            }
            pause *= 4;
        }
    }

    /// `None` is a request without an answer.
    async fn try_write(&self, write: &Write) -> Result<(), Option<kube::Error>> {
        let request = async {
            match write {
                Write::Create(event) => match self.create(event).await {
                    // An attempt before this one arrived after all.
                    Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(()),
                    created => created,
                },
                Write::Repeat { event, patch } => {
                    let api = self.api(event);
                    let name = event.metadata.name.as_deref().unwrap_or_default();
                    match api.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await {
                        // The API server forgets events after an hour.
                        Err(kube::Error::Api(status)) if status.is_not_found() => self.create(event).await,
                        patched => patched.map(drop),
                    }
                }
            }
        };
        timeout(REQUEST_TIMEOUT, request).await.map_err(|_| None)?.map_err(Some)
    }

    async fn create(&self, event: &Event) -> kube::Result<()> {
        self.api(event).create(&PostParams::default(), event).await.map(drop)
    }

    fn api(&self, event: &Event) -> Api<Event> {
        Api::namespaced(self.client.clone(), event.metadata.namespace.as_deref().unwrap_or("default"))
    }
}

fn is_worth_repeating(error: &kube::Error) -> bool {
    match error {
        kube::Error::Api(status) => status.code == 429 || status.code >= 500,
        _ => true,
    }
}
