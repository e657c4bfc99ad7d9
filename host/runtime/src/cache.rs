//! The small store that all instances of a generation share.

use std::{
    collections::BTreeMap,
    ops::Bound,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// Entries by key, bounded in bytes and number; what was set first goes first.
#[derive(Debug)]
pub(crate) struct Cache {
    max_bytes: usize,
    max_entries: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    entries: BTreeMap<Arc<str>, Entry>,
    /// Keys in the order in which their values were set.
    order: BTreeMap<u64, Arc<str>>,
    next: u64,
    bytes: usize,
}

#[derive(Debug)]
struct Entry {
    value: Vec<u8>,
    expires: Instant,
    order: u64,
}

impl Cache {
    pub(crate) fn new(max_bytes: usize, max_entries: usize) -> Self {
        Self { max_bytes, max_entries, state: Mutex::default() }
    }

    pub(crate) fn get(&self, key: &str) -> Option<Vec<u8>> {
        self.lock().live(key).cloned()
    }

    /// A value that alone is larger than the cache is not kept, and neither is what it would have replaced.
    pub(crate) fn set(&self, key: String, value: Vec<u8>, lifetime: Duration) {
        self.lock().insert(key, value, lifetime, self.max_bytes, self.max_entries);
    }

    /// Sets only if the present value is `expected`.
    pub(crate) fn replace(&self, key: String, expected: Option<&[u8]>, value: Vec<u8>, lifetime: Duration) -> bool {
        let mut state = self.lock();
        if state.live(&key).map(Vec::as_slice) != expected {
            return false;
        }
        state.insert(key, value, lifetime, self.max_bytes, self.max_entries);
        true
    }

    pub(crate) fn remove(&self, key: &str) {
        self.lock().remove(key);
    }

    /// In order.
    pub(crate) fn keys(&self, prefix: &str) -> Vec<String> {
        let now = Instant::now();
        let state = self.lock();
        state
            .entries
            .range::<str, _>((Bound::Included(prefix), Bound::Unbounded))
            .take_while(|(key, _)| key.starts_with(prefix))
            .filter(|(_, entry)| entry.expires > now)
            .map(|(key, _)| key.to_string())
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No code that runs under the lock can leave it half changed in a way that later calls would mind.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn live(&mut self, key: &str) -> Option<&Vec<u8>> {
        if self.entries.get(key)?.expires <= Instant::now() {
            self.remove(key);
            return None;
        }
        self.entries.get(key).map(|entry| &entry.value)
    }

    fn remove(&mut self, key: &str) {
        if let Some((key, entry)) = self.entries.remove_entry(key) {
            self.order.remove(&entry.order);
            self.bytes -= key.len() + entry.value.len();
        }
    }

    fn insert(&mut self, key: String, value: Vec<u8>, lifetime: Duration, max_bytes: usize, max_entries: usize) {
        self.remove(&key);
        let size = key.len() + value.len();
        if size > max_bytes || max_entries == 0 {
            return;
        }
        while self.entries.len() >= max_entries || self.bytes + size > max_bytes {
            let Some((_, oldest)) = self.order.pop_first() else { break };
            self.remove(&oldest);
        }
        let key: Arc<str> = key.into();
        let order = self.next;
        self.next += 1;
        self.bytes += size;
        self.order.insert(order, key.clone());
        self.entries.insert(key, Entry { value, expires: Instant::now() + lifetime, order });
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn set(cache: &Cache, key: &str, value: &str) {
        cache.set(key.into(), value.into(), HOUR);
    }

    #[test]
    fn the_oldest_goes_when_the_number_of_entries_is_reached() {
        let cache = Cache::new(1000, 2);
        set(&cache, "a", "1");
        set(&cache, "b", "2");
        set(&cache, "a", "3");
        set(&cache, "c", "4");
        assert_eq!(cache.keys(""), ["a", "c"], "setting a value again makes it young");
    }

    #[test]
    fn the_oldest_go_until_a_value_fits() {
        let cache = Cache::new(10, 100);
        set(&cache, "a", "1234");
        set(&cache, "b", "1234");
        set(&cache, "c", "12345");
        assert_eq!(cache.keys(""), ["c"]);
        set(&cache, "d", "1234567890");
        assert_eq!(cache.get("d"), None, "larger than the whole cache");
        assert_eq!(cache.keys(""), ["c"], "and nothing was thrown out for it");
    }

    #[test]
    fn keys_lists_a_prefix_in_order() {
        let cache = Cache::new(1000, 100);
        for key in ["pod/b", "pod", "pod/a", "poe", "node/a"] {
            set(&cache, key, "");
        }
        assert_eq!(cache.keys("pod/"), ["pod/a", "pod/b"]);
    }

    #[test]
    fn replace_compares_first() {
        let cache = Cache::new(1000, 100);
        assert!(!cache.replace("a".into(), Some(b"1"), b"2".to_vec(), HOUR), "it is not there");
        assert!(cache.replace("a".into(), None, b"1".to_vec(), HOUR));
        assert!(!cache.replace("a".into(), None, b"2".to_vec(), HOUR), "it is there");
        assert!(cache.replace("a".into(), Some(b"1"), b"2".to_vec(), HOUR));
        assert_eq!(cache.get("a").as_deref(), Some(b"2".as_slice()));
    }

    #[tokio::test(start_paused = true)]
    async fn an_entry_ends_with_its_lifetime() {
        let cache = Cache::new(1000, 100);
        cache.set("a".into(), b"1".to_vec(), Duration::from_secs(10));
        tokio::time::advance(Duration::from_secs(9)).await;
        assert!(cache.get("a").is_some());
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(cache.keys(""), [""; 0]);
        assert!(cache.replace("a".into(), None, b"2".to_vec(), HOUR), "an expired value counts as none");
    }

    proptest! {
        #[test]
        fn the_bounds_hold_whatever_is_done(steps in prop::collection::vec((0u8..3, "[a-e]{1,3}", 0usize..40), 0..200)) {
            let cache = Cache::new(100, 5);
            for (step, key, size) in steps {
                match step {
                    0 => cache.set(key, vec![0; size], HOUR),
                    1 => { cache.replace(key, None, vec![0; size], HOUR); }
                    _ => cache.remove(&key),
                }
                let state = cache.lock();
                let sum: usize = state.entries.iter().map(|(key, entry)| key.len() + entry.value.len()).sum();
                prop_assert_eq!(sum, state.bytes);
                prop_assert!(sum <= 100 && state.entries.len() <= 5);
                prop_assert_eq!(state.order.len(), state.entries.len());
            }
        }
    }
}
