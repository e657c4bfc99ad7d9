//! Log lines, on standard error.

use std::io::IsTerminal as _;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::{EnvFilter, layer::SubscriberExt as _, util::SubscriberInitExt as _};

use crate::flags::{LogFlags, LogFormat};

/// The client logs each failed request as an error, also those that are tried again; whoever asked logs what matters.
const QUIET: &str = "kube_client::client::builder=off";

/// A filter that can be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Filter(String);

/// Reads `--log-level`. The Go program's names for levels are understood too.
///
/// # Errors
///
/// If it is not a filter; the message says what to write.
pub(crate) fn filter(text: &str) -> Result<Filter, String> {
    let directives = text.split(',').map(|directive| match directive.trim() {
        "warning" => "warn",
        "fatal" | "panic" => "error",
        directive => directive,
    });
    let directives: Vec<&str> = directives.collect();
    // A lone word that is not a level would be taken for a target, and everything else be silent.
    let all_mean_something = directives.iter().all(|directive| {
        !directive.is_empty() && (directive.parse::<LevelFilter>().is_ok() || directive.contains(['=', ':', '_', '[']))
    });
    let filter = directives.join(",");
    if all_mean_something && EnvFilter::builder().parse(&filter).is_ok() {
        return Ok(Filter(filter));
    }
    Err("write error, warn, info, debug or trace, also per target, as in info,vk_runtime=debug".into())
}

/// Sets up the log of the process.
///
/// # Errors
///
/// If it is set up already.
pub(crate) fn start(flags: &LogFlags) -> anyhow::Result<()> {
    let filter = EnvFilter::builder().parse(format!("{QUIET},{}", flags.log_level.0))?;
    // With errors of the writer reported on standard error, a closed one would end the process.
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).log_internal_errors(false);
    let registry = tracing_subscriber::registry().with(filter);
    match flags.log_format {
        LogFormat::Text => registry.with(lines.with_ansi(std::io::stderr().is_terminal())).try_init()?,
        LogFormat::Json => registry.with(lines.json().flatten_event(true)).try_init()?,
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::filter;

    #[test]
    fn a_level_or_directives_are_a_filter() {
        for text in ["info", "DEBUG", "off", "warning", "fatal", "info,vk_runtime=debug", "vk_node", "a::b=trace,warn"]
        {
            assert!(filter(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn a_word_that_is_no_level_is_refused() {
        for text in ["", "loud", "info,loud", "vk_host=loud", "info,", "info;debug"] {
            assert!(filter(text).is_err(), "{text}");
        }
    }
}
