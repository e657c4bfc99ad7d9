//! Environment variables.

use vk_sdk::manifest::EnvVar;

use super::Notes;
use crate::group::{EnvironmentVariable, Secret};

/// The shortest value of a secret that is looked for in other values: shorter ones are in many by chance.
const SHORTEST_SECRET: usize = 4;
/// The longest name that the service takes.
const LONGEST_NAME: usize = 63;

/// The values of a container's secrets that must not be found elsewhere.
pub(super) fn secrets(env: &[EnvVar]) -> Vec<&str> {
    let secrets = env.iter().filter(|variable| variable.is_secret()).filter_map(|variable| variable.value.as_deref());
    secrets.filter(|value| value.len() >= SHORTEST_SECRET).collect()
}

/// The variables in their order. Values of secrets, and values that were put together with them, are sent such that the
/// service never shows them.
pub(super) fn variables(env: &[EnvVar], container: &str, notes: &mut Notes) -> Vec<EnvironmentVariable> {
    let secrets = secrets(env);
    let entry = |variable: &EnvVar, value: &str| {
        let name = variable.name.clone();
        if variable.is_secret() || secrets.iter().any(|secret| value.contains(secret)) {
            EnvironmentVariable { name, secure_value: Some(Secret(value.to_owned())), value: None }
        } else {
            EnvironmentVariable { name, value: Some(value.to_owned()), secure_value: None }
        }
    };
    let mut left_out = Vec::new();
    let mut variables = Vec::with_capacity(env.len());
    for variable in env {
        let name = &variable.name;
        let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if plain && name.len() > LONGEST_NAME && is_of_a_service(name) {
            left_out.push(name.as_str());
        } else if !plain || name.is_empty() || name.len() > LONGEST_NAME {
            let why = format!("ACI takes names of 1 to {LONGEST_NAME} letters, digits and _");
            notes.refuse(format!("{container}.env[{name}]"), why);
        } else if let Some(value) = &variable.value {
            variables.push(entry(variable, value));
        } else if let Some(path) = variable.field_path() {
            let why = format!("the value of {path} is not known before the group runs");
            notes.refuse(format!("{container}.env[{name}].valueFrom.fieldRef"), why);
        } else if variable.value_from.is_some() {
            notes.refuse(format!("{container}.env[{name}].valueFrom"), "its value is not known");
        } else {
            variables.push(entry(variable, ""));
        }
    }
    if !left_out.is_empty() {
        let message = format!(
            "{container}: left out {}, as ACI takes names of at most {LONGEST_NAME} characters",
            left_out.join(", ")
        );
        notes.warn("ServiceVariablesLeftOut", message);
    }
    variables
}

/// Whether the variable is one of those that every pod of a namespace gets for each Service: no pod asked for it, so
/// none is refused for it.
fn is_of_a_service(name: &str) -> bool {
    name.ends_with("_SERVICE_HOST")
        || name.contains("_SERVICE_PORT")
        || name.ends_with("_PORT")
        || ["_TCP", "_UDP", "_SCTP"].iter().any(|protocol| {
            let end = name.rsplit_once(protocol).map(|(_, end)| end);
            end.is_some_and(|end| matches!(end, "" | "_PROTO" | "_PORT" | "_ADDR"))
        })
}
