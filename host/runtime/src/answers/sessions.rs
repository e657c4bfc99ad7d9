//! What `sessions` answers.

use vk_provider::{Action, MAX_SESSION_STATE, Opened, Progress, SessionState, Transport};

use super::{Checked, bounded, error, malformed, milliseconds};
use crate::bindings::exports::vk::provider::sessions;

/// What one step may ask for.
const ACTIONS: usize = 1_000;
/// What one action may carry, and so one message of a WebSocket.
const ACTION_BYTES: usize = 4 << 20;

pub(crate) fn opened(opened: sessions::Opened) -> Checked<Opened> {
    Ok(Opened { state: state(opened.state)?, transport: transport(opened.transport) })
}

pub(crate) fn progress(progress: sessions::Progress) -> Checked<Progress> {
    let count = progress.actions.len();
    if count > ACTIONS {
        return malformed(format!("there are {count} actions, more than {ACTIONS}"));
    }
    Ok(Progress {
        state: progress.state.map(state).transpose()?,
        actions: progress.actions.into_iter().map(action).collect::<Checked<_>>()?,
    })
}

fn state(state: SessionState) -> Checked<SessionState> {
    bounded("the state", state.len(), MAX_SESSION_STATE)?;
    Ok(state)
}

/// What is in it is judged when it is dialled.
fn transport(transport: sessions::Transport) -> Transport {
    match transport {
        sessions::Transport::Websocket(sessions::Websocket { url, headers, protocols }) => {
            Transport::WebSocket { url, headers, protocols }
        }
        sessions::Transport::Upgrade(sessions::Upgrade { method, url, headers, body, protocol }) => {
            Transport::Upgrade { method, url, headers, body, protocol }
        }
        sessions::Transport::Tcp((host, port)) => Transport::Tcp { host, port },
        sessions::Transport::None => Transport::None,
    }
}

fn action(action: sessions::Action) -> Checked<Action> {
    let bytes = |bytes: Vec<u8>| {
        bounded("an action", bytes.len(), ACTION_BYTES)?;
        Ok(bytes)
    };
    Ok(match action {
        sessions::Action::SendText(text) => {
            bounded("an action", text.len(), ACTION_BYTES)?;
            Action::SendText(text)
        }
        sessions::Action::SendBinary(data) => Action::SendBinary(bytes(data)?),
        sessions::Action::CloseSend => Action::CloseSend,
        sessions::Action::Output(data) => Action::Output(bytes(data)?),
        sessions::Action::ErrorOutput(data) => Action::ErrorOutput(bytes(data)?),
        sessions::Action::Relay => Action::Relay,
        sessions::Action::WakeAfter(after) => Action::WakeAfter(milliseconds(after)),
        sessions::Action::Exit(code) => Action::Exit(code),
        sessions::Action::Fail(failure) => Action::Fail(error(failure)),
    })
}

#[cfg(test)]
mod tests {
    use vk_provider::ErrorKind;

    use super::*;
    use crate::bindings::vk::provider::types;

    fn step(state: Option<usize>, actions: Vec<sessions::Action>) -> Result<Progress, String> {
        let state = state.map(|bytes| vec![0; bytes]);
        progress(sessions::Progress { state, actions }).map_err(|reason| reason.to_string())
    }

    #[test]
    fn a_step_is_bounded() {
        let output = |bytes| sessions::Action::Output(vec![0; bytes]);
        assert!(step(Some(MAX_SESSION_STATE), vec![output(ACTION_BYTES)]).is_ok());
        assert!(step(None, (0..ACTIONS).map(|_| output(1)).collect()).is_ok());
        let text = sessions::Action::SendText("x".repeat(ACTION_BYTES + 1));
        for (refused, reason) in [
            (step(Some(MAX_SESSION_STATE + 1), vec![]), "the state has 65537 bytes, more than 65536"),
            (step(None, vec![output(ACTION_BYTES + 1)]), "an action has 4194305 bytes, more than 4194304"),
            (step(None, vec![text]), "an action has 4194305 bytes, more than 4194304"),
            (step(None, vec![sessions::Action::Relay; ACTIONS + 1]), "there are 1001 actions, more than 1000"),
        ] {
            assert_eq!(refused.unwrap_err(), reason);
        }
        let large = sessions::Opened { state: vec![0; MAX_SESSION_STATE + 1], transport: sessions::Transport::None };
        assert!(opened(large).is_err());
    }

    #[test]
    fn a_failure_gets_a_message_for_one_line() {
        let kind = types::ErrorKind::NotFound;
        let failure = types::Error { kind, message: "no such\nprogram".into(), retry_after: None };
        let progress = step(None, vec![sessions::Action::Fail(failure)]).unwrap();
        let [Action::Fail(error)] = progress.actions.as_slice() else { panic!("{progress:?}") };
        assert_eq!((error.kind, error.message.as_str()), (ErrorKind::NotFound, "no such program"));
    }
}
