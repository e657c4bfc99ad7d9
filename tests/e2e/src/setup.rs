//! What a test's vk-host is started with.

use std::path::PathBuf;

use vk_cluster::{CertificateFiles, Cluster};

/// Settings of the mock, its sandbox, flags and variables; what is not said is what most tests want.
#[derive(Debug, Clone)]
pub struct Setup {
    pub(crate) pods: u32,
    pub(crate) cpu: u32,
    pub(crate) memory: String,
    pub(crate) settings: String,
    pub(crate) net: Vec<String>,
    pub(crate) sandbox: String,
    pub(crate) flags: Vec<String>,
    pub(crate) variables: Vec<(String, String)>,
    pub(crate) kubeconfig: Option<PathBuf>,
    pub(crate) with_backend: bool,
    pub(crate) with_grant: bool,
    pub(crate) provider: Option<Vec<String>>,
    pub(crate) certificate: Certificate,
}

/// Where the kubelet API's serving certificate comes from.
#[derive(Debug, Clone, Default)]
pub enum Certificate {
    /// Files of the cluster's authority, the same for all.
    #[default]
    OfCluster,
    /// Files of the test's.
    Files(CertificateFiles),
    /// A request that somebody must approve.
    Requested,
    /// Nobody has signed it.
    SelfSigned,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            pods: 2_000,
            cpu: 2_000,
            memory: "4Ti".to_owned(),
            settings: String::new(),
            net: Vec::new(),
            sandbox: String::new(),
            flags: Vec::new(),
            variables: Vec::new(),
            kubeconfig: None,
            with_backend: true,
            with_grant: true,
            provider: None,
            certificate: Certificate::default(),
        }
    }
}

impl Setup {
    /// The node's capacity for pods.
    pub fn pods(mut self, pods: u32) -> Self {
        self.pods = pods;
        self
    }

    /// The node's capacity for CPU.
    pub fn cpu(mut self, cpu: u32) -> Self {
        self.cpu = cpu;
        self
    }

    /// The node's capacity for memory.
    pub fn memory(mut self, memory: &str) -> Self {
        memory.clone_into(&mut self.memory);
        self
    }

    /// A line for the mock.
    pub fn setting(mut self, line: &str) -> Self {
        self.settings.push_str(line);
        self.settings.push('\n');
        self
    }

    /// A line of the table `[sandbox]`.
    pub fn sandbox(mut self, line: &str) -> Self {
        self.sandbox.push_str(line);
        self.sandbox.push('\n');
        self
    }

    /// A grant of `sandbox.net`, beside the backend's.
    pub fn net(mut self, grant: &str) -> Self {
        self.net.push(grant.to_owned());
        self
    }

    /// A flag, or a flag's value.
    pub fn flag(mut self, flag: impl Into<String>) -> Self {
        self.flags.push(flag.into());
        self
    }

    /// An environment variable.
    pub fn variable(mut self, name: &str, value: impl Into<String>) -> Self {
        self.variables.push((name.to_owned(), value.into()));
        self
    }

    /// The mock uses its backend, but is not granted it.
    pub fn without_grant(mut self) -> Self {
        self.with_grant = false;
        self
    }

    /// Another identity than the administrator's.
    pub fn kubeconfig(mut self, file: PathBuf) -> Self {
        self.kubeconfig = Some(file);
        self
    }

    /// The mock keeps its pods by itself.
    pub fn without_backend(mut self) -> Self {
        self.with_backend = false;
        self
    }

    /// These flags say which provider runs, in place of the mock's file and configuration.
    pub fn provider(mut self, flags: &[&str]) -> Self {
        self.provider = Some(flags.iter().map(|flag| (*flag).to_owned()).collect());
        self
    }

    /// What the kubelet API serves with.
    pub fn certificate(mut self, certificate: Certificate) -> Self {
        self.certificate = certificate;
        self
    }

    /// The flags of the kubelet API: on a free port of 127.0.0.1, for the cluster's clients.
    pub(crate) fn kubelet(&self, cluster: &Cluster) -> Vec<String> {
        let flag = |name: &str, value: &str| [name.to_owned(), value.to_owned()];
        let file = |path: &PathBuf| path.display().to_string();
        let mut flags = flag("--listen", "127.0.0.1:0").to_vec();
        flags.extend(flag("--client-ca-file", &file(&cluster.authority())));
        if !self.flags.iter().any(|flag| flag == "--address") {
            flags.extend(flag("--address", "127.0.0.1"));
        }
        let files = match &self.certificate {
            Certificate::OfCluster => cluster.kubelet_certificate(),
            Certificate::Files(files) => files.clone(),
            Certificate::Requested => {
                flags.extend(flag("--serving-certificate", "csr"));
                return flags;
            }
            Certificate::SelfSigned => {
                flags.extend(flag("--serving-certificate", "self-signed"));
                return flags;
            }
        };
        flags.extend(flag("--tls-cert-file", &file(&files.certificate)));
        flags.extend(flag("--tls-private-key-file", &file(&files.key)));
        flags
    }

    /// The configuration file, for a backend at `url`.
    pub(crate) fn configuration(&self, url: &str) -> String {
        let Self { pods, cpu, memory, settings, sandbox, .. } = self;
        let backend = if self.with_backend { format!("backend = \"{url}\"\n") } else { String::new() };
        let backends = (self.with_backend && self.with_grant).then_some(url);
        let grants: Vec<&str> = backends.into_iter().chain(self.net.iter().map(String::as_str)).collect();
        let net = if grants.is_empty() { String::new() } else { format!("net = {grants:?}\n") };
        format!(
            "cpu = \"{cpu}\"\nmemory = \"{memory}\"\npods = \"{pods}\"\npoll-after = \"250ms\"\n{backend}{settings}\n[sandbox]\n{net}{sandbox}"
        )
    }
}
