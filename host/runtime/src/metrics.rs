//! What Prometheus sees of the providers' calls and instances.

use std::time::Duration;

use prometheus_client::{
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::{Registry, Unit},
};

use vk_provider::{ErrorKind, Fault};

use crate::function::Function;

type Labels<const N: usize> = [(&'static str, &'static str); N];

/// The families of the runtime. Clones share their values.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    calls: Family<Labels<2>, Counter>,
    seconds: Family<Labels<1>, Histogram, fn() -> Histogram>,
    waiting: Gauge,
    instances: Family<Labels<1>, Gauge>,
    retired: Family<Labels<1>, Counter>,
    replacements: Family<Labels<1>, Counter>,
    /// Linear memory of all instances, in bytes.
    pub(crate) memory: Gauge,
    /// What compiling took, or loading from the cache.
    pub(crate) compile: Histogram,
}

/// What an instance is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Idle,
    Busy,
}

impl State {
    fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Busy => "busy",
        }
    }
}

impl Metrics {
    pub(crate) fn new(registry: &mut Registry) -> Self {
        // From 50 µs, what a small Rust component needs, to 100 s, beyond every time limit.
        let call = || Histogram::new(exponential_buckets(50e-6, 4.0, 12));
        let metrics = Self {
            calls: Family::default(),
            seconds: Family::new_with_constructor(call),
            waiting: Gauge::default(),
            instances: Family::default(),
            retired: Family::default(),
            replacements: Family::default(),
            memory: Gauge::default(),
            compile: Histogram::new(exponential_buckets(0.01, 2.0, 13)),
        };
        registry.register("vk_provider_calls", "Calls to the provider", metrics.calls.clone());
        registry.register_with_unit(
            "vk_provider_call_duration",
            "Duration of calls to the provider, without waiting for an instance",
            Unit::Seconds,
            metrics.seconds.clone(),
        );
        registry.register("vk_provider_calls_waiting", "Calls that wait for an instance", metrics.waiting.clone());
        registry.register("vk_provider_instances", "Instances of the provider", metrics.instances.clone());
        registry.register("vk_provider_instances_retired", "Instances that were dropped", metrics.retired.clone());
        registry.register_with_unit(
            "vk_provider_memory",
            "Linear memory of all instances",
            Unit::Bytes,
            metrics.memory.clone(),
        );
        registry.register_with_unit(
            "vk_provider_compile_duration",
            "Duration of compiling a component, or of loading it from the cache",
            Unit::Seconds,
            metrics.compile.clone(),
        );
        registry.register(
            "vk_provider_replacements",
            "Attempts to replace the component or its configuration",
            metrics.replacements.clone(),
        );
        metrics.begin_at_zero();
        metrics
    }

    /// A series that is not there until something happens is one that no alert can be based on.
    fn begin_at_zero(&self) {
        for function in Function::ALL {
            let function = ("function", function.as_str());
            for outcome in outcomes() {
                drop(self.calls.get_or_create(&[function, ("outcome", outcome)]));
            }
            drop(self.seconds.get_or_create(&[function]));
        }
        for state in [State::Idle, State::Busy] {
            drop(self.instances.get_or_create(&[("state", state.as_str())]));
        }
        for reason in
            ["idle", "calls", "age", "drained", "cancelled", "configure", "trap", "memory", "cpu", "timeout", "answer"]
        {
            drop(self.retired.get_or_create(&[("reason", reason)]));
        }
        for outcome in ["replaced", "unchanged", "failed"] {
            drop(self.replacements.get_or_create(&[("outcome", outcome)]));
        }
    }

    /// A call waits for an instance, until what this returns is dropped.
    pub(crate) fn waits(&self) -> Waiting {
        self.waiting.inc();
        Waiting(self.waiting.clone())
    }

    pub(crate) fn call(&self, function: Function, outcome: &'static str, took: Duration) {
        let function = ("function", function.as_str());
        self.calls.get_or_create(&[function, ("outcome", outcome)]).inc();
        self.seconds.get_or_create(&[function]).observe(took.as_secs_f64());
    }

    pub(crate) fn instance(&self) -> InstanceGauge {
        self.instances.get_or_create(&[("state", State::Busy.as_str())]).inc();
        InstanceGauge { instances: self.instances.clone(), state: State::Busy }
    }

    pub(crate) fn retired(&self, reason: &'static str) {
        self.retired.get_or_create(&[("reason", reason)]).inc();
    }

    pub(crate) fn replacement(&self, outcome: &'static str) {
        self.replacements.get_or_create(&[("outcome", outcome)]).inc();
    }
}

/// How calls can end.
fn outcomes() -> impl Iterator<Item = &'static str> {
    let faults = [Fault::Trap, Fault::Memory, Fault::Cpu, Fault::Timeout, Fault::Answer];
    let failed = ErrorKind::ALL.into_iter().map(ErrorKind::as_str).chain(faults.into_iter().map(Fault::as_str));
    ["ok", "cancelled"].into_iter().chain(failed)
}

/// Counts one call that waits, for as long as this exists.
#[derive(Debug)]
pub(crate) struct Waiting(Gauge);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Counts one instance for as long as it exists.
#[derive(Debug)]
pub(crate) struct InstanceGauge {
    instances: Family<Labels<1>, Gauge>,
    state: State,
}

impl InstanceGauge {
    pub(crate) fn set(&mut self, state: State) {
        if self.state != state {
            self.instances.get_or_create(&[("state", self.state.as_str())]).dec();
            self.instances.get_or_create(&[("state", state.as_str())]).inc();
            self.state = state;
        }
    }
}

impl Drop for InstanceGauge {
    fn drop(&mut self) {
        self.instances.get_or_create(&[("state", self.state.as_str())]).dec();
    }
}
