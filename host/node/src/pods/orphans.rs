//! Pods that the provider reports and the cluster does not know.
//!
//! They come from pods that were deleted by force while the host was down. A pod is judged an orphan only when the API
//! server's consistent listing did not have it in two rounds, each after a complete listing of the provider that did.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use vk_provider::PodId;

use super::task::Shared;

/// In how many rounds a pod must be unknown to the cluster.
const ROUNDS: u32 = 2;

/// Judges what each complete listing left unclaimed, and sends what is to be removed.
pub(crate) async fn run(
    shared: Arc<Shared>,
    mut unclaimed: watch::Receiver<Vec<PodId>>,
    verdicts: mpsc::Sender<PodId>,
    stop: CancellationToken,
) {
    let judge = async {
        let mut rounds: HashMap<String, u32> = HashMap::new();
        while unclaimed.changed().await.is_ok() {
            let candidates: Vec<PodId> =
                unclaimed.borrow_and_update().iter().filter(|pod| shared.api.covers(&pod.namespace)).cloned().collect();
            let uids: HashSet<&str> = candidates.iter().map(|pod| pod.uid.as_str()).collect();
            rounds.retain(|uid, _| uids.contains(uid.as_str()));
            if candidates.is_empty() {
                continue;
            }
            let known = match shared.api.list_uids().await {
                Ok(known) => known,
                Err(error) => {
                    tracing::warn!(%error, "pods cannot be listed; no orphan is judged");
                    continue;
                }
            };
            for pod in candidates {
                if known.contains(&pod.uid) {
                    rounds.remove(&pod.uid);
                    continue;
                }
                let round = rounds.entry(pod.uid.clone()).or_default();
                *round += 1;
                if *round < ROUNDS {
                    shared.nudge.relist();
                } else if *round == ROUNDS {
                    let action = if shared.keep_orphans { "kept" } else { "removed" };
                    tracing::warn!(namespace = pod.namespace, pod = pod.name, uid = pod.uid, action, "orphan");
                    if shared.keep_orphans {
                        continue;
                    }
                    // What is still there when it should be gone is judged anew.
                    rounds.remove(&pod.uid);
                    if verdicts.send(pod).await.is_err() {
                        return;
                    }
                }
            }
        }
    };
    stop.run_until_cancelled(judge).await;
}
