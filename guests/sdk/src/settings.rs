//! The operator's settings, as a type of the provider's.

use serde::de::DeserializeOwned;

use crate::{Error, Result, Startup};

/// Reads the settings into a type of the provider's own. Give it `#[serde(deny_unknown_fields)]`, so that a misspelt
/// key is refused and not ignored, and `#[serde(rename_all = "kebab-case")]` to taste.
///
/// # Errors
///
/// [`invalid`](Error::invalid) with one line that names the key and what was expected there, but not what is there: it may
/// be a password, and the line goes into the log. What a type of the provider's says itself, with serde's `custom`, is
/// passed on as it is: let it not repeat the value.
pub fn settings<T: DeserializeOwned>(startup: &Startup) -> Result<T> {
    let mut deserializer = serde_json::Deserializer::from_str(&startup.settings);
    serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let path = error.path().to_string();
        let whole = error.inner().to_string();
        // The position is one in the JSON that the host made, which the operator never sees.
        let problem = whole.rsplit_once(" at line ").map_or(whole.as_str(), |(problem, _)| problem);
        let problem = without_value(problem);
        match problem.strip_prefix("unknown field ") {
            Some(rest) => Error::invalid(format!("unknown setting {rest}")),
            None if path == "." => Error::invalid(format!("settings: {problem}")),
            None => Error::invalid(format!("setting `{path}`: {problem}")),
        }
    })
}

/// What serde says of a value of the wrong type, or of none of the variants, without the value.
fn without_value(problem: &str) -> String {
    if let Some(rest) = problem.strip_prefix("unknown variant `") {
        // The last one: the value may hold these words too.
        return match rest.rsplit_once("`, expected ") {
            Some((_, expected)) => format!("unknown variant, expected {expected}"),
            None => "unknown variant".to_owned(),
        };
    }
    let quoted = || {
        let (kind, rest) = problem.split_once(": ").filter(|(kind, _)| kind.starts_with("invalid "))?;
        let (unexpected, expected) = rest.rsplit_once(", expected ")?;
        let what = unexpected.split(['`', '"']).next()?.trim_end();
        Some(format!("{kind}: {what}, expected {expected}"))
    };
    quoted().unwrap_or_else(|| problem.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields, rename_all = "kebab-case")]
    struct Sample {
        #[serde(rename = "resource-group")]
        _resource_group: String,
        #[serde(default, rename = "quota")]
        _quota: Quota,
    }

    #[derive(Debug, Default, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Quota {
        #[serde(default, rename = "cpu")]
        _cpu: u32,
        #[serde(default, rename = "unit")]
        _unit: Option<Unit>,
    }

    #[derive(Debug, serde::Deserialize)]
    #[serde(rename_all = "kebab-case")]
    enum Unit {
        Cores,
        Shares,
    }

    fn problem(json: &str) -> String {
        let startup = Startup {
            owner: "o".to_owned(),
            node_name: "n".to_owned(),
            operating_system: None,
            settings: json.to_owned(),
        };
        settings::<Sample>(&startup).unwrap_err().message
    }

    #[test]
    fn a_wrong_setting_is_one_line_that_names_the_key() {
        for (json, line) in [
            (
                r#"{"resource-group":"a","regoin":"b"}"#,
                "unknown setting `regoin`, expected `resource-group` or `quota`",
            ),
            (r#"{"resource-group":5}"#, "setting `resource-group`: invalid type: integer, expected a string"),
            (
                r#"{"resource-group":"a","quota":{"cpu":"hunter2\", expected `3"}}"#,
                "setting `quota.cpu`: invalid type: string, expected u32",
            ),
            (
                r#"{"resource-group":"a","quota":{"cpu":-7}}"#,
                "setting `quota.cpu`: invalid value: integer, expected u32",
            ),
            (
                r#"{"resource-group":"a","quota":{"unit":"hunter2`, expected `3"}}"#,
                "setting `quota.unit`: unknown variant, expected `cores` or `shares`",
            ),
            ("{}", "settings: missing field `resource-group`"),
        ] {
            assert_eq!(problem(json), line, "{json}");
        }
    }
}
