//! A provider that runs nothing: for trying vk-host out and for testing it.
//!
//! ```text
//!   create, update ──> Order (annotations) ──> conduct: reject? trap? ──> Store ──> PodState ──> PodStatus
//!   get, delete ─────> handle ───────────────> conduct: trap?  ─────────────┘
//!   read_log ─────────> Log as a function of time ─┐              │
//!   read_usage ───────> Curve likewise ────────────┼── Details <──┤
//!   open, step ───────> Shell, Attachment, relay ──┘              │
//!                                                                 Store: the host's cache, or a backend over HTTP
//! ```
//!
//! `mock.toml` beside this crate says what operators can set and what pods can ask for.

mod attach;
mod backend;
mod conduct;
mod cursor;
mod files;
mod local;
mod logs;
mod sessions;
mod settings;
mod shell;
mod stats;
mod status;
mod store;

use std::time::Duration;

use mock_model::{Call, Order};
use vk_sdk::{
    Aspects, Changes, Cursor, Deletion, Description, Error, Logs, Observation, Pod, PodId, Provider, Result, Sessions,
    Startup, Stats, events,
    logs::{Chunk, Query},
    sessions::{Action, Event, Opened, Request},
    settings as read_settings,
    stats::PodUsage,
};

use crate::{backend::Backend, local::Local, settings::Settings, store::Store};

struct Mock {
    settings: Settings,
    description: Description,
    store: Box<dyn Store>,
}

impl Provider for Mock {
    const NAME: &'static str = "mock";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");

    fn configure(startup: Startup) -> Result<Self> {
        let settings: Settings = read_settings(&startup)?;
        let description = settings.description(startup.operating_system);
        let store: Box<dyn Store> = match &settings.backend {
            Some(url) => Box::new(Backend::new(url, &startup.owner)?),
            None => Box::new(Local),
        };
        Ok(Self { settings, description, store })
    }

    fn describe(&self) -> Result<Description> {
        self.store.check()?;
        Ok(self.description.clone())
    }

    fn create(&self, pod: Pod) -> Result<Observation> {
        let order = order(&pod)?;
        conduct::misbehave(order.conduct.misdeeds.iter().copied(), Call::Create, &pod.id);
        conduct::refuse(order.conduct.reject.as_ref(), Call::Create, &pod.id)?;

        let created = self.store.create(&pod, &order)?;
        if created.made {
            for report in &order.conduct.reports {
                let say = if report.warning { events::warning } else { events::normal };
                say(&pod.id, &report.reason, report.message.as_str());
            }
        }
        let handle = conduct::handle(&order.conduct, &pod.id);
        Ok(Observation { pod: PodId { handle, ..pod.id }, status: Some(created.status) })
    }

    fn update(&self, pod: Pod, changed: Aspects) -> Result<Observation> {
        let order = order(&pod)?;
        conduct::misbehave(order.conduct.misdeeds.iter().copied(), Call::Update, &pod.id);
        conduct::refuse(order.conduct.reject_update.as_ref(), Call::Update, &pod.id)?;

        let status = self.store.update(&pod, &order, changed)?;
        let handle = conduct::handle(&order.conduct, &pod.id);
        Ok(Observation { pod: PodId { handle, ..pod.id }, status: Some(status) })
    }

    fn delete(&self, pod: PodId, grace: Duration) -> Result<Deletion> {
        conduct::misbehave(conduct::read_handle(&pod), Call::Delete, &pod);
        self.store.delete(&pod, grace)
    }

    fn get(&self, pod: PodId) -> Result<Observation> {
        conduct::misbehave(conduct::read_handle(&pod), Call::Get, &pod);
        let status = self.store.get(&pod)?;
        Ok(Observation { pod, status: Some(status) })
    }

    fn poll(&self, since: Option<Cursor>) -> Result<Changes> {
        let since = since.as_deref().map(cursor::Cursor::read).transpose()?;
        Ok(self.store.poll(since)?.poll_after(self.settings.poll_after))
    }
}

impl Logs for Mock {
    fn read_log(&self, query: Query, after: Option<Cursor>) -> Result<Chunk> {
        logs::read(&*self.store, &query, after.as_ref())
    }
}

impl Sessions for Mock {
    type State = sessions::State;

    fn open(&self, pod: PodId, request: Request) -> Result<Opened<Self::State>> {
        sessions::open(&*self.store, &pod, request)
    }

    fn step(&self, pod: &PodId, state: &mut Self::State, events: Vec<Event>) -> Result<Vec<Action>> {
        sessions::step(&*self.store, pod, state, events)
    }
}

impl Stats for Mock {
    fn read_usage(&self, pods: Vec<PodId>) -> Result<Vec<PodUsage>> {
        stats::read(&*self.store, pods)
    }
}

fn order(pod: &Pod) -> Result<Order> {
    Order::parse(&pod.manifest).map_err(|problem| Error::invalid(problem.to_string()))
}

vk_sdk::export!(Mock: Logs + Sessions + Stats);

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "the mock's time is the real one")]
mod tests;
