//! The macros [`trace!`](crate::trace), [`debug!`](crate::debug), [`info!`](crate::info), [`warn!`](crate::warn) and
//! [`error!`](crate::error): lines in the host's log.
//!
//! They take a format string, with fields before it where there are any: `info!(group = name, "started {count}")`.

pub use crate::bindings::vk::provider::log::Level;

/// Writes a line.
pub fn write(level: Level, message: &str, fields: &[(String, String)]) {
    crate::host::write(level, message, fields);
}

#[doc(hidden)]
#[macro_export]
macro_rules! __log {
    ($level:ident, $($key:ident = $value:expr,)* $format:literal $($argument:tt)*) => {
        $crate::log::write(
            $crate::log::Level::$level,
            &::std::format!($format $($argument)*),
            &[$((::std::stringify!($key).to_owned(), ::std::string::ToString::to_string(&$value))),*],
        )
    };
}

/// Logs for whoever works on the provider, in detail.
#[macro_export]
macro_rules! trace { ($($argument:tt)+) => { $crate::__log!(Trace, $($argument)+) } }
/// Logs for whoever works on the provider.
#[macro_export]
macro_rules! debug { ($($argument:tt)+) => { $crate::__log!(Debug, $($argument)+) } }
/// Logs for the operator.
#[macro_export]
macro_rules! info { ($($argument:tt)+) => { $crate::__log!(Info, $($argument)+) } }
/// Logs what the operator should look at.
#[macro_export]
macro_rules! warn { ($($argument:tt)+) => { $crate::__log!(Warn, $($argument)+) } }
/// Logs what the operator must look at.
#[macro_export]
macro_rules! error { ($($argument:tt)+) => { $crate::__log!(Error, $($argument)+) } }
