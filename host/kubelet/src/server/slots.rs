//! Bounds on how much one peer or user has of something at once.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex, PoisonError},
};

/// Places, so many for all together and so many for each key. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Slots<K: Hash + Eq>(Arc<Inner<K>>);

#[derive(Debug)]
struct Inner<K> {
    each: usize,
    all: usize,
    taken: Mutex<Taken<K>>,
}

#[derive(Debug)]
struct Taken<K> {
    all: usize,
    by_key: HashMap<K, usize>,
}

impl<K: Hash + Eq + Clone> Slots<K> {
    pub(crate) fn new(each: usize, all: usize) -> Self {
        Self(Arc::new(Inner { each, all, taken: Mutex::new(Taken { all: 0, by_key: HashMap::new() }) }))
    }

    /// A place, until it is dropped; `None`: all are taken.
    pub(crate) fn take(&self, key: &K) -> Option<Slot<K>> {
        let mut taken = self.0.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let of_key = taken.by_key.get(key).copied().unwrap_or(0);
        if of_key >= self.0.each || taken.all >= self.0.all {
            return None;
        }
        taken.all += 1;
        taken.by_key.insert(key.clone(), of_key + 1);
        Some(Slot { slots: self.clone(), key: key.clone() })
    }
}

/// A place that is taken.
#[derive(Debug)]
pub(crate) struct Slot<K: Hash + Eq> {
    slots: Slots<K>,
    key: K,
}

impl<K: Hash + Eq> Drop for Slot<K> {
    fn drop(&mut self) {
        let mut taken = self.slots.0.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.all -= 1;
        if let Some(of_key) = taken.by_key.get_mut(&self.key) {
            *of_key -= 1;
            if *of_key == 0 {
                taken.by_key.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_and_all_are_bounded_and_nothing_is_left_behind() {
        let slots = Slots::new(2, 3);
        let first = slots.take(&"a").unwrap();
        let second = slots.take(&"a").unwrap();
        assert!(slots.take(&"a").is_none());
        let other = slots.take(&"b").unwrap();
        assert!(slots.take(&"c").is_none());
        drop(first);
        assert!(slots.take(&"c").is_some());
        let third = slots.take(&"a").unwrap();
        drop((second, third, other));
        assert!(slots.0.taken.lock().unwrap().by_key.is_empty());
    }
}
