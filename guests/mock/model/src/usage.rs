//! What a container uses, as a function of the time since its start.

use serde::{Deserialize, Serialize};

use crate::order::{Problem, duration, wrong};

/// An amount over time: linear between its points, constant before the first and after the last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Curve {
    /// Milliseconds since the start, ascending, each with the amount then; never empty.
    points: Vec<(u64, u64)>,
}

impl Curve {
    pub(crate) fn constant(amount: u64) -> Self {
        Self { points: vec![(0, amount)] }
    }

    /// Reads an amount, or `TIME=AMOUNT,TIME=AMOUNT`.
    pub(crate) fn parse(name: &str, value: &str, amount: fn(&str) -> Option<u64>) -> Result<Self, Problem> {
        let wrong =
            || wrong(name, value, "an amount such as 100m or 64Mi, or ascending points such as 0s=100m,60s=900m");
        if !value.contains('=') {
            return amount(value).map(Self::constant).ok_or_else(wrong);
        }
        let point = |text: &str| {
            let (at, text) = text.trim().split_once('=').ok_or_else(wrong)?;
            Ok((duration(name, at).map_err(|_| wrong())?, amount(text).ok_or_else(wrong)?))
        };
        let points = value.split(',').map(point).collect::<Result<Vec<_>, _>>()?;
        let ascending = points.is_sorted_by(|(before, _), (after, _)| before < after);
        if ascending { Ok(Self { points }) } else { Err(wrong()) }
    }

    /// The amount at a time.
    pub fn amount(&self, at: u64) -> u64 {
        let after = self.points.partition_point(|(time, _)| *time <= at);
        match (after.checked_sub(1).and_then(|before| self.points.get(before)), self.points.get(after)) {
            (Some(before), Some(next)) => between(*before, *next, at),
            (Some((_, amount)), None) | (None, Some((_, amount))) => *amount,
            (None, None) => 0,
        }
    }

    /// The amounts until a time added up: amount times seconds. Never falls as time goes on.
    pub fn total(&self, until: u64) -> u64 {
        let turns = self.points.iter().map(|(time, _)| *time).filter(|time| *time < until);
        let mut sum = 0_u128;
        let mut from = 0;
        for to in turns.chain([until]) {
            // Twice the area of a trapezium, in amount times milliseconds.
            sum += u128::from(to - from) * (u128::from(self.amount(from)) + u128::from(self.amount(to)));
            from = to;
        }
        u64::try_from(sum / 2000).unwrap_or(u64::MAX)
    }
}

fn between(before: (u64, u64), after: (u64, u64), at: u64) -> u64 {
    let (passed, span) = (u128::from(at - before.0), u128::from(after.0 - before.0));
    let mixed = (u128::from(before.1) * (span - passed) + u128::from(after.1) * passed) / span.max(1);
    u64::try_from(mixed).unwrap_or(u64::MAX)
}

/// Reads an amount of CPU, as billionths of a core.
pub(crate) fn nano_cores(quantity: &str) -> Option<u64> {
    scaled(quantity, 1e9)
}

/// Reads an amount of memory.
pub(crate) fn bytes(quantity: &str) -> Option<u64> {
    scaled(quantity, 1.0)
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to be a whole number in range")]
fn scaled(quantity: &str, unit: f64) -> Option<u64> {
    const SUFFIXES: [(&str, f64); 10] = [
        ("Ki", 1024.0),
        ("Mi", 1_048_576.0),
        ("Gi", 1_073_741_824.0),
        ("n", 1e-9),
        ("u", 1e-6),
        ("m", 1e-3),
        ("k", 1e3),
        ("M", 1e6),
        ("G", 1e9),
        ("", 1.0),
    ];
    let (number, factor) =
        SUFFIXES.iter().find_map(|(suffix, factor)| Some((quantity.strip_suffix(suffix)?, factor)))?;
    // Only what Kubernetes takes for a number too: no sign, no exponent, no "inf".
    let plain = number.starts_with(|first: char| first.is_ascii_digit())
        && number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let amount = number.parse::<f64>().ok().filter(|_| plain)? * factor * unit;
    // A million cores, a petabyte: sums over years stay in range.
    (amount <= 1e15).then(|| amount.round() as u64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cpu(value: &str) -> Result<Curve, Problem> {
        Curve::parse("cpu", value, nano_cores)
    }

    #[test]
    fn quantities_are_those_of_kubernetes() {
        assert_eq!(nano_cores("250m"), Some(250_000_000));
        assert_eq!(nano_cores("1.5"), Some(1_500_000_000));
        assert_eq!(bytes("64Mi"), Some(64 << 20));
        assert_eq!(bytes("1k"), Some(1000));
        for nonsense in ["", "m", "-1", "1e9", "inf", "1Zi", "1 Mi", ".5", "1.2.3", "99999999999G"] {
            assert_eq!(bytes(nonsense), None, "{nonsense}");
        }
    }

    #[test]
    fn a_curve_is_linear_between_its_points_and_constant_beyond() {
        let curve = cpu("10s=100m, 60s=900m").unwrap();
        let millis = [0, 10_000, 35_000, 60_000, 99_000].map(|at| curve.amount(at) / 1_000_000);
        assert_eq!(millis, [100, 100, 500, 900, 900]);
        // 10 s at 0.1, 50 s at 0.5 on average, 40 s at 0.9.
        assert_eq!(curve.total(100_000), 62_000_000_000);
        assert_eq!(curve.total(0), 0);
    }

    #[test]
    fn a_curve_that_makes_no_sense_is_refused() {
        for value in ["", "fast", "0s=1,0s=2", "60s=1,0s=2", "0s=1,", "soon=1", "0s=x"] {
            let problem = cpu(value).unwrap_err().to_string();
            assert!(
                problem.starts_with(&format!("annotation mock.vk-host.dev/cpu is {value:?}, not an amount")),
                "{problem}"
            );
        }
    }

    proptest! {
        #[test]
        fn what_was_used_never_falls(
            points in prop::collection::btree_map(0_u64..100_000, 0_u64..2_000_000_000, 1..6),
            times in prop::collection::btree_set(0_u64..200_000, 2..20),
        ) {
            let curve = Curve { points: points.into_iter().collect() };
            let totals: Vec<_> = times.into_iter().map(|time| curve.total(time)).collect();
            prop_assert!(totals.is_sorted(), "{totals:?}");
        }
    }
}
