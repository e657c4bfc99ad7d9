//! What operators see of the kubelet API.

use std::{sync::atomic::AtomicU64, time::SystemTime};

use http::StatusCode;
use prometheus_client::{
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::{Registry, Unit},
};

type Label = [(&'static str, &'static str); 1];
type RequestLabels = [(&'static str, String); 2];
type UpgradeLabels = [(&'static str, String); 3];

/// The counters of one server. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    requests: Family<RequestLabels, Counter>,
    streams: Family<Label, Gauge>,
    upgrades: Family<UpgradeLabels, Counter>,
    authentications: Family<Label, Counter>,
    authorizations: Family<Label, Counter>,
    pub(crate) connections: Gauge,
    certificate_expiry: Gauge<f64, AtomicU64>,
}

/// How a request was authenticated, or was not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Authentication {
    Certificate,
    Token,
    Anonymous,
    Refused,
    Failed,
}

impl Authentication {
    const ALL: [Self; 5] = [Self::Certificate, Self::Token, Self::Anonymous, Self::Refused, Self::Failed];

    fn label(self) -> Label {
        let outcome = match self {
            Self::Certificate => "certificate",
            Self::Token => "token",
            Self::Anonymous => "anonymous",
            Self::Refused => "refused",
            Self::Failed => "failed",
        };
        [("outcome", outcome)]
    }
}

/// Whether a request was let through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Authorization {
    Allowed,
    Denied,
    Failed,
}

impl Authorization {
    const ALL: [Self; 3] = [Self::Allowed, Self::Denied, Self::Failed];

    fn label(self) -> Label {
        let decision = match self {
            Self::Allowed => "allowed",
            Self::Denied => "denied",
            Self::Failed => "failed",
        };
        [("decision", decision)]
    }
}

/// What stays open for as long as people want.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StreamKind {
    Exec,
    Attach,
    PortForward,
    Logs,
}

impl StreamKind {
    const ALL: [Self; 4] = [Self::Exec, Self::Attach, Self::PortForward, Self::Logs];

    fn name(self) -> &'static str {
        match self {
            Self::Exec => "exec",
            Self::Attach => "attach",
            Self::PortForward => "port_forward",
            Self::Logs => "logs",
        }
    }

    fn label(self) -> Label {
        [("kind", self.name())]
    }
}

/// The codes that alerts are made of.
const FAILURES: [StatusCode; 6] = [
    StatusCode::UNAUTHORIZED,
    StatusCode::FORBIDDEN,
    StatusCode::TOO_MANY_REQUESTS,
    StatusCode::INTERNAL_SERVER_ERROR,
    StatusCode::BAD_GATEWAY,
    StatusCode::SERVICE_UNAVAILABLE,
];

/// How kubectl comes, through API servers that pass WebSockets on and through those that do not.
const USUAL: [(StreamKind, &str, &str); 6] = [
    (StreamKind::Exec, "spdy", "v4.channel.k8s.io"),
    (StreamKind::Exec, "websocket", "v5.channel.k8s.io"),
    (StreamKind::Attach, "spdy", "v4.channel.k8s.io"),
    (StreamKind::Attach, "websocket", "v5.channel.k8s.io"),
    (StreamKind::PortForward, "spdy", "portforward.k8s.io"),
    (StreamKind::PortForward, "websocket", "SPDY/3.1+portforward.k8s.io"),
];

fn upgrade_labels(kind: StreamKind, carrier: &str, protocol: &str) -> UpgradeLabels {
    [("kind", kind.name().to_owned()), ("carrier", carrier.to_owned()), ("protocol", protocol.to_owned())]
}

impl Metrics {
    /// Registers the families. Call it once per registry.
    pub fn new(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register(
            "vk_kubelet_requests",
            "Requests to the kubelet API by route and HTTP status",
            metrics.requests.clone(),
        );
        registry.register("vk_kubelet_streams", "Open sessions, and logs that are being read", metrics.streams.clone());
        registry.register(
            "vk_kubelet_upgrades",
            "Connections upgraded for exec, attach and port-forward, by what carries their streams and the protocol on top",
            metrics.upgrades.clone(),
        );
        registry.register(
            "vk_kubelet_connections",
            "Open connections to the kubelet API, sessions included",
            metrics.connections.clone(),
        );
        registry.register(
            "vk_kubelet_authentications",
            "Requests by how they were authenticated: refused without valid credentials, failed when the API server could not be asked",
            metrics.authentications.clone(),
        );
        registry.register(
            "vk_kubelet_authorizations",
            "Authenticated requests by whether they were allowed; failed when the API server could not be asked",
            metrics.authorizations.clone(),
        );
        registry.register_with_unit(
            "vk_kubelet_certificate_expiry_timestamp",
            "When the serving certificate expires, in seconds since 1970; 0 without one",
            Unit::Seconds,
            metrics.certificate_expiry.clone(),
        );
        // A series that is not there until something happens is one that no alert can be based on.
        for route in crate::path::ROUTE_NAMES {
            for code in FAILURES {
                drop(metrics.requests.get_or_create(&request_labels(route, code)));
            }
        }
        for outcome in Authentication::ALL {
            drop(metrics.authentications.get_or_create(&outcome.label()));
        }
        for decision in Authorization::ALL {
            drop(metrics.authorizations.get_or_create(&decision.label()));
        }
        for kind in StreamKind::ALL {
            drop(metrics.streams.get_or_create(&kind.label()));
        }
        for (kind, carrier, protocol) in USUAL {
            drop(metrics.upgrades.get_or_create(&upgrade_labels(kind, carrier, protocol)));
        }
        metrics
    }

    pub(crate) fn answered(&self, route: &'static str, code: StatusCode) {
        self.requests.get_or_create(&request_labels(route, code)).inc();
    }

    pub(crate) fn authenticated(&self, outcome: Authentication) {
        self.authentications.get_or_create(&outcome.label()).inc();
    }

    pub(crate) fn authorized(&self, decision: Authorization) {
        self.authorizations.get_or_create(&decision.label()).inc();
    }

    /// Counts a stream for as long as what it yields lives.
    pub(crate) fn stream(&self, kind: StreamKind) -> Counted {
        Counted::new(&self.streams.get_or_create(&kind.label()))
    }

    /// Counts a connection whose streams a client and this server have agreed upon.
    pub(crate) fn upgraded(&self, kind: StreamKind, carrier: &str, protocol: &str) {
        self.upgrades.get_or_create(&upgrade_labels(kind, carrier, protocol)).inc();
    }

    pub(crate) fn certificate_expires(&self, at: SystemTime) {
        let seconds = at.duration_since(SystemTime::UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64());
        self.certificate_expiry.set(seconds);
    }
}

fn request_labels(route: &'static str, code: StatusCode) -> RequestLabels {
    [("route", route.to_owned()), ("code", code.as_str().to_owned())]
}

/// One more in a gauge, until it is dropped.
#[derive(Debug)]
pub(crate) struct Counted(Gauge);

impl Counted {
    pub(crate) fn new(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}
