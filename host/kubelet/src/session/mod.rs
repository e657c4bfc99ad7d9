//! One exec, attach or port-forward, from its begin to its end.
//!
//! ```text
//!            input, half close, resize                      bytes, messages, disconnect
//!  client ────────────────────────────> waiting <──────────────────────────────────── backend
//!    ^                                     │ step(state, events)                          ^
//!    │          outputs (lane)             v                   sends (lane)               │
//!    └──────────────────────────────── actions ───────────────────────────────────────────┘
//! ```
//!
//! The provider translates: [`Sessions::open`] says how the backend is reached, [`Sessions::dial`] connects to it, then
//! [`Sessions::step`] turns the events that are waiting into actions. A step starts as soon as an event is there and
//! none is under way; what comes meanwhile waits for the next one, so that steps grow with the load. After a `relay`
//! bytes go straight from one side to the other, and steps see only the other events.
//!
//! Everything is bounded. One side is not read from while much is on its way to the other, or while a step's
//! worth of events is waiting. Neither side's slowness holds up what else happens, so that a client which goes, or a
//! backend which closes, is noticed. A client that goes is noticed even while its input is not read.
//!
//! How a session ends:
//!
//! | what happened | what the client is told |
//! |---|---|
//! | action `exit` | the code, after all output; outside of 0 to 255 it is 255 |
//! | action `fail`, a failed call, a state too large, an action that is impossible | the error, after all output |
//! | `disconnected` answered with neither exit, fail nor wake-after | exec: an error; else success |
//! | `refused` answered so | an error |
//! | the client is gone, or took nothing for four hours | that it was abandoned; the provider is told `abandoned` |
//! | the host stops | an error; the provider is told `abandoned` |
//!
//! A failed call ends its session alone: calls are tried again on another instance, or on the component that replaced
//! this one, before they fail.

mod backend;
mod delivery;
mod driver;
mod lane;
mod link;
mod parting;
#[cfg(test)]
mod tests;
mod waiting;

use std::{sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;
use vk_provider::{Error, ErrorKind, PodId, SessionRequest, Sessions};

use crate::{Client, Outcome};
use driver::{Driver, Ended};

/// A side that takes nothing for so long is given up: as long as a kubelet keeps a stream on which nothing moves.
const PATIENCE: Duration = Duration::from_secs(4 * 60 * 60);

/// Runs one session to its end and tells the client how it ended; yields the same.
///
/// It ends within seconds after `stop`. Dropped, it closes both connections and tells nobody anything.
pub async fn run(
    sessions: Arc<dyn Sessions>,
    pod: PodId,
    request: SessionRequest,
    client: Client,
    stop: CancellationToken,
) -> Outcome {
    let Client { mut input, mut output } = client;
    let name = format!("{}/{}", pod.namespace, pod.name);
    let opened = stop.run_until_cancelled(sessions.open(&pod, &request)).await;
    let (outcome, parting) = match opened {
        None => (stopped(), None),
        Some(Err(error)) => (Outcome::Failed(error), None),
        Some(Ok(opened)) => {
            let is_exec = matches!(request, SessionRequest::Exec(_));
            let mut driver = Driver::new(sessions, pod, is_exec, opened, &mut *input, &mut *output);
            let outcome = match stop.run_until_cancelled(driver.run()).await {
                Some(Ended::Over(outcome)) => outcome,
                Some(Ended::Abandoned) => Outcome::Abandoned,
                None => stopped(),
            };
            (outcome, Some(driver.part()))
        }
    };
    match &outcome {
        Outcome::Failed(error) if error.fault.is_some() => tracing::warn!(pod = name, %error, "a session failed"),
        Outcome::Failed(error) => tracing::debug!(pod = name, %error, "a session failed"),
        Outcome::Abandoned => tracing::debug!(pod = name, "a session was abandoned by its client"),
        Outcome::Exit(code) => tracing::debug!(pod = name, code, "a session ended"),
    }
    let parted = async {
        if let Some(parting) = parting {
            parting.run().await;
        }
    };
    tokio::join!(output.finish(outcome.clone()), parted);
    outcome
}

fn stopped() -> Outcome {
    Outcome::Failed(Error::new(
        ErrorKind::Unavailable,
        "the session was ended because the node's vk-host stops; try again when it is back",
    ))
}
