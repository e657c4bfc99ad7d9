//! A small in-memory store in the host that all instances of one provider share: tokens, listings. It may forget at any
//! time, and starts empty when the host or the configuration changes.

use std::time::Duration;

use serde::{Serialize, de::DeserializeOwned};

use crate::{Error, Result, component::milliseconds, host};

/// The longest lifetime there is, about 49 days.
pub const LONGEST: Duration = Duration::from_millis(u32::MAX as u64);

/// Reads a value.
pub fn get(key: &str) -> Option<Vec<u8>> {
    host::get(key)
}

/// Removes a value, if it is there.
pub fn remove(key: &str) {
    host::remove(key);
}

/// The keys that begin with `prefix`, in no particular order.
pub fn keys(prefix: &str) -> Vec<String> {
    host::keys(prefix)
}

/// Sets a value for a time, at most [`LONGEST`]. The host may not keep it: not if the key has more than 1 KiB, nor if the
/// value is larger than the whole cache.
pub fn set(key: &str, value: &[u8], lifetime: Duration) {
    host::set(key, value, milliseconds(lifetime));
}

/// Sets a value only if the present one is `expected`; says whether it was. As with [`set`], the host may not keep the
/// value although it answers `true`; for a key of more than 1 KiB it answers `false`.
pub fn replace(key: &str, expected: Option<&[u8]>, value: &[u8], lifetime: Duration) -> bool {
    host::replace(key, expected, value, milliseconds(lifetime))
}

/// Reads a value that [`set_json`] wrote. One that is of another type, as an older version of the provider may have left
/// it, counts as absent.
pub fn get_json<T: DeserializeOwned>(key: &str) -> Option<T> {
    get(key).and_then(|value| serde_json::from_slice(&value).ok())
}

/// Sets a value, as JSON, for a time.
///
/// # Errors
///
/// [`internal`](Error::internal) if the value has no form in JSON, such as a map whose keys are not strings.
pub fn set_json<T: Serialize>(key: &str, value: &T, lifetime: Duration) -> Result<()> {
    let value = serde_json::to_vec(value).map_err(|error| Error::internal(format!("caching {key}: {error}")))?;
    set(key, &value, lifetime);
    Ok(())
}
