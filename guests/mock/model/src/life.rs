//! The life of a pod as a function of time.
//!
//! Init containers take no time. Sidecars run as long as the pod does. All application containers do the same: they run,
//! exit, wait and run again, as the annotations and the restart policy have it.

use serde::{Deserialize, Serialize};

/// How a pod is to live. Durations are in milliseconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    pub(crate) restart_policy: RestartPolicy,
    pub(crate) containers: Vec<Container>,
    pub(crate) ip: String,
    pub(crate) start_after: u64,
    /// `None`: for ever.
    pub(crate) run_for: Option<u64>,
    pub(crate) exit_code: i32,
    /// How many runs end with the exit code; the one after them goes well. `None`: all of them.
    pub(crate) restarts: Option<u32>,
    pub(crate) restart_after: u64,
    pub(crate) fail: Option<String>,
    pub(crate) stop_after: u64,
}

/// What happened to a pod, beside its plan. Times are in milliseconds since 1970.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Facts {
    /// When it was created.
    pub created: u64,
    /// When it will have stopped, once its deletion was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stops: Option<u64>,
    /// How it was ended by hand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished: Option<Finish>,
}

/// An end by hand: all containers end at that time, and none starts again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Finish {
    /// When.
    pub at: u64,
    /// With 0 the pod succeeds, else it fails.
    pub exit_code: i32,
    /// The reason of containers and pod, in CamelCase.
    pub reason: Option<String>,
}

/// A container of the plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Container {
    pub(crate) name: String,
    pub(crate) image: String,
    pub(crate) kind: Kind,
}

/// Which of its parts a container is to the pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Runs to its end before the pod's containers start.
    Init,
    /// An init container that keeps running.
    Sidecar,
    /// One of the pod's containers.
    App,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum RestartPolicy {
    #[default]
    Always,
    OnFailure,
    Never,
}

/// The state of a pod at a time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PodState {
    /// Where it is in its life.
    pub phase: Phase,
    /// Why the pod as a whole ended, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Its address, once it has started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip: Option<String>,
    /// Its containers, init containers first, in the manifest's order.
    pub containers: Vec<ContainerState>,
}

/// As in Kubernetes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "as in Kubernetes")]
pub enum Phase {
    Pending,
    Running,
    Succeeded,
    Failed,
}

/// The state of a container at a time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ContainerState {
    /// Its name.
    pub name: String,
    /// Its image.
    pub image: String,
    /// Which part of the pod it is.
    pub kind: Kind,
    /// How often it was started again.
    pub restarts: u32,
    /// What it does.
    pub run: Run,
    /// How it ended before it was started again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<Exit>,
}

/// What a container does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Run {
    /// It has not started, for this reason.
    Waiting(String),
    /// It runs since.
    Running(u64),
    /// It has ended.
    Exited(Exit),
}

/// How a container ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// Its exit code.
    pub code: i32,
    /// One word in CamelCase.
    pub reason: String,
    /// When it had started.
    pub started: u64,
    /// When it ended.
    pub finished: u64,
}

impl Exit {
    fn new(code: i32, reason: Option<&str>, started: u64, finished: u64) -> Self {
        let reason = reason.unwrap_or(if code == 0 { "Completed" } else { "Error" }).to_owned();
        Self { code, reason, started, finished }
    }
}

/// Where the application containers are.
struct Moment {
    restarts: u32,
    run: Run,
    last: Option<Exit>,
    /// Whether they have ended for good.
    over: bool,
    /// When that changes by itself.
    until: Option<u64>,
}

impl Plan {
    /// The pod's state at a time.
    pub fn state(&self, facts: &Facts, now: u64) -> PodState {
        let started = self.started(facts);
        let finished = facts.finished.as_ref().filter(|finish| finish.at <= now);
        if now < started && finished.is_none() {
            return self.pending();
        }
        let moment = self.moment(facts, now);
        let end = match &moment.run {
            Run::Exited(exit) if moment.over => Some(exit),
            _ => None,
        };
        let containers = self.containers.iter().map(|container| {
            let (restarts, run, last) = match container.kind {
                Kind::App => (moment.restarts, moment.run.clone(), moment.last.clone()),
                Kind::Init => (0, Run::Exited(Exit::new(0, None, started, started)), None),
                Kind::Sidecar => match end {
                    Some(exit) => (0, Run::Exited(Exit::new(0, None, started, exit.finished)), None),
                    None => (0, Run::Running(started), None),
                },
            };
            ContainerState {
                name: container.name.clone(),
                image: container.image.clone(),
                kind: container.kind,
                restarts,
                run,
                last,
            }
        });
        let containers = containers.collect();
        let phase = match end {
            None => Phase::Running,
            Some(_) if self.fail.is_some() && finished.is_none() => Phase::Failed,
            Some(exit) if exit.code == 0 => Phase::Succeeded,
            Some(_) => Phase::Failed,
        };
        let reason = match finished {
            Some(finish) => finish.reason.clone(),
            None => end.and(self.fail.clone()),
        };
        PodState { phase, reason, ip: Some(self.ip.clone()), containers }
    }

    /// When the state changes next after a time, by itself.
    pub fn next_change(&self, facts: &Facts, after: u64) -> Option<u64> {
        let started = self.started(facts);
        let own = if after < started { Some(started) } else { self.moment(facts, after).until };
        let finish = facts.finished.as_ref().map(|finish| finish.at);
        [own, finish, facts.stops].into_iter().flatten().filter(|at| *at > after).min()
    }

    /// When the pod will have stopped if its deletion is asked for with so much grace, at a time. A stop that is under way is
    /// brought forward, never put off.
    pub fn stop(&self, facts: &Facts, grace: u64, now: u64) -> u64 {
        let wanted = now.saturating_add(self.stop_after.min(grace));
        facts.stops.map_or(wanted, |under_way| under_way.min(wanted))
    }

    fn started(&self, facts: &Facts) -> u64 {
        facts.created.saturating_add(self.start_after)
    }

    fn pending(&self) -> PodState {
        let initializing = self.containers.iter().any(|container| container.kind != Kind::App);
        let reason = if initializing { "PodInitializing" } else { "ContainerCreating" };
        let containers = self.containers.iter().map(|container| ContainerState {
            name: container.name.clone(),
            image: container.image.clone(),
            kind: container.kind,
            restarts: 0,
            run: Run::Waiting(reason.to_owned()),
            last: None,
        });
        PodState { phase: Phase::Pending, reason: None, ip: None, containers: containers.collect() }
    }

    fn moment(&self, facts: &Facts, now: u64) -> Moment {
        let moment = self.moment_by_plan(self.started(facts), now);
        let Some(finish) = facts.finished.as_ref().filter(|finish| finish.at <= now) else { return moment };
        let before = self.moment_by_plan(self.started(facts), finish.at);
        let started = match before.run {
            Run::Running(since) => since.min(finish.at),
            _ => finish.at,
        };
        let exit = Exit::new(finish.exit_code, finish.reason.as_deref(), started, finish.at);
        Moment { restarts: before.restarts, run: Run::Exited(exit), last: before.last, over: true, until: None }
    }

    fn moment_by_plan(&self, started: u64, now: u64) -> Moment {
        let Some(run_for) = self.run_for else {
            return Moment { restarts: 0, run: Run::Running(started), last: None, over: false, until: None };
        };
        let period = run_for.saturating_add(self.restart_after).max(1);
        let elapsed = now.saturating_sub(started);
        let last_run = self.last_run();
        let index = u32::try_from(elapsed / period).unwrap_or(u32::MAX).min(last_run.unwrap_or(u32::MAX));
        let since = started.saturating_add(u64::from(index).saturating_mul(period));
        let ends = since.saturating_add(run_for);
        let last = index.checked_sub(1).map(|before| self.exit(before, since - period, since - period + run_for));

        let is_last = last_run == Some(index);
        if is_last && self.restart_policy == RestartPolicy::Always && self.fail.is_none() {
            Moment { restarts: index, run: Run::Running(since), last, over: false, until: None }
        } else if now < ends {
            Moment { restarts: index, run: Run::Running(since), last, over: false, until: Some(ends) }
        } else if is_last {
            let exit = self.exit(index, since, ends);
            Moment { restarts: index, run: Run::Exited(exit), last, over: true, until: None }
        } else {
            let exit = self.exit(index, since, ends);
            let waiting = Run::Waiting("CrashLoopBackOff".to_owned());
            let until = since.saturating_add(period);
            Moment { restarts: index, run: waiting, last: Some(exit), over: false, until: Some(until) }
        }
    }

    /// The number of the run after which no other comes; `None`: there is always another.
    fn last_run(&self) -> Option<u32> {
        match (self.restart_policy, self.restarts) {
            _ if self.fail.is_some() => Some(0),
            (RestartPolicy::Never, _) => Some(0),
            (_, Some(restarts)) => Some(restarts),
            (RestartPolicy::OnFailure, None) if self.exit_code == 0 => Some(0),
            (_, None) => None,
        }
    }

    fn exit(&self, index: u32, started: u64, finished: u64) -> Exit {
        let code = if self.restarts.is_some_and(|restarts| index >= restarts) { 0 } else { self.exit_code };
        Exit::new(code, self.fail.as_deref(), started, finished)
    }
}
