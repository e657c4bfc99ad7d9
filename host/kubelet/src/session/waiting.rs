//! The events that wait for the next step.

use std::collections::VecDeque;

use vk_provider::SessionEvent;

/// The most bytes that a step is handed, unless one message is larger by itself. Far below what a call may hand over,
/// so that an instance is not kept long, and enough for the cost of a step not to matter.
pub(super) const STEP_BYTES: usize = 256 << 10;
/// What an event counts for beside its bytes, so that many small ones are bounded too.
const EVENT_BYTES: usize = 64;

/// Events in the order in which they came. Bytes that follow each other become one event.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    events: VecDeque<SessionEvent>,
    size: usize,
}

fn size(event: &SessionEvent) -> usize {
    EVENT_BYTES
        + match event {
            SessionEvent::Input(bytes) | SessionEvent::Binary(bytes) => bytes.len(),
            SessionEvent::Text(text) => text.len(),
            _ => 0,
        }
}

impl Waiting {
    pub(super) fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// Whether a step's worth is waiting: nothing more should be read for it.
    pub(super) fn is_full(&self) -> bool {
        self.size >= STEP_BYTES
    }

    /// Of sizes of the terminal that follow each other, the last one counts.
    pub(super) fn push(&mut self, event: SessionEvent) {
        if let (Some(SessionEvent::Resized(last)), SessionEvent::Resized(new)) = (self.events.back_mut(), &event) {
            *last = *new;
            return;
        }
        self.size += size(&event);
        self.events.push_back(event);
    }

    /// Before all others.
    pub(super) fn push_first(&mut self, event: SessionEvent) {
        self.size += size(&event);
        self.events.push_front(event);
    }

    /// Bytes from the client.
    pub(super) fn push_input(&mut self, bytes: &[u8]) {
        self.push_bytes(bytes, SessionEvent::Input, |event| match event {
            SessionEvent::Input(bytes) => Some(bytes),
            _ => None,
        });
    }

    /// Bytes from a backend that does not send messages.
    pub(super) fn push_stream(&mut self, bytes: &[u8]) {
        self.push_bytes(bytes, SessionEvent::Binary, |event| match event {
            SessionEvent::Binary(bytes) => Some(bytes),
            _ => None,
        });
    }

    fn push_bytes(
        &mut self,
        bytes: &[u8],
        event: fn(Vec<u8>) -> SessionEvent,
        bytes_of: fn(&mut SessionEvent) -> Option<&mut Vec<u8>>,
    ) {
        for piece in bytes.chunks(STEP_BYTES) {
            match self.events.back_mut().and_then(bytes_of) {
                Some(last) if last.len() + piece.len() <= STEP_BYTES => {
                    last.extend_from_slice(piece);
                    self.size += piece.len();
                }
                _ => self.push(event(piece.to_vec())),
            }
        }
    }

    /// Those for one step: the first ones. That the connection stands comes alone: a provider that has it relayed then has
    /// not been handed what its client sent before, and need not send it.
    pub(super) fn take(&mut self) -> Vec<SessionEvent> {
        let mut events = Vec::new();
        let mut taken = 0;
        while let Some(event) = self.events.pop_front_if(|event| taken == 0 || taken + size(event) <= STEP_BYTES) {
            taken += size(&event);
            events.push(event);
            if let Some(SessionEvent::Opened(_)) = events.last() {
                break;
            }
        }
        self.size -= taken;
        events
    }

    /// All of them, to be sorted anew.
    pub(super) fn take_all(&mut self) -> VecDeque<SessionEvent> {
        self.size = 0;
        std::mem::take(&mut self.events)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vk_provider::TerminalSize;

    fn resized(columns: u16) -> SessionEvent {
        SessionEvent::Resized(TerminalSize { columns, rows: 1 })
    }

    #[test]
    fn bytes_that_follow_each_other_become_one_event() {
        let mut waiting = Waiting::default();
        waiting.push_input(b"ab");
        waiting.push_input(b"");
        waiting.push_input(b"c");
        waiting.push_stream(b"x");
        waiting.push_stream(b"y");
        waiting.push_input(b"d");
        let expected = [
            SessionEvent::Input(b"abc".to_vec()),
            SessionEvent::Binary(b"xy".to_vec()),
            SessionEvent::Input(b"d".to_vec()),
        ];
        assert_eq!(waiting.take(), expected);
        assert!(waiting.is_empty() && waiting.size == 0);
    }

    #[test]
    fn messages_keep_their_bounds() {
        let mut waiting = Waiting::default();
        let messages = [SessionEvent::Binary(b"a".to_vec()), SessionEvent::Binary(b"b".to_vec())];
        messages.iter().cloned().for_each(|message| waiting.push(message));
        assert_eq!(waiting.take(), messages);
    }

    #[test]
    fn only_the_last_of_sizes_that_follow_each_other_counts() {
        let mut waiting = Waiting::default();
        waiting.push(resized(1));
        waiting.push(resized(2));
        waiting.push(SessionEvent::Woken);
        waiting.push(resized(3));
        assert_eq!(waiting.take(), [resized(2), SessionEvent::Woken, resized(3)]);
    }

    #[test]
    fn a_step_gets_no_more_than_its_share_and_nothing_is_lost() {
        let mut waiting = Waiting::default();
        let bytes: Vec<u8> = (0..3 * STEP_BYTES).map(|n| (n % 251) as u8).collect();
        waiting.push_input(&bytes);
        waiting.push(SessionEvent::InputClosed);
        assert!(waiting.is_full());
        let mut seen = Vec::new();
        let mut last = Vec::new();
        while !waiting.is_empty() {
            last = waiting.take();
            for event in &last {
                if let SessionEvent::Input(piece) = event {
                    assert!(piece.len() <= STEP_BYTES);
                    seen.extend_from_slice(piece);
                }
            }
        }
        assert!(seen == bytes);
        assert_eq!(last.last(), Some(&SessionEvent::InputClosed));
        assert_eq!(waiting.size, 0);
    }

    #[test]
    fn many_small_events_fill_it_too() {
        let mut waiting = Waiting::default();
        let mut count = 0;
        while !waiting.is_full() {
            waiting.push(SessionEvent::Text(String::new()));
            count += 1;
        }
        assert!(count <= STEP_BYTES / EVENT_BYTES);
    }

    #[test]
    fn a_message_larger_than_a_step_goes_alone() {
        let mut waiting = Waiting::default();
        waiting.push(SessionEvent::Woken);
        waiting.push(SessionEvent::Binary(vec![0; STEP_BYTES + 1]));
        assert_eq!(waiting.take(), [SessionEvent::Woken]);
        assert_eq!(waiting.take().len(), 1);
        assert!(waiting.is_empty());
    }
}
