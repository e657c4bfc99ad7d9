//! The floor: the least that a kubelet can do.
//!
//! It lists and watches the pods of its node, writes one status for each new one, and deletes each deleted one. It
//! decides nothing, repairs nothing, keeps nothing but uids, and knows no provider. What it needs is what the API server
//! and the client library cost.

use std::{collections::HashSet, path::Path, pin::pin, sync::Arc};

use anyhow::{Context as _, Result};
use futures::StreamExt as _;
use k8s_openapi::{
    api::core::v1::{Container, Pod},
    jiff::Timestamp,
};
use kube::{
    Api, Client,
    api::{DeleteParams, Patch, PatchParams},
    runtime::watcher::{self, Event, watcher},
};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::control;

/// Requests at one time. Each has a connection of its own, and more of them make nothing faster.
const REQUESTS: usize = 32;

/// Plays the kubelet of `node`, until killed.
pub(crate) async fn run(kubeconfig: &Path, node: &str) -> Result<()> {
    let client = control::client(kubeconfig).await?;
    let permits = Arc::new(Semaphore::new(REQUESTS));
    let selection = watcher::Config::default().fields(&format!("spec.nodeName={node}"));
    let mut events = pin!(watcher(Api::<Pod>::all(client.clone()), selection));
    // What the watch says of a pod that has been dealt with is the echo of that.
    let (mut started, mut removed) = (HashSet::new(), HashSet::new());
    while let Some(event) = events.next().await {
        match event {
            Ok(Event::Apply(pod) | Event::InitApply(pod)) => {
                let dealt_with = if is_deleted(&pod) { &mut removed } else { &mut started };
                if dealt_with.insert(pod.metadata.uid.clone()) {
                    tokio::spawn(serve(client.clone(), permits.clone(), pod));
                }
            }
            Ok(Event::Delete(pod)) => {
                started.remove(&pod.metadata.uid);
                removed.remove(&pod.metadata.uid);
            }
            Ok(Event::Init | Event::InitDone) => {}
            Err(error) => eprintln!("the watch is resumed: {error}"),
        }
    }
    Ok(())
}

fn is_deleted(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some()
}

async fn serve(client: Client, permits: Arc<Semaphore>, pod: Pod) {
    let _permit = permits.acquire().await;
    if let Err(error) = write(client, &pod).await {
        eprintln!("{error:#}");
    }
}

async fn write(client: Client, pod: &Pod) -> Result<()> {
    let metadata = &pod.metadata;
    let (namespace, name) = metadata.namespace.as_deref().zip(metadata.name.as_deref()).context("a pod has no name")?;
    let api: Api<Pod> = Api::namespaced(client, namespace);
    let written = if is_deleted(pod) {
        api.delete(name, &DeleteParams::default().grace_period(0)).await.map(drop)
    } else {
        api.patch_status(name, &PatchParams::default(), &Patch::Strategic(running(pod))).await.map(drop)
    };
    written.with_context(|| format!("cannot write {namespace}/{name}"))
}

fn running(pod: &Pod) -> Value {
    let now = Timestamp::now();
    let condition = |kind: &str| json!({"type": kind, "status": "True", "lastTransitionTime": now});
    let container = |container: &Container| {
        json!({
            "name": container.name, "image": container.image, "imageID": "", "restartCount": 0, "ready": true,
            "started": true, "state": {"running": {"startedAt": now}},
        })
    };
    let conditions = ["Initialized", "Ready", "ContainersReady"].map(condition);
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    json!({"status": {
        "phase": "Running",
        "startTime": now,
        "podIP": "10.0.0.1",
        "podIPs": [{"ip": "10.0.0.1"}],
        "conditions": conditions,
        "containerStatuses": containers.map(container).collect::<Vec<_>>(),
    }})
}
