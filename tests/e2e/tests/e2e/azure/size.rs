//! How much of the host the provider takes.

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use vk_e2e::{AzureSetup, Env, sample};

/// 1.5 MB.
const LARGEST_COMPONENT: u64 = 1_500_000;
/// 8 MB.
const LARGEST_INSTANCE: f64 = 8e6;
/// Seconds.
const LONGEST_MAPPING: f64 = 0.001;
const PODS: usize = 60;

pub(crate) async fn the_component_its_instances_and_its_computing_are_small(env: &mut Env) -> Result<()> {
    let size = std::fs::metadata(env.bench.aci())?.len();
    ensure!(size <= LARGEST_COMPONENT, "aci.wasm has {size} bytes");
    env.start_azure(AzureSetup::default()).await?;
    // A pod that is refused for its last field is mapped whole, and nothing is asked of Azure.
    let container = |number: usize| {
        let variables: Vec<Value> =
            (0..20).map(|variable| json!({"name": format!("NAME_{variable}"), "value": "some value"})).collect();
        json!({
            "name": format!("container-{number}"), "image": "registry.example.com/app:1", "command": ["run"],
            "env": variables, "resources": {"requests": {"cpu": "100m", "memory": "100M"}},
            "volumeMounts": [{"name": "files", "mountPath": "/files"}],
            "livenessProbe": {"httpGet": {"port": 80}},
        })
    };
    env.apply(&config_map()).await?;
    let pods = (0..PODS).map(|number| {
        env.pod(&format!("refused-{number}")).label("group", "refused").spec(json!({
            "dnsConfig": {"nameservers": ["10.0.0.1"]},
            "volumes": [{"name": "files", "configMap": {"name": "files"}}],
            "containers": [container(0), container(1), container(2)],
        }))
    });
    env.create_all(pods, 10).await?;
    let name = |what: &str| format!("vk_provider_call_duration_seconds_{what}{{function=\"create\"}}");
    vk_e2e::eventually("all pods to be refused", vk_e2e::PATIENCE, async || {
        let metrics = env.metrics().await.map_err(|error| error.to_string())?;
        match sample(&metrics, &name("count")) {
            Ok(count) if count >= PODS as f64 => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await?;
    let metrics = env.metrics().await?;
    // The median, as what else the machine does adds to some.
    let half = sample(&metrics, &name("count"))? / 2.0;
    let median = median(&metrics, "create", half).context("there is no histogram")?;
    ensure!(median <= LONGEST_MAPPING, "mapping a pod takes {median} s");

    let memory = sample(&metrics, "vk_provider_memory_bytes")?;
    let state = |state: &str| sample(&metrics, &format!("vk_provider_instances{{state=\"{state}\"}}"));
    let instances = state("idle")? + state("busy")?;
    eprintln!(
        "{size} bytes of component; {:.1} MB an instance; a pod is mapped in {median} s",
        memory / instances / 1e6
    );
    ensure!(memory / instances <= LARGEST_INSTANCE, "{memory} bytes in {instances} instances");
    Ok(())
}

fn config_map() -> String {
    let data: serde_json::Map<String, Value> =
        (0..20).map(|number| (format!("file-{number}"), json!("some text\n".repeat(50)))).collect();
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "files"}, "data": data}).to_string()
}

/// The bound of the histogram's bucket that the median is in.
fn median(metrics: &str, function: &str, half: f64) -> Option<f64> {
    metrics.lines().find_map(|line| {
        let rest = line.strip_prefix("vk_provider_call_duration_seconds_bucket{")?;
        let (labels, count) = rest.split_once("} ")?;
        let is_of = labels.contains(&format!("function=\"{function}\""));
        let bound: f64 = labels.split("le=\"").nth(1)?.split('"').next()?.parse().ok()?;
        (is_of && count.split(' ').next()?.parse::<f64>().ok()? >= half).then_some(bound)
    })
}
