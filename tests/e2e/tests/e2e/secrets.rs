//! No secret value is told to anybody but the provider, however much is logged and whatever fails.

use std::{collections::BTreeMap, path::Path};

use anyhow::{Context as _, Result, ensure};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::json;
use vk_backend::{Effect, Fault, Operation};
use vk_e2e::{Env, Setup};

/// Values that nobody may be told, by what they are for.
struct Planted(BTreeMap<&'static str, String>);

impl Planted {
    fn new() -> Self {
        let names = [
            "env",
            "env-from",
            "file",
            "projected",
            "argument",
            "password",
            "broken-login",
            "setting",
            "syntax",
            "variable",
            "granted-file",
            "tls-key",
        ];
        // Long enough to be found nowhere by chance, and of characters that every encoding but base64 leaves alone.
        Self(
            names
                .into_iter()
                .map(|name| (name, format!("Hidden{}Value{:016x}", name.len(), rand::random::<u64>())))
                .collect(),
        )
    }

    fn get(&self, name: &str) -> &str {
        self.0.get(name).map(String::as_str).unwrap_or_default()
    }

    /// What is told in spite of all, and in which form.
    fn found_in(&self, text: &str) -> Vec<String> {
        let mut found = Vec::new();
        for (name, value) in &self.0 {
            for form in forms(value) {
                if let Some(at) = text.find(&form) {
                    let line = text[..at].rfind('\n').map_or(0, |end| end + 1);
                    let start = at.saturating_sub(300).max(line);
                    let context: String = text.get(start..at + form.len()).unwrap_or(&form).to_owned();
                    found.push(format!("{name}: …{context}…"));
                }
            }
        }
        found
    }
}

/// A value as it is, as the numbers of its bytes, and as it looks within text in base64.
fn forms(value: &str) -> Vec<String> {
    let bytes: Vec<String> = value.bytes().map(|byte| byte.to_string()).collect();
    let encoded = (0..3).filter_map(|shift| {
        let text = BASE64_STANDARD.encode([&vec![0; shift], value.as_bytes()].concat());
        // The first and the last characters depend on what is beside the value.
        text.get([0, 2, 3][shift]..text.len() - 4).map(str::to_owned)
    });
    encoded.chain([value.to_owned(), bytes.join(", ")]).collect()
}

async fn make_secrets(env: &Env, planted: &Planted) -> Result<()> {
    let auth = BASE64_STANDARD.encode(format!("user:{}", planted.get("password")));
    let login = json!({"auths": {"registry.example.com": {"auth": auth}}}).to_string();
    let broken = json!({"auths": {"registry.example.com": {"auth": planted.get("broken-login")}}}).to_string();
    env.apply(&format!(
        "
apiVersion: v1
kind: Secret
metadata: {{name: values}}
stringData:
  env: {}
  file: {}
  projected: {}
  argument: {}
---
apiVersion: v1
kind: Secret
metadata: {{name: whole}}
stringData:
  FROM: {}
---
apiVersion: v1
kind: Secret
metadata: {{name: login}}
type: kubernetes.io/dockerconfigjson
stringData: {{.dockerconfigjson: '{login}'}}
---
apiVersion: v1
kind: Secret
metadata: {{name: broken-login}}
type: kubernetes.io/dockerconfigjson
stringData: {{.dockerconfigjson: '{broken}'}}
",
        planted.get("env"),
        planted.get("file"),
        planted.get("projected"),
        planted.get("argument"),
        planted.get("env-from"),
    ))
    .await
}

/// A pod that uses all of it, and has something in addition.
fn pod(env: &Env, name: &str, asks: &[(&str, &str)]) -> vk_e2e::PodBuilder {
    let of = |key: &str| json!({"secretKeyRef": {"name": "values", "key": key}});
    let pod = env
        .pod(name)
        .label("group", "users")
        .spec(json!({
            "automountServiceAccountToken": true,
            "imagePullSecrets": [{"name": "login"}, {"name": "broken-login"}],
        }))
        .container(json!({
            "args": ["--password=$(ARGUMENT)"],
            "env": [{"name": "VALUE", "valueFrom": of("env")}, {"name": "ARGUMENT", "valueFrom": of("argument")}],
            "envFrom": [{"secretRef": {"name": "whole"}}],
        }))
        .mounts("files", json!({"secret": {"secretName": "values"}}))
        .mounts(
            "mixed",
            json!({"projected": {"sources": [
                {"secret": {"name": "values", "items": [{"key": "projected", "path": "p"}]}},
                {"serviceAccountToken": {"path": "token", "audience": "example"}},
            ]}}),
        );
    asks.iter().fold(pod, |pod, (what, value)| pod.asks(what, value))
}

/// A kubeconfig with a token, as many clusters give it.
async fn with_a_token(env: &Env) -> Result<(std::path::PathBuf, String)> {
    env.kubectl(&["create", "serviceaccount", "host"]).await?;
    let account = format!("--serviceaccount={}:host", env.namespace);
    env.kubectl(&["create", "clusterrolebinding", &env.namespace, "--clusterrole=cluster-admin", &account]).await?;
    let token = env.kubectl(&["create", "token", "host"]).await?.trim().to_owned();
    let authority = env.cluster.directory().join("pki/ca.crt");
    let content = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{"name": "c", "cluster": {"server": env.cluster.server(), "certificate-authority": authority}}],
        "users": [{"name": "u", "user": {"token": token}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
    });
    Ok((env.bench.write("with-a-token", content.to_string())?, token))
}

/// Replaces the provider's settings by such that hold a secret and cannot be used, and awaits the refusal.
async fn break_the_settings(env: &Env, planted: &Planted) -> Result<()> {
    let settings = std::fs::read_to_string(env.bench.path("mock.toml"))?;
    let (setting, syntax) = (planted.get("setting"), planted.get("syntax"));
    for broken in [
        // Unknown to the mock, or where it wants something else.
        format!("password = \"{setting}\"\n{settings}"),
        format!("others = \"{setting}\"\n{settings}"),
        settings.replace("backend = \"http://", &format!("backend = \"http://user:{setting}@")),
        // No TOML.
        format!("password = \"{syntax}\n{settings}"),
        format!("password = {syntax}\n{settings}"),
        format!("password = \"{syntax}\" \"{syntax}\"\n{settings}"),
        format!("password = \"{syntax}\"\npassword = \"{syntax}\"\n{settings}"),
        // A key that is none.
        format!("{settings}\n[sandbox.tls.\"{}\"]\ncert = \"no-key.pem\"\nkey = \"no-key.pem\"\n", env.backend.url()),
    ] {
        let before = env.log().lines().count();
        env.replace("mock.toml", broken)?;
        env.line(before, &["was not replaced"]).await?;
    }
    let before = env.log().lines().count();
    // It is granted, but speaks no TLS.
    let tls = settings.replace("http://", "https://");
    env.replace("mock.toml", tls)?;
    env.line(before, &["TLS"]).await?;
    let before = env.log().lines().count();
    env.replace("mock.toml", settings)?;
    env.line(before, &["loaded again"]).await.map(drop)
}

pub(crate) async fn no_secret_value_is_told(env: &mut Env) -> Result<()> {
    let mut planted = Planted::new();
    let (kubeconfig, token) = with_a_token(env).await?;
    planted.0.insert("kubeconfig-token", token);
    env.bench.write("no-key.pem", format!("-----BEGIN PRIVATE KEY-----\n{}\n", planted.get("tls-key")))?;
    let granted = env.bench.path("granted");
    std::fs::create_dir(&granted)?;
    std::fs::write(granted.join("password"), planted.get("granted-file"))?;
    make_secrets(env, &planted).await?;
    let shown = |path: &Path| path.display().to_string();
    let setup = Setup::default()
        .kubeconfig(kubeconfig)
        .variable("MOCK_PASSWORD", planted.get("variable"))
        .flag("--log-level")
        .flag("trace")
        .flag("--allow-env=MOCK_*")
        .flag(format!("--allow-read={}", shown(&granted)));
    env.start(setup).await?;

    env.create(pod(env, "plain", &[])).await?;
    let plain = vk_e2e::uid(&env.pod_ready("plain").await?);
    // The provider has been given it all.
    let stored = env.backend.pod(&plain).context("the backend has no such pod")?;
    ensure!(stored.env("main", "VALUE") == Some(planted.get("env")), "{:?}", stored.manifest);
    ensure!(stored.file("files", "file") == Some(planted.get("file").as_bytes()), "{:?}", stored.volumes);
    ensure!(stored.logins.iter().any(|login| login.password == planted.get("password")), "{:?}", stored.logins);
    let issued = stored.volumes.iter().flat_map(|volume| &volume.files).filter(|file| file.path.ends_with("token"));
    let issued: Vec<String> = issued.map(|file| String::from_utf8_lossy(&file.data).into_owned()).collect();
    let [projected, mounted] = issued.as_slice() else { anyhow::bail!("{} tokens", issued.len()) };
    planted.0.extend([("projected-token", projected.clone()), ("mounted-token", mounted.clone())]);

    // Everything about such a pod fails in some way.
    let kinds = ["invalid", "exhausted", "internal", "permission-denied"];
    for kind in kinds {
        env.create(pod(env, &format!("reject-{kind}"), &[("reject", kind)])).await?;
    }
    for misdeed in ["trap", "eat-memory"] {
        env.create(pod(env, misdeed, &[(misdeed, "create")])).await?;
    }
    env.create(pod(env, "malformed", &[("run-for", "soon")])).await?;
    env.create(pod(env, "trap-update", &[("trap", "update")])).await?;
    env.pod_ready("trap-update").await?;
    for name in
        kinds.map(|kind| format!("reject-{kind}")).iter().map(String::as_str).chain(["trap", "eat-memory", "malformed"])
    {
        env.event(name, "ProviderCreateFailed").await?;
    }
    for (number, effect) in [
        Effect::Status { code: 500, retry_after: None },
        Effect::Refused,
        Effect::LostAnswer,
        Effect::Truncated { bytes: 5 },
    ]
    .into_iter()
    .enumerate()
    {
        env.backend.fault(Fault::new(effect).on(Operation::Update).times(1));
        let changed = format!(r#"{{"stringData": {{"file": "{}{number}"}}}}"#, planted.get("file"));
        env.kubectl(&["patch", "secret", "values", "-p", &changed]).await?;
        env.backend_until("the fault to strike", |backend| match backend.faults().len() {
            0 => Ok(()),
            _ => Err(format!("{:?}", backend.faults())),
        })
        .await?;
    }
    env.event("trap-update", "ProviderUpdateFailed").await?;
    break_the_settings(env, &planted).await?;
    env.kubectl(&["delete", "pod", "plain", "--timeout=40s"]).await?;
    env.sigterm().await?;

    let log = env.log();
    ensure!(log.contains("TRACE") && log.contains("hyper"), "the log is not at the level of traces");
    let events = env.kubectl(&["get", "events", "--all-namespaces", "--output=yaml"]).await?;
    ensure!(events.contains("ProviderCreateFailed"), "there are no events");
    let pods = env.kubectl(&["get", "pods", "--output=yaml"]).await?;
    let nodes = env.kubectl(&["get", "node", &env.node, "--output=yaml"]).await?;
    for (where_, text) in [("the log", &log), ("the events", &events), ("the pods", &pods), ("the node", &nodes)] {
        let found = planted.found_in(text);
        ensure!(found.is_empty(), "{where_} ({} bytes) tells:\n{}", text.len(), found.join("\n"));
    }
    Ok(())
}
