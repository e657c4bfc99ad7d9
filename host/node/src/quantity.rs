//! Kubernetes quantities (`100m`, `1.5Gi`, `2e3`), exact.
//!
//! Kept in billionths of a unit, the finest that Kubernetes distinguishes; what is finer is rounded away from zero, as
//! Kubernetes does.

use std::{cmp::Ordering, fmt, ops::Add, str::FromStr};

use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Text;

const NANOS_PER_UNIT: i128 = 1_000_000_000;
const NANOS_PER_MILLI: i128 = 1_000_000;

/// How a quantity was written, and is written again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// `m`, `k`, `M`, powers of 1000.
    DecimalSi,
    /// `Ki`, `Mi`, powers of 1024.
    BinarySi,
    /// `e3`.
    DecimalExponent,
}

/// An amount of a resource. Equal amounts are equal, however they are written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Quantity {
    nanos: i128,
    format: Format,
}

/// Why a text is not a quantity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum QuantityError {
    /// Not of the form that Kubernetes defines.
    #[error("{0:?} is not a quantity, such as 500m, 2 or 1.5Gi")]
    Malformed(String),
    /// More than 10^29 units.
    #[error("{0:?} is too large for a quantity")]
    TooLarge(String),
}

impl Quantity {
    /// Nothing.
    pub(crate) const ZERO: Quantity = Quantity { nanos: 0, format: Format::DecimalSi };

    /// Whether it is nothing.
    pub(crate) fn is_zero(self) -> bool {
        self.nanos == 0
    }

    /// In whole units, rounded away from zero and limited to what an `i64` holds.
    pub(crate) fn units(self) -> i64 {
        clamp(divide_away_from_zero(self.nanos, NANOS_PER_UNIT))
    }

    /// In thousandths, rounded away from zero and limited to what an `i64` holds.
    pub(crate) fn millis(self) -> i64 {
        clamp(divide_away_from_zero(self.nanos, NANOS_PER_MILLI))
    }
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Quantity) -> bool {
        self.nanos == other.nanos
    }
}

impl Eq for Quantity {}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Quantity) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Quantity) -> Ordering {
        self.nanos.cmp(&other.nanos)
    }
}

impl Add for Quantity {
    type Output = Quantity;

    /// Written as the first is.
    fn add(self, other: Quantity) -> Quantity {
        Quantity { nanos: self.nanos.saturating_add(other.nanos), format: self.format }
    }
}

impl TryFrom<&Text> for Quantity {
    type Error = QuantityError;

    fn try_from(text: &Text) -> Result<Quantity, QuantityError> {
        text.0.parse()
    }
}

impl From<Quantity> for Text {
    fn from(quantity: Quantity) -> Text {
        Text(quantity.to_string())
    }
}

impl FromStr for Quantity {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Quantity, QuantityError> {
        let malformed = || QuantityError::Malformed(text.to_owned());
        let too_large = || QuantityError::TooLarge(text.to_owned());

        let (negative, unsigned) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        let end = unsigned.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(unsigned.len());
        let (number, suffix) = unsigned.split_at(end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if fraction.contains('.') || (whole.is_empty() && fraction.is_empty()) {
            return Err(malformed());
        }
        let (multiplier, mut exponent, mut format) = parse_suffix(suffix).ok_or_else(malformed)?;

        let mut mantissa: i128 = 0;
        for digit in whole.bytes() {
            mantissa = push_digit(mantissa, digit).ok_or_else(too_large)?;
        }
        let mut dropped_digits = false;
        for digit in fraction.trim_end_matches('0').bytes() {
            match push_digit(mantissa, digit) {
                Some(longer) if !dropped_digits => {
                    mantissa = longer;
                    exponent = exponent.saturating_sub(1);
                }
                _ => dropped_digits = true,
            }
        }
        if mantissa == 0 && !dropped_digits {
            return Ok(Quantity { nanos: 0, format });
        }

        mantissa = mantissa.checked_mul(multiplier).ok_or_else(too_large)?;
        let scale = exponent.saturating_add(9);
        let power = u32::try_from(scale.unsigned_abs()).ok().and_then(|scale| 10_i128.checked_pow(scale));
        let mut nanos = match power {
            Some(power) if scale >= 0 => mantissa.checked_mul(power).ok_or_else(too_large)?,
            None if scale >= 0 => return Err(too_large()),
            Some(power) => divide_away_from_zero(mantissa, power),
            None => 1,
        };
        if dropped_digits {
            nanos = nanos.saturating_add(1);
        }
        if format == Format::BinarySi {
            nanos = nanos.min(i128::from(i64::MAX).saturating_mul(NANOS_PER_UNIT));
            if nanos < NANOS_PER_UNIT {
                format = Format::DecimalSi;
            }
        }
        Ok(Quantity { nanos: if negative { -nanos } else { nanos }, format })
    }
}

/// The largest unit that needs no fraction, as Kubernetes writes it.
impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = self.nanos / NANOS_PER_UNIT;
        let binary =
            self.format == Format::BinarySi && self.nanos % NANOS_PER_UNIT == 0 && units.unsigned_abs() >= 1024;
        if binary {
            let mut value = units;
            for suffix in ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"] {
                if value % 1024 != 0 || suffix == "Ei" {
                    return write!(f, "{value}{suffix}");
                }
                value /= 1024;
            }
            return Ok(());
        }
        if self.nanos == 0 {
            return f.write_str("0");
        }
        let (mut value, mut exponent) = (self.nanos, -9_i32);
        while value % 1000 == 0 && (exponent < 18 || self.format == Format::DecimalExponent) {
            value /= 1000;
            exponent += 3;
        }
        match (self.format, exponent) {
            (_, 0) => write!(f, "{value}"),
            (Format::DecimalExponent, _) => write!(f, "{value}e{exponent}"),
            (_, -9) => write!(f, "{value}n"),
            (_, -6) => write!(f, "{value}u"),
            (_, -3) => write!(f, "{value}m"),
            (_, 3) => write!(f, "{value}k"),
            (_, 6) => write!(f, "{value}M"),
            (_, 9) => write!(f, "{value}G"),
            (_, 12) => write!(f, "{value}T"),
            (_, 15) => write!(f, "{value}P"),
            (_, _) => write!(f, "{value}E"),
        }
    }
}

/// Whether the API server takes the text as an amount of a resource, which is never negative.
pub(crate) fn is_amount(text: &str) -> bool {
    text.parse::<Quantity>().is_ok_and(|amount| amount >= Quantity::ZERO)
}

/// Whether two texts are the same amount: the API server rewrites `1000m` as `1`.
pub(crate) fn equal(left: &Text, right: &Text) -> bool {
    left == right
        || matches!((Quantity::try_from(left), Quantity::try_from(right)), (Ok(left), Ok(right)) if left == right)
}

/// What a suffix multiplies by, as a factor and a power of ten.
fn parse_suffix(suffix: &str) -> Option<(i128, i64, Format)> {
    let decimal = |exponent| Some((1, exponent, Format::DecimalSi));
    let binary = |power: u32| Some((1_i128 << power, 0, Format::BinarySi));
    match suffix {
        "" => decimal(0),
        "n" => decimal(-9),
        "u" => decimal(-6),
        "m" => decimal(-3),
        "k" => decimal(3),
        "M" => decimal(6),
        "G" => decimal(9),
        "T" => decimal(12),
        "P" => decimal(15),
        "E" => decimal(18),
        "Ki" => binary(10),
        "Mi" => binary(20),
        "Gi" => binary(30),
        "Ti" => binary(40),
        "Pi" => binary(50),
        "Ei" => binary(60),
        _ => {
            let exponent = suffix.strip_prefix(['e', 'E'])?;
            Some((1, i64::from(exponent.parse::<i32>().ok()?), Format::DecimalExponent))
        }
    }
}

fn push_digit(mantissa: i128, digit: u8) -> Option<i128> {
    mantissa.checked_mul(10)?.checked_add(i128::from(digit.wrapping_sub(b'0')))
}

fn divide_away_from_zero(value: i128, by: i128) -> i128 {
    let quotient = value / by;
    if value % by == 0 { quotient } else { quotient + value.signum() }
}

fn clamp(value: i128) -> i64 {
    i64::try_from(value).unwrap_or(if value < 0 { i64::MIN } else { i64::MAX })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Quantity {
        text.parse().unwrap()
    }

    #[test]
    fn quantities_are_written_in_canonical_form() {
        for (text, canonical) in [
            ("0", "0"),
            ("0Ki", "0"),
            ("1", "1"),
            ("+1", "1"),
            ("-1.5", "-1500m"),
            ("1.5", "1500m"),
            ("1.5Gi", "1536Mi"),
            ("0.5Ki", "512"),
            ("0.0005Ki", "512m"),
            ("1024", "1024"),
            ("1000", "1k"),
            ("1023Ki", "1023Ki"),
            ("1024Ki", "1Mi"),
            ("2048Ei", "9223372036854775807"),
            ("100m", "100m"),
            ("1000m", "1"),
            ("0.1n", "1n"),
            ("1n", "1n"),
            ("1e3", "1e3"),
            ("1E3", "1e3"),
            ("1E", "1E"),
            ("12e-1", "1200e-3"),
            ("1000E", "1000E"),
            ("1.", "1"),
            (".5", "500m"),
            ("1e-400", "1e-9"),
            ("100e1", "1e3"),
        ] {
            assert_eq!(parse(text).to_string(), canonical, "{text}");
        }
    }

    #[test]
    fn what_is_not_a_quantity_is_refused() {
        for text in ["", "-", ".", "Ki", "1.2.3", "1 ", " 1", "1K", "1ki", "1e", "1e+", "1mm", "1e99999999999", "٣"] {
            assert_eq!(text.parse::<Quantity>(), Err(QuantityError::Malformed(text.to_owned())));
        }
        for text in ["1e30", "1000000000000E", &"9".repeat(60)] {
            assert_eq!(text.parse::<Quantity>(), Err(QuantityError::TooLarge(text.to_owned())));
        }
    }

    #[test]
    fn whole_units_and_thousandths_are_rounded_away_from_zero() {
        for (text, units, millis) in [
            ("100m", 1, 100),
            ("1.0001", 2, 1001),
            ("1u", 1, 1),
            ("-100u", -1, -1),
            ("2Gi", 2_147_483_648, 2_147_483_648_000),
            ("100E", i64::MAX, i64::MAX),
        ] {
            assert_eq!((parse(text).units(), parse(text).millis()), (units, millis), "{text}");
        }
    }

    proptest! {
        #[test]
        fn writing_and_parsing_again_keeps_the_amount(
            number in "-?[0-9]{1,12}(\\.[0-9]{0,12})?",
            suffix in "(n|u|m||k|M|G|T|Ki|Mi|Gi|e[0-6]|e-[0-6])",
        ) {
            let quantity = parse(&format!("{number}{suffix}"));
            let text = quantity.to_string();
            prop_assert_eq!(parse(&text), quantity);
            prop_assert_eq!(parse(&text).to_string(), text);
        }

        #[test]
        fn the_order_is_that_of_the_numbers(a in -1_000_000_000_i64..1_000_000_000, b in -1_000_000_000_i64..1_000_000_000) {
            let (x, y) = (parse(&format!("{a}m")), parse(&format!("{b}m")));
            prop_assert_eq!(x.cmp(&y), a.cmp(&b));
        }

        #[test]
        fn no_text_panics(text in "\\PC{0,40}") {
            let _ = text.parse::<Quantity>();
        }
    }
}
