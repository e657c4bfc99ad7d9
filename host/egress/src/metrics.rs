//! What operators see of outgoing requests.

use prometheus_client::{
    metrics::{
        counter::Counter,
        family::Family,
        histogram::{Histogram, exponential_buckets},
    },
    registry::{Registry, Unit},
};
use tokio::time::Instant;

use crate::Failure;

/// `vk_egress_requests_total{decision}` and `vk_egress_request_duration_seconds`. Cheap to clone; every [`Egress`](crate::Egress) of a
/// process counts into the same.
#[derive(Debug, Clone)]
pub struct Metrics {
    requests: Family<Labels, Counter>,
    seconds: Histogram,
}

type Labels = [(&'static str, &'static str); 1];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Decision {
    Allowed,
    Denied,
    Failed,
}

impl Decision {
    fn labels(self) -> Labels {
        let value = match self {
            Self::Allowed => "allowed",
            Self::Denied => "denied",
            Self::Failed => "failed",
        };
        [("decision", value)]
    }
}

impl Metrics {
    /// Registers the families. Call it once per registry.
    pub fn new(registry: &mut Registry) -> Self {
        // 5 ms to 80 s: from a socket on this machine to beyond the default limit of a request.
        let metrics =
            Self { requests: Family::default(), seconds: Histogram::new(exponential_buckets(0.005, 2.0, 15)) };
        registry.register(
            "vk_egress_requests",
            "Requests of providers, and connections for their sessions: allowed and answered, denied by the sandbox, or allowed \
             and failed",
            metrics.requests.clone(),
        );
        registry.register_with_unit(
            "vk_egress_request_duration",
            "Time from a provider's request to the last byte of its response, or to where a session's connection stands, \
             denied ones left out",
            Unit::Seconds,
            metrics.seconds.clone(),
        );
        for decision in [Decision::Allowed, Decision::Denied, Decision::Failed] {
            // A series that is not there until something happens is one that no alert can be based on.
            drop(metrics.requests.get_or_create(&decision.labels()));
        }
        metrics
    }

    /// Starts to measure one request.
    pub(crate) fn start(&self) -> Record {
        Record { metrics: self.clone(), began: Instant::now(), decision: Decision::Failed }
    }
}

/// One request, counted once, when this is dropped: as failed unless something else was said.
#[derive(Debug)]
pub(crate) struct Record {
    metrics: Metrics,
    began: Instant,
    decision: Decision,
}

impl Record {
    /// The response has begun. Whoever then reads no further still was answered.
    pub(crate) fn answered(&mut self) {
        self.decision = Decision::Allowed;
    }

    /// There is no response, or not all of it.
    pub(crate) fn failed(&mut self, failure: &Failure) {
        self.decision = if matches!(failure, Failure::Denied(_)) { Decision::Denied } else { Decision::Failed };
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        self.metrics.requests.get_or_create(&self.decision.labels()).inc();
        if self.decision != Decision::Denied {
            self.metrics.seconds.observe(self.began.elapsed().as_secs_f64());
        }
    }
}
