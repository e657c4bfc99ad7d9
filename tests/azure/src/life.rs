//! A group's life, from `PUT` to the end of its containers.
//!
//! ```text
//!   PUT ─> Pending ─schedule─> Creating: images, volumes, init containers one by one ─start─> Succeeded, Running
//!                                  └─ what is missing: Waiting, events, after `give_up` Failed        │ containers
//!                                                                                 Succeeded, Failed <─┘ restart policy
//! ```
//!
//! Delays are of the simulator's clock, so that tests can pass over them. What a container does is its process's doing.

mod images;
mod run;
mod volumes;

use std::{path::PathBuf, sync::Arc, time::Duration};

use futures::future::join_all;
use jiff::Timestamp;
use tokio_util::task::AbortOnDropHandle;

use crate::{
    Shared,
    body::{Body, RestartPolicy},
    clock::after,
    containers::{self, Container},
    group::{ContainerLife, GroupState, Held, Life, Provisioning, Sample, State, note},
    world::{Key, World},
};

/// How long a process has to end once it is asked to.
const GRACE: Duration = Duration::from_secs(10);
/// The longest wait before something is tried again.
const LONGEST_BACK_OFF: Duration = Duration::from_secs(5 * 60);
/// How often usage is looked at, and how many looks are kept: an hour's.
const SAMPLING: Duration = Duration::from_secs(15);
const SAMPLES: usize = 240;

/// Lets a group that was just put live.
pub(crate) fn begin(shared: &Arc<Shared>, world: &mut World, key: &Key) {
    let Some(held) = world.groups.get_mut(key) else { return };
    let living = Living::of(shared, key, held);
    held.living = Some(AbortOnDropHandle::new(tokio::spawn(async move { living.live().await })));
}

/// Ends a group's containers, as they are ended that are no more wanted.
pub(crate) fn end(held: &mut Held) {
    held.living = None;
    for (_, container) in held.runs.drain() {
        tokio::spawn(async move { container.terminate(GRACE).await });
    }
}

/// Ends a group's containers; the group stays.
pub(crate) fn stop(shared: &Arc<Shared>, world: &mut World, key: &Key) {
    let Some(held) = world.groups.get_mut(key) else { return };
    let living = Living::of(shared, key, held);
    held.life.state = GroupState::Stopped;
    let ending: Vec<Container> = held.runs.values().cloned().collect();
    held.living = Some(AbortOnDropHandle::new(tokio::spawn(async move { living.stop(ending).await })));
}

/// Lets a group's containers begin again.
pub(crate) fn again(shared: &Arc<Shared>, world: &mut World, key: &Key) {
    let Some(held) = world.groups.get_mut(key) else { return };
    let living = Living::of(shared, key, held);
    held.life.provisioning = Provisioning::Pending;
    held.life.state = GroupState::Pending;
    let ending: Vec<Container> = held.runs.values().cloned().collect();
    held.living = Some(AbortOnDropHandle::new(tokio::spawn(async move {
        living.stop(ending).await;
        living.live().await;
    })));
}

/// Moves a group to another host. Says whether it is there.
pub(crate) fn relocate(shared: &Arc<Shared>, world: &mut World, key: &Key) -> bool {
    let Some(held) = world.groups.get_mut(key) else { return false };
    held.life.address = None;
    held.life.running_since = None;
    for container in &mut held.life.containers {
        container.restarts += 1;
    }
    again(shared, world, key);
    true
}

/// What lives a group's life.
struct Living {
    shared: Arc<Shared>,
    key: Key,
    incarnation: u64,
    body: Arc<Body>,
    /// Of this group alone.
    folder: PathBuf,
}

impl Living {
    fn of(shared: &Arc<Shared>, key: &Key, held: &Held) -> Self {
        Self {
            shared: shared.clone(),
            key: key.clone(),
            incarnation: held.incarnation,
            body: held.body.clone(),
            folder: shared.folder.join(format!("{}-{:016x}", key.name, held.incarnation)),
        }
    }

    /// Changes the group, if it is still the same.
    fn change<T>(&self, change: impl FnOnce(&mut Held) -> T) -> Option<T> {
        let mut world = self.shared.world();
        let held = world.groups.get_mut(&self.key).filter(|held| held.incarnation == self.incarnation);
        let changed = held.map(change);
        drop(world);
        self.shared.changed();
        changed
    }

    fn change_life(&self, change: impl FnOnce(&mut Life)) {
        self.change(|held| change(&mut held.life));
    }

    fn now(&self) -> Timestamp {
        self.shared.clock.now()
    }

    async fn pass(&self, from: Timestamp, delay: Duration) -> Timestamp {
        let then = after(from, delay);
        self.shared.clock.reach(then).await;
        then
    }

    async fn live(&self) {
        let delays = self.shared.options.delays;
        let creating = self.pass(self.now(), delays.schedule).await;
        self.change_life(|life| {
            life.provisioning = Provisioning::Creating;
            for container in life.init_containers.iter_mut().chain(&mut life.containers) {
                if let Some(ended @ State::Terminated { .. }) = container.current.take() {
                    container.previous = Some(ended);
                }
                container.current = Some(State::Waiting { detail: "" });
            }
        });
        let pulled = self.pull(creating).await;
        let volumes = self.volumes(pulled).await;
        let is_never = self.body.properties.restart_policy == RestartPolicy::Never;
        for (index, container) in self.body.properties.init_containers.iter().enumerate() {
            let exit_code = self.run(run::Which::Init(index), &run::Made::of_init(container, &volumes)).await;
            if exit_code != 0 && is_never {
                self.finish(GroupState::Failed);
                return;
            }
        }
        self.pass(self.now(), delays.start).await;
        self.run_all(&volumes).await;
    }

    /// Runs all containers until they have ended for good.
    async fn run_all(&self, volumes: &volumes::Volumes) {
        let runs = self.body.properties.containers.iter().enumerate().map(|(index, container)| async move {
            self.run(run::Which::Main(index), &run::Made::of(container, volumes)).await
        });
        let sampling = async {
            loop {
                self.pass(self.now(), SAMPLING).await;
                self.change(|held| sample(held, self.now()));
            }
        };
        tokio::select! {
            exit_codes = join_all(runs) => {
                let is_good = exit_codes.iter().all(|code| *code == 0);
                self.finish(if is_good { GroupState::Succeeded } else { GroupState::Failed });
            }
            () = sampling => {}
        }
    }

    /// A container has started: the group has what it was made for.
    fn running(&self, at: Timestamp) {
        let mut world = self.shared.world();
        let is_public = self.body.properties.ip_address.as_ref().is_some_and(|address| address.kind == "Public");
        let address = world.new_address(is_public);
        drop(world);
        self.change_life(|life| {
            life.provisioning = Provisioning::Succeeded;
            life.state = GroupState::Running;
            life.address.get_or_insert(address);
            life.running_since.get_or_insert(at);
        });
    }

    fn finish(&self, state: GroupState) {
        self.change_life(|life| {
            life.provisioning = Provisioning::Succeeded;
            life.state = state;
        });
    }

    async fn stop(&self, containers: Vec<Container>) {
        join_all(containers.iter().map(|container| container.terminate(GRACE))).await;
        self.change(|held| {
            let Held { life, runs, .. } = held;
            for container in life.init_containers.iter_mut().chain(&mut life.containers) {
                let exit = runs.get(&container.name).and_then(Container::exit);
                if let (Some(State::Running { since }), Some(exit)) = (&container.current, exit) {
                    let ended = State::Terminated { since: Some(*since), at: exit.at, exit_code: exit.code };
                    container.current = Some(ended);
                }
            }
        });
    }

    /// Tries again and again in vain, and says so, for ever; in the end the group is `Failed`.
    async fn try_in_vain(&self, since: Timestamp, tried: impl Fn(&mut Life, Timestamp)) {
        let delays = self.shared.options.delays;
        let (mut at, mut wait) = (since, delays.back_off);
        let given_up = after(since, delays.give_up);
        loop {
            self.change_life(|life| {
                tried(life, at);
                if at >= given_up {
                    life.provisioning = Provisioning::Failed;
                }
            });
            let next = after(at, wait);
            at = if at < given_up { next.min(given_up) } else { next };
            self.shared.clock.reach(at).await;
            wait = (wait * 2).min(LONGEST_BACK_OFF);
        }
    }
}

/// Looks at what containers have used so far.
pub(crate) fn sample(held: &mut Held, at: Timestamp) {
    let usage = held.runs.iter().map(|(name, container)| (name.clone(), container.usage())).collect();
    if held.samples.len() == SAMPLES {
        held.samples.pop_front();
    }
    held.samples.push_back(Sample { at, usage });
}

/// What time it is in a container.
fn clock(shared: &Arc<Shared>) -> containers::Clock {
    let shared = Arc::downgrade(shared);
    Arc::new(move || shared.upgrade().map_or_else(Timestamp::now, |shared| shared.clock.now()))
}

fn note_on(container: &mut ContainerLife, at: Timestamp, name: &'static str, message: String) {
    let is_warning = matches!(name, "Failed" | "BackOff");
    note(&mut container.events, at, name, is_warning, message);
}
