//! The ways from a client to the node, and how the node's own count, and the API server's, prove which one was taken.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use vk_e2e::{Env, Kubectl, PATIENCE, StreamKind, Upgrade, eventually};

/// What the API server does with WebSockets of clients. SPDY it passes on either way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// It passes them on to the node, which says that it takes them.
    Through,
    /// They end there, and SPDY goes on to the node. No other test may stream through the same API server meanwhile.
    Translated,
}

/// Does `work`, which must reach the node as so many streams of a kind, and all of them in the protocol that this way makes
/// of what kubectl speaks.
pub(crate) async fn taking<T>(
    env: &Env,
    way: Way,
    kind: StreamKind,
    kubectl: &Kubectl,
    streams: u64,
    work: impl Future<Output = Result<T>>,
) -> Result<T> {
    let is_websocket = kubectl.uses_websockets(kind);
    let (upgraded_before, translated_before) = (env.upgrades().await?, env.translated(kind).await?);
    let done = work.await?;
    let upgraded = grown(env.upgrades().await?, &upgraded_before);
    let wanted = BTreeMap::from([(Upgrade::of(kind, is_websocket && way == Way::Through), streams)]);
    ensure!(upgraded == wanted, "it came to the node as {upgraded:?}, not as {wanted:?}");
    let wanted = if is_websocket && way == Way::Translated { streams } else { 0 };
    // It counts them when they have ended.
    eventually("the API server's count of what it translates", PATIENCE, async || {
        let translated = env.translated(kind).await.map_err(|error| error.to_string())? - translated_before;
        if translated == wanted { Ok(()) } else { Err(format!("{translated}, not {wanted}")) }
    })
    .await?;
    Ok(done)
}

fn grown(after: BTreeMap<Upgrade, u64>, before: &BTreeMap<Upgrade, u64>) -> BTreeMap<Upgrade, u64> {
    let grown = after.into_iter().map(|(upgrade, count)| {
        let count = count - before.get(&upgrade).copied().unwrap_or_default();
        (upgrade, count)
    });
    grown.filter(|(_, count)| *count > 0).collect()
}
