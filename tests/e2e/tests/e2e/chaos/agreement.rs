//! Whether the API, the backend and what was done agree.

use std::collections::BTreeMap;

use anyhow::Result;
use k8s_openapi::api::{batch::v1::Job, core::v1::Pod};
use kube::{Api, ResourceExt as _, api::ListParams};
use serde_json::json;
use vk_backend::Stored;
use vk_e2e::{Env, is_ready, phase, uid};

use super::{
    step::Kind,
    world::{Fate, World},
};

/// Says the first thing in which they do not agree.
///
/// # Errors
///
/// If the API server cannot be asked.
pub(super) async fn first_disagreement(env: &Env, world: &World) -> Result<Option<String>> {
    // First the API, so that what the backend removes in between is no disagreement.
    let pods: BTreeMap<String, Pod> =
        env.pods().list(&ListParams::default()).await?.items.into_iter().map(|pod| (uid(&pod), pod)).collect();
    let jobs: Api<Job> = Api::namespaced(env.client.clone(), &env.namespace);
    let jobs = jobs.list(&ListParams::default()).await?.items;
    let stored: BTreeMap<String, Stored> =
        env.backend.pods().into_iter().map(|pod| (pod.id.uid.clone(), pod)).collect();

    let unfinished = jobs.iter().find(|job| job.status.as_ref().and_then(|status| status.succeeded) != Some(2));
    if let Some(job) = unfinished {
        return Ok(Some(format!("Job {} is not complete: {:?}", job.name_any(), job.status)));
    }
    for (uid, stored) in &stored {
        if !pods.contains_key(uid) {
            return Ok(Some(format!("the backend has {} ({uid}), the API has not", stored.id.name)));
        }
    }
    for (uid, pod) in &pods {
        if let Err(problem) = of_pod(world, pod, world.fates.get(uid), stored.get(uid)) {
            return Ok(Some(format!("{} ({uid}): {problem}", pod.name_any())));
        }
    }
    Ok(world.fates.iter().find_map(|(uid, fate)| {
        let gone = !fate.deleted && !pods.contains_key(uid);
        gone.then(|| format!("{} ({uid}) has left the API, and nobody deleted it", fate.name))
    }))
}

/// Whether a pod is in the backend as it is in the API.
fn of_pod(world: &World, pod: &Pod, fate: Option<&Fate>, stored: Option<&Stored>) -> Result<(), String> {
    let told = phase(pod);
    if pod.metadata.deletion_timestamp.is_some() || fate.is_some_and(|fate| fate.deleted) {
        return Err("was deleted and is still in the API".into());
    }
    // The pods of Jobs are made by somebody else.
    let kind = fate.map_or(Kind::Task(0), |fate| fate.kind);
    let wanted = match kind {
        Kind::Task(0) | Kind::Flaky => told == "Succeeded",
        Kind::Task(_) => told == "Failed",
        Kind::Once => matches!(told, "Running" | "Failed"),
        _ => told == "Running",
    };
    if !wanted {
        return Err(format!("is {told}, as {kind:?}: {:?}", pod.status));
    }
    let is_over = matches!(told, "Succeeded" | "Failed");
    let Some(stored) = stored else {
        let lost = is_over && fate.is_some_and(|fate| fate.losses > 0);
        return if lost { Ok(()) } else { Err(format!("is {told} and not in the backend")) };
    };
    if format!("{:?}", stored.state.phase) != told || stored.stopping {
        return Err(format!("is {told} in the API, in the backend {:?}, stopping: {}", stored.state, stored.stopping));
    }
    if is_over {
        return Ok(());
    }
    if !is_ready(pod) {
        return Err(format!("is not Ready: {:?}", pod.status));
    }
    let address = pod.status.as_ref().and_then(|status| status.pod_ip.as_ref());
    if address != stored.state.ip.as_ref() {
        return Err(format!("has the address {address:?}, in the backend {:?}", stored.state.ip));
    }
    if !fate.is_none_or(Fate::is_noted) {
        return Ok(());
    }
    let labels = stored.manifest.pointer("/metadata/labels").cloned().unwrap_or_else(|| json!({}));
    if labels != json!(pod.labels()) {
        return Err(format!("has the labels {:?}, in the backend {labels}", pod.labels()));
    }
    if let Kind::Reader(number) = kind {
        for volume in ["map", "secret"] {
            let wanted = world.contents.get(&format!("{volume}-{number}"));
            let file = stored.file(volume, "value").map(String::from_utf8_lossy);
            if file.as_deref() != wanted.map(String::as_str) {
                return Err(format!("volume {volume} holds {file:?}, not {wanted:?}"));
            }
        }
    }
    Ok(())
}

/// Says which pod was made too often, or too seldom. To be asked where all agree.
pub(super) fn miscounted(env: &Env, world: &World) -> Option<String> {
    let counts = env.backend.counts().pods;
    counts.into_iter().find_map(|(uid, count)| {
        let fate = world.fates.get(&uid);
        let losses = fate.map_or(0, |fate| fate.losses);
        let right = match fate {
            // It is there, so it was made again after each loss.
            Some(fate) if !fate.deleted && fate.kind.runs_for_ever() && fate.kind.restarts() => {
                count.made == 1 + losses
            }
            Some(fate) if !fate.kind.restarts() => count.made <= 1,
            _ => count.made <= 1 + losses,
        };
        let name = fate.map_or("a pod of a Job", |fate| &fate.name);
        (!right).then(|| format!("{name} ({uid}) was made {} times and lost {losses} times: {count:?}", count.made))
    })
}
