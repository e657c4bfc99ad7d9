//! Names to addresses.

use std::{fmt, io, net::IpAddr, sync::Arc};

use futures::future::BoxFuture;
use tokio::sync::Semaphore;

use crate::host::DomainName;

/// Whatever resolves names; the system outside of tests.
pub(crate) trait Resolve: fmt::Debug + Send + Sync {
    /// All addresses of a name, those to be tried first in front.
    fn resolve(&self, name: &DomainName) -> BoxFuture<'static, io::Result<Vec<IpAddr>>>;
}

/// Lookups at one time: each holds a thread of the runtime until the system gives up on it, however long the caller
/// waits.
const LOOKUPS: usize = 32;

/// The system's resolver: `/etc/hosts`, search domains and all.
#[derive(Debug)]
pub(crate) struct SystemResolver {
    lookups: Arc<Semaphore>,
}

impl SystemResolver {
    pub(crate) fn new() -> Self {
        Self { lookups: Arc::new(Semaphore::new(LOOKUPS)) }
    }
}

impl Resolve for SystemResolver {
    fn resolve(&self, name: &DomainName) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
        let (name, lookups) = (name.as_str().to_owned(), self.lookups.clone());
        Box::pin(async move {
            let place = lookups.acquire_owned().await.map_err(io::Error::other)?;
            // A task of its own, so that the place stays taken if the caller stops waiting.
            let lookup = tokio::spawn(async move {
                let _place = place;
                let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
                let mut addresses: Vec<IpAddr> = Vec::new();
                for address in found.map(|socket| socket.ip()) {
                    if !addresses.contains(&address) {
                        addresses.push(address);
                    }
                }
                Ok(addresses)
            });
            lookup.await.map_err(io::Error::other)?
        })
    }
}
