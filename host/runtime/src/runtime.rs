//! The provider that the node talks to: the generation that serves, and its replacement.

use std::{
    sync::{Arc, OnceLock, PoisonError, RwLock},
    time::Duration,
};

use async_trait::async_trait;
use tokio::{
    sync::{Mutex, mpsc},
    time::timeout,
};
use tokio_util::task::{TaskTracker, task_tracker::TaskTrackerToken};
use vk_provider::{
    Aspects, Changes, Cursor, Deletion, Description, Dialled, Error, ErrorKind, Info, LogChunk, LogQuery, Logs,
    Observation, Opened, Pod, PodEvent, PodId, PodUsage, Progress, Provider, SessionEvent, SessionRequest, Sessions,
    Stats, Transport,
};

use crate::{
    Engine, Generation, StartError,
    cache::Cache,
    calls,
    engine::Program,
    events::Events,
    fault,
    function::Function,
    instance::NotMade,
    lines::LineRate,
    pool::{Call, Pool, Refused},
    shared::Shared,
};

/// A running provider: one generation that serves, and those that it replaced until their calls are over.
///
/// Calls on pods wait for an instance in the order in which they come; `describe` and `poll` have a queue of their own,
/// and so have logs, sessions and stats. A session outlives the generation that opened it: its state goes to the one that
/// serves when the next step is due.
/// Dropping a call's future drops the instance that it had.
pub struct Runtime {
    engine: Engine,
    events: Arc<Events>,
    serving: RwLock<Arc<Serving>>,
    /// One replacement at a time; holds the number of the last generation that was tried.
    replacing: Mutex<u64>,
    /// Calls in flight or waiting; closed when the runtime is.
    calls: TaskTracker,
}

struct Serving {
    generation: Generation,
    info: Info,
    pool: Arc<Pool>,
    /// Of the component, in hexadecimal.
    sha256: String,
}

impl Runtime {
    /// Compiles a component, checks its world and configures a first instance.
    ///
    /// `events` takes what the provider reports about pods; what does not fit is dropped with a log line.
    ///
    /// # Errors
    ///
    /// See [`StartError`]. Nothing is left running.
    pub async fn start(
        engine: Engine,
        generation: Generation,
        events: mpsc::Sender<PodEvent>,
    ) -> Result<Self, StartError> {
        let events = Arc::new(Events::new(events));
        let first = 1;
        let serving = Serving::start(&engine, &events, generation, first).await?;
        serving.announce("serving");
        Ok(Self {
            engine,
            events,
            serving: RwLock::new(Arc::new(serving)),
            replacing: Mutex::new(first),
            calls: TaskTracker::new(),
        })
    }

    /// Puts another generation in the place of the one that serves: beside it the new one is compiled, checked,
    /// configured and asked to describe the node; then it takes over, while calls in flight end on the old one and
    /// those that wait for an instance get one of the new one. The cache starts empty. The same component with the same
    /// configuration changes nothing.
    ///
    /// # Errors
    ///
    /// See [`StartError`]. The old generation then serves on.
    pub async fn replace(&self, generation: Generation) -> Result<Info, StartError> {
        let mut number = self.replacing.lock().await;
        let result = self.try_replace(generation, &mut number).await;
        let outcome = match &result {
            Ok((_, true)) => "replaced",
            Ok((_, false)) => "unchanged",
            Err(_) => "failed",
        };
        self.engine.metrics().replacement(outcome);
        result.map(|(info, _)| info)
    }

    /// Counts a replacement that failed before there was a generation, as when a file could not be read.
    pub fn replacement_failed(&self) {
        self.engine.metrics().replacement("failed");
    }

    /// The number of the generation that serves: 1 at first, and another one after each replacement that changed
    /// something.
    pub fn generation(&self) -> u64 {
        self.serving().pool.shared.generation
    }

    async fn try_replace(&self, generation: Generation, number: &mut u64) -> Result<(Info, bool), StartError> {
        let old = self.serving();
        if old.generation.same(&generation) {
            return Ok((old.info.clone(), false));
        }
        *number += 1;
        let new = Serving::start(&self.engine, &self.events, generation, *number).await?;
        new.describe().await?;
        if self.calls.is_closed() {
            return Err(StartError::Closed);
        }
        new.announce("took over");
        let info = new.info.clone();
        *self.serving.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(new);
        // Closed only after the new one is in place: whoever then finds it closed looks again and finds the new one.
        old.pool.close();
        Ok((info, true))
    }

    /// Takes no further calls, and waits up to `grace` for those in flight. Later calls fail as unavailable.
    pub async fn close(&self, grace: Duration) {
        self.calls.close();
        if timeout(grace, self.calls.wait()).await.is_err() {
            tracing::warn!(calls = self.calls.len(), "stopped with calls to the provider in flight");
        }
        self.serving().pool.close();
    }

    fn serving(&self) -> Arc<Serving> {
        self.serving.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What [`Runtime::close`] waits for.
    fn track(&self) -> vk_provider::Result<TaskTrackerToken> {
        let token = self.calls.token();
        // Asked after the token is taken, so that `close` either waits for this call or refuses it.
        if self.calls.is_closed() {
            return Err(Error::new(ErrorKind::Unavailable, "the host is stopping"));
        }
        Ok(token)
    }

    async fn begin(&self, function: Function, pod: Option<&PodId>) -> vk_provider::Result<Tracked> {
        loop {
            let token = self.track()?;
            match self.serving().pool.begin(function, pod).await {
                Ok(call) => return Ok(Tracked { call, _token: token }),
                Err(Refused::Error(error)) => return Err(error),
                Err(Refused::Closed) => {}
            }
        }
    }
}

/// A call that [`Runtime::close`] waits for.
struct Tracked {
    call: Call,
    _token: TaskTrackerToken,
}

#[async_trait]
impl Provider for Runtime {
    fn info(&self) -> Info {
        self.serving().info.clone()
    }

    async fn describe(&self) -> vk_provider::Result<Description> {
        let tracked = self.begin(Function::Describe, None).await?;
        calls::describe(tracked.call).await
    }

    async fn create(&self, pod: Pod) -> vk_provider::Result<Observation> {
        let tracked = self.begin(Function::Create, Some(&pod.id)).await?;
        calls::create(tracked.call, &pod).await
    }

    async fn update(&self, pod: Pod, changed: Aspects) -> vk_provider::Result<Observation> {
        let tracked = self.begin(Function::Update, Some(&pod.id)).await?;
        calls::update(tracked.call, &pod, changed).await
    }

    async fn delete(&self, pod: &PodId, grace: Duration) -> vk_provider::Result<Deletion> {
        let tracked = self.begin(Function::Delete, Some(pod)).await?;
        calls::delete(tracked.call, pod, grace).await
    }

    async fn get(&self, pod: &PodId) -> vk_provider::Result<Observation> {
        let tracked = self.begin(Function::Get, Some(pod)).await?;
        calls::get(tracked.call, pod).await
    }

    async fn poll(&self, since: Option<Cursor>) -> vk_provider::Result<Changes> {
        let tracked = self.begin(Function::Poll, None).await?;
        calls::poll(tracked.call, since.as_ref()).await
    }
}

#[async_trait]
impl Logs for Runtime {
    async fn read(&self, query: &LogQuery, after: Option<Cursor>) -> vk_provider::Result<LogChunk> {
        let tracked = self.begin(Function::ReadLogs, Some(&query.pod)).await?;
        calls::read_logs(tracked.call, query, after.as_ref()).await
    }
}

#[async_trait]
impl Sessions for Runtime {
    async fn open(&self, pod: &PodId, request: &SessionRequest) -> vk_provider::Result<Opened> {
        let tracked = self.begin(Function::OpenSession, Some(pod)).await?;
        calls::open_session(tracked.call, pod, request).await
    }

    async fn dial(&self, transport: &Transport) -> vk_provider::Result<Dialled> {
        let _token = self.track()?;
        let serving = self.serving();
        let shared = &serving.pool.shared;
        shared.egress.dial(transport).await.map_err(|failure| fault::not_dialled(failure, shared))
    }

    async fn step(&self, pod: &PodId, state: &[u8], events: Vec<SessionEvent>) -> vk_provider::Result<Progress> {
        let tracked = self.begin(Function::StepSession, Some(pod)).await?;
        calls::step_session(tracked.call, pod, state, &events).await
    }
}

#[async_trait]
impl Stats for Runtime {
    async fn read(&self, pods: &[PodId]) -> vk_provider::Result<Vec<PodUsage>> {
        let tracked = self.begin(Function::ReadStats, None).await?;
        calls::read_stats(tracked.call, pods).await
    }
}

impl Serving {
    /// Everything up to a configured instance.
    async fn start(
        engine: &Engine,
        events: &Arc<Events>,
        generation: Generation,
        number: u64,
    ) -> Result<Self, StartError> {
        let Program { pre, egress, sha256 } = engine.load(&generation).await?;
        let Generation { label, startup, sandbox, .. } = generation.clone();
        let shared = Arc::new(Shared {
            generation: number,
            label: label.clone(),
            info: OnceLock::new(),
            egress,
            cache: Cache::new(sandbox.limits.cache_bytes, sandbox.limits.cache_entries),
            events: events.clone(),
            line_rate: LineRate::new(sandbox.limits.log_lines),
            limits: sandbox.limits.clone(),
        });
        match Pool::start(pre, shared, startup, sandbox, engine.metrics().clone()).await {
            Ok((pool, info)) => Ok(Self { generation, info, pool, sha256 }),
            Err(NotMade::Configure(source)) => Err(StartError::Configure { label, source }),
            Err(NotMade::Read(unreadable)) => {
                Err(StartError::Read { label, path: unreadable.path, reason: unreadable.reason })
            }
        }
    }

    async fn describe(&self) -> Result<Description, StartError> {
        let described = match self.pool.begin(Function::Describe, None).await {
            Ok(call) => calls::describe(call).await,
            Err(Refused::Error(error)) => Err(error),
            Err(Refused::Closed) => return Err(StartError::Closed),
        };
        described.map_err(|source| StartError::Describe { label: self.generation.label.clone(), source })
    }

    fn announce(&self, what: &str) {
        tracing::info!(
            provider = self.info.name,
            version = self.info.version,
            generation = self.pool.shared.generation,
            component = self.generation.label,
            sha256 = self.sha256,
            "{what}"
        );
    }
}
