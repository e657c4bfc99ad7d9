//! What one generation of a provider is made of: a component and its configuration.

use std::{fmt, path::PathBuf, sync::Arc};

use vk_provider::{Json, OperatingSystem};

use crate::Limits;

/// A component together with its configuration. A change of either makes a new generation.
#[derive(Clone)]
pub struct Generation {
    /// The component, in binary form.
    pub wasm: Arc<[u8]>,
    /// What messages call the component before it has said its name: the file's name.
    pub label: String,
    /// What the provider is told.
    pub startup: Startup,
    /// What the provider may do.
    pub sandbox: Sandbox,
}

/// What every instance is told before anything else (`node.startup` in the WIT).
#[derive(Clone, PartialEq, Eq)]
pub struct Startup {
    /// Unique to this node of this cluster, 1 to 32 of `[a-z0-9]`.
    pub owner: String,
    /// The node's name.
    pub node_name: String,
    /// What `--os` asks for.
    pub operating_system: Option<OperatingSystem>,
    /// The provider's own settings, a JSON object.
    pub settings: Json,
}

/// What a provider may reach and use. [`Default`] grants nothing.
#[derive(Clone, Default)]
pub struct Sandbox {
    /// The way out.
    pub egress: vk_egress::Policy,
    /// The environment variables that exist for the provider, already selected by the grants.
    pub env: Vec<(String, String)>,
    /// Directories that it may read.
    pub read: Vec<ReadGrant>,
    /// Bounds on its instances.
    pub limits: Limits,
}

/// A directory that a provider may read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadGrant {
    /// Its name inside: absolute, without `.` and `..`.
    pub name: PathBuf,
    /// What is opened, symbolic links resolved: a link that leads elsewhere afterwards is not followed.
    pub real: PathBuf,
}

impl fmt::Debug for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { wasm, label, startup, sandbox } = self;
        f.debug_struct("Generation")
            .field("label", label)
            .field("wasm_bytes", &wasm.len())
            .field("startup", startup)
            .field("sandbox", sandbox)
            .finish()
    }
}

/// Settings may hold credentials: of them only the length.
impl fmt::Debug for Startup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { owner, node_name, operating_system, settings } = self;
        f.debug_struct("Startup")
            .field("owner", owner)
            .field("node_name", node_name)
            .field("operating_system", operating_system)
            .field("settings_bytes", &settings.len())
            .finish()
    }
}

/// Environment variables are often secrets: of them only the names.
impl fmt::Debug for Sandbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { egress, env, read, limits } = self;
        f.debug_struct("Sandbox")
            .field("egress", egress)
            .field("env", &env.iter().map(|(name, _)| name).collect::<Vec<_>>())
            .field("read", read)
            .field("limits", limits)
            .finish()
    }
}

impl Generation {
    /// Whether the other one would behave the same: all but the label, which only names it.
    pub(crate) fn same(&self, other: &Self) -> bool {
        let Self { wasm, label: _, startup, sandbox } = self;
        *wasm == other.wasm && *startup == other.startup && sandbox.same(&other.sandbox)
    }
}

impl Sandbox {
    fn same(&self, other: &Self) -> bool {
        let Self { egress, env, read, limits } = self;
        same_policy(egress, &other.egress) && *env == other.env && *read == other.read && *limits == other.limits
    }
}

fn same_policy(one: &vk_egress::Policy, other: &vk_egress::Policy) -> bool {
    let vk_egress::Policy { grants, tls, denied, limits } = one;
    let vk_egress::Limits { requests_in_flight, sessions, response_bytes, connect_timeout, request_timeout } = limits;
    *grants == other.grants
        && *denied == other.denied
        && *requests_in_flight == other.limits.requests_in_flight
        && *sessions == other.limits.sessions
        && *response_bytes == other.limits.response_bytes
        && *connect_timeout == other.limits.connect_timeout
        && *request_timeout == other.limits.request_timeout
        && tls.len() == other.tls.len()
        && tls.iter().zip(&other.tls).all(|((origin, one), (other_origin, other))| {
            let vk_egress::TlsSettings { ca, identity, server_name } = one;
            origin == other_origin
                && *ca == other.ca
                && *identity == other.identity
                && *server_name == other.server_name
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_output_has_no_secrets() {
        let generation = Generation {
            wasm: b"component".as_slice().into(),
            label: "aci.wasm".into(),
            startup: Startup {
                owner: "owner".into(),
                node_name: "node".into(),
                operating_system: None,
                settings: r#"{"key": "hunter2"}"#.into(),
            },
            sandbox: Sandbox { env: vec![("AZURE_CLIENT_SECRET".into(), "hunter2".into())], ..Sandbox::default() },
        };
        let text = format!("{generation:?}");
        assert!(
            text.contains("AZURE_CLIENT_SECRET") && text.contains("aci.wasm") && !text.contains("hunter2"),
            "{text}"
        );
    }
}
