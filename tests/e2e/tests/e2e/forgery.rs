//! Somebody writes what is the host's to write.

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::{Pod, PodCondition};
use serde_json::{Value, json};
use vk_e2e::{Env, Setup, is_ready, phase, uid};

fn condition<'a>(pod: &'a Pod, kind: &str) -> Option<&'a PodCondition> {
    pod.status.as_ref()?.conditions.as_ref()?.iter().find(|condition| condition.type_ == kind)
}

/// Writes to a pod's status, as only few may.
async fn write_status(env: &Env, name: &str, status: Value) -> Result<()> {
    let patch = json!({"status": status}).to_string();
    env.kubectl(&["patch", "pod", name, "--subresource=status", "-p", &patch]).await.map(drop)
}

/// The handle that the host keeps for a pod.
fn handle(pod: &Pod) -> Option<String> {
    let record: Value = serde_json::from_str(condition(pod, "vk-host.dev/provider")?.message.as_deref()?).ok()?;
    record.get("handle")?.as_str().map(str::to_owned)
}

pub(crate) async fn a_forged_handle_reaches_nothing_of_another_pod(env: &mut Env) -> Result<()> {
    env.start(Setup::default()).await?;
    // The victim has a handle of its own, which makes deletions and questions fail.
    env.create(env.pod("victim").asks("trap", "get,delete")).await?;
    env.create(env.pod("forger")).await?;
    let (victim, forger) = (env.pod_ready("victim").await?, env.pod_ready("forger").await?);
    let stolen = env.pod_until("victim", "to have a handle", |pod| handle(pod).is_some()).await?;
    let stolen = handle(&stolen).context("the victim has no handle")?;
    let (victim, forger) = (uid(&victim), uid(&forger));

    let forged = json!({"handle": stolen, "stamp": "1.a.b.c.d"}).to_string();
    let record =
        |text: &str| json!({"conditions": [{"type": "vk-host.dev/provider", "status": "True", "message": text}]});
    // Annotations are for whoever may edit pods, and mean nothing.
    for key in ["vk-host.dev/provider", "vk-host.dev/handle"] {
        env.kubectl(&["annotate", "pod", "forger", &format!("{key}={forged}")]).await?;
    }
    // A running host takes back what is written to the status.
    write_status(env, "forger", record(&forged)).await?;
    env.pod_until("forger", "to have its own record again", |pod| handle(pod).is_none()).await?;

    // One that was away believes it, and the provider is told the uid all the same.
    for text in [forged.as_str(), &json!({"handle": victim}).to_string(), "garbage"] {
        env.kill9().await?;
        write_status(env, "forger", record(text)).await?;
        env.start_again().await?;
        // What it makes of that is written down before anything changes.
        env.pod_until("forger", "to have another record", |pod| {
            condition(pod, "vk-host.dev/provider").is_some_and(|record| record.message.as_deref() != Some(text))
        })
        .await?;
        env.kubectl(&["label", "pod", "forger", "--overwrite", &format!("step=s{}", text.len())]).await?;
        env.backend_until("the label", |backend| {
            let pod = backend.pod(&forger).ok_or("no such pod")?;
            let label = pod.manifest.pointer("/metadata/labels/step").cloned();
            if label == Some(json!(format!("s{}", text.len()))) { Ok(()) } else { Err(format!("{label:?}")) }
        })
        .await?;
    }
    env.kill9().await?;
    write_status(env, "forger", record(&json!({"handle": victim}).to_string())).await?;
    env.start_again().await?;
    env.kubectl(&["delete", "pod", "forger", "--timeout=30s"]).await?;
    env.backend_without(&[forger]).await?;
    env.made_once_and_left_alone([victim])?;
    ensure!(is_ready(&env.pods().get("victim").await?), "the victim is not Ready any more");
    Ok(())
}

pub(crate) async fn a_status_that_others_break_is_repaired_and_theirs_survives(env: &mut Env) -> Result<()> {
    env.start(Setup::default()).await?;
    let gates = json!({"readinessGates": [{"conditionType": "example.com/open"}]});
    env.create(env.pod("gated").spec(gates)).await?;
    let own = json!([
        {"type": "example.com/open", "status": "True", "reason": "Opened"},
        {"type": "example.com/note", "status": "Unknown", "message": "kept"},
    ]);
    write_status(env, "gated", json!({"conditions": own})).await?;
    let good = env.pod_ready("gated").await?;
    let good = good.status.context("no status")?;

    let broken = json!({
        "phase": "Pending", "reason": "Vandalism", "message": "broken", "podIP": "10.9.9.9", "hostIP": "10.9.9.9",
        "podIPs": [{"ip": "10.9.9.9"}, {"$patch": "replace"}], "hostIPs": [{"ip": "10.9.9.9"}, {"$patch": "replace"}],
        "containerStatuses": null, "startTime": null,
        "conditions": [
            {"type": "Ready", "status": "False", "reason": "Vandalism"},
            {"type": "ContainersReady", "status": "False"},
            {"type": "Initialized", "$patch": "delete"},
            {"type": "vk-host.dev/provider", "$patch": "delete"},
        ],
    });
    write_status(env, "gated", broken).await?;
    let repaired = env.pod_until("gated", "to be repaired", |pod| {
        is_ready(pod)
            && pod.status.as_ref().is_some_and(|status| status.reason.is_none() && status.start_time.is_some())
    });
    let repaired = repaired.await?;
    for kind in ["Initialized", "ContainersReady", "Ready", "vk-host.dev/provider", "example.com/open"] {
        ensure!(condition(&repaired, kind).is_some_and(|condition| condition.status == "True"), "{kind} does not hold");
    }
    let note = condition(&repaired, "example.com/note").and_then(|condition| condition.message.as_deref());
    ensure!(note == Some("kept"), "the condition of somebody else is {note:?}");
    let status = repaired.status.context("no status")?;
    ensure!(status.pod_ips == good.pod_ips && status.host_ips == good.host_ips, "other addresses: {status:?}");
    ensure!(status.container_statuses == good.container_statuses, "{:?}", status.container_statuses);

    // A shut gate counts at once.
    write_status(env, "gated", json!({"conditions": [{"type": "example.com/open", "status": "False"}]})).await?;
    env.pod_until("gated", "not to be Ready", |pod| phase(pod) == "Running" && !is_ready(pod)).await?;
    env.made_once_and_left_alone([uid(&env.pods().get("gated").await?)])
}

pub(crate) async fn a_pod_that_comes_back_with_other_addresses_has_only_those(env: &mut Env) -> Result<()> {
    env.start(Setup::default()).await?;
    env.create(env.pod("moving")).await?;
    let moving = uid(&env.pod_ready("moving").await?);
    for ips in [&["10.8.0.1", "fd00::8:1"][..], &["10.8.0.2", "fd00::8:2"], &["fd00::8:3"], &["10.8.0.2"]] {
        let addresses: Vec<Value> = ips.iter().map(|ip| json!({"ip": ip})).collect();
        let main = json!({"name": "main", "ready": true, "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}}});
        let status = json!({"phase": "Running", "podIPs": addresses, "containerStatuses": [main]});
        ensure!(env.backend.set_status(&moving, Some(&status)), "the backend has no such pod");
        env.pod_until("moving", &format!("to have the addresses {ips:?} and no others"), |pod| {
            let Some(status) = &pod.status else { return false };
            let known = status.pod_ips.iter().flatten().map(|known| known.ip.as_str());
            status.pod_ip.as_deref() == ips.first().copied() && known.eq(ips.iter().copied()) && is_ready(pod)
        })
        .await?;
    }
    env.made_once_and_left_alone([moving])
}
