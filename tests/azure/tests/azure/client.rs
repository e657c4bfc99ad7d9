//! A client of the resource manager.

use std::{ops::Deref, time::Duration};

use reqwest::{Method, Response, StatusCode};
use serde_json::{Value, json};
use vk_azure::{Options, Simulator};

pub(crate) const VERSION: &str = "2023-05-01";

/// A simulator and a client that has logged in.
pub(crate) struct Azure {
    simulator: Simulator,
    pub(crate) http: reqwest::Client,
    pub(crate) token: String,
}

impl Deref for Azure {
    type Target = Simulator;

    fn deref(&self) -> &Simulator {
        &self.simulator
    }
}

impl Azure {
    pub(crate) async fn start(options: Options) -> Self {
        let simulator = Simulator::start(options).await.unwrap();
        // Another part of this program may have set it already.
        let _set = rustls::crypto::ring::default_provider().install_default();
        let authority = reqwest::Certificate::from_pem(simulator.authority_pem().as_bytes()).unwrap();
        let http = reqwest::Client::builder()
            .tls_certs_only([authority])
            .no_proxy()
            .timeout(Duration::from_secs(60))
            .build()
            .unwrap();
        let mut azure = Self { simulator, http, token: String::new() };
        azure.log_in().await;
        azure
    }

    pub(crate) async fn log_in(&mut self) {
        let answer = self.token_request("v2.0/", &self.form()).await;
        assert_eq!(answer.status(), StatusCode::OK);
        let answer: Value = answer.json().await.unwrap();
        self.token = answer["access_token"].as_str().unwrap().to_owned();
    }

    /// The fields of a request for a token.
    pub(crate) fn form(&self) -> Vec<(&'static str, String)> {
        let options = self.options();
        vec![
            ("grant_type", "client_credentials".into()),
            ("client_id", options.client_id.clone()),
            ("client_secret", options.client_secret.clone()),
            ("scope", format!("{}/.default", self.arm_url())),
        ]
    }

    pub(crate) async fn token_request(&self, version: &str, form: &[(&str, String)]) -> Response {
        let url = format!("{}/{}/oauth2/{version}token", self.directory_url(), self.options().tenant);
        let fields = form.iter().map(|(name, value)| format!("{name}={}", escaped(value)));
        let body = fields.collect::<Vec<_>>().join("&");
        let form = "application/x-www-form-urlencoded";
        self.http.post(url).header("content-type", form).body(body).send().await.unwrap()
    }

    pub(crate) fn groups_path(&self) -> String {
        let subscription = &self.options().subscription;
        format!(
            "/subscriptions/{subscription}/resourceGroups/vk-rg/providers/Microsoft.ContainerInstance/containerGroups"
        )
    }

    pub(crate) fn group_path(&self, name: &str) -> String {
        format!("{}/{name}", self.groups_path())
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let url =
            format!("{}{path}{}api-version={VERSION}", self.arm_url(), if path.contains('?') { "&" } else { "?" });
        self.http.request(method, url).bearer_auth(&self.token)
    }

    pub(crate) async fn send(&self, method: Method, path: &str) -> Answer {
        Answer::of(self.request(method, path).send().await.unwrap()).await
    }

    pub(crate) async fn send_json(&self, method: Method, path: &str, body: &Value) -> Answer {
        Answer::of(self.request(method, path).json(body).send().await.unwrap()).await
    }

    pub(crate) async fn put(&self, name: &str, body: &Value) -> Answer {
        self.send_json(Method::PUT, &self.group_path(name), body).await
    }

    pub(crate) async fn get_group(&self, name: &str) -> Answer {
        self.send(Method::GET, &self.group_path(name)).await
    }

    pub(crate) async fn list(&self) -> Answer {
        self.send(Method::GET, &self.groups_path()).await
    }

    pub(crate) async fn delete(&self, name: &str) -> Answer {
        self.send(Method::DELETE, &self.group_path(name)).await
    }
}

/// An answer that has been read.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) body: Value,
}

impl Answer {
    async fn of(response: Response) -> Self {
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let text = response.text().await.unwrap();
        Self { status, headers, body: serde_json::from_str(&text).unwrap_or(Value::String(text)) }
    }

    /// Code of the error.
    pub(crate) fn code(&self) -> &str {
        self.body.pointer("/error/code").and_then(Value::as_str).unwrap_or("")
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// A group with one container that runs a line of shell.
pub(crate) fn group(line: &str) -> Value {
    json!({
        "location": "westeurope",
        "tags": {"vk-host.dev-owner": "me", "UID": "1"},
        "properties": {
            "osType": "Linux",
            "restartPolicy": "Never",
            "containers": [container("app", line)],
        }
    })
}

pub(crate) fn container(name: &str, line: &str) -> Value {
    json!({
        "name": name,
        "properties": {
            "image": "busybox",
            "command": ["/bin/sh", "-c", line],
            "resources": {"requests": {"cpu": 0.5, "memoryInGB": 0.5}},
        }
    })
}

fn escaped(value: &str) -> String {
    let bytes = value.bytes();
    bytes
        .map(|byte| if byte.is_ascii_alphanumeric() { (byte as char).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

/// Waits for something that nobody announces.
pub(crate) async fn until(what: &str, holds: impl Fn() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), waiting)
        .await
        .unwrap_or_else(|_| panic!("waited in vain for {what}"));
}
