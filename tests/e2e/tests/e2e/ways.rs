//! The ways from a client to the node, and how the API server's own count proves which one was taken.

use anyhow::{Result, ensure};
use vk_e2e::{Env, Websockets};

/// What the API server does with WebSockets of clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// It passes them on to the node, which says that it takes them.
    Through,
    /// They end there, and SPDY goes on to the node.
    Translated,
}

impl Way {
    /// What it counts them as.
    fn counted_as(self, subresource: &str) -> &'static str {
        match (self, subresource) {
            (Self::Through, _) => "proxied_to_kubelet",
            (Self::Translated, "portforward") => "tunneled_at_apiserver",
            (Self::Translated, _) => "translated_at_apiserver",
        }
    }
}

/// Does `work`, which must come through the API server as so many WebSockets for a subresource, all on this way. What comes
/// as SPDY is not counted. No other test may stream meanwhile.
pub(crate) async fn taking<T>(
    env: &Env,
    way: Way,
    subresource: &str,
    websockets: usize,
    work: impl Future<Output = Result<T>>,
) -> Result<T> {
    let before = env.websockets().await?;
    let done = work.await?;
    let after = env.websockets().await?;
    let grown: Websockets = after
        .into_iter()
        .filter(|((of, _), _)| of == subresource)
        .map(|(key, count)| {
            let earlier = before.get(&key).copied().unwrap_or_default();
            (key, count.saturating_sub(earlier))
        })
        .filter(|(_, count)| *count > 0)
        .collect();
    let mut wanted = Websockets::new();
    if websockets > 0 {
        wanted.insert((subresource.to_owned(), way.counted_as(subresource).to_owned()), websockets as u64);
    }
    ensure!(grown == wanted, "WebSockets that the API server has passed on: {grown:?}, not {wanted:?}");
    Ok(done)
}
