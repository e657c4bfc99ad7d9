//! A guest misbehaves on one pod. All others go on.

use anyhow::{Result, ensure};
use futures::future::try_join_all;
use serde_json::json;
use vk_e2e::{Env, Setup, is_ready, phase, uid};

const OTHERS: usize = 50;

/// What a pod asks for, and what its events say of each call.
struct Misdeed {
    name: &'static str,
    told: fn(call: &str) -> String,
}

pub(crate) async fn a_guest_that_traps_on_one_pod_harms_no_other(env: &mut Env) -> Result<()> {
    let misdeed = Misdeed { name: "trap", told: |call| format!("trapped in {call}") };
    others_go_on(env, Setup::default(), &misdeed).await
}

pub(crate) async fn a_guest_that_spins_on_one_pod_harms_no_other(env: &mut Env) -> Result<()> {
    let setup = Setup::default().sandbox("cpu = \"1s\"");
    let misdeed = Misdeed { name: "spin", told: |call| format!("computed for more than 1 s in {call} (sandbox.cpu)") };
    others_go_on(env, setup, &misdeed).await
}

pub(crate) async fn a_guest_that_eats_memory_on_one_pod_harms_no_other(env: &mut Env) -> Result<()> {
    let setup = Setup::default().sandbox("memory = \"64MiB\"");
    let told = |call: &str| format!("needed more than 64 MiB of memory in {call} (sandbox.memory)");
    others_go_on(env, setup, &Misdeed { name: "eat-memory", told }).await
}

pub(crate) async fn a_guest_that_hangs_on_one_pod_harms_no_other(env: &mut Env) -> Result<()> {
    let timeouts = "timeouts = { create = \"2s\", update = \"2s\", delete = \"2s\" }";
    let told = |call: &str| format!("did not answer {call} within 2 s (sandbox.timeouts.{call})");
    others_go_on(env, Setup::default().sandbox(timeouts), &Misdeed { name: "hang", told }).await
}

async fn others_go_on(env: &mut Env, setup: Setup, misdeed: &Misdeed) -> Result<()> {
    env.start(setup).await?;
    for call in ["create", "update", "delete"] {
        env.create(env.pod(&format!("bad-{call}")).label("group", "bad").asks(misdeed.name, call)).await?;
    }
    for name in ["bad-update", "bad-delete"] {
        env.pod_ready(name).await?;
    }
    let change = json!({"metadata": {"annotations": {"example.com/change": "1"}}});
    env.patch("bad-update", &change).await?;
    env.delete("bad-delete").await?;

    // The others are made, changed and in part deleted while all that goes on.
    let uids: Vec<String> = env.running("other", OTHERS).await?.into_keys().collect();
    let names: Vec<String> = (0..OTHERS).map(|number| format!("other-{number}")).collect();
    try_join_all(names.iter().map(|name| env.patch(name, &change))).await?;
    env.backend_until("the change of each of the others", |backend| {
        match uids.iter().filter(|uid| backend.count(uid).updates == 0).count() {
            0 => Ok(()),
            left => Err(format!("{left} are not changed yet")),
        }
    })
    .await?;
    try_join_all(names.iter().take(10).map(|name| env.delete(name))).await?;
    let left = env.ready("other", OTHERS - 10).await?;
    for (uid, pod) in &left {
        let count = env.backend.count(uid);
        ensure!((count.made, count.creates, count.updates, count.deletes) == (1, 1, 1, 0), "{uid}: {count:?}");
        ensure!(is_ready(pod), "{uid}");
    }

    // And the bad ones show what happened to them.
    for (call, reason) in
        [("create", "ProviderCreateFailed"), ("update", "ProviderUpdateFailed"), ("delete", "ProviderDeleteFailed")]
    {
        let event = env.event(&format!("bad-{call}"), reason).await?;
        let (told, wanted) = (event.message.unwrap_or_default(), (misdeed.told)(call));
        ensure!(told.contains(&wanted), "{reason} says {told:?}, not {wanted:?}");
    }
    let held = env.pods().get("bad-create").await?;
    ensure!(phase(&held) == "Pending", "bad-create is {}", phase(&held));
    ensure!(env.backend.count(&uid(&held)).made == 0, "bad-create was made");
    ensure!(is_ready(&env.pods().get("bad-update").await?), "bad-update must run on as it was");
    let leaving = env.pods().get("bad-delete").await?;
    ensure!(leaving.metadata.deletion_timestamp.is_some(), "bad-delete must be on its way out");

    // A pod that asks for it no longer is made.
    env.patch(
        "bad-create",
        &json!({"metadata": {"annotations": {format!("mock.vk-host.dev/{}", misdeed.name): null}}}),
    )
    .await?;
    env.pod_ready("bad-create").await?;
    Ok(())
}
