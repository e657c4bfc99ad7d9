//! A backend that fails, is late, forgets to answer, or shows what was.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};
use futures::future::try_join_all;
use kube::runtime::watcher;
use serde_json::{Value, json};
use vk_backend::{Effect, Fault, Operation};
use vk_e2e::{Env, Setup, is_ready, phase, reason, throughout, uid};

/// How often each fault strikes at most: what is tried again meets it a second time.
const TIMES: u32 = 2;
/// So few pods that those that are missing are never taken for a broken view of all: what is proved about them is the rule
/// for each one.
const FEW: usize = 9;
/// Longer than a call may take here.
const LATE: u64 = 3_000;

/// Every way in which a request goes wrong.
fn effects() -> [(&'static str, Effect); 7] {
    [
        ("error", Effect::Status { code: 500, retry_after: None }),
        ("busy", Effect::Status { code: 429, retry_after: Some("2".into()) }),
        ("reset", Effect::Refused),
        ("lost", Effect::LostAnswer),
        ("cut", Effect::Truncated { bytes: 10 }),
        ("late", Effect::Late { milliseconds: Some(LATE) }),
        ("slow", Effect::Slow { milliseconds: LATE }),
    ]
}

fn setup() -> Setup {
    Setup::default().sandbox("timeouts = { create = \"2s\", update = \"2s\", delete = \"2s\", poll = \"2s\" }")
}

/// A cursor that is no good any more: the next poll is a listing.
fn forgotten() -> Fault {
    Fault::new(Effect::Status { code: 410, retry_after: None }).on(Operation::Changes)
}

async fn all_struck(env: &Env) -> Result<()> {
    env.backend_until("all faults to have struck as often as they should", |backend| match backend.faults() {
        left if left.is_empty() => Ok(()),
        left => Err(format!("{left:?}")),
    })
    .await
}

pub(crate) async fn failed_requests_double_and_lose_no_pod(env: &mut Env) -> Result<()> {
    env.start(setup()).await?;
    failed_requests(env).await
}

pub(crate) async fn failed_requests_double_and_lose_no_pod_of_the_one_namespace(env: &mut Env) -> Result<()> {
    let setup = setup().flag("--namespace").flag(&env.namespace);
    env.start(setup).await?;
    failed_requests(env).await
}

/// For each fault and each operation a pod whose requests of that kind meet it.
async fn failed_requests(env: &Env) -> Result<()> {
    // The pods wait for this ConfigMap, until each one's fault is armed.
    let waits = json!({"envFrom": [{"configMapRef": {"name": "go"}}]});
    let mut uids = Vec::new();
    let mut names = Vec::new();
    for (kind, effect) in effects() {
        for operation in [Operation::Create, Operation::Update, Operation::Delete] {
            let name = format!("{kind}-{operation:?}").to_lowercase();
            let pod = env.pod(&name).label("group", "struck").container(waits.clone());
            let uid = uid(&env.create(pod).await?);
            env.backend.fault(Fault::new(effect.clone()).on(operation).of(&uid).times(TIMES));
            uids.push(uid);
            names.push(name);
        }
    }
    env.kubectl(&["create", "configmap", "go", "--from-literal=GO=1"]).await?;
    env.ready("struck", uids.len()).await?;

    let label = json!({"metadata": {"labels": {"tier": "front"}}});
    try_join_all(names.iter().map(|name| env.patch(name, &label))).await?;
    env.backend_until("the change of each pod", |backend| {
        let front = Value::from("front");
        let lacking =
            backend.pods().into_iter().filter(|pod| pod.manifest.pointer("/metadata/labels/tier") != Some(&front));
        let lacking: Vec<String> = lacking.map(|pod| pod.id.name).collect();
        if lacking.is_empty() { Ok(()) } else { Err(format!("not of {lacking:?}")) }
    })
    .await?;
    let now = env.ready("struck", uids.len()).await?;
    ensure!(uids.iter().all(|uid| now.contains_key(uid)), "other pods than before");

    env.kubectl(&["delete", "pods", "-l", "group=struck", "--wait=false"]).await?;
    env.pods_gone("group=struck").await?;
    // None went from the API before it was gone.
    ensure!(env.backend.pods().is_empty(), "{} pods in the backend", env.backend.pods().len());
    for (uid, name) in uids.iter().zip(&names) {
        let count = env.backend.count(uid);
        ensure!((count.made, count.gone) == (1, 1), "{name} was not made and removed once: {count:?}");
    }
    // A creation that was carried out may be found by a poll before it is asked for again.
    let unmet: Vec<_> = env.backend.faults().into_iter().filter(|armed| armed.struck == 0).collect();
    ensure!(unmet.is_empty(), "faults that struck nothing: {unmet:?}");
    env.backend.clear_faults();
    Ok(())
}

pub(crate) async fn failed_polls_lose_no_change(env: &mut Env) -> Result<()> {
    env.start(setup()).await?;
    let uids: Vec<String> = env.running("some", 5).await?.into_keys().collect();
    let never = json!({"restartPolicy": "Never"});
    for (kind, _) in effects() {
        env.create(env.pod(kind).spec(never.clone())).await?;
    }
    let running = watcher::Config::default().labels("group=some");
    throughout(env.pods(), running, "Ready", is_ready, async {
        for (kind, effect) in effects() {
            let ending = uid(&env.pod_ready(kind).await?);
            env.backend.fault(Fault::new(effect.clone()).on(Operation::Changes).times(TIMES));
            ensure!(env.backend.finish(&ending, 3, None), "the backend has no such pod");
            env.pod_until(kind, "to have failed", |pod| phase(pod) == "Failed").await?;
            all_struck(env).await.context(kind)?;
            env.backend.fault(Fault::new(effect).on(Operation::List).times(TIMES));
            env.backend.fault(forgotten().times(1));
            all_struck(env).await.context(kind)?;
        }
        Ok(())
    })
    .await?;
    env.made_once_and_left_alone(uids)
}

pub(crate) async fn a_wait_that_the_backend_asks_for_is_kept(env: &mut Env) -> Result<()> {
    const WAIT: Duration = Duration::from_secs(7);
    env.start(Setup::default()).await?;
    let busy = Effect::Status { code: 429, retry_after: Some(WAIT.as_secs().to_string()) };
    env.backend.fault(Fault::new(busy).on(Operation::Create).times(1));
    let asked = SystemTime::now().duration_since(UNIX_EPOCH)?;
    env.create(env.pod("busy")).await?;
    env.pod_until("busy", "to be held", |pod| reason(pod) == "CapacityExhausted" && phase(pod) == "Pending").await?;
    let busy = uid(&env.pod_ready("busy").await?);
    let made = Duration::from_millis(env.backend.pod(&busy).context("the backend has no such pod")?.created);
    // The first attempt came a moment after the pod, so that what is measured is too long rather than too short.
    let waited = made.saturating_sub(asked);
    ensure!(waited >= WAIT, "tried again after {waited:?}");
    ensure!(waited <= 2 * WAIT, "tried again only after {waited:?}");
    env.made_once_and_left_alone([busy])
}

/// Some pods that would be made again if they counted as lost, and some that would be Failed.
async fn running_under_both_policies(env: &Env, each: usize) -> Result<Vec<String>> {
    let pods = ["Always", "Never"].into_iter().flat_map(|policy| {
        (0..each).map(move |number| {
            let name = format!("new-{policy}-{number}").to_lowercase();
            env.pod(&name).label("group", "new").spec(json!({"restartPolicy": policy}))
        })
    });
    env.create_all(pods, 2 * each).await?;
    Ok(env.ready("new", 2 * each).await?.into_keys().collect())
}

async fn listings(env: &Env, wanted: u64) -> Result<()> {
    env.backend_until("further listings", |backend| {
        let listings = backend.counts().requests.get(&Operation::List).copied().unwrap_or_default();
        if listings >= wanted { Ok(()) } else { Err(format!("{listings} of {wanted}")) }
    })
    .await
}

pub(crate) async fn listings_from_before_a_creation_end_no_pod(env: &mut Env) -> Result<()> {
    env.start(Setup::default()).await?;
    // Two listings and all questions for a pod are answered as of now, and the first listing not before the pods are there.
    let stale = Fault::new(Effect::Stale { milliseconds: None });
    env.backend.fault(stale.clone().on(Operation::List).times(2));
    env.backend.fault(stale.on(Operation::Get));
    let held = env.backend.fault(Fault::new(Effect::Late { milliseconds: None }).on(Operation::List).times(1));
    env.backend.fault(forgotten().times(1));
    let listed = env.backend_until("a listing to begin", |backend| {
        let begun = backend.faults().iter().any(|armed| armed.number == held && armed.struck == 1);
        let listings = backend.counts().requests.get(&Operation::List).copied();
        if begun { Ok(listings.unwrap_or_default()) } else { Err("none".to_owned()) }
    });
    let listed = listed.await?;
    // With the newcomer.
    let uids = running_under_both_policies(env, FEW / 2).await?;
    let running = watcher::Config::default().labels("group=new");
    throughout(env.pods(), running, "Ready", is_ready, async {
        env.backend.clear_fault(held);
        env.backend.fault(forgotten().times(1));
        listings(env, listed + 1).await?;
        // What the old listings have caused is over when a pod has lived and went.
        env.create(env.pod("newcomer")).await?;
        env.pod_ready("newcomer").await?;
        env.backend.fault(forgotten().times(1));
        listings(env, listed + 3).await?;
        env.kubectl(&["delete", "pod", "newcomer", "--timeout=30s"]).await.map(drop)
    })
    .await?;
    env.made_once_and_left_alone(uids)
}

pub(crate) async fn listings_that_lag_behind_end_and_double_no_pod(env: &mut Env) -> Result<()> {
    env.start(Setup::default()).await?;
    // Every poll is a listing, and each shows what was there two seconds ago.
    env.backend.fault(Fault::new(Effect::Stale { milliseconds: Some(2_000) }).on(Operation::List));
    env.backend.fault(forgotten());
    let gone: Vec<String> = env.running("gone", FEW / 3).await?.into_keys().collect();
    let uids = running_under_both_policies(env, FEW / 3).await?;
    let running = watcher::Config::default().labels("group=new");
    throughout(env.pods(), running, "Ready", is_ready, async {
        env.kubectl(&["delete", "pods", "-l", "group=gone", "--wait=false"]).await?;
        env.pods_gone("group=gone").await?;
        ensure!(env.backend.pods().len() == uids.len(), "{} pods in the backend", env.backend.pods().len());
        let listed = env.backend.counts().requests.get(&Operation::List).copied().unwrap_or_default();
        // Long enough for the lag to be over, and for two complete listings after it.
        listings(env, listed + 15).await
    })
    .await?;
    env.made_once(gone)?;
    env.made_once_and_left_alone(uids)
}
