//! Log lines, on standard error.

use std::io::IsTerminal as _;

use tracing::{Subscriber, level_filters::LevelFilter};
use tracing_subscriber::{
    EnvFilter,
    filter::filter_fn,
    fmt::{MakeWriter, layer},
    layer::SubscriberExt as _,
    util::SubscriberInitExt as _,
};

use crate::flags::{LogFlags, LogFormat};

/// What is said only to those who name it. The client logs each failed request as an error, also if it is tried again;
/// whoever asked logs what matters. The compiler writes gigabytes about a component. The watcher of files tells each change
/// in a folder, without end if the log is in it.
const QUIET: &str = "kube_client::client::builder=off,notify=info,cranelift_codegen=info,cranelift_frontend=info,\
    wasmtime_environ=info,wasmtime_internal_cranelift=info,regalloc2=info";

/// Is never logged, whatever the filter says: here the client writes an answer of the API server that it cannot read as it
/// came, which may be a Secret. Its submodules are not meant.
const TELLS_ANSWERS: &str = "kube_client::client";

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
    Ok(subscriber(flags, std::io::stderr().is_terminal(), std::io::stderr)?.try_init()?)
}

fn subscriber<W>(flags: &LogFlags, colours: bool, writer: W) -> anyhow::Result<Box<dyn Subscriber + Send + Sync>>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let filter = EnvFilter::builder().parse(format!("{QUIET},{}", flags.log_level.0))?;
    let discreet = filter_fn(|metadata| metadata.target() != TELLS_ANSWERS);
    // With errors of the writer reported on standard error, a closed one would end the process.
    let lines = layer().with_writer(writer).log_internal_errors(false);
    let registry = tracing_subscriber::registry().with(filter).with(discreet);
    Ok(match flags.log_format {
        LogFormat::Text => Box::new(registry.with(lines.with_ansi(colours))),
        LogFormat::Json => Box::new(registry.with(lines.json().flatten_event(true))),
    })
}

#[cfg(test)]
mod tests {
    use std::{
        io::{self, Write},
        sync::{Arc, Mutex},
    };

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, text: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(text)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_tells_answers_of_the_api_server_cannot_be_turned_on() {
        for log_format in [LogFormat::Text, LogFormat::Json] {
            let flags = LogFlags { log_format, log_level: filter("trace,kube_client::client=trace").unwrap() };
            let lines = Lines::default();
            let writer = lines.clone();
            let subscriber = subscriber(&flags, false, move || writer.clone()).unwrap();
            tracing::subscriber::with_default(subscriber, || {
                tracing::warn!(target: "kube_client::client", "an answer as it came");
                tracing::warn!(target: "kube_client::client::tls", "a certificate");
                tracing::trace!(target: "kube_runtime::watcher", "a watch");
            });
            let lines = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
            assert!(!lines.contains("an answer"), "{lines}");
            assert!(lines.contains("a certificate") && lines.contains("a watch"), "{lines}");
        }
    }

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
