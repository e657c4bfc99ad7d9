//! A compute API for tests: keeps the mock provider's pods, lets them live their lives, counts, and fails on demand.
//!
//! ```text
//!   mock.wasm ──/owners/…──> faults ──> Store: pods, journal of changes, counts
//!   a test ────/control/…──────────────────^
//! ```
//!
//! The API is that of [`mock_model::wire`]. Several nodes can share one backend: each sees what its owner tag made. A
//! test holds a [`Backend`] in process, or runs the program `vk-backend` and speaks to `/control` (see [`Backend`] for
//! what each route does).

mod api;
mod control;
mod fault;
mod server;
mod store;

pub use fault::{Armed, Effect, Fault, Operation};
pub use store::{Count, Counts, Stored};

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use mock_model::Finish;
use serde_json::Value;
use tokio::{net::TcpListener, sync::mpsc, task::JoinHandle};

use crate::store::{Store, now};

/// A running backend. Dropping it stops it.
///
/// | method | route |
/// |---|---|
/// | [`counts`](Self::counts) | `GET /control/counts` |
/// | [`pods`](Self::pods), [`pod`](Self::pod) | `GET /control/pods`, `GET /control/pods/{uid}` |
/// | [`finish`](Self::finish) | `POST /control/pods/{uid}/finish` with `{"exit_code": 1, "reason": "OOMKilled"}` |
/// | [`set_status`](Self::set_status) | `PUT` with a PodStatus, or `DELETE`, `/control/pods/{uid}/status` |
/// | [`remove`](Self::remove) | `DELETE /control/pods/{uid}` |
/// | [`fault`](Self::fault) | `POST /control/faults` with a [`Fault`] |
/// | [`faults`](Self::faults) | `GET /control/faults` |
/// | [`clear_fault`](Self::clear_fault), [`clear_faults`](Self::clear_faults) | `DELETE /control/faults/{number}`, `DELETE /control/faults` |
/// | [`stop`](Self::stop), [`restart`](Self::restart) | `POST /control/outage?milliseconds=…`, which begins 100 ms later |
pub struct Backend {
    shared: Shared,
    address: SocketAddr,
    running: Option<JoinHandle<()>>,
}

/// What the handlers of requests share with the backend's owner.
#[derive(Clone)]
pub(crate) struct Shared {
    store: Arc<Mutex<Store>>,
    outages: mpsc::UnboundedSender<u64>,
}

impl Shared {
    pub(crate) fn store(&self) -> MutexGuard<'_, Store> {
        // A handler that panicked under the lock has failed its test already.
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Backend {
    /// Starts an empty backend on a free port of 127.0.0.1.
    ///
    /// # Errors
    ///
    /// If no port can be had.
    pub async fn start() -> io::Result<Self> {
        Self::listen((Ipv4Addr::LOCALHOST, 0).into()).await
    }

    /// Starts an empty backend on an address. With port 0 it takes a free one.
    ///
    /// # Errors
    ///
    /// If the address is not of the loopback interface, or taken.
    pub async fn listen(address: SocketAddr) -> io::Result<Self> {
        if !address.ip().is_loopback() {
            let problem = format!("{address} is not a loopback address: whoever reaches the backend controls it");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, problem));
        }
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let (outages, asked) = mpsc::unbounded_channel();
        let shared = Shared { store: Arc::new(Mutex::new(Store::new())), outages };
        let running = tokio::spawn(server::serve(listener, shared.clone(), asked));
        Ok(Self { shared, address, running: Some(running) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The mock's setting `backend`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Begins an outage: all connections are cut and others refused. The pods live on.
    pub async fn stop(&mut self) {
        if let Some(running) = self.running.take() {
            running.abort();
            // Once the task has ended the port is free, and no connection is served any further.
            let _aborted = running.await;
        }
    }

    /// Ends an outage: listens at the same address again.
    ///
    /// # Errors
    ///
    /// If something else has taken the port meanwhile.
    pub async fn restart(&mut self) -> io::Result<()> {
        self.stop().await;
        let listener = TcpListener::bind(self.address).await?;
        let (outages, asked) = mpsc::unbounded_channel();
        self.shared.outages = outages;
        self.running = Some(tokio::spawn(server::serve(listener, self.shared.clone(), asked)));
        Ok(())
    }

    /// What was asked so far.
    pub fn counts(&self) -> Counts {
        self.shared.store().counts().clone()
    }

    /// What was asked so far about one pod.
    pub fn count(&self, uid: &str) -> Count {
        self.shared.store().counts().pods.get(uid).cloned().unwrap_or_default()
    }

    /// All pods that are there, of all owners, in the order of their uids.
    pub fn pods(&self) -> Vec<Stored> {
        self.shared.store().stored(now())
    }

    /// One pod, if it is there.
    pub fn pod(&self, uid: &str) -> Option<Stored> {
        self.pods().into_iter().find(|pod| pod.id.uid == uid)
    }

    /// Ends a pod's containers for good, as if they had exited or been killed. Says whether the pod is there.
    pub fn finish(&self, uid: &str, exit_code: i32, reason: Option<&str>) -> bool {
        let now = now();
        self.shared.store().finish(uid, Finish { at: now, exit_code, reason: reason.map(str::to_owned) }, now)
    }

    /// Sets the PodStatus that the provider hands on for a pod, whatever it says; `None` goes back to the pod's own.
    /// Says whether the pod is there.
    pub fn set_status(&self, uid: &str, status: Option<&Value>) -> bool {
        let status = status.and_then(|status| serde_json::value::to_raw_value(status).ok());
        self.shared.store().set_status(uid, status, now())
    }

    /// Removes a pod without being asked by the provider. Says whether it was there.
    pub fn remove(&self, uid: &str) -> bool {
        self.shared.store().vanish(uid, now())
    }

    /// Makes requests fail until the fault has struck as often as it says, or is cleared. Returns the fault's number.
    pub fn fault(&self, fault: Fault) -> u64 {
        self.shared.store().faults.arm(fault, now())
    }

    /// The faults that are armed, with how often each has struck.
    pub fn faults(&self) -> Vec<Armed> {
        self.shared.store().faults.list().to_vec()
    }

    /// Disarms one fault. Says whether it was armed.
    pub fn clear_fault(&self, number: u64) -> bool {
        self.shared.store().faults.disarm(number)
    }

    /// Disarms all faults.
    pub fn clear_faults(&self) {
        self.shared.store().faults.clear();
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        if let Some(running) = &self.running {
            running.abort();
        }
    }
}
