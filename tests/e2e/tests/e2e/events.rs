//! What `kubectl describe` shows.

use anyhow::{Result, ensure};
use vk_e2e::{Env, Setup};

pub(crate) async fn what_the_provider_reports_reaches_kubectl_describe(env: &mut Env) -> Result<()> {
    env.start(Setup::default()).await?;
    let pod =
        env.pod("told").asks("report-event", "Pulled: the image is here").asks("report-warning", "Slow: it took long");
    env.create(pod).await?;
    env.pod_ready("told").await?;
    for (reason, kind, message) in [
        ("Pulled", "Normal", "the image is here"),
        ("Slow", "Warning", "it took long"),
        ("ProviderCreateSuccess", "Normal", "Create pod in provider successfully"),
    ] {
        let event = env.event("told", reason).await?;
        ensure!(event.type_.as_deref() == Some(kind), "{reason} is {:?}", event.type_);
        ensure!(event.message.as_deref() == Some(message), "{reason} says {:?}", event.message);
        let from = event.source.and_then(|source| source.host).or(event.reporting_instance);
        ensure!(from.as_ref() == Some(&env.node), "{reason} comes from {from:?}");
    }
    let shown = env.kubectl(&["describe", "pod", "told"]).await?;
    let events = shown.split_once("Events:").map(|(_, events)| events).unwrap_or_default();
    for part in ["Pulled", "the image is here", "Warning", "Slow", "it took long", "ProviderCreateSuccess"] {
        ensure!(events.contains(part), "{part} is not shown: {shown}");
    }
    Ok(())
}
