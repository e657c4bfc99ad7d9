//! Deployments, Jobs and StatefulSets, by the real controllers and the real scheduler, as kubectl shows them.

use anyhow::{Context as _, Result, ensure};
use kube::ResourceExt as _;
use vk_e2e::{Env, Setup, is_ready, names, phase, uid};

/// What brings a pod to the test's node: the scheduler sees the nodes of all tests.
const PLACEMENT: &str = "
      nodeSelector: {kubernetes.io/hostname: '{node}'}
      tolerations: [{key: virtual-kubelet.io/provider, operator: Exists}]
      terminationGracePeriodSeconds: 5";

pub(crate) async fn a_deployment_scales_from_none_to_three_and_back(env: &mut Env) -> Result<()> {
    env.start(Setup::default()).await?;
    env.apply(&format!(
        "
apiVersion: apps/v1
kind: Deployment
metadata: {{name: web}}
spec:
  replicas: 0
  selector: {{matchLabels: {{app: web}}}}
  template:
    metadata: {{labels: {{app: web}}}}
    spec: {PLACEMENT}
      containers: [{{name: web, image: registry.example.com/web:1}}]
"
    ))
    .await?;
    env.kubectl(&["scale", "deployment/web", "--replicas=3"]).await?;
    env.kubectl(&["rollout", "status", "deployment/web", "--timeout=60s"]).await?;
    let three = env.pods_until("app=web", "three Ready pods", |seen| seen.len() == 3 && seen.values().all(is_ready));
    let three = three.await?;

    for pod in three.values() {
        let status = pod.status.as_ref().context("no status")?;
        let conditions = status.conditions.iter().flatten();
        let held: Vec<_> = conditions.filter(|each| each.status == "True").map(|each| each.type_.as_str()).collect();
        // The scheduler's is kept beside those of the host.
        for kind in ["PodScheduled", "Initialized", "ContainersReady", "Ready"] {
            ensure!(held.contains(&kind), "{kind} does not hold: {held:?}");
        }
        ensure!(status.start_time.is_some() && status.qos_class.is_some(), "{status:?}");
        ensure!(status.host_ip.is_some() && status.pod_ips.as_ref().is_some_and(|ips| ips.len() == 1), "{status:?}");
    }

    let shown = env.kubectl(&["get", "pods", "-o", "wide"]).await?;
    let lines: Vec<Vec<&str>> = shown.lines().map(|line| line.split_whitespace().collect()).collect();
    ensure!(lines.len() == 4, "{shown}");
    for line in lines.iter().skip(1) {
        ensure!(line.get(1..4) == Some(&["1/1", "Running", "0"][..]), "{shown}");
        ensure!(line.get(5).is_some_and(|ip| ip.starts_with("10.")), "no pod IP: {shown}");
        ensure!(line.get(6) == Some(&env.node.as_str()), "another node: {shown}");
    }
    let shown = env.kubectl(&["get", "node", &env.node]).await?;
    let line: Vec<&str> = shown.lines().nth(1).context("no node is shown")?.split_whitespace().collect();
    ensure!(line.get(..3) == Some(&[env.node.as_str(), "Ready", "agent"][..]), "{shown}");
    ensure!(line.last().is_some_and(|version| version.contains("-vk-")), "{shown}");

    env.kubectl(&["scale", "deployment/web", "--replicas=0"]).await?;
    env.pods_gone("app=web").await?;
    for uid in three.into_keys() {
        let count = env.backend.count(&uid);
        ensure!((count.made, count.creates, count.updates, count.gone) == (1, 1, 0, 1), "{count:?}");
    }
    ensure!(env.backend.pods().is_empty(), "the backend kept {} pods", env.backend.pods().len());
    Ok(())
}

pub(crate) async fn a_pod_without_the_toleration_stays_away(env: &mut Env) -> Result<()> {
    env.start(Setup::default()).await?;
    env.apply(
        "
apiVersion: v1
kind: Pod
metadata: {name: intolerant}
spec:
  nodeSelector: {kubernetes.io/hostname: '{node}'}
  containers: [{name: main, image: registry.example.com/main:1}]
",
    )
    .await?;
    let pod = env.pod_until("intolerant", "to be found unschedulable", |pod| {
        let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
        conditions.into_iter().flatten().any(|condition| condition.reason.as_deref() == Some("Unschedulable"))
    });
    let pod = pod.await?;
    let conditions = pod.status.and_then(|status| status.conditions).unwrap_or_default();
    let message = conditions.into_iter().find_map(|condition| condition.message).unwrap_or_default();
    ensure!(message.contains("taint"), "{message}");
    ensure!(env.backend.pods().is_empty(), "it runs all the same");
    Ok(())
}

fn job(name: &str, annotations: &str) -> String {
    format!(
        "
apiVersion: batch/v1
kind: Job
metadata: {{name: {name}}}
spec:
  backoffLimit: 0
  template:
    metadata: {{annotations: {{{annotations}}}}}
    spec: {PLACEMENT}
      restartPolicy: Never
      containers: [{{name: work, image: registry.example.com/work:1}}]
"
    )
}

pub(crate) async fn a_job_completes(env: &mut Env) -> Result<()> {
    env.start(Setup::default()).await?;
    env.apply(&job("sum", "mock.vk-host.dev/run-for: 1s")).await?;
    env.kubectl(&["wait", "--for=condition=Complete", "job/sum", "--timeout=60s"]).await?;
    let pods = env.pods_until("job-name=sum", "one pod that succeeded", |seen| {
        seen.len() == 1 && seen.values().all(|pod| phase(pod) == "Succeeded")
    });
    let pods = pods.await?;
    let shown = env.kubectl(&["get", "pods"]).await?;
    ensure!(shown.lines().nth(1).is_some_and(|line| line.contains("0/1") && line.contains("Completed")), "{shown}");
    env.made_once_and_left_alone(pods.into_keys())
}

pub(crate) async fn a_job_fails_at_its_back_off_limit(env: &mut Env) -> Result<()> {
    env.start(Setup::default()).await?;
    env.apply(&job("broken", "mock.vk-host.dev/run-for: 500ms, mock.vk-host.dev/exit-code: '3'")).await?;
    env.kubectl(&["wait", "--for=condition=Failed", "job/broken", "--timeout=60s"]).await?;
    let why = r#"jsonpath={.status.conditions[?(@.type=="Failed")].reason}"#;
    let why = env.kubectl(&["get", "job", "broken", "-o", why]).await?;
    ensure!(why == "BackoffLimitExceeded", "the Job failed for another reason: {why}");
    let code = "jsonpath={.items[*].status.containerStatuses[0].state.terminated.exitCode}";
    let code = env.kubectl(&["get", "pods", "-o", code]).await?;
    ensure!(code == "3", "exit codes: {code:?}");
    let shown = env.kubectl(&["get", "pods"]).await?;
    ensure!(shown.lines().nth(1).is_some_and(|line| line.contains("0/1") && line.contains("Error")), "{shown}");
    Ok(())
}

pub(crate) async fn a_stateful_set_pod_comes_back_under_its_name_with_another_uid(env: &mut Env) -> Result<()> {
    env.start(Setup::default()).await?;
    // It stops so slowly that its successor is there before it has gone.
    env.apply(&format!(
        "
apiVersion: apps/v1
kind: StatefulSet
metadata: {{name: db}}
spec:
  serviceName: db
  replicas: 1
  selector: {{matchLabels: {{app: db}}}}
  template:
    metadata: {{labels: {{app: db}}, annotations: {{mock.vk-host.dev/stop-after: 3s}}}}
    spec: {PLACEMENT}
      containers: [{{name: db, image: registry.example.com/db:1}}]
"
    ))
    .await?;
    let mut earlier = vec![uid(&env.pod_ready("db-0").await?)];
    for options in [&["--force", "--grace-period=0"][..], &["--wait=false"], &["--force", "--grace-period=0"]] {
        env.kubectl(&[&["delete", "pod", "db-0"][..], options].concat()).await?;
        let next = env.pod_until("db-0", "to be another one, Ready", |pod| {
            is_ready(pod) && !earlier.contains(&pod.uid().unwrap_or_default())
        });
        let next = next.await?;
        env.backend_without(&earlier).await?;
        earlier.push(uid(&next));
    }
    let left = env.backend.pods();
    ensure!(left.len() == 1 && left.iter().all(|pod| Some(&pod.id.uid) == earlier.last()), "the last one must run");
    env.made_once(earlier)?;
    ensure!(is_ready(&env.pods().get("db-0").await?), "the last one is not Ready any more");
    Ok(())
}

pub(crate) async fn a_readiness_gate_holds_ready_back_and_survives(env: &mut Env) -> Result<()> {
    env.start(Setup::default()).await?;
    let gated = serde_json::json!({"readinessGates": [{"conditionType": "example.com/admitted"}]});
    env.create(env.pod("gated").spec(gated)).await?;
    let has = |kind: &'static str, status: &'static str| {
        move |pod: &k8s_openapi::api::core::v1::Pod| {
            let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
            conditions.into_iter().flatten().any(|each| each.type_ == kind && each.status == status)
        }
    };
    env.pod_until("gated", "to have Ready containers", has("ContainersReady", "True")).await?;
    ensure!(has("Ready", "False")(&env.pods().get("gated").await?), "it is Ready although its gate is shut");
    let open = r#"{"status": {"conditions": [{"type": "example.com/admitted", "status": "True"}]}}"#;
    env.kubectl(&["patch", "pod", "gated", "--subresource=status", "-p", open]).await?;
    env.pod_ready("gated").await?;
    // A status that the provider changes leaves it as it is.
    let uid = uid(&env.pods().get("gated").await?);
    ensure!(env.backend.finish(&uid, 0, None), "the backend has no such pod");
    let over = env.pod_until("gated", "to have no Ready containers", has("ContainersReady", "False")).await?;
    ensure!(has("example.com/admitted", "True")(&over), "the condition of somebody else is gone");
    Ok(())
}

pub(crate) async fn containers_start_late_restart_and_crash_as_kubectl_shows_it(env: &mut Env) -> Result<()> {
    env.start(Setup::default()).await?;
    env.create(env.pod("late").asks("start-after", "4s")).await?;
    env.create(env.pod("restarted").asks("run-for", "500ms").asks("restarts", "2").asks("restart-after", "500ms"))
        .await?;
    env.create(env.pod("evicted").asks("fail", "Evicted").asks("run-for", "500ms")).await?;
    env.create(env.pod("crashing").asks("exit-code", "9").asks("run-for", "300ms").asks("restart-after", "1h")).await?;

    let late = env.pod_until("late", "to be Pending", |pod| {
        phase(pod) == "Pending"
            && pod.status.as_ref().is_some_and(|status| {
                status.container_statuses.as_ref().is_some_and(|containers| !containers.is_empty())
            })
    });
    late.await?;
    let shown = env.kubectl(&["get", "pod", "late"]).await?;
    ensure!(shown.contains("0/1") && shown.contains("ContainerCreating"), "{shown}");
    let restarted = env.pod_until("restarted", "to be Ready after two restarts", |pod| {
        let containers = pod.status.as_ref().and_then(|status| status.container_statuses.as_ref());
        is_ready(pod) && containers.into_iter().flatten().any(|container| container.restart_count == 2)
    });
    restarted.await?;
    let evicted = env.pod_until("evicted", "to be Failed", |pod| phase(pod) == "Failed").await?;
    ensure!(evicted.status.and_then(|status| status.reason).as_deref() == Some("Evicted"), "another reason");
    env.pod_until("crashing", "to be in its back-off", |pod| {
        let containers = pod.status.as_ref().and_then(|status| status.container_statuses.as_ref());
        let waiting =
            containers.into_iter().flatten().filter_map(|container| container.state.as_ref()?.waiting.as_ref());
        waiting.into_iter().any(|waiting| waiting.reason.as_deref() == Some("CrashLoopBackOff"))
    })
    .await?;
    let shown = env.kubectl(&["get", "pod", "crashing"]).await?;
    ensure!(shown.contains("0/1") && shown.contains("CrashLoopBackOff"), "{shown}");
    env.pod_ready("late").await?;
    let all = env.pods().list(&kube::api::ListParams::default()).await?;
    ensure!(names(&all).len() == 4, "{:?}", names(&all));
    Ok(())
}
