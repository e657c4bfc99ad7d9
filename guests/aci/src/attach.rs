//! Joining a container's own process: the service shows what it writes from then on, and takes nothing.

use vk_sdk::{
    Error, Result,
    sessions::{self, Action, Event, Websocket},
};

use crate::{
    arm::Endpoint,
    exec::{is_normal, told},
};

/// Refuses what would not arrive: a client that types into nothing should know.
///
/// # Errors
///
/// [`Error::unsupported`] if the client wants to send input.
pub(crate) fn check(request: &sessions::Attach) -> Result<()> {
    if request.stdin {
        return Err(Error::unsupported(
            "Azure Container Instances takes no input for a running process: attach without -i, or use kubectl exec -it",
        ));
    }
    Ok(())
}

/// Unlike that of exec, the password goes into the handshake.
pub(crate) fn transport(endpoint: Endpoint) -> Websocket {
    Websocket::new(endpoint.uri).header("authorization", endpoint.password.0)
}

/// The session ends with the container.
pub(crate) fn step(events: Vec<Event>) -> Vec<Action> {
    let mut actions = Vec::new();
    for event in events {
        let fails = |message| Action::Fail(Error::unavailable(message));
        match event {
            Event::Opened(_) => actions.push(Action::Relay),
            Event::Refused(answer) => {
                actions.push(fails(format!("the service refused to attach, with status {}", answer.status)));
            }
            Event::Disconnected(ending) if is_normal(&ending) => actions.push(Action::Exit(0)),
            Event::Disconnected(ending) => {
                actions.push(fails(format!("the service ended the connection to the container{}", told(&ending))));
            }
            _ => {}
        }
    }
    actions
}

#[cfg(test)]
mod tests {
    use vk_sdk::{
        ErrorKind,
        sessions::{Answer, Ending},
    };

    use super::*;
    use crate::group::Secret;

    #[test]
    fn the_password_is_in_the_handshake_and_output_is_copied_until_the_container_ends() {
        let endpoint = Endpoint { uri: "wss://h:19390/a?x=1".to_owned(), password: Secret("p".to_owned()) };
        let websocket = transport(endpoint);
        assert_eq!(websocket.url, "wss://h:19390/a?x=1");
        assert_eq!(websocket.headers, [("authorization".to_owned(), "p".to_owned())]);
        let answer = |status| Answer { status, headers: Vec::new(), body: Vec::new() };
        assert_eq!(step(vec![Event::Opened(answer(101))]), [Action::Relay]);
        let ends = |code| step(vec![Event::Disconnected(Ending { code, reason: "why".to_owned() })]);
        assert_eq!(ends(Some(1000)), [Action::Exit(0)]);
        let message = "the service ended the connection to the container with code 1011: why";
        assert_eq!(ends(Some(1011)), [Action::Fail(Error::unavailable(message))]);
        let message = "the service refused to attach, with status 401";
        assert_eq!(step(vec![Event::Refused(answer(401))]), [Action::Fail(Error::unavailable(message))]);
    }

    #[test]
    fn input_is_refused() {
        let attach = |stdin| sessions::Attach { container: "c".to_owned(), stdin, tty: None };
        assert_eq!(check(&attach(true)).unwrap_err().kind, ErrorKind::Unsupported);
        assert_eq!(check(&attach(false)), Ok(()));
    }
}
