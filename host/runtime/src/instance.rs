//! One instance of a provider, and one call on it.

use std::{future::Future, sync::Arc, time::Duration};

use tokio::time::{Instant, timeout_at};
use vk_provider::{Error, Info};
use wasmtime::{Store, UpdateDeadline};

use crate::{
    answers, bindings, convert,
    fault::{self, Cause},
    function::Function,
    generation::{Sandbox, Startup},
    guest::{Guest, GuestPre},
    host::{Host, Unreadable},
    meter::Meter,
    metrics::{InstanceGauge, Metrics, State},
    shared::Shared,
    usage::Usage,
};

/// A configured instance. Dropping it frees everything that its guest has.
pub(crate) struct Instance {
    store: Store<Host>,
    guest: Guest,
    born: Instant,
    calls: u32,
    gauge: InstanceGauge,
}

/// Why an instance cannot be made.
pub(crate) enum NotMade {
    Read(Unreadable),
    Configure(Error),
}

impl Instance {
    /// Instantiates the component and hands it its configuration.
    pub(crate) async fn make(
        pre: &GuestPre,
        shared: &Arc<Shared>,
        startup: &Startup,
        sandbox: &Sandbox,
        metrics: &Metrics,
    ) -> Result<(Self, Info), NotMade> {
        let gauge = metrics.instance();
        let limits = &shared.limits;
        let usage = Usage::new(limits.memory, limits.table_elements, metrics.memory.clone());
        let host = Host::new(shared.clone(), sandbox, usage).map_err(NotMade::Read)?;
        let mut store = Store::new(pre.engine(), host);
        store.limiter(|host| &mut host.usage);
        store.set_hostcall_fuel(limits.message_bytes);
        store.set_max_component_handles(limits.handles);
        store.epoch_deadline_callback(|context| {
            if context.data().meter.check() {
                return Ok(UpdateDeadline::Interrupt);
            }
            Ok(UpdateDeadline::YieldCustom(1, Box::pin(tokio::task::yield_now())))
        });

        let began = Instant::now();
        let bounds = Bounds::begin(&mut store, Function::Configure, None);
        let made = bounds
            .run(async {
                let guest = pre.instantiate(&mut store).await?;
                let answer = guest.node.call_configure(&mut store, convert::startup(startup)).await?;
                Ok((guest, answer))
            })
            .await;
        let outcome = made.map(|(guest, answer)| answer.map(|info| (guest, info)));
        let check = |(guest, info)| Ok((guest, answers::info(info)?));
        match settle(&mut store, Function::Configure, outcome, check, metrics, began) {
            Ok((guest, info)) => Ok((Self { store, guest, born: began, calls: 0, gauge }, info)),
            Err(error) => {
                metrics.retired(error.fault.map_or("configure", |fault| fault.as_str()));
                Err(NotMade::Configure(error))
            }
        }
    }

    pub(crate) fn set_state(&mut self, state: State) {
        self.gauge.set(state);
    }

    /// Why it must not be used again, although its last call succeeded.
    pub(crate) fn spent(&self) -> Option<&'static str> {
        let host = self.store.data();
        if host.usage.refused().is_some() {
            Some("memory")
        } else if self.calls >= host.shared.limits.calls {
            Some("calls")
        } else if self.born.elapsed() >= host.shared.limits.age {
            Some("age")
        } else {
            None
        }
    }

    /// Begins a call: its bounds, and what to call.
    pub(crate) fn begin(&mut self, function: Function, pod: Option<Arc<str>>) -> (Bounds, &Guest, &mut Store<Host>) {
        self.calls += 1;
        (Bounds::begin(&mut self.store, function, pod), &self.guest, &mut self.store)
    }

    /// Ends a call: counts it, and turns its outcome into the answer or an error.
    pub(crate) fn end<A, T>(
        &mut self,
        function: Function,
        outcome: Outcome<A>,
        check: impl FnOnce(A) -> Result<T, answers::Malformed>,
        metrics: &Metrics,
        began: Instant,
    ) -> Result<T, Error> {
        settle(&mut self.store, function, outcome, check, metrics, began)
    }
}

/// What a call yields: the provider's answer or error, unless something else ended the call.
pub(crate) type Outcome<A> = Result<Result<A, bindings::vk::provider::types::Error>, Cause>;

fn settle<A, T>(
    store: &mut Store<Host>,
    function: Function,
    outcome: Outcome<A>,
    check: impl FnOnce(A) -> Result<T, answers::Malformed>,
    metrics: &Metrics,
    began: Instant,
) -> Result<T, Error> {
    let result = match outcome {
        Ok(Ok(answer)) => {
            check(answer).map_err(|reason| fault::explain(&Cause::Malformed(reason), function, store.data()))
        }
        Ok(Err(error)) => Err(answers::error(error)),
        Err(cause) => Err(fault::explain(&cause, function, store.data())),
    };
    store.data_mut().end();
    let outcome = match &result {
        Ok(_) => "ok",
        Err(error) => error.fault.map_or(error.kind.as_str(), |fault| fault.as_str()),
    };
    metrics.call(function, outcome, began.elapsed());
    result
}

/// A point in time from now. One that the clock cannot express is in a year, which no call or instance lives to see.
pub(crate) fn after(duration: Duration) -> Instant {
    const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);
    let now = Instant::now();
    now.checked_add(duration).unwrap_or(now + YEAR)
}

/// The limits of one call in time.
pub(crate) struct Bounds {
    meter: Arc<Meter>,
    deadline: Instant,
}

impl Bounds {
    fn begin(store: &mut Store<Host>, function: Function, pod: Option<Arc<str>>) -> Self {
        store.set_epoch_deadline(1);
        let host = store.data_mut();
        let deadline = after(function.timeout(&host.shared.limits.timeouts));
        host.begin(deadline, pod);
        Self { meter: host.meter.clone(), deadline }
    }

    /// Runs a call within the limits. If the time is over it is dropped, and its instance must be too.
    pub(crate) async fn run<A>(&self, call: impl Future<Output = wasmtime::Result<A>>) -> Result<A, Cause> {
        match timeout_at(self.deadline, self.meter.measure(call)).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(Cause::Engine(error)),
            Err(_) => Err(Cause::Timeout),
        }
    }
}
