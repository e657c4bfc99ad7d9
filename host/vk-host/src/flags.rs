//! The command line, and the environment variables that stand in for flags.
//!
//! What this module hands out is checked: no name, taint or address in it is malformed. Whether files exist is found out
//! by those who read them.

mod kubelet;

use std::{ffi::OsString, net::IpAddr, path::PathBuf, time::Duration};

use clap::{ArgAction, Args, CommandFactory as _, Parser, Subcommand, ValueEnum, error::ErrorKind};
use vk_egress::NetGrant;
use vk_provider::OperatingSystem;

use crate::{
    config::{grants::EnvGrant, units},
    environment::Environment,
    log,
    taint::{TaintChoice, is_dns_name},
};

pub(crate) use kubelet::{Certificate, KubeletOptions};

/// What to do.
#[derive(Debug)]
pub(crate) enum Invocation {
    Run(Box<Run>),
    Inspect(PathBuf),
    Check(Box<Check>),
    Version,
}

/// Runs a node.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) provider: ProviderOptions,
    pub(crate) log: LogFlags,
    /// `--kubeconfig`.
    pub(crate) kubeconfig: Option<PathBuf>,
    /// `None`: all.
    pub(crate) namespace: Option<String>,
    /// Empty: to be found out. At most one of each family.
    pub(crate) addresses: Vec<IpAddr>,
    /// `None`: no taint.
    pub(crate) taint: Option<TaintChoice>,
    pub(crate) keep_orphans: bool,
    pub(crate) not_ready_after: Duration,
    pub(crate) kubelet: KubeletOptions,
    /// `HOST:PORT`; an empty host is every address.
    pub(crate) metrics_addr: Option<String>,
    /// Flags of the Go program that were given and do nothing.
    pub(crate) ignored: Vec<&'static str>,
}

/// Loads a provider without a cluster.
#[derive(Debug)]
pub(crate) struct Check {
    pub(crate) provider: ProviderOptions,
    pub(crate) log: LogFlags,
}

/// Which provider, its configuration, and what it is told of the node.
#[derive(Debug)]
pub(crate) struct ProviderOptions {
    pub(crate) source: Source,
    pub(crate) config: Option<PathBuf>,
    pub(crate) net: Vec<NetGrant>,
    pub(crate) env: Vec<EnvGrant>,
    pub(crate) read: Vec<PathBuf>,
    pub(crate) cache: CacheDir,
    pub(crate) node_name: String,
    /// `None`: what the provider says.
    pub(crate) operating_system: Option<OperatingSystem>,
    pub(crate) owner: Option<String>,
}

/// Where the component is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    /// Found by its name.
    Bundled(String),
    File(PathBuf),
}

/// Where compiled components are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum CacheDir {
    /// `--cache-dir`: must be usable.
    Given(PathBuf),
    /// The user's cache folder: used if it can be.
    Default(PathBuf),
    /// Neither `$XDG_CACHE_HOME` nor `$HOME` says where.
    Nowhere,
}

/// Virtual Kubelet whose providers are WebAssembly components.
///
/// Registers a node in a Kubernetes cluster and runs the pods bound to it through a provider: a sandboxed component,
/// given as a file or by the name of a bundled one.
#[derive(Debug, Parser)]
#[command(name = "vk-host", version, args_conflicts_with_subcommands = true, max_term_width = 120)]
struct CommandLine {
    #[command(subcommand)]
    verb: Option<Verb>,
    #[command(flatten)]
    run: RunFlags,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Show what a component imports and exports, and what it lacks to be a provider
    Inspect {
        /// The component
        file: PathBuf,
    },
    /// Load and configure a provider and show how it describes the node, without a cluster
    Check(Box<CheckFlags>),
    /// Show the version
    Version,
}

#[derive(Debug, Args)]
struct CheckFlags {
    /// The component; or a bundled one by name: --provider
    #[arg(conflicts_with = "provider")]
    file: Option<PathBuf>,
    #[command(flatten)]
    provider: ProviderFlags,
    #[command(flatten)]
    log: LogFlags,
}

#[derive(Debug, Args)]
struct RunFlags {
    /// Run the component in this file
    #[arg(long, value_name = "FILE", conflicts_with = "provider", help_heading = "Provider")]
    provider_wasm: Option<PathBuf>,
    #[command(flatten)]
    provider: ProviderFlags,
    #[command(flatten)]
    cluster: ClusterFlags,
    #[command(flatten)]
    kubelet: kubelet::KubeletFlags,
    #[command(flatten)]
    log: LogFlags,
    #[command(flatten)]
    classic: ClassicFlags,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Provider")]
struct ProviderFlags {
    /// Run the bundled component of this name, such as aci or mock (azure means aci)
    #[arg(long, value_name = "NAME", value_parser = provider_name)]
    provider: Option<String>,
    /// The provider's settings, and in its table [sandbox] what it may reach and use (TOML)
    #[arg(long, value_name = "FILE")]
    provider_config: Option<PathBuf>,
    /// Grant origins, such as https://api.example.com or tcp://10.0.0.0/8; added to sandbox.net
    #[arg(long, value_name = "ORIGIN,...", value_delimiter = ',')]
    allow_net: Vec<NetGrant>,
    /// Grant environment variables by name or prefix, such as ACI_*; added to sandbox.env
    #[arg(long, value_name = "NAME,...", value_delimiter = ',')]
    allow_env: Vec<EnvGrant>,
    /// Grant reading directories; added to sandbox.read
    #[arg(long, value_name = "DIR,...", value_delimiter = ',')]
    allow_read: Vec<PathBuf>,
    /// Keep compiled components here [default: $XDG_CACHE_HOME/vk-host or $HOME/.cache/vk-host]
    #[arg(long, value_name = "DIR")]
    cache_dir: Option<PathBuf>,
    /// The node's name [default: $DEFAULT_NODE_NAME, else virtual-kubelet]
    #[arg(long, value_name = "NAME", value_parser = node_name, help_heading = "Node")]
    nodename: Option<String>,
    /// Linux or Windows, in any case [default: Linux, unless the provider is for Windows]
    #[arg(long, value_name = "OS", value_parser = operating_system, help_heading = "Node")]
    os: Option<OperatingSystem>,
    /// What the provider marks its things with: 1 to 32 of a-z and 0-9 [default: a hash of the cluster and the node's name]
    #[arg(long, value_parser = owner, help_heading = "Node")]
    owner: Option<String>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Node")]
struct ClusterFlags {
    /// How to reach the cluster [default: $KUBECONFIG, then $HOME/.kube/config, then the pod's service account]
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// Run the pods of this namespace only [default: all]
    #[arg(long, value_parser = namespace)]
    namespace: Option<String>,
    /// The node's InternalIP, one of each family at most [default: $VKUBELET_POD_IP, else the one that the API server is
    /// reached from]
    #[arg(long, value_name = "IP,...", value_delimiter = ',')]
    address: Vec<IpAddr>,
    /// The node's taint: KEY, KEY:EFFECT or KEY=VALUE:EFFECT [default: virtual-kubelet.io/provider=PROVIDER:NoSchedule, or as
    /// $VKUBELET_TAINT_KEY, $VKUBELET_TAINT_VALUE and $VKUBELET_TAINT_EFFECT say]
    #[arg(long)]
    taint: Option<TaintChoice>,
    /// Make the node without a taint
    #[arg(long, conflicts_with = "taint")]
    disable_taint: bool,
    /// Leave alone what the provider runs and the cluster does not know
    #[arg(long)]
    keep_orphans: bool,
    /// How long the provider may be unreachable before the node turns NotReady
    #[arg(long, value_name = "DURATION", value_parser = units::duration, default_value = "5m")]
    not_ready_after: Duration,
    /// Serve /metrics, /healthz and /readyz on HOST:PORT or :PORT [default: nowhere]
    #[arg(long, value_name = "ADDRESS", value_parser = listen_address, help_heading = "Watching it")]
    metrics_addr: Option<String>,
}

/// How to log.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Watching it")]
pub(crate) struct LogFlags {
    /// How log lines look
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    pub(crate) log_format: LogFormat,
    /// What is logged: error, warn, info, debug or trace, also per target, as in info,vk_runtime=debug
    #[arg(long, value_name = "FILTER", value_parser = log::filter, default_value = "info")]
    pub(crate) log_level: log::Filter,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// Lines for people
    Text,
    /// One JSON object a line
    Json,
}

/// Flags that manifests of the Go program carry and that have nothing to decide here.
#[derive(Debug, Args)]
struct ClassicFlags {
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, action = ArgAction::Append)]
    enable_node_lease: Vec<String>,
    #[arg(long, hide = true)]
    full_resync_period: Option<String>,
    #[arg(long, hide = true)]
    pod_sync_workers: Option<String>,
}

impl ClassicFlags {
    fn given(&self, matches: &clap::ArgMatches) -> Vec<&'static str> {
        let on_command_line = |id: &&str| matches.value_source(id) == Some(clap::parser::ValueSource::CommandLine);
        [
            ("enable_node_lease", "--enable-node-lease"),
            ("full_resync_period", "--full-resync-period"),
            ("pod_sync_workers", "--pod-sync-workers"),
        ]
        .into_iter()
        .filter(|(id, _)| on_command_line(id))
        .map(|(_, flag)| flag)
        .collect()
    }
}

/// Reads the command line.
///
/// # Errors
///
/// On a usage error, and for `--help` and `--version`, whose text is the error's.
pub(crate) fn parse(
    arguments: impl IntoIterator<Item = OsString>,
    environment: &Environment,
) -> Result<Invocation, clap::Error> {
    let matches = CommandLine::command().try_get_matches_from(arguments)?;
    let CommandLine { verb, run } = clap::FromArgMatches::from_arg_matches(&matches)?;
    Ok(match verb {
        Some(Verb::Version) => Invocation::Version,
        Some(Verb::Inspect { file }) => Invocation::Inspect(file),
        Some(Verb::Check(flags)) => {
            let wanted = "check needs a provider: give FILE.wasm, or --provider NAME for a bundled one";
            let provider = flags.provider.resolve(flags.file, wanted, environment)?;
            Invocation::Check(Box::new(Check { provider, log: flags.log }))
        }
        None => {
            let ignored = run.classic.given(&matches);
            Invocation::Run(Box::new(run.resolve(ignored, environment)?))
        }
    })
}

impl RunFlags {
    fn resolve(self, ignored: Vec<&'static str>, environment: &Environment) -> Result<Run, clap::Error> {
        let wanted = "no provider: give --provider-wasm FILE, or --provider NAME for a bundled one";
        let provider = self.provider.resolve(self.provider_wasm, wanted, environment)?;
        let cluster = self.cluster;
        let taint = if cluster.disable_taint {
            None
        } else {
            let from_environment = TaintChoice::from_environment(environment).map_err(invalid)?;
            Some(cluster.taint.unwrap_or_default().or(from_environment))
        };
        Ok(Run {
            provider,
            log: self.log,
            kubeconfig: cluster.kubeconfig,
            namespace: cluster.namespace.filter(|namespace| !namespace.is_empty()),
            addresses: addresses(cluster.address, environment)?,
            taint,
            keep_orphans: cluster.keep_orphans,
            not_ready_after: cluster.not_ready_after,
            kubelet: self.kubelet.resolve(environment)?,
            metrics_addr: cluster.metrics_addr,
            ignored,
        })
    }
}

impl ProviderFlags {
    fn resolve(
        self,
        file: Option<PathBuf>,
        wanted: &str,
        environment: &Environment,
    ) -> Result<ProviderOptions, clap::Error> {
        let source = match (file, self.provider) {
            (Some(file), _) => Source::File(file),
            (None, Some(name)) => Source::Bundled(name),
            (None, None) => return Err(usage(ErrorKind::MissingRequiredArgument, wanted)),
        };
        let node_name = match (self.nodename, environment.text("DEFAULT_NODE_NAME")) {
            (Some(name), _) => name,
            (None, Some(name)) => node_name(&name).map_err(|reason| invalid(format!("DEFAULT_NODE_NAME: {reason}")))?,
            (None, None) => "virtual-kubelet".into(),
        };
        Ok(ProviderOptions {
            source,
            config: self.provider_config,
            net: self.allow_net,
            env: self.allow_env,
            read: self.allow_read,
            cache: cache_dir(self.cache_dir, environment),
            node_name,
            operating_system: self.os,
            owner: self.owner,
        })
    }
}

fn usage(kind: ErrorKind, message: impl std::fmt::Display) -> clap::Error {
    CommandLine::command().error(kind, message)
}

fn invalid(message: String) -> clap::Error {
    usage(ErrorKind::ValueValidation, message)
}

fn addresses(mut given: Vec<IpAddr>, environment: &Environment) -> Result<Vec<IpAddr>, clap::Error> {
    if given.is_empty()
        && let Some(text) = environment.text("VKUBELET_POD_IP")
    {
        given = text.split(',').map(str::parse).collect::<Result<_, _>>().map_err(|_| {
            invalid(format!("VKUBELET_POD_IP: `{text}` is not an IP address: unset it, or use --address"))
        })?;
    }
    if given.iter().filter(|address| address.is_ipv4()).count() > 1
        || given.iter().filter(|address| address.is_ipv6()).count() > 1
    {
        return Err(invalid("--address (or VKUBELET_POD_IP) takes at most one IPv4 and one IPv6 address".into()));
    }
    Ok(given)
}

fn cache_dir(given: Option<PathBuf>, environment: &Environment) -> CacheDir {
    let home = || environment.absolute_path("HOME").map(|home| home.join(".cache"));
    match (given, environment.absolute_path("XDG_CACHE_HOME").or_else(home)) {
        (Some(given), _) => CacheDir::Given(given),
        (None, Some(folder)) => CacheDir::Default(folder.join("vk-host")),
        (None, None) => CacheDir::Nowhere,
    }
}

fn provider_name(text: &str) -> Result<String, String> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)) {
        return Err("not the name of a bundled provider; a file is given with --provider-wasm".into());
    }
    Ok(if text == "azure" { "aci".into() } else { text.into() })
}

/// The name is also the value of the label `kubernetes.io/hostname`, which is shorter than an object's name may be.
fn node_name(text: &str) -> Result<String, String> {
    if is_dns_name(text) && text.len() <= 63 {
        return Ok(text.into());
    }
    Err(format!("`{text}` cannot name a node: use up to 63 lower-case letters, digits, - and ."))
}

/// A namespace is a DNS label; the empty one is none.
fn namespace(text: &str) -> Result<String, String> {
    if text.is_empty() || (is_dns_name(text) && text.len() <= 63 && !text.contains('.')) {
        return Ok(text.into());
    }
    Err(format!("`{text}` cannot name a namespace: use up to 63 lower-case letters, digits and -"))
}

fn operating_system(text: &str) -> Result<OperatingSystem, String> {
    match text.to_ascii_lowercase().as_str() {
        "linux" => Ok(OperatingSystem::Linux),
        "windows" => Ok(OperatingSystem::Windows),
        _ => Err(format!("operating system {text:?} is not supported: use Linux or Windows")),
    }
}

fn owner(text: &str) -> Result<String, String> {
    let fits = (1..=32).contains(&text.len());
    if fits && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit()) {
        return Ok(text.into());
    }
    Err("use 1 to 32 of a-z and 0-9".into())
}

fn listen_address(text: &str) -> Result<String, String> {
    match text.rsplit_once(':') {
        Some((_, port)) if port.parse::<u16>().is_ok() => Ok(text.into()),
        _ => Err("write HOST:PORT, as in 127.0.0.1:9090, or :PORT for every address".into()),
    }
}

#[cfg(test)]
mod tests;
