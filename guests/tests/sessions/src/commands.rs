//! What a client can have a session do.

use std::hint::black_box;

use crate::{
    NAME, State,
    exports::vk::provider::sessions::{Action, Answer, Progress},
    vk::provider::types::{Error, ErrorKind},
};

/// Runs a command. What it yields, if anything, is the whole answer of the step.
pub(crate) fn run(command: &str, state: &mut State, actions: &mut Vec<Action>) -> Option<Progress> {
    let (verb, rest) = command.split_once(' ').unwrap_or((command, ""));
    let say = |line: String| Action::Output(format!("{line}\n").into_bytes());
    actions.push(match verb {
        "send-text" => Action::SendText(rest.into()),
        "send-binary" => Action::SendBinary(rest.into()),
        "close-send" => Action::CloseSend,
        "output" => Action::Output(rest.into()),
        "error-output" => Action::ErrorOutput(rest.into()),
        "relay" => Action::Relay,
        "wake-after" => Action::WakeAfter(u32::try_from(number(rest)).expect("milliseconds")),
        "exit" => Action::Exit(rest.parse().expect("a number")),
        "fail" => Action::Fail(Error { kind: ErrorKind::Unavailable, message: rest.into(), retry_after: None }),

        // What is remembered.
        "request" => say(state.request.clone()),
        "steps" => say(state.steps.to_string()),
        "name" => say(NAME.get().expect("configured").clone()),
        "exit-when-disconnected" => {
            state.exit = Some(rest.parse().expect("a number"));
            say("ok".into())
        }
        "keep-state" => return Some(Progress { state: None, actions: vec![say("kept".into())] }),

        // What no session may do.
        "large-state" => return Some(Progress { state: Some(vec![0; number(rest)]), actions: vec![] }),
        "large-output" => Action::Output(vec![b'x'; number(rest)]),
        "many-actions" => return Some(Progress { state: None, actions: vec![Action::CloseSend; number(rest)] }),
        _ => {
            misbehave(verb, rest);
            say(format!("unknown command {command}"))
        }
    });
    None
}

/// Ways to fail.
pub(crate) fn misbehave(verb: &str, rest: &str) {
    match verb {
        "trap" => panic!("told to trap"),
        "spin" => loop {
            black_box(());
        },
        "sleep" => {
            let nanoseconds = u64::try_from(number(rest)).expect("milliseconds") * 1_000_000;
            wasip2::clocks::monotonic_clock::subscribe_duration(nanoseconds).block();
        }
        _ => {}
    }
}

pub(crate) fn number(text: &str) -> usize {
    text.parse().expect("a number")
}

/// The status, the header `x-backend` and the body.
pub(crate) fn show(answer: &Answer) -> String {
    let header = answer.headers.iter().find(|(name, _)| name == "x-backend").map_or("", |(_, value)| value);
    format!("{} [{header}] {}", answer.status, String::from_utf8_lossy(&answer.body))
}
