//! Bytes in JSON: `#[serde(with = "mock_model::base64")]`.

use std::borrow::Cow;

use ::base64::{Engine, prelude::BASE64_STANDARD};
use serde::{Deserialize, Deserializer, Serializer, de::Error};

/// Writes bytes as text.
///
/// # Errors
///
/// Those of the serializer.
pub fn serialize<S: Serializer>(data: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&BASE64_STANDARD.encode(data))
}

/// Reads what [`serialize`] wrote.
///
/// # Errors
///
/// If the text is no base64, or those of the deserializer.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    let text = Cow::<'_, str>::deserialize(deserializer)?;
    BASE64_STANDARD.decode(text.as_bytes()).map_err(D::Error::custom)
}
