//! The text format of Prometheus, version 0.0.4.

use std::{
    fmt::{Display, Write as _},
    time::SystemTime,
};

/// A text that grows by whole families.
#[derive(Debug, Default)]
pub(super) struct Exposition(String);

/// One line of a family.
pub(super) struct Sample<'a> {
    pub(super) labels: &'a [(&'a str, &'a str)],
    pub(super) value: f64,
    /// Written in milliseconds. Without it, the sample is of the time of the scrape.
    pub(super) at: Option<SystemTime>,
}

impl Exposition {
    /// Begins a family; its samples follow.
    pub(super) fn family(&mut self, name: &'static str, kind: &str, help: &str) -> Family<'_> {
        Family { text: &mut self.0, name, header: Some(format!("# HELP {name} {help}\n# TYPE {name} {kind}\n")) }
    }

    pub(super) fn into_text(self) -> String {
        self.0
    }
}

/// The samples of one name. Without any, nothing of it is written.
pub(super) struct Family<'a> {
    text: &'a mut String,
    name: &'static str,
    header: Option<String>,
}

impl Family<'_> {
    pub(super) fn sample(&mut self, sample: &Sample<'_>) {
        if let Some(header) = self.header.take() {
            self.text.push_str(&header);
        }
        self.text.push_str(self.name);
        for (index, (name, value)) in sample.labels.iter().enumerate() {
            self.text.push(if index == 0 { '{' } else { ',' });
            self.text.push_str(name);
            self.text.push_str("=\"");
            for character in value.chars() {
                match character {
                    '\\' => self.text.push_str("\\\\"),
                    '"' => self.text.push_str("\\\""),
                    '\n' => self.text.push_str("\\n"),
                    character => self.text.push(character),
                }
            }
            self.text.push('"');
        }
        if !sample.labels.is_empty() {
            self.text.push('}');
        }
        self.word(sample.value);
        if let Some(at) = sample.at {
            self.word(milliseconds(at));
        }
        self.text.push('\n');
    }

    fn word(&mut self, word: impl Display) {
        // A String takes everything.
        let _ = write!(self.text, " {word}");
    }
}

/// Since 1970.
pub(super) fn milliseconds(at: SystemTime) -> u64 {
    let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Since 1970.
pub(super) fn seconds(at: SystemTime) -> f64 {
    at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

/// A number of things; beyond 2^53 the format is as imprecise as this.
#[allow(clippy::cast_precision_loss, reason = "the format has no other numbers")]
pub(super) fn count(number: u64) -> f64 {
    number as f64
}

/// Billionths as a whole.
pub(super) fn billionths(number: u64) -> f64 {
    count(number) / 1e9
}
