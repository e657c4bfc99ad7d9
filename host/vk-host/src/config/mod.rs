//! A provider's file: keys of the provider's own, and the table `[sandbox]`.
//!
//! ```text
//!  aci.toml ──> ProviderFile ──┬─ settings ──────────────> JSON for the provider
//!                              └─ sandbox::Layer ─ Builder ─> vk_runtime::Sandbox
//! ```

pub(crate) mod grants;
pub(crate) mod sandbox;
pub(crate) mod units;

use std::{
    fmt,
    io::Read as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, anyhow, bail};
use serde::Deserialize;

use sandbox::Layer;

/// No file of settings, certificates or keys is larger.
const MAX_TEXT_BYTES: u64 = 1 << 20;

/// What a provider's file says.
pub(crate) struct ProviderFile {
    /// The folder it is in: where its relative paths start.
    pub(crate) folder: PathBuf,
    /// What is not the host's, for the provider.
    pub(crate) settings: serde_json::Map<String, serde_json::Value>,
    /// What is the host's.
    pub(crate) sandbox: Layer,
}

/// Settings may hold secrets, so their keys alone.
impl fmt::Debug for ProviderFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { folder, settings, sandbox } = self;
        f.debug_struct("ProviderFile")
            .field("folder", folder)
            .field("settings", &settings.keys())
            .field("sandbox", sandbox)
            .finish()
    }
}

/// The host's part of the file; serde skips the rest.
#[derive(Deserialize)]
struct HostPart {
    #[serde(default)]
    sandbox: Layer,
}

impl ProviderFile {
    /// Reads a file.
    ///
    /// # Errors
    ///
    /// If it cannot be read, is not TOML, or its `[sandbox]` has an unknown key or a value that is not one. The message
    /// begins with the file's name and the place in it.
    pub(crate) fn load(path: &Path) -> anyhow::Result<Self> {
        let text = read_text(path)?;
        let (settings, sandbox) = parse(&text).map_err(|error| anyhow!("{}{error}", path.display()))?;
        let folder = path.parent().map(Path::to_path_buf).unwrap_or_default();
        Ok(Self { folder, settings, sandbox })
    }
}

/// Reads a small text file.
///
/// # Errors
///
/// If it cannot be read, is too large or not text; the message names it.
pub(crate) fn read_text(path: &Path) -> anyhow::Result<String> {
    let mut text = String::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(MAX_TEXT_BYTES + 1).read_to_string(&mut text))
        .with_context(|| format!("cannot read {}", path.display()))?;
    if text.len() as u64 > MAX_TEXT_BYTES {
        bail!("{} has more than {MAX_TEXT_BYTES} bytes; is it the right file?", path.display());
    }
    Ok(text)
}

/// The two parts of a file. The error is what follows the file's name: `:line:column: what is wrong`.
fn parse(text: &str) -> Result<(serde_json::Map<String, serde_json::Value>, Layer), String> {
    let mut table: toml::Table = toml::from_str(text).map_err(|error| describe(error, text))?;
    let HostPart { sandbox } = toml::from_str(text).map_err(|error| describe(error, text))?;
    table.remove("sandbox");
    let settings = table
        .into_iter()
        .map(|(key, value)| {
            let value = json(value).map_err(|reason| format!(": {key}: {reason}"))?;
            Ok((key, value))
        })
        .collect::<Result<_, String>>()?;
    Ok((settings, sandbox))
}

/// One line for an error of the TOML crate, which writes several: `:line:column: message (in sandbox.key)`.
fn describe(mut error: toml::de::Error, text: &str) -> String {
    let place = error.span().and_then(|span| text.get(..span.start)).map_or_else(String::new, |before| {
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        format!(":{line}:{column}")
    });
    // Without the text, what it displays is the message and the key.
    error.set_input(None);
    let shown = error.to_string();
    let mut lines = shown.lines();
    let message = lines.next().unwrap_or_default();
    let key = lines.find_map(|line| line.strip_prefix("in `")?.strip_suffix('`'));
    match key {
        Some(key) => format!("{place}: {key}: {message}"),
        None => format!("{place}: {message}"),
    }
}

fn json(value: toml::Value) -> Result<serde_json::Value, String> {
    Ok(match value {
        toml::Value::String(text) => text.into(),
        toml::Value::Integer(number) => number.into(),
        toml::Value::Float(number) => serde_json::Number::from_f64(number)
            .ok_or_else(|| format!("{number} is not a number that a provider can be given"))?
            .into(),
        toml::Value::Boolean(truth) => truth.into(),
        toml::Value::Datetime(time) => time.to_string().into(),
        toml::Value::Array(values) => values.into_iter().map(json).collect::<Result<Vec<_>, _>>()?.into(),
        toml::Value::Table(table) => {
            let entries = table.into_iter().map(|(key, value)| Ok((key, json(value)?)));
            entries.collect::<Result<serde_json::Map<_, _>, String>>()?.into()
        }
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn keys_outside_the_sandbox_are_the_providers_own() {
        let (settings, sandbox) = parse(
            "Region = \"westeurope\"\nCount = 3\nShare = 0.5\nOn = true\nSince = 2018-03-08T10:00:00Z\nZones = [1, 2]\n\
             [Limits]\nCPU = \"20\"\n[sandbox]\nenv = [\"ACI_*\"]\n[Tags]\nsandbox = \"theirs\"\n",
        )
        .unwrap();
        let wanted = serde_json::json!({
            "Region": "westeurope", "Count": 3, "Share": 0.5, "On": true, "Since": "2018-03-08T10:00:00Z",
            "Zones": [1, 2], "Limits": { "CPU": "20" }, "Tags": { "sandbox": "theirs" },
        });
        assert_eq!(serde_json::Value::from(settings), wanted);
        let env = vec!["ACI_*".parse().unwrap()];
        assert_eq!(sandbox, Layer::grants(Vec::new(), env, Vec::new()));
    }

    #[test]
    fn what_is_printed_for_debugging_holds_no_setting() {
        let (settings, sandbox) = parse("Password = \"secret\"").unwrap();
        let printed = format!("{:?}", ProviderFile { folder: "/etc".into(), settings, sandbox });
        assert!(printed.contains("Password") && !printed.contains("secret"), "{printed}");
    }

    #[test]
    fn an_empty_file_is_a_configuration_without_grants() {
        let (settings, sandbox) = parse("").unwrap();
        assert!(settings.is_empty());
        assert_eq!(sandbox, Layer::default());
    }

    #[test]
    fn an_error_is_one_line_with_place_key_and_remedy() {
        for (text, wanted) in [
            ("a = ", &[":1:"][..]),
            ("a = 1\na = 2", &[":2:1: ", "duplicate key"]),
            ("a = 1\n[sandbox\n", &[":2:"]),
            ("[sandbox]\nmemry = 1", &[":2:1: ", "memry", "memory", "message-bytes"]),
            ("[sandbox]\nmemory = \"256MB\"", &[":2:10: ", "sandbox.memory", "256MB", "MiB"]),
            ("[sandbox]\nmemory = true", &[":2:10: ", "sandbox.memory", "256MiB"]),
            ("[sandbox]\nmemory = 0", &[":2:10: ", "more than 0"]),
            ("[sandbox]\ninstances = 0", &[":2:13: ", "sandbox.instances", "nonzero"]),
            ("[sandbox]\ninstances = -1", &[":2:13: ", "sandbox.instances"]),
            ("[sandbox]\ncpu = 5", &[":2:7: ", "sandbox.cpu"]),
            ("[sandbox]\ncpu = \"5\"", &[":2:7: ", "sandbox.cpu", "500ms"]),
            ("\"é\" = 1\nsandbox = { cpu = \"ü\", instances = \"x\" }", &[":2:19: ", "sandbox.cpu"]),
            ("[sandbox]\nenv = [\"A\", \"*\"]", &[":2:7: ", "sandbox.env", "AZURE_*"]),
            ("[sandbox]\nnet = [\"example.com\"]", &[":2:7: ", "sandbox.net", "example.com"]),
            ("[sandbox]\nnet = \"https://example.com\"", &[":2:7: ", "sandbox.net"]),
            ("[sandbox.timeouts]\nsettle = \"1s\"", &[":2:1: ", "settle", "describe"]),
            ("[sandbox.tls.\"https://a\"]\nkeys = \"k\"", &[":2:1: ", "keys", "server-name"]),
            ("sandbox = 1", &[":1:11: ", "sandbox"]),
            ("[Limits]\nLoad = nan", &[": Limits: ", "NaN"]),
        ] {
            let refusal = parse(text).unwrap_err();
            assert!(!refusal.contains('\n'), "{text}: {refusal}");
            for part in wanted {
                assert!(refusal.contains(part), "{text}: {part} is not in {refusal}");
            }
        }
    }

    #[test]
    fn a_file_that_cannot_be_read_is_named() {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        fs::write(at("latin1.toml"), b"a = \"\xe9\"").unwrap();
        fs::write(at("large.toml"), "#".repeat(MAX_TEXT_BYTES as usize + 1)).unwrap();
        fs::write(at("broken.toml"), "a = 1\n[sandbox]\nx = 1").unwrap();
        for (name, wanted) in [
            ("absent.toml", "cannot read "),
            ("", "cannot read "),
            ("latin1.toml", "UTF-8"),
            ("large.toml", "is it the right file?"),
            ("broken.toml", "broken.toml:3:1: "),
        ] {
            let refusal = format!("{:#}", ProviderFile::load(&at(name)).unwrap_err());
            assert!(refusal.contains(wanted) && refusal.contains(&at(name).display().to_string()), "{refusal}");
        }
    }
}
