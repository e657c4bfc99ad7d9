//! What providers report about pods, on its way to the node.

use std::{
    collections::{HashSet, VecDeque},
    hash::{BuildHasher, RandomState},
    sync::{Mutex, PoisonError},
};

use tokio::sync::mpsc::{self, error::TrySendError};
use vk_provider::PodEvent;

/// How many events are remembered to tell repeats by. A provider that lists the events of a backend reports all of them
/// with every poll; this many cover the recent ones of some thousand pods.
const REMEMBERED: usize = 16_384;

/// Passes events on, each once. Outlives the generations, because a replaced component reports the same events again.
#[derive(Debug)]
pub(crate) struct Events {
    sender: mpsc::Sender<PodEvent>,
    seen: Mutex<Seen>,
    hasher: RandomState,
}

#[derive(Debug, Default)]
struct Seen {
    hashes: HashSet<u64>,
    order: VecDeque<u64>,
    /// Events that found no room since the last that did.
    dropped: u64,
}

impl Events {
    pub(crate) fn new(sender: mpsc::Sender<PodEvent>) -> Self {
        Self { sender, seen: Mutex::default(), hasher: RandomState::new() }
    }

    /// Passes an event on, unless the same (pod, container, time, reason) was before. One that finds no room in the
    /// channel is dropped, and may come again. Returns how many were dropped before one that is passed on: what is said
    /// about it is up to the caller, because a guest decides how often.
    pub(crate) fn report(&self, event: PodEvent) -> u64 {
        let hash = self.hasher.hash_one((&event.pod.uid, &event.container, event.at, &event.reason));
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.hashes.contains(&hash) {
            return 0;
        }
        match self.sender.try_send(event) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => {
                seen.dropped += 1;
                return 0;
            }
            Err(TrySendError::Closed(_)) => return 0,
        }
        if seen.order.len() >= REMEMBERED
            && let Some(oldest) = seen.order.pop_front()
        {
            seen.hashes.remove(&oldest);
        }
        seen.hashes.insert(hash);
        seen.order.push_back(hash);
        std::mem::take(&mut seen.dropped)
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use vk_provider::PodId;

    use super::*;

    fn event(uid: &str, second: u64, message: &str) -> PodEvent {
        PodEvent {
            pod: PodId { namespace: "n".into(), name: "p".into(), uid: uid.into(), handle: None },
            container: None,
            at: SystemTime::UNIX_EPOCH + Duration::from_secs(second),
            warning: false,
            reason: "Pulled".into(),
            message: message.into(),
        }
    }

    #[tokio::test]
    async fn the_same_event_is_passed_on_once() {
        let (sender, mut receiver) = mpsc::channel(10);
        let events = Events::new(sender);
        for event in [event("a", 1, "x"), event("a", 1, "other text"), event("b", 1, "x"), event("a", 2, "x")] {
            events.report(event);
        }
        let mut got = Vec::new();
        while let Ok(event) = receiver.try_recv() {
            got.push((event.pod.uid, event.at.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs()));
        }
        assert_eq!(got, [("a".to_owned(), 1), ("b".to_owned(), 1), ("a".to_owned(), 2)]);
    }

    #[tokio::test]
    async fn an_event_that_found_no_room_may_come_again() {
        let (sender, mut receiver) = mpsc::channel(1);
        let events = Events::new(sender);
        events.report(event("a", 1, "x"));
        events.report(event("b", 1, "x"));
        assert_eq!(receiver.try_recv().unwrap().pod.uid, "a");
        events.report(event("b", 1, "x"));
        assert_eq!(receiver.try_recv().unwrap().pod.uid, "b");
    }

    #[tokio::test]
    async fn dropped_events_are_counted_until_one_finds_room() {
        let (sender, mut receiver) = mpsc::channel(1);
        let events = Events::new(sender);
        let reported: Vec<_> = (0..5).map(|second| events.report(event("a", second, "x"))).collect();
        assert_eq!(reported, [0; 5]);
        receiver.try_recv().unwrap();
        assert_eq!(events.report(event("a", 5, "x")), 4);
        receiver.try_recv().unwrap();
        assert_eq!(events.report(event("a", 6, "x")), 0, "each is counted once");
    }

    #[tokio::test]
    async fn memory_of_what_was_reported_is_bounded() {
        let (sender, mut receiver) = mpsc::channel(1);
        let events = Events::new(sender);
        for second in 0..REMEMBERED as u64 + 10 {
            events.report(event("a", second, "x"));
            receiver.try_recv().unwrap();
        }
        let seen = events.seen.lock().unwrap();
        assert_eq!((seen.order.len(), seen.hashes.len()), (REMEMBERED, REMEMBERED));
    }
}
