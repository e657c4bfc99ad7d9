//! Answers that are kept for a while, each asked for once however many wait for it.

use std::{collections::HashMap, hash::Hash, panic::AssertUnwindSafe, sync::Mutex, time::Duration};

use futures::{
    FutureExt as _,
    future::{BoxFuture, Shared},
};
use tokio::time::Instant;

/// The answer, and until when it holds.
type Flight<V, E> = Shared<BoxFuture<'static, Result<(V, Instant), E>>>;

/// Keeps at most `capacity` answers. Failures are shared by those who wait for them, and not kept.
pub(crate) struct Cache<K, V, E> {
    capacity: usize,
    flights: Mutex<HashMap<K, Flight<V, E>>>,
}

impl<K, V, E> Cache<K, V, E>
where
    K: Hash + Eq + Clone + Send,
    V: Clone + Send + Sync + 'static,
    E: Clone + Send + Sync + 'static,
{
    pub(crate) fn new(capacity: usize) -> Self {
        Self { capacity, flights: Mutex::default() }
    }

    /// What is known of `key`, else what `ask` answers, along with how long that holds: never for no time. Once begun,
    /// asking goes on even if nobody waits for it any more.
    ///
    /// # Errors
    ///
    /// If `ask` fails, or `lost` where it ended abnormally.
    pub(crate) async fn get<F>(&self, key: &K, lost: E, ask: impl Fn() -> F) -> Result<V, E>
    where
        F: Future<Output = Result<(V, Duration), E>> + Send + 'static,
    {
        loop {
            let flight = self.flight(key, &lost, &ask);
            match flight.clone().await {
                Ok((value, until)) if Instant::now() < until => return Ok(value),
                // It came so long ago that it holds no more.
                Ok(_) => {}
                Err(error) => {
                    let mut flights = self.flights.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                    if flights.get(key).is_some_and(|kept| kept.ptr_eq(&flight)) {
                        flights.remove(key);
                    }
                    return Err(error);
                }
            }
        }
    }

    /// What is kept and usable, else a new one.
    fn flight<F>(&self, key: &K, lost: &E, ask: impl Fn() -> F) -> Flight<V, E>
    where
        F: Future<Output = Result<(V, Duration), E>> + Send + 'static,
    {
        let mut flights = self.flights.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(flight) = flights.get(key).filter(|flight| is_usable(flight)) {
            return flight.clone();
        }
        let (asking, lost) = (ask(), lost.clone());
        let asked = async move { asking.await.map(|(value, holds)| (value, Instant::now() + holds)) };
        let flight = AssertUnwindSafe(asked).catch_unwind().map(|ended| ended.unwrap_or(Err(lost))).boxed().shared();
        // It is over only once somebody has polled it to its end, and those who wait for it may all go away.
        drop(tokio::spawn(flight.clone()));
        make_room(&mut flights, self.capacity);
        flights.insert(key.clone(), flight.clone());
        flight
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.flights.lock().unwrap().len()
    }
}

/// Under way, or good for now.
fn is_usable<V: Clone, E: Clone>(flight: &Flight<V, E>) -> bool {
    match flight.peek() {
        None => true,
        Some(Ok((_, until))) => Instant::now() < *until,
        Some(Err(_)) => false,
    }
}

/// Forgets what holds no more, and if that is not enough, what would have held for the shortest time. What is under way
/// is forgotten last: as many are as there are connections.
fn make_room<K: Hash + Eq + Clone, V: Clone, E: Clone>(flights: &mut HashMap<K, Flight<V, E>>, capacity: usize) {
    if flights.len() < capacity {
        return;
    }
    flights.retain(|_, flight| is_usable(flight));
    while flights.len() >= capacity {
        let until =
            |flight: &Flight<V, E>| flight.peek().and_then(|answer| answer.as_ref().ok()).map(|(_, until)| *until);
        let shortest = flights.iter().min_by_key(|(_, flight)| (until(flight).is_none(), until(flight)));
        let Some(key) = shortest.map(|(key, _)| key.clone()) else { return };
        flights.remove(&key);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    use tokio::{sync::Notify, time};

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[derive(Debug, Clone, PartialEq, Eq)]
    struct Failed(&'static str);

    const LOST: Failed = Failed("lost");

    type Words = Cache<&'static str, usize, Failed>;

    /// Answers how often it was asked before.
    async fn count(cache: &Words, key: &'static str, asked: &Arc<AtomicUsize>) -> Result<usize, Failed> {
        let ask = || {
            let asked = asked.clone();
            async move { Ok((asked.fetch_add(1, Ordering::SeqCst), MINUTE)) }
        };
        cache.get(&key, LOST, ask).await
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_is_asked_for_again_when_its_time_is_over() {
        let (cache, asked) = (Words::new(8), Arc::default());
        for (wait, wanted) in [(0, 0), (59, 0), (1, 1), (1, 1)] {
            time::advance(Duration::from_secs(wait)).await;
            assert_eq!(count(&cache, "a", &asked).await, Ok(wanted));
        }
        assert_eq!(count(&cache, "b", &asked).await, Ok(2));
    }

    #[tokio::test]
    async fn many_who_ask_at_once_share_one_answer_even_if_the_first_goes_away() {
        let (cache, asked, go) = (Arc::new(Words::new(8)), Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
        let ask = || {
            let (cache, asked, go) = (cache.clone(), asked.clone(), go.clone());
            async move {
                let answer = || {
                    let (asked, go) = (asked.clone(), go.clone());
                    async move {
                        asked.fetch_add(1, Ordering::SeqCst);
                        go.notified().await;
                        Ok((7, MINUTE))
                    }
                };
                cache.get(&"a", LOST, answer).await
            }
        };
        let first = tokio::spawn(ask());
        while asked.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
        let others: Vec<_> = (0..10).map(|_| tokio::spawn(ask())).collect();
        first.abort();
        assert!(first.await.unwrap_err().is_cancelled());
        go.notify_one();
        for other in others {
            assert_eq!(other.await.unwrap(), Ok(7));
        }
        assert_eq!(asked.load(Ordering::SeqCst), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_nobody_waited_for_holds_no_longer_than_others() {
        let (cache, asked) = (Arc::new(Words::new(8)), Arc::new(AtomicUsize::new(0)));
        let ask = || {
            let (cache, asked) = (cache.clone(), asked.clone());
            async move {
                let answer = || {
                    let asked = asked.clone();
                    async move {
                        let number = asked.fetch_add(1, Ordering::SeqCst);
                        time::sleep(Duration::from_secs(1)).await;
                        Ok((number, MINUTE))
                    }
                };
                cache.get(&"a", LOST, answer).await
            }
        };
        let waiting = tokio::spawn(ask());
        while asked.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
        waiting.abort();
        assert!(waiting.await.unwrap_err().is_cancelled());
        time::sleep(Duration::from_secs(2)).await;
        assert_eq!(ask().await, Ok(0), "it came although nobody waited for it");
        time::sleep(MINUTE).await;
        assert_eq!(ask().await, Ok(1));
    }

    #[tokio::test(start_paused = true)]
    async fn who_looks_at_an_answer_only_when_its_time_is_over_asks_again() {
        let (cache, asked) = (Words::new(8), Arc::new(AtomicUsize::new(0)));
        let ask = || {
            let asked = asked.clone();
            async move {
                tokio::task::yield_now().await;
                Ok((asked.fetch_add(1, Ordering::SeqCst), MINUTE))
            }
        };
        let mut late = std::pin::pin!(cache.get(&"a", LOST, ask));
        assert!(futures::poll!(&mut late).is_pending());
        time::sleep(2 * MINUTE).await;
        assert_eq!(late.await, Ok(1));
    }

    #[tokio::test(start_paused = true)]
    async fn answers_that_nobody_waits_for_make_room() {
        let cache = Cache::<usize, (), Failed>::new(10);
        for key in 0..10 {
            let ask = || async {
                tokio::task::yield_now().await;
                Ok(((), MINUTE))
            };
            let mut asking = std::pin::pin!(cache.get(&key, LOST, ask));
            assert!(futures::poll!(&mut asking).is_pending());
        }
        time::sleep(2 * MINUTE).await;
        cache.get(&10, LOST, || async { Ok(((), MINUTE)) }).await.unwrap();
        assert_eq!(cache.len(), 1);
    }

    #[tokio::test]
    async fn failures_are_not_kept_and_a_panic_is_one() {
        let cache = Words::new(8);
        let failing = cache.get(&"a", LOST, || async { Err(Failed("down")) }).await;
        assert_eq!(failing, Err(Failed("down")));
        assert_eq!(cache.len(), 0);
        let panicking = cache.get(&"a", LOST, || async { panic!("on purpose") }).await;
        assert_eq!(panicking, Err(LOST));
        assert_eq!(count(&cache, "a", &Arc::default()).await, Ok(0));
    }

    #[tokio::test(start_paused = true)]
    async fn it_stays_small_and_keeps_what_holds_longest() {
        let (cache, asked) = (Cache::<usize, (), Failed>::new(100), AtomicUsize::new(0));
        let get = async |key: usize, seconds| {
            asked.fetch_add(1, Ordering::SeqCst);
            cache.get(&key, LOST, || async move { Ok(((), Duration::from_secs(seconds))) }).await.unwrap();
        };
        get(0, 120).await;
        for key in 1..1_000 {
            get(key, 10).await;
            assert!(cache.len() <= 100);
        }
        let kept = cache.get(&0, LOST, || async { Err(Failed("asked again")) }).await;
        assert_eq!(kept, Ok(()));
    }
}
