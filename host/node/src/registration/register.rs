//! How the Node comes to be the host's: made, or adopted as it is.

use k8s_openapi::api::core::v1::Node;
use kube::api::{Patch, PatchParams, PostParams};
use tokio::time::sleep;
use tracing::{info, warn};

use super::{
    NodeFacts, Registration, RegistrationError,
    error::{MAX_PAUSE, MIN_PAUSE, RequestError, persist, request},
    object, patch,
};

impl Registration {
    /// Makes sure that no real kubelet has the node's name, before anything is written under it. An API server that
    /// cannot be reached is asked again, for ever.
    ///
    /// # Errors
    ///
    /// If one has.
    pub(crate) async fn refuse_real_kubelet(&self) -> Result<(), RegistrationError> {
        let name = &self.settings.node_name;
        let node = persist(&format!("look at node {name}"), || self.api.get_opt(name)).await;
        self.check_kubelet(node.as_ref())
    }

    fn check_kubelet(&self, node: Option<&Node>) -> Result<(), RegistrationError> {
        let version = node.and_then(object::real_kubelet);
        version.map_or(Ok(()), |version| {
            Err(RegistrationError::RealKubelet {
                name: self.settings.node_name.clone(),
                kubelet_version: version.to_owned(),
            })
        })
    }

    /// Asks for the API server's version, which the node's version must not exceed.
    pub(super) async fn learn_server_version(&mut self) {
        let version = persist("reach the API server", || self.client.apiserver_version()).await;
        let digits: String = version.minor.chars().take_while(char::is_ascii_digit).collect();
        self.server_minor = digits.parse().unwrap_or(u32::MAX);
    }

    /// Makes or adopts the node, however long it takes. What the provider has not described yet is adopted only if it
    /// was a virtual node before, and never made.
    pub(super) async fn register(&mut self) -> Result<(), RegistrationError> {
        let mut pause = MIN_PAUSE;
        loop {
            match self.try_register().await {
                Ok(outcome) => return outcome,
                Err(error) => warn!(
                    "cannot register node {}, trying again in {} s: {error}",
                    self.settings.node_name,
                    pause.as_secs()
                ),
            }
            sleep(pause).await;
            pause = (pause * 2).min(MAX_PAUSE);
        }
    }

    async fn try_register(&mut self) -> Result<Result<(), RegistrationError>, RequestError> {
        let name = &self.settings.node_name;
        let known = request(self.api.get_opt(name)).await?;
        if let Err(refused) = self.check_kubelet(known.as_ref()) {
            return Ok(Err(refused));
        }
        match known {
            Some(node) if self.description.is_some() || object::is_virtual(&node) => self.adopt(node).await?,
            None if self.description.is_some() => self.create().await?,
            _ => {
                warn!("node {name} is registered as soon as the provider has described it");
                self.forget();
            }
        }
        Ok(Ok(()))
    }

    async fn create(&mut self) -> Result<(), RequestError> {
        let mut wanted = self.wanted(None);
        let created = match request(self.api.create(&PostParams::default(), &wanted)).await {
            Err(error) if self.with_role && error.is_refusal() => {
                self.go_without_role();
                wanted = self.wanted(None);
                request(self.api.create(&PostParams::default(), &wanted)).await
            }
            created => created,
        };
        // Somebody may have been faster, or it was not the role label that was refused.
        let node = created.inspect_err(|_| self.with_role = true)?;
        info!("registered node {}", self.settings.node_name);
        self.owned.add(&wanted);
        self.accept(node);
        Ok(())
    }

    /// Takes over a node that exists already.
    async fn adopt(&mut self, node: Node) -> Result<(), RequestError> {
        let name = self.settings.node_name.clone();
        let mut node = node;
        if let Some(patch) = patch::taints(&node, &self.wanted(Some(&node))) {
            match request(self.api.patch(&name, &PatchParams::default(), &Patch::Merge(&patch))).await {
                Ok(patched) => node = patched,
                Err(error) if error.is(kube::core::Status::is_forbidden) => {
                    warn!("node {name} lacks a taint that this identity may not add: {error}");
                }
                Err(error) => return Err(error),
            }
        }
        info!("adopted node {name}");
        if self.description.is_some() {
            // Others learn of it once it offers what the provider says: by what it offered before, pods could be refused.
            self.current = Some(node);
        } else {
            self.accept(node);
        }
        self.report(true).await
    }

    /// There is no node, and none can be made yet. Pods go on with what was known of it.
    fn forget(&mut self) {
        self.current = None;
        self.facts.send_if_modified(|known| match known {
            Some(facts) if !facts.uid.is_empty() => {
                *known = Some(NodeFacts { uid: String::new(), ..NodeFacts::clone(facts) }.into());
                true
            }
            _ => false,
        });
    }
}
