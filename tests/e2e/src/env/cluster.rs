//! What the API server has: by kubectl as users see it, and by watches.

use std::process::Stdio;

use anyhow::{Context as _, Result, ensure};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::api::core::v1::{Event, Node, Pod};
use kube::{
    Api,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
    runtime::watcher,
};
use serde_json::Value;
use tokio::io::AsyncWriteExt as _;

use super::Env;
use crate::{PATIENCE, PodBuilder, Seen, is_ready, until};

impl Env {
    /// Runs kubectl in the test's namespace and returns what it prints.
    ///
    /// # Errors
    ///
    /// If it fails; the error is what it says.
    pub async fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        let output = self.cluster.kubectl().args(["--namespace", &self.namespace]).args(arguments).output().await?;
        let errors = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "kubectl {}: {errors}", arguments.join(" "));
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Applies YAML in the test's namespace. `{node}` in it is the node's name.
    ///
    /// # Errors
    ///
    /// If kubectl refuses it.
    pub async fn apply(&self, yaml: &str) -> Result<()> {
        let yaml = yaml.replace("{node}", &self.node);
        let mut command = self.cluster.kubectl();
        command.args(["--namespace", &self.namespace, "apply", "-f", "-"]).stdin(Stdio::piped());
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
        let mut input = child.stdin.take().context("kubectl has no input")?;
        input.write_all(yaml.as_bytes()).await?;
        drop(input);
        let output = child.wait_with_output().await?;
        ensure!(output.status.success(), "kubectl apply: {}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    }

    /// The pods of the test's namespace.
    pub fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// A pod for the test's node, to be completed.
    pub fn pod(&self, name: &str) -> PodBuilder {
        PodBuilder::new(name, &self.node)
    }

    /// Makes a pod.
    ///
    /// # Errors
    ///
    /// If the API server refuses it.
    pub async fn create(&self, pod: PodBuilder) -> Result<Pod> {
        Ok(self.pods().create(&PostParams::default(), &pod.build()?).await?)
    }

    /// Makes pods, so many at a time.
    ///
    /// # Errors
    ///
    /// If the API server refuses one.
    pub async fn create_all(&self, pods: impl IntoIterator<Item = PodBuilder>, at_once: usize) -> Result<Vec<Pod>> {
        stream::iter(pods).map(|pod| self.create(pod)).buffer_unordered(at_once).try_collect().await
    }

    /// Makes `count` pods with the label `group=GROUP` and waits until all are Ready.
    ///
    /// # Errors
    ///
    /// If that takes too long.
    pub async fn running(&self, group: &str, count: usize) -> Result<Seen<Pod>> {
        let pods = (0..count).map(|number| self.pod(&format!("{group}-{number}")).label("group", group));
        self.create_all(pods, 10).await?;
        self.ready(group, count).await
    }

    /// Waits until `count` pods of a group are Ready.
    ///
    /// # Errors
    ///
    /// If that takes too long.
    pub async fn ready(&self, group: &str, count: usize) -> Result<Seen<Pod>> {
        let what = format!("{count} pods of group {group} to be Ready");
        let ready = |seen: &Seen<Pod>| seen.len() == count && seen.values().all(is_ready);
        self.pods_until(&format!("group={group}"), &what, ready).await
    }

    /// Waits until the pods with these labels are as wanted.
    ///
    /// # Errors
    ///
    /// If that takes too long.
    pub async fn pods_until(
        &self,
        labels: &str,
        what: &str,
        enough: impl FnMut(&Seen<Pod>) -> bool,
    ) -> Result<Seen<Pod>> {
        until(self.pods(), watcher::Config::default().labels(labels), what, PATIENCE, enough).await
    }

    /// Waits until a pod is as wanted.
    ///
    /// # Errors
    ///
    /// If that takes too long.
    pub async fn pod_until(&self, name: &str, what: &str, mut wanted: impl FnMut(&Pod) -> bool) -> Result<Pod> {
        let selection = watcher::Config::default().fields(&format!("metadata.name={name}"));
        let what = format!("pod {name} {what}");
        let seen = until(self.pods(), selection, &what, PATIENCE, |seen| seen.values().any(&mut wanted)).await?;
        seen.into_values().next().context("a pod was seen")
    }

    /// Waits until a pod is Ready.
    ///
    /// # Errors
    ///
    /// If that takes too long.
    pub async fn pod_ready(&self, name: &str) -> Result<Pod> {
        self.pod_until(name, "to be Ready", is_ready).await
    }

    /// Waits until no pod with these labels is left.
    ///
    /// # Errors
    ///
    /// If that takes too long.
    pub async fn pods_gone(&self, labels: &str) -> Result<()> {
        self.pods_until(labels, &format!("the pods {labels} to go"), Seen::is_empty).await.map(drop)
    }

    /// Waits until a pod is gone from the API.
    ///
    /// # Errors
    ///
    /// If that takes too long.
    pub async fn pod_gone(&self, name: &str) -> Result<()> {
        let selection = watcher::Config::default().fields(&format!("metadata.name={name}"));
        until(self.pods(), selection, &format!("pod {name} to go"), PATIENCE, Seen::is_empty).await.map(drop)
    }

    /// Asks for a pod's deletion, with the pod's own grace.
    ///
    /// # Errors
    ///
    /// If the API server refuses.
    pub async fn delete(&self, name: &str) -> Result<()> {
        self.pods().delete(name, &DeleteParams::default()).await?;
        Ok(())
    }

    /// A merge patch of a pod.
    ///
    /// # Errors
    ///
    /// If the API server refuses it.
    pub async fn patch(&self, name: &str, patch: &Value) -> Result<Pod> {
        let params = PatchParams::default();
        Ok(self.pods().patch(name, &params, &Patch::Merge(patch)).await?)
    }

    /// A pod's event with this reason; waits for one.
    ///
    /// # Errors
    ///
    /// If there is none in time.
    pub async fn event(&self, name: &str, reason: &str) -> Result<Event> {
        let events: Api<Event> = Api::namespaced(self.client.clone(), &self.namespace);
        let selection = watcher::Config::default().fields(&format!("involvedObject.name={name},reason={reason}"));
        let what = format!("an event {reason} of pod {name}");
        match until(events, selection, &what, PATIENCE, |seen| !seen.is_empty()).await {
            Ok(seen) => seen.into_values().next().context("an event was seen"),
            Err(error) => Err(error.context(format!("its events are {:?}", self.events(name).await?))),
        }
    }

    /// Reasons and messages of an object's events so far.
    ///
    /// # Errors
    ///
    /// If they cannot be listed.
    pub async fn events(&self, name: &str) -> Result<Vec<(String, String)>> {
        let events: Api<Event> = Api::namespaced(self.client.clone(), &self.namespace);
        let selection = ListParams::default().fields(&format!("involvedObject.name={name}"));
        let events = events.list(&selection).await?.items.into_iter();
        Ok(events.map(|event| (event.reason.unwrap_or_default(), event.message.unwrap_or_default())).collect())
    }

    /// The test's node.
    ///
    /// # Errors
    ///
    /// If it cannot be had.
    pub async fn get_node(&self) -> Result<Node> {
        Ok(self.nodes().get(&self.node).await?)
    }

    /// All nodes.
    pub fn nodes(&self) -> Api<Node> {
        Api::all(self.client.clone())
    }

    /// Waits until the test's node is as wanted.
    ///
    /// # Errors
    ///
    /// If that takes too long.
    pub async fn node_until(&self, what: &str, mut wanted: impl FnMut(&Node) -> bool) -> Result<Node> {
        let selection = watcher::Config::default().fields(&format!("metadata.name={}", self.node));
        let what = format!("the node {what}");
        let seen = until(self.nodes(), selection, &what, PATIENCE, |seen| seen.values().any(&mut wanted)).await?;
        seen.into_values().next().context("a node was seen")
    }
}
