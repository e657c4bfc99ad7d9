//! Learning what became of the groups, with few requests.
//!
//! ```text
//!   poll(none) ─> LIST, page by page ──> which groups there are
//!   poll(…) ────> groups that move: GET, after 2 to 10 s each; many that start: LIST says which have got further
//!                 groups that run:  GET in rotation, all in 24 s
//!                 groups that ended: nothing until the next LIST
//! ```
//!
//! The service lists groups without the states of their containers and tells no changes, so those are found by reading
//! groups one by one. Listings lag behind: what one does not name is read before it counts as gone, what is gone but
//! named is not brought back.

mod listing;
mod round;

use std::time::Duration;

use vk_sdk::{Changes, Cursor as Bytes, Error, ErrorKind, Observation, PodId, Result, cache, warn};

use crate::{
    clock::{milliseconds, now},
    cursor::Cursor,
    identity::group_name,
    memory::{self, Kept},
    pods::Pods,
    poll::round::Round,
};

/// The most groups that one poll reads.
const MOST_READS: usize = 40;
/// For how long one poll goes on reading.
const LONGEST: Duration = Duration::from_secs(3);
/// After so many failures in a row the others would fail too.
const MOST_FAILURES: usize = 3;
/// Until the next poll: while something is known, and while nothing is.
const PAUSE: Duration = Duration::from_secs(1);
const IDLE_PAUSE: Duration = Duration::from_secs(5);
/// Set while the service has answered lately.
const REACHED: &str = "reached";
const REACHED_FOR: Duration = Duration::from_secs(30);

impl Pods {
    /// What became of the pods since the cursor.
    pub(crate) fn poll(&self, since: Option<Bytes>) -> Result<Changes> {
        match since.map(|bytes| Cursor::read(&bytes)).transpose()? {
            None => self.list(milliseconds(now()), None),
            Some(Cursor::Page { listing, next }) => self.list(listing, Some(&next)),
            Some(Cursor::Changes { listing }) if listing::is_known(listing) => self.changes(listing),
            Some(Cursor::Changes { .. }) => Err(Error::invalid("the cache has forgotten the listing")),
        }
    }

    fn changes(&self, listing: u64) -> Result<Changes> {
        let mut groups: Vec<Kept> = memory::all().into_iter().filter(|kept| !kept.memory.is_buried()).collect();
        let pause = if groups.is_empty() { IDLE_PAUSE } else { PAUSE };
        let mut round = Round::begin(now());
        if round.is_survey_due(&groups) {
            self.survey(&mut groups);
        }
        let mut reads = Reads::default();
        let began = now();
        for kept in round.choose(groups) {
            if reads.is_over() || now() > began + LONGEST {
                break;
            }
            self.read(kept, &mut reads);
        }
        round.end();
        if let Some((name, error)) = reads.failure.take() {
            // Is it the group, or the service? Of the latter the host must know.
            if !reads.learned && self.arm.list(None).is_err() {
                cache::remove(REACHED);
                return Err(error);
            }
            warn!(group = name, "not read: {}", error.message);
        }
        if reads.learned {
            self.reached();
        }
        let next = Cursor::Changes { listing }.write();
        Ok(Changes::since(reads.observed, reads.removed, next).poll_after(reads.wait.unwrap_or(pause)))
    }

    /// Whether the service answers, unless that is known anyway. One that asks to wait does.
    pub(crate) fn check(&self) -> Result<()> {
        if cache::get(REACHED).is_some() {
            return Ok(());
        }
        match self.arm.list(None) {
            Ok(_) => self.reached(),
            Err(error) if error.kind == ErrorKind::Exhausted => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn reached(&self) {
        cache::set(REACHED, &[], REACHED_FOR);
    }

    /// Reads one group.
    fn read(&self, mut kept: Kept, reads: &mut Reads) {
        let name = group_name(&self.owner, &kept.pod);
        match self.arm.get(&name) {
            Ok(Some(group)) if self.is_of(&group, &kept.pod) => {
                reads.succeeded();
                let (observation, memory) = self.look(kept.pod.clone(), &group, kept.memory.clone());
                kept.memory = memory;
                kept.write_back();
                reads.observed.push(observation);
            }
            Ok(None) if kept.memory.may_be_late(now()) => {
                reads.succeeded();
                kept.memory.retry(now());
                kept.write_back();
            }
            Ok(_) => {
                reads.succeeded();
                // If another instance has just made it anew, that is another group.
                if kept.bury(now()) {
                    reads.removed.push(kept.pod);
                }
            }
            Err(error) => {
                kept.memory.retry(now());
                kept.write_back();
                reads.failed(name, error);
            }
        }
    }
}

/// What came of reading groups.
#[derive(Default)]
struct Reads {
    observed: Vec<Observation>,
    removed: Vec<PodId>,
    learned: bool,
    failures_in_a_row: usize,
    /// The first group that could not be read, and why.
    failure: Option<(String, Error)>,
    /// How long the service asks to be left alone.
    wait: Option<Duration>,
}

impl Reads {
    fn succeeded(&mut self) {
        self.learned = true;
        self.failures_in_a_row = 0;
    }

    fn failed(&mut self, name: String, error: Error) {
        if error.kind == ErrorKind::Exhausted {
            self.wait = Some(Duration::from_millis(error.retry_after.unwrap_or(10_000).into()));
            return;
        }
        self.failures_in_a_row += 1;
        self.failure.get_or_insert((name, error));
    }

    fn is_over(&self) -> bool {
        self.wait.is_some() || self.failures_in_a_row >= MOST_FAILURES
    }
}

#[cfg(test)]
mod tests;
