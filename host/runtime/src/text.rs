//! Text from a provider, made fit for logs, events and conditions.

use std::{borrow::Cow, fmt::Write as _, time::Duration};

/// At most `limit` bytes of `text`, cut at a character, with control characters as spaces: nothing from a guest may
/// begin a line of its own in a log or move a terminal's cursor.
pub(crate) fn clean(text: &str, limit: usize) -> Cow<'_, str> {
    let cut = cut(text, limit);
    if !cut.contains(char::is_control) {
        if cut.len() == text.len() {
            return Cow::Borrowed(text);
        }
        return Cow::Owned(format!("{cut}…"));
    }
    let mut clean: String = cut.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    if cut.len() < text.len() {
        clean.push('…');
    }
    Cow::Owned(clean)
}

/// The longest beginning of at most `limit` bytes that ends between two characters.
pub(crate) fn cut(text: &str, limit: usize) -> &str {
    if text.len() <= limit {
        return text;
    }
    let end = (0..=limit).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
    text.get(..end).unwrap_or_default()
}

/// Bytes as an operator writes them: `256 MiB`, or plain bytes where no unit fits.
pub(crate) fn bytes(count: u64) -> String {
    for (shift, unit) in [(30, "GiB"), (20, "MiB"), (10, "KiB")] {
        if count >= 1 << shift && count.is_multiple_of(1 << shift) {
            return format!("{} {unit}", count >> shift);
        }
    }
    format!("{count} bytes")
}

/// A duration in the largest unit that shows it exactly.
pub(crate) fn duration(duration: Duration) -> String {
    match (duration.as_secs(), duration.subsec_millis()) {
        (0, milliseconds) => format!("{milliseconds} ms"),
        (seconds, 0) => format!("{seconds} s"),
        (seconds, milliseconds) => format!("{seconds}.{milliseconds:03} s"),
    }
}

/// Pairs as `key=value key=value`.
pub(crate) fn fields(fields: &[(String, String)], limit: usize) -> String {
    let mut text = String::new();
    for (key, value) in fields {
        let space = if text.is_empty() { "" } else { " " };
        let _ = write!(text, "{space}{key}={value}");
        if text.len() > limit {
            break;
        }
    }
    clean(&text, limit).into_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn clean_text_is_short_and_has_no_control_characters(text in any::<String>(), limit in 0usize..64) {
            let clean = clean(&text, limit);
            prop_assert!(clean.len() <= limit + '…'.len_utf8());
            prop_assert!(!clean.contains(char::is_control));
        }

        #[test]
        fn harmless_text_stays_as_it_is(text in "[a-zA-Z0-9 äß…]{0,40}") {
            prop_assert_eq!(clean(&text, 400).into_owned(), text.clone());
        }
    }

    #[test]
    fn sizes_and_durations_read_as_an_operator_writes_them() {
        assert_eq!(bytes(256 << 20), "256 MiB");
        assert_eq!(bytes(1 << 30), "1 GiB");
        assert_eq!(bytes(1000), "1000 bytes");
        assert_eq!(duration(Duration::from_secs(60)), "60 s");
        assert_eq!(duration(Duration::from_millis(250)), "250 ms");
        assert_eq!(duration(Duration::from_millis(1500)), "1.500 s");
    }
}
