//! Pods that vanish together.
//!
//! When a large part of the pods is suddenly not in the provider any more, it is more likely that the view is broken
//! than that the pods are gone: another account, a region that does not answer, a backend that was restored. Then
//! nothing is failed or created for a while, unless the pods are back before.

use std::{collections::HashSet, time::Duration};

use tokio::time::{self, Instant};

/// How long is waited for the pods to come back.
pub(super) const PATIENCE: Duration = Duration::from_secs(300);
/// How long at the most, as more of them vanish one after the other.
const LONGEST_PATIENCE: Duration = Duration::from_secs(900);
/// How often is looked whether they are back: a provider that tells only what changes would not say.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// Of fewer pods, half may well be lost.
const FEWEST: usize = 10;

/// Judges who has vanished.
#[derive(Debug, Default)]
pub(super) struct Vanishing {
    wait: Option<Wait>,
    missing: HashSet<String>,
    /// Those that were waited for in vain: they are not counted any more, as long as they do not come back.
    given_up: HashSet<String>,
}

/// The time that the pods have to come back.
#[derive(Debug, Clone, Copy)]
struct Wait {
    began: Instant,
    until: Instant,
    look_at: Instant,
}

/// What is to be done about the pods that are missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    /// To list what the provider has.
    Look,
    /// To believe that they are gone.
    GiveUp,
}

/// How many pods are missing, of those that the provider should have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Vanished {
    pub(super) missing: usize,
    pub(super) of: usize,
}

impl Vanishing {
    /// Whether pods are waited for.
    pub(super) fn is_waiting(&self) -> bool {
        self.wait.is_some()
    }

    /// Comes back when something is due; never while no pods are waited for.
    pub(super) async fn due(&mut self) -> Due {
        let Some(wait) = &mut self.wait else { return std::future::pending().await };
        time::sleep_until(wait.until.min(wait.look_at)).await;
        if wait.until <= Instant::now() {
            return Due::GiveUp;
        }
        wait.look_at = Instant::now() + LOOK_EVERY;
        Due::Look
    }

    /// Takes in all pods that the provider should have, and which of them are missing. Answers with those that have
    /// vanished if their time to come back begins now.
    pub(super) fn judge<'a>(&mut self, held: impl Iterator<Item = (&'a str, bool)>, now: Instant) -> Option<Vanished> {
        let (mut missing, mut given_up, mut of) = (HashSet::new(), HashSet::new(), 0);
        for (uid, is_missing) in held {
            if is_missing && self.given_up.contains(uid) {
                given_up.insert(uid.to_owned());
                continue;
            }
            of += 1;
            if is_missing {
                missing.insert(uid.to_owned());
            }
        }
        let more = !missing.is_subset(&self.missing);
        (self.missing, self.given_up) = (missing, given_up);
        let missing = self.missing.len();
        if let Some(wait) = &mut self.wait {
            if missing == 0 {
                self.wait = None;
            } else if more {
                wait.until = (now + PATIENCE).min(wait.began + LONGEST_PATIENCE);
            }
            return None;
        }
        let vanished = of >= FEWEST && 2 * missing >= of;
        vanished.then(|| {
            self.wait = Some(Wait { began: now, until: now + PATIENCE, look_at: now + LOOK_EVERY });
            Vanished { missing, of }
        })
    }

    /// Patience is at its end: what is missing is gone.
    pub(super) fn give_up(&mut self) {
        self.wait = None;
        self.given_up.extend(self.missing.drain());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uids(count: usize) -> Vec<String> {
        (0..count).map(|number| number.to_string()).collect()
    }

    /// The first of them are missing.
    fn judge(vanishing: &mut Vanishing, missing: usize, of: usize) -> Option<(usize, usize)> {
        let uids = uids(of);
        let held = uids.iter().enumerate().map(|(number, uid)| (uid.as_str(), number < missing));
        vanishing.judge(held, Instant::now()).map(|vanished| (vanished.missing, vanished.of))
    }

    #[tokio::test(start_paused = true)]
    async fn half_of_ten_pods_or_more_are_too_many() {
        for (missing, of, vanished) in
            [(5, 10, true), (4, 10, false), (9, 9, false), (10, 20, true), (9, 20, false), (0, 0, false)]
        {
            let outcome = judge(&mut Vanishing::default(), missing, of);
            assert_eq!(outcome, vanished.then_some((missing, of)), "{missing} of {of}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_over_when_all_are_back_and_can_happen_again() {
        let mut vanishing = Vanishing::default();
        assert!(judge(&mut vanishing, 12, 20).is_some());
        assert!(judge(&mut vanishing, 1, 20).is_none());
        assert!(vanishing.is_waiting(), "one is still missing");
        assert!(judge(&mut vanishing, 0, 20).is_none());
        assert!(!vanishing.is_waiting());
        assert!(judge(&mut vanishing, 12, 20).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn they_are_looked_for_until_patience_ends() {
        let mut vanishing = Vanishing::default();
        assert!(time::timeout(PATIENCE, vanishing.due()).await.is_err(), "nothing is due");
        judge(&mut vanishing, 12, 20);
        let began = Instant::now();
        let mut looks = 0;
        while vanishing.due().await == Due::Look {
            looks += 1;
        }
        assert_eq!((looks, began.elapsed()), (29, PATIENCE));
    }

    #[tokio::test(start_paused = true)]
    async fn those_that_vanish_later_have_their_time_too_within_bounds() {
        let mut vanishing = Vanishing::default();
        judge(&mut vanishing, 20, 40);
        let began = Instant::now();
        for (more, until) in [(30, 540), (32, 780), (34, 900), (36, 900)] {
            time::advance(Duration::from_secs(240)).await;
            if began.elapsed() < LONGEST_PATIENCE {
                judge(&mut vanishing, more, 40);
            }
            assert_eq!(vanishing.wait.map(|wait| wait.until - began), Some(Duration::from_secs(until)));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn those_given_up_do_not_count_again_unless_they_came_back() {
        let mut vanishing = Vanishing::default();
        assert!(judge(&mut vanishing, 12, 30).is_none() && judge(&mut vanishing, 15, 30).is_some());
        vanishing.give_up();
        assert!(judge(&mut vanishing, 15, 30).is_none(), "their tasks have not got to it yet");
        assert!(judge(&mut vanishing, 23, 30).is_some(), "8 more of the 15 that were left");
        let mut vanishing = Vanishing::default();
        assert!(judge(&mut vanishing, 15, 30).is_some());
        vanishing.give_up();
        assert!(judge(&mut vanishing, 0, 30).is_none());
        assert!(judge(&mut vanishing, 15, 30).is_some());
    }
}
