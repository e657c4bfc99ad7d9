//! Replaces the provider when its files change, or on SIGHUP.
//!
//! ```text
//!  Files::changed ─┐
//!  SIGHUP ─────────┼─> Sources::load ──> Runtime::replace ──> describe again
//!  Failing::again ─┘         └ any failure: one line and an event, the old one serves on, and it is tried again
//! ```

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use tokio::{signal::unix::Signal, time};
use tokio_util::sync::CancellationToken;
use vk_node::NodeHandle;
use vk_provider::Info;
use vk_runtime::Runtime;

use crate::{
    files::{Files, Seen},
    generation::Sources,
    usage::causes,
};

/// How long after a failure it is tried again: a backend that was not reachable may be, without any file changing.
const AGAIN: Duration = Duration::from_secs(10);
/// The most that this grows to, twofold with each failure.
const AGAIN_AT_MOST: Duration = Duration::from_secs(300);

/// Replaces the provider whenever its files change, until `stop`.
pub(crate) async fn run(
    sources: Arc<Sources>,
    mut files: Files,
    mut hangup: Signal,
    runtime: Arc<Runtime>,
    node: NodeHandle,
    stop: CancellationToken,
) {
    let mut failing = Failing::default();
    loop {
        let repeated = tokio::select! {
            () = files.changed() => false,
            _ = hangup.recv() => false,
            () = failing.again() => true,
            () = stop.cancelled() => return,
        };
        let before = runtime.generation();
        // A stop does not wait for a component to compile.
        match stop.run_until_cancelled(replace(&sources, &runtime, &mut files)).await {
            Some(Ok(provider)) => {
                failing = Failing::default();
                let Info { name, version } = &provider;
                if runtime.generation() == before {
                    tracing::info!(provider = name, version, "the provider's files were loaded again: unchanged");
                } else {
                    tracing::info!(provider = name, version, "the provider's files were loaded again");
                    node.provider_replaced(&provider);
                }
            }
            Some(Err(error)) => {
                let failure = causes(&error);
                // Each time: the event shows how often and when last, and is forgotten after an hour.
                node.replacement_failed(&failure);
                if let Some(failure) = failing.failed(failure, repeated) {
                    tracing::error!("the provider was not replaced, and the one before serves on: {failure}");
                }
            }
            None => return,
        }
    }
}

async fn replace(sources: &Arc<Sources>, runtime: &Runtime, files: &mut Files) -> anyhow::Result<Info> {
    // What changes from here on is loaded next time.
    files.remember();
    let sources = sources.clone();
    let load = tokio::task::spawn_blocking(move || {
        let mut seen = Seen::default();
        (sources.load(&mut seen), seen)
    });
    let (generation, seen) = match load.await.context("loading ended abnormally") {
        Ok(loaded) => loaded,
        Err(error) => (Err(error), Seen::default()),
    };
    match generation {
        Ok(generation) => {
            files.follow(seen);
            Ok(runtime.replace(generation).await?)
        }
        Err(error) => {
            files.follow_too(seen);
            runtime.replacement_failed();
            Err(error)
        }
    }
}

/// Failures since the last success.
#[derive(Debug, Default)]
struct Failing {
    /// What was last said.
    said: String,
    /// `None`: the last one was a success.
    wait: Option<Duration>,
}

impl Failing {
    /// Until it is time to try again; never after a success.
    async fn again(&self) {
        match self.wait {
            Some(wait) => time::sleep(wait).await,
            None => std::future::pending().await,
        }
    }

    /// Takes a failure, and gives it back if it is worth saying: not if it `repeated` the one before by itself.
    fn failed(&mut self, failure: String, repeated: bool) -> Option<&str> {
        self.wait = Some(match self.wait {
            Some(wait) if repeated => (wait * 2).min(AGAIN_AT_MOST),
            _ => AGAIN,
        });
        if repeated && failure == self.said {
            return None;
        }
        self.said = failure;
        Some(&self.said)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_failure_is_tried_again_ever_more_seldom_and_said_when_it_is_another() {
        let mut failing = Failing::default();
        assert!(time::timeout(AGAIN_AT_MOST * 10, failing.again()).await.is_err());
        let mut waits = Vec::new();
        for (failure, repeated, is_said) in [
            ("a", false, true),
            ("a", true, false),
            ("a", true, false),
            ("b", true, true),
            ("b", true, false),
            ("b", true, false),
            ("b", true, false),
            ("b", false, true),
        ] {
            assert_eq!(failing.failed(failure.into(), repeated), is_said.then_some(failure));
            let begun = time::Instant::now();
            failing.again().await;
            waits.push(begun.elapsed().as_secs());
        }
        assert_eq!(waits, [10, 20, 40, 80, 160, 300, 300, 10]);
    }
}
