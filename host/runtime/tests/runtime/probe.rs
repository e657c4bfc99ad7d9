//! A runtime that runs the probe, and ways to ask it.

use std::{
    io::Write,
    sync::{Arc, Mutex},
    time::Duration,
};

use prometheus_client::registry::Registry;
use serde_json::Value;
use tokio::sync::mpsc;
use vk_provider::{Error, Pod, PodEvent, PodId, Provider as _};
use vk_runtime::{Engine, Generation, Limits, Runtime, Sandbox, StartError, Startup};

use crate::guests::{guest, scratch};

pub(crate) struct Probe {
    pub(crate) runtime: Arc<Runtime>,
    pub(crate) events: mpsc::Receiver<PodEvent>,
    pub(crate) registry: Registry,
}

/// The probe with nothing granted.
pub(crate) fn generation() -> Generation {
    Generation {
        wasm: guest("probe"),
        label: "probe.wasm".into(),
        startup: Startup {
            owner: "owner".into(),
            node_name: "node".into(),
            operating_system: None,
            settings: "{}".into(),
        },
        sandbox: Sandbox::default(),
    }
}

pub(crate) fn with_limits(limits: Limits) -> Generation {
    let mut generation = generation();
    generation.sandbox.limits = limits;
    generation
}

pub(crate) fn with_settings(settings: &str) -> Generation {
    let mut generation = generation();
    generation.startup.settings = settings.into();
    generation
}

pub(crate) fn id(uid: &str, handle: Option<&str>) -> PodId {
    PodId { namespace: "default".into(), name: "web".into(), uid: uid.into(), handle: handle.map(Into::into) }
}

pub(crate) fn pod(command: &str) -> Pod {
    let manifest = serde_json::json!({ "metadata": { "annotations": { "probe": command } } });
    Pod {
        id: id("uid", None),
        manifest: manifest.to_string().into(),
        volumes: [].into(),
        logins: [].into(),
        objects: [].into(),
    }
}

impl Probe {
    pub(crate) async fn start(generation: Generation) -> Self {
        Self::try_start(generation).await.unwrap_or_else(|error| panic!("{error}"))
    }

    pub(crate) async fn try_start(generation: Generation) -> Result<Self, StartError> {
        let mut registry = Registry::default();
        let engine = Engine::new(Some(&scratch().join("compiled")), &mut registry).unwrap();
        let (sender, events) = mpsc::channel(100);
        let runtime = Arc::new(Runtime::start(engine, generation, sender).await?);
        Ok(Self { runtime, events, registry })
    }

    /// Has the probe run a command, and returns its result.
    pub(crate) async fn ask(&self, command: &str) -> Result<Value, Error> {
        ask(&self.runtime, command).await
    }

    /// A sample of the metrics, by name and labels as in the text format; 0 if it is not there.
    pub(crate) fn metric(&self, sample: &str) -> f64 {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).unwrap();
        let value = text.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
        value.map_or(0.0, |value| value.parse().unwrap())
    }

    pub(crate) fn retired(&self, reason: &str) -> f64 {
        self.metric(&format!("vk_provider_instances_retired_total{{reason=\"{reason}\"}}"))
    }

    pub(crate) fn instances(&self, state: &str) -> f64 {
        self.metric(&format!("vk_provider_instances{{state=\"{state}\"}}"))
    }

    pub(crate) async fn until(&self, condition: impl Fn(&Self) -> bool) {
        while !condition(self) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

pub(crate) async fn ask(runtime: &Runtime, command: &str) -> Result<Value, Error> {
    let observation = runtime.get(&id("uid", Some(command))).await?;
    let status: Value = serde_json::from_str(&observation.status.expect("a status")).expect("JSON");
    Ok(status["result"].clone())
}

/// Collects what is logged on this thread while it lives.
pub(crate) struct Logs {
    text: Arc<Mutex<Vec<u8>>>,
    _guard: tracing::subscriber::DefaultGuard,
}

#[derive(Clone)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Logs {
    pub(crate) fn collect() -> Self {
        let text = Arc::new(Mutex::new(Vec::new()));
        let sink = Sink(text.clone());
        let subscriber = tracing_subscriber::fmt()
            .with_writer(move || sink.clone())
            .with_max_level(tracing::Level::DEBUG)
            .with_ansi(false)
            .finish();
        Self { text, _guard: tracing::subscriber::set_default(subscriber) }
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        String::from_utf8_lossy(&self.text.lock().unwrap()).lines().map(ToOwned::to_owned).collect()
    }

    pub(crate) fn line_with(&self, part: &str) -> String {
        let lines = self.lines();
        lines.iter().find(|line| line.contains(part)).unwrap_or_else(|| panic!("no {part:?} in {lines:#?}")).clone()
    }
}
