//! What is done, drawn from a seed: the same seed gives the same steps, whatever comes of them.
//!
//! An act begins with the disturbances that have not happened yet, in an order from the seed, among steps that are drawn
//! freely. One whose turn it is, but which cannot be had just then, stays dealt.

use std::collections::BTreeMap;

use rand::{
    RngExt as _, SeedableRng as _,
    rngs::StdRng,
    seq::{IndexedRandom as _, SliceRandom as _},
};
use vk_backend::{Effect, Fault, Operation};

use super::step::{Deletion, Disturbance, Kind, Step};

/// Pods at a time. With more of them the API server is what takes the time.
const MOST_PODS: usize = 60;
/// With fewer of them a disturbance disturbs nothing.
const FEWEST_PODS: usize = 5;
/// How likely a step is one that was dealt, as long as there are any.
const DEALT: f64 = 0.6;
/// ConfigMaps and Secrets of each kind.
pub(super) const OBJECTS: u32 = 3;
/// Faults of the backend at a time.
const MOST_FAULTS: usize = 3;

/// The steps of a run, one after the other.
pub(super) struct Plan {
    random: StdRng,
    drawn: u32,
    /// What is to come before long.
    dealt: Vec<Disturbance>,
    /// What ends a disturbance, by the number of the step that it is.
    due: BTreeMap<u32, Step>,
    pods: Vec<(String, Kind)>,
    host_is_up: bool,
    api_server_is_up: bool,
    backend_is_up: bool,
    faults: usize,
    /// Whether the process of vk-host may be ended.
    restarts: bool,
}

type Draw = fn(&mut Plan) -> Option<Step>;

/// What is drawn how often. What cannot be done just then draws nothing.
const DRAWS: &[(u32, Draw)] = &[
    (26, Plan::create),
    (2, Plan::create_job),
    (8, Plan::label),
    (6, Plan::edit),
    (14, Plan::delete),
    (3, Plan::meddle),
    (3, Plan::lose),
    (3, Plan::finish),
    (4, Plan::kill),
    (2, Plan::freeze),
    (12, Plan::fault),
    (3, Plan::stop_backend),
    (1, Plan::stop_api_server),
    (2, Plan::replace),
];

impl Plan {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            random: StdRng::seed_from_u64(seed),
            drawn: 0,
            dealt: Vec::new(),
            due: BTreeMap::new(),
            pods: Vec::new(),
            host_is_up: true,
            api_server_is_up: true,
            backend_is_up: true,
            faults: 0,
            restarts: true,
        }
    }

    /// Says whether steps from here on may end the process of vk-host.
    pub(super) fn allow_restarts(&mut self, restarts: bool) {
        self.restarts = restarts;
    }

    /// Has these come before long.
    pub(super) fn deal(&mut self, disturbances: Vec<Disturbance>) {
        self.dealt = disturbances;
        self.dealt.shuffle(&mut self.random);
    }

    /// The next step, and how many milliseconds to wait after it.
    pub(super) fn next(&mut self) -> (Step, u64) {
        self.drawn += 1;
        let step = match self.due.first_key_value() {
            Some((number, _)) if *number <= self.drawn => self.due.pop_first().map(|(_, step)| step),
            _ => None,
        };
        let step = match step {
            Some(step) => self.recovered(step),
            None => self.draw(),
        };
        self.dealt.retain(|dealt| Some(*dealt) != step.disturbance());
        (step, self.random.random_range(20..700))
    }

    /// The steps that end all disturbances.
    pub(super) fn recovery(&mut self) -> Vec<Step> {
        let due = std::mem::take(&mut self.due);
        due.into_values().map(|step| self.recovered(step)).collect()
    }

    /// The pods that are left, and from here on no more.
    pub(super) fn leave_no_pod(&mut self) -> Vec<String> {
        std::mem::take(&mut self.pods).into_iter().map(|(name, _)| name).collect()
    }

    fn draw(&mut self) -> Step {
        if self.pods.len() < FEWEST_PODS
            && let Some(step) = self.create()
        {
            return step;
        }
        if !self.dealt.is_empty()
            && self.random.random_bool(DEALT)
            && let Some(step) = self.dealt.clone().into_iter().find_map(|disturbance| self.disturb(disturbance))
        {
            return step;
        }
        let sum: u32 = DRAWS.iter().map(|(weight, _)| weight).sum();
        loop {
            let mut dice = self.random.random_range(0..sum);
            let drawn = DRAWS.iter().find(|(weight, _)| {
                let found = dice < *weight;
                dice = dice.saturating_sub(*weight);
                found
            });
            if let Some(step) = drawn.and_then(|(_, draw)| draw(self)) {
                return step;
            }
        }
    }

    fn disturb(&mut self, disturbance: Disturbance) -> Option<Step> {
        match disturbance {
            Disturbance::Kill => self.end_host(Step::KillHost),
            Disturbance::Stop => self.end_host(Step::StopHost),
            Disturbance::Freeze => self.freeze(),
            Disturbance::ApiServerStop => self.stop_api_server(),
            Disturbance::BackendStop => self.stop_backend(),
            Disturbance::BackendFault => self.fault(),
            Disturbance::Replacement => Some(self.replace_component()),
            Disturbance::Deletion(how) => self.delete_by(how),
        }
    }

    fn recovered(&mut self, step: Step) -> Step {
        match step {
            Step::StartHost | Step::ThawHost => self.host_is_up = true,
            Step::StartApiServer => self.api_server_is_up = true,
            Step::StartBackend => self.backend_is_up = true,
            Step::Mend => self.faults = 0,
            _ => {}
        }
        step
    }

    /// Has a step follow after at most so many others.
    fn later(&mut self, most: u32, step: Step) {
        let mut at = self.drawn + self.random.random_range(2..=most);
        while self.due.contains_key(&at) {
            at += 1;
        }
        self.due.insert(at, step);
    }

    fn some_pod(&mut self, wanted: fn(Kind) -> bool) -> Option<String> {
        let fitting: Vec<&String> = self.pods.iter().filter(|(_, kind)| wanted(*kind)).map(|(name, _)| name).collect();
        fitting.choose(&mut self.random).map(|name| (*name).clone())
    }

    fn create(&mut self) -> Option<Step> {
        if !self.api_server_is_up || self.pods.len() >= MOST_PODS {
            return None;
        }
        let kind = match self.random.random_range(0..12) {
            0..3 => Kind::Server,
            3..6 => Kind::Reader(self.random.random_range(0..OBJECTS)),
            6 => Kind::Once,
            7 => Kind::Slow,
            8 => Kind::Task(0),
            9 => Kind::Task(3),
            10 => Kind::Flaky,
            _ => {
                let errors = ["exhausted", "unavailable", "internal", "conflict"];
                Kind::Refused(errors.choose(&mut self.random).copied().unwrap_or("internal"))
            }
        };
        // Few names, so that pods follow others of their name.
        let name = format!("chaos-{}", self.random.random_range(0..2 * MOST_PODS));
        if self.pods.iter().any(|(taken, _)| *taken == name) {
            return None;
        }
        self.pods.push((name.clone(), kind));
        Some(Step::Create(name, kind))
    }

    fn create_job(&mut self) -> Option<Step> {
        self.api_server_is_up.then(|| Step::CreateJob(format!("job-{}", self.drawn)))
    }

    fn label(&mut self) -> Option<Step> {
        if !self.api_server_is_up {
            return None;
        }
        self.some_pod(|_| true).map(Step::Label)
    }

    fn edit(&mut self) -> Option<Step> {
        if !self.api_server_is_up {
            return None;
        }
        let number = self.random.random_range(0..OBJECTS);
        Some(if self.random.random() { Step::EditConfigMap(number) } else { Step::EditSecret(number) })
    }

    fn delete(&mut self) -> Option<Step> {
        let ways = [Deletion::Graceful, Deletion::Graceful, Deletion::Forced, Deletion::Shortened, Deletion::Evicted];
        let how = ways.choose(&mut self.random).copied().unwrap_or(Deletion::Graceful);
        self.delete_by(how)
    }

    fn delete_by(&mut self, how: Deletion) -> Option<Step> {
        if !self.api_server_is_up {
            return None;
        }
        let name = self.some_pod(|_| true)?;
        self.pods.retain(|(each, _)| *each != name);
        Some(Step::Delete(name, how))
    }

    fn meddle(&mut self) -> Option<Step> {
        if !self.api_server_is_up {
            return None;
        }
        self.some_pod(Kind::runs_for_ever).map(Step::Meddle)
    }

    fn lose(&mut self) -> Option<Step> {
        self.some_pod(Kind::runs_for_ever).map(Step::Lose)
    }

    fn finish(&mut self) -> Option<Step> {
        self.some_pod(|kind| kind == Kind::Once).map(Step::Finish)
    }

    fn kill(&mut self) -> Option<Step> {
        let step = if self.random.random_bool(0.7) { Step::KillHost } else { Step::StopHost };
        self.end_host(step)
    }

    fn end_host(&mut self, step: Step) -> Option<Step> {
        if !self.host_is_up || !self.restarts {
            return None;
        }
        self.host_is_up = false;
        self.later(10, Step::StartHost);
        Some(step)
    }

    fn freeze(&mut self) -> Option<Step> {
        if !self.host_is_up {
            return None;
        }
        self.host_is_up = false;
        self.later(15, Step::ThawHost);
        Some(Step::FreezeHost)
    }

    fn stop_backend(&mut self) -> Option<Step> {
        if !self.backend_is_up {
            return None;
        }
        self.backend_is_up = false;
        self.later(15, Step::StartBackend);
        Some(Step::StopBackend)
    }

    fn stop_api_server(&mut self) -> Option<Step> {
        if !self.api_server_is_up {
            return None;
        }
        self.api_server_is_up = false;
        self.later(8, Step::StartApiServer);
        Some(Step::StopApiServer)
    }

    fn replace(&mut self) -> Option<Step> {
        if self.random.random() {
            return Some(self.replace_component());
        }
        Some(Step::ReplaceSettings(self.random.random_range(0..3)))
    }

    fn replace_component(&mut self) -> Step {
        // A build that is known already takes no time to compile.
        Step::ReplaceComponent(self.random.random_range(0..3))
    }

    fn fault(&mut self) -> Option<Step> {
        if self.faults >= MOST_FAULTS {
            return None;
        }
        let effect = self.effect();
        // A backend may show late what there is, but must know a pod that it is asked for; and what it refuses for good is
        // not tried again.
        let operations = match effect {
            Effect::Stale { .. } | Effect::Empty => &[Operation::List, Operation::Changes][..],
            Effect::Status { code: 410, .. } => &[Operation::Changes],
            _ => &[
                Operation::Check,
                Operation::Create,
                Operation::Update,
                Operation::Delete,
                Operation::Get,
                Operation::List,
                Operation::Changes,
            ],
        };
        let mut fault = Fault::new(effect);
        if operations.len() < 7 || self.random.random_bool(0.8) {
            fault.operation = operations.choose(&mut self.random).copied();
        }
        if self.random.random() {
            fault.times = Some(self.random.random_range(1..=5));
        }
        if self.faults == 0 {
            self.later(15, Step::Mend);
        }
        self.faults += 1;
        Some(Step::Break(fault))
    }

    fn effect(&mut self) -> Effect {
        let random = &mut self.random;
        match random.random_range(0..9) {
            0 => Effect::Slow { milliseconds: random.random_range(100..3_000) },
            1 => Effect::Late { milliseconds: Some(random.random_range(100..3_000)) },
            2 => {
                let code = [401, 403, 409, 500, 502, 503, 504].choose(random).copied().unwrap_or(500);
                Effect::Status { code, retry_after: None }
            }
            3 => Effect::Status { code: 429, retry_after: Some(random.random_range(1..=3).to_string()) },
            4 => Effect::Status { code: 410, retry_after: None },
            5 => Effect::LostAnswer,
            6 => Effect::Refused,
            7 => Effect::Truncated { bytes: random.random_range(0..40) },
            _ if random.random() => Effect::Empty,
            _ => Effect::Stale { milliseconds: Some(random.random_range(500..5_000)) },
        }
    }
}
