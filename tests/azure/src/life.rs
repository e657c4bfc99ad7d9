//! A group's life, from `PUT` to the end of its containers.

use std::{sync::Arc, time::Duration};

use tokio_util::task::AbortOnDropHandle;

use crate::{
    Shared,
    clock::after,
    group::{GroupState, Held, Provisioning, State},
    world::{Key, World},
};

/// Lets a group live, from its beginning or again.
pub(crate) fn begin(shared: &Arc<Shared>, world: &mut World, key: &Key) {
    let Some(held) = world.groups.get_mut(key) else { return };
    let life = Living { shared: shared.clone(), key: key.clone(), incarnation: held.incarnation };
    held.living = Some(AbortOnDropHandle::new(tokio::spawn(life.live())));
}

/// Ends a group's containers; the group stays.
pub(crate) fn stop(shared: &Shared, world: &mut World, key: &Key) {
    let now = shared.clock.now();
    let Some(held) = world.groups.get_mut(key) else { return };
    held.living = None;
    held.life.state = GroupState::Stopped;
    for container in &mut held.life.containers {
        if let Some(State::Running { since }) = container.current {
            container.current = Some(State::Terminated { since: Some(since), at: now, exit_code: 0 });
        }
    }
}

struct Living {
    shared: Arc<Shared>,
    key: Key,
    incarnation: u64,
}

impl Living {
    fn change(&self, change: impl FnOnce(&mut Held)) {
        if let Some(held) =
            self.shared.world().groups.get_mut(&self.key).filter(|held| held.incarnation == self.incarnation)
        {
            change(held);
        }
        self.shared.changed();
    }

    async fn live(self) {
        let delays = self.shared.options.delays;
        let mut at = after(self.shared.clock.now(), delays.schedule);
        self.shared.clock.reach(at).await;
        self.change(|held| held.life.provisioning = Provisioning::Creating);
        at = after(at, delays.pull + delays.start);
        self.shared.clock.reach(at).await;
        let address = self.shared.world().new_address(true);
        self.change(|held| {
            held.life.provisioning = Provisioning::Succeeded;
            held.life.state = GroupState::Running;
            held.life.address.get_or_insert(address);
            held.life.running_since = Some(at);
            for container in &mut held.life.containers {
                container.current = Some(State::Running { since: at });
            }
        });
        let _never: Duration = std::future::pending().await;
    }
}
