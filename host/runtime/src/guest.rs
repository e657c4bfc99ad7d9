//! What a component exports: found once, bound to each of its instances.

use wasmtime::{
    AsContextMut, Store,
    component::{Instance, InstancePre},
};

use crate::{
    bindings::exports::vk::provider::{logs, node, pods, sessions, stats},
    host::Host,
};

/// A component that can be instantiated, with the places of its exports.
#[derive(Clone)]
pub(crate) struct GuestPre {
    instance: InstancePre<Host>,
    node: node::GuestIndices,
    pods: pods::GuestIndices,
    logs: Option<logs::GuestIndices>,
    sessions: Option<sessions::GuestIndices>,
    stats: Option<stats::GuestIndices>,
}

/// The exports of one instance.
pub(crate) struct Guest {
    pub(crate) node: node::Guest,
    pub(crate) pods: pods::Guest,
    logs: Option<logs::Guest>,
    sessions: Option<sessions::Guest>,
    stats: Option<stats::Guest>,
}

impl GuestPre {
    /// `optional` are the optional interfaces that the component exports.
    ///
    /// # Errors
    ///
    /// If an export is not there or has another type.
    pub(crate) fn new(instance: InstancePre<Host>, optional: &[&str]) -> wasmtime::Result<Self> {
        let exports = |interface| optional.contains(&interface);
        Ok(Self {
            node: node::GuestIndices::new(&instance)?,
            pods: pods::GuestIndices::new(&instance)?,
            logs: exports("logs").then(|| logs::GuestIndices::new(&instance)).transpose()?,
            sessions: exports("sessions").then(|| sessions::GuestIndices::new(&instance)).transpose()?,
            stats: exports("stats").then(|| stats::GuestIndices::new(&instance)).transpose()?,
            instance,
        })
    }

    pub(crate) fn engine(&self) -> &wasmtime::Engine {
        self.instance.engine()
    }

    /// Whether it exports an optional interface.
    pub(crate) fn exports(&self, interface: &str) -> bool {
        match interface {
            "logs" => self.logs.is_some(),
            "sessions" => self.sessions.is_some(),
            "stats" => self.stats.is_some(),
            _ => false,
        }
    }

    pub(crate) async fn instantiate(&self, store: &mut Store<Host>) -> wasmtime::Result<Guest> {
        let instance: Instance = self.instance.instantiate_async(store.as_context_mut()).await?;
        Ok(Guest {
            node: self.node.load(store.as_context_mut(), &instance)?,
            pods: self.pods.load(store.as_context_mut(), &instance)?,
            logs: load(&self.logs, |indices| indices.load(store.as_context_mut(), &instance))?,
            sessions: load(&self.sessions, |indices| indices.load(store.as_context_mut(), &instance))?,
            stats: load(&self.stats, |indices| indices.load(store.as_context_mut(), &instance))?,
        })
    }
}

fn load<I, G>(indices: &Option<I>, load: impl FnOnce(&I) -> wasmtime::Result<G>) -> wasmtime::Result<Option<G>> {
    indices.as_ref().map(load).transpose()
}

impl Guest {
    /// # Errors
    ///
    /// If it is not exported; [`GuestPre::exports`] is asked before an instance is taken.
    pub(crate) fn logs(&self) -> wasmtime::Result<&logs::Guest> {
        self.logs.as_ref().ok_or_else(|| not_exported("logs"))
    }

    /// # Errors
    ///
    /// As [`Guest::logs`].
    pub(crate) fn sessions(&self) -> wasmtime::Result<&sessions::Guest> {
        self.sessions.as_ref().ok_or_else(|| not_exported("sessions"))
    }

    /// # Errors
    ///
    /// As [`Guest::logs`].
    pub(crate) fn stats(&self) -> wasmtime::Result<&stats::Guest> {
        self.stats.as_ref().ok_or_else(|| not_exported("stats"))
    }
}

fn not_exported(interface: &str) -> wasmtime::Error {
    wasmtime::Error::msg(format!("the component does not export {interface}"))
}
