//! Somebody else who uses the same resource group.

use std::sync::PoisonError;

use anyhow::{Context as _, Result};
use reqwest::{Certificate, Client, Method, StatusCode};
use serde_json::{Value, json};

use super::Azure;

/// A version of the API that is neither the newest nor the oldest.
const API_VERSION: &str = "2023-05-01";

impl Azure {
    /// Makes a group as somebody else would, with these tags. No test ends well in which it is touched.
    ///
    /// # Errors
    ///
    /// If Azure refuses.
    pub async fn put_by_hand(&self, name: &str, tags: Value) -> Result<()> {
        let client = Client::builder()
            .no_proxy()
            .tls_certs_only([Certificate::from_pem(self.simulator.authority_pem().as_bytes())?])
            .build()?;
        let options = self.simulator.options();
        let token = format!("{}/{}/oauth2/v2.0/token", self.simulator.directory_url(), options.tenant);
        let form = format!(
            "grant_type=client_credentials&client_id={}&client_secret={}&scope={}/.default",
            options.client_id,
            options.client_secret,
            self.simulator.arm_url()
        );
        let form = client.post(token).header("Content-Type", "application/x-www-form-urlencoded").body(form);
        let answer: Value = form.send().await?.error_for_status()?.json().await?;
        let token = answer.get("access_token").and_then(Value::as_str).context("there is no token")?;
        let group = options.resource_groups.first().context("there is no resource group")?;
        let url = format!(
            "{}/subscriptions/{}/resourceGroups/{group}/providers/Microsoft.ContainerInstance/containerGroups/{name}\
             ?api-version={API_VERSION}",
            self.simulator.arm_url(),
            options.subscription
        );
        let request = |method| client.request(method, &url).bearer_auth(token);
        let there = request(Method::GET).send().await?.status();
        anyhow::ensure!(there == StatusCode::NOT_FOUND, "{name} is there: {there}");
        let resources = json!({"requests": {"cpu": 0.1, "memoryInGB": 0.1}});
        let properties = json!({"image": "registry.example.com/theirs:1", "resources": resources});
        let group = json!({
            "location": "westeurope",
            "tags": tags,
            "properties": {"osType": "Linux", "containers": [{"name": "theirs", "properties": properties}]},
        });
        request(Method::PUT).json(&group).send().await?.error_for_status()?;
        self.strangers.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned());
        Ok(())
    }
}
