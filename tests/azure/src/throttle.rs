//! How often requests may come: Azure's counters, if they are on.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use jiff::Timestamp;

use crate::{
    clock::{after, left},
    error::ArmError,
    options::{Bucket, Quotas},
    route::{Class, Route},
};

const FIVE_MINUTES: Duration = Duration::from_secs(5 * 60);
const HOUR: Duration = Duration::from_secs(60 * 60);

/// The counters of the one subscription and principal.
#[derive(Debug)]
pub(crate) struct Throttle {
    quotas: Option<Quotas>,
    creates: Window,
    deletes: Window,
    tokens: BTreeMap<Kind, Level>,
}

/// Whose bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Reads,
    Writes,
    Deletes,
}

impl Kind {
    /// Of what the resource manager does not know, it counts all as reads.
    fn of(route: Route) -> Self {
        match route.class() {
            Some(Class::Write | Class::Create) => Self::Writes,
            Some(Class::Delete) => Self::Deletes,
            Some(Class::Read | Class::Token) | None => Self::Reads,
        }
    }

    fn header(self) -> HeaderName {
        HeaderName::from_static(match self {
            Self::Reads => "x-ms-ratelimit-remaining-subscription-reads",
            Self::Writes => "x-ms-ratelimit-remaining-subscription-writes",
            Self::Deletes => "x-ms-ratelimit-remaining-subscription-deletes",
        })
    }

    fn bucket(self, quotas: &Quotas) -> Bucket {
        match self {
            Self::Reads => quotas.reads,
            Self::Writes => quotas.writes,
            Self::Deletes => quotas.deletes,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Reads => "read",
            Self::Writes => "write",
            Self::Deletes => "delete",
        }
    }

    /// What the header says of a subscription that is far from its limits.
    fn plenty(self) -> u32 {
        match self {
            Self::Reads => 11_999,
            Self::Writes => 1_199,
            Self::Deletes => 14_999,
        }
    }
}

/// Tokens in a bucket.
#[derive(Debug, Clone, Copy)]
struct Level {
    tokens: f64,
    at: Timestamp,
}

/// When requests of the last hour came.
#[derive(Debug, Default)]
struct Window {
    times: VecDeque<Timestamp>,
}

impl Window {
    fn forget(&mut self, now: Timestamp) {
        while self.times.front().is_some_and(|time| after(*time, HOUR) <= now) {
            self.times.pop_front();
        }
    }

    /// How many came within a span that ends now, and when the first of them leaves it.
    fn within(&self, span: Duration, now: Timestamp) -> (u32, Option<Timestamp>) {
        let mut recent = self.times.iter().filter(|time| after(**time, span) > now);
        let first = recent.next();
        let count = first.map_or(0, |_| 1 + recent.count());
        (u32::try_from(count).unwrap_or(u32::MAX), first.map(|first| after(*first, span)))
    }
}

impl Throttle {
    pub(crate) fn new(quotas: Option<Quotas>) -> Self {
        Self { quotas, creates: Window::default(), deletes: Window::default(), tokens: BTreeMap::new() }
    }

    pub(crate) fn set(&mut self, quotas: Option<Quotas>) {
        *self = Self::new(quotas);
    }

    /// Counts a request, or refuses it.
    pub(crate) fn admit(&mut self, route: Route, now: Timestamp) -> Result<(), ArmError> {
        let Some(quotas) = self.quotas else { return Ok(()) };
        let kind = Kind::of(route);
        let bucket = kind.bucket(&quotas);
        let level = self.tokens.entry(kind).or_insert(Level { tokens: f64::from(bucket.size), at: now });
        let refilled = level.tokens + left(level.at, now).as_secs_f64() * bucket.per_second;
        *level = Level { tokens: refilled.min(f64::from(bucket.size)), at: now };
        if level.tokens < 1.0 {
            let wait = Duration::from_secs_f64((1.0 - level.tokens) / bucket.per_second.max(f64::EPSILON));
            return Err(throttled("SubscriptionRequestsThrottled", kind.name(), bucket.size, wait));
        }
        let windows = match route {
            Route::Put => Some(&mut self.creates),
            Route::Delete => Some(&mut self.deletes),
            _ => None,
        };
        if let Some(window) = windows {
            window.forget(now);
            for (span, most) in [(FIVE_MINUTES, quotas.five_minutes), (HOUR, quotas.hour)] {
                let (count, until) = window.within(span, now);
                if count >= most {
                    let wait = until.map_or(span, |until| left(now, until));
                    return Err(throttled("ResourceRequestsThrottled", kind.name(), most, wait));
                }
            }
            window.times.push_back(now);
        }
        level.tokens -= 1.0;
        Ok(())
    }

    /// Says on an answer what is left.
    pub(crate) fn describe(&self, route: Route, now: Timestamp, headers: &mut HeaderMap) {
        let kind = Kind::of(route);
        let Some(quotas) = self.quotas else {
            headers.insert(kind.header(), kind.plenty().into());
            return;
        };
        let full = f64::from(kind.bucket(&quotas).size);
        let level = self.tokens.get(&kind).map_or(full, |level| level.tokens);
        headers.insert(kind.header(), number(level));
        let window = match route {
            Route::Put => &self.creates,
            Route::Delete => &self.deletes,
            _ => return,
        };
        let remaining = |span, most: u32| most.saturating_sub(window.within(span, now).0);
        let name = |span| HeaderName::from_static(span);
        headers.insert(
            name("x-ms-ratelimit-remaining-subscription-resource-requests-pt5m"),
            remaining(FIVE_MINUTES, quotas.five_minutes).into(),
        );
        headers.insert(
            name("x-ms-ratelimit-remaining-subscription-resource-requests-pt1h"),
            remaining(HOUR, quotas.hour).into(),
        );
    }
}

fn number(level: f64) -> HeaderValue {
    format!("{:.0}", level.max(0.0).floor()).try_into().unwrap_or(HeaderValue::from_static("0"))
}

fn throttled(code: &'static str, action: &str, limit: u32, wait: Duration) -> ArmError {
    let seconds = wait.as_secs_f64().ceil().max(1.0);
    let message = format!(
        "Number of '{action}' requests exceeded the limit of '{limit}'. Please try again after '{seconds:.0}' seconds."
    );
    let retry_after = Some(Duration::from_secs_f64(seconds).as_secs());
    ArmError { retry_after, ..ArmError::new(StatusCode::TOO_MANY_REQUESTS, code, message) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn creates_are_counted_over_five_minutes_and_an_hour() {
        let mut throttle = Throttle::new(Some(Quotas { five_minutes: 2, hour: 3, ..Quotas::default() }));
        assert!(throttle.admit(Route::Put, at(0)).is_ok());
        assert!(throttle.admit(Route::Put, at(10)).is_ok());
        let mut headers = HeaderMap::new();
        throttle.describe(Route::Put, at(10), &mut headers);
        assert_eq!(headers["x-ms-ratelimit-remaining-subscription-resource-requests-pt5m"], "0");
        assert_eq!(headers["x-ms-ratelimit-remaining-subscription-resource-requests-pt1h"], "1");
        let refused = throttle.admit(Route::Put, at(20)).unwrap_err();
        assert_eq!((refused.status.as_u16(), refused.retry_after), (429, Some(280)));
        assert!(throttle.admit(Route::Delete, at(20)).is_ok());
        assert!(throttle.admit(Route::Put, at(300)).is_ok());
        assert_eq!(throttle.admit(Route::Put, at(900)).unwrap_err().retry_after, Some(2700));
        assert!(throttle.admit(Route::Put, at(3600)).is_ok());
    }

    #[test]
    fn buckets_refill_with_time() {
        let reads = Bucket { size: 2, per_second: 0.5 };
        let mut throttle = Throttle::new(Some(Quotas { reads, ..Quotas::default() }));
        assert!(throttle.admit(Route::Get, at(0)).is_ok());
        assert!(throttle.admit(Route::List, at(0)).is_ok());
        assert_eq!(throttle.admit(Route::Get, at(0)).unwrap_err().retry_after, Some(2));
        assert!(throttle.admit(Route::Get, at(2)).is_ok());
        assert!(throttle.admit(Route::Get, at(2)).is_err());
    }

    #[test]
    fn without_quotas_nothing_is_refused() {
        let mut throttle = Throttle::new(None);
        assert!((0..1000).all(|_| throttle.admit(Route::Put, at(0)).is_ok()));
    }
}
