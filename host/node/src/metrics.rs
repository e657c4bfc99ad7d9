//! What the Kubernetes side counts.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

/// The counters of one node. Cheap to clone.
#[derive(Clone, Default)]
pub struct Metrics {
    phases: Family<Phase, Gauge>,
    pub(crate) status_patches: Counter,
    pub(crate) relists: Counter,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Phase {
    phase: &'static str,
}

impl Metrics {
    /// Registers the counters.
    pub fn new(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register("vk_node_pods", "Pods of the node by phase", metrics.phases.clone());
        registry.register("vk_node_status_patches", "Pod statuses written", metrics.status_patches.clone());
        registry.register("vk_node_pod_relists", "Complete listings of the node's pods", metrics.relists.clone());
        metrics
    }

    /// A pod's share in the gauge of phases, which ends when it is dropped.
    pub(crate) fn phase(&self) -> PhaseGauge {
        PhaseGauge { phases: self.phases.clone(), phase: None }
    }
}

/// One pod's share in the gauge of phases.
pub(crate) struct PhaseGauge {
    phases: Family<Phase, Gauge>,
    phase: Option<Phase>,
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
        if self.phase.as_ref().is_some_and(|own| own.phase == phase) {
            return;
        }
        self.leave();
        let phase = Phase { phase };
        self.phases.get_or_create(&phase).inc();
        self.phase = Some(phase);
    }

    fn leave(&mut self) {
        if let Some(phase) = self.phase.take() {
            self.phases.get_or_create(&phase).dec();
        }
    }
}

impl Drop for PhaseGauge {
    fn drop(&mut self) {
        self.leave();
    }
}
