//! Which calls wait for an instance in which queue.
//!
//! ```text
//!              instances
//!  watching    ██                  describe, poll
//!  following     ██▒▒▒▒▒▒          logs, sessions, stats: their own, and others that pods leave, up to half of all
//!  pods            ████████████    create, update, delete, get
//! ```

use std::sync::Arc;

use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};

use crate::function::Function;

/// Instances that calls on pods leave free.
const WATCHING: usize = 2;

/// The queues for the instances of a pool. Calls on pods can come in thousands; `describe` and `poll`, by which the node
/// tells whether the provider is there and how its pods are, never wait behind them. Clients of logs, sessions and stats
/// can come in thousands too: they never hold so many instances that calls on pods have none, and have a few where they
/// do not wait behind those. Among them, those that read logs and open sessions leave some to the others.
#[derive(Debug)]
pub(crate) struct Lanes {
    pods: Lane,
    watching: Lane,
    following: Following,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Pods,
    Watching,
    Following {
        /// Whether it asks a backend for what may take as long as the backend likes.
        asks: bool,
    },
}

impl Kind {
    fn of(function: Function) -> Self {
        match function {
            Function::Describe | Function::Poll => Self::Watching,
            Function::Configure | Function::Create | Function::Update | Function::Delete | Function::Get => Self::Pods,
            Function::ReadLogs | Function::OpenSession => Self::Following { asks: true },
            Function::StepSession | Function::ReadStats => Self::Following { asks: false },
        }
    }
}

/// One queue: first come, first served.
#[derive(Debug, Clone)]
struct Lane {
    /// One for each instance that may be in use.
    permits: Arc<Semaphore>,
    instances: usize,
}

#[derive(Debug)]
struct Following {
    /// Of their own instances and those of pods together.
    share: Lane,
    own: Lane,
    /// Of the share, what is left to those that ask: a backend that hangs holds up neither keystrokes nor figures.
    asking: Lane,
}

/// The right to use an instance, given back when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    _instance: OwnedSemaphorePermit,
    _share: Option<OwnedSemaphorePermit>,
    _asking: Option<OwnedSemaphorePermit>,
}

impl Lane {
    fn new(instances: usize) -> Self {
        Self { permits: Arc::new(Semaphore::new(instances)), instances }
    }

    async fn acquire(&self) -> Result<OwnedSemaphorePermit, AcquireError> {
        self.permits.clone().acquire_owned().await
    }
}

impl Lanes {
    /// Divides so many instances. A single one serves all calls in one queue.
    pub(crate) fn new(instances: usize) -> Self {
        let instances = instances.clamp(1, Semaphore::MAX_PERMITS);
        if instances == 1 {
            let only = Lane::new(1);
            let following = Following { share: Lane::new(1), own: Lane::new(0), asking: Lane::new(1) };
            return Self { pods: only.clone(), watching: only, following };
        }
        let watching = WATCHING.min(instances - 1);
        let own = instances / 8;
        let pods = instances - watching - own;
        // One remains for pods where there is more than one.
        let share = (instances / 2).min(own + pods.saturating_sub(1)).max(1);
        let asking = share - share.div_ceil(4).min(share - 1);
        let following = Following { share: Lane::new(share), own: Lane::new(own), asking: Lane::new(asking) };
        Self { pods: Lane::new(pods), watching: Lane::new(watching), following }
    }

    /// Waits for the right to use an instance.
    ///
    /// # Errors
    ///
    /// If the lanes are closed.
    pub(crate) async fn acquire(&self, function: Function) -> Result<Place, AcquireError> {
        let (instance, share, asking) = match Kind::of(function) {
            Kind::Pods => (self.pods.acquire().await?, None, None),
            Kind::Watching => (self.watching.acquire().await?, None, None),
            Kind::Following { asks } => {
                let asking = if asks { Some(self.following.asking.acquire().await?) } else { None };
                let share = self.following.share.acquire().await?;
                let instance = tokio::select! {
                    biased;
                    own = self.following.own.acquire() => own?,
                    of_pods = self.pods.acquire() => of_pods?,
                };
                (instance, Some(share), asking)
            }
        };
        Ok(Place { _instance: instance, _share: share, _asking: asking })
    }

    /// How many instances a function may use at one time.
    pub(crate) fn instances(&self, function: Function) -> usize {
        match Kind::of(function) {
            Kind::Pods => self.pods.instances,
            Kind::Watching => self.watching.instances,
            Kind::Following { asks: false } => self.following.share.instances,
            Kind::Following { asks: true } => self.following.asking.instances,
        }
    }

    /// Ends all waiting.
    pub(crate) fn close(&self) {
        let Self { pods, watching, following: Following { share, own, asking } } = self;
        for lane in [pods, watching, share, own, asking] {
            lane.permits.close();
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.pods.permits.is_closed()
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    /// As many places as there are at once.
    fn take_all(lanes: &Lanes, function: Function) -> Vec<Place> {
        std::iter::from_fn(|| lanes.acquire(function).now_or_never().map(Result::unwrap)).collect()
    }

    #[test]
    fn the_lanes_share_the_instances() {
        for (instances, pods, watching, following) in
            [(0, 1, 1, 1), (1, 1, 1, 1), (2, 1, 1, 1), (3, 1, 2, 1), (4, 2, 2, 1), (8, 5, 2, 4), (16, 12, 2, 8)]
        {
            let functions = [Function::Create, Function::Poll, Function::StepSession];
            let places = functions.map(|function| take_all(&Lanes::new(instances), function).len());
            assert_eq!(places, [pods, watching, following], "{instances}");
            let lanes = Lanes::new(instances);
            assert_eq!(functions.map(|function| lanes.instances(function)), places, "{instances}");
            let held = functions.map(|function| take_all(&lanes, function));
            let together: usize = held.iter().map(Vec::len).sum();
            assert!(together <= instances.max(1), "{together} of {instances} at once");
        }
    }

    #[test]
    fn followers_at_their_bound_leave_instances_to_pods_and_the_other_way_round() {
        for instances in [4, 5, 8, 16, 100] {
            let lanes = Lanes::new(instances);
            let _followers = take_all(&lanes, Function::StepSession);
            assert!(!take_all(&lanes, Function::Create).is_empty(), "{instances}");
            assert_eq!(take_all(&lanes, Function::Poll).len(), 2, "{instances}");
        }
        for instances in [8, 16, 100] {
            let lanes = Lanes::new(instances);
            let _pods = take_all(&lanes, Function::Create);
            assert_eq!(take_all(&lanes, Function::StepSession).len(), instances / 8);
        }
    }

    #[test]
    fn a_backend_that_hangs_leaves_places_to_those_that_do_not_ask_it() {
        for (instances, asking, left) in [(2, 1, 0), (4, 1, 0), (8, 3, 1), (16, 6, 2)] {
            let lanes = Lanes::new(instances);
            let held = take_all(&lanes, Function::ReadLogs);
            assert_eq!((held.len(), lanes.instances(Function::OpenSession)), (asking, asking), "{instances}");
            assert!(take_all(&lanes, Function::OpenSession).is_empty());
            assert_eq!(take_all(&lanes, Function::StepSession).len(), left, "{instances}");
        }
    }

    #[test]
    fn a_place_is_given_back_whole() {
        let lanes = Lanes::new(16);
        for _ in 0..3 {
            assert_eq!(take_all(&lanes, Function::ReadStats).len(), 8);
            assert_eq!(take_all(&lanes, Function::Create).len(), 12);
        }
    }

    #[test]
    fn a_single_instance_has_one_queue() {
        let lanes = Lanes::new(1);
        let _place = take_all(&lanes, Function::Get);
        for function in [Function::Describe, Function::OpenSession] {
            assert!(take_all(&lanes, function).is_empty());
        }
    }

    #[test]
    fn closing_closes_all() {
        let lanes = Lanes::new(16);
        lanes.close();
        assert!(lanes.is_closed());
        for function in Function::ALL {
            assert!(lanes.acquire(function).now_or_never().unwrap().is_err(), "{function:?}");
        }
    }
}
