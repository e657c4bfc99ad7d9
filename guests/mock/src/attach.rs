//! What joins a container: it sees what the container writes from then on, and is sent back what it writes itself.

use std::time::Duration;

use mock_model::{Log, PodState, wire::Details};
use serde::{Deserialize, Serialize};
use vk_sdk::{
    ErrorKind, PodId, Result,
    sessions::{Action, Attach, Event},
};

use crate::{
    logs::{Piece, Position},
    shell::terminal::{Terminal, shown},
    store::{Store, now},
};

/// How long a store that cannot be reached is left alone.
const RETRY: Duration = Duration::from_secs(1);

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Attachment {
    container: String,
    position: Position,
    terminal: Option<Terminal>,
}

impl Attachment {
    pub(crate) fn new(attach: Attach, state: &PodState, log: &Log, now: u64) -> Self {
        let episode =
            state.containers.iter().find(|each| each.name == attach.container).and_then(|each| each.current());
        let position = episode.map_or(Position { run: 0, line: 0 }, |episode| Position {
            run: episode.number,
            line: log.count(&episode, now),
        });
        Self { container: attach.container, position, terminal: attach.tty.map(Terminal::new) }
    }

    pub(crate) fn step(&mut self, pod: &PodId, store: &dyn Store, events: Vec<Event>) -> Result<Vec<Action>> {
        if events.contains(&Event::Abandoned) {
            return Ok(Vec::new());
        }
        let mut actions = self.send_back(events);
        match store.look(pod) {
            Ok(details) => self.follow(&details, now(), &mut actions),
            Err(error) if error.kind == ErrorKind::NotFound => actions.push(Action::Exit(0)),
            Err(_) => actions.push(Action::wake_after(RETRY)),
        }
        Ok(actions)
    }

    fn send_back(&mut self, events: Vec<Event>) -> Vec<Action> {
        let mut actions = Vec::new();
        for event in events {
            match (event, &mut self.terminal) {
                (Event::Input(bytes), None) => actions.push(Action::Output(bytes)),
                (Event::Input(bytes), Some(terminal)) => {
                    let typed = terminal.typed(&bytes);
                    actions.push(Action::Output(typed.echo));
                    actions.push(Action::Output(shown(&typed.input)));
                }
                (Event::Resized(size), Some(terminal)) => terminal.resize(size),
                _ => {}
            }
        }
        actions
    }

    /// Sends what the container has written since, and ends with it.
    fn follow(&mut self, details: &Details, now: u64, actions: &mut Vec<Action>) {
        let Some(container) = details.state.containers.iter().find(|each| each.name == self.container) else {
            actions.push(Action::Exit(0));
            return;
        };
        let piece = Piece::read(&details.workload.log, container, self.position, false, now);
        if !piece.data.is_empty() {
            actions.push(Action::Output(if self.terminal.is_some() { shown(&piece.data) } else { piece.data }));
        }
        match piece.next {
            Some(next) => {
                self.position = next;
                actions.push(Action::wake_after(piece.wait.unwrap_or_default()));
            }
            None => actions.push(Action::Exit(0)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::Container;

    #[test]
    fn who_attaches_sees_what_comes_from_then_on_until_the_container_ends() {
        let container = Container::new(&[("log-every", "100ms"), ("run-for", "950ms"), ("exit-code", "3")]);
        let attach = Attach { container: "c".into(), stdin: true, tty: None };
        let (now, Details { state, workload }) = container.at(150);
        let mut attachment = Attachment::new(attach, &state, &workload.log, now);
        let mut follow = |at| {
            let (now, details) = container.at(at);
            let mut actions = Vec::new();
            attachment.follow(&details, now, &mut actions);
            actions
        };
        let wait = |milliseconds| Action::wake_after(Duration::from_millis(milliseconds));
        assert_eq!(follow(150), [wait(200)]);
        assert_eq!(follow(350), [Action::output("c: line 2\nc: line 3\n"), wait(200)]);
        let rest: String = (4..=9).map(|number| format!("c: line {number}\n")).collect();
        assert_eq!(follow(1000), [Action::output(rest + "c: exited with code 3\n"), Action::Exit(0)]);
    }
}
