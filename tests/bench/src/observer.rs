//! What the world sees of a node's pods: a watch of the bench's own, which notes when each became Ready and when it went.
//!
//! It takes from an event only what it needs, so that it takes little of the processor from those who are measured, and
//! goes on from the last resourceVersion when the API server closes a watch that it finds slow.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use futures::TryStreamExt as _;
use http::Request;
use kube::{Client, core::WatchEvent};
use serde::Deserialize;
use tokio::{sync::mpsc, task::JoinHandle, time};

/// No phase takes longer, unless something is broken.
const PATIENCE: Duration = Duration::from_secs(180);

/// Something that happened to a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sight {
    Ready,
    Gone,
}

/// A watch of the pods of one node. Dropping it ends it.
pub(crate) struct Observer {
    sights: mpsc::UnboundedReceiver<(Sight, String, Instant)>,
    task: JoinHandle<Result<()>>,
}

impl Observer {
    /// Watches from now on.
    pub(crate) async fn start(client: Client, node: &str) -> Result<Self> {
        let pods = format!("/api/v1/pods?fieldSelector=spec.nodeName%3D{node}");
        let list: Listing = client.request(Request::get(format!("{pods}&limit=1")).body(Vec::new())?).await?;
        let (sender, sights) = mpsc::unbounded_channel();
        let task = tokio::spawn(observe(client, pods, list.metadata.resource_version, sender));
        Ok(Self { sights, task })
    }

    /// Waits until so many pods have become Ready, or have gone. Answers when each did, in order.
    pub(crate) async fn wait(&mut self, sight: Sight, pods: usize) -> Result<Vec<(String, Instant)>> {
        // A pod is Ready in every event that comes after the first, too.
        let mut seen = HashMap::new();
        let waiting = async {
            while seen.len() < pods {
                let Some((what, name, at)) = self.sights.recv().await else { return };
                if what == sight {
                    seen.entry(name).or_insert(at);
                }
            }
        };
        let outcome = time::timeout(PATIENCE, waiting).await;
        if outcome.is_err() {
            bail!("after {PATIENCE:?}, {} of {pods} pods are {sight:?}", seen.len());
        }
        if seen.len() < pods {
            (&mut self.task).await?.context("the bench's own watch failed")?;
        }
        let mut seen: Vec<_> = seen.into_iter().collect();
        seen.sort_by_key(|(_, at)| *at);
        Ok(seen)
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn observe(
    client: Client,
    pods: String,
    mut version: String,
    sights: mpsc::UnboundedSender<(Sight, String, Instant)>,
) -> Result<()> {
    loop {
        let request = Request::get(format!("{pods}&watch=true&resourceVersion={version}")).body(Vec::new())?;
        let mut events = Box::pin(client.request_events::<Pod>(request).await?);
        // A closed watch ends, or breaks.
        while let Ok(Some(event)) = events.try_next().await {
            let (pod, gone) = match event {
                WatchEvent::Added(pod) | WatchEvent::Modified(pod) => (pod, false),
                WatchEvent::Deleted(pod) => (pod, true),
                WatchEvent::Bookmark(_) => continue,
                WatchEvent::Error(status) => bail!("{}", status.message),
            };
            let sight = match gone {
                true => Some(Sight::Gone),
                false => pod.is_ready().then_some(Sight::Ready),
            };
            version = pod.metadata.resource_version;
            if let Some(sight) = sight
                && sights.send((sight, pod.metadata.name, Instant::now())).is_err()
            {
                return Ok(());
            }
        }
    }
}

#[derive(Deserialize)]
struct Listing {
    metadata: Metadata,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    #[serde(default)]
    name: String,
    resource_version: String,
}

/// What there is to know of a pod.
#[derive(Debug, Clone, Deserialize)]
struct Pod {
    metadata: Metadata,
    #[serde(default)]
    status: Status,
}

#[derive(Debug, Clone, Default, Deserialize)]
struct Status {
    #[serde(default)]
    conditions: Vec<Condition>,
}

#[derive(Debug, Clone, Deserialize)]
struct Condition {
    #[serde(rename = "type")]
    kind: String,
    status: String,
}

impl Pod {
    fn is_ready(&self) -> bool {
        self.status.conditions.iter().any(|condition| condition.kind == "Ready" && condition.status == "True")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_is_ready_by_its_condition_alone() {
        let pod = |status: &str| -> Pod {
            let json = format!(r#"{{"metadata": {{"name": "p", "resourceVersion": "1"}}, "spec": {{}}{status}}}"#);
            serde_json::from_str(&json).unwrap()
        };
        let condition = |kind: &str, status: &str| {
            format!(r#", "status": {{"phase": "Running", "conditions": [{{"type": "{kind}", "status": "{status}"}}]}}"#)
        };
        assert!(pod(&condition("Ready", "True")).is_ready());
        assert!(!pod(&condition("Ready", "False")).is_ready());
        assert!(!pod(&condition("Initialized", "True")).is_ready());
        assert!(!pod("").is_ready());
    }
}
