//! The status of a pod: what the provider says of it and what the host adds, and the patch that brings the API there.
//!
//! ```text
//!  provider's JSON ──Report::parse──> Observed ─┐
//!  the pod as the API has it ───────────────────┼─compose──> PodStatus ──patch──> strategic-merge patch, or nothing
//!  time, host addresses, provider record ───────┘    └─────> problems, for events
//! ```
//!
//! Nothing here does I/O or reads a clock.

mod conditions;
mod containers;
mod patch;
mod phase;
mod report;

#[cfg(test)]
mod tests;

use std::{net::IpAddr, sync::Arc};

use k8s_openapi::{
    api::core::v1::{HostIP, Pod, PodCondition, PodIP, PodStatus},
    apimachinery::pkg::apis::meta::v1::Time,
    jiff::Timestamp,
};

use containers::{Composer, Source, Statuses};
use phase::{Phase, RestartPolicy};

pub(crate) use conditions::{PROVIDER_CONDITION, is_resize_refused};
pub(crate) use containers::is_resized;
pub(crate) use patch::patch;
pub(crate) use report::{Report, is_name, is_qualified_name};

/// What is known of a pod beside what the API has.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Observed {
    /// Not created yet, and nothing stands in the way.
    Waiting,
    /// Not created yet because of something that may go away: a missing reference, no capacity. The pod is Pending with
    /// this reason, and so is the container that would start next.
    Held { reason: String, message: String },
    /// It will never be created: Failed with this reason.
    Refused { reason: String, message: String },
    /// The provider has it and says nothing about its state: what the API has stays.
    Present,
    /// The provider has it in this state.
    Reported(Arc<Report>),
    /// It ran, and the provider lost it: Failed with restartPolicy Never (reason `NotFound`), else as [`Observed::Waiting`]
    /// until it is created again.
    Lost,
}

/// What the host remembers with a created pod.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ProviderRecord {
    /// The provider's own id of the pod.
    pub(crate) handle: Option<String>,
    /// A hash of what was last sent to the provider.
    pub(crate) stamp: Option<String>,
}

/// What became of the latest change of the containers' resources.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum Resize {
    /// That is not known yet: what the API has stays.
    #[default]
    Unjudged,
    /// The containers have what the pod asks for.
    Done,
    /// The provider refused it, with this message.
    Infeasible(String),
}

/// Why the host itself ends a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) reason: &'static str,
    pub(crate) message: &'static str,
}

/// What a composition needs beside the pod and the observation.
#[derive(Debug, Clone)]
pub(crate) struct Facts<'a> {
    /// The time of the composition.
    pub(crate) now: Timestamp,
    /// The node's addresses; at most the first of each family is used.
    pub(crate) host_ips: &'a [IpAddr],
    /// `None` leaves the pod's condition as it is.
    pub(crate) provider: Option<&'a ProviderRecord>,
    pub(crate) resize: &'a Resize,
}

/// A value of the provider that was dropped, for an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    /// Where it stood: `podIPs[1]`, `containerStatuses[web].state`.
    pub(crate) field: String,
    /// What is wrong with it.
    pub(crate) message: String,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.field, self.message)
    }
}

/// The status that a pod should have.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Composed {
    /// What the host owns of it; conditions of others are not in it.
    pub(crate) status: PodStatus,
    /// What was dropped.
    pub(crate) problems: Vec<Problem>,
}

/// The status that `pod` should have.
///
/// What the API has decides much of it: a terminal phase stays, a running pod does not become Pending, times stay where
/// nothing changed. So a composition on top of its own applied [`patch`] changes nothing.
pub(crate) fn compose(pod: &Pod, observed: &Observed, facts: &Facts<'_>) -> Composed {
    let draft = Draft::new(pod, observed, facts);
    if known_phase(pod).is_some_and(Phase::is_terminal) { draft.terminal() } else { draft.alive(observed) }
}

/// The last status of a pod of which nothing runs any more: Succeeded or Failed, with every container terminated. With
/// a verdict it is Failed for that reason, however its containers ended.
pub(crate) fn last(pod: &Pod, observed: &Observed, facts: &Facts<'_>, verdict: Option<Verdict>) -> Composed {
    // What matters here is how the containers ended; that the pod waited or was lost says nothing of it.
    let observed = match observed {
        Observed::Reported(_) => observed,
        _ => &Observed::Present,
    };
    let draft = Draft::new(pod, observed, facts);
    if known_phase(pod).is_some_and(Phase::is_terminal) { draft.ended() } else { draft.ending(verdict) }
}

fn known_phase(pod: &Pod) -> Option<Phase> {
    pod.status.as_ref().and_then(phase_of)
}

fn phase_of(status: &PodStatus) -> Option<Phase> {
    status.phase.as_deref().and_then(Phase::parse)
}

/// Whether a pod with this status is over.
pub(crate) fn is_terminal(status: &PodStatus) -> bool {
    phase_of(status).is_some_and(Phase::is_terminal)
}

/// A status in the making.
struct Draft<'a> {
    pod: &'a Pod,
    known: PodStatus,
    facts: &'a Facts<'a>,
    /// In whole seconds, as the API keeps times: the same status is then the same whenever it is composed.
    now: Timestamp,
    source: Source<'a>,
    problems: Vec<Problem>,
}

impl<'a> Draft<'a> {
    fn new(pod: &'a Pod, observed: &'a Observed, facts: &'a Facts<'a>) -> Self {
        let (source, problems) = match observed {
            Observed::Waiting | Observed::Lost => (Source::Absent { held: None }, Vec::new()),
            Observed::Held { reason, message } | Observed::Refused { reason, message } => {
                (Source::Absent { held: Some((reason, message)) }, Vec::new())
            }
            Observed::Present => (Source::Unchanged, Vec::new()),
            Observed::Reported(report) if !report.readable => (Source::Unchanged, report.problems.clone()),
            Observed::Reported(report) => (Source::Reported(report), report.problems.clone()),
        };
        let now = Timestamp::from_second(facts.now.as_second()).unwrap_or(facts.now);
        Self { pod, known: pod.status.clone().unwrap_or_default(), facts, now, source, problems }
    }

    fn statuses(&mut self) -> Statuses {
        let source = self.source;
        self.composer().compose(source)
    }

    fn completed(&mut self) -> Statuses {
        let source = self.source;
        self.composer().complete(source)
    }

    fn composer(&mut self) -> Composer<'_> {
        Composer { pod: self.pod, now: self.now, resize: self.facts.resize, problems: &mut self.problems }
    }

    /// The status of a pod whose phase may change.
    fn alive(mut self, observed: &Observed) -> Composed {
        let mut statuses = self.statuses();
        let derived = phase::derive(self.pod, &statuses.init, &statuses.regular, false);
        let never = RestartPolicy::of(self.pod) == RestartPolicy::Never;
        let (phase, reason, message) = match (observed, self.source) {
            (Observed::Refused { reason, message }, _) => (Phase::Failed, Some(reason.clone()), Some(message.clone())),
            (Observed::Held { reason, message }, _) => (derived, Some(reason.clone()), Some(message.clone())),
            (Observed::Lost, _) if never => {
                self.source = Source::Unchanged;
                statuses = self.statuses();
                let ended = phase::derive(self.pod, &statuses.init, &statuses.regular, false);
                if ended.is_terminal() {
                    (ended, None, None)
                } else {
                    statuses.terminate("NotFound", "Container was not found and was likely deleted", self.now);
                    let message = "The pod status was not found and may have been deleted from the provider";
                    (Phase::Failed, Some("NotFound".to_owned()), Some(message.to_owned()))
                }
            }
            (_, Source::Reported(report)) => {
                (report.phase.unwrap_or(derived), report.reason.clone(), report.message.clone())
            }
            (_, Source::Unchanged) => {
                let phase = match known_phase(self.pod) {
                    Some(Phase::Pending) | None => derived,
                    Some(phase) => phase,
                };
                let (reason, message) = self.kept_reason();
                (phase, reason, message)
            }
            (_, Source::Absent { .. }) => (derived, None, None),
        };
        // A kubelet may not take back that a pod ran: its controllers count on it.
        let phase = match phase {
            Phase::Pending if known_phase(self.pod) == Some(Phase::Running) => Phase::Running,
            phase => phase,
        };
        self.finish(
            statuses,
            phase,
            reason.map(|text| report::cut(text, 256)),
            message.map(|text| report::cut(text, 4096)),
        )
    }

    /// The status of a pod whose phase in the API is terminal: only details of its containers are added.
    fn terminal(mut self) -> Composed {
        let statuses = self.completed();
        self.finish_known(statuses)
    }

    /// As [`Draft::terminal`], and every container has ended.
    fn ended(mut self) -> Composed {
        let mut statuses = self.completed();
        statuses.terminate_unseen(self.now);
        self.finish_known(statuses)
    }

    /// The last status of a pod whose phase is not terminal yet.
    fn ending(mut self, verdict: Option<Verdict>) -> Composed {
        let mut statuses = self.statuses();
        let phase = match phase::derive(self.pod, &statuses.init, &statuses.regular, true) {
            Phase::Succeeded if verdict.is_none() => Phase::Succeeded,
            _ => Phase::Failed,
        };
        statuses.terminate_unseen(self.now);
        let (reason, message) = match (verdict, self.source) {
            (Some(Verdict { reason, message }), _) => (Some(reason.to_owned()), Some(message.to_owned())),
            (None, Source::Reported(report)) => (report.reason.clone(), report.message.clone()),
            (None, _) => self.kept_reason(),
        };
        self.finish(statuses, phase, reason, message)
    }

    /// Reason and message of the API, unless they are those of a pod that was held back and is not any more.
    fn kept_reason(&self) -> (Option<String>, Option<String>) {
        let reason = self.known.reason.as_deref();
        let containers = [&self.known.init_container_statuses, &self.known.container_statuses];
        let waiting =
            containers.into_iter().flatten().flatten().filter_map(|status| status.state.as_ref()?.waiting.as_ref());
        let held = reason.is_some() && waiting.into_iter().any(|waiting| waiting.reason.as_deref() == reason);
        if held { (None, None) } else { (self.known.reason.clone(), self.known.message.clone()) }
    }

    fn finish_known(self, statuses: Statuses) -> Composed {
        let phase = known_phase(self.pod).unwrap_or(Phase::Failed);
        let (reason, message) = (self.known.reason.clone(), self.known.message.clone());
        self.finish(statuses, phase, reason, message)
    }

    /// Adds what the host knows by itself.
    fn finish(
        mut self,
        mut statuses: Statuses,
        phase: Phase,
        reason: Option<String>,
        message: Option<String>,
    ) -> Composed {
        if phase.is_terminal() {
            let init = self.pod.spec.as_ref().and_then(|spec| spec.init_containers.as_deref()).unwrap_or_default();
            let sidecar = |name: &str| init.iter().any(|init| init.name == name && phase::is_sidecar(init));
            statuses.init.iter_mut().filter(|status| sidecar(&status.name)).for_each(|status| status.ready = false);
            statuses.regular.iter_mut().for_each(|status| status.ready = false);
        }
        let ips = self.pod_ips(phase);
        let (host_ip, host_ips) = self.host_ips();
        let some = |list: Vec<_>| (!list.is_empty()).then_some(list);
        let mut status = PodStatus {
            phase: Some(phase.as_str().to_owned()),
            reason,
            message,
            start_time: Some(self.start_time()),
            observed_generation: self.pod.metadata.generation,
            host_ip,
            host_ips,
            pod_ip: ips.first().map(|ip| ip.ip.clone()),
            pod_ips: (!ips.is_empty()).then_some(ips),
            init_container_statuses: some(statuses.init),
            container_statuses: some(statuses.regular),
            ephemeral_container_statuses: some(statuses.ephemeral),
            ..PodStatus::default()
        };
        status.conditions = Some(self.conditions(&status, phase));
        Composed { status, problems: std::mem::take(&mut self.problems) }
    }

    fn start_time(&self) -> Time {
        if let Some(time) = &self.known.start_time {
            return time.clone();
        }
        let hint = match self.source {
            Source::Reported(report) => report.start_time,
            _ => None,
        };
        let created = self.pod.metadata.creation_timestamp.as_ref().map_or(Timestamp::MIN, |time| time.0);
        Time(hint.filter(|time| (created..=self.now).contains(time)).unwrap_or(self.now))
    }

    fn pod_ips(&self, phase: Phase) -> Vec<PodIP> {
        let known = || match (&self.known.pod_ips, &self.known.pod_ip) {
            (Some(ips), _) if !ips.is_empty() => ips.clone(),
            (_, Some(ip)) => vec![PodIP { ip: ip.clone() }],
            _ => Vec::new(),
        };
        match self.source {
            // A pod that ended keeps the address that it had, so that its traces can be told apart.
            Source::Reported(report) if report.ips.is_empty() && phase.is_terminal() => known(),
            Source::Reported(report) if !known_phase(self.pod).is_some_and(Phase::is_terminal) => {
                report.ips.iter().map(|ip| PodIP { ip: ip.to_string() }).collect()
            }
            Source::Absent { .. } if !phase.is_terminal() => Vec::new(),
            _ => known(),
        }
    }

    fn host_ips(&self) -> (Option<String>, Option<Vec<HostIP>>) {
        let mut ips: Vec<IpAddr> = Vec::new();
        for ip in self.facts.host_ips {
            if !ips.iter().any(|other| other.is_ipv4() == ip.is_ipv4()) {
                ips.push(*ip);
            }
        }
        match ips.first() {
            Some(first) => {
                (Some(first.to_string()), Some(ips.iter().map(|ip| HostIP { ip: ip.to_string() }).collect()))
            }
            None => (self.known.host_ip.clone(), self.known.host_ips.clone()),
        }
    }

    fn conditions(&self, status: &PodStatus, phase: Phase) -> Vec<PodCondition> {
        let reported = match self.source {
            Source::Reported(report) => report.conditions.as_slice(),
            _ => &[],
        };
        let mut conditions = Vec::new();
        if let Some(spec) = &self.pod.spec {
            let others: Vec<&PodCondition> = reported.iter().chain(self.known.conditions.iter().flatten()).collect();
            conditions.extend(conditions::of_containers(spec, status, phase, &others));
        }
        conditions.extend_from_slice(reported);
        conditions.extend(self.facts.provider.map(conditions::of_provider));
        conditions.extend(conditions::of_resize(self.facts.resize));
        conditions::date(&mut conditions, self.pod, self.now);
        if *self.facts.resize == Resize::Unjudged {
            conditions.extend(conditions::find_condition(&self.known, conditions::RESIZE_PENDING).cloned());
        }
        conditions
    }
}
