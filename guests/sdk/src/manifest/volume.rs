//! Volumes and where they are mounted.

use std::collections::BTreeMap;

use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{Error, Result};

/// A volume: its name and one source.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Volume {
    /// Its name, unique in the pod.
    pub name: String,
    #[serde(flatten)]
    sources: BTreeMap<String, Value>,
}

impl Volume {
    /// What kind of volume it is, as its field is called: `configMap`, `azureFile`. One of no kind is an `emptyDir`.
    pub fn kind(&self) -> &str {
        self.source().map_or("emptyDir", |(kind, _)| kind)
    }

    /// Reads what stands under the volume's kind.
    ///
    /// # Errors
    ///
    /// [`invalid`](Error::invalid), naming the volume.
    pub fn read<T: DeserializeOwned + Default>(&self) -> Result<T> {
        let Some((kind, source)) = self.source() else { return Ok(T::default()) };
        T::deserialize(source).map_err(|error| Error::invalid(format!("volume {:?}, {kind}: {error}", self.name)))
    }

    fn source(&self) -> Option<(&str, &Value)> {
        self.sources.iter().find(|(_, source)| !source.is_null()).map(|(kind, source)| (kind.as_str(), source))
    }
}

/// Where a volume is mounted.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct VolumeMount {
    /// The volume's name.
    pub name: String,
    /// Where in the container.
    pub mount_path: String,
    /// Which part of the volume.
    pub sub_path: Option<String>,
    /// Which part of the volume, where that depends on the pod's address; otherwise it is in `sub_path`.
    pub sub_path_expr: Option<String>,
    /// Whether it may not be written.
    pub read_only: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(default, rename_all = "camelCase")]
    struct Share {
        share_name: String,
    }

    #[test]
    fn a_volume_has_one_kind_that_is_read_as_a_type() {
        let volume: Volume =
            serde_json::from_str(r#"{"name":"v","nfs":null,"azureFile":{"shareName":"s","secretName":"t"}}"#).unwrap();
        assert_eq!((volume.name.as_str(), volume.kind()), ("v", "azureFile"));
        assert_eq!(volume.read::<Share>().unwrap(), Share { share_name: "s".into() });
        let plain: Volume = serde_json::from_str(r#"{"name":"v"}"#).unwrap();
        assert_eq!((plain.kind(), plain.read::<Share>().unwrap()), ("emptyDir", Share::default()));
        let wrong: Volume = serde_json::from_str(r#"{"name":"v","azureFile":{"shareName":7}}"#).unwrap();
        let error = wrong.read::<Share>().unwrap_err();
        assert!(error.message.starts_with("volume \"v\", azureFile: invalid type: integer `7`"), "{}", error.message);
    }
}
