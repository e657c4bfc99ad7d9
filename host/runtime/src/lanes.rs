//! Which calls wait for an instance in which queue.

use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::function::Function;

/// Instances that calls on pods leave free.
const WATCHING: usize = 2;

/// The queues for the instances of a pool. Calls on pods can come in thousands; `describe` and `poll`, by which the node
/// tells whether the provider is there and how its pods are, never wait behind them.
#[derive(Debug)]
pub(crate) struct Lanes {
    pods: Lane,
    watching: Lane,
}

/// One queue: first come, first served.
#[derive(Debug, Clone)]
pub(crate) struct Lane {
    /// One for each instance that may be in use.
    pub(crate) permits: Arc<Semaphore>,
    pub(crate) instances: usize,
}

impl Lanes {
    /// Divides so many instances. A single one serves all calls in one queue.
    pub(crate) fn new(instances: usize) -> Self {
        let instances = instances.clamp(1, Semaphore::MAX_PERMITS);
        let lane = |instances| Lane { permits: Arc::new(Semaphore::new(instances)), instances };
        if instances == 1 {
            let only = lane(1);
            return Self { pods: only.clone(), watching: only };
        }
        let pods = instances.saturating_sub(WATCHING).max(1);
        Self { pods: lane(pods), watching: lane(WATCHING.min(instances - pods)) }
    }

    pub(crate) fn of(&self, function: Function) -> &Lane {
        match function {
            Function::Describe | Function::Poll => &self.watching,
            Function::Configure | Function::Create | Function::Update | Function::Delete | Function::Get => &self.pods,
        }
    }

    /// Ends all waiting.
    pub(crate) fn close(&self) {
        self.pods.permits.close();
        self.watching.permits.close();
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.pods.permits.is_closed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lanes_share_the_instances_without_overlap() {
        for (instances, pods, watching) in [(0, 1, 1), (1, 1, 1), (2, 1, 1), (3, 1, 2), (4, 2, 2), (16, 14, 2)] {
            let lanes = Lanes::new(instances);
            let permits = |function| lanes.of(function).permits.available_permits();
            assert_eq!((permits(Function::Create), permits(Function::Poll)), (pods, watching), "{instances}");
        }
    }

    #[tokio::test]
    async fn a_single_instance_has_one_queue() {
        let lanes = Lanes::new(1);
        let _permit = lanes.of(Function::Get).permits.clone().acquire_owned().await.unwrap();
        assert_eq!(lanes.of(Function::Describe).permits.available_permits(), 0);
    }

    #[test]
    fn closing_closes_both() {
        let lanes = Lanes::new(16);
        lanes.close();
        assert!(lanes.is_closed() && lanes.of(Function::Poll).permits.is_closed());
    }
}
