//! Which groups one poll reads.

use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use vk_sdk::cache;

use super::MOST_READS;
use crate::{
    clock,
    memory::{Kept, LATEST},
    status::Motion,
};

/// In this time each group that runs is read once: what ended is then seen within 30 s.
const ROTATION: Duration = Duration::from_secs(24);
/// Of more groups than this, each has its turn later: reads stay well under the 25 a second that the service grants.
const MOST_IN_ROTATION: u32 = 360;
/// So many a second are read at least, where there are fewer groups.
const FEWEST_PER_SECOND: f64 = 1.0;
/// With more groups that start, one listing costs less than reading them.
const MANY: usize = 8;
const SURVEY_EVERY: Duration = Duration::from_secs(2);
/// Then they wait for so much longer, unless the listing says that they have got further.
const PATIENCE: Duration = Duration::from_secs(8);
/// A host that was asleep does not catch up.
const LONGEST_GAP: Duration = Duration::from_secs(3);

const KEY: &str = "round";

/// What one poll hands on to the next. Times are in milliseconds since 1970.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(super) struct Round {
    at: u64,
    /// Reads of running groups that are due, as a fraction too.
    credit: f64,
    surveyed: u64,
    #[serde(skip)]
    gap: Duration,
}

impl Round {
    pub(super) fn begin(now: SystemTime) -> Self {
        let last: Self = cache::get_json(KEY).unwrap_or_default();
        let now = clock::milliseconds(now);
        Self { at: now, gap: Duration::from_millis(now.saturating_sub(last.at)).min(LONGEST_GAP), ..last }
    }

    pub(super) fn end(self) {
        // Where it is lost, the next one begins anew.
        let _ = cache::set_json(KEY, &self, cache::LONGEST);
    }

    /// Whether so many groups start that a listing should say which have got further, and none did lately.
    pub(super) fn is_survey_due(&mut self, groups: &[Kept]) -> bool {
        let due = start_together(groups) && self.at.saturating_sub(self.surveyed) >= milliseconds(SURVEY_EVERY);
        if due {
            self.surveyed = self.at;
        }
        due
    }

    /// Those to read, the most urgent first.
    pub(super) fn choose(&mut self, mut groups: Vec<Kept>) -> Vec<Kept> {
        let together = start_together(&groups);
        let running = groups.iter().filter(|kept| kept.memory.motion == Motion::Running).count();
        self.earn(u32::try_from(running).unwrap_or(u32::MAX));
        groups.retain(|Kept { memory, .. }| match memory.is_urgent() || !(together && memory.is_provisioning()) {
            true => memory.due <= self.at,
            false => memory.due.saturating_add(milliseconds(PATIENCE)) <= self.at,
        });
        groups.sort_by_key(|kept| kept.memory.due);
        let (running, mut chosen): (Vec<Kept>, Vec<Kept>) =
            groups.into_iter().partition(|kept| kept.memory.motion == Motion::Running);
        chosen.truncate(MOST_READS);
        for kept in running {
            if self.credit < 1.0 {
                break;
            }
            self.credit -= 1.0;
            chosen.push(kept);
        }
        chosen
    }

    /// Adds the reads of running groups that have come due since the last round.
    fn earn(&mut self, running: u32) {
        let soonest = (f64::from(running) / LATEST.as_secs_f64()).min(FEWEST_PER_SECOND);
        let per_second = soonest.max(f64::from(running.min(MOST_IN_ROTATION)) / ROTATION.as_secs_f64());
        let most = per_second * LONGEST_GAP.as_secs_f64() + 1.0;
        self.credit = (self.credit + per_second * self.gap.as_secs_f64()).min(most);
    }
}

fn start_together(groups: &[Kept]) -> bool {
    groups.iter().filter(|kept| kept.memory.is_provisioning()).count() > MANY
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
