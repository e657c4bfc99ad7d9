//! Control planes as tests use them: several at once, with kubectl, over an outage, and gone afterwards.

#![allow(clippy::expect_used, reason = "a test says what it expects")]

use std::process::Output;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;
use vk_cluster::{Cluster, KubectlRelease, Options, Program};

/// Who the API server is for kubelets.
const KUBELET_CLIENT: &str = "kube-apiserver-kubelet-client";

async fn kubectl(cluster: &Cluster, arguments: &[&str]) -> String {
    let output = cluster.kubectl().args(arguments).output().await.expect("kubectl runs");
    assert!(output.status.success(), "kubectl {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

async fn apply(cluster: &Cluster, object: &Value) -> Output {
    let mut command = cluster.kubectl();
    command.args(["apply", "-f", "-"]).stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
    let mut child = command.stderr(std::process::Stdio::piped()).spawn().expect("kubectl runs");
    let mut input = child.stdin.take().expect("piped");
    input.write_all(object.to_string().as_bytes()).await.expect("written");
    drop(input);
    child.wait_with_output().await.expect("kubectl ends")
}

fn pod(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
        "spec": {"containers": [{"name": "main", "image": "example.invalid/main"}]},
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn two_control_planes_at_once_are_strangers_and_keep_their_data_over_an_outage() {
    let bare = Options { controller_manager: false, scheduler: false, ..Options::default() };
    let (whole, bare) = tokio::join!(Cluster::start(Options::default()), Cluster::start(bare));
    let (whole, bare) = (whole.expect("a control plane"), bare.expect("a bare control plane"));
    assert_ne!(whole.server(), bare.server());

    for cluster in [&whole, &bare] {
        assert!(kubectl(cluster, &["get", "ns", "-o", "name"]).await.contains("namespace/default\n"));
        let applied = apply(cluster, &pod("web")).await;
        assert!(applied.status.success(), "{}", String::from_utf8_lossy(&applied.stderr));
    }
    // The admission plugin and the scheduler have had their say on the first, nobody on the second.
    let why = r#"jsonpath={.status.conditions[?(@.type=="PodScheduled")].reason}"#;
    kubectl(&whole, &["wait", "pod/web", "--for=condition=PodScheduled=false", "--timeout=30s"]).await;
    assert_eq!(kubectl(&whole, &["get", "pod", "web", "-o", why]).await, "Unschedulable");
    assert_eq!(kubectl(&bare, &["get", "pod", "web", "-o", why]).await, "");
    let names = |pids: &[(Program, u32)]| pids.iter().map(|(program, _)| program.name()).collect::<Vec<_>>();
    assert_eq!(names(&bare.pids().await), ["etcd", "kube-apiserver"]);
    assert_eq!(whole.pids().await.len(), 4);

    kubectl(&bare, &["create", "configmap", "only-here"]).await;
    assert!(!kubectl(&whole, &["get", "configmaps", "-o", "name"]).await.contains("only-here"));

    let (server, uid) = (whole.server().to_owned(), ["get", "pod", "web", "-o", "jsonpath={.metadata.uid}"]);
    let before = kubectl(&whole, &uid).await;
    whole.stop_apiserver().await;
    let refused = whole.kubectl().args(["get", "ns"]).output().await.expect("kubectl runs");
    assert!(!refused.status.success(), "nothing may answer during the outage");
    whole.start_apiserver().await.expect("the API server starts again");
    assert_eq!(whole.server(), server);
    assert_eq!(kubectl(&whole, &uid).await, before);

    let folders = [whole.directory().to_path_buf(), bare.directory().to_path_buf()];
    timeout(Duration::from_secs(40), whole.stop()).await.expect("stops in time");
    drop(bare);
    for folder in folders {
        assert!(!folder.exists(), "{} is left behind", folder.display());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_identity_may_write_its_own_node_and_no_other() {
    let options = Options { controller_manager: false, scheduler: false, ..Options::default() };
    let cluster = Cluster::start(options).await.expect("a control plane");
    let config = cluster.kubeconfig_for("system:node:mine", Some("system:nodes")).expect("a kubeconfig");
    for (name, allowed) in [("mine", true), ("other", false)] {
        let mut command = cluster.kubectl();
        command.arg("--kubeconfig").arg(&config).args(["auth", "can-i", "create", "nodes"]);
        assert!(command.output().await.expect("kubectl runs").status.success());
        let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}});
        let file = cluster.directory().join(format!("{name}.json"));
        std::fs::write(&file, node.to_string()).expect("a file");
        let mut command = cluster.kubectl();
        command.arg("--kubeconfig").arg(&config).args(["create", "-f"]).arg(&file);
        let output = command.output().await.expect("kubectl runs");
        assert_eq!(output.status.success(), allowed, "{}", String::from_utf8_lossy(&output.stderr));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_server_may_use_kubelets_and_released_kubectls_the_api_server() {
    let options = Options { controller_manager: false, scheduler: false, ..Options::default() };
    let cluster = Cluster::start(options).await.expect("a control plane");
    for subresource in ["proxy", "log", "stats", "metrics"] {
        let may = ["auth", "can-i", "create", "nodes", "--subresource", subresource, "--as", KUBELET_CLIENT];
        assert_eq!(kubectl(&cluster, &may).await.trim(), "yes", "{subresource}");
    }
    let files = cluster.kubelet_certificate();
    let text = std::fs::read_to_string(cluster.authority()).expect("the authority");
    assert!(text.starts_with("-----BEGIN CERTIFICATE-----"), "{text}");
    let another = cluster.sign_serving("another.example").expect("another certificate");
    assert!(files.certificate.is_file() && files.key.is_file() && another.key.is_file());

    for release in [KubectlRelease::V1_30, KubectlRelease::V1_34, KubectlRelease::V1_37] {
        let program = release.program().await.expect("a kubectl");
        let output = cluster.kubectl_at(&program).args(["version", "-o", "json"]).output().await.expect("kubectl runs");
        let versions: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        assert_eq!(versions["clientVersion"]["gitVersion"], format!("v{}", release.version));
        assert!(versions["serverVersion"]["gitVersion"].is_string(), "{versions}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_that_cannot_start_is_named_with_the_end_of_its_log() {
    let options = Options {
        feature_gates: vec![("NoSuchGate".into(), true)],
        controller_manager: false,
        scheduler: false,
        ..Options::default()
    };
    let error = Cluster::start(options).await.expect_err("an unknown gate");
    let message = error.to_string();
    assert!(message.starts_with("kube-apiserver ended while starting (exit status: 1)"), "{message}");
    assert!(message.contains("unrecognized feature gate: NoSuchGate"), "{message}");
    let vk_cluster::Error::Exited { log, .. } = error else { panic!("another error: {message}") };
    assert!(log.is_file(), "{} is gone", log.display());
}
