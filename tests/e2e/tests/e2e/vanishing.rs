//! Many pods are missing at once from what the provider lists.

use anyhow::{Result, ensure};
use k8s_openapi::api::core::v1::{Event, Node};
use kube::{Api, runtime::watcher};
use vk_backend::{Effect, Fault, Operation};
use vk_e2e::{Env, PATIENCE, Setup, condition, is_ready, phase, uid, until};

fn shows_vanished(status: &'static str) -> impl FnMut(&Node) -> bool {
    move |node| condition(node, "ProviderPodsVanished").is_some_and(|condition| condition.status == status)
}

pub(crate) async fn pods_that_vanish_together_are_waited_for_and_the_node_says_so(env: &mut Env) -> Result<()> {
    env.start(Setup::default()).await?;
    let uids: Vec<String> = env.running("many", 12).await?.into_keys().collect();
    let hidden = env.backend.fault(Fault::new(Effect::Empty).on(Operation::List));
    env.backend.fault(Fault::new(Effect::Status { code: 410, retry_after: None }).on(Operation::Changes).times(1));
    let missing = env.backend.fault(Fault::new(Effect::Status { code: 404, retry_after: None }).on(Operation::Get));
    let node = env.node_until("to show that its pods have vanished", shows_vanished("True")).await?;
    let told = condition(&node, "ProviderPodsVanished").and_then(|condition| condition.message.clone());
    ensure!(told.as_deref().is_some_and(|told| told.starts_with("12 of 12 pods have vanished together")), "{told:?}");
    let events: Api<Event> = Api::all(env.client.clone());
    let about = format!("reason=ProviderPodsVanished,involvedObject.name={}", env.node);
    let selection = watcher::Config::default().fields(&about);
    until(events, selection, "an event of the node", PATIENCE, |seen| !seen.is_empty()).await?;

    // What is new has to wait, and what ran is left as it is.
    let new = uid(&env.create(env.pod("new")).await?);
    let before = env.backend.counts().requests.get(&Operation::List).copied().unwrap_or_default();
    env.backend_until("two more listings", |backend| {
        match backend.counts().requests.get(&Operation::List).copied().unwrap_or_default() {
            now if now >= before + 2 => Ok(()),
            now => Err(format!("{} so far", now - before)),
        }
    })
    .await?;
    ensure!(env.backend.count(&new).creates == 0, "a pod was created while others had vanished");
    ensure!(phase(&env.pods().get("new").await?) == "Pending", "the new pod is not Pending");
    ensure!(env.ready("many", 12).await?.keys().eq(uids.iter()), "other pods than before");

    env.backend.clear_fault(missing);
    env.backend.clear_fault(hidden);
    env.node_until("to show that its pods are back", shows_vanished("False")).await?;
    env.pod_ready("new").await?;
    ensure!(env.ready("many", 12).await?.values().all(is_ready), "a pod is not Ready any more");
    env.made_once_and_left_alone(uids)
}
