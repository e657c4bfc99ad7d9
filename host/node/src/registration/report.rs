//! What is written to the Node: labels and annotations, the status, and events of conditions that turn.

use k8s_openapi::{api::core::v1::Node, jiff::Timestamp};
use kube::api::{Patch, PatchParams};
use tokio::time::Instant;
use tracing::{debug, info};

use super::{
    Registration, describe,
    error::{RequestError, request},
    health, object, patch,
};
use crate::events::Kind;

impl Registration {
    /// The node as it should be. What the provider has not described yet should be as it is.
    pub(super) fn wanted(&self, current: Option<&Node>) -> Node {
        let known;
        let description = match &self.description {
            Some(description) => description,
            None => {
                known = describe::as_known(current);
                &known
            }
        };
        let mut node = object::build(&self.settings, &self.provider.info(), description, self.server_minor).node;
        if !self.with_role
            && let Some(labels) = &mut node.metadata.labels
        {
            labels.remove(object::ROLE_LABEL);
        }
        let known = current.and_then(|node| node.status.as_ref()?.conditions.as_deref()).unwrap_or_default();
        let conditions = self.health.conditions(description, self.settings.not_ready_after, Instant::now());
        if let Some(status) = &mut node.status {
            status.conditions = Some(health::date(&conditions, known, now()));
            if !self.with_features {
                status.declared_features = None;
            }
        }
        node
    }

    /// Sends what differs, and the conditions in any case if a heartbeat is due.
    pub(super) async fn report(&mut self, heartbeat: bool) -> Result<(), RequestError> {
        self.report_metadata().await?;
        // With the heartbeat, which is sent in any case: the API server may have been replaced by a newer one.
        self.with_features |= heartbeat;
        let Some(current) = &self.current else { return Ok(()) };
        let wanted = self.wanted(Some(current));
        if let Some(patch) = patch::status(current, &wanted, &self.owned, heartbeat) {
            let (params, patch) = (PatchParams::default(), Patch::Strategic(&patch));
            let node = request(self.api.patch_status(&self.settings.node_name, &params, &patch)).await?;
            self.tell(current, &wanted);
            if declares(&wanted) && !declares(&node) {
                debug!("the API server does not keep what nodes declare of themselves: going on without");
                self.with_features = false;
            }
            self.accept(node);
        }
        // What was only kept may be others'.
        if self.description.is_some() {
            self.owned.add(&wanted);
        }
        Ok(())
    }

    /// Sends labels and annotations that differ; without the role label where the API server refuses it.
    async fn report_metadata(&mut self) -> Result<(), RequestError> {
        loop {
            let Some(current) = &self.current else { return Ok(()) };
            let Some(patch) = patch::metadata(current, &self.wanted(Some(current)), &self.owned) else { return Ok(()) };
            let (params, patch) = (PatchParams::default(), Patch::Merge(&patch));
            match request(self.api.patch(&self.settings.node_name, &params, &patch)).await {
                Ok(node) => {
                    self.accept(node);
                    return Ok(());
                }
                Err(error) if self.with_role && !error.is_other_node() && error.is_refusal() => self.go_without_role(),
                Err(error) => return Err(error),
            }
        }
    }

    pub(super) fn go_without_role(&mut self) {
        info!("the API server does not let this identity set {}: going on without", object::ROLE_LABEL);
        self.with_role = false;
    }

    /// Tells of conditions that turn, for whoever looks at the node later.
    fn tell(&self, current: &Node, wanted: &Node) {
        let conditions =
            |node: &Node| node.status.as_ref().and_then(|status| status.conditions.clone()).unwrap_or_default();
        let known = conditions(current);
        for condition in conditions(wanted) {
            let (kind, reason) = match (condition.type_.as_str(), condition.status.as_str()) {
                ("Ready", "False") => (Kind::Normal, "NodeNotReady"),
                ("Ready", "True") => (Kind::Normal, "NodeReady"),
                ("ProviderReachable", "False") => (Kind::Warning, "ProviderUnreachable"),
                ("ProviderAuthorized", "False") => (Kind::Warning, "ProviderUnauthorized"),
                ("ProviderPodsVanished", "True") => (Kind::Warning, "ProviderPodsVanished"),
                _ => continue,
            };
            let turned = known.iter().any(|known| known.type_ == condition.type_ && known.status != condition.status);
            if turned {
                self.events.on_node(kind, reason, condition.message.unwrap_or_default());
            }
        }
    }
}

fn declares(node: &Node) -> bool {
    node.status.as_ref().is_some_and(|status| status.declared_features.is_some())
}

/// The time in whole seconds, as the API keeps it.
fn now() -> Timestamp {
    let now = Timestamp::now();
    Timestamp::from_second(now.as_second()).unwrap_or(now)
}
