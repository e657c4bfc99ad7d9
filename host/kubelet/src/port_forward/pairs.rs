//! The two streams of a connection find each other.

use std::{collections::HashMap, time::Duration};

use tokio::time::{Instant, sleep_until};

use crate::spdy::{Headers, Incoming, Reader, Status, Writer};

/// The most bytes of a request id; kubectl counts.
const MAX_ID: usize = 64;

/// The two streams of a connection to a port.
pub(super) struct Pair<T> {
    pub(super) port: u16,
    pub(super) data: T,
    pub(super) error: T,
}

/// Streams that wait for the other one of their pair.
pub(super) struct Pairs<T> {
    waiting: HashMap<String, Waiting<T>>,
    timeout: Duration,
}

struct Waiting<T> {
    label: Label,
    stream: T,
    since: Instant,
}

/// What a stream is for, as its headers say.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Label {
    kind: Kind,
    port: u16,
    request: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Data,
    Error,
}

/// A stream, without the headers that said what it is for.
pub(super) struct Halves {
    pub(super) reader: Reader,
    pub(super) writer: Writer,
}

impl Pairs<Halves> {
    /// Takes a stream that a client opened; yields the pair that it completes. One that is for nothing is reset.
    pub(super) fn accept(&mut self, stream: Incoming) -> Option<Pair<Halves>> {
        let Incoming { id, headers, reader, writer } = stream;
        let mut stream = Halves { reader, writer };
        let Some(label) = label(id, &headers) else {
            stream.writer.reset(Status::PROTOCOL_ERROR);
            return None;
        };
        match self.add(label, stream) {
            Added::Waits => None,
            Added::Completes(pair) => Some(pair),
            Added::Misfit(mut stream) => {
                stream.writer.reset(Status::PROTOCOL_ERROR);
                None
            }
        }
    }
}

impl Pair<Halves> {
    /// Resets both streams. A text on the error stream would make kubectl end its other connections too.
    pub(super) fn refuse(mut self) {
        for stream in [&mut self.data, &mut self.error] {
            stream.writer.reset(Status::REFUSED_STREAM);
        }
    }
}

enum Added<T> {
    Waits,
    Completes(Pair<T>),
    /// There is already such a stream, or the other one is for another port.
    Misfit(T),
}

impl<T> Pairs<T> {
    /// A stream waits for this long.
    pub(super) fn new(timeout: Duration) -> Self {
        Self { waiting: HashMap::new(), timeout }
    }

    fn add(&mut self, label: Label, stream: T) -> Added<T> {
        let Some(other) = self.waiting.remove(&label.request) else {
            let request = label.request.clone();
            self.waiting.insert(request, Waiting { label, stream, since: Instant::now() });
            return Added::Waits;
        };
        if other.label.port != label.port || other.label.kind == label.kind {
            self.waiting.insert(label.request, other);
            return Added::Misfit(stream);
        }
        let (data, error) = match label.kind {
            Kind::Data => (stream, other.stream),
            Kind::Error => (other.stream, stream),
        };
        Added::Completes(Pair { port: label.port, data, error })
    }

    /// Waits until a stream has waited for too long, and drops it, which resets it. May be dropped and called again.
    pub(super) async fn expire(&mut self) {
        match self.waiting.values().map(|waiting| waiting.since).min() {
            Some(first) => sleep_until(first + self.timeout).await,
            None => std::future::pending().await,
        }
        let now = Instant::now();
        self.waiting.retain(|_, waiting| waiting.since + self.timeout > now);
    }
}

/// Clients without request ids make the data stream right after the error stream.
fn label(id: u32, headers: &Headers) -> Option<Label> {
    let kind = match headers.get("streamtype")? {
        "data" => Kind::Data,
        "error" => Kind::Error,
        _ => return None,
    };
    let port = headers.get("port")?.parse().ok().filter(|port| *port != 0)?;
    let request = match (headers.get("requestid"), kind) {
        (Some(request), _) if request.len() <= MAX_ID => request.to_owned(),
        (Some(_), _) => return None,
        (None, Kind::Error) => id.to_string(),
        (None, Kind::Data) => id.saturating_sub(2).to_string(),
    };
    Some(Label { kind, port, request })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(30);

    fn label(kind: Kind, port: u16, request: &str) -> Label {
        Label { kind, port, request: request.into() }
    }

    #[tokio::test]
    async fn streams_of_one_request_are_a_pair_in_any_order() {
        let mut pairs = Pairs::new(TIMEOUT);
        assert!(matches!(pairs.add(label(Kind::Error, 80, "0"), "error 0"), Added::Waits));
        assert!(matches!(pairs.add(label(Kind::Data, 81, "1"), "data 1"), Added::Waits));
        let Added::Completes(pair) = pairs.add(label(Kind::Data, 80, "0"), "data 0") else { panic!("no pair") };
        assert_eq!((pair.port, pair.data, pair.error), (80, "data 0", "error 0"));
        let Added::Completes(pair) = pairs.add(label(Kind::Error, 81, "1"), "error 1") else { panic!("no pair") };
        assert_eq!((pair.port, pair.data, pair.error), (81, "data 1", "error 1"));
        assert!(pairs.waiting.is_empty());
    }

    #[tokio::test]
    async fn streams_that_do_not_fit_do_not_disturb_the_one_that_waits() {
        let mut pairs = Pairs::new(TIMEOUT);
        assert!(matches!(pairs.add(label(Kind::Error, 80, "0"), 1), Added::Waits));
        assert!(matches!(pairs.add(label(Kind::Error, 80, "0"), 2), Added::Misfit(2)));
        assert!(matches!(pairs.add(label(Kind::Data, 81, "0"), 3), Added::Misfit(3)));
        assert!(matches!(
            pairs.add(label(Kind::Data, 80, "0"), 4),
            Added::Completes(Pair { port: 80, data: 4, error: 1 })
        ));
    }

    #[tokio::test(start_paused = true)]
    async fn streams_wait_for_so_long_and_no_longer() {
        let mut pairs = Pairs::new(TIMEOUT);
        let start = Instant::now();
        assert!(matches!(pairs.add(label(Kind::Error, 80, "0"), ()), Added::Waits));
        tokio::time::advance(Duration::from_secs(10)).await;
        assert!(matches!(pairs.add(label(Kind::Error, 80, "1"), ()), Added::Waits));
        pairs.expire().await;
        assert_eq!((start.elapsed(), pairs.waiting.len()), (TIMEOUT, 1));
        assert!(matches!(pairs.add(label(Kind::Data, 80, "1"), ()), Added::Completes(_)));
    }
}
