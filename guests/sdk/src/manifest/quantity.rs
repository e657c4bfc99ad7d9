//! Amounts of resources as Kubernetes writes them: `500m`, `1.5Gi`, `2e3`.

use crate::{Error, Result};

/// An amount that is not negative, kept exactly: `digits` × 10^`tens` × 2^`twos`.
#[derive(Debug, Clone, Copy)]
pub struct Quantity {
    digits: u128,
    tens: i32,
    twos: u32,
}

impl Quantity {
    /// Reads the amount that stands in a field.
    ///
    /// # Errors
    ///
    /// [`invalid`](Error::invalid), naming the field and the text that is no amount.
    pub fn parse(field: &str, text: &str) -> Result<Self> {
        read(text).ok_or_else(|| {
            Error::invalid(format!("{field}: {text:?} is no amount; write one such as 2, 500m, 1.5G or 512Mi"))
        })
    }

    /// In whole units, rounded up; at most `u64::MAX`.
    pub fn units(self) -> u64 {
        self.scaled(0)
    }

    /// In thousandths, rounded up; at most `u64::MAX`.
    pub fn milli(self) -> u64 {
        self.scaled(3)
    }

    /// In units of 10^-`places`.
    fn scaled(self, places: i32) -> u64 {
        let tens = self.tens + places;
        let power = 10_u128.checked_pow(tens.unsigned_abs());
        let value = self.digits.checked_mul(1 << self.twos).and_then(|value| match power {
            Some(power) if tens >= 0 => value.checked_mul(power),
            Some(power) => Some(value.div_ceil(power)),
            // Too large to count, or so small that only the rounding is left.
            None if tens >= 0 && value > 0 => None,
            None => Some(u128::from(value > 0)),
        });
        value.and_then(|value| u64::try_from(value).ok()).unwrap_or(u64::MAX)
    }
}

fn read(text: &str) -> Option<Quantity> {
    let unsigned = text.strip_prefix('+').unwrap_or(text);
    let end = unsigned.find(|char: char| !char.is_ascii_digit() && char != '.').unwrap_or(unsigned.len());
    let (number, suffix) = unsigned.split_at_checked(end)?;
    let (tens, twos) = scale(suffix)?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    // Zeros at the end say nothing, and would be in the way of an exact product.
    let fraction = fraction.trim_end_matches('0');
    let digits = format!("0{whole}{fraction}").parse().ok()?;
    Some(Quantity { digits, tens: tens.checked_sub(i32::try_from(fraction.len()).ok()?)?, twos })
}

/// The powers of ten and of two that a suffix stands for.
fn scale(suffix: &str) -> Option<(i32, u32)> {
    Some(match suffix {
        "n" => (-9, 0),
        "u" => (-6, 0),
        "m" => (-3, 0),
        "" => (0, 0),
        "k" => (3, 0),
        "M" => (6, 0),
        "G" => (9, 0),
        "T" => (12, 0),
        "P" => (15, 0),
        "E" => (18, 0),
        "Ki" => (0, 10),
        "Mi" => (0, 20),
        "Gi" => (0, 30),
        "Ti" => (0, 40),
        "Pi" => (0, 50),
        "Ei" => (0, 60),
        exponent => {
            let exponent: i32 = exponent.strip_prefix(['e', 'E'])?.parse().ok()?;
            (exponent.clamp(-1_000, 1_000), 0)
        }
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn amounts(text: &str) -> (u64, u64) {
        let quantity = Quantity::parse("f", text).unwrap();
        (quantity.units(), quantity.milli())
    }

    #[test]
    fn every_suffix_is_exact_and_rounding_is_up() {
        for (text, units, milli) in [
            ("0", 0, 0),
            ("1", 1, 1_000),
            ("+2", 2, 2_000),
            ("1.", 1, 1_000),
            (".5", 1, 500),
            ("500m", 1, 500),
            ("1.981", 2, 1_981),
            ("0.1m", 1, 1),
            ("1n", 1, 1),
            ("1001u", 1, 2),
            ("3.49G", 3_490_000_000, 3_490_000_000_000),
            ("1k", 1_000, 1_000_000),
            ("8010M", 8_010_000_000, 8_010_000_000_000),
            ("1T", 1_000_000_000_000, 1_000_000_000_000_000),
            ("1P", 1_000_000_000_000_000, 1_000_000_000_000_000_000),
            ("1E", 1_000_000_000_000_000_000, u64::MAX),
            ("1Ki", 1_024, 1_024_000),
            ("1.5Gi", 1_610_612_736, 1_610_612_736_000),
            ("0.3Ki", 308, 307_200),
            ("2Mi", 2_097_152, 2_097_152_000),
            ("1Ti", 1 << 40, 1_000 << 40),
            ("1Pi", 1 << 50, 1_000 << 50),
            ("1Ei", 1 << 60, u64::MAX),
            ("2e3", 2_000, 2_000_000),
            ("5E-3", 1, 5),
            ("1e999", u64::MAX, u64::MAX),
            ("1e-999", 1, 1),
            ("0e999", 0, 0),
        ] {
            assert_eq!(amounts(text), (units, milli), "{text}");
        }
    }

    #[test]
    fn what_is_no_amount_names_its_field() {
        for text in ["", "-1", ".", "1.2.3", "1 Gi", "1gi", "Gi", "1e", "1e1.5", "1KiB", "ten", "１"] {
            let error = Quantity::parse("spec.containers[a].resources.limits[cpu]", text).unwrap_err();
            assert_eq!(error.kind, crate::ErrorKind::Invalid, "{text}");
            assert!(error.message.starts_with("spec.containers[a].resources.limits[cpu]: "), "{}", error.message);
        }
    }

    proptest! {
        #[test]
        fn whole_numbers_are_what_they_say(number in 0_u64..u64::MAX / 1_000) {
            prop_assert_eq!(amounts(&number.to_string()), (number, number * 1_000));
            prop_assert_eq!(amounts(&format!("{number}m")), (number.div_ceil(1_000), number));
        }

        #[test]
        fn a_fraction_is_rounded_up_and_never_by_more_than_one(whole in 0_u64..1_000_000, fraction in 0_u64..1_000_000) {
            let milli = amounts(&format!("{whole}.{fraction:06}")).1;
            let micro = whole * 1_000_000 + fraction;
            prop_assert_eq!(milli, micro.div_ceil(1_000));
        }

        #[test]
        fn nothing_panics(text in "[-+]?[0-9.]{0,45}[a-zA-Z0-9+-]{0,4}") {
            if let Ok(quantity) = Quantity::parse("f", &text) {
                prop_assert!(quantity.units() <= quantity.milli());
            }
        }
    }
}
