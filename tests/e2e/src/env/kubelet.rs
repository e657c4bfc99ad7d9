//! The kubelet API as those see it who go straight to the node's port.

use anyhow::{Context as _, Result, ensure};
use reqwest::{Certificate, Client, Identity, RequestBuilder, tls::TlsInfo};
use serde_json::json;

use super::Env;
use crate::PATIENCE;

impl Env {
    /// The port that the node says its kubelet API is at.
    ///
    /// # Errors
    ///
    /// If it says none.
    pub async fn kubelet_port(&self) -> Result<u16> {
        let status = self.get_node().await?.status.context("the node has no status")?;
        let port = status.daemon_endpoints.and_then(|endpoints| endpoints.kubelet_endpoint).map(|at| at.port);
        Ok(u16::try_from(port.context("the node names no port of its kubelet API")?)?)
    }

    /// The URL of a path of the kubelet API.
    ///
    /// # Errors
    ///
    /// If the node names no port.
    pub async fn kubelet_url(&self, path: &str) -> Result<String> {
        Ok(format!("https://127.0.0.1:{}{path}", self.kubelet_port().await?))
    }

    /// A client that trusts the cluster's authority and no other, and shows `identity`, if one is given: a certificate
    /// and its key in PEM.
    ///
    /// # Errors
    ///
    /// If there can be none.
    pub fn https(&self, identity: Option<&[u8]>) -> Result<Client> {
        let authority = Certificate::from_pem(&std::fs::read(self.cluster.authority())?)?;
        let mut client = Client::builder().no_proxy().http1_only().timeout(PATIENCE).tls_info(true);
        client = client.tls_certs_only([authority]).redirect(reqwest::redirect::Policy::none());
        if let Some(pem) = identity {
            client = client.identity(Identity::from_pem(pem)?);
        }
        Ok(client.build()?)
    }

    /// The certificate that the kubelet API shows to a new connection, if the cluster's authority has signed it.
    ///
    /// # Errors
    ///
    /// If there is no connection.
    pub async fn shown_certificate(&self) -> Result<Vec<u8>> {
        let answer = self.https(None)?.get(self.kubelet_url("/healthz").await?).send().await?;
        let shown = answer.extensions().get::<TlsInfo>().and_then(TlsInfo::peer_certificate);
        Ok(shown.context("no certificate was shown")?.to_vec())
    }

    /// Makes a ServiceAccount of the test's namespace that may do this to nodes, and returns a token of it.
    ///
    /// # Errors
    ///
    /// If that is refused.
    pub async fn account(&self, name: &str, verbs: &[&str], resources: &[&str]) -> Result<String> {
        let role = format!("{}-{name}", self.namespace);
        let group = "rbac.authorization.k8s.io";
        let rules = json!([{"apiGroups": [""], "resources": resources, "verbs": verbs}]);
        let subject = json!({"kind": "ServiceAccount", "name": name, "namespace": self.namespace});
        let objects = json!({"apiVersion": "v1", "kind": "List", "items": [
            {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}},
            {"apiVersion": format!("{group}/v1"), "kind": "ClusterRole", "metadata": {"name": role}, "rules": rules},
            {
                "apiVersion": format!("{group}/v1"),
                "kind": "ClusterRoleBinding",
                "metadata": {"name": role},
                "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": role},
                "subjects": [subject],
            },
        ]});
        self.apply(&objects.to_string()).await?;
        let token = self.kubectl(&["create", "token", name]).await?.trim().to_owned();
        ensure!(token.split('.').count() == 3, "not a token: {token}");
        Ok(token)
    }
}

/// Asks for an upgrade to a WebSocket, as kubectl does.
pub fn upgrade(request: RequestBuilder, protocol: &str) -> RequestBuilder {
    request
        .header("Connection", "Upgrade")
        .header("Upgrade", "websocket")
        .header("Sec-WebSocket-Version", "13")
        .header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
        .header("Sec-WebSocket-Protocol", protocol)
}
