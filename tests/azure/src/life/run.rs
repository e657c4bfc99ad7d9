//! One container, run as often as its group's restart policy wants.

use std::{num::NonZeroU32, time::Duration};

use jiff::Timestamp;

use super::{GRACE, LONGEST_BACK_OFF, Living, clock, note_on, volumes::Volumes};
use crate::{
    body::{self, RestartPolicy, Variable},
    clock::left,
    containers::{self, Container, Exit, Mount, Spec},
    group::{ContainerLife, Life, State},
};

/// How long a container has to run for its next end to be taken for the first one.
const SETTLED: Duration = Duration::from_secs(10 * 60);
/// The exit code of what could not be started at all.
const NOT_STARTED: i32 = 128;

/// Which container of a group.
#[derive(Debug, Clone, Copy)]
pub(super) enum Which {
    Init(usize),
    Main(usize),
}

impl Which {
    fn of(self, life: &mut Life) -> Option<&mut ContainerLife> {
        match self {
            Self::Init(index) => life.init_containers.get_mut(index),
            Self::Main(index) => life.containers.get_mut(index),
        }
    }
}

/// What a container is made of.
pub(super) struct Made {
    name: String,
    image: String,
    command: Vec<String>,
    environment: Vec<(String, String)>,
    mounts: Vec<Mount>,
    liveness: Option<containers::Probe>,
}

impl Made {
    pub(super) fn of(container: &body::Container, volumes: &Volumes) -> Self {
        let properties = &container.properties;
        Self {
            name: container.name.clone(),
            image: properties.image.clone(),
            command: properties.command.clone(),
            environment: environment(&properties.environment_variables),
            mounts: volumes.mounts(&properties.volume_mounts),
            liveness: properties.liveness_probe.as_ref().and_then(probe),
        }
    }

    pub(super) fn of_init(container: &body::InitContainer, volumes: &Volumes) -> Self {
        let properties = &container.properties;
        Self {
            name: container.name.clone(),
            image: properties.image.clone(),
            command: properties.command.clone(),
            environment: environment(&properties.environment_variables),
            mounts: volumes.mounts(&properties.volume_mounts),
            liveness: None,
        }
    }
}

fn environment(variables: &[Variable]) -> Vec<(String, String)> {
    let value =
        |variable: &Variable| variable.value.clone().or_else(|| variable.secure_value.clone()).unwrap_or_default();
    variables.iter().map(|variable| (variable.name.clone(), value(variable))).collect()
}

/// A probe with the service's defaults.
fn probe(probe: &body::Probe) -> Option<containers::Probe> {
    let action = match (&probe.exec, &probe.http_get) {
        (Some(exec), _) => containers::Action::Exec(exec.command.clone()),
        (None, Some(get)) => containers::Action::HttpGet {
            port: get.port.and_then(|port| u16::try_from(port).ok())?,
            path: get.path.clone().unwrap_or_else(|| "/".to_owned()),
        },
        (None, None) => return None,
    };
    let seconds = |value: Option<i64>, default: u64| {
        Duration::from_secs(value.and_then(|value| u64::try_from(value).ok()).unwrap_or(default))
    };
    let threshold = probe.failure_threshold.and_then(|value| u32::try_from(value).ok()).and_then(NonZeroU32::new);
    Some(containers::Probe {
        action,
        initial_delay: seconds(probe.initial_delay_seconds, 0),
        period: seconds(probe.period_seconds.filter(|period| *period > 0), 10),
        timeout: seconds(probe.timeout_seconds.filter(|timeout| *timeout > 0), 1),
        failure_threshold: threshold.unwrap_or(const { NonZeroU32::new(3).unwrap() }),
    })
}

impl Living {
    /// Runs a container until it has ended for good. Returns its exit code.
    pub(super) async fn run(&self, which: Which, made: &Made) -> i32 {
        let first_wait = self.shared.options.delays.back_off;
        let mut wait = first_wait;
        loop {
            let started = self.now();
            let exit = self.run_once(which, made).await;
            let ended = State::Terminated { since: Some(started), at: exit.at, exit_code: exit.code };
            self.change_container(which, |container| container.current = Some(ended.clone()));
            match self.body.properties.restart_policy {
                RestartPolicy::Never => return exit.code,
                RestartPolicy::OnFailure if exit.code == 0 => return 0,
                // An init container that has done its work is not started again.
                RestartPolicy::Always if exit.code == 0 && matches!(which, Which::Init(_)) => return 0,
                RestartPolicy::Always | RestartPolicy::OnFailure => {}
            }
            if left(started, exit.at) >= SETTLED {
                wait = first_wait;
            }
            self.change_container(which, |container| {
                container.previous = Some(ended);
                container.current = Some(State::Waiting { detail: "CrashLoopBackOff" });
                note_on(container, exit.at, "BackOff", "Back-off restarting failed container".to_owned());
            });
            self.pass(exit.at, wait).await;
            wait = (wait * 2).min(LONGEST_BACK_OFF);
            self.change_container(which, |container| container.restarts += 1);
        }
    }

    async fn run_once(&self, which: Which, made: &Made) -> Exit {
        let container = match self.start(made).await {
            Ok(container) => container,
            Err(problem) => {
                let at = self.now();
                self.change_container(which, |container| {
                    note_on(container, at, "Failed", format!("Error: failed to start container: {problem}"));
                });
                return Exit { code: NOT_STARTED, at };
            }
        };
        let at = self.now();
        self.change(|held| held.runs.insert(made.name.clone(), container.clone()));
        self.started(which, at);
        match &made.liveness {
            Some(liveness) if liveness.fails(&container).await => {
                let at = self.now();
                self.change_container(which, |container| {
                    let message = "Container failed its liveness probe, will be restarted".to_owned();
                    note_on(container, at, "Killing", message);
                });
                container.terminate(GRACE).await
            }
            _ => container.exited().await,
        }
    }

    fn started(&self, which: Which, at: Timestamp) {
        self.change_container(which, |container| {
            container.current = Some(State::Running { since: at });
            note_on(container, at, "Started", "Started container".to_owned());
        });
        if matches!(which, Which::Main(_)) {
            self.running(at);
        }
    }

    async fn start(&self, made: &Made) -> anyhow::Result<Container> {
        let folder = self.folder.join("containers").join(&made.name);
        tokio::fs::create_dir_all(&folder).await?;
        let container = Container::start(Spec {
            folder,
            image: made.image.clone(),
            command: made.command.clone(),
            environment: made.environment.clone(),
            mounts: made.mounts.clone(),
            clock: clock(&self.shared),
        });
        Ok(container.await?)
    }

    fn change_container(&self, which: Which, change: impl FnOnce(&mut ContainerLife)) {
        self.change_life(|life| {
            if let Some(container) = which.of(life) {
                change(container);
            }
        });
    }
}
