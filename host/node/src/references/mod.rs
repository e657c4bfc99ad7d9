//! Everything a pod refers to, resolved by the host so that a provider needs no access to the cluster.
//!
//! ```text
//!  Pod ──names──> Links ──shares──> Cache ──list, watch one name──> API server
//!                   │ tokens ───────────────TokenRequest──────────>
//!                   │                claims ──get─────────────────>
//!                   │              services ──watch all───────────>
//!                   v
//!               Objects (a snapshot) ──> environment, volumes, logins ──> Resolved
//! ```
//!
//! First the objects that the pod names are read, then everything is made from that snapshot without waiting: what is
//! made is a function of the pod, the objects, the Services and the node.

use std::{collections::BTreeSet, sync::Arc};

use k8s_openapi::api::core::v1::Pod;
use kube::Client;
use tokio::{sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;
use vk_provider::PodId;

mod api;
mod cache;
mod claims;
mod containers;
mod environment;
mod expansion;
mod fields;
mod links;
mod logins;
mod manifest;
mod objects;
mod services;
mod stamp;
#[cfg(test)]
mod tests;
mod tokens;
mod volumes;

pub(crate) use environment::Environment;
pub(crate) use links::Links;
pub(crate) use stamp::{Fingerprint, Stamp};

use crate::{metrics::Metrics, registration::NodeFacts};
use cache::Cache;
use objects::{Key, Objects};
use services::Services;
use volumes::Draft;

/// A pod as a provider gets it, and what is to be kept for the next time.
#[derive(Debug)]
pub(crate) struct Resolved {
    /// For the provider. `id.handle` is the caller's to set.
    pub(crate) pod: vk_provider::Pod,
    /// To be handed back with every later resolution of the pod: variables stay as at creation.
    pub(crate) environment: Environment,
    /// What was resolved, by content: for comparison while this process lives. Small; keep it in place of the pod.
    pub(crate) fingerprint: Fingerprint,
    /// What was resolved, by version: for comparison after a restart of the host. May be public.
    pub(crate) stamp: Stamp,
    /// When to resolve again although nothing changed: a token is to be renewed.
    pub(crate) renew_at: Option<Instant>,
    /// What was left out. Each is given once while it holds.
    pub(crate) notices: Vec<Notice>,
}

/// Why a pod cannot be handed to a provider yet.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Unresolved {
    /// Reason of the event to send.
    pub(crate) reason: &'static str,
    /// For people: what is missing and what to do.
    pub(crate) message: String,
    /// What else was noticed. Each is given once while it holds.
    pub(crate) notices: Vec<Notice>,
    /// The API server could not be asked, so nothing is known about the pod's references. Otherwise they are known
    /// to be missing or wrong.
    pub(crate) transient: bool,
}

impl Unresolved {
    fn held(reason: &'static str, message: String) -> Unresolved {
        Unresolved { reason, message, notices: Vec::new(), transient: false }
    }

    fn transient(reason: &'static str, message: String) -> Unresolved {
        Unresolved { reason, message, notices: Vec::new(), transient: true }
    }
}

/// Worth a warning event on the pod, although the pod goes on.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Notice {
    /// Reason of the event.
    pub(crate) reason: &'static str,
    /// For people.
    pub(crate) message: String,
}

/// Resolves pods. One per node; cheap to clone.
#[derive(Clone)]
pub(crate) struct References {
    client: Client,
    cache: Arc<Cache>,
    services: Arc<Services>,
    node: watch::Receiver<Option<Arc<NodeFacts>>>,
}

/// What a pod's files and credentials were made from.
struct Drafted {
    volumes: Vec<Draft>,
    logins: Vec<vk_provider::Login>,
    stamp: Stamp,
}

impl References {
    /// `scope` is the only namespace that the node serves, `None` for all. `shutdown` ends every watch.
    pub(crate) fn new(
        client: Client,
        scope: Option<String>,
        node: watch::Receiver<Option<Arc<NodeFacts>>>,
        metrics: Metrics,
        shutdown: CancellationToken,
    ) -> References {
        let cache = Cache::new(client.clone(), metrics.clone(), shutdown.clone());
        let services = Arc::new(Services::new(client.clone(), scope, metrics, shutdown));
        References { client, cache, services, node }
    }

    /// Resolves all that a pod refers to. `environment` is what the resolution for the pod's creation gave.
    ///
    /// Takes at most some ten seconds for each step that asks the API server. After success, `links` watches what can
    /// still change: not what only variables were taken from. After a failure it watches everything, so that
    /// [`Links::changed`] fires as soon as what is missing is there.
    pub(crate) async fn resolve(
        &self,
        pod: &Pod,
        links: &mut Links,
        environment: Option<&Environment>,
    ) -> Result<Resolved, Unresolved> {
        let mut notices = Vec::new();
        let result = self.resolve_with(pod, links, environment, &mut notices).await;
        let notices = links.untold(notices, result.is_ok());
        match result {
            Ok(resolved) => Ok(Resolved { notices, ..resolved }),
            Err(unresolved) => Err(Unresolved { notices, ..unresolved }),
        }
    }

    /// The stamp that [`resolve`](Self::resolve) would give, without asking for tokens: for a pod that another process
    /// created, to see whether anything changed since. `links` watches what can still change.
    pub(crate) async fn stamp(&self, pod: &Pod, links: &mut Links) -> Result<Stamp, Unresolved> {
        let namespace = namespace(pod);
        let keys = changeable(pod, namespace);
        links.add(&self.cache, &keys);
        links.keep_only(&keys);
        let objects = links.read(deadline()).await;
        let node = self.node.borrow().clone().unwrap_or_default();
        Ok(draft(pod, namespace, &node, &objects, &mut Vec::new())?.stamp)
    }

    async fn resolve_with(
        &self,
        pod: &Pod,
        links: &mut Links,
        environment: Option<&Environment>,
        notices: &mut Vec<Notice>,
    ) -> Result<Resolved, Unresolved> {
        let namespace = namespace(pod);
        let environment = environment.cloned().unwrap_or_default();
        let changeable = changeable(pod, namespace);
        let mut keys = environment.wanted(pod, namespace);
        keys.extend(changeable.iter().cloned());
        links.add(&self.cache, &keys);
        links.keep_only(&keys);
        links.awaits_claim = false;

        let deadline = deadline();
        let services = if environment.covers(pod) {
            Vec::new()
        } else {
            let wanted = pod.spec.as_ref().and_then(|spec| spec.enable_service_links) != Some(false);
            self.services.variables(namespace, wanted, deadline).await?
        };
        let objects = links.read(deadline).await;
        let node = self.node.borrow().clone().unwrap_or_default();

        let ingredients =
            environment::Ingredients { pod, namespace, node: &node, objects: &objects, services: &services };
        let environment = environment.completed(&ingredients, notices)?;
        let manifest = manifest::manifest(pod, &environment)?;
        let Drafted { volumes, logins, stamp } = draft(pod, namespace, &node, &objects, notices)?;
        let claims = claims::read(&self.client, pod, namespace, notices).await.inspect_err(|error| {
            links.awaits_claim = !error.transient;
        })?;

        let tokens: BTreeSet<_> = volumes.iter().flat_map(Draft::tokens).cloned().collect();
        links.tokens.provide(&self.client, pod, namespace, &tokens).await?;
        let renew_at = links.tokens.renew_at();
        let tokens = links.tokens.values();
        let refreshed: Vec<bool> = volumes.iter().map(|volume| volume.refreshed).collect();
        let volumes: Vec<_> = volumes.into_iter().map(|volume| volume.finish(&tokens)).collect();

        links.keep_only(&changeable);
        Ok(Resolved {
            fingerprint: Fingerprint::new(&stamp, &volumes, &refreshed, &logins),
            stamp: stamp.renewed_after(renew_at.map(|at| at.saturating_duration_since(Instant::now()))),
            pod: vk_provider::Pod {
                id: PodId {
                    namespace: namespace.to_owned(),
                    name: pod.metadata.name.clone().unwrap_or_default(),
                    uid: pod.metadata.uid.clone().unwrap_or_default(),
                    handle: None,
                },
                manifest: manifest.into(),
                volumes: volumes.into(),
                logins: logins.into(),
                objects: claims.into(),
            },
            environment,
            renew_at,
            notices: Vec::new(),
        })
    }
}

/// Makes the volumes and the logins, and says what they are made from.
fn draft(
    pod: &Pod,
    namespace: &str,
    node: &NodeFacts,
    objects: &Objects,
    notices: &mut Vec<Notice>,
) -> Result<Drafted, Unresolved> {
    let volumes = volumes::draft(&volumes::Ingredients { pod, namespace, node, objects }, notices)?;
    let (logins, versions) = logins::logins(pod, namespace, objects, notices)?;
    let stamp = Stamp::new(pod, &volumes, &versions).map_err(|error| {
        Unresolved::held("CreateContainerConfigError", format!("the pod is not valid JSON: {error}"))
    })?;
    Ok(Drafted { volumes, logins, stamp })
}

/// The objects whose changes reach a running pod.
fn changeable(pod: &Pod, namespace: &str) -> BTreeSet<Key> {
    let mut keys = volumes::wanted(pod, namespace);
    keys.extend(logins::wanted(pod, namespace));
    keys
}

fn namespace(pod: &Pod) -> &str {
    pod.metadata.namespace.as_deref().unwrap_or("default")
}

/// When a step that asks the API server is given up.
fn deadline() -> Instant {
    Instant::now() + api::REQUEST_TIME
}
