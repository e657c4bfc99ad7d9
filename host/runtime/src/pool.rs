//! The instances of one generation: one call at a time on each, the warmest first.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::{
    sync::Notify,
    task::AbortHandle,
    time::{Instant, sleep_until, timeout},
};
use vk_provider::{Error, ErrorKind, Info, PodId};
use wasmtime::Store;

use crate::{
    answers::Malformed,
    fault,
    function::Function,
    generation::{Sandbox, Startup},
    guest::{Guest, GuestPre},
    host::Host,
    instance::{Bounds, Instance, NotMade, Outcome, after},
    lanes::{Lanes, Place},
    metrics::{Metrics, State},
    shared::Shared,
    text, world,
};

pub(crate) struct Pool {
    pre: GuestPre,
    pub(crate) shared: Arc<Shared>,
    startup: Startup,
    sandbox: Sandbox,
    metrics: Metrics,
    /// Where calls wait for an instance; closed with the pool.
    lanes: Lanes,
    /// The longest unused first.
    idle: Mutex<Vec<Idle>>,
    /// There is one to drop some day.
    idle_grew: Arc<Notify>,
    reaper: Mutex<Option<AbortHandle>>,
}

struct Idle {
    instance: Instance,
    expires: Instant,
}

/// Why a call does not begin.
pub(crate) enum Refused {
    /// The pool is closed: another generation serves.
    Closed,
    Error(Error),
}

impl Pool {
    /// Makes a pool with one configured instance.
    pub(crate) async fn start(
        pre: GuestPre,
        shared: Arc<Shared>,
        startup: Startup,
        sandbox: Sandbox,
        metrics: Metrics,
    ) -> Result<(Arc<Self>, Info), NotMade> {
        let (instance, info) = Instance::make(&pre, &shared, &startup, &sandbox, &metrics).await?;
        // Log lines and refusals carry the name from here on.
        let _ = shared.info.set(info.clone());
        let pool = Arc::new(Self {
            lanes: Lanes::new(shared.limits.instances),
            pre,
            shared,
            startup,
            sandbox,
            metrics,
            idle: Mutex::default(),
            idle_grew: Arc::new(Notify::new()),
            reaper: Mutex::default(),
        });
        pool.give_back(instance);
        let reaper = tokio::spawn(drop_idle(Arc::downgrade(&pool), pool.idle_grew.clone()));
        *lock(&pool.reaper) = Some(reaper.abort_handle());
        Ok((pool, info))
    }

    /// Waits for an instance, and begins a call on it.
    pub(crate) async fn begin(self: &Arc<Self>, function: Function, pod: Option<&PodId>) -> Result<Call, Refused> {
        if let Some(interface) = function.interface().filter(|interface| !self.pre.exports(interface)) {
            return Err(Refused::Error(self.unsupported(interface)));
        }
        let queue = self.shared.limits.timeouts.queue;
        let waiting = self.metrics.waits();
        let place = match timeout(queue, self.lanes.acquire(function)).await {
            Ok(Ok(place)) => place,
            Ok(Err(_)) => return Err(Refused::Closed),
            Err(_) => return Err(Refused::Error(self.busy(function))),
        };
        drop(waiting);
        let instance = match self.take_idle() {
            Some(instance) => instance,
            None => self.make().await.map_err(Refused::Error)?,
        };
        Ok(Call {
            instance,
            pod: pod.map(|pod| format!("{}/{}", pod.namespace, pod.name).into()),
            record: Record { pool: self.clone(), function, began: Instant::now(), ended: false },
            place,
        })
    }

    /// Begins no further calls; instances are dropped as they come back.
    pub(crate) fn close(&self) {
        self.lanes.close();
        let idle = std::mem::take(&mut *lock(&self.idle));
        for _ in &idle {
            self.metrics.retired("drained");
        }
    }

    async fn make(&self) -> Result<Instance, Error> {
        let made = Instance::make(&self.pre, &self.shared, &self.startup, &self.sandbox, &self.metrics).await;
        match made {
            Ok((instance, _)) => Ok(instance),
            Err(NotMade::Configure(error)) => Err(fault::no_instance(error)),
            Err(NotMade::Read(unreadable)) => Err(Error::new(
                ErrorKind::Internal,
                format!(
                    "sandbox.read grants {}, which cannot be opened any more: {}",
                    unreadable.path.display(),
                    unreadable.reason
                ),
            )),
        }
    }

    fn unsupported(&self, interface: &str) -> Error {
        let (provider, contract) = (self.shared.name_and_version(), world::interface(interface));
        Error::new(ErrorKind::Unsupported, format!("the provider {provider} does not implement {contract}"))
    }

    fn busy(&self, function: Function) -> Error {
        Error::new(
            ErrorKind::Unavailable,
            format!(
                "all instances of the provider that {} may use ({}) were busy for {} (sandbox.instances)",
                function.as_str(),
                self.lanes.instances(function),
                text::duration(self.shared.limits.timeouts.queue)
            ),
        )
    }

    fn take_idle(&self) -> Option<Instance> {
        loop {
            let Idle { mut instance, .. } = lock(&self.idle).pop()?;
            match instance.spent() {
                Some(reason) => self.metrics.retired(reason),
                None => {
                    instance.set_state(State::Busy);
                    return Some(instance);
                }
            }
        }
    }

    fn give_back(&self, mut instance: Instance) {
        let reason = if self.lanes.is_closed() { Some("drained") } else { instance.spent() };
        if let Some(reason) = reason {
            self.metrics.retired(reason);
            return;
        }
        instance.set_state(State::Idle);
        let expires = after(self.shared.limits.idle);
        let mut idle = lock(&self.idle);
        idle.push(Idle { instance, expires });
        if idle.len() == 2 {
            self.idle_grew.notify_one();
        }
    }

    /// Drops what has been idle for too long, save the warmest; says when to look again.
    fn drop_expired(&self) -> Option<Instant> {
        let now = Instant::now();
        let mut idle = lock(&self.idle);
        let droppable = idle.len().saturating_sub(1);
        let expired = idle.iter().take(droppable).take_while(|idle| idle.expires <= now).count();
        let dropped: Vec<_> = idle.drain(..expired).collect();
        let next = if idle.len() > 1 { idle.first().map(|idle| idle.expires) } else { None };
        drop(idle);
        for _ in dropped {
            self.metrics.retired("idle");
        }
        next
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        if let Some(reaper) = lock(&self.reaper).take() {
            reaper.abort();
        }
        tracing::debug!(
            provider = self.shared.name(),
            generation = self.shared.generation,
            "no call is left on this generation"
        );
    }
}

async fn drop_idle(pool: Weak<Pool>, idle_grew: Arc<Notify>) {
    loop {
        let Some(next) = pool.upgrade().map(|pool| pool.drop_expired()) else { return };
        match next {
            Some(at) => sleep_until(at).await,
            None => idle_grew.notified().await,
        }
    }
}

/// A call on an instance that nobody else uses. Dropped before its [`end`](Call::end), it takes the instance with it:
/// what an abandoned guest was doing cannot be undone.
pub(crate) struct Call {
    instance: Instance,
    /// `namespace/name`, for log lines.
    pod: Option<Arc<str>>,
    record: Record,
    place: Place,
}

impl Call {
    /// The call's limits, and what to call.
    pub(crate) fn parts(&mut self) -> (Bounds, &Guest, &mut Store<Host>) {
        self.instance.begin(self.record.function, self.pod.take())
    }

    /// Ends the call: counts it, checks its answer, and keeps the instance if it is sound.
    pub(crate) fn end<A, T>(
        self,
        outcome: Outcome<A>,
        check: impl FnOnce(A) -> Result<T, Malformed>,
    ) -> Result<T, Error> {
        let Self { mut instance, mut record, place, .. } = self;
        record.ended = true;
        let pool = &record.pool;
        let result = instance.end(record.function, outcome, check, &pool.metrics, record.began);
        match result.as_ref().err().and_then(|error| error.fault) {
            Some(fault) => {
                pool.metrics.retired(fault.as_str());
                drop(instance);
            }
            None => pool.give_back(instance),
        }
        // The instance is back before the next caller looks for one.
        drop(place);
        result
    }
}

/// Counts a call that is dropped halfway.
struct Record {
    pool: Arc<Pool>,
    function: Function,
    began: Instant,
    ended: bool,
}

impl Drop for Record {
    fn drop(&mut self) {
        if !self.ended {
            self.pool.metrics.call(self.function, "cancelled", self.began.elapsed());
            self.pool.metrics.retired("cancelled");
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
