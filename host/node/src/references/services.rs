//! The Services of the cluster as variables: `X_SERVICE_HOST`, `X_SERVICE_PORT` and the rest.
//!
//! One watch of all Services begins with the first pod that asks; on a node that serves one namespace, one watch of that
//! namespace's and one of `default/kubernetes`, which as on every node is told to the pods of all namespaces. Whoever
//! grants such a node no more than its namespace cannot have it read: its pods then go without, as the log says. Only
//! the variables are kept.

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    pin::pin,
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use futures::StreamExt;
use k8s_openapi::api::core::v1::Service;
use kube::{
    Api, Client,
    runtime::{
        WatchStreamExt,
        watcher::{self, Event, watcher},
    },
};
use tokio::{sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{Unresolved, api};
use crate::metrics::{Metrics, Watched};

/// The Service of the API server itself, which every pod gets.
const MASTER: (&str, &str) = ("default", "kubernetes");
/// Reason of the event.
const REASON: &str = "FailedToReadServices";

/// Name and value of a variable.
pub(super) type Variable = (Arc<str>, Arc<str>);

/// The variables of Services, by namespace and name.
type ByNamespace = HashMap<String, BTreeMap<String, Arc<[Variable]>>>;

/// The variables of the Services of one watch.
#[derive(Default)]
struct Source {
    services: Mutex<ByNamespace>,
    listed: watch::Sender<Listed>,
    /// Pods go without where the node may not read it.
    optional: bool,
}

#[derive(Debug, Clone, Default, PartialEq)]
enum Listed {
    #[default]
    Waiting,
    Failing(String),
    Denied(String),
    Done,
}

/// The Services that pods may see.
pub(super) struct Services {
    client: Client,
    scope: Option<String>,
    metrics: Metrics,
    shutdown: CancellationToken,
    sources: OnceLock<Vec<Arc<Source>>>,
}

impl Services {
    pub(super) fn new(
        client: Client,
        scope: Option<String>,
        metrics: Metrics,
        shutdown: CancellationToken,
    ) -> Services {
        Services { client, scope, metrics, shutdown, sources: OnceLock::new() }
    }

    /// The variables that a pod of this namespace gets. Waits until all Services were listed once.
    pub(super) async fn variables(
        &self,
        namespace: &str,
        links: bool,
        deadline: Instant,
    ) -> Result<Vec<Variable>, Unresolved> {
        let sources = self.sources.get_or_init(|| self.start());
        for source in sources {
            let mut listed = source.listed.subscribe();
            let answered = listed.wait_for(|listed| matches!(listed, Listed::Done | Listed::Denied(_)));
            // What is known of one that is late is looked at below.
            let _ = tokio::time::timeout_at(deadline, answered).await;
            let failed = |error: &str| format!("services could not be listed, which variables are made from: {error}");
            match &*source.listed.borrow() {
                Listed::Done => {}
                Listed::Denied(_) if source.optional => {}
                Listed::Denied(error) => return Err(Unresolved::held(REASON, failed(error))),
                Listed::Failing(error) => return Err(Unresolved::transient(REASON, failed(error))),
                Listed::Waiting => {
                    return Err(Unresolved::transient(REASON, failed("no answer from the API server")));
                }
            }
        }

        let mut chosen: BTreeMap<String, Arc<[Variable]>> = BTreeMap::new();
        for source in sources {
            let services = source.services.lock().unwrap_or_else(PoisonError::into_inner);
            let master = services.get(MASTER.0).and_then(|services| services.get_key_value(MASTER.1));
            // A Service of the pod's own namespace wins over the API server's.
            let own = services.get(namespace).filter(|_| links).into_iter().flatten();
            for (name, variables) in own {
                chosen.insert(name.clone(), variables.clone());
            }
            if let Some((name, variables)) = master {
                chosen.entry(name.clone()).or_insert_with(|| variables.clone());
            }
        }
        Ok(chosen.values().flat_map(|variables| variables.iter().cloned()).collect())
    }

    fn start(&self) -> Vec<Arc<Source>> {
        let all = |namespace: Option<&str>| match namespace {
            Some(namespace) => Api::<Service>::namespaced(self.client.clone(), namespace),
            None => Api::<Service>::all(self.client.clone()),
        };
        let mut watches = vec![(all(self.scope.as_deref()), watcher::Config::default(), false)];
        if self.scope.as_deref().is_some_and(|scope| scope != MASTER.0) {
            let only = watcher::Config::default().fields(&format!("metadata.name={}", MASTER.1));
            watches.push((all(Some(MASTER.0)), only, true));
        }
        let mut sources = Vec::new();
        for (api, config, optional) in watches {
            let source = Arc::new(Source { optional, ..Source::default() });
            let (shutdown, follower, metrics) = (self.shutdown.clone(), source.clone(), self.metrics.clone());
            tokio::spawn(async move { shutdown.run_until_cancelled(follow(api, config, &follower, &metrics)).await });
            sources.push(source);
        }
        sources
    }
}

impl Source {
    /// Notes why it has not been listed, if it never was.
    fn failed(&self, error: &watcher::Error) {
        let words = api::watch_error(error);
        let denied = api::watch_code(error) == Some(403);
        let newly = self.listed.send_if_modified(|listed| {
            let before = listed.clone();
            match listed {
                Listed::Done => {}
                _ if denied => *listed = Listed::Denied(words.clone()),
                _ => *listed = Listed::Failing(words.clone()),
            }
            *listed != before
        });
        if newly && denied && self.optional {
            let (namespace, name) = MASTER;
            tracing::warn!(
                "pods get no KUBERNETES_SERVICE_HOST and the like: let the node list and watch service {name} in \
                 namespace {namespace}, or leave out --namespace ({words})"
            );
        }
    }
}

/// Keeps a source in step with the cluster, for ever.
async fn follow(api: Api<Service>, config: watcher::Config, source: &Source, metrics: &Metrics) {
    let mut events = pin!(watcher(api, config).backoff(crate::watching::pauses()));
    let mut listing = ByNamespace::new();
    while let Some(event) = events.next().await {
        metrics.watch(Watched::Services, &event);
        let mut services = source.services.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Ok(Event::Init) => listing.clear(),
            Ok(Event::InitApply(service)) => apply(&mut listing, &service),
            Ok(Event::InitDone) => {
                *services = std::mem::take(&mut listing);
                drop(services);
                source.listed.send_replace(Listed::Done);
            }
            Ok(Event::Apply(service)) => apply(&mut services, &service),
            Ok(Event::Delete(service)) => remove(&mut services, &service),
            Err(error) => {
                drop(services);
                source.failed(&error);
            }
        }
    }
}

fn apply(services: &mut ByNamespace, service: &Service) {
    let variables = variables(service);
    if variables.is_empty() {
        remove(services, service);
    } else if let (Some(namespace), Some(name)) = (&service.metadata.namespace, &service.metadata.name) {
        services.entry(namespace.clone()).or_default().insert(name.clone(), variables.into());
    }
}

fn remove(services: &mut ByNamespace, service: &Service) {
    if let (Some(namespace), Some(name)) = (&service.metadata.namespace, &service.metadata.name)
        && let Some(of_namespace) = services.get_mut(namespace)
    {
        of_namespace.remove(name);
        if of_namespace.is_empty() {
            services.remove(namespace);
        }
    }
}

/// The variables that the kubelet makes of a Service; none for one without an address of its own.
fn variables(service: &Service) -> Vec<Variable> {
    let Some((spec, name)) = service.spec.as_ref().zip(service.metadata.name.as_deref()) else { return Vec::new() };
    let Some(address) = spec.cluster_ip.as_deref().filter(|address| !matches!(*address, "" | "None")) else {
        return Vec::new();
    };
    let constant = |name: &str| name.replace('-', "_").to_uppercase();
    let prefix = constant(name);
    let ports = spec.ports.as_deref().unwrap_or_default();
    let mut result = vec![(format!("{prefix}_SERVICE_HOST"), address.to_owned())];
    if let Some(first) = ports.first() {
        result.push((format!("{prefix}_SERVICE_PORT"), first.port.to_string()));
    }
    for port in ports {
        if let Some(name) = port.name.as_deref().filter(|name| !name.is_empty()) {
            result.push((format!("{prefix}_SERVICE_PORT_{}", constant(name)), port.port.to_string()));
        }
    }
    for (index, port) in ports.iter().enumerate() {
        let protocol = port.protocol.as_deref().filter(|protocol| !protocol.is_empty()).unwrap_or("TCP");
        let scheme = protocol.to_lowercase();
        let number = port.port;
        let url = match address.parse() {
            Ok(IpAddr::V6(_)) => format!("{scheme}://[{address}]:{number}"),
            _ => format!("{scheme}://{address}:{number}"),
        };
        if index == 0 {
            result.push((format!("{prefix}_PORT"), url.clone()));
        }
        let prefix = format!("{prefix}_PORT_{number}_{}", protocol.to_uppercase());
        result.push((format!("{prefix}_PROTO"), scheme));
        result.push((format!("{prefix}_PORT"), number.to_string()));
        result.push((format!("{prefix}_ADDR"), address.to_owned()));
        result.push((prefix, url));
    }
    result.into_iter().map(|(name, value)| (name.into(), value.into())).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn made_of(service: serde_json::Value) -> BTreeMap<String, String> {
        let service: Service = serde_json::from_value(service).unwrap();
        variables(&service).into_iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
    }

    #[test]
    fn a_service_becomes_the_variables_that_the_kubelet_makes() {
        let found = made_of(json!({
            "metadata": {"name": "my-db", "namespace": "ns"},
            "spec": {"clusterIP": "10.0.0.9", "ports": [
                {"port": 5432, "name": "sql", "protocol": "TCP"},
                {"port": 53, "name": "d-ns", "protocol": "UDP"},
            ]},
        }));
        let expected = [
            ("MY_DB_SERVICE_HOST", "10.0.0.9"),
            ("MY_DB_SERVICE_PORT", "5432"),
            ("MY_DB_SERVICE_PORT_SQL", "5432"),
            ("MY_DB_SERVICE_PORT_D_NS", "53"),
            ("MY_DB_PORT", "tcp://10.0.0.9:5432"),
            ("MY_DB_PORT_5432_TCP", "tcp://10.0.0.9:5432"),
            ("MY_DB_PORT_5432_TCP_PROTO", "tcp"),
            ("MY_DB_PORT_5432_TCP_PORT", "5432"),
            ("MY_DB_PORT_5432_TCP_ADDR", "10.0.0.9"),
            ("MY_DB_PORT_53_UDP", "udp://10.0.0.9:53"),
            ("MY_DB_PORT_53_UDP_PROTO", "udp"),
            ("MY_DB_PORT_53_UDP_PORT", "53"),
            ("MY_DB_PORT_53_UDP_ADDR", "10.0.0.9"),
        ];
        assert_eq!(found, expected.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
    }

    #[test]
    fn an_ipv6_address_is_bracketed_in_urls_only() {
        let found = made_of(json!({
            "metadata": {"name": "six"}, "spec": {"clusterIP": "fd00::9", "ports": [{"port": 80}]},
        }));
        assert_eq!(found["SIX_PORT"], "tcp://[fd00::9]:80");
        assert_eq!(found["SIX_SERVICE_HOST"], "fd00::9");
    }

    #[test]
    fn a_service_without_an_address_makes_no_variables() {
        for spec in [json!({"clusterIP": "None", "ports": [{"port": 1}]}), json!({"clusterIP": ""}), json!({})] {
            assert!(made_of(json!({"metadata": {"name": "x"}, "spec": spec})).is_empty());
        }
    }
}
