//! The statuses of a pod's containers: one per container of the spec, in the spec's order, made from what the provider
//! says and from what the API has.

use k8s_openapi::{
    api::core::v1::{
        Container, ContainerState, ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting,
        ContainerStatus, Pod, ResourceRequirements,
    },
    apimachinery::pkg::apis::meta::v1::Time,
    jiff::Timestamp,
};

use super::{
    Problem, Resize,
    patch::same_resources,
    phase::{RestartPolicy, is_sidecar},
    report::{ContainerReport, Report, State, Terminated},
};

/// The kubelet's reason for a container whose end it did not see.
const STATUS_UNKNOWN: &str = "ContainerStatusUnknown";
/// The exit code of a process killed by SIGKILL, which stands for an end that nobody saw.
const KILLED: i32 = 137;

/// The statuses of a pod's containers, by kind.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Statuses {
    pub(super) init: Vec<ContainerStatus>,
    pub(super) regular: Vec<ContainerStatus>,
    pub(super) ephemeral: Vec<ContainerStatus>,
}

impl Statuses {
    /// Those that the API has.
    pub(super) fn of(pod: &Pod) -> Self {
        let Some(status) = &pod.status else { return Self::default() };
        Self {
            init: status.init_container_statuses.clone().unwrap_or_default(),
            regular: status.container_statuses.clone().unwrap_or_default(),
            ephemeral: status.ephemeral_container_statuses.clone().unwrap_or_default(),
        }
    }

    pub(super) fn all_mut(&mut self) -> impl Iterator<Item = &mut ContainerStatus> {
        self.init.iter_mut().chain(&mut self.regular).chain(&mut self.ephemeral)
    }

    /// Ends what has not ended.
    pub(super) fn terminate(&mut self, reason: &str, message: &str, now: Timestamp) {
        for status in self.all_mut() {
            let state = status.state.take().unwrap_or_default();
            let terminated = state.terminated.unwrap_or_else(|| ContainerStateTerminated {
                container_id: status.container_id.clone(),
                exit_code: KILLED,
                finished_at: Some(Time(now)),
                message: Some(message.to_owned()),
                reason: Some(reason.to_owned()),
                signal: None,
                started_at: state.running.and_then(|running| running.started_at),
            });
            status.state = Some(terminated_state(terminated));
            status.ready &= state_is_success(status);
            status.started = Some(false);
        }
    }

    /// As [`Statuses::terminate`], in a kubelet's words.
    pub(super) fn terminate_unseen(&mut self, now: Timestamp) {
        self.terminate(STATUS_UNKNOWN, "The container could not be located when the pod was terminated", now);
    }
}

/// An init container stays ready after it succeeded; nothing else is ready once it ended.
fn state_is_success(status: &ContainerStatus) -> bool {
    status.state.as_ref().and_then(|state| state.terminated.as_ref()).is_some_and(|ended| ended.exit_code == 0)
}

fn terminated_state(terminated: ContainerStateTerminated) -> ContainerState {
    ContainerState { terminated: Some(terminated), ..ContainerState::default() }
}

fn waiting_state(reason: &str, message: Option<&str>) -> ContainerState {
    let waiting = ContainerStateWaiting { reason: Some(reason.to_owned()), message: message.map(str::to_owned) };
    ContainerState { waiting: Some(waiting), ..ContainerState::default() }
}

/// What there is to know of the containers beside what the API has.
#[derive(Clone, Copy)]
pub(super) enum Source<'a> {
    /// They do not exist. The one to start next waits for this reason, if there is one.
    Absent { held: Option<(&'a str, &'a str)> },
    /// They exist, and nothing new is known.
    Unchanged,
    /// What the provider says.
    Reported(&'a Report),
}

/// Makes the statuses of the containers of one pod.
pub(super) struct Composer<'a> {
    pub(super) pod: &'a Pod,
    pub(super) now: Timestamp,
    pub(super) resize: &'a Resize,
    pub(super) problems: &'a mut Vec<Problem>,
}

/// What distinguishes the three kinds of containers.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Init,
    Regular,
    Ephemeral,
}

/// A container of the spec, of any kind.
struct Declared<'a> {
    name: &'a str,
    image: &'a str,
    resources: Option<&'a ResourceRequirements>,
    kind: Kind,
    sidecar: bool,
    /// Whether a container that ended may run again: the API server refuses it otherwise.
    policy: RestartPolicy,
}

impl Composer<'_> {
    pub(super) fn compose(&mut self, source: Source<'_>) -> Statuses {
        let known = Statuses::of(self.pod);
        let Some(spec) = &self.pod.spec else { return known };
        let init: Vec<_> =
            spec.init_containers.iter().flatten().map(|container| self.declared(container, Kind::Init)).collect();
        let regular: Vec<_> = spec.containers.iter().map(|container| self.declared(container, Kind::Regular)).collect();
        let ephemeral: Vec<_> = spec
            .ephemeral_containers
            .iter()
            .flatten()
            .map(|container| Declared {
                name: &container.name,
                image: container.image.as_deref().unwrap_or_default(),
                resources: None,
                kind: Kind::Ephemeral,
                sidecar: false,
                policy: RestartPolicy::Never,
            })
            .collect();
        let default = if init.is_empty() { "ContainerCreating" } else { "PodInitializing" };
        let report = |pick: fn(&Report) -> &Option<Vec<ContainerReport>>| match source {
            Source::Reported(report) => pick(report).as_deref(),
            _ => None,
        };
        let mut statuses = Statuses {
            init: self.list(&init, &known.init, report(|report| &report.init), source, default),
            regular: self.list(&regular, &known.regular, report(|report| &report.regular), source, default),
            ephemeral: self.list(&ephemeral, &known.ephemeral, report(|report| &report.ephemeral), source, default),
        };
        if let Source::Absent { held: Some((reason, message)) } = source {
            hold(&mut statuses, reason, message);
        }
        statuses
    }

    fn declared<'c>(&self, container: &'c Container, kind: Kind) -> Declared<'c> {
        let sidecar = kind == Kind::Init && is_sidecar(container);
        let rules = container.restart_policy_rules.as_ref().is_some_and(|rules| !rules.is_empty());
        let policy = match container.restart_policy.as_deref() {
            _ if sidecar || rules => RestartPolicy::Always,
            Some("Always") => RestartPolicy::Always,
            Some("OnFailure") => RestartPolicy::OnFailure,
            Some("Never") => RestartPolicy::Never,
            _ => RestartPolicy::of(self.pod),
        };
        let image = container.image.as_deref().unwrap_or_default();
        let resources = container.resources.as_ref();
        Declared { name: &container.name, image, resources, kind, sidecar, policy }
    }

    fn list(
        &mut self,
        declared: &[Declared<'_>],
        known: &[ContainerStatus],
        reports: Option<&[ContainerReport]>,
        source: Source<'_>,
        default: &str,
    ) -> Vec<ContainerStatus> {
        for report in reports.unwrap_or_default() {
            if !declared.iter().any(|container| container.name == report.name) {
                self.problems.push(Problem {
                    field: format!("containerStatuses[{}]", report.name),
                    message: "is not a container of this kind in the pod".to_owned(),
                });
            }
        }
        let absent = matches!(source, Source::Absent { .. });
        declared
            .iter()
            .map(|container| {
                let known = known.iter().find(|status| status.name == container.name);
                let report = reports.and_then(|reports| reports.iter().find(|report| report.name == container.name));
                match (report, known) {
                    (Some(report), _) => self.reported(container, report, known, default),
                    // A list that is there names all that exists of its kind.
                    (None, _) if absent || reports.is_some() => self.missing(container, known, default),
                    (None, Some(known)) => self.unchanged(known, source, default),
                    (None, None) => self.missing(container, None, default),
                }
            })
            .collect()
    }

    /// A container that does not exist: one that ended stays so, one that ran will run again.
    fn missing(&self, container: &Declared<'_>, known: Option<&ContainerStatus>, default: &str) -> ContainerStatus {
        let state = known.and_then(|known| known.state.as_ref());
        if let Some(known) = known.filter(|_| state.is_some_and(|state| state.terminated.is_some())) {
            return known.clone();
        }
        let mut status = ContainerStatus {
            name: container.name.to_owned(),
            image: container.image.to_owned(),
            state: Some(waiting_state(default, None)),
            last_state: known.and_then(|known| known.last_state.clone()),
            restart_count: known.map_or(0, |known| known.restart_count),
            started: Some(false),
            ..ContainerStatus::default()
        };
        if let Some(running) = state.and_then(|state| state.running.as_ref()) {
            status.last_state = Some(terminated_state(ContainerStateTerminated {
                container_id: known.and_then(|known| known.container_id.clone()),
                exit_code: KILLED,
                finished_at: Some(Time(self.now)),
                message: Some(
                    "The container could not be located when the pod was deleted.  The container used to be Running"
                        .to_owned(),
                ),
                reason: Some(STATUS_UNKNOWN.to_owned()),
                signal: None,
                started_at: running.started_at.clone(),
            }));
            if self.pod.metadata.deletion_timestamp.is_none() {
                status.restart_count = status.restart_count.saturating_add(1);
            }
        }
        status
    }

    /// A container that the API knows and the provider says nothing new of.
    fn unchanged(&self, known: &ContainerStatus, source: Source<'_>, default: &str) -> ContainerStatus {
        let mut status = known.clone();
        // While a pod is held back, pod and container carry the same reason, which ends with its creation; unless it is
        // the provider that gives the pod this reason.
        let reported = match source {
            Source::Reported(report) => report.reason.as_deref(),
            Source::Absent { .. } | Source::Unchanged => None,
        };
        let held = self.pod.status.as_ref().and_then(|status| status.reason.as_deref());
        let held = held.filter(|held| reported != Some(*held));
        let waits = known.state.as_ref().and_then(|state| state.waiting.as_ref());
        if held.is_some() && waits.is_some_and(|waiting| waiting.reason.as_deref() == held) {
            status.state = Some(waiting_state(default, None));
        }
        status
    }

    fn reported(
        &mut self,
        container: &Declared<'_>,
        report: &ContainerReport,
        known: Option<&ContainerStatus>,
        default: &str,
    ) -> ContainerStatus {
        let known_state = known.and_then(|known| known.state.as_ref());
        let known_end = known_state.and_then(|state| state.terminated.as_ref());
        let state = match &report.state {
            None => match known_state {
                Some(state) if *state != ContainerState::default() => state.clone(),
                _ => waiting_state(default, None),
            },
            Some(State::Waiting { reason, message }) => {
                waiting_state(reason.as_deref().unwrap_or(default), message.as_deref())
            }
            Some(State::Running { started_at }) => {
                let running = known_state.and_then(|state| state.running.as_ref());
                let running = running.filter(|_| same_instance(known, report));
                let known = running.and_then(|running| running.started_at.clone());
                let started_at = started_at.map(Time).or(known).unwrap_or(Time(self.now));
                let running = ContainerStateRunning { started_at: Some(started_at) };
                ContainerState { running: Some(running), ..ContainerState::default() }
            }
            Some(State::Terminated(end)) => terminated_state(self.ended(end, report, known)),
        };
        let leaves = known_end.filter(|_| state.terminated.is_none());
        if let Some(end) = leaves.filter(|end| !may_run_again(container.policy, end.exit_code)) {
            self.problems.push(Problem {
                field: format!("containerStatuses[{}].state", container.name),
                message: format!(
                    "leaves the terminated state (exit code {}), which the pod's restart policy rules out",
                    end.exit_code
                ),
            });
            return known.cloned().unwrap_or_default();
        }

        let last_state = match (&report.last, leaves) {
            (Some(end), _) => {
                let known =
                    known.and_then(|known| known.last_state.as_ref()).and_then(|state| state.terminated.as_ref());
                Some(terminated_state(self.end(end, known)))
            }
            (None, Some(end)) => Some(terminated_state(end.clone())),
            (None, None) => {
                known.and_then(|known| known.last_state.clone()).filter(|state| *state != ContainerState::default())
            }
        };
        let restart_count = report.restarts.unwrap_or_else(|| {
            let count = known.map_or(0, |known| known.restart_count);
            let replaced = known.is_some_and(|known| known.container_id.is_some()) && !same_instance(known, report);
            count.saturating_add(i32::from(replaced))
        });
        let running = state.running.is_some();
        let started = running && report.started.unwrap_or(true);
        let ready = match container.kind {
            // An init container is ready when it has done its work.
            Kind::Init if !container.sidecar => state.terminated.as_ref().is_some_and(|end| end.exit_code == 0),
            Kind::Ephemeral => false,
            _ => started && report.ready.unwrap_or(true),
        };
        ContainerStatus {
            name: container.name.to_owned(),
            image: report.image.clone().unwrap_or_else(|| container.image.to_owned()),
            image_id: report.image_id.clone().unwrap_or_default(),
            container_id: report.id.clone(),
            state: Some(state),
            last_state,
            ready,
            started: Some(started),
            restart_count,
            resources: report.resources.clone().or_else(|| self.resources(container, known)),
            allocated_resources: report.allocated.clone(),
            ..ContainerStatus::default()
        }
    }

    /// What the container has, where the provider does not say: what it was given last. Ephemeral containers have none of
    /// their own. It is there even if it is empty, or the API server takes no resize.
    fn resources(&self, container: &Declared<'_>, known: Option<&ContainerStatus>) -> Option<ResourceRequirements> {
        if container.kind == Kind::Ephemeral {
            return None;
        }
        let known = known.and_then(|known| known.resources.clone());
        match self.resize {
            Resize::Done => {
                Some(ResourceRequirements { claims: None, ..container.resources.cloned().unwrap_or_default() })
            }
            Resize::Unjudged | Resize::Infeasible(_) => known,
        }
    }

    /// The end of a container's present instance.
    fn ended(
        &self,
        end: &Terminated,
        report: &ContainerReport,
        known: Option<&ContainerStatus>,
    ) -> ContainerStateTerminated {
        let known = known.filter(|known| {
            same_instance(Some(known), report) && report.restarts.is_none_or(|count| count == known.restart_count)
        });
        let state = known.and_then(|known| known.state.as_ref());
        let mut ended = self.end(end, state.and_then(|state| state.terminated.as_ref()));
        let running = state.and_then(|state| state.running.as_ref());
        ended.started_at = ended.started_at.or_else(|| running.and_then(|running| running.started_at.clone()));
        ended.container_id = ended
            .container_id
            .or_else(|| report.id.clone())
            .or_else(|| known.and_then(|known| known.container_id.clone()));
        ended
    }

    /// An end as the API takes it. What the provider leaves out is filled from the same end as the API knows it.
    fn end(&self, end: &Terminated, known: Option<&ContainerStateTerminated>) -> ContainerStateTerminated {
        let known = known.filter(|known| {
            let started = end.started_at.map(Time);
            known.exit_code == end.exit_code
                && (end.id.is_none() || known.container_id == end.id)
                && (started.is_none() || known.started_at == started)
        });
        let reason = if end.exit_code == 0 { "Completed" } else { "Error" };
        ContainerStateTerminated {
            container_id: end.id.clone().or_else(|| known.and_then(|known| known.container_id.clone())),
            exit_code: end.exit_code,
            finished_at: end
                .finished_at
                .map(Time)
                .or_else(|| known.and_then(|known| known.finished_at.clone()))
                .or(Some(Time(self.now))),
            message: end.message.clone(),
            reason: Some(end.reason.clone().unwrap_or_else(|| reason.to_owned())),
            signal: end.signal,
            started_at: end.started_at.map(Time).or_else(|| known.and_then(|known| known.started_at.clone())),
        }
    }

    /// The statuses of a pod whose phase is terminal in the API: only an end that was not seen before is added.
    pub(super) fn complete(&mut self, source: Source<'_>) -> Statuses {
        let mut statuses = Statuses::of(self.pod);
        let composed = match source {
            Source::Reported(_) => self.compose(source),
            _ => Statuses::default(),
        };
        for (known, composed) in [
            (&mut statuses.init, composed.init),
            (&mut statuses.regular, composed.regular),
            (&mut statuses.ephemeral, composed.ephemeral),
        ] {
            for status in composed {
                if status.state.as_ref().is_none_or(|state| state.terminated.is_none()) {
                    continue;
                }
                match known.iter_mut().find(|known| known.name == status.name) {
                    Some(known) if known.state.as_ref().is_some_and(|state| state.terminated.is_some()) => {}
                    Some(known) => *known = status,
                    None => known.push(status),
                }
            }
        }
        statuses
    }
}

/// Whether a container of the pod asks for something else than it has.
pub(crate) fn is_resized(pod: &Pod) -> bool {
    let (Some(spec), Some(status)) = (&pod.spec, &pod.status) else { return false };
    let regular = spec.containers.iter().map(|container| (container, &status.container_statuses));
    let init = spec.init_containers.iter().flatten().filter(|container| is_sidecar(container));
    let init = init.map(|container| (container, &status.init_container_statuses));
    regular.chain(init).any(|(container, statuses)| {
        let known = statuses.iter().flatten().find(|status| status.name == container.name);
        let asked = container.resources.clone().map(|asked| ResourceRequirements { claims: None, ..asked });
        let known = known.and_then(|status| status.resources.as_ref());
        known.is_some_and(|known| !same_resources(Some(known), asked.as_ref()))
    })
}

/// Whether a report speaks of the container instance that the API knows, as far as both have its id.
fn same_instance(known: Option<&ContainerStatus>, report: &ContainerReport) -> bool {
    match (known.and_then(|known| known.container_id.as_ref()), &report.id) {
        (Some(known), Some(id)) => known == id,
        _ => true,
    }
}

fn may_run_again(policy: RestartPolicy, exit_code: i32) -> bool {
    match policy {
        RestartPolicy::Always => true,
        RestartPolicy::OnFailure => exit_code != 0,
        RestartPolicy::Never => false,
    }
}

/// Lets the container that would start next wait for a reason: the first init container that has not succeeded, else
/// every container.
fn hold(statuses: &mut Statuses, reason: &str, message: &str) {
    let waits = |status: &&mut ContainerStatus| status.state.as_ref().is_some_and(|state| state.waiting.is_some());
    let held = waiting_state(reason, Some(message));
    match statuses.init.iter_mut().find(waits) {
        Some(status) => status.state = Some(held),
        None => statuses.regular.iter_mut().filter(waits).for_each(|status| status.state = Some(held.clone())),
    }
}
