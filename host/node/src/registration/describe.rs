//! Asks the provider to describe the node, again and again.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use k8s_openapi::{api::core::v1::Node, apimachinery::pkg::api::resource::Quantity};
use tokio::{
    sync::{Notify, mpsc},
    time::sleep,
};
use vk_provider::{Description, Error, ErrorKind, OperatingSystem, Provider, Resources};

/// How a describe ended.
pub(super) type Answer = Result<Description, Error>;

/// Asks every `every`, sooner after a failure, and at once when `kick` says so. Ends when nobody listens any more.
pub(super) async fn run(
    provider: Arc<dyn Provider>,
    every: Duration,
    kick: Arc<Notify>,
    answers: mpsc::Sender<Answer>,
) {
    let mut failures = 0;
    loop {
        let answer = provider.describe().await;
        let pause = match &answer {
            Ok(_) => {
                failures = 0;
                every
            }
            Err(error) => {
                failures = (failures + 1).min(16);
                pause_after(error, failures, every)
            }
        };
        if answers.send(answer).await.is_err() {
            return;
        }
        tokio::select! {
            () = sleep(pause) => {}
            () = kick.notified() => {}
        }
    }
}

fn pause_after(error: &Error, failures: u32, every: Duration) -> Duration {
    match (error.kind, error.retry_after) {
        (ErrorKind::Exhausted, Some(after)) => after.clamp(Duration::from_secs(1), Duration::from_secs(300)),
        _ => Duration::from_secs(1).saturating_mul(1 << failures.saturating_sub(1).min(16)).min(every),
    }
}

/// The description that a node shows: its size, and what its pods must be made for. Labels, annotations and taints are
/// left out, since nobody knows any more which of them are the provider's.
pub(super) fn as_known(node: Option<&Node>) -> Description {
    let status = node.and_then(|node| node.status.as_ref());
    let info = status.and_then(|status| status.node_info.as_ref());
    let resources = |given: Option<&BTreeMap<String, Quantity>>| -> Resources {
        given.into_iter().flatten().map(|(name, amount)| (name.clone(), amount.0.clone())).collect()
    };
    let windows = info.is_some_and(|info| info.operating_system == OperatingSystem::Windows.as_str());
    Description {
        operating_system: if windows { OperatingSystem::Windows } else { OperatingSystem::Linux },
        architecture: info.map_or_else(|| "amd64".to_owned(), |info| info.architecture.clone()),
        capacity: resources(status.and_then(|status| status.capacity.as_ref())),
        allocatable: resources(status.and_then(|status| status.allocatable.as_ref())),
        conditions: Vec::new(),
        labels: Vec::new(),
        annotations: Vec::new(),
        taints: Vec::new(),
    }
}
