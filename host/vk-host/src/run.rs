//! Runs a node: finds the cluster, starts the provider, and stops both cleanly.
//!
//! ```text
//!  flags, files ──> Sources ──> Runtime (the provider) <── calls ── Node <──> API server
//!                      ^            ^                         │
//!                      └── reload ──┘        admin <── registered, counters
//!                                   ^                         │
//!                        kubelet API └── sessions, logs ── pods by name
//! ```

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use prometheus_client::registry::Registry;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::{mpsc, watch},
};
use tokio_util::sync::CancellationToken;
use vk_node::{Node, Taints};
use vk_provider::Provider as _;
use vk_runtime::{Engine, EngineError, Runtime};

use crate::{
    address,
    admin::{self, Readiness},
    clients::{self, Cluster},
    environment::Environment,
    files::{Files, Seen},
    flags::{CacheDir, Run},
    generation::Sources,
    kubelet::{self, Listening},
    log, reload, usage,
};

/// How long calls that were begun for the node may take after it has stopped; the node has waited for them before.
const CLOSE_WITHIN: Duration = Duration::from_secs(5);
/// How long work that cannot be interrupted, such as compiling, may hold up the end.
const EXIT_WITHIN: Duration = Duration::from_secs(1);
/// Reports of the provider that wait to be recorded; what exceeds it is dropped with a log line.
const PENDING_EVENTS: usize = 1_024;

/// Runs a node until SIGTERM or SIGINT.
///
/// # Errors
///
/// If it cannot be started, its name belongs to a real kubelet, or another process takes over the node.
pub(crate) fn run(run: Run, environment: Environment) -> anyhow::Result<()> {
    log::start(&run.log)?;
    for flag in &run.ignored {
        tracing::warn!("{flag} does nothing here and will be an error some day: remove it");
    }
    raise_descriptors();
    let threads = tokio::runtime::Runtime::new().context("cannot start threads")?;
    let outcome = threads.block_on(async {
        let stop = stop_on_signals()?;
        // From the start: without a listener, SIGHUP ends a process.
        let hangup = signal(SignalKind::hangup()).context("cannot listen to signals")?;
        match stop.run_until_cancelled(start(run, environment, &stop)).await {
            Some(host) => host?.run(hangup, stop).await,
            // Stopped before there was a node.
            None => Ok(()),
        }
    });
    threads.shutdown_timeout(EXIT_WITHIN);
    outcome
}

/// Everything that runs.
struct Host {
    node: Node,
    kubelet: kubelet::Serving,
    runtime: Arc<Runtime>,
    sources: Arc<Sources>,
    files: Files,
    ready: watch::Sender<bool>,
}

async fn start(run: Run, environment: Environment, stop: &CancellationToken) -> anyhow::Result<Host> {
    install_crypto();
    let cluster = Cluster::find(run.kubeconfig.as_deref(), &environment).await?;
    let mut registry = admin::registry();
    let clients = cluster.clients(&clients::Metrics::new(&mut registry))?;
    let kubelet = Listening::start(run.kubelet, &mut registry).await?;
    let cache = run.provider.cache.clone();
    let mut protected = cluster.protected;
    protected.extend(kubelet.protected());
    let addresses = match (run.addresses, cluster.servers.first()) {
        (given, Some((host, port))) if given.is_empty() => vec![address::towards(host, *port).await?],
        (given, _) => given,
    };
    let mut denied = cluster.servers;
    denied.extend(kubelet.denied(&addresses));
    let mut sources = Sources {
        owner: run.provider.owner.clone().unwrap_or_default(),
        options: run.provider,
        environment,
        protected,
        denied,
    };
    // What is wrong with files is said before anything is asked of the cluster.
    let mut seen = Seen::default();
    let mut generation = sources.load(&mut seen)?;

    let engine = engine(&cache, &mut registry)?;
    let metrics = vk_node::Metrics::new(&mut registry);
    let registry = Arc::new(registry);
    let (ready, registered) = watch::channel(false);
    if let Some(address) = &run.metrics_addr {
        let listener = admin::listen(address).await?;
        let readiness = Readiness { registered: registered.clone(), stop: stop.clone() };
        tokio::spawn(admin::serve(listener, registry.clone(), readiness));
    }

    if sources.owner.is_empty() {
        sources.owner = vk_node::owner(&clients.main, &sources.options.node_name).await?;
        generation.startup.owner.clone_from(&sources.owner);
    }
    let (events, reported) = mpsc::channel(PENDING_EVENTS);
    let runtime = Arc::new(Runtime::start(engine, generation, events).await?);
    let provider = runtime.info();
    tracing::info!(
        node = sources.options.node_name,
        provider = provider.name,
        provider_version = provider.version,
        owner = sources.owner,
        ?addresses,
        "starting the node"
    );

    let config = vk_node::Config {
        node_name: sources.options.node_name.clone(),
        namespace: run.namespace,
        operating_system: sources.options.operating_system,
        addresses: addresses.clone(),
        port: Some(kubelet.port()),
        declared_features: kubelet::FEATURES.map(str::to_owned).to_vec(),
        taints: run.taint.map_or(Taints::Disabled, |taint| Taints::Given(taint.taint(&provider.name))),
        keep_orphans: run.keep_orphans,
        not_ready_after: run.not_ready_after,
        version: env!("CARGO_PKG_VERSION").into(),
    };
    let client = clients.main.clone();
    let node = Node::new(config, clients, runtime.clone(), reported, metrics);
    let wiring = kubelet::Wiring {
        node_name: sources.options.node_name.clone(),
        addresses,
        client,
        runtime: runtime.clone(),
        directory: node.directory(),
        memory: Box::new(node.memory()),
        registry,
        ready: registered,
    };
    let kubelet = kubelet.server(wiring)?;
    Ok(Host { node, kubelet, runtime, sources: Arc::new(sources), files: Files::watch(seen), ready })
}

impl Host {
    async fn run(self, hangup: Signal, stop: CancellationToken) -> anyhow::Result<()> {
        let Self { node, kubelet, runtime, sources, files, ready } = self;
        let registered = node.registered();
        tokio::spawn(async move {
            registered.await;
            // Without an admin server nobody listens.
            ready.send_replace(true);
        });
        let kubelet = tokio::spawn({
            let stop = stop.clone();
            async move {
                let ended = tokio::spawn(kubelet.run(stop.clone())).await;
                // Without it the node is not what it says.
                stop.cancel();
                ended
            }
        });
        let reload = reload::run(sources, files, hangup, runtime.clone(), node.handle(), stop.clone());
        let reload = tokio::spawn(reload);
        let outcome = node.run(stop.clone()).await;
        // A node that ends by itself ends the rest.
        stop.cancel();
        if let Err(error) = reload.await {
            tracing::error!(%error, "replacing the provider ended abnormally");
        }
        // Sessions get their time to end, unless the node is another process's: then nothing more reaches the provider.
        let served = if outcome.is_ok() { kubelet.await.and_then(|ended| ended) } else { Ok(()) };
        runtime.close(CLOSE_WITHIN).await;
        outcome?;
        served.context("the kubelet API ended abnormally")?;
        tracing::info!("stopped; pods are left running");
        Ok(())
    }
}

/// Cancelled by the first SIGTERM or SIGINT; the second ends the process at once.
fn stop_on_signals() -> anyhow::Result<CancellationToken> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen to signals")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen to signals")?;
    let stop = CancellationToken::new();
    let stopped = stop.clone();
    tokio::spawn(async move {
        let name = either(&mut terminate, &mut interrupt).await;
        tracing::info!("{name}: stopping; a second one ends without waiting");
        stopped.cancel();
        let name = either(&mut terminate, &mut interrupt).await;
        usage::print_error(&format!("ended by a second {name} without waiting for calls in flight"));
        std::process::exit(1);
    });
    Ok(stop)
}

async fn either(terminate: &mut Signal, interrupt: &mut Signal) -> &'static str {
    tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    }
}

/// Makes ring the cryptography of every TLS connection of the process.
pub(crate) fn install_crypto() {
    // It fails only where one is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// Raises the bound on open files to what the system allows: each connection, file and directory of a provider's
/// instances takes one, and shells give 1,024.
fn raise_descriptors() {
    let limit = getrlimit(Resource::Nofile);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
    if let Err(error) = raised {
        tracing::debug!(%error, ?limit, "the bound on open files stays as it is");
    }
}

/// The engine. A cache that nobody asked for may be missing, as where the file system is read-only.
///
/// # Errors
///
/// If a cache that was asked for cannot be used.
pub(crate) fn engine(cache: &CacheDir, registry: &mut Registry) -> anyhow::Result<Engine> {
    match cache {
        CacheDir::Given(folder) => Engine::new(Some(folder), registry).context("--cache-dir"),
        CacheDir::Default(folder) => match Engine::new(Some(folder), registry) {
            Err(error @ EngineError::Cache { .. }) => {
                tracing::warn!("components are compiled at every start: {error}; or give --cache-dir");
                Ok(Engine::new(None, registry)?)
            }
            made => Ok(made?),
        },
        CacheDir::Nowhere => {
            tracing::info!("components are compiled at every start: give --cache-dir to keep them");
            Ok(Engine::new(None, registry)?)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cache_must_be_usable_only_if_it_was_asked_for() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("file");
        std::fs::write(&file, "").unwrap();
        let folder = file.join("cache");
        assert!(engine(&CacheDir::Default(folder.clone()), &mut Registry::default()).is_ok());
        let refusal = format!("{:#}", engine(&CacheDir::Given(folder), &mut Registry::default()).err().unwrap());
        assert!(refusal.starts_with("--cache-dir: cannot keep compiled components in"), "{refusal}");
    }

    #[test]
    fn as_many_files_may_be_open_as_the_system_allows() {
        raise_descriptors();
        let limit = getrlimit(Resource::Nofile);
        assert_eq!(limit.current, limit.maximum);
    }
}
