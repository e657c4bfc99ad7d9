//! `vk-cluster` as typed, and what it leaves behind when it is killed.

#![allow(clippy::expect_used, reason = "a test says what it expects")]

use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;
use tokio::time::{Instant, sleep, timeout};

fn vk_cluster() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vk-cluster"));
    command.stdin(Stdio::null()).kill_on_drop(true);
    command
}

async fn output(command: &mut Command) -> Output {
    timeout(Duration::from_secs(180), command.output()).await.expect("ends in time").expect("runs")
}

/// Command lines of all processes that name `folder`.
fn processes_of(folder: &Path) -> Vec<String> {
    let folder = folder.to_str().expect("UTF-8");
    let entries = Path::new("/proc").read_dir().expect("/proc").flatten();
    let lines = entries.filter_map(|entry| std::fs::read_to_string(entry.path().join("cmdline")).ok());
    lines.filter(|line| line.contains(folder)).map(|line| line.replace('\0', " ")).collect()
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn sigkill_of_the_starter_leaves_no_process_and_no_file() {
    let parent = tempfile::tempdir().expect("a folder");
    let folder = parent.path().canonicalize().expect("resolved").join("cluster");
    let mut starter = vk_cluster();
    starter.args(["run", "--dir"]).arg(&folder).stdout(Stdio::piped());
    let mut starter = starter.spawn().expect("vk-cluster runs");
    let mut lines = BufReader::new(starter.stdout.take().expect("piped")).lines();
    let first = timeout(Duration::from_secs(180), lines.next_line()).await.expect("ready in time").expect("readable");
    assert_eq!(first, Some(format!("export KUBECONFIG={}/kubeconfig", folder.display())));
    let running = processes_of(&folder);
    for name in ["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "reaper", "anchor"] {
        assert!(running.iter().any(|line| line.contains(name)), "{name} is not among {running:#?}");
    }

    starter.kill().await.expect("killed by SIGKILL");

    let deadline = Instant::now() + Duration::from_secs(10);
    while Instant::now() < deadline && (!processes_of(&folder).is_empty() || folder.exists()) {
        sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(processes_of(&folder), Vec::<String>::new());
    let left: Vec<_> = parent.path().read_dir().expect("a folder").flatten().map(|entry| entry.path()).collect();
    assert!(left.is_empty(), "left behind: {left:?}");
}

/// Stops what `up` started when a test ends early.
struct Down<'a>(&'a Path);

impl Drop for Down<'_> {
    fn drop(&mut self) {
        let mut down = std::process::Command::new(env!("CARGO_BIN_EXE_vk-cluster"));
        let _ = down.args(["down", "--dir"]).arg(self.0).output();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn up_starts_once_and_down_stops_all() {
    let parent = tempfile::tempdir().expect("a folder");
    let folder = parent.path().canonicalize().expect("resolved").join("cluster");
    let _down = Down(&folder);
    let [first, second] = [
        output(vk_cluster().args(["up", "--dir"]).arg(&folder)).await,
        output(vk_cluster().args(["up", "--dir"]).arg(&folder)).await,
    ];
    for up in [&first, &second] {
        assert!(up.status.success(), "{}", String::from_utf8_lossy(&up.stderr));
        let text = String::from_utf8_lossy(&up.stdout);
        assert!(text.starts_with(&format!("export KUBECONFIG={}/kubeconfig\n", folder.display())), "{text}");
        assert!(text.contains("just cluster-down"), "{text}");
    }
    assert!(String::from_utf8_lossy(&first.stderr).contains("starting the control plane ... done in"));
    assert!(String::from_utf8_lossy(&second.stderr).contains("a control plane runs already"));
    let mut kubectl = Command::new(folder.join("bin/kubectl"));
    kubectl.arg("--kubeconfig").arg(folder.join("kubeconfig")).args(["get", "ns", "default"]);
    assert!(output(&mut kubectl).await.status.success());

    let down = output(vk_cluster().args(["down", "--dir"]).arg(&folder)).await;
    assert!(down.status.success(), "{}", String::from_utf8_lossy(&down.stderr));
    assert!(!folder.exists());
    assert_eq!(processes_of(&folder), Vec::<String>::new());
    let again = output(vk_cluster().args(["down", "--dir"]).arg(&folder)).await;
    assert!(again.status.success(), "stopping what does not run is no failure");
}

#[tokio::test]
async fn without_go_and_without_assets_one_line_says_what_to_install() {
    let root = tempfile::tempdir().expect("a folder");
    let module = root.path().join("tests/cluster/control-plane");
    std::fs::create_dir_all(&module).expect("a folder");
    for name in ["go.mod", "go.sum"] {
        let original = Path::new(env!("CARGO_MANIFEST_DIR")).join("control-plane").join(name);
        std::fs::copy(original, module.join(name)).expect("copied");
    }
    let mut command = vk_cluster();
    command.arg("build").env("VK_CLUSTER_ROOT", root.path()).env("PATH", "").env_remove("KUBEBUILDER_ASSETS");
    let build = output(&mut command).await;
    assert_eq!(build.status.code(), Some(1));
    let text = String::from_utf8_lossy(&build.stderr);
    let errors: Vec<&str> = text.lines().filter(|line| line.starts_with("vk-cluster: ")).collect();
    assert_eq!(errors.len(), 1, "{text}");
    assert!(errors.concat().contains("install Go 1.26.0 or later, or set KUBEBUILDER_ASSETS to a folder"), "{text}");
}

#[tokio::test]
async fn assets_that_lack_programs_are_refused_by_name() {
    let assets = tempfile::tempdir().expect("a folder");
    let build = output(vk_cluster().arg("build").env("KUBEBUILDER_ASSETS", assets.path())).await;
    assert_eq!(build.status.code(), Some(1));
    let text = String::from_utf8_lossy(&build.stderr);
    assert!(text.contains("lacks etcd, kube-apiserver, kube-controller-manager, kube-scheduler, kubectl"), "{text}");
}
