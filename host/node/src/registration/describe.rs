//! Asks the provider to describe the node, again and again.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{Notify, mpsc},
    time::sleep,
};
use vk_provider::{Description, Error, ErrorKind, OperatingSystem, Provider};

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

/// A description that offers nothing.
pub(super) fn nothing() -> Description {
    Description {
        operating_system: OperatingSystem::Linux,
        architecture: "amd64".to_owned(),
        capacity: Vec::new(),
        allocatable: Vec::new(),
        conditions: Vec::new(),
        labels: Vec::new(),
        annotations: Vec::new(),
        taints: Vec::new(),
    }
}
