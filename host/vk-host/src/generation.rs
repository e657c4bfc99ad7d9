//! From files and flags to what the runtime runs.

use std::{io::Read as _, path::Path};

use anyhow::{Context as _, bail};
use vk_runtime::{Generation, MAX_WASM_BYTES, Startup};

use crate::{
    config::{
        ProviderFile,
        grants::Protected,
        sandbox::{Builder, Layer},
    },
    environment::Environment,
    files::Seen,
    flags::{ProviderOptions, Source},
    providers::{self, Located},
};

/// What a generation is loaded from, again at each replacement.
#[derive(Debug)]
pub(crate) struct Sources {
    pub(crate) options: ProviderOptions,
    pub(crate) environment: Environment,
    pub(crate) owner: String,
    /// What no read grant may lead to.
    pub(crate) protected: Vec<Protected>,
    /// Hosts and ports that no net grant opens.
    pub(crate) denied: Vec<(String, u16)>,
}

impl Sources {
    /// Reads the component and its configuration, and notes every file before it reads it, also when this fails. Blocks
    /// on the disk.
    ///
    /// # Errors
    ///
    /// If a file cannot be read or is malformed, or a grant is refused; the message names it and the remedy.
    pub(crate) fn load(&self, seen: &mut Seen) -> anyhow::Result<Generation> {
        let options = &self.options;
        let Located { wasm, bundled_config } = match &options.source {
            Source::File(file) => Located { wasm: file.clone(), bundled_config: None },
            Source::Bundled(name) => {
                let executable = std::env::current_exe().and_then(|path| path.canonicalize()).ok();
                providers::find(name, &providers::folders(&self.environment, executable.as_deref()))?
            }
        };
        let configs = [bundled_config.as_deref(), options.config.as_deref()].into_iter().flatten();
        for file in configs.clone().chain([wasm.as_path()]) {
            seen.note(file);
        }

        let mut settings = serde_json::Map::new();
        let mut builder = Builder::default();
        for file in configs {
            let file = ProviderFile::load(file)?;
            builder.apply(file.sandbox, &file.folder, seen)?;
            settings = file.settings;
        }
        let flags = Layer::grants(options.net.clone(), options.env.clone(), options.read.clone());
        builder.apply(flags, Path::new(""), seen)?;
        let sandbox = builder.build(&self.environment, &self.protected, &self.denied)?;
        Ok(Generation {
            label: label(&wasm),
            wasm: read_wasm(&wasm)?.into(),
            startup: Startup {
                owner: self.owner.clone(),
                node_name: options.node_name.clone(),
                operating_system: options.operating_system,
                settings: serde_json::Value::from(settings).to_string(),
            },
            sandbox,
        })
    }
}

/// What messages call a component: its file's name.
pub(crate) fn label(wasm: &Path) -> String {
    wasm.file_name().unwrap_or(wasm.as_os_str()).to_string_lossy().into_owned()
}

/// Reads a component.
///
/// # Errors
///
/// If the file cannot be read, or is larger than any component that is accepted.
pub(crate) fn read_wasm(path: &Path) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(MAX_WASM_BYTES as u64 + 1).read_to_end(&mut bytes))
        .with_context(|| format!("cannot read the component {}", path.display()))?;
    if bytes.len() > MAX_WASM_BYTES {
        bail!(
            "{} has more than the {MAX_WASM_BYTES} bytes that are accepted: strip its debug information",
            path.display()
        );
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::{fs, path::PathBuf};

    use super::*;
    use crate::flags::CacheDir;

    fn sources(environment: Environment, source: Source, config: Option<PathBuf>) -> Sources {
        Sources {
            options: ProviderOptions {
                source,
                config,
                net: Vec::new(),
                env: vec!["FLAG".parse().unwrap()],
                read: Vec::new(),
                cache: CacheDir::Nowhere,
                node_name: "burst".into(),
                operating_system: None,
                owner: None,
            },
            environment,
            owner: "0123".into(),
            protected: Vec::new(),
            denied: Vec::new(),
        }
    }

    #[test]
    fn the_operators_file_adds_to_the_grants_of_a_bundled_one_and_replaces_its_settings() {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        fs::write(at("aci.wasm"), b"\0asm").unwrap();
        fs::write(
            at("aci.toml"),
            "Region = \"bundled\"\nCPU = \"20\"\n[sandbox]\nenv = [\"ACI_*\"]\nmemory = 1000\nidle = \"9s\"",
        )
        .unwrap();
        fs::write(at("mine.toml"), "Region = \"mine\"\n[sandbox]\nenv = [\"MINE\"]\nmemory = 2000").unwrap();
        let environment = || -> Environment {
            [
                ("VK_HOST_PROVIDERS", root.path().to_str().unwrap()),
                ("ACI_KEY", "a"),
                ("MINE", "m"),
                ("FLAG", "f"),
                ("OTHER", "o"),
            ]
            .into_iter()
            .collect()
        };

        let load = |config: Option<PathBuf>| {
            let mut seen = Seen::default();
            let loaded = sources(environment(), Source::Bundled("aci".into()), config).load(&mut seen);
            (loaded.unwrap(), seen)
        };
        let (alone, _) = load(None);
        assert_eq!(alone.startup.settings, r#"{"CPU":"20","Region":"bundled"}"#);
        assert_eq!(alone.sandbox.limits.memory, 1000);

        let (both, seen) = load(Some(at("mine.toml")));
        assert_eq!(both.startup.settings, r#"{"Region":"mine"}"#);
        assert_eq!((both.label.as_str(), &*both.wasm), ("aci.wasm", b"\0asm".as_slice()));
        let names: Vec<_> = both.sandbox.env.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["ACI_KEY", "FLAG", "MINE"]);
        assert_eq!(both.sandbox.limits.memory, 2000);
        assert_eq!(both.sandbox.limits.idle, std::time::Duration::from_secs(9));
        assert_eq!(seen.paths(), [at("aci.toml"), at("aci.wasm"), at("mine.toml")]);
    }

    #[test]
    fn a_load_that_fails_has_noted_the_files_that_it_is_about() {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        fs::write(at("p.toml"), "[sandbox.tls.\"https://a\"]\nca = \"absent.pem\"").unwrap();
        let mut seen = Seen::default();
        let source = Source::File(at("absent.wasm"));
        sources(Environment::default(), source, Some(at("p.toml"))).load(&mut seen).unwrap_err();
        assert_eq!(seen.paths(), [at("absent.pem"), at("absent.wasm"), at("p.toml")]);
    }

    #[test]
    fn what_is_printed_for_debugging_holds_no_value_of_a_variable() {
        let environment = [("KEY", "secret")].into_iter().collect();
        let printed = format!("{:?}", sources(environment, Source::Bundled("aci".into()), None));
        assert!(printed.contains("KEY") && !printed.contains("secret"), "{printed}");
    }

    #[test]
    fn a_component_that_cannot_be_read_is_named() {
        let root = tempfile::tempdir().unwrap();
        for path in [root.path().join("absent.wasm"), root.path().to_path_buf()] {
            let refusal = format!("{:#}", read_wasm(&path).unwrap_err());
            assert!(refusal.contains(&path.display().to_string()), "{refusal}");
        }
    }
}
