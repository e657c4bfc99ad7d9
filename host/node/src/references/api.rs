//! Requests to the API server, and its errors in words that show no contents of objects.
//!
//! The client's own error text quotes what it could not parse, which may be a secret; so do its logs, wherever it parses
//! by itself.

use std::time::Duration;

use kube::runtime::watcher;
use tokio::time::{Instant, sleep, timeout_at};

/// How long a request may take altogether.
pub(super) const REQUEST_TIME: Duration = Duration::from_secs(10);
/// How long a refusal is not believed: for a node identity, the API server learns which objects a pod uses shortly after
/// the node learns of the pod.
pub(super) const REFUSAL_DOUBT: Duration = Duration::from_secs(3);

/// Why an object was not read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Failure {
    /// There is none.
    Missing,
    /// The node may not; says what.
    Denied(String),
    /// No answer, or none that says anything about the object.
    Unavailable(String),
}

/// Sends a request, again while it is refused or fails in a way that may pass.
pub(super) async fn ask<F>(send: impl Fn() -> F) -> Result<String, Failure>
where
    F: Future<Output = kube::Result<String>>,
{
    let begin = Instant::now();
    let mut delays = Delays::default();
    loop {
        let failure = match timeout_at(begin + REQUEST_TIME, send()).await {
            Ok(Ok(text)) => return Ok(text),
            Ok(Err(error)) => match code(&error) {
                Some(404) => return Err(Failure::Missing),
                Some(403) => Failure::Denied(request_error(&error)),
                Some(400..=499) => return Err(Failure::Unavailable(request_error(&error))),
                _ => Failure::Unavailable(request_error(&error)),
            },
            Err(_) => return Err(Failure::Unavailable("no answer from the API server".to_owned())),
        };
        let patience = if matches!(failure, Failure::Denied(_)) { REFUSAL_DOUBT } else { REQUEST_TIME };
        let delay = delays.next_delay();
        if begin.elapsed() + delay > patience {
            return Err(failure);
        }
        sleep(delay).await;
    }
}

/// Growing delays between attempts, from a tenth of a second to half a minute.
#[derive(Debug, Default)]
pub(super) struct Delays {
    attempts: u32,
}

impl Delays {
    /// The next delay. Random, so that those who fail together do not come back together.
    pub(super) fn next_delay(&mut self) -> Duration {
        let longest = Duration::from_millis(100).saturating_mul(1 << self.attempts.min(9)).min(Duration::from_secs(30));
        self.attempts = self.attempts.saturating_add(1);
        longest.mul_f64(rand::random_range(0.5..=1.0))
    }
}

/// Words for a failed request.
pub(super) fn request_error(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        kube::Error::SerdeError(error) => malformed(error),
        other => chain(other),
    }
}

/// Words for a failed watch.
pub(super) fn watch_error(error: &watcher::Error) -> String {
    match error {
        watcher::Error::InitialListFailed(error)
        | watcher::Error::WatchStartFailed(error)
        | watcher::Error::WatchFailed(error) => request_error(error),
        watcher::Error::WatchError(status) => status.message.clone(),
        watcher::Error::NoResourceVersion => error.to_string(),
    }
}

/// The HTTP status with which a watch failed.
pub(super) fn watch_code(error: &watcher::Error) -> Option<u16> {
    match error {
        watcher::Error::InitialListFailed(error)
        | watcher::Error::WatchStartFailed(error)
        | watcher::Error::WatchFailed(error) => code(error),
        watcher::Error::WatchError(status) => Some(status.code),
        watcher::Error::NoResourceVersion => None,
    }
}

/// Words for an answer that is not what was asked for.
pub(super) fn malformed(error: &serde_json::Error) -> String {
    format!("malformed answer from the API server, at line {} column {}", error.line(), error.column())
}

/// The HTTP status of an answer.
pub(super) fn code(error: &kube::Error) -> Option<u16> {
    match error {
        kube::Error::Api(status) => Some(status.code),
        _ => None,
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let words = cause.to_string();
        if !text.contains(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_for_a_malformed_answer_do_not_quote_it() {
        let error = serde_json::from_str::<u32>("\"hunter2\"").unwrap_err();
        assert!(error.to_string().contains("hunter2"));
        let words = request_error(&kube::Error::SerdeError(error));
        assert_eq!(words, "malformed answer from the API server, at line 1 column 9");
    }

    #[test]
    fn delays_grow_to_half_a_minute() {
        let mut delays = Delays::default();
        let first = delays.next_delay();
        assert!(first >= Duration::from_millis(50) && first <= Duration::from_millis(100));
        let last = (0..20).map(|_| delays.next_delay()).last().unwrap();
        assert!(last >= Duration::from_secs(15) && last <= Duration::from_secs(30));
    }
}
