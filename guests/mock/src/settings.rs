//! What the operator can set: see `mock.toml`.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Deserializer, de::Error};
use vk_sdk::{Description, OperatingSystem};

#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Settings {
    cpu: Quantity,
    memory: Quantity,
    pods: Quantity,
    others: BTreeMap<String, Quantity>,
    #[serde(deserialize_with = "operating_system")]
    os: Option<OperatingSystem>,
    arch: String,
    pub(crate) backend: Option<String>,
    #[serde(deserialize_with = "duration")]
    pub(crate) poll_after: Duration,
}

/// In TOML, `20` or `"20"`.
#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "a quantity such as 20 or \"100Gi\"")]
enum Quantity {
    Number(u64),
    Text(String),
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            cpu: Quantity::Number(20),
            memory: Quantity::Text("100Gi".to_owned()),
            pods: Quantity::Number(20),
            others: BTreeMap::new(),
            os: None,
            arch: "amd64".to_owned(),
            backend: None,
            poll_after: Duration::from_secs(1),
        }
    }
}

impl Settings {
    pub(crate) fn description(&self, asked: Option<OperatingSystem>) -> Description {
        let os = self.os.or(asked).unwrap_or(OperatingSystem::Linux);
        let usual = [("cpu", &self.cpu), ("memory", &self.memory), ("pods", &self.pods)];
        let others = self.others.iter().map(|(name, amount)| (name.as_str(), amount));
        Description::new(
            os,
            &self.arch,
            usual.into_iter().chain(others).map(|(name, amount)| (name, amount.to_string())),
        )
    }
}

impl std::fmt::Display for Quantity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Text(text) => text.fmt(f),
        }
    }
}

fn operating_system<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<OperatingSystem>, D::Error> {
    let name = String::deserialize(deserializer)?;
    match name.to_ascii_lowercase().as_str() {
        "linux" => Ok(Some(OperatingSystem::Linux)),
        "windows" => Ok(Some(OperatingSystem::Windows)),
        _ => Err(D::Error::custom(format!("{name:?} is neither linux nor windows"))),
    }
}

fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    humantime::parse_duration(&text)
        .map_err(|error| D::Error::custom(format!("{text:?} is no duration such as 500ms or 2s: {error}")))
}

#[cfg(test)]
mod tests {
    use vk_sdk::Startup;

    use super::*;

    fn read(json: &str) -> vk_sdk::Result<Settings> {
        let startup = Startup {
            owner: "o".to_owned(),
            node_name: "n".to_owned(),
            operating_system: None,
            settings: json.to_owned(),
        };
        vk_sdk::settings(&startup)
    }

    #[test]
    fn without_settings_the_node_is_that_of_the_classic_mock() {
        let description = read("{}").unwrap().description(None);
        let expected = [("cpu", "20"), ("memory", "100Gi"), ("pods", "20")];
        assert_eq!(description.capacity, expected.map(|(name, amount)| (name.to_owned(), amount.to_owned())));
        assert_eq!(description.allocatable, description.capacity);
        assert_eq!(description.operating_system, OperatingSystem::Linux);
    }

    #[test]
    fn the_file_wins_over_the_flag_and_quantities_may_be_numbers() {
        let settings =
            read(r#"{"os":"Windows","pods":5000,"others":{"nvidia.com/gpu":2},"poll-after":"250ms"}"#).unwrap();
        let description = settings.description(Some(OperatingSystem::Linux));
        assert_eq!(description.operating_system, OperatingSystem::Windows);
        assert!(description.capacity.contains(&("pods".to_owned(), "5000".to_owned())));
        assert!(description.capacity.contains(&("nvidia.com/gpu".to_owned(), "2".to_owned())));
        assert_eq!(settings.poll_after, Duration::from_millis(250));
    }

    #[test]
    fn what_cannot_be_meant_is_refused_by_key() {
        for (json, line) in [
            (r#"{"os":"plan9"}"#, "setting `os`: \"plan9\" is neither linux nor windows"),
            (r#"{"cpu":[]}"#, "setting `cpu`: a quantity such as 20 or \"100Gi\""),
            (
                r#"{"poll-after":"soon"}"#,
                "setting `poll-after`: \"soon\" is no duration such as 500ms or 2s: expected number at 0",
            ),
        ] {
            assert_eq!(read(json).unwrap_err().message, line);
        }
        assert!(read(r#"{"cpus":1}"#).unwrap_err().message.starts_with("unknown setting `cpus`, expected one of "));
    }
}
