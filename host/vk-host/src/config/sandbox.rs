//! The table `[sandbox]` of a provider's file: what the provider may reach and use.
//!
//! Layers are applied one over the other, those of a bundled provider's own file first, then the operator's file, then
//! the flags: grants add up, a limit that is given replaces the one before.

use std::{
    collections::BTreeMap,
    num::NonZeroU32,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};
use serde::Deserialize;
use vk_egress::{NetGrant, TlsSettings};
use vk_runtime::Sandbox;

use super::{
    grants::{self, EnvGrant, Protected},
    read_text,
    units::{Size, Span},
};
use crate::{environment::Environment, files::Seen};

/// The table as it is written.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(crate) struct Layer {
    net: Vec<Net>,
    env: Vec<EnvGrant>,
    read: Vec<PathBuf>,

    memory: Option<Size>,
    instances: Option<NonZeroU32>,
    cpu: Option<Span>,
    calls: Option<NonZeroU32>,
    idle: Option<Span>,
    age: Option<Span>,
    message_bytes: Option<Size>,
    handles: Option<NonZeroU32>,
    table_elements: Option<NonZeroU32>,
    cache_bytes: Option<Size>,
    cache_entries: Option<NonZeroU32>,
    log_lines: Option<NonZeroU32>,
    requests: Option<NonZeroU32>,
    sessions: Option<NonZeroU32>,
    response_bytes: Option<Size>,

    timeouts: Timeouts,
    tls: BTreeMap<String, Tls>,
}

/// The table `[sandbox.timeouts]`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
struct Timeouts {
    queue: Option<Span>,
    configure: Option<Span>,
    describe: Option<Span>,
    create: Option<Span>,
    update: Option<Span>,
    delete: Option<Span>,
    get: Option<Span>,
    poll: Option<Span>,
    read_logs: Option<Span>,
    open_session: Option<Span>,
    step_session: Option<Span>,
    read_stats: Option<Span>,
    connect: Option<Span>,
    request: Option<Span>,
}

/// A table `[sandbox.tls."https://host:port"]`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
struct Tls {
    ca: Option<PathBuf>,
    cert: Option<PathBuf>,
    key: Option<PathBuf>,
    server_name: Option<String>,
}

/// One entry of `net`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(try_from = "String")]
struct Net(NetGrant);

impl TryFrom<String> for Net {
    type Error = vk_egress::GrantError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse().map(Self)
    }
}

impl Layer {
    /// A layer that only grants.
    pub(crate) fn grants(net: Vec<NetGrant>, env: Vec<EnvGrant>, read: Vec<PathBuf>) -> Self {
        Self { net: net.into_iter().map(Net).collect(), env, read, ..Self::default() }
    }
}

/// Layers applied so far.
#[derive(Debug, Default)]
pub(crate) struct Builder {
    sandbox: Sandbox,
    env: Vec<EnvGrant>,
    read: Vec<PathBuf>,
    /// Private keys, which no read grant may lead to.
    keys: Vec<Protected>,
}

impl Builder {
    /// Puts a layer over those before. Its relative paths start from `folder`. The files that it names are noted.
    ///
    /// # Errors
    ///
    /// If a file of `sandbox.tls` cannot be read.
    pub(crate) fn apply(&mut self, layer: Layer, folder: &Path, seen: &mut Seen) -> anyhow::Result<()> {
        self.sandbox.egress.grants.extend(layer.net.iter().map(|Net(grant)| grant.clone()));
        self.read.extend(layer.read.iter().map(|path| folder.join(path)));
        self.set_limits(&layer);
        self.env.extend(layer.env);
        for (origin, tls) in layer.tls {
            let settings = self.tls(&tls, folder, seen).with_context(|| format!("sandbox.tls.\"{origin}\""))?;
            self.sandbox.egress.tls.insert(origin, settings);
        }
        Ok(())
    }

    fn set_limits(&mut self, layer: &Layer) {
        let limits = &mut self.sandbox.limits;
        set(&mut limits.memory, layer.memory.map(|Size(bytes)| bytes));
        set(&mut limits.instances, layer.instances.map(count));
        set(&mut limits.cpu, layer.cpu.map(|Span(duration)| duration));
        set(&mut limits.calls, layer.calls.map(NonZeroU32::get));
        set(&mut limits.idle, layer.idle.map(|Span(duration)| duration));
        set(&mut limits.age, layer.age.map(|Span(duration)| duration));
        set(&mut limits.message_bytes, layer.message_bytes.map(bytes));
        set(&mut limits.handles, layer.handles.map(count));
        set(&mut limits.table_elements, layer.table_elements.map(count));
        set(&mut limits.cache_bytes, layer.cache_bytes.map(bytes));
        set(&mut limits.cache_entries, layer.cache_entries.map(count));
        set(&mut limits.log_lines, layer.log_lines.map(NonZeroU32::get));

        let (timeouts, given) = (&mut limits.timeouts, &layer.timeouts);
        for (timeout, given) in [
            (&mut timeouts.queue, given.queue),
            (&mut timeouts.configure, given.configure),
            (&mut timeouts.describe, given.describe),
            (&mut timeouts.create, given.create),
            (&mut timeouts.update, given.update),
            (&mut timeouts.delete, given.delete),
            (&mut timeouts.get, given.get),
            (&mut timeouts.poll, given.poll),
            (&mut timeouts.read_logs, given.read_logs),
            (&mut timeouts.open_session, given.open_session),
            (&mut timeouts.step_session, given.step_session),
            (&mut timeouts.read_stats, given.read_stats),
        ] {
            set(timeout, given.map(|Span(duration)| duration));
        }

        let egress = &mut self.sandbox.egress.limits;
        set(&mut egress.requests_in_flight, layer.requests.map(count));
        set(&mut egress.sessions, layer.sessions.map(count));
        set(&mut egress.response_bytes, layer.response_bytes.map(|Size(bytes)| bytes));
        set(&mut egress.connect_timeout, given.connect.map(|Span(duration)| duration));
        set(&mut egress.request_timeout, given.request.map(|Span(duration)| duration));
    }

    fn tls(&mut self, tls: &Tls, folder: &Path, seen: &mut Seen) -> anyhow::Result<TlsSettings> {
        let files = [&tls.ca, &tls.cert, &tls.key];
        // All before the first that fails.
        files.into_iter().flatten().for_each(|file| seen.note(&folder.join(file)));
        let read = |path: &PathBuf| read_text(&folder.join(path)).map(String::into_bytes);
        let ca = tls.ca.as_ref().map(read).transpose()?;
        let identity = match (&tls.cert, &tls.key) {
            (Some(cert), Some(key)) => Some((read(cert)?, read(key)?)),
            (None, None) => None,
            (Some(_), None) => bail!("cert without key: give the certificate's private key too"),
            (None, Some(_)) => bail!("key without cert: give the key's certificate too"),
        };
        self.keys.extend(tls.key.iter().map(|key| Protected::new("the private key of sandbox.tls", folder.join(key))));
        Ok(TlsSettings { ca, identity, server_name: tls.server_name.clone() })
    }

    /// What all layers together allow. `denied` are the hosts and ports that no grant opens.
    ///
    /// # Errors
    ///
    /// If a read grant leads to something protected, or to no directory.
    pub(crate) fn build(
        mut self,
        environment: &Environment,
        protected: &[Protected],
        denied: &[(String, u16)],
    ) -> anyhow::Result<Sandbox> {
        self.keys.extend_from_slice(protected);
        self.sandbox.read = grants::readable(&self.read, &self.keys)?;
        self.sandbox.env = grants::select(&self.env, environment);
        self.sandbox.egress.denied = denied.to_vec();
        Ok(self.sandbox)
    }
}

fn set<T>(limit: &mut T, given: Option<T>) {
    if let Some(given) = given {
        *limit = given;
    }
}

fn count(count: NonZeroU32) -> usize {
    usize::try_from(count.get()).unwrap_or(usize::MAX)
}

fn bytes(Size(bytes): Size) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use std::{fs, time::Duration};

    use super::*;

    fn layer(text: &str) -> Layer {
        toml::from_str(text).unwrap()
    }

    fn build(layers: &[&str], folder: &Path) -> anyhow::Result<(Sandbox, Seen)> {
        let (mut builder, mut seen) = (Builder::default(), Seen::default());
        for text in layers {
            builder.apply(layer(text), folder, &mut seen)?;
        }
        Ok((builder.build(&Environment::default(), &[], &[("10.0.0.1".into(), 6443)])?, seen))
    }

    #[test]
    fn an_empty_table_grants_nothing_and_keeps_every_default() {
        let (sandbox, seen) = build(&[""], Path::new("/")).unwrap();
        assert!(sandbox.egress.grants.is_empty() && sandbox.env.is_empty() && sandbox.read.is_empty());
        assert!(seen.paths().is_empty());
        assert_eq!(sandbox.limits, vk_runtime::Limits::default());
        assert_eq!(sandbox.egress.denied, [("10.0.0.1".to_owned(), 6443)]);
    }

    #[test]
    fn every_limit_that_is_written_arrives() {
        let text = r#"
            memory = "1GiB"
            instances = 2
            cpu = "3s"
            calls = 4
            idle = "5s"
            age = "6s"
            message-bytes = 7
            handles = 8
            table-elements = 9
            cache-bytes = "10KiB"
            cache-entries = 11
            log-lines = 12
            requests = 13
            response-bytes = 14
            sessions = 29
            [timeouts]
            queue = "15s"
            configure = "16s"
            describe = "17s"
            create = "18s"
            update = "19s"
            delete = "20s"
            get = "21s"
            poll = "22s"
            connect = "23s"
            request = "24s"
            read-logs = "25s"
            open-session = "26s"
            step-session = "27s"
            read-stats = "28s"
        "#;
        let (sandbox, _) = build(&[text], Path::new("/")).unwrap();
        let seconds = Duration::from_secs;
        let limits = vk_runtime::Limits {
            memory: 1 << 30,
            instances: 2,
            cpu: seconds(3),
            calls: 4,
            idle: seconds(5),
            age: seconds(6),
            message_bytes: 7,
            handles: 8,
            table_elements: 9,
            cache_bytes: 10 << 10,
            cache_entries: 11,
            log_lines: 12,
            timeouts: vk_runtime::Timeouts {
                queue: seconds(15),
                configure: seconds(16),
                describe: seconds(17),
                create: seconds(18),
                update: seconds(19),
                delete: seconds(20),
                get: seconds(21),
                poll: seconds(22),
                read_logs: seconds(25),
                open_session: seconds(26),
                step_session: seconds(27),
                read_stats: seconds(28),
            },
        };
        assert_eq!(sandbox.limits, limits);
        let egress = sandbox.egress.limits;
        assert_eq!((egress.requests_in_flight, egress.response_bytes, egress.sessions), (13, 14, 29));
        assert_eq!((egress.connect_timeout, egress.request_timeout), (seconds(23), seconds(24)));
    }

    #[test]
    fn grants_add_up_and_limits_override_from_layer_to_layer() {
        let root = tempfile::tempdir().unwrap();
        for name in ["a", "b"] {
            fs::create_dir(root.path().join(name)).unwrap();
        }
        let layers = [
            "read = [\"a\"]\nmemory = 1000000\ncpu = \"1s\"\ntimeouts.get = \"1s\"",
            "read = [\"b\"]\nmemory = 2000000\ntimeouts.poll = \"2s\"",
        ];
        let (sandbox, _) = build(&layers, root.path()).unwrap();
        let names: Vec<_> = sandbox.read.iter().map(|grant| grant.name.clone()).collect();
        assert_eq!(names, [root.path().join("a"), root.path().join("b")]);
        assert_eq!((sandbox.limits.memory, sandbox.limits.cpu), (2_000_000, Duration::from_secs(1)));
        assert_eq!(sandbox.limits.timeouts.get, Duration::from_secs(1));
        assert_eq!(sandbox.limits.timeouts.poll, Duration::from_secs(2));
    }

    #[test]
    fn tls_files_are_read_beside_the_file_that_names_them() {
        let root = tempfile::tempdir().unwrap();
        for name in ["ca.pem", "cert.pem", "key.pem"] {
            fs::write(root.path().join(name), name).unwrap();
        }
        let text = r#"tls."https://nomad.corp:4646" = { ca = "ca.pem", cert = "cert.pem", key = "key.pem", server-name = "nomad" }"#;
        let (sandbox, seen) = build(&[text], root.path()).unwrap();
        let settings = &sandbox.egress.tls["https://nomad.corp:4646"];
        assert_eq!(settings.ca.as_deref(), Some(b"ca.pem".as_slice()));
        assert_eq!(settings.identity, Some((b"cert.pem".to_vec(), b"key.pem".to_vec())));
        assert_eq!(settings.server_name.as_deref(), Some("nomad"));
        assert_eq!(seen.paths(), ["ca.pem", "cert.pem", "key.pem"].map(|name| root.path().join(name)));
    }

    #[test]
    fn a_certificate_and_its_key_come_together() {
        for text in [r#"tls."https://a" = { cert = "c" }"#, r#"tls."https://a" = { key = "k" }"#] {
            let refusal = format!("{:#}", build(&[text], Path::new("/")).unwrap_err());
            assert!(refusal.starts_with("sandbox.tls.\"https://a\": ") && refusal.contains("give the"), "{refusal}");
        }
    }

    #[test]
    fn a_read_grant_that_holds_a_tls_key_is_refused() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("tls")).unwrap();
        for name in ["tls/cert.pem", "tls/key.pem"] {
            fs::write(root.path().join(name), "").unwrap();
        }
        let text = "read = [\"tls\"]\ntls.\"https://a\" = { cert = \"tls/cert.pem\", key = \"tls/key.pem\" }";
        let refusal = build(&[text], root.path()).unwrap_err().to_string();
        assert!(refusal.contains("private key"), "{refusal}");
    }

    #[test]
    fn a_missing_tls_file_is_named() {
        let refusal =
            format!("{:#}", build(&[r#"tls."https://a" = { ca = "none.pem" }"#], Path::new("/")).unwrap_err());
        assert!(refusal.contains("sandbox.tls") && refusal.contains("/none.pem"), "{refusal}");
    }
}
