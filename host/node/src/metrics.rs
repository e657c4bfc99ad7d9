//! What the Kubernetes side counts.

use std::{sync::atomic::AtomicU64, time::SystemTime};

use kube::runtime::watcher;
use prometheus_client::{
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::{Registry, Unit},
};

type Label = [(&'static str, &'static str); 1];

/// The counters of one node. Cheap to clone.
#[derive(Clone, Default)]
pub struct Metrics {
    phases: Family<Label, Gauge>,
    steps: Gauge,
    writes_waiting: Gauge,
    watch_events: Family<Label, Counter>,
    watch_lists: Family<Label, Counter>,
    watch_failures: Family<Label, Counter>,
    references: Family<Label, Gauge>,
    lease_renewals: Family<Label, Counter>,
    lease_renewed: Gauge<f64, AtomicU64>,
    ready: Gauge,
    pub(crate) events_dropped: Counter,
}

/// What is watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Watched {
    Pods,
    Services,
    ConfigMaps,
    Secrets,
}

impl Watched {
    const ALL: [Self; 4] = [Self::Pods, Self::Services, Self::ConfigMaps, Self::Secrets];

    fn label(self) -> Label {
        let resource = match self {
            Self::Pods => "pods",
            Self::Services => "services",
            Self::ConfigMaps => "configmaps",
            Self::Secrets => "secrets",
        };
        [("resource", resource)]
    }
}

impl Metrics {
    /// Registers the counters.
    pub fn new(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register("vk_node_ready", "Whether the node is Ready: 1 or 0", metrics.ready.clone());
        registry.register("vk_node_pods", "Pods of the node by phase", metrics.phases.clone());
        registry.register("vk_node_pod_steps", "Pods that something is being done for", metrics.steps.clone());
        registry.register(
            "vk_node_pod_writes_waiting",
            "Writes of pods that wait because others are on their way",
            metrics.writes_waiting.clone(),
        );
        registry.register("vk_node_watch_events", "Changes that watches brought", metrics.watch_events.clone());
        registry.register(
            "vk_node_watch_lists",
            "Complete listings that watches began with",
            metrics.watch_lists.clone(),
        );
        registry.register(
            "vk_node_watch_failures",
            "Watches and their listings that ended with an error; each is made again",
            metrics.watch_failures.clone(),
        );
        registry.register(
            "vk_node_references_watched",
            "Objects that pods refer to, with an open watch",
            metrics.references.clone(),
        );
        registry.register("vk_node_lease_renewals", "Attempts to renew the lease", metrics.lease_renewals.clone());
        registry.register_with_unit(
            "vk_node_lease_renewed_timestamp",
            "When the lease was renewed last, since 1970; 0 before",
            Unit::Seconds,
            metrics.lease_renewed.clone(),
        );
        registry.register(
            "vk_node_events_dropped",
            "Events that were not written because too many waited",
            metrics.events_dropped.clone(),
        );
        metrics.begin_at_zero();
        metrics
    }

    /// A series that is not there until something happens is one that no alert can be based on.
    fn begin_at_zero(&self) {
        for phase in ["Pending", "Running", "Succeeded", "Failed"] {
            drop(self.phases.get_or_create(&[("phase", phase)]));
        }
        for watched in Watched::ALL {
            for counters in [&self.watch_events, &self.watch_lists, &self.watch_failures] {
                drop(counters.get_or_create(&watched.label()));
            }
        }
        for watched in [Watched::ConfigMaps, Watched::Secrets] {
            drop(self.references.get_or_create(&watched.label()));
        }
        for outcome in ["ok", "failed"] {
            drop(self.lease_renewals.get_or_create(&[("outcome", outcome)]));
        }
    }

    /// A pod's share in the gauge of phases, which ends when it is dropped.
    pub(crate) fn phase(&self) -> PhaseGauge {
        PhaseGauge { phases: self.phases.clone(), phase: None }
    }

    /// Something is done for a pod, until what this returns is dropped.
    pub(crate) fn step(&self) -> Share {
        Share::of(&self.steps)
    }

    /// A write of a pod waits, until what this returns is dropped.
    pub(crate) fn write_waits(&self) -> Share {
        Share::of(&self.writes_waiting)
    }

    /// An object that pods refer to is watched, until what this returns is dropped.
    pub(crate) fn reference(&self, watched: Watched) -> Share {
        Share::of(&self.references.get_or_create(&watched.label()))
    }

    /// A watch brought a change.
    pub(crate) fn changed(&self, watched: Watched) {
        self.watch_events.get_or_create(&watched.label()).inc();
    }

    /// A listing is complete.
    pub(crate) fn listed(&self, watched: Watched) {
        self.watch_lists.get_or_create(&watched.label()).inc();
    }

    /// A watch or its listing ended with an error.
    pub(crate) fn watch_failed(&self, watched: Watched) {
        self.watch_failures.get_or_create(&watched.label()).inc();
    }

    /// What a watch of kube's brought.
    pub(crate) fn watch<K>(&self, watched: Watched, event: &watcher::Result<watcher::Event<K>>) {
        match event {
            Ok(watcher::Event::Apply(_) | watcher::Event::Delete(_)) => self.changed(watched),
            Ok(watcher::Event::InitDone) => self.listed(watched),
            Ok(watcher::Event::Init | watcher::Event::InitApply(_)) => {}
            Err(_) => self.watch_failed(watched),
        }
    }

    /// An attempt to renew the lease ended.
    pub(crate) fn lease(&self, renewed: bool) {
        let outcome = if renewed { "ok" } else { "failed" };
        self.lease_renewals.get_or_create(&[("outcome", outcome)]).inc();
        if renewed && let Ok(since) = SystemTime::UNIX_EPOCH.elapsed() {
            self.lease_renewed.set(since.as_secs_f64());
        }
    }

    /// Whether the node is Ready.
    pub(crate) fn ready(&self, ready: bool) {
        self.ready.set(ready.into());
    }
}

/// One of those that a gauge counts, for as long as this exists.
#[derive(Debug)]
pub(crate) struct Share(Gauge);

impl Share {
    fn of(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// One pod's share in the gauge of phases.
pub(crate) struct PhaseGauge {
    phases: Family<Label, Gauge>,
    phase: Option<(&'static str, Share)>,
}

impl PhaseGauge {
    /// The pod is in this phase.
    pub(crate) fn set(&mut self, phase: Option<&str>) {
        let phase = match phase {
            Some("Running") => "Running",
            Some("Succeeded") => "Succeeded",
            Some("Failed") => "Failed",
            _ => "Pending",
        };
        if self.phase.as_ref().is_none_or(|(own, _)| *own != phase) {
            self.phase = Some((phase, Share::of(&self.phases.get_or_create(&[("phase", phase)]))));
        }
    }
}
