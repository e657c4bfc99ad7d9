//! Every request there was.

use std::collections::{BTreeMap, VecDeque};

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

use crate::route::Route;

/// How many requests are kept. Older ones are only counted.
const KEPT: usize = 100_000;

/// A request that came.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Request {
    /// When it came, by the simulator's clock.
    pub at: Timestamp,
    /// What was asked for.
    pub route: Route,
    /// The method.
    pub method: String,
    /// The path, as it was sent.
    pub path: String,
    /// The query, as it was sent.
    pub query: String,
    /// Name of the group that it is about.
    pub group: Option<String>,
    /// The body without what is secret: JSON, or the fields of a form.
    pub body: Value,
    /// The answer's status; `None` while there is none, and where the connection was cut instead.
    pub status: Option<u16>,
}

#[derive(Debug, Default)]
pub(crate) struct Log {
    requests: VecDeque<Request>,
    /// How many were dropped from the front.
    dropped: usize,
    counts: BTreeMap<Route, u64>,
}

/// Which request in the log.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entry(usize);

impl Log {
    pub(crate) fn begin(&mut self, request: Request) -> Entry {
        *self.counts.entry(request.route).or_default() += 1;
        if self.requests.len() == KEPT {
            self.requests.pop_front();
            self.dropped += 1;
        }
        self.requests.push_back(request);
        Entry(self.dropped + self.requests.len() - 1)
    }

    pub(crate) fn answered(&mut self, Entry(number): Entry, status: u16) {
        let index = number.checked_sub(self.dropped);
        if let Some(request) = index.and_then(|index| self.requests.get_mut(index)) {
            request.status = Some(status);
        }
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.iter().cloned().collect()
    }

    pub(crate) fn counts(&self) -> &BTreeMap<Route, u64> {
        &self.counts
    }
}
