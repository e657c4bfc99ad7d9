//! Learning what the provider has.
//!
//! One task polls, one call at a time, and hands what it learned to the controller, in order. A listing that ended is
//! marked as such, with the moment when it began: what it does not name was gone then, unless it was created later.

use std::{collections::HashSet, future::pending, sync::Arc, time::Duration};

use tokio::{
    sync::{Notify, mpsc, watch},
    time::{self, Instant},
};
use tokio_util::sync::CancellationToken;
use vk_provider::{Cursor, Error, Extent, Fault, Observation, PodId, Provider};

use super::backoff::Backoff;
use crate::registration::NodeHandle;

/// How often to ask a provider that does not say.
const DEFAULT_INTERVAL: Duration = Duration::from_secs(5);
/// Bounds on what a provider says. The lower one keeps a careless provider from spinning the host.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(100);
const LONGEST_INTERVAL: Duration = Duration::from_secs(60);
/// After a nudge: time for the backend to have moved, and for other calls of a burst to join in.
const AFTER_NUDGE: Duration = Duration::from_secs(1);
/// How often a listing is made although the cursor would still do: it finds what the changes lost.
const RELIST: Duration = Duration::from_secs(300);
/// A listing of more pages than this does not end; a page holds at least one pod.
const MOST_PAGES: usize = 10_000;

/// What one poll brought.
#[derive(Debug)]
pub(crate) struct Batch {
    /// When it was asked for.
    pub(crate) began: Instant,
    /// Pods that are there.
    pub(crate) observed: Vec<Observation>,
    /// Pods that the provider says are gone.
    pub(crate) removed: Vec<PodId>,
    /// Set on the last batch of a complete listing.
    pub(crate) listing: Option<Listing>,
}

/// A complete listing.
#[derive(Debug)]
pub(crate) struct Listing {
    /// When its first page was asked for.
    pub(crate) began: Instant,
    /// The uid of every pod in it.
    pub(crate) uids: HashSet<String>,
}

/// Brings polls forward.
#[derive(Debug, Default)]
pub(crate) struct Nudge {
    soon: Notify,
    relist: Notify,
}

impl Nudge {
    /// Something was started: its progress is worth asking for within a second.
    pub(crate) fn soon(&self) {
        self.soon.notify_one();
    }

    /// A complete listing is needed.
    pub(crate) fn relist(&self) {
        self.relist.notify_one();
    }
}

/// Polls until told to stop, or until nobody listens any more.
pub(crate) async fn run(
    provider: Arc<dyn Provider>,
    node: NodeHandle,
    nudge: Arc<Nudge>,
    batches: mpsc::Sender<Batch>,
    stop: CancellationToken,
) {
    let recovered = node.recoveries();
    let poller = Poller { provider, node, recovered, nudge, batches, cursor: None, pages: None, listed: None };
    stop.run_until_cancelled(poller.run()).await;
}

struct Poller {
    provider: Arc<dyn Provider>,
    node: NodeHandle,
    recovered: watch::Receiver<()>,
    nudge: Arc<Nudge>,
    batches: mpsc::Sender<Batch>,
    cursor: Option<Cursor>,
    /// The listing under way.
    pages: Option<Pages>,
    /// When the last complete listing ended.
    listed: Option<Instant>,
}

/// What comes after a call.
enum Next {
    /// Another one, after a pause.
    After(Duration),
    /// Another one at once.
    Page,
    /// Nobody listens any more.
    End,
}

struct Pages {
    began: Instant,
    uids: HashSet<String>,
    count: usize,
}

impl Pages {
    fn new(began: Instant) -> Self {
        Self { began, uids: HashSet::new(), count: 0 }
    }
}

fn malformed(message: &str) -> vk_provider::Error {
    vk_provider::Error::fault(Fault::Answer, format!("poll: {message}"))
}

impl Poller {
    async fn run(mut self) {
        let mut backoff = Backoff::capped(LONGEST_INTERVAL);
        let mut is_away = false;
        loop {
            let polled = self.poll().await;
            let was_away = std::mem::replace(&mut is_away, polled.as_ref().is_err_and(Error::is_outage));
            if was_away && polled.is_ok() {
                self.node.recovered();
            }
            // What was told before concerns nobody who waits from now on.
            self.recovered.mark_unchanged();
            match polled {
                Ok(Next::After(wait)) => {
                    backoff.reset();
                    self.pause(wait).await;
                }
                Ok(Next::Page) => {}
                Ok(Next::End) => return,
                // A nudge does not cut this short: what cannot be reached would be asked every second.
                Err(error) => {
                    let wait = backoff.after(&error);
                    tracing::warn!(kind = error.kind.as_str(), %error, retry_in = ?wait, "provider cannot be polled");
                    let over =
                        async { if error.is_outage() { self.recovered.changed().await } else { pending().await } };
                    // It makes no difference which of the two ended it.
                    let _ = time::timeout(wait, over).await;
                }
            }
        }
    }

    /// One call.
    async fn poll(&mut self) -> vk_provider::Result<Next> {
        if self.pages.is_none() && self.listed.is_none_or(|listed| listed.elapsed() >= RELIST) {
            self.cursor = None;
        }
        let began = Instant::now();
        let since = self.cursor.take();
        let lists = since.is_none() || self.pages.is_some();
        let outcome = self.provider.poll(since.clone()).await;
        self.node.called(&outcome);
        let changes = match outcome {
            Ok(changes) => changes,
            // The provider cannot read its own cursor any more, perhaps because it was replaced: start over. A listing
            // that cannot go on is started over too, but not at once, since the next may break off as well.
            Err(error) if since.is_some() && error.kind.is_final() => {
                tracing::debug!(%error, "poll cursor dropped");
                return if self.pages.take().is_some() { Err(error) } else { Ok(Next::Page) };
            }
            Err(error) => {
                self.cursor = since;
                return Err(error);
            }
        };
        let wait = changes.poll_after.unwrap_or(DEFAULT_INTERVAL).clamp(SHORTEST_INTERVAL, LONGEST_INTERVAL);
        let (next, listing) = match changes.extent {
            Extent::Changes if lists => {
                self.pages = None;
                return Err(malformed("changes were answered where a listing was asked for"));
            }
            Extent::Changes => (Next::After(wait), None),
            extent @ (Extent::Page | Extent::Last) => {
                let mut pages = self.pages.take().unwrap_or_else(|| Pages::new(began));
                pages.count += 1;
                pages.uids.extend(changes.observed.iter().map(|observation| observation.pod.uid.clone()));
                if extent == Extent::Last {
                    self.listed = Some(Instant::now());
                    (Next::After(wait), Some(Listing { began: pages.began, uids: pages.uids }))
                } else if changes.next.is_none() || pages.count >= MOST_PAGES {
                    return Err(malformed("a listing did not end"));
                } else {
                    self.pages = Some(pages);
                    (Next::Page, None)
                }
            }
        };
        self.cursor = changes.next;
        let batch = Batch { began, observed: changes.observed, removed: changes.removed, listing };
        Ok(if self.batches.send(batch).await.is_ok() { next } else { Next::End })
    }

    /// Waits, at most until a nudge has had its second.
    async fn pause(&mut self, wait: Duration) {
        let until = Instant::now() + wait;
        tokio::select! {
            () = time::sleep_until(until) => {}
            () = self.nudge.soon.notified() => {
                time::sleep_until(until.min(Instant::now() + AFTER_NUDGE)).await;
            }
            () = self.nudge.relist.notified() => {
                self.listed = None;
                time::sleep_until(until.min(Instant::now() + AFTER_NUDGE)).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::VecDeque, sync::Mutex};

    use async_trait::async_trait;
    use vk_provider::{Aspects, Changes, Deletion, Description, Error, ErrorKind, Info, Pod, Result};

    use super::*;

    /// Answers polls from a script, and notes with what cursor and when it was asked.
    #[derive(Default)]
    struct Scripted {
        answers: Mutex<VecDeque<Result<Changes>>>,
        asked: Mutex<Vec<(Option<Cursor>, Instant)>>,
    }

    #[async_trait]
    impl Provider for Scripted {
        fn info(&self) -> Info {
            Info::default()
        }
        async fn describe(&self) -> Result<Description> {
            unreachable!("not polled")
        }
        async fn create(&self, _: Pod) -> Result<Observation> {
            unreachable!("not polled")
        }
        async fn update(&self, _: Pod, _: Aspects) -> Result<Observation> {
            unreachable!("not polled")
        }
        async fn delete(&self, _: &PodId, _: Duration) -> Result<Deletion> {
            unreachable!("not polled")
        }
        async fn get(&self, _: &PodId) -> Result<Observation> {
            unreachable!("not polled")
        }
        async fn poll(&self, since: Option<Cursor>) -> Result<Changes> {
            let extent = if since.is_none() { Extent::Last } else { Extent::Changes };
            self.asked.lock().unwrap().push((since, Instant::now()));
            self.answers.lock().unwrap().pop_front().unwrap_or_else(|| Ok(answer(extent, &[], Some(b"idle"))))
        }
    }

    fn answer(extent: Extent, uids: &[&str], next: Option<&[u8]>) -> Changes {
        let observed = uids
            .iter()
            .map(|uid| Observation {
                pod: PodId { namespace: "ns".into(), name: (*uid).into(), uid: (*uid).into(), handle: None },
                status: None,
            })
            .collect();
        Changes { observed, removed: Vec::new(), extent, next: next.map(<[u8]>::to_vec), poll_after: None }
    }

    struct Polling {
        provider: Arc<Scripted>,
        nudge: Arc<Nudge>,
        batches: mpsc::Receiver<Batch>,
        _stop: tokio_util::sync::DropGuard,
    }

    impl Polling {
        fn start(answers: impl IntoIterator<Item = Result<Changes>>) -> Self {
            let provider = Arc::new(Scripted::default());
            provider.answers.lock().unwrap().extend(answers);
            let (sender, batches) = mpsc::channel(1);
            let (nudge, stop) = (Arc::new(Nudge::default()), CancellationToken::new());
            tokio::spawn(run(provider.clone(), NodeHandle::detached(), nudge.clone(), sender, stop.clone()));
            Self { provider, nudge, batches, _stop: stop.drop_guard() }
        }

        async fn listing(&mut self) -> Listing {
            loop {
                if let Some(listing) = self.batches.recv().await.expect("the poller runs on").listing {
                    return listing;
                }
            }
        }

        fn cursors(&self) -> Vec<Option<Cursor>> {
            self.provider.asked.lock().unwrap().iter().map(|(cursor, _)| cursor.clone()).collect()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_pages_of_a_listing_count_as_one_that_began_with_the_first() {
        let began = Instant::now();
        let mut polling = Polling::start([
            Ok(answer(Extent::Page, &["a", "b"], Some(b"2"))),
            Ok(answer(Extent::Page, &["c"], Some(b"3"))),
            Ok(answer(Extent::Last, &["d"], Some(b"after"))),
        ]);
        let listing = polling.listing().await;
        assert_eq!(listing.uids, ["a", "b", "c", "d"].map(String::from).into());
        assert_eq!(listing.began, began);
        assert_eq!(polling.cursors(), [None, Some(b"2".to_vec()), Some(b"3".to_vec())]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_cursor_that_the_provider_cannot_read_begins_a_listing_at_once() {
        let mut polling = Polling::start([
            Ok(answer(Extent::Last, &["a"], Some(b"old"))),
            Err(Error::new(ErrorKind::Invalid, "a cursor of another version")),
            Ok(answer(Extent::Last, &["a", "b"], Some(b"new"))),
        ]);
        assert_eq!(polling.listing().await.uids.len(), 1);
        assert_eq!(polling.listing().await.uids.len(), 2);
        assert_eq!(polling.cursors(), [None, Some(b"old".to_vec()), None]);
    }

    #[tokio::test(start_paused = true)]
    async fn an_outage_keeps_the_cursor_and_waits_longer_each_time() {
        let outage = || Err(Error::new(ErrorKind::Unavailable, "connection refused"));
        let mut polling = Polling::start([
            Ok(answer(Extent::Last, &["a"], Some(b"c"))),
            outage(),
            outage(),
            outage(),
            Ok(answer(Extent::Changes, &["b"], Some(b"d"))),
        ]);
        polling.listing().await;
        let batch = polling.batches.recv().await.unwrap();
        assert_eq!(batch.observed.len(), 1);
        assert!(polling.cursors()[1..].iter().all(|cursor| cursor.as_deref() == Some(b"c")));
        let asked = polling.provider.asked.lock().unwrap();
        let wait = |n: usize| asked[n + 1].1 - asked[n].1;
        assert!(wait(1) < wait(3), "{:?} then {:?}", wait(1), wait(3));
    }

    #[tokio::test(start_paused = true)]
    async fn changes_in_place_of_a_listing_do_not_count_as_one() {
        let mut polling = Polling::start([
            Ok(answer(Extent::Changes, &[], Some(b"x"))),
            Ok(answer(Extent::Last, &["a"], Some(b"y"))),
        ]);
        assert_eq!(polling.listing().await.uids.len(), 1);
        assert_eq!(polling.cursors(), [None, None]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_nudge_brings_the_next_poll_forward_to_a_second() {
        let mut polling = Polling::start([Ok(answer(Extent::Last, &[], Some(b"c")))]);
        polling.listing().await;
        let nudged = Instant::now();
        polling.nudge.soon();
        polling.batches.recv().await;
        assert_eq!(nudged.elapsed(), AFTER_NUDGE);
        polling.batches.recv().await;
        assert_eq!(nudged.elapsed(), AFTER_NUDGE + DEFAULT_INTERVAL);
    }

    #[tokio::test(start_paused = true)]
    async fn a_listing_is_made_again_from_time_to_time_and_on_request() {
        let mut polling = Polling::start([Ok(answer(Extent::Last, &[], Some(b"c")))]);
        polling.listing().await;
        let listed = Instant::now();
        polling.nudge.relist();
        polling.listing().await;
        assert_eq!(listed.elapsed(), AFTER_NUDGE);
        let listed = Instant::now();
        polling.listing().await;
        assert!(listed.elapsed() >= RELIST && listed.elapsed() <= RELIST + DEFAULT_INTERVAL, "{:?}", listed.elapsed());
    }
}
