//! Times as the service writes them: RFC 3339 with none to seven digits of a fraction, in UTC as a rule.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Reads a time; `None` for what is none, such as the year 1 that stands for no time at all.
pub(crate) fn parse(text: &str) -> Option<SystemTime> {
    let text = text.trim();
    let Some(at) =
        text.find(['T', 't', ' ']).and_then(|start| text.get(start..)?.find(['+', '-']).map(|at| start + at))
    else {
        return humantime::parse_rfc3339_weak(text).ok();
    };
    let (local, offset) = text.split_at_checked(at)?;
    let local = humantime::parse_rfc3339_weak(local).ok()?;
    let (hours, minutes) = offset.get(1..)?.split_once(':')?;
    let offset_of =
        Duration::from_secs(hours.parse::<u64>().ok()?.min(24) * 3600 + minutes.parse::<u64>().ok()?.min(59) * 60);
    match offset.starts_with('+') {
        true => local.checked_sub(offset_of).filter(|time| *time >= UNIX_EPOCH),
        false => local.checked_add(offset_of),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::milliseconds;

    #[test]
    fn a_fraction_has_any_number_of_digits() {
        for (text, expected) in [
            ("2023-05-01T16:57:05Z", 1_682_960_225_000),
            ("2023-05-01T16:57:05.7Z", 1_682_960_225_700),
            ("2023-05-01T16:57:05.78Z", 1_682_960_225_780),
            ("2021-10-14T20:39:16.9106258Z", 1_634_243_956_910),
            ("2023-05-01T18:57:05.7+02:00", 1_682_960_225_700),
            ("2023-05-01T13:27:05.7-03:30", 1_682_960_225_700),
            ("2023-05-01T16:57:05+00:00", 1_682_960_225_000),
        ] {
            assert_eq!(parse(text).map(milliseconds), Some(expected), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_a_time_or_none(text in ".{0,40}|[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9:.]{5,12}[-+Zz][0-9:é]{0,7}") {
            if let Some(time) = parse(&text) {
                proptest::prop_assert!(time >= UNIX_EPOCH);
            }
        }
    }

    #[test]
    fn what_is_no_time_is_none() {
        for text in ["", "not a time", "0001-01-01T00:00:00Z", "2023-05-01", "2023-05-01T16:57:05+0", "T+é"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
