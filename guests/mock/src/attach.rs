//! What joins a container: it sees what the container writes from then on, and is sent back what it writes itself.

use std::time::Duration;

use mock_model::{Log, PodState};
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
    pub(crate) fn new(attach: Attach, state: &PodState, log: &Log) -> Self {
        let episode =
            state.containers.iter().find(|each| each.name == attach.container).and_then(|each| each.current());
        let position = episode.map_or(Position { run: 0, line: 0 }, |episode| Position {
            run: episode.number,
            line: log.count(&episode, now()),
        });
        Self { container: attach.container, position, terminal: attach.tty.map(Terminal::new) }
    }

    pub(crate) fn step(&mut self, pod: &PodId, store: &dyn Store, events: Vec<Event>) -> Result<Vec<Action>> {
        let mut actions = Vec::new();
        for event in events {
            match (event, &mut self.terminal) {
                (Event::Abandoned, _) => return Ok(Vec::new()),
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
        let details = match store.look(pod) {
            Ok(details) => details,
            Err(error) if error.kind == ErrorKind::NotFound => {
                actions.push(Action::Exit(0));
                return Ok(actions);
            }
            Err(_) => {
                actions.push(Action::wake_after(RETRY));
                return Ok(actions);
            }
        };
        let Some(container) = details.state.containers.iter().find(|each| each.name == self.container) else {
            actions.push(Action::Exit(0));
            return Ok(actions);
        };
        let piece = Piece::read(&details.workload.log, container, self.position, false, now());
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
        Ok(actions)
    }
}
