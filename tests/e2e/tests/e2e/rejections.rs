//! The kind of a provider's error decides what becomes of the pod.

use anyhow::{Result, ensure};
use serde_json::json;
use vk_backend::{Effect, Fault, Operation};
use vk_e2e::{Env, PodBuilder, Setup, condition, phase, reason, uid};

/// A creation that is refused until the pod changes.
const FINAL: [(&str, &str, &str); 6] = [
    ("invalid", "Always", "Pending"),
    ("invalid", "OnFailure", "Failed"),
    ("invalid", "Never", "Failed"),
    ("unsupported", "Always", "Pending"),
    ("unsupported", "OnFailure", "Failed"),
    ("unsupported", "Never", "Failed"),
];

/// A creation that is tried again.
const PASSING: [&str; 7] =
    ["not-found", "conflict", "unauthenticated", "permission-denied", "exhausted", "unavailable", "internal"];

pub(crate) async fn each_kind_of_error_decides_what_becomes_of_a_creation(env: &mut Env) -> Result<()> {
    env.start(Setup::default()).await?;
    let refused = |name: &str, kind: &str| -> PodBuilder {
        env.pod(name).asks("reject", kind).asks("reject-message", &format!("refused as {kind}"))
    };
    for (kind, policy, _) in FINAL {
        let name = format!("{kind}-{}", policy.to_lowercase());
        env.create(refused(&name, kind).spec(json!({"restartPolicy": policy}))).await?;
    }
    for kind in PASSING {
        env.create(refused(kind, kind).asks("reject-times", "1").asks("retry-after", "1s")).await?;
        env.create(refused(&format!("{kind}-for-ever"), kind)).await?;
    }

    for (kind, policy, wanted) in FINAL {
        let name = format!("{kind}-{}", policy.to_lowercase());
        let pod = env.pod_until(&name, "to be refused", |pod| reason(pod) == "ProviderFailed").await?;
        ensure!(phase(&pod) == wanted, "{name} is {}, not {wanted}", phase(&pod));
        let message = pod.status.and_then(|status| status.message).unwrap_or_default();
        ensure!(message.contains(&format!("refused as {kind}")), "{name} says {message:?}");
    }
    for kind in PASSING {
        let name = format!("{kind}-for-ever");
        let wanted = if kind == "exhausted" { "CapacityExhausted" } else { "ProviderFailed" };
        let pod = env.pod_until(&name, &format!("to wait because of {wanted}"), |pod| reason(pod) == wanted).await?;
        ensure!(phase(&pod) == "Pending", "{name} is {}", phase(&pod));
        let ready = env.pod_ready(kind).await?;
        env.made_once_and_left_alone([uid(&ready)])?;
        ensure!(reason(&ready).is_empty(), "{kind} still has the reason {}", reason(&ready));
    }
    for name in ["invalid-always", "unsupported-never", "exhausted", "internal-for-ever"] {
        let event = env.event(name, "ProviderCreateFailed").await?;
        ensure!(event.message.as_deref().is_some_and(|message| message.contains("refused as")), "{:?}", event.message);
        ensure!(event.type_.as_deref() == Some("Warning"), "{:?}", event.type_);
    }
    // A final refusal was told once, and stands until the pod changes.
    let told = env.event("invalid-always", "ProviderCreateFailed").await?;
    ensure!(told.count.unwrap_or(1) <= 1 && told.series.is_none(), "it was tried again: {told:?}");
    env.kubectl(&["annotate", "pod", "invalid-always", "mock.vk-host.dev/reject-"]).await?;
    let ready = env.pod_ready("invalid-always").await?;
    env.made_once_and_left_alone([uid(&ready)])?;
    // A pod that waits for its creation can be deleted.
    env.delete("unavailable-for-ever").await?;
    env.pod_gone("unavailable-for-ever").await
}

pub(crate) async fn a_backend_that_refuses_the_provider_shows_on_the_node(env: &mut Env) -> Result<()> {
    env.start(Setup::default()).await?;
    // A pod's or a poll's denial would show for some minutes, longer than a test may take.
    let refused = env.backend.fault(Fault::new(Effect::Status { code: 401, retry_after: None }).on(Operation::Check));
    let node = env.node_until("to show that the backend refuses the provider", |node| {
        condition(node, "ProviderAuthorized").is_some_and(|condition| condition.status == "False")
    });
    let node = node.await?;
    // It can still be reached, and pods run on.
    ensure!(condition(&node, "Ready").is_some_and(|ready| ready.status == "True"), "the node is not Ready");
    env.backend.clear_fault(refused);
    env.node_until("to show that the backend accepts the provider again", |node| {
        condition(node, "ProviderAuthorized").is_none_or(|condition| condition.status == "True")
    })
    .await?;

    let down = env.backend.fault(Fault::new(Effect::Status { code: 503, retry_after: None }));
    let node = env.node_until("to show that the backend is down", |node| {
        condition(node, "ProviderReachable").is_some_and(|condition| condition.status == "False")
    });
    ensure!(condition(&node.await?, "Ready").is_some_and(|ready| ready.status == "True"), "NotReady too early");
    env.backend.clear_fault(down);
    env.node_until("to show that the backend is back", |node| {
        condition(node, "ProviderReachable").is_none_or(|condition| condition.status == "True")
    })
    .await?;
    Ok(())
}
