//! What a pod refers to, as the guest sees it: read from what the mock handed to its backend.

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::authentication::v1::TokenReview;
use kube::{
    Api,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use vk_backend::Stored;
use vk_e2e::{Env, Setup, phase, uid};

pub(crate) const OBJECTS: &str = r#"
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {COLOR: blue, log.level: debug}
binaryData: {blob: AAECAw==}
---
apiVersion: v1
kind: Secret
metadata: {name: credentials}
stringData: {user: alice, password: "p$(COLOR)ss"}
---
apiVersion: v1
kind: Secret
metadata: {name: azure}
stringData: {azurestorageaccountname: account, azurestorageaccountkey: a2V5}
---
apiVersion: v1
kind: Secret
metadata: {name: pull}
type: kubernetes.io/dockerconfigjson
stringData:
  .dockerconfigjson: |
    {"auths": {"registry.example.com": {"username": "puller", "password": "one"},
               "other.example.com": {"auth": "b3RoZXI6dHdv"}}}
---
apiVersion: v1
kind: Secret
metadata: {name: pull-old}
type: kubernetes.io/dockercfg
stringData:
  .dockercfg: |
    {"https://old.example.com/v1/": {"username": "elder", "password": "three", "email": "e@example.com"}}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: robot}
---
apiVersion: v1
kind: Service
metadata: {name: web-front}
spec: {ports: [{name: http, port: 8080}]}
"#;

pub(crate) const POD: &str = r#"
apiVersion: v1
kind: Pod
metadata:
  name: everything
  labels: {app: web, tier: front}
  annotations: {note: "say \"hi\""}
spec:
  nodeName: '{node}'
  serviceAccountName: robot
  automountServiceAccountToken: false
  imagePullSecrets: [{name: pull}, {name: pull-old}]
  containers:
  - name: main
    image: registry.example.com/main:1
    command: [run, "--color=$(COLOR)", "--escaped=$$(COLOR)", "--unknown=$(NOWHERE)"]
    args: ["$(GREETING)"]
    resources: {limits: {cpu: 1500m, memory: 64Mi}, requests: {cpu: 250m, memory: 32Mi}}
    envFrom:
    - {prefix: CFG_, configMapRef: {name: settings}}
    - {secretRef: {name: credentials}}
    - {configMapRef: {name: absent, optional: true}}
    env:
    - {name: PLAIN, value: as it is}
    - {name: COLOR, valueFrom: {configMapKeyRef: {name: settings, key: COLOR}}}
    - {name: PASSWORD, valueFrom: {secretKeyRef: {name: credentials, key: password}}}
    - {name: MAYBE, valueFrom: {secretKeyRef: {name: absent, key: password, optional: true}}}
    - {name: MAYBE_KEY, valueFrom: {configMapKeyRef: {name: settings, key: none, optional: true}}}
    - {name: GREETING, value: "hello $(COLOR) of $(POD) $$(COLOR) $(NOWHERE)"}
    - {name: POD, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
    - {name: LATER, value: "I am $(POD)"}
    - {name: NAMESPACE, valueFrom: {fieldRef: {fieldPath: metadata.namespace}}}
    - {name: UID_OF_POD, valueFrom: {fieldRef: {fieldPath: metadata.uid}}}
    - {name: TIER, valueFrom: {fieldRef: {fieldPath: "metadata.labels['tier']"}}}
    - {name: NOTE, valueFrom: {fieldRef: {fieldPath: "metadata.annotations['note']"}}}
    - {name: NODE, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}
    - {name: ACCOUNT, valueFrom: {fieldRef: {fieldPath: spec.serviceAccountName}}}
    - {name: HOST_IP, valueFrom: {fieldRef: {fieldPath: status.hostIP}}}
    - {name: POD_IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}
    - {name: CPU, valueFrom: {resourceFieldRef: {resource: limits.cpu, divisor: 1m}}}
    - {name: CPU_ROUNDED, valueFrom: {resourceFieldRef: {resource: limits.cpu}}}
    - {name: MEMORY, valueFrom: {resourceFieldRef: {resource: requests.memory, divisor: 1Mi}}}
    - {name: OTHERS_CPU, valueFrom: {resourceFieldRef: {containerName: side, resource: limits.cpu}}}
    - {name: FRONT, value: "http://$(WEB_FRONT_SERVICE_HOST):$(WEB_FRONT_SERVICE_PORT_HTTP)"}
  - name: side
    image: registry.example.com/side:1
  volumes:
  - name: config
    configMap:
      name: settings
      defaultMode: 0640
      items: [{key: COLOR, path: nested/color, mode: 0400}, {key: blob, path: blob}]
  - name: secret
    secret: {secretName: credentials, defaultMode: 0440}
  - name: optional
    secret: {secretName: absent, optional: true}
  - name: info
    downwardAPI:
      items:
      - {path: labels, fieldRef: {fieldPath: metadata.labels}}
      - {path: annotations, fieldRef: {fieldPath: metadata.annotations}}
      - {path: cpu, resourceFieldRef: {containerName: main, resource: limits.cpu, divisor: 1m}}
  - name: all
    projected:
      defaultMode: 0444
      sources:
      - configMap: {name: settings, items: [{key: COLOR, path: color}]}
      - secret: {name: credentials, items: [{key: user, path: who/user, mode: 0400}]}
      - downwardAPI: {items: [{path: name, fieldRef: {fieldPath: metadata.name}}]}
      - serviceAccountToken: {path: token, audience: vault, expirationSeconds: 3600}
  - name: share
    azureFile: {secretName: azure, shareName: files}
"#;

pub(crate) async fn a_pod_sees_the_value_of_every_kind_of_reference(env: &mut Env) -> Result<()> {
    // The compiler's own log is long, and knows no pod.
    let everything = "trace,cranelift_codegen=info,regalloc2=info";
    env.start(Setup::default().flag("--log-level").flag(everything)).await?;
    env.apply(OBJECTS).await?;
    env.apply(POD).await?;
    let pod = env.pod_ready("everything").await?;
    let seen = env.backend.pod(&uid(&pod)).context("the backend has no such pod")?;

    let service = env.kubectl(&["get", "service", "web-front", "-o", "jsonpath={.spec.clusterIP}"]).await?;
    let api =
        env.kubectl(&["-n", "default", "get", "service", "kubernetes", "-o", "jsonpath={.spec.clusterIP}"]).await?;
    let host_ip = pod.status.as_ref().and_then(|status| status.host_ip.clone()).context("no hostIP")?;
    variables(env, &seen, &uid(&pod), &service, &api, &host_ip)?;
    volumes(&seen)?;
    logins(&seen)?;
    token_for_vault(env, &seen).await?;
    no_secret_is_logged(env, &seen)
}

/// Even where everything is logged.
fn no_secret_is_logged(env: &Env, seen: &Stored) -> Result<()> {
    let log = env.log();
    ensure!(log.contains("TRACE") || log.contains("DEBUG"), "not everything is logged");
    let token = seen.file("all", "token").map(String::from_utf8_lossy).unwrap_or_default();
    for secret in ["p$(COLOR)ss", "b3RoZXI6dHdv", "\"one\"", "\"three\"", "a2V5", token.as_ref()] {
        let line = log.lines().find(|line| line.contains(secret));
        ensure!(line.is_none(), "{secret} is logged: {line:?}");
    }
    Ok(())
}

fn variables(env: &Env, seen: &Stored, uid: &str, service: &str, api: &str, host_ip: &str) -> Result<()> {
    let front = format!("http://{service}:8080");
    let address = format!("tcp://{service}:8080");
    for (name, wanted) in [
        ("PLAIN", "as it is"),
        ("CFG_COLOR", "blue"),
        ("CFG_log.level", "debug"),
        ("user", "alice"),
        ("COLOR", "blue"),
        // What comes from an object is not expanded.
        ("PASSWORD", "p$(COLOR)ss"),
        // Only what is defined before can be named.
        ("GREETING", "hello blue of $(POD) $(COLOR) $(NOWHERE)"),
        ("POD", "everything"),
        ("LATER", "I am everything"),
        ("NAMESPACE", &env.namespace),
        ("UID_OF_POD", uid),
        ("TIER", "front"),
        ("NOTE", "say \"hi\""),
        ("NODE", &env.node),
        ("ACCOUNT", "robot"),
        ("HOST_IP", host_ip),
        ("CPU", "1500"),
        ("CPU_ROUNDED", "2"),
        ("MEMORY", "32"),
        // It sets no limit, so that the node's size is its limit.
        ("OTHERS_CPU", "2000"),
        ("FRONT", &front),
        ("WEB_FRONT_SERVICE_HOST", service),
        ("WEB_FRONT_SERVICE_PORT", "8080"),
        ("WEB_FRONT_PORT_8080_TCP", &address),
        ("WEB_FRONT_PORT_8080_TCP_PROTO", "tcp"),
        ("KUBERNETES_SERVICE_HOST", api),
        ("KUBERNETES_SERVICE_PORT", "443"),
    ] {
        ensure!(seen.env("main", name) == Some(wanted), "{name} is {:?}, not {wanted:?}", seen.env("main", name));
    }
    for absent in ["MAYBE", "MAYBE_KEY"] {
        ensure!(seen.env("main", absent).is_none(), "{absent} is {:?}", seen.env("main", absent));
    }
    let main = seen.manifest.pointer("/spec/containers/0").context("no container")?;
    ensure!(main["command"] == json!(["run", "--color=blue", "--escaped=$(COLOR)", "--unknown=$(NOWHERE)"]), "{main}");
    ensure!(main["args"] == json!(["hello blue of $(POD) $(COLOR) $(NOWHERE)"]), "{main}");
    ensure!(main.get("envFrom").is_none_or(|from| from == &json!([])), "envFrom is not expanded: {main}");
    let entry = |name: &str| main["env"].as_array().into_iter().flatten().find(|entry| entry["name"] == name);
    // Known only to the provider.
    let pod_ip = entry("POD_IP").context("POD_IP is missing")?;
    ensure!(pod_ip["valueFrom"]["fieldRef"]["fieldPath"] == "status.podIP", "{pod_ip}");
    // A provider tells secrets from plain values by their source.
    let password = entry("PASSWORD").context("PASSWORD is missing")?;
    ensure!(password["valueFrom"]["secretKeyRef"]["key"] == "password", "{password}");
    Ok(())
}

fn volumes(seen: &Stored) -> Result<()> {
    for (volume, path, mode, wanted) in [
        ("config", "nested/color", 0o400, &b"blue"[..]),
        ("config", "blob", 0o640, &[0, 1, 2, 3]),
        ("secret", "user", 0o440, b"alice"),
        ("secret", "password", 0o440, b"p$(COLOR)ss"),
        ("info", "labels", 0o644, b"app=\"web\"\ntier=\"front\""),
        ("info", "cpu", 0o644, b"1500"),
        ("all", "color", 0o444, b"blue"),
        ("all", "who/user", 0o400, b"alice"),
        ("all", "name", 0o444, b"everything"),
        ("share", "azurestorageaccountname", 0o644, b"account"),
        ("share", "azurestorageaccountkey", 0o644, b"a2V5"),
    ] {
        let files = seen.volumes.iter().find(|each| each.name == volume).map(|each| &each.files);
        let file = files.into_iter().flatten().find(|file| file.path == path);
        let file = file.with_context(|| format!("{volume}/{path} is missing among {files:?}"))?;
        ensure!(file.data == wanted, "{volume}/{path} has {:?}", String::from_utf8_lossy(&file.data));
        ensure!(file.mode == mode || volume == "share", "{volume}/{path} has mode {:o}", file.mode);
    }
    let annotations = seen.file("info", "annotations").map(String::from_utf8_lossy).unwrap_or_default();
    ensure!(annotations.contains(r#"note="say \"hi\"""#), "{annotations}");
    let of = |name: &str| seen.volumes.iter().find(|volume| volume.name == name).map_or(0, |volume| volume.files.len());
    ensure!(of("config") == 2, "items select keys, but there are {} files", of("config"));
    ensure!(of("optional") == 0, "a secret that is not there has {} files", of("optional"));
    Ok(())
}

fn logins(seen: &Stored) -> Result<()> {
    for (server, username, password) in [
        ("registry.example.com", "puller", "one"),
        ("other.example.com", "other", "two"),
        ("old.example.com", "elder", "three"),
    ] {
        let login = seen.logins.iter().find(|login| login.server.contains(server));
        let login = login.with_context(|| format!("no login for {server} among {}", seen.logins.len()))?;
        ensure!((login.username.as_str(), login.password.as_str()) == (username, password), "{login:?}");
    }
    Ok(())
}

async fn review(env: &Env, token: &[u8], audience: Option<&str>) -> Result<Value> {
    let token = std::str::from_utf8(token)?;
    let audiences: Vec<&str> = audience.into_iter().collect();
    let review = serde_json::from_value(json!({"metadata": {}, "spec": {"token": token, "audiences": audiences}}))?;
    let reviewed = Api::<TokenReview>::all(env.client.clone()).create(&PostParams::default(), &review).await?;
    Ok(serde_json::to_value(reviewed.status)?)
}

fn is_of_pod(status: &Value, user: &str, pod: &str, uid: &str) -> Result<()> {
    ensure!(status["authenticated"] == true, "the token is refused: {status}");
    ensure!(status["user"]["username"] == user, "{status}");
    let extra = &status["user"]["extra"];
    ensure!(extra["authentication.kubernetes.io/pod-name"] == json!([pod]), "{status}");
    ensure!(extra["authentication.kubernetes.io/pod-uid"] == json!([uid]), "{status}");
    Ok(())
}

/// A pod's token is good for the vault, as the service account `robot` of this pod, and for nobody else.
pub(crate) async fn token_for_vault(env: &Env, seen: &Stored) -> Result<()> {
    let token = seen.file("all", "token").context("no token")?;
    let user = format!("system:serviceaccount:{}:robot", env.namespace);
    is_of_pod(&review(env, token, Some("vault")).await?, &user, &seen.id.name, &seen.id.uid)?;
    let elsewhere = review(env, token, None).await?;
    ensure!(elsewhere["authenticated"] != true, "the token is good for others than its audience: {elsewhere}");
    Ok(())
}

pub(crate) async fn a_bound_token_is_accepted_by_the_api_server_for_this_pod(env: &mut Env) -> Result<()> {
    env.start(Setup::default()).await?;
    env.create(env.pod("client").spec(json!({"automountServiceAccountToken": true}))).await?;
    let pod = env.pod_ready("client").await?;
    let seen = env.backend.pod(&uid(&pod)).context("the backend has no such pod")?;
    let volume = seen.volumes.iter().find(|volume| volume.name.starts_with("kube-api-access-"));
    let volume = &volume.context("the volume with the token is missing")?.name;
    let token = seen.file(volume, "token").context("no token")?;
    let user = format!("system:serviceaccount:{}:default", env.namespace);
    is_of_pod(&review(env, token, None).await?, &user, "client", &uid(&pod))?;
    ensure!(seen.file(volume, "namespace") == Some(env.namespace.as_bytes()), "another namespace");
    let authority = seen.file(volume, "ca.crt").context("no ca.crt")?;
    ensure!(authority.starts_with(b"-----BEGIN CERTIFICATE-----"), "ca.crt is no certificate");
    ensure!(!env.log().contains(std::str::from_utf8(token)?), "the token is in the log");
    Ok(())
}

/// Makes the note of what the provider was given say that its token is to be renewed since long.
pub(crate) async fn let_token_come_of_age(env: &Env, name: &str) -> Result<()> {
    const NOTE: &str = "vk-host.dev/provider";
    let pod = env.pods().get(name).await?;
    let conditions = pod.status.and_then(|status| status.conditions).unwrap_or_default();
    let note = conditions.into_iter().find(|condition| condition.type_ == NOTE).context("the pod has no note")?;
    let mut fields: Value = serde_json::from_str(&note.message.unwrap_or_default())?;
    let stamp = fields["stamp"].as_str().context("no stamp")?;
    let (parts, due) = stamp.rsplit_once('.').context("no time in the stamp")?;
    ensure!(due.parse::<u64>().is_ok(), "no time in the stamp {stamp}");
    fields["stamp"] = format!("{parts}.1000000000").into();
    let condition = json!({"type": NOTE, "status": note.status, "message": fields.to_string()});
    let patch = Patch::Strategic(json!({"status": {"conditions": [condition]}}));
    env.pods().patch_status(name, &PatchParams::default(), &patch).await?;
    Ok(())
}

pub(crate) async fn a_missing_mandatory_reference_holds_the_pod_until_it_is_there(env: &mut Env) -> Result<()> {
    env.start(Setup::default()).await?;
    env.kubectl(&["create", "configmap", "half", "--from-literal=other=1"]).await?;
    let variable = |name: &str, key: &str| json!({"env": [{"name": "V", "valueFrom": {"configMapKeyRef": {"name": name, "key": key}}}]});
    env.create(env.pod("map").container(variable("late", "color"))).await?;
    env.create(env.pod("key").container(variable("half", "color"))).await?;
    env.create(env.pod("secret").spec(json!({"volumes": [{"name": "v", "secret": {"secretName": "late"}}]}))).await?;
    env.create(env.pod("from").container(json!({"envFrom": [{"secretRef": {"name": "late"}}]}))).await?;
    for (name, reason, message) in [
        ("map", "MandatoryConfigMapNotFound", r#"configmap "late" not found"#),
        ("key", "MandatoryConfigMapKeyNotFound", r#"key "color" does not exist in configmap "half""#),
        ("secret", "MandatorySecretNotFound", r#"secret "late" not found"#),
        ("from", "MandatorySecretNotFound", r#"secret "late" not found"#),
    ] {
        let event = env.event(name, reason).await?;
        let told = event.message.unwrap_or_default();
        ensure!(told.contains(message), "{reason} of {name} says: {told}");
        let shows = |shown: &str| shown.contains("0/1") && shown.contains("CreateContainerConfigError");
        vk_e2e::eventually(&format!("kubectl to show why {name} waits"), vk_e2e::PATIENCE, async || {
            match env.kubectl(&["get", "pod", name]).await {
                Ok(shown) if shows(&shown) => Ok(()),
                Ok(shown) => Err(shown),
                Err(error) => Err(error.to_string()),
            }
        })
        .await?;
        ensure!(phase(&env.pods().get(name).await?) == "Pending", "{name} is not Pending");
    }
    ensure!(env.backend.pods().is_empty(), "a pod without its references was made");

    env.kubectl(&["create", "configmap", "late", "--from-literal=color=red"]).await?;
    env.kubectl(&["patch", "configmap", "half", "-p", r#"{"data": {"color": "green"}}"#]).await?;
    env.kubectl(&["create", "secret", "generic", "late", "--from-literal=word=hush"]).await?;
    for (name, variable, wanted) in [("map", "V", "red"), ("key", "V", "green"), ("from", "word", "hush")] {
        let seen = env.backend.pod(&uid(&env.pod_ready(name).await?)).context("the backend has no such pod")?;
        ensure!(seen.env("main", variable) == Some(wanted), "{name} sees {:?}", seen.env("main", variable));
    }
    let seen = env.backend.pod(&uid(&env.pod_ready("secret").await?)).context("the backend has no such pod")?;
    ensure!(seen.file("v", "word") == Some(b"hush"), "the secret's file is {:?}", seen.file("v", "word"));
    Ok(())
}

pub(crate) async fn missing_optional_references_are_skipped_with_an_event(env: &mut Env) -> Result<()> {
    env.start(Setup::default()).await?;
    env.kubectl(&["create", "configmap", "half", "--from-literal=other=1"]).await?;
    let pod = env.pod("patient").container(json!({
        "envFrom": [{"configMapRef": {"name": "absent", "optional": true}}],
        "env": [
            {"name": "A", "valueFrom": {"secretKeyRef": {"name": "absent", "key": "k", "optional": true}}},
            {"name": "B", "valueFrom": {"configMapKeyRef": {"name": "half", "key": "k", "optional": true}}},
            {"name": "C", "value": "here"},
        ],
    }));
    env.create(pod.spec(json!({"volumes": [{"name": "v", "configMap": {"name": "absent", "optional": true}}]})))
        .await?;
    let seen = env.backend.pod(&uid(&env.pod_ready("patient").await?)).context("the backend has no such pod")?;
    ensure!(seen.env("main", "A").is_none() && seen.env("main", "B").is_none(), "{}", seen.manifest);
    ensure!(seen.env("main", "C") == Some("here"), "{}", seen.manifest);
    for reason in ["OptionalConfigMapNotFound", "OptionalSecretNotFound", "OptionalConfigMapKeyNotFound"] {
        let event = env.event("patient", reason).await?;
        ensure!(event.type_.as_deref() == Some("Warning"), "{reason} is no warning");
    }
    Ok(())
}
