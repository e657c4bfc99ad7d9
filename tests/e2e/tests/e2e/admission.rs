//! What the node does not take, and what it makes of a pod that it has no place for.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::{Event, Node, Pod};
use kube::{Api, runtime::watcher};
use serde_json::{Value, json};
use vk_e2e::{Env, PATIENCE, Setup, is_ready, phase, reason, uid, until};

/// How long a controller is given to make more pods than it should.
const A_MINUTE: Duration = Duration::from_secs(60);

fn requests(resource: &str, amount: &str) -> Value {
    json!({"resources": {"requests": {resource: amount}, "limits": {resource: amount}}})
}

fn message(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|status| status.message.as_deref()).unwrap_or_default()
}

fn offers(cpu: &'static str) -> impl FnMut(&Node) -> bool {
    move |node| {
        let offered = node.status.as_ref().and_then(|status| status.allocatable.as_ref());
        offered.and_then(|offered| offered.get("cpu")).is_some_and(|amount| amount.0 == cpu)
    }
}

pub(crate) async fn each_refusal_has_the_kubelets_reason_and_wording(env: &mut Env) -> Result<()> {
    let others = r#"others = { "example.com/gpu" = 1, "ephemeral-storage" = "1Gi" }"#;
    env.start(Setup::default().cpu(20).memory("100Gi").setting(others)).await?;
    let affinity = |requirement: Value| {
        let terms = json!({"nodeSelectorTerms": [requirement]});
        json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}}})
    };
    let elsewhere = json!({"key": "metadata.name", "operator": "NotIn", "values": [env.node]});
    let older = json!({"key": "generation", "operator": "Lt", "values": ["7"]});
    env.kubectl(&["label", "node", &env.node, "generation=8"]).await?;

    let short = |resource: &str, requested: i64, capacity: i64| {
        let numbers = format!("{resource}, requested: {requested}, used: 0, capacity: {capacity}");
        (format!("OutOf{resource}"), format!("Node didn't have enough resource: {numbers}"))
    };
    let no_match = || {
        let text = "Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector";
        ("NodeAffinity".to_owned(), text.to_owned())
    };
    let os_field = "Failed to admit pod as the OS field doesn't match node OS";
    let os_label = "Failed to admit pod as the `kubernetes.io/os` label doesn't match node label";
    let pod = |name: &str| env.pod(name);
    let cases = [
        (pod("cpu").container(requests("cpu", "21")), short("cpu", 21_000, 20_000)),
        (pod("memory").container(requests("memory", "101Gi")), short("memory", 101 << 30, 100 << 30)),
        (pod("storage").container(requests("ephemeral-storage", "2Gi")), short("ephemeral-storage", 2 << 30, 1 << 30)),
        (pod("gpu").container(requests("example.com/gpu", "2")), short("example.com/gpu", 2, 1)),
        (pod("selector").spec(json!({"nodeSelector": {"generation": "7"}})), no_match()),
        (pod("name").spec(affinity(json!({"matchFields": [elsewhere]}))), no_match()),
        (pod("label").spec(affinity(json!({"matchExpressions": [older]}))), no_match()),
        (pod("field").spec(json!({"os": {"name": "windows"}})), ("PodOSNotSupported".into(), os_field.into())),
        (
            pod("os-label").label("kubernetes.io/os", "windows"),
            ("PodOSSelectorNodeLabelDoesNotMatch".into(), os_label.into()),
        ),
    ];
    for (pod, (wanted, text)) in cases {
        let pod = env.create(pod).await?;
        let name = pod.metadata.name.clone().context("a pod without a name")?;
        let pod = env.pod_until(&name, "to be rejected", |pod| phase(pod) == "Failed").await?;
        ensure!(reason(&pod) == wanted, "{name} was rejected for {}, not {wanted}", reason(&pod));
        ensure!(message(&pod) == format!("Pod was rejected: {text}"), "{name} says {:?}", message(&pod));
        let event = env.event(&name, &wanted).await?;
        ensure!(event.message.as_deref() == Some(&text), "the event says {:?}", event.message);
        ensure!(env.backend.count(&uid(&pod)).creates == 0, "{name} was created all the same");
    }
    let shown = env.kubectl(&["get", "pod", "cpu"]).await?;
    ensure!(shown.contains("0/1") && shown.contains("OutOfcpu"), "{shown}");
    // What fits is taken, by the same rules.
    let fits = env.pod("fits").container(requests("cpu", "20")).spec(json!({"nodeSelector": {"generation": "8"}}));
    env.create(fits).await?;
    env.pod_ready("fits").await?;
    Ok(())
}

pub(crate) async fn a_taint_that_ends_pods_keeps_new_ones_out(env: &mut Env) -> Result<()> {
    env.start(Setup::default()).await?;
    env.kubectl(&["taint", "node", &env.node, "example.com/closed=yes:NoExecute"]).await?;
    let tolerates = json!({"tolerations": [{"key": "example.com/closed", "operator": "Exists"}]});
    env.create(env.pod("tolerant").spec(tolerates)).await?;
    env.pod_ready("tolerant").await?;
    // The controller manager deletes such pods. Of some, the node is faster.
    let intolerant: Vec<_> = (0..10).map(|number| env.pod(&format!("intolerant-{number}"))).collect();
    let uids: Vec<String> = env.create_all(intolerant, 10).await?.iter().map(uid).collect();
    let events: Api<Event> = Api::namespaced(env.client.clone(), &env.namespace);
    let selection = watcher::Config::default().fields("reason=TaintToleration");
    let seen = until(events, selection, "an event TaintToleration", PATIENCE, |seen| !seen.is_empty()).await?;
    let told = seen.into_values().next().and_then(|event| event.message).unwrap_or_default();
    let wanted = "Predicate TaintToleration failed: node(s) had taints that the pod didn't tolerate";
    ensure!(told == wanted, "{told}");
    ensure!(uids.iter().all(|uid| env.backend.count(uid).creates == 0), "one was created all the same");
    Ok(())
}

pub(crate) async fn what_runs_stays_when_the_node_offers_less(env: &mut Env) -> Result<()> {
    env.start(Setup::default().pods(6)).await?;
    let pods = (0..5).map(|number| {
        let pod = env.pod(&format!("many-{number}")).label("group", "many");
        pod.container(requests("cpu", "2"))
    });
    let pods: Vec<_> = pods.collect();
    env.create_all(pods, 5).await?;
    let uids: Vec<String> = env.ready("many", 5).await?.into_keys().collect();

    let less = Setup::default().pods(6).cpu(3);
    env.configure(&less)?;
    env.node_until("to offer less", offers("3")).await?;
    env.create(env.pod("one-more").container(requests("cpu", "1"))).await?;
    let pod = env.pod_until("one-more", "to be rejected", |pod| phase(pod) == "Failed").await?;
    ensure!(message(&pod).contains("cpu, requested: 1000, used: 10000, capacity: 3000"), "{}", message(&pod));

    // Nor does a new life of the host ask again for what runs.
    env.kill9().await?;
    env.start(less).await?;
    env.create(env.pod("after").container(requests("cpu", "1"))).await?;
    let pod = env.pod_until("after", "to be rejected", |pod| phase(pod) == "Failed").await?;
    ensure!(message(&pod).contains("used: 10000"), "what runs was not counted: {}", message(&pod));
    let now = env.ready("many", 5).await?;
    ensure!(now.keys().eq(uids.iter()), "other pods than before");
    env.made_once_and_left_alone(uids)?;

    // What ends makes room; what failed does not come back.
    env.configure(&Setup::default().pods(6).cpu(20))?;
    env.node_until("to offer more", offers("20")).await?;
    env.create(env.pod("sixth")).await?;
    env.pod_ready("sixth").await?;
    env.create(env.pod("seventh")).await?;
    let pod = env.pod_until("seventh", "to be rejected", |pod| phase(pod) == "Failed").await?;
    ensure!(reason(&pod) == "OutOfpods", "{}", reason(&pod));
    ensure!(message(&pod).contains("pods, requested: 1, used: 6, capacity: 6"), "{}", message(&pod));
    env.kubectl(&["delete", "pod", "many-0", "--timeout=30s"]).await?;
    env.create(env.pod("eighth")).await?;
    env.pod_ready("eighth").await?;
    Ok(())
}

/// A controller with a template for pods of this application.
fn controller(kind: &str, app: &str, annotations: &str, spec: &str) -> String {
    let replicas = if kind == "Deployment" { "replicas: 3" } else { "minReadySeconds: 0" };
    format!(
        "
apiVersion: apps/v1
kind: {kind}
metadata: {{name: {app}}}
spec:
  {replicas}
  selector: {{matchLabels: {{app: {app}}}}}
  template:
    metadata: {{labels: {{app: {app}, refused: 'yes'}}, annotations: {{{annotations}}}}}
    spec:
      {spec}
      tolerations: [{{operator: Exists}}]
      containers: [{{name: main, image: registry.example.com/main:1, resources: {{requests: {{cpu: 15}}}}}}]
"
    )
}

pub(crate) async fn pods_of_controllers_that_are_refused_wait_and_are_not_made_without_end(
    env: &mut Env,
) -> Result<()> {
    env.start(Setup::default().cpu(200)).await?;
    env.node_until("to offer much", offers("200")).await?;
    let here = "nodeSelector: {kubernetes.io/hostname: '{node}'}";
    let rejected = "mock.vk-host.dev/reject: invalid";
    env.apply(&controller("Deployment", "by-provider", rejected, here)).await?;
    env.apply(&controller("DaemonSet", "everywhere", rejected, here)).await?;
    let refused = "pods that the provider refuses";
    let settled = env.pods_until("app in (by-provider, everywhere)", refused, |seen| {
        seen.len() == 4 && seen.values().all(|pod| reason(pod) == "ProviderFailed")
    });
    settled.await?;
    // Now there is room for one of three, and the scheduler is not asked.
    env.configure(&Setup::default().cpu(79))?;
    env.node_until("to offer less", offers("79")).await?;
    env.apply(&controller("Deployment", "by-node", "", "nodeName: '{node}'")).await?;
    let first = env.pods_until("refused=yes", "seven pods, of which two have no place", |seen| {
        let waiting = seen.values().filter(|pod| reason(pod) == "OutOfcpu").count();
        seen.len() == 7 && waiting == 2 && seen.values().filter(|pod| is_ready(pod)).count() == 1
    });
    let first = first.await?;

    let selection = watcher::Config::default().labels("refused=yes");
    let another = until(env.pods(), selection, "another pod", A_MINUTE, |seen| {
        seen.keys().any(|uid| !first.contains_key(uid)) || seen.values().any(|pod| phase(pod) == "Failed")
    });
    ensure!(another.await.is_err(), "a controller has made other pods");
    let now = env.pods_until("refused=yes", "the pods", |seen| !seen.is_empty()).await?;
    ensure!(now.keys().eq(first.keys()), "there are {} pods now", now.len());
    for pod in now.values().filter(|pod| reason(pod) == "OutOfcpu") {
        ensure!(phase(pod) == "Pending", "it is {}", phase(pod));
        ensure!(
            message(pod).starts_with("Pod was rejected: Node didn't have enough resource: cpu"),
            "{}",
            message(pod)
        );
    }
    // A place is made.
    env.configure(&Setup::default().cpu(200))?;
    let started = env.pods_until("app=by-node", "all to start", |seen| seen.len() == 3 && seen.values().all(is_ready));
    env.made_once_and_left_alone(started.await?.into_keys())
}
