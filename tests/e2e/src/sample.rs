//! Metrics in their text format.

use anyhow::{Context as _, Result};

/// A sample, by its name and labels as exported; 0 if it is not there.
///
/// # Errors
///
/// If its value is no number.
pub fn sample(metrics: &str, name: &str) -> Result<f64> {
    let value = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.map_or(Ok(0.0), |value| value.parse().with_context(|| format!("{name} is {value}")))
}
