//! Pods end: gracefully, by force, held by a finalizer, counted by a Job.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use serde_json::json;
use tokio::time::Instant;
use vk_e2e::{Env, Setup, is_ready, phase, reason, uid};

pub(crate) async fn a_graceful_deletion_waits_for_the_workload_to_stop(env: &mut Env) -> Result<()> {
    env.start(Setup::default()).await?;
    let slow = env.pod("slow").asks("stop-after", "3s").spec(json!({"terminationGracePeriodSeconds": 30}));
    env.create(slow).await?;
    env.create(env.pod("quick").spec(json!({"terminationGracePeriodSeconds": 30}))).await?;
    let (slow, quick) = (uid(&env.pod_ready("slow").await?), uid(&env.pod_ready("quick").await?));

    let began = Instant::now();
    env.kubectl(&["delete", "pod", "quick", "--timeout=20s"]).await?;
    ensure!(began.elapsed() < Duration::from_secs(10), "what stops at once took {:?}", began.elapsed());
    let began = Instant::now();
    env.kubectl(&["delete", "pod", "slow", "--timeout=25s"]).await?;
    ensure!(began.elapsed() >= Duration::from_secs(3), "the pod was gone before its workload had stopped");
    ensure!(began.elapsed() < Duration::from_secs(15), "what stops in 3 s took {:?}", began.elapsed());
    for uid in [slow, quick] {
        ensure!(env.backend.pod(&uid).is_none(), "it is gone from the API but still in the backend");
        ensure!(env.backend.count(&uid).gone == 1, "{:?}", env.backend.count(&uid));
    }
    Ok(())
}

pub(crate) async fn grace_ends_a_workload_that_does_not_stop(env: &mut Env) -> Result<()> {
    env.start(Setup::default()).await?;
    let stubborn = env.pod("stubborn").asks("stop-after", "1h").spec(json!({"terminationGracePeriodSeconds": 3}));
    env.create(stubborn).await?;
    let patient = env.pod("shortened").asks("stop-after", "1h").spec(json!({"terminationGracePeriodSeconds": 3600}));
    env.create(patient).await?;
    let (stubborn, shortened) = (uid(&env.pod_ready("stubborn").await?), uid(&env.pod_ready("shortened").await?));
    let began = Instant::now();
    env.kubectl(&["delete", "pod", "stubborn", "--timeout=20s"]).await?;
    ensure!(began.elapsed() >= Duration::from_secs(3), "ended {:?} after the deletion", began.elapsed());

    env.delete("shortened").await?;
    env.pod_until("shortened", "to be on its way out", |pod| pod.metadata.deletion_timestamp.is_some()).await?;
    // Somebody loses patience.
    let began = Instant::now();
    env.kubectl(&["delete", "pod", "shortened", "--grace-period=2", "--timeout=20s"]).await?;
    ensure!(began.elapsed() < Duration::from_secs(15), "a shortened grace took {:?}", began.elapsed());
    env.backend_without(&[stubborn, shortened]).await
}

pub(crate) async fn a_forced_deletion_removes_the_providers_copy_all_the_same(env: &mut Env) -> Result<()> {
    env.start(Setup::default()).await?;
    env.create(env.pod("forced").asks("stop-after", "1h")).await?;
    let forced = uid(&env.pod_ready("forced").await?);
    env.kubectl(&["delete", "pod", "forced", "--force", "--grace-period=0"]).await?;
    env.pod_gone("forced").await?;
    env.backend_without(&[forced]).await
}

/// Whether a pod is over: a terminal phase, and every container terminated.
fn is_over(pod: &Pod) -> bool {
    let containers = pod.status.as_ref().and_then(|status| status.container_statuses.clone()).unwrap_or_default();
    let terminated = |container: &k8s_openapi::api::core::v1::ContainerStatus| {
        container.state.as_ref().is_some_and(|state| state.terminated.is_some() && state.running.is_none())
    };
    matches!(phase(pod), "Succeeded" | "Failed") && !containers.is_empty() && containers.iter().all(terminated)
}

pub(crate) async fn a_pod_with_a_finalizer_is_terminal_before_it_goes(env: &mut Env) -> Result<()> {
    env.start(Setup::default()).await?;
    env.create(env.pod("held").metadata(json!({"finalizers": ["example.com/hold"]}))).await?;
    let held = uid(&env.pod_ready("held").await?);
    env.delete("held").await?;
    env.pod_until("held", "to be over while it is held", is_over).await?;
    env.backend_without(std::slice::from_ref(&held)).await?;
    env.patch("held", &json!({"metadata": {"finalizers": null}})).await?;
    env.pod_gone("held").await?;
    ensure!(env.backend.count(&held).made == 1, "it was made again");
    Ok(())
}

pub(crate) async fn a_deleted_namespace_takes_its_pods_along(env: &mut Env) -> Result<()> {
    env.start(Setup::default()).await?;
    let uids: Vec<String> = env.running("some", 5).await?.into_keys().collect();
    env.create(env.pod("slow").asks("stop-after", "2s")).await?;
    env.pod_ready("slow").await?;
    env.create(env.pod("held").container(json!({"envFrom": [{"configMapRef": {"name": "absent"}}]}))).await?;
    env.event("held", "MandatoryConfigMapNotFound").await?;
    env.kubectl(&["delete", "namespace", &env.namespace, "--timeout=60s"]).await?;
    env.backend_without(&uids).await?;
    ensure!(env.backend.pods().is_empty(), "{} pods in the backend", env.backend.pods().len());
    env.made_once(uids)
}

/// A Job whose pods run until they are ended, with more fields of the Job's spec and of its pods' spec.
fn job(name: &str, fields: &str, pod_fields: &str) -> String {
    format!(
        "
apiVersion: batch/v1
kind: Job
metadata: {{name: {name}}}
spec:
  {fields}
  template:
    spec:
      nodeName: '{{node}}'
      restartPolicy: Never
      terminationGracePeriodSeconds: 5
      {pod_fields}
      containers: [{{name: work, image: registry.example.com/work:1}}]
"
    )
}

pub(crate) async fn a_deleted_pod_of_a_job_is_counted_by_its_job(env: &mut Env) -> Result<()> {
    env.start(Setup::default()).await?;
    // Each of them waits for the end of a pod in its own way.
    let rules = "{rules: [{action: FailJob, onExitCodes: {operator: In, values: [42]}}]}";
    let policy = format!("backoffLimit: 5\n  podFailurePolicy: {rules}");
    for (name, fields) in [
        ("plain", "backoffLimit: 5"),
        ("replaced", "backoffLimit: 5\n  podReplacementPolicy: Failed"),
        ("judged", &policy),
    ] {
        env.apply(&job(name, fields, "")).await?;
        let labels = format!("job-name={name}");
        let first = env.pods_until(&labels, "the Job's pod to run", |seen| seen.values().any(is_ready)).await?;
        let pod = first.values().next().and_then(|pod| pod.metadata.name.clone()).context("no pod")?;
        env.kubectl(&["delete", "pod", &pod, "--timeout=30s"]).await?;
        // The Job sees its end, or it would wait for that pod for ever.
        let failed = format!("job/{name}");
        env.kubectl(&["wait", "--for=jsonpath={.status.failed}=1", &failed, "--timeout=30s"]).await?;
        env.pods_until(&labels, "the next pod to run", |seen| {
            seen.iter().any(|(uid, pod)| !first.contains_key(uid) && is_ready(pod))
        })
        .await?;
        env.made_once(first.into_keys())?;
    }
    Ok(())
}

fn is_overdue(pod: &Pod) -> bool {
    phase(pod) == "Failed" && reason(pod) == "DeadlineExceeded"
}

pub(crate) async fn a_pod_is_ended_when_its_time_is_over(env: &mut Env) -> Result<()> {
    env.start(Setup::default()).await?;
    let limited = |name: &str, seconds: u32| {
        let spec = json!({"activeDeadlineSeconds": seconds, "terminationGracePeriodSeconds": 20});
        env.pod(name).spec(spec)
    };
    let began = Instant::now();
    env.create(limited("short", 3).asks("stop-after", "2s")).await?;
    env.create(limited("shortened", 3600)).await?;
    env.create(limited("starting", 4).asks("start-after", "1h")).await?;
    env.create(limited("enough", 3600)).await?;
    env.apply(&job("limited", "backoffLimit: 0", "activeDeadlineSeconds: 3")).await?;
    let short = uid(&env.pod_ready("short").await?);

    let pod = env.pod_until("short", "to be failed", |pod| phase(pod) == "Failed").await?;
    ensure!(began.elapsed() >= Duration::from_secs(3), "it was failed after {:?}, while it ran", began.elapsed());
    ensure!(is_overdue(&pod) && is_over(&pod), "{:?}", pod.status);
    ensure!(env.backend.pod(&short).is_none(), "something of it is left in the backend");
    let message = pod.status.as_ref().and_then(|status| status.message.as_deref());
    ensure!(message == Some("Pod was active on the node longer than the specified deadline"), "{message:?}");
    let event = env.event("short", "DeadlineExceeded").await?;
    ensure!(event.message.as_deref() == message, "{:?}", event.message);
    env.kubectl(&["wait", "--for=condition=Failed", "job/limited", "--timeout=60s"]).await?;
    env.pod_until("starting", "to be failed although it never ran", is_overdue).await?;

    env.pod_ready("shortened").await?;
    env.patch("shortened", &json!({"spec": {"activeDeadlineSeconds": 1}})).await?;
    env.pod_until("shortened", "to be failed", is_overdue).await?;

    // A host that comes back ends what is over by then, and goes on to count for the rest.
    env.create(limited("missed", 5)).await?;
    env.create(limited("later", 25)).await?;
    let (missed, later) = (uid(&env.pod_ready("missed").await?), uid(&env.pod_ready("later").await?));
    env.kill9().await?;
    env.start_again().await?;
    env.pod_until("missed", "to be failed", is_overdue).await?;
    env.pod_until("later", "to be failed", is_overdue).await?;
    env.made_once([short, missed, later])?;
    ensure!(is_ready(&env.pods().get("enough").await?), "a pod whose time is not over was ended");
    Ok(())
}
