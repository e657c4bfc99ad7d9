//! The pods of a node between a small API server and a small cloud, both in the process, in paused time.

mod cloud;
mod lives;
mod places;
mod vanishing;

use std::{sync::Arc, time::Duration};

use http::Method;
use k8s_openapi::jiff::Timestamp;
use prometheus_client::metrics::counter::Counter;
use serde_json::{Value, json};
use tokio::{sync::watch, time};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::*;
use crate::{
    admission::Admission,
    events::Events,
    fake_api::FakeApi,
    lease::Fence,
    metrics::Metrics,
    references::References,
    registration::{NodeFacts, NodeHandle},
};
use cloud::Cloud;

/// Nothing takes longer, of what is to happen at all.
const LONG: Duration = Duration::from_secs(3600);

fn path(name: &str) -> String {
    format!("namespaces/ns/pods/{name}")
}

/// A node that runs pods of the namespace `ns`.
struct World {
    api: FakeApi,
    directory: Directory,
    cloud: Arc<Cloud>,
    node: NodeHandle,
    facts: watch::Sender<Option<Arc<NodeFacts>>>,
    _stop: DropGuard,
}

impl World {
    fn start(api: &FakeApi, cloud: &Arc<Cloud>) -> Self {
        Self::start_with(api, cloud, false)
    }

    fn start_with(api: &FakeApi, cloud: &Arc<Cloud>, keep_orphans: bool) -> Self {
        let stop = CancellationToken::new();
        let (events, writer) = Events::new(api.client(), "vk", Counter::default());
        tokio::spawn(writer.run(stop.clone()));
        let facts = watch::Sender::new(Some(Arc::new(room_for("100"))));
        let namespace = Some("ns".to_owned());
        let node = NodeHandle::detached();
        let metrics = Metrics::default();
        let directory = Directory::default();
        let shared = Shared {
            provider: cloud.clone(),
            api: PodApi::new(api.client(), "vk", namespace.clone(), metrics.clone()),
            references: References::new(api.client(), namespace, facts.subscribe(), metrics.clone(), stop.clone()),
            admission: Admission::new(),
            directory: directory.clone(),
            events,
            node: node.clone(),
            facts: facts.subscribe(),
            fence: Fence::none(),
            nudge: Arc::default(),
            keep_orphans,
            metrics,
        };
        tokio::spawn(run(Arc::new(shared), stop.clone()));
        Self { api: api.clone(), directory, cloud: cloud.clone(), node, facts, _stop: stop.drop_guard() }
    }

    /// A node with running pods `p0`, `p1` and so on.
    async fn with_running(count: usize, spec: Value) -> Self {
        let world = Self::start(&FakeApi::default(), &Arc::default());
        for number in 0..count {
            world.make(&format!("p{number}"), spec.clone());
        }
        world.until(|world| (0..count).all(|number| world.phase(&format!("p{number}")) == "Running")).await;
        world
    }

    fn make(&self, name: &str, spec: Value) -> String {
        make(&self.api, name, spec)
    }

    fn phase(&self, name: &str) -> String {
        self.status(name, "phase")
    }

    /// A text of the pod's status.
    fn status(&self, name: &str, field: &str) -> String {
        let pod = self.api.get(&path(name)).unwrap_or_default();
        pod["status"][field].as_str().unwrap_or_default().to_owned()
    }

    /// The reasons of all events, with the names of what they are about.
    fn events(&self) -> Vec<(String, String)> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let about = |event: &Value| (text(&event["reason"]), text(&event["involvedObject"]["name"]));
        self.api.list("namespaces/ns/events").iter().map(about).collect()
    }

    fn has_event(&self, reason: &str) -> bool {
        self.events().iter().any(|(known, _)| known == reason)
    }

    async fn until(&self, mut holds: impl FnMut(&Self) -> bool) {
        let waiting = async {
            while !holds(self) {
                time::sleep(Duration::from_millis(50)).await;
            }
        };
        assert!(time::timeout(LONG, waiting).await.is_ok(), "it never came to pass: {:?}", self.events());
    }

    /// Somebody asks for the pod's deletion.
    fn delete(&self, name: &str) {
        let mut pod = self.api.get(&path(name)).unwrap();
        pod["metadata"]["deletionTimestamp"] = json!(Timestamp::now());
        pod["metadata"]["deletionGracePeriodSeconds"] = json!(30);
        self.api.put(&path(name), pod);
    }

    fn deletions(&self) -> usize {
        self.api.calls(&Method::DELETE).len()
    }
}

/// Makes a pod of the node; answers its uid.
fn make(api: &FakeApi, name: &str, spec: Value) -> String {
    let mut pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": name, "namespace": "ns", "generation": 1, "creationTimestamp": Timestamp::now() },
        "spec": {
            "nodeName": "vk", "automountServiceAccountToken": false, "enableServiceLinks": false,
            "containers": [{ "name": "main", "image": "main:1" }],
        },
        "status": { "phase": "Pending" },
    });
    crate::fake_api::merge(&mut pod, &spec);
    api.put(&path(name), pod);
    api.get(&path(name)).unwrap()["metadata"]["uid"].as_str().unwrap().to_owned()
}

/// A node that can take so many pods, and four CPUs' worth of them.
fn room_for(pods: &str) -> NodeFacts {
    let amount = |text: &str| k8s_openapi::apimachinery::pkg::api::resource::Quantity(text.into());
    NodeFacts {
        name: "vk".into(),
        uid: "node".into(),
        operating_system: "linux".into(),
        allocatable: [("pods".into(), amount(pods)), ("cpu".into(), amount("4"))].into(),
        host_ips: vec!["192.0.2.1".parse().unwrap()],
        ready: true,
        ..NodeFacts::default()
    }
}
