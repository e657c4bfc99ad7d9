//! metrics-server, `kubectl top`, and what scales on it.

use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::time;
use vk_e2e::{Env, MetricsServer, Setup, eventually};

/// metrics-server looks every ten seconds, and needs two looks.
const SCRAPED_WITHIN: Duration = Duration::from_secs(60);
/// The controller believes in a pod's CPU once it has been seen for a while.
const SCALED_WITHIN: Duration = Duration::from_secs(120);
/// All of it, so that metrics-server is taken out again in any case.
const LONGEST: Duration = Duration::from_secs(280);

pub(crate) async fn top_prints_what_pods_use_and_an_autoscaler_scales_on_it(env: &mut Env) -> Result<()> {
    env.start(Setup::default()).await?;
    env.create(env.pod("steady").asks("cpu", "100m").asks("memory", "64Mi")).await?;
    env.create(env.pod("other").asks("cpu", "250m").asks("memory", "1Gi")).await?;
    env.apply(BUSY).await?;
    let server = MetricsServer::start(env).await?;
    let outcome = time::timeout(LONGEST, measured_and_scaled(env)).await;
    // Whatever has happened: an API that nobody serves disturbs all other tests.
    server.stop(env).await?;
    outcome.context("it takes too long")?
}

async fn measured_and_scaled(env: &Env) -> Result<()> {
    for (pod, cpu, memory) in [("steady", 100..=100, "64Mi"), ("other", 250..=250, "1024Mi")] {
        top(env, &["top", "pod", pod, "--no-headers"], |words| match words {
            [name, used, bytes] => {
                *name == pod && millicores(used).is_some_and(|used| near(used, &cpu)) && *bytes == memory
            }
            _ => false,
        })
        .await?;
    }
    top(env, &["top", "pod", "steady", "--containers", "--no-headers"], |words| {
        matches!(words, [_, "main", used, "64Mi"] if millicores(used).is_some_and(|used| near(used, &(100..=100))))
    })
    .await?;
    // The node uses what its pods do, at least.
    top(env, &["top", "node", &env.node, "--no-headers"], |words| {
        matches!(words, [name, used, ..] if *name == env.node && millicores(used).is_some_and(|used| used >= 350))
    })
    .await?;

    let replicas = ["get", "deployment", "busy", "-o", "jsonpath={.status.readyReplicas}"];
    eventually("the autoscaler to have made three of one", SCALED_WITHIN, async || {
        let ready = env.kubectl(&replicas).await.map_err(|error| error.to_string())?;
        if ready == "3" {
            return Ok(());
        }
        let scaler = env.kubectl(&["get", "hpa", "busy"]).await.map_err(|error| error.to_string())?;
        Err(format!("{ready} ready; {scaler}"))
    })
    .await
}

/// Waits until `kubectl top` prints one line that is as wanted.
async fn top(env: &Env, arguments: &[&str], wanted: impl Fn(&[&str]) -> bool) -> Result<()> {
    eventually(&format!("kubectl {}", arguments.join(" ")), SCRAPED_WITHIN, async || {
        let printed = env.kubectl(arguments).await.map_err(|error| error.to_string())?;
        let words: Vec<&str> = printed.split_whitespace().collect();
        if wanted(&words) { Ok(()) } else { Err(printed) }
    })
    .await
}

fn millicores(text: &str) -> Option<u64> {
    text.strip_suffix('m')?.parse().ok()
}

/// metrics-server divides by times that it rounds itself.
fn near(used: u64, wanted: &std::ops::RangeInclusive<u64>) -> bool {
    wanted.start() - wanted.start() / 50 <= used && used <= wanted.end() + wanted.end() / 50
}

/// One pod that uses three times what it is meant to, and who is to see to it.
const BUSY: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata: {name: busy}
spec:
  replicas: 1
  selector: {matchLabels: {app: busy}}
  template:
    metadata:
      labels: {app: busy}
      annotations: {mock.vk-host.dev/cpu: 300m, mock.vk-host.dev/memory: 32Mi}
    spec:
      nodeName: "{node}"
      terminationGracePeriodSeconds: 1
      containers:
      - name: main
        image: registry.example.com/main:1
        resources: {requests: {cpu: 200m, memory: 64Mi}}
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: busy}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: busy}
  minReplicas: 1
  maxReplicas: 3
  metrics:
  - {type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 50}}}
"#;
