//! Sizes and durations as people write them.

use std::{fmt, time::Duration};

use serde::{
    Deserialize, Deserializer,
    de::{Error, Visitor},
};

/// A number of bytes, more than zero: `"256MiB"`, or a plain number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Size(pub(crate) u64);

const UNITS: [(&str, u32); 4] = [("KiB", 10), ("MiB", 20), ("GiB", 30), ("B", 0)];

impl std::str::FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let malformed = || format!("`{text}` is not a size: write a number of bytes, or one with KiB, MiB or GiB");
        let (number, shift) = UNITS
            .iter()
            .find_map(|(unit, shift)| Some((text.strip_suffix(unit)?.trim_end(), *shift)))
            .unwrap_or((text, 0));
        if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(malformed());
        }
        let bytes = number.parse::<u64>().ok().and_then(|number| number.checked_mul(1 << shift));
        match bytes {
            Some(0) => Err(format!("`{text}` is not a limit: it must be more than 0")),
            // TOML has no larger integers, and no machine has more memory.
            Some(bytes) if i64::try_from(bytes).is_ok() => Ok(Self(bytes)),
            _ => Err(format!("`{text}` is too large")),
        }
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Written;
        impl Visitor<'_> for Written {
            type Value = Size;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a size such as \"256MiB\"")
            }
            fn visit_i64<E: Error>(self, value: i64) -> Result<Size, E> {
                value.to_string().parse().map_err(E::custom)
            }
            fn visit_u64<E: Error>(self, value: u64) -> Result<Size, E> {
                value.to_string().parse().map_err(E::custom)
            }
            fn visit_str<E: Error>(self, value: &str) -> Result<Size, E> {
                value.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Written)
    }
}

/// A duration: `"5s"`, `"1m30s"`, `"500ms"`.
///
/// # Errors
///
/// If it has no unit, is negative, or is not a duration at all; the message says what to write.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let parsed = text.parse::<jiff::SignedDuration>().ok().and_then(|signed| Duration::try_from(signed).ok());
    parsed.ok_or_else(|| format!("`{text}` is not a duration: write a number with its unit, as in 500ms, 30s or 1m30s"))
}

/// A duration in a file, more than zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Span(pub(crate) Duration);

impl TryFrom<String> for Span {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match duration(&text)? {
            Duration::ZERO => Err(format!("`{text}` is not a limit: it must be more than 0")),
            duration => Ok(Self(duration)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_with_binary_units_and_as_plain_bytes() {
        for (text, bytes) in [
            ("1", 1),
            ("17B", 17),
            ("64KiB", 64 << 10),
            ("256MiB", 256 << 20),
            ("256 MiB", 256 << 20),
            ("1GiB", 1 << 30),
            ("9223372036854775807", i64::MAX as u64),
        ] {
            assert_eq!(text.parse(), Ok(Size(bytes)), "{text}");
        }
    }

    #[test]
    fn what_is_no_size_is_refused_with_a_remedy() {
        for text in ["", "MiB", "256MB", "256Mi", "-1", "+1", "1.5GiB", "0x10", "1 000", "256mib", "many", "٣"] {
            let refusal = text.parse::<Size>().unwrap_err();
            assert!(refusal.contains("KiB, MiB or GiB"), "{text}: {refusal}");
        }
        for text in ["0", "0GiB"] {
            assert!(text.parse::<Size>().unwrap_err().contains("more than 0"), "{text}");
        }
        for text in ["9223372036854775808", "17179869184GiB", "99999999999999999999999"] {
            assert!(text.parse::<Size>().unwrap_err().contains("too large"), "{text}");
        }
    }

    #[test]
    fn durations_are_read_as_go_writes_them() {
        for (text, milliseconds) in
            [("500ms", 500), ("5s", 5_000), ("1m30s", 90_000), ("5m0s", 300_000), ("1h", 3_600_000), ("0s", 0)]
        {
            assert_eq!(duration(text), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
    }

    #[test]
    fn what_is_no_duration_is_refused_with_a_remedy() {
        for text in ["", "5", "-5s", "s", "5 parsecs", "five", "999999999999999999999h"] {
            assert!(duration(text).unwrap_err().contains("with its unit"), "{text}");
        }
        assert!(Span::try_from("0s".to_owned()).unwrap_err().contains("more than 0"));
    }
}
